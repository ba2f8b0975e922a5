"""What is kept and what goes, decided under the archive's lock and written into its ledger: drops, holds, minimums.

Plans are made outside the lock, because holds must look into files; the record is written only if nothing that
decided was changed meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from parsers.classes import DEFAULT, INTERNAL
from storage.books import Books, now_us
from storage.errors import ArchiveError
from storage.holds import Hold, HoldChecker, HoldError, checked
from storage.late import Key
from storage.query import Filter
from storage.reader import known_state
from storage.retention import (
    DropReport,
    Policy,
    Terms,
    Unit,
    day_before,
    plan_asked,
    plan_old,
    plan_smaller,
)
from storage.snapshot import File
from storage.state import State
from storage.turns import Turns

# What a `config` record is about.
MINIMUM = "minimum"
EXPORT = "export"
CLOCK = "clock"
HOLDS = "holds"

DAY_US = 86_400_000_000


def today() -> str:
    """Return the present UTC day."""
    return datetime.now(UTC).strftime("%Y-%m-%d")


class MinimumError(ArchiveError):
    """A class's minimum age cannot be changed as asked."""


class HoldsUnknownError(ArchiveError):
    """The ledger was built again from the files, which know nothing of holds: nothing may be removed yet."""

    def __init__(self) -> None:
        super().__init__(
            "the ledger was rebuilt, and holds may be missing in it: nothing is removed",
            hint="add the missing ones, then 'watchkeep retention confirm holds --reason TEXT'",
            retry=True,
        )


class ClockError(ArchiveError):
    """The clock is further ahead than it can be, so that nothing can be said of ages."""

    def __init__(self, ahead_seconds: float, *, far: bool) -> None:
        until = (
            "or, if it is right, 'watchkeep retention confirm clock --reason TEXT' was given"
            if far
            else "the daemon is started again, or a day has passed"
        )
        super().__init__(
            f"the clock jumped ahead by {ahead_seconds:.0f} s",
            hint=f"nothing is removed until it is right again, {until}",
            retry=True,
        )


class Keeping:
    """Retention of one node's archive. Any thread; ``writing`` is the archive's lock for what touches the disk."""

    def __init__(
        self,
        books: Books,
        policy: Policy,
        *,
        root: str,
        writing: Turns,
        recover: Callable[[], None],
        changed: Callable[[], None],
        seal_late: Callable[[Callable[[Key], bool]], int],
    ) -> None:
        self.policy = policy
        self._books = books
        self._writing = writing
        self._recover = recover
        self._changed = changed
        self._seal_late = seal_late
        self._checking = threading.Lock()
        self._checker = HoldChecker(root)

    # Dropping

    def take_late(self, before_day: str | None, *, day: str | None = None) -> int:
        """Seal late rows that a removal is about, because only sealed files go; return how many files were made.

        ``before_day`` as for `asked`, None as for `old`. Otherwise rows that came after their day was removed would wait
        in `live` for as long as late rows of a day with many late files do.
        """
        present = day or today()

        def due(key: Key) -> bool:
            if before_day is not None:
                return key.day < before_day
            name = INTERNAL if key.internal else key.retention_class or DEFAULT
            maximum = self.policy.limits(name, self.minimums).maximum
            return bool(maximum) and key.day < day_before(present, maximum)

        return self._seal_late(due)

    def asked(self, before_day: str, *, dry_run: bool, day: str | None = None) -> DropReport:
        """Drop, or list, everything of days before ``before_day`` that nothing keeps."""
        return self._drop(
            lambda files, terms: plan_asked(files, terms, before_day, dry_run=dry_run), "asked", day=day
        )

    def old(self, *, dry_run: bool, day: str | None = None) -> DropReport:
        """Drop, or list, everything older than its class's maximum age that nothing keeps."""
        return self._drop(lambda files, terms: plan_old(files, terms, dry_run=dry_run), "age", day=day)

    def smaller(self, excess_bytes: int, *, dry_run: bool, day: str | None = None) -> DropReport:
        """Drop, or list, the oldest files until so many bytes are freed, as far as nothing keeps them."""
        return self._drop(
            lambda files, terms: plan_smaller(files, terms, excess_bytes, dry_run=dry_run), "budget", day=day
        )

    def _drop(
        self, plan: Callable[[Sequence[File], Terms], DropReport], reason: str, *, day: str | None
    ) -> DropReport:
        while True:
            with self._writing:
                before = self._decisive()
                files = self._books.own_files()
                terms = terms_of(self._books.state, files, self.policy, day or today(), self._held)
            report = plan(files, terms)
            if report.dry_run or not report.paths:
                return report
            self.check_holds()
            with self._writing:
                if self._decisive() != before:
                    continue  # a hold came in between, or a minimum rose
                self._recover()
                known = self._books.state.files
                paths = [path for path in report.paths if path in known]
                body = {"removes": paths, "before": report.before, "reason": reason}
                self._books.record([("drop", body)])
                self._changed()
                return report

    def _held(self, found: Sequence[Unit], files: Sequence[File], holds: Sequence[Hold]) -> Mapping[str, str]:
        with self._checking:
            return self._checker.held(found, files, holds)

    def _decisive(self) -> object:
        """Return what a plan depends on and what may change while it is made; growing is no matter."""
        state = self._books.state
        return (
            self.policy,
            dict(state.minimums),
            {name: body["added_us"] for name, body in state.holds.items()},
            state.drops,
        )

    # Holds

    @property
    def holds(self) -> list[Hold]:
        """The holds in force, by name."""
        return holds_of(self._books.state)

    def add_hold(self, name: str, wanted: Filter, *, reason: str, author: str) -> Hold:
        """Put a hold in force, durably. Raises HoldError."""
        checked(name, reason, wanted)
        with self._writing:
            if name in self._books.state.holds:
                raise HoldError(
                    f"there is a hold {name} already", hint="release it first, or choose another name"
                )
            self._recover()
            hold = Hold(name, wanted.to_json(), reason.strip(), author, now_us())
            self._books.record([("hold", {"action": "add", **hold.to_json()})])
            return hold

    def release_hold(self, name: str, *, reason: str, author: str) -> Hold:
        """Lift a hold, durably; returns what it was. Raises HoldError."""
        with self._writing:
            found = self._books.state.holds.get(name)
            if found is None:
                known = ", ".join(sorted(self._books.state.holds)) or "none"
                raise HoldError(f"there is no hold {name!r}", hint=f"in force: {known}")
            self._recover()
            body = {"action": "release", "name": name, "reason": reason, "author": author}
            self._books.record([("hold", body)])
            return Hold.from_json(found)

    def check_holds(self) -> None:
        """Raise HoldsUnknownError if holds may be in force that the ledger no longer knows."""
        if self._books.state.holds_unknown:
            raise HoldsUnknownError

    def check(self) -> None:
        """Raise what `doubt` finds: for commands without a daemon, which also compares the time that passes."""
        if found := doubt(self._books.state, self.policy, self._books.clock()):
            raise found

    def confirm_holds(self, *, reason: str, author: str) -> None:
        """Take a person's word, durably, that every hold is there again after the ledger was rebuilt."""
        with self._writing:
            self._recover()
            self._books.record([("config", {"about": HOLDS, "author": author, "reason": reason})])

    # The clock

    @property
    def believed_us(self) -> int:
        """What the clock showed when it was last believed, or, if nobody wrote that down, at the last commit; 0: never."""
        return _believed_us(self._books.state)

    def believe(self, us: int, *, reason: str = "", author: str = "") -> None:
        """Write down that the clock shows ``us`` and is believed; with a reason if a person says so."""
        with self._writing:
            self._recover()
            said = {"author": author, "reason": reason} if reason else {}
            self._books.record([("config", {"about": CLOCK, "us": us, **said})])

    # Minimum ages

    @property
    def minimums(self) -> dict[str, int]:
        """The minimums that the ledger holds, by class, in days: only a person lowers them."""
        return dict(self._books.state.minimums)

    def set_policy(self, policy: Policy) -> None:
        """Take other settings, and write down the minimums that they raise."""
        with self._writing:
            self.policy = policy
            self.lock_minimums()

    def lock_minimums(self) -> None:
        """Write down every minimum of the settings that is above the ledger's: from now on only a person lowers it."""
        with self._writing:
            locked = self._books.state.minimums
            raised = {name: days for name, days in self.policy.minimums.items() if days > locked.get(name, 0)}
            if not raised:
                return
            self._recover()
            self._books.record(
                [
                    ("config", _minimum(name, locked.get(name, 0), days, "the settings", "raised"))
                    for name, days in raised.items()
                ]
            )

    def lower_minimum(self, name: str, days: int, *, reason: str, author: str) -> int:
        """Lower a class's minimum age, durably; returns what it was. Raises MinimumError."""
        with self._writing:
            locked = self._books.state.minimums.get(name, 0)
            configured = self.policy.minimums.get(name, 0)
            if days >= locked:
                raise MinimumError(
                    f"the minimum of class {name} is {locked} days", hint="to raise it, change the settings"
                )
            if configured > days:
                raise MinimumError(
                    f"the settings say {configured} days for class {name}",
                    hint="lower [[retention.classes]] minimum_days first; both must agree",
                )
            if not reason.strip():
                raise MinimumError("lowering a minimum needs a reason")
            self._recover()
            self._books.record([("config", _minimum(name, locked, days, author, reason.strip()))])
            return locked

    # Exports

    def exported(self, body: Mapping[str, Any]) -> None:
        """Write down that an export has written files of a day, durably. ``body`` is `storage.daily`'s."""
        with self._writing:
            self._recover()
            self._books.record([("config", {"about": EXPORT, **body})])


def doubt(state: State, policy: Policy, clock_us: int | None = None) -> HoldsUnknownError | ClockError | None:
    """Return why nothing may be removed: holds are unknown, or the clock is further ahead than a machine is off."""
    if state.holds_unknown:
        return HoldsUnknownError()
    believed = _believed_us(state)
    ahead_us = (now_us() if clock_us is None else clock_us) - believed
    return (
        ClockError(ahead_us / 1e6, far=True)
        if believed and ahead_us > policy.clock_jump_days * DAY_US
        else None
    )


def _believed_us(state: State) -> int:
    return state.clock_us or state.last_commit_us


def holds_of(state: State) -> list[Hold]:
    """Return the holds in force in a state, by name."""
    return [Hold.from_json(body) for _, body in sorted(state.holds.items())]


Check = Callable[[Sequence[Unit], Sequence[File], Sequence[Hold]], Mapping[str, str]]


def terms_of(state: State, files: Sequence[File], policy: Policy, day: str, check: Check) -> Terms:
    """Return what decides in a state of the ledger."""
    holds = holds_of(state)
    exported = {
        name: frozenset(path for entry in days.values() for path in entry["paths"])
        for name, days in state.exports.items()
    }
    return Terms(
        policy,
        dict(state.minimums),
        day,
        exported,
        lambda found: check(found, files, holds) if holds else {},
    )


def plan_beside(path: str, node: str, policy: Policy, before_day: str | None) -> DropReport:
    """Plan without the lock, over what is committed: for a command beside an archive that nobody writes."""
    state = known_state(path, node)
    files = [file for file in state.files.values() if file.node == node]
    terms = terms_of(state, files, policy, today(), HoldChecker(path).held)
    if before_day is None:
        return plan_old(files, terms, dry_run=True)
    return plan_asked(files, terms, before_day, dry_run=True)


def _minimum(name: str, before: int, days: int, author: str, reason: str) -> dict[str, Any]:
    return {
        "about": MINIMUM,
        "class": name,
        "before": before,
        "minimum_days": days,
        "author": author,
        "reason": reason,
    }
