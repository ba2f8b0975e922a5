"""Every setting there is: frozen, strict models with their defaults, limits and meanings.

`daemon.origins` reads them from a file and the environment, `daemon.options` turns them into the options of each part,
`daemon.reference` writes `config.toml` and `docs/configuration.md` from them. Nothing else lists settings.
"""

from __future__ import annotations

import ipaddress
import typing
import zoneinfo
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field
from pydantic.fields import FieldInfo

from daemon.discovery import EXCLUDE, INCLUDE
from daemon.marks import FilePath, Live, Names, Original, Section
from daemon.reach import Host, Reach
from daemon.recipients import Channels, Inhibitions, QuietSources, Routes
from daemon.tables import BaseRows, Classes, Exports, RuleSources
from parsers.forwarded import DEFAULT_HEADER
from parsers.points import BEHAVIOUR, LEVELS, MODEL
from parsers.profiles import AUTO, PROFILES
from parsers.redact import DEFAULT_KEYS, RULES
from storage.layout import valid_node

MEBIBYTE = 1 << 20
REFRESH_CHOICES = (0, 5, 10, 30, 60)  # seconds; what the dashboard's menu offers


def _known_zone(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{value!r} is no time zone: give an IANA name such as Europe/Berlin") from None
    return value


def _node_name(value: str) -> str:
    if not valid_node(value):
        raise ValueError(
            f"{value!r} cannot name a node: use lower-case letters, digits, '-' and '_', at most 63"
        )
    return value


def _level_name(value: Any) -> Any:
    """Accept `INFO` and `WARN` as people write them."""
    lowered = value.lower() if isinstance(value, str) else value
    return (
        {"warn": "warning", "fatal": "critical"}.get(lowered, lowered) if isinstance(lowered, str) else value
    )


def _known_rules(value: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in value if name not in RULES]
    if unknown:
        raise ValueError(f"no rule is called {unknown[0]!r}: there are {', '.join(RULES)}")
    return value


def _known_reasons(value: dict[str, float]) -> dict[str, float]:
    return _known_names(value, BEHAVIOUR, "reason")


def _known_levels(value: dict[str, float]) -> dict[str, float]:
    return _known_names(value, LEVELS, "level")


def _known_names(value: dict[str, float], known: Iterable[str], what: str) -> dict[str, float]:
    unknown = sorted(set(value) - set(known))
    if unknown:
        raise ValueError(f"no {what} is called {unknown[0]!r}: there are {', '.join(known)}")
    return value


def _known_profile(value: str) -> str:
    if value != AUTO and value not in PROFILES:
        raise ValueError(f"no profile is called {value!r}: there are {AUTO}, {', '.join(PROFILES)}")
    return value


def _networks(value: tuple[str, ...]) -> tuple[str, ...]:
    for network in value:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError:
            raise ValueError(f"{network!r} is no network: write 10.0.0.0/8 or 192.0.2.7") from None
    return value


def _refresh_choice(value: int) -> int:
    if value not in REFRESH_CHOICES:
        raise ValueError(f"should be one of {', '.join(map(str, REFRESH_CHOICES))}")
    return value


Points = Annotated[float, Field(ge=0, le=100)]
Profile = Annotated[str, AfterValidator(_known_profile)]
Zone = Annotated[str, AfterValidator(_known_zone)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error", "critical"], BeforeValidator(_level_name)]


class Logs(Section):
    """Which files are read, and how their lines are understood."""

    directories: Annotated[Names, FilePath()] = Field(
        default=("logs",), min_length=1, description="Folders whose files are followed, at any depth."
    )
    include: Names = Field(
        default=INCLUDE,
        description="Files that count. A pattern without a slash is about the name, with one about the path below the folder; `**/` is any number of folders. A compressed file (`.gz`, `.zst`, `.bz2`, `.xz`) also counts by its name without that ending, and is read as what it holds.",
    )
    exclude: Names = Field(
        default=EXCLUDE, description="Files that do not count, even if `include` names them."
    )
    profile: Profile = Field(
        default=AUTO,
        description="How lines are read: `auto` looks at the first lines of each file; otherwise the name of a profile (`native`, `flat`, `fastnext`, `verifywise`).",
    )
    profiles: dict[str, Profile] = Field(
        default={},
        description="Another profile for single folders: the folder as written in `directories`, and the profile.",
    )
    timezone: Zone = Field(default="UTC", description="Zone of times that name none (IANA name).")
    max_line_bytes: int = Field(
        default=MEBIBYTE,
        ge=1024,
        le=64 * MEBIBYTE,
        description="Longest line that is parsed, in bytes; of a longer one the beginning is kept as a reject.",
    )
    on_copy: Literal["skip", "ingest"] = Field(
        default="skip",
        description="What becomes of a file that for ten minutes only repeats another one that is there too (`cp a.log b.log`): `skip` leaves it unread, counted and shown until it differs; `ingest` reads it as a source of its own, so that its lines are in the archive twice.",
    )
    max_unpacked_bytes: int = Field(
        default=16 * 1024 * MEBIBYTE,
        ge=MEBIBYTE,
        description="Most that one compressed file (`.gz`, `.zst`, `.bz2`, `.xz`) may hold, in bytes. One that holds more is not read at all, counted and shown: a few bytes can unpack to anything.",
    )
    scan_seconds: float = Field(
        default=2.0,
        ge=0.1,
        le=300,
        description="How often the folders are listed, beside the system's change notices, which are only a hint.",
    )
    queue_bytes: int = Field(
        default=32 * MEBIBYTE,
        ge=2 * MEBIBYTE,
        le=1024 * MEBIBYTE,
        description="Bytes read ahead of the parser, all files together. When they are reached, reading pauses.",
    )
    pinned_bytes: int = Field(
        default=1024 * MEBIBYTE,
        ge=0,
        description="Bytes of disk that deleted files may hold while they are read to their end. Above it they are read first and let go of as soon as they are archived; nothing unread is dropped.",
    )


class Archive(Section):
    """Where events are kept, and when they become durable."""

    path: Annotated[str, FilePath()] = Field(
        default="archive", min_length=1, description="Folder of the archive."
    )
    node: Annotated[str, AfterValidator(_node_name)] = Field(
        default="main", description="Name of this daemon in the archive; part of every file's name."
    )
    commit_seconds: float = Field(
        default=5.0, gt=0, le=60, description="Longest time a visible event waits for its commit."
    )
    commit_bytes: int = Field(
        default=32 * MEBIBYTE,
        ge=MEBIBYTE,
        le=1024 * MEBIBYTE,
        description="Bytes of visible events that force a commit.",
    )
    seal_seconds: float = Field(
        default=3600.0,
        ge=10,
        le=86_400,
        description="Length of the intervals, by the clock, after which committed events are sealed: with 3600 at each full hour.",
    )
    seal_bytes: int = Field(
        default=64_000_000,
        ge=1_000_000,
        le=1_000_000_000,
        description="Bytes of committed files that force sealing, and so about the size of a full sealed file.",
    )
    late_seconds: float = Field(
        default=3600.0,
        ge=0,
        le=30 * 86_400,
        description="How long events wait for a sealed file that came when their day was over: the first time so long, then twice, then four times. Every query shows them meanwhile, only the plain glob does not.",
    )
    late_files: int = Field(
        default=16,
        ge=1,
        le=64,
        description="Most files a day gains that way. What comes later waits until it fills a quarter of `seal_bytes`, or for `watchkeep seal`.",
    )
    fold_files: int = Field(
        default=32, ge=4, le=256, description="Committed files above which some are folded into one."
    )
    grace_seconds: float = Field(
        default=900.0,
        ge=60,
        le=86_400,
        description="How long a superseded file stays for those who still read it.",
    )
    pause_free_bytes: int = Field(
        default=128 * MEBIBYTE,
        ge=0,
        description="Bytes that must be free where the archive lies; below it reading pauses, and goes on by itself when there is room again. 0 never pauses.",
    )
    memory_limit_mb: int = Field(default=128, ge=32, le=65_536, description="Memory for writing, MiB.")
    exports: Exports = Field(
        default=(),
        examples=[
            {
                "name": "security",
                "folder": "/srv/handover/security",
                "format": "parquet",
                "filter": {"category": ["security", "authentication"], "min_risk": 30},
            }
        ],
        description="Copies of each finished day, written once with a manifest. Retention removes no day that an export has not written.",
    )


class Query(Section):
    """What one question may cost."""

    threads: int = Field(
        default=2,
        ge=1,
        le=256,
        description="Threads that answer questions; exports and back-tests have one each.",
    )
    memory_limit_mb: int = Field(
        default=256,
        ge=64,
        le=1_048_576,
        description="Memory of all questions together, MiB; exports and back-tests have as much again.",
    )
    deadline_seconds: float = Field(
        default=10.0,
        gt=0,
        le=3600,
        description="A question that takes longer is cancelled. Exports have no deadline.",
    )
    count_seconds: float = Field(
        default=1.0,
        gt=0,
        le=3600,
        description="Longest time that counting the whole of a list may take; after that its total is an estimate.",
    )
    suggest_seconds: float = Field(
        default=0.3,
        gt=0,
        le=60,
        description="Longest time that finding values for the completion of a search may take; after that it goes without.",
    )
    facet_seconds: float = Field(
        default=2.0,
        gt=0,
        le=3600,
        description="Longest time that `/events/facets` reads rows; fields that are not done then say `timed_out`.",
    )
    rollup_cache_mb: int = Field(
        default=48,
        ge=0,
        le=65_536,
        description="Memory for roll-ups kept decoded, MiB. More of it answers long ranges from memory; 0 reads them each time.",
    )


class Sql(Section):
    """SQL written by people, over HTTP. `watchkeep sql` works without it."""

    enabled: bool = Field(
        default=False,
        description="Whether `POST /sql` answers. It needs Linux with Landlock: without, statements are refused.",
    )
    children: int = Field(
        default=2,
        ge=1,
        le=32,
        description="Processes that are kept ready, and so statements that run at a time. A ready one takes about 35 MB of its own.",
    )
    waiting: int = Field(
        default=8,
        ge=0,
        le=1000,
        description="Statements that may wait for a process; the next is refused with 429.",
    )
    deadline_seconds: float = Field(
        default=30.0,
        gt=0,
        le=3600,
        description="A statement whose answer is not read to its end by then is killed. Half of `[archive] grace_seconds` is the most that counts, because superseded files stay no longer.",
    )
    memory_limit_mb: int = Field(
        default=256,
        ge=32,
        le=1_048_576,
        description="Memory of one statement, MiB. A process that grows by 192 MiB more is killed.",
    )
    threads: int = Field(default=2, ge=1, le=256, description="Threads of one statement.")
    max_rows: int = Field(
        default=100_000,
        ge=1,
        description="Rows of one answer; what is behind them is left out, and that is said.",
    )
    max_bytes: int = Field(
        default=64 * MEBIBYTE,
        ge=1024,
        le=4096 * MEBIBYTE,
        description="Bytes of one answer's columns, before they become JSON or CSV; likewise.",
    )


class Web(Reach):
    """The HTTP side and the dashboard."""

    host: Host = Field(
        default="127.0.0.1",
        description="Address to listen on. On another than loopback the daemon starts only when there is a key (`watchkeep keys create`) or a trusted proxy that names users.",
    )
    port: int = Field(default=8710, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    allowed_hosts: Names = Field(
        default=(),
        description="Names, besides the loopback ones and `host`, under which this server or a proxy in front is reached.",
    )
    refresh_seconds: Annotated[int, AfterValidator(_refresh_choice)] = Field(
        default=30, description="How often the dashboard asks again at first: 0 (off), 5, 10, 30 or 60."
    )
    page_limit: Annotated[int, Original("EVENT_PAGINATION_LIMIT")] = Field(
        default=500, ge=1, le=10_000, description="Greatest `limit` of a list."
    )
    statistics_cache_seconds: Annotated[float, Original("STATISTICS_CACHE_SECONDS")] = Field(
        default=30.0,
        ge=0,
        le=3600,
        description="Longest reuse of a statistics answer while the archive has not changed. New events are never hidden by it.",
    )
    export_stall_seconds: float = Field(
        default=60.0,
        ge=1,
        le=86_400,
        description="How long the reader of an export may take nothing before it is cut off, visibly: it holds one of two places.",
    )
    live_clients: int = Field(
        default=256,
        ge=1,
        le=10_000,
        description="How many may follow new events (`/events/live`) at a time; the next one is told to come back.",
    )
    live_queue_events: int = Field(
        default=2000,
        ge=1,
        le=1_000_000,
        description="Events that wait for one slow follower; what comes when so many wait is dropped for it, counted and said.",
    )
    live_queue_bytes: int = Field(
        default=MEBIBYTE,
        ge=1024,
        le=256 * MEBIBYTE,
        description="The same in bytes. Followers of the same question share what waits.",
    )
    live_heartbeat_seconds: float = Field(
        default=15.0, ge=1, le=300, description="Silence after which a follower gets a sign of life."
    )
    live_stuck_seconds: float = Field(
        default=30.0,
        ge=1,
        le=3600,
        description="A follower that takes nothing for so long is cut off; it can go on where it was.",
    )


class Retention(Section):
    """What is removed, and when."""

    event_days: Annotated[int, Live(), Original("EVENT_CLEANUP_DAYS")] = Field(
        default=90,
        ge=0,
        le=36_500,
        description="Age in days above which whole days of events are removed; 0 keeps them all.",
    )
    cleanup_hour: Annotated[int, Live()] = Field(
        default=3, ge=0, le=23, description="Hour of the day (UTC) of the removal."
    )
    log_file_days: Annotated[int | None, Live(), Original("LOG_FILE_RETENTION_DAYS")] = Field(
        default=None,
        ge=1,
        le=36_500,
        examples=[30],
        description="Age in days above which log files are removed or compressed, once every line in them is committed. Not set: never.",
    )
    log_files: Annotated[Literal["delete", "compress"], Live()] = Field(
        default="delete",
        description="What becomes of log files of that age: `delete`, or `compress` beside the original, which goes when the copy is verified.",
    )
    log_file_compression: Annotated[Literal["gz", "zst"], Live()] = Field(
        default="gz", description="How log files are compressed: `gz` or `zst`."
    )
    max_bytes: Annotated[int | None, Live()] = Field(
        default=None,
        ge=10_000_000,
        examples=[50_000_000_000],
        description="Bytes that committed files may take. Above it the oldest days are removed, never those that a minimum age, a hold or an outstanding export keeps.",
    )
    min_free_bytes: Annotated[int | None, Live()] = Field(
        default=None,
        ge=10_000_000,
        examples=[5_000_000_000],
        description="Bytes that stay free where the archive lies. Below it the oldest days are removed, as for `max_bytes`.",
    )
    clock_jump_days: Annotated[int, Live()] = Field(
        default=7,
        ge=1,
        le=36_500,
        description="Days by which the clock may be ahead of when it was last believed. Further ahead nothing is removed until it is right again, or `watchkeep retention confirm clock` says that it is.",
    )
    classes: Classes = Field(
        default=(),
        examples=[
            {
                "name": "audit",
                "categories": ["authentication", "authorization", "security"],
                "minimum_days": 365,
                "maximum_days": 2555,
            }
        ],
        description="Categories that are kept for another time. Events of other categories are of the class `default`, with `event_days`.",
    )


class Redaction(Section):
    """Which values are replaced by `[redacted]` before anything is stored or shown."""

    enabled: bool = Field(default=True, description="Whether values are replaced at all.")
    keys: Names = Field(
        default=DEFAULT_KEYS,
        description="Fields whose value is replaced, wherever they stand: those whose name ends so, in any case; a space stands for `_`, `-`, `.` or nothing.",
    )
    rules: Annotated[Names, AfterValidator(_known_rules)] = Field(
        default=RULES,
        description="What is looked for: `key` by the names above, the others by shape in any text.",
    )


class Places(Section):
    """Where events come from: GeoIP databases, and proxies in front of the applications."""

    database: Annotated[str | None, FilePath()] = Field(
        default=None,
        examples=["GeoLite2-City.mmdb"],
        description="GeoIP database (`.mmdb`) with countries, and cities if it has them: of MaxMind, DB-IP or IPinfo. It is copied before it is used, and a new edition is taken over while the daemon runs.",
    )
    asn_database: Annotated[str | None, FilePath()] = Field(
        default=None,
        examples=["GeoLite2-ASN.mmdb"],
        description="GeoIP database with the numbers of autonomous systems, if `database` has none.",
    )
    embedded: bool = Field(
        default=True,
        description="Without `database`, take the country where an address block is registered from the package `iptocc`, if that is installed (the extra `places`).",
    )
    check_seconds: float = Field(
        default=60.0, ge=1, le=86_400, description="How often is looked whether a database file changed."
    )
    stale_days: int = Field(
        default=45, ge=1, le=36_500, description="Age in days above which a database is complained about."
    )
    trusted_proxies: Annotated[Names, AfterValidator(_networks)] = Field(
        default=(),
        examples=[["10.0.0.0/8"]],
        description="Networks of your own proxies. An event whose address is in one of them gets the client's address from `proxy_header` of its logged request headers.",
    )
    proxy_header: str = Field(
        default=DEFAULT_HEADER,
        min_length=1,
        description="The header that these proxies write themselves: `X-Forwarded-For`, `Forwarded`, `X-Real-IP` …. No other one is believed.",
    )


class Risk(Section):
    """How risky events are, and why."""

    enabled: bool = Field(
        default=True,
        description="Whether events are scored. Off, only scores that applications give are kept.",
    )
    version: str = Field(
        default=MODEL,
        pattern=r"^[A-Za-z0-9._-]{1,32}$",
        description="Name of your table of points, which every event carries. Change it whenever you change the points.",
    )
    points: Annotated[dict[str, Points], AfterValidator(_known_reasons)] = Field(
        default={},
        examples=[{"new_country": 30.0, "off_hours": 0.0}],
        description="Other points for single reasons of behaviour; 0 turns one off. `docs/risk.md` lists them.",
    )
    levels: Annotated[dict[str, Points], AfterValidator(_known_levels)] = Field(
        default={}, examples=[{"warning": 10.0}], description="Other points for levels."
    )
    base: BaseRows = Field(
        default=(),
        examples=[{"category": "data_management", "action": "export", "points": 40.0}],
        description="Rows of the base table that come before the built-in ones. The row that names most of an event counts.",
    )
    memory_mb: int = Field(
        default=128,
        ge=16,
        le=65_536,
        description="Memory for users' habits, MiB: about 400 bytes a user. Above it those not seen for the longest time are forgotten.",
    )
    rebuild_events: int = Field(
        default=1_000_000,
        ge=0,
        description="Newest events from which habits are learned again at a start that finds no checkpoint: about 5 s a million, before anything is read.",
    )


class Rules(Section):
    """Sigma rules."""

    pack: bool = Field(default=True, description="Whether the rules that come with Watchkeep are among them.")
    directories: Annotated[Names, FilePath()] = Field(
        default=("rules",), description="Folders, or files, of rules in Sigma's YAML, at any depth."
    )
    enabled: bool = Field(
        default=True,
        description="Whether rules look at events as they come, and make alerts of what they find.",
    )
    interval_seconds: float = Field(
        default=0.5,
        ge=0.1,
        le=60,
        description="Between two looks at new events. It rests longer when a look takes long.",
    )
    update_seconds: float = Field(
        default=300.0,
        ge=1,
        le=86_400,
        description="Between two events that say that an alert grows.",
    )
    test_seconds: float = Field(
        default=60.0,
        ge=1,
        le=3600,
        description="How long trying one rule over the archive may take (`POST /rules/test`).",
    )
    batch_rows: int = Field(
        default=50_000,
        ge=1000,
        le=1_000_000,
        description="The most events of one look, when detection is behind.",
    )
    match_memory_mb: int = Field(
        default=96,
        ge=1,
        le=4096,
        description="Memory for what rules matched lately. Windows that need more are read from the archive again.",
    )
    most_alerts: int = Field(
        default=10_000,
        ge=100,
        le=1_000_000,
        description="Alerts in memory; of more, those over for the longest time stay only in the archive.",
    )
    sources: RuleSources = Field(
        default=(),
        examples=[{"product": "github", "service": "audit", "events": "source:github-audit.jsonl"}],
        description="Which events rules for other products are about. Rules for the product `watchkeep`, for the category `application` and for `webserver` need none.",
    )


class Alerts(Section):
    """Who is told of alerts. `docs/alerts.md` has examples of every channel."""

    receivers: Names = Field(
        default=(),
        description="Channels for alerts that no route takes. None: every channel but that of the heartbeat.",
    )
    own_alerts: bool = Field(
        default=True,
        description="Whether trouble of the daemon itself (a full disk, lost bytes, dead letters …) is an alert too.",
    )
    outbox_messages: int = Field(
        default=10_000,
        ge=10,
        le=1_000_000,
        description="Messages that may wait for their receivers; what comes when so many wait goes to the dead letters at once.",
    )
    heartbeat: str | None = Field(
        default=None,
        examples=["deadman"],
        description="Channel (of type webhook) that gets a sign of life, for a service that raises an alarm when it stays away.",
    )
    heartbeat_minutes: float = Field(
        default=5.0, ge=0.1, le=1440, description="How often it gets one, while lines are archived."
    )
    channels: Channels = Field(
        default=(),
        examples=[{"name": "ops", "type": "slack", "url_file": "/etc/watchkeep/slack.url"}],
        description="Where alerts are told. Secrets stand in files or variables, never here.",
    )
    routes: Routes = Field(
        default=(),
        examples=[{"match": ['level="critical"'], "channels": ["pager"], "group_wait_seconds": 0.0}],
        description="Which alerts go where, tried in this order; the first that matches ends it.",
    )
    inhibitions: Inhibitions = Field(
        default=(),
        examples=[{"source": ['level="critical"'], "target": ['level=~"low|medium"'], "equal": ["user.id"]}],
        description="Open alerts that mute others.",
    )
    quiet_sources: QuietSources = Field(
        default=(),
        examples=[{"files": "app-*.jsonl", "minutes": 15}],
        description="Files that must not fall silent.",
    )


class Daemon(Section):
    """The process itself."""

    log_level: Annotated[LogLevel, Live(), Original("LOG_LEVEL")] = Field(
        default="info", description="What the daemon says about itself, at least. It never filters events."
    )
    log_file: Annotated[str | None, FilePath()] = Field(
        default=None,
        examples=["watchkeep.log"],
        description="File of its own log, JSON lines, outside `directories`. Not set: standard error.",
    )


class Settings(Section):
    """All settings."""

    logs: Logs = Logs()
    archive: Archive = Archive()
    query: Query = Query()
    sql: Sql = Sql()
    web: Web = Web()
    retention: Retention = Retention()
    redaction: Redaction = Redaction()
    places: Places = Places()
    risk: Risk = Risk()
    rules: Rules = Rules()
    alerts: Alerts = Alerts()
    daemon: Daemon = Daemon()


@dataclass(frozen=True, slots=True)
class Key:
    """One setting: its section, name and field."""

    section: str
    name: str
    info: FieldInfo

    @property
    def dotted(self) -> str:
        """``section.name``."""
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that overrides it."""
        return f"WATCHKEEP__{self.section}__{self.name}".upper()

    @property
    def live(self) -> bool:
        """Whether a change takes effect on SIGHUP."""
        return any(isinstance(mark, Live) for mark in self.info.metadata)

    @property
    def table(self) -> type[BaseModel] | None:
        """The model of each table, for a key that is a list of tables (`[[section.name]]`)."""
        inner = typing.get_args(self.info.annotation)
        first = inner[0] if typing.get_origin(self.info.annotation) is tuple else None
        return first if isinstance(first, type) and issubclass(first, BaseModel) else None

    @property
    def is_path(self) -> bool:
        """Whether the value is a path, or paths."""
        return any(isinstance(mark, FilePath) for mark in self.info.metadata)

    @property
    def original(self) -> str | None:
        """The original system's variable, if it had one."""
        return next((mark.name for mark in self.info.metadata if isinstance(mark, Original)), None)


def sections(model: type[BaseModel] = Settings) -> dict[str, type[BaseModel]]:
    """Return the sections of a settings model, in order."""
    return {
        name: info.annotation
        for name, info in model.model_fields.items()
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel)
    }


def keys(model: type[BaseModel] = Settings) -> Iterator[Key]:
    """Yield every setting of a model, in the order of the file."""
    for section, table in sections(model).items():
        own = table.__annotations__  # what a section has of its own stands before what it inherits
        for name in sorted(table.model_fields, key=lambda name: name not in own):
            yield Key(section, name, table.model_fields[name])


@dataclass(frozen=True, slots=True)
class Reload:
    """What a new reading of the settings means for a running daemon."""

    settings: Settings  # the running ones with every live key renewed
    applied: tuple[str, ...]  # dotted keys that changed and took effect
    restart: tuple[str, ...]  # dotted keys that changed and wait for a restart


def reloadable(old: Settings, new: Settings) -> Reload:
    """Return what of ``new`` a daemon that runs with ``old`` can take over at once."""
    renewed: dict[str, dict[str, Any]] = {}
    restart: list[str] = []
    for key in keys():
        before = getattr(getattr(old, key.section), key.name)
        after = getattr(getattr(new, key.section), key.name)
        if before == after:
            continue
        if key.live:
            renewed.setdefault(key.section, {})[key.name] = after
        else:
            restart.append(key.dotted)
    tables = {name: getattr(old, name).model_copy(update=changes) for name, changes in renewed.items()}
    applied = tuple(f"{section}.{name}" for section, changes in renewed.items() for name in changes)
    return Reload(old.model_copy(update=tables), applied, tuple(restart))
