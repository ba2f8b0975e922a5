"""Legal holds: a file with an event that matches a hold's filter stays, whatever its age and however full the disk.

Sealed files never change, so what was found in one is remembered for as long as the process lives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from storage import sql
from storage.duck import connect
from storage.errors import ArchiveError, QueryError, UnreadableError
from storage.query import Filter, Scope
from storage.retention import Unit
from storage.scope import View, overlaps
from storage.snapshot import File

FILES_AT_ONCE = 32  # files of one statement: a failing one then costs little to find
MEMORY_LIMIT_MB = 128
EVERYTHING = Scope(internal="include")  # what the daemon noted about a person counts as well
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_NO_LIMIT = 2**62  # above any seq


class HoldError(ArchiveError):
    """A hold cannot be added or released as asked."""


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold as the ledger has it. ``filter`` is the JSON of a `storage.query.Filter`."""

    name: str
    filter: Mapping[str, Any]
    reason: str
    author: str
    added_us: int

    @property
    def key(self) -> tuple[str, int]:
        """What tells it from an earlier hold of the same name."""
        return self.name, self.added_us

    def to_json(self) -> dict[str, Any]:
        """Return the value for a record's body."""
        return {
            "name": self.name,
            "filter": dict(self.filter),
            "reason": self.reason,
            "author": self.author,
            "added_us": self.added_us,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Hold:
        """Read it back; unknown keys of a newer release are ignored."""
        return cls(body["name"], body["filter"], body["reason"], body["author"], body["added_us"])


def checked(name: str, reason: str, wanted: Filter) -> None:
    """Raise HoldError if a hold cannot be added with these."""
    if not _NAME.fullmatch(name):
        raise HoldError(
            f"{name!r} cannot name a hold",
            hint="use letters, digits, '.', '-' and '_', at most 63, a letter or digit first",
        )
    if not reason.strip():
        raise HoldError("a hold needs a reason", hint="say which case or request it is for")
    if wanted == Filter():
        raise HoldError(
            "a hold without a filter would keep everything for ever",
            hint="name a person, a time, a category …",
        )


class HoldChecker:
    """Finds which units are held. Blocks; one call at a time."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._known: dict[tuple[tuple[str, int], str], bool] = {}

    def held(self, found: Sequence[Unit], files: Iterable[File], holds: Iterable[Hold]) -> dict[str, str]:
        """Return, by path of a unit's main file, the holds that keep it.

        A file of rejects has no fields to look at: it stays while an events file of its day, among ``files``, is held.
        A file that cannot be read stays, and so does everything while a hold's filter is not understood.
        """
        by_path = {unit.main.path: unit.main for unit in found if unit.main.kind == "events"}
        rejected = [unit for unit in found if unit.main.kind == "rejects"]
        days = {unit.day for unit in rejected}
        for file in files:
            if file.kind == "events" and file.day in days:
                by_path[file.path] = file
        reasons: dict[str, str] = {}
        held_days: dict[str, str] = {}
        for hold in holds:
            for path, reason in self._matching(hold, list(by_path.values())).items():
                reasons.setdefault(path, reason)
                held_days.setdefault(by_path[path].day or "", reason)
        kept = {unit.main.path: held_days[unit.day] for unit in rejected if unit.day in held_days}
        own = {unit.main.path for unit in found}
        return kept | {path: reason for path, reason in reasons.items() if path in own}

    def _matching(self, hold: Hold, files: Sequence[File]) -> dict[str, str]:
        """Return the files that a hold keeps, each with the reason."""
        name = f"hold {hold.name}"
        try:
            wanted = Filter.from_json(hold.filter)
        except QueryError as error:
            return {file.path: f"{name}, whose filter is not understood ({error.what})" for file in files}
        unknown = [
            file
            for file in files
            if (hold.key, file.path) not in self._known and overlaps(file, wanted.start_us, wanted.end_us)
        ]
        unreadable = self._look(hold, wanted, unknown)
        kept = {file.path: name for file in files if self._known.get((hold.key, file.path))}
        return kept | dict.fromkeys(unreadable, f"{name}, until the file can be read")

    def _look(self, hold: Hold, wanted: Filter, files: Sequence[File]) -> list[str]:
        """Find out about files that are not known yet; return the paths of those that cannot be read."""
        unreadable: list[str] = []
        if not files:
            return unreadable
        with connect(threads=1, memory_limit_mb=MEMORY_LIMIT_MB) as connection:
            sql.register(connection, ())
            for start in range(0, len(files), FILES_AT_ONCE):
                batch = files[start : start + FILES_AT_ONCE]
                for part in (batch, *([file] for file in batch)):
                    try:
                        matches = self._matches(connection, part, wanted)
                    except (duckdb.Error, pa.ArrowException, OSError, UnreadableError):
                        if len(part) == 1:
                            unreadable.append(part[0].path)
                        continue
                    self._known.update(((hold.key, file.path), file.path in matches) for file in part)
                    if len(part) == len(batch):
                        break  # all at once: no need to look at each
        return unreadable

    def _matches(
        self, connection: duckdb.DuckDBPyConnection, files: Sequence[File], wanted: Filter
    ) -> set[str]:
        seen = View(self._root, tuple(files), (), _NO_LIMIT, wanted.start_us, wanted.end_us)
        rows = sql.count_by_file(seen, wanted, EVERYTHING).rows(connection)
        return {files[place].path for place, amount in rows if amount}
