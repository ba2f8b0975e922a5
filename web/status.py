"""What the HTTP side needs of the running daemon: one Protocol that `daemon.live` implements, and `/status`.

Nothing in `web` imports `daemon`; everything that only the live process knows comes through `Daemon`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from parsers.expression import Expression
from parsers.sigma.alert import Alert, ChangeKind
from parsers.sigma.rule import Rule
from storage.retention import DropReport

# What the web side reports to the `storage.observer.Observer` it is given: name, kind, labels.
HTTP_SECONDS = "http_request_seconds"  # seconds(): one observation a request
HTTP_IN_FLIGHT = "http_requests_in_flight"  # gauge()
HTTP_ABORTED = (
    "http_exports_aborted"  # count(): streamed answers cut off on purpose, so that none looks whole
)
SQL_STATEMENTS = "sql_statements"  # count(): statements of people, by how they ended
SQL_SECONDS = "sql_seconds"  # seconds(): until the first row, or the problem
HTTP_STALLED = "http_exports_stalled"  # count(): exports cut off because their reader did not read
HTTP_REFUSED = "http_requests_refused"  # count(): Host, Fetch-Metadata, role
LIVE_DELIVERED = "live_delivered"  # count(): events sent to followers
LIVE_STUCK = "live_stuck"  # count(): followers cut off because they took nothing for too long
MEASUREMENTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (HTTP_SECONDS, "seconds", ("method", "route", "status")),
    (HTTP_IN_FLIGHT, "gauge", ()),
    (HTTP_ABORTED, "count", ("route",)),
    (HTTP_STALLED, "count", ()),
    (HTTP_REFUSED, "count", ("reason",)),
    (LIVE_DELIVERED, "count", ()),
    (LIVE_STUCK, "count", ()),
    (SQL_STATEMENTS, "count", ("result",)),
    (SQL_SECONDS, "seconds", ()),
)


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """One source as the daemon sees it now. Offsets and sizes are bytes, times microseconds since 1970, UTC.

    ``state`` is one word: ``live``, ``catching-up``, ``idle``, ``gone`` (unlinked), ``comparing``, ``checking`` (a
    compressed file before it is known to be whole), ``failed`` …; ``note`` says more.
    """

    sid: str
    path: str
    file: str  # below its log directory
    size: int
    read: int  # offset up to which lines are visible
    committed: int  # offset up to which lines are durable in the archive
    lines: int
    events: int
    rejects: int
    last_event_us: int | None
    state: str
    profile: str = "auto"
    internal: bool = False
    note: str = ""
    gaps: int = 0  # times that bytes of it were lost for the archive
    gap_bytes: int = 0
    gap_reason: str = ""  # the code of the newest one
    base: int = 0  # byte at which the source begins: not 0 when it continues another one
    continues: str = ""  # sid of the source that holds what is before it

    @property
    def lag_bytes(self) -> int:
        """Bytes in the file that no query can see yet."""
        return max(0, self.size - self.read)


@dataclass(frozen=True, slots=True)
class LogFile:
    """A file that `/logs` may show: found by the daemon's discovery, never named by a client.

    ``root`` is the absolute configured directory, ``file`` the path below it, ``day`` the date in its name
    (``YYYY-MM-DD``; None when the name has none: then the day of its last change counts).
    """

    sid: str
    root: str
    file: str
    day: str | None
    internal: bool = False
    profile: str = "auto"


class Daemon(Protocol):
    """The live daemon. Every method returns at once or is a coroutine, `sources` and `metrics` apart."""

    def sources(self) -> Sequence[SourceStatus]:
        """Return every source known now, the daemon's own log included. Of many it takes a while: call it in a thread."""
        ...

    def log_files(self) -> Sequence[LogFile]:
        """Return the files that discovery admits now."""
        ...

    def ready(self) -> tuple[bool, str]:
        """Return whether lines are being archived and queries answered, and if not, why (for people)."""
        ...

    def degraded(self) -> Sequence[Mapping[str, str]]:
        """Return what is wrong although lines are archived: ``code`` for programs, ``detail`` for people."""
        ...

    def status(self) -> Mapping[str, Any]:
        """Return JSON-able facts for `/status`.

        Expected: ``version``, ``node``, ``started`` and ``last_commit`` (RFC 3339 or None), ``gaps``,
        ``gap_bytes``, ``queue_bytes``, ``hot_bytes``, ``ledger_head``, ``disk_free_bytes``. More is welcome.
        """
        ...

    def metrics(self) -> bytes:
        """Return the Prometheus text exposition. Call it in a thread."""
        ...

    async def audit(self, event: Mapping[str, Any], *, durable: bool = False) -> None:
        """Append one event (the API's camelCase object) to the daemon's own log; ``durable``: synced on return."""
        ...

    async def cleanup(self, before_day: str, *, dry_run: bool) -> DropReport:
        """Drop (or list) the sealed files of all days before ``before_day`` (``YYYY-MM-DD``, exclusive)."""
        ...


@dataclass(frozen=True, slots=True)
class RulesRead:
    """Rules that somebody sent: those that fire by themselves, what is wrong with others, and all that they refer to."""

    emitting: Sequence[Rule]
    problems: Sequence[tuple[Rule, str]]
    rules: Mapping[str, Rule]
    routes: Mapping[str, Expression]


class Alerts(Protocol):
    """Alerts, and what people do about them."""

    def alerts(self) -> list[Alert]:
        """Return all alerts that are remembered, the newest first."""
        ...

    def alert(self, identity: str) -> Alert | None:
        """Return one alert."""
        ...

    async def change(self, identity: str, kind: ChangeKind, *, by: str, comment: str = "") -> Alert | None:
        """Acknowledge, resolve or reopen an alert; None: there is no such alert. Raises OSError when that cannot be recorded."""
        ...


class Detection(Alerts, Protocol):
    """The rules that look at events, and the alerts they made."""

    def rules(self) -> list[dict[str, Any]]:
        """Return every rule as `/rules` shows it, with ``last_fired_us`` for the time."""
        ...

    async def read(self, text: str) -> RulesRead:
        """Read rules in YAML; they may refer to the rules in force."""
        ...

    def named(self, identity: str) -> RulesRead | None:
        """Return a rule in force as if it had been sent; None: there is none of this id."""
        ...

    async def text(self, identity: str) -> str:
        """Return the text of a rule in force, empty if it cannot be had."""
        ...

    def status(self) -> Mapping[str, Any]:
        """Return JSON-able facts for `/status`: how far it has looked, what is wrong, how many alerts there are."""
        ...


class Telling(Alerts, Protocol):
    """Who tells people of alerts. ValueError means that the one who asked was wrong, OSError that the disk refuses.

    Its alerts are the daemon's own: a source that fell silent, and the daemon itself in trouble.
    """

    def channels(self) -> list[dict[str, Any]]:
        """Return every channel and how it does."""
        ...

    def told(self, alert_id: str) -> list[dict[str, Any]]:
        """Return what is remembered of messages about an alert, oldest first."""
        ...

    def lately(self) -> list[dict[str, Any]]:
        """Return what is remembered of all messages, newest first."""
        ...

    async def test(self, name: str, author: str = "") -> dict[str, Any]:
        """Send a test message over a channel, and return what came back. Raises ValueError for no such channel."""
        ...

    def silences(self) -> dict[str, Any]:
        """Return under ``silences`` those in force, to come, and lately ended."""
        ...

    def meant(self, matchers: Sequence[str]) -> list[str]:
        """Return the ids of the alerts that are not over and that matchers mean."""
        ...

    async def silence(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Put a silence in force: ``matchers``, ``author``, ``comment``, ``seconds``, and ``starts_us`` if later."""
        ...

    async def expire(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """End the silence ``id`` now, in the name of ``author``."""
        ...

    async def letters(self, doing: str, author: str = "") -> dict[str, Any]:
        """Return what waits and what was given up; ``retry`` and ``discard`` do that to what was given up."""
        ...
