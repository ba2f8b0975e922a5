"""The engines that we are measured beside: how each takes the events of our Parquet files, and asks the questions.

They get typed columns and the indexes that their manuals advise; loading is not measured. The letters are those of
`benchmarks.queries`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb

from benchmarks.measure import BenchmarkError

COLUMNS = (
    *("event_id", "correlation_id", "timestamp", "seq", "level", "category", "action", "outcome", "user_id"),
    *("username", "entity_type", "entity_id", "entity_name", "method", "path", "ip", "user_agent"),
    *("status_code", "response_time_ms", "country_code", "city", "description", "metadata", "risk_score"),
    *("server", "environment", "version"),
)
FACETS = ("level", "category", "action", "username", "ip", "country_code", "entity_type", "status_code")
BATCH_ROWS = 20_000
THREADS = 2
START_SECONDS = 30.0
HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """The values that questions ask for. ``day_us`` is the start of the last day, ``skip`` the rows before page k."""

    event: str
    correlation: str
    day_us: int
    skip: int
    page: int


Ask = Callable[[], int]
"""Asks a question and returns how many rows answered it."""


@contextlib.contextmanager
def duckdb_sql(glob: str, wanted: Wanted, _: Path) -> Generator[Mapping[str, Ask]]:
    """DuckDB over the same Parquet files, in plain SQL."""
    with duckdb.connect() as connection:
        connection.execute(f"SET threads = {THREADS}")
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("SET parquet_metadata_cache = true")
        connection.execute(
            f"CREATE VIEW events AS SELECT {', '.join(COLUMNS)} FROM "
            f"read_parquet('{glob}', union_by_name = true) WHERE NOT internal"
        )
        day = f"timestamp >= make_timestamptz({wanted.day_us})"

        def ask(text: str) -> Ask:
            return lambda: connection.sql(text).to_arrow_table().num_rows

        yield {
            **{
                letter: ask(text)
                for letter, text in _sql(wanted, day, "contains(lower({}), 'suspicious')").items()
            },
            "f": ask("SELECT timestamp::DATE, count(DISTINCT user_id) FROM events GROUP BY 1"),
            "g": ask(f"SELECT epoch_us(timestamp) // {HOUR_US}, level, count(*) FROM events GROUP BY ALL"),
            "i": _together([ask(_top(field)) for field in FACETS]),
        }


@contextlib.contextmanager
def clickhouse(glob: str, wanted: Wanted, folder: Path) -> Generator[Mapping[str, Ask]]:
    """ClickHouse in process (chDB): one MergeTree table in order of time, words as LowCardinality, bloom filters on ids."""
    words = {
        "level",
        "category",
        "action",
        "outcome",
        "country_code",
        "city",
        "entity_type",
        "method",
        "server",
    }
    chosen = [
        f"toLowCardinality(ifNull({name}, '')) AS {name}"
        if name in words
        else f"assumeNotNull({name}) AS {name}"
        if name in {"timestamp", "seq"}
        else name
        for name in COLUMNS
    ]
    session: Any = import_module("chdb.session").Session(str(folder))  # only `make bench-query` installs it
    try:
        session.query("CREATE DATABASE IF NOT EXISTS bench")
        session.query(
            "CREATE TABLE bench.events ENGINE = MergeTree ORDER BY (timestamp, seq) AS "
            f"SELECT {', '.join(chosen)} FROM file('{glob}', Parquet) WHERE NOT internal "
            "SETTINGS schema_inference_make_columns_nullable = 1"
        )
        for name in ("event_id", "correlation_id"):
            session.query(f"ALTER TABLE bench.events ADD INDEX {name}_in {name} TYPE bloom_filter(0.01)")
            session.query(f"ALTER TABLE bench.events MATERIALIZE INDEX {name}_in SETTINGS mutations_sync = 2")
        session.query("USE bench")
        # With its cache of conditions a repeated question costs nothing, which says nothing about the next one.
        settings = f" SETTINGS max_threads = {THREADS}, use_query_condition_cache = 0"

        def ask(text: str) -> Ask:
            def run() -> int:
                return int(session.query(text + settings, "JSONCompactEachRow").bytes().count(b"\n"))

            return run

        day = f"timestamp >= fromUnixTimestamp64Micro({wanted.day_us}, 'UTC')"
        yield {
            **{letter: ask(text) for letter, text in _sql(wanted, day, "{} ILIKE '%suspicious%'").items()},
            "d": ask("SELECT category, level, count() FROM events GROUP BY category, level"),
            "f": ask("SELECT toDate(timestamp, 'UTC') AS day, uniqExact(user_id) FROM events GROUP BY day"),
            "g": ask(
                "SELECT toStartOfHour(timestamp) AS hour, level, count() FROM events GROUP BY hour, level"
            ),
            "i": _together([ask(_top(field)) for field in FACETS]),
        }
    finally:
        session.close()


@contextlib.contextmanager
def sqlite(glob: str, wanted: Wanted, folder: Path) -> Generator[Mapping[str, Ask]]:
    """SQLite: a flat table in order of time with indexes on what is asked by value, and FTS5 over the texts."""
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.closing(sqlite3.connect(folder / "events.db")) as connection:
        connection.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA mmap_size = 8000000000"
        )
        connection.execute(f"CREATE TABLE events ({', '.join(COLUMNS)})")
        connection.execute(
            "CREATE VIRTUAL TABLE texts USING fts5(description, entity_name, username, content='events')"
        )
        places = ", ".join("?" * len(COLUMNS))
        for rows in _rows(glob):
            connection.executemany(f"INSERT INTO events VALUES ({places})", rows)
        for name in ("event_id", "correlation_id", "level, timestamp", "timestamp, seq", "username"):
            connection.execute(f'CREATE INDEX "by {name}" ON events ({name})')
        connection.execute("INSERT INTO texts(texts) VALUES ('rebuild')")
        connection.execute("ANALYZE")
        connection.commit()

        def ask(text: str) -> Ask:
            return lambda: len(connection.execute(text).fetchall())

        day = f"timestamp >= {wanted.day_us}"
        own = _sql(wanted, day, "TRUE")
        yield {
            **{letter: ask(text) for letter, text in own.items()},
            # Of tokens, not of parts of words: what FTS5 is for. Rows were put in by time, so rowid is the order.
            "b": ask(
                "SELECT events.* FROM texts JOIN events ON events.rowid = texts.rowid "
                f"WHERE texts MATCH 'suspicious' ORDER BY texts.rowid DESC LIMIT {wanted.page}"
            ),
            "d": ask("SELECT category, level, count(*) FROM events GROUP BY category, level"),
            "f": ask(f"SELECT timestamp / {24 * HOUR_US}, count(DISTINCT user_id) FROM events GROUP BY 1"),
            "g": ask(f"SELECT timestamp / {HOUR_US}, level, count(*) FROM events GROUP BY 1, 2"),
            "i": _together([ask(_top(field)) for field in FACETS]),
        }


class VictoriaLogs:
    """The HTTP questions of VictoriaLogs, as LogsQL."""

    def __init__(self, port: int, wanted: Wanted) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
        self.wanted = wanted

    def texts(self) -> dict[str, tuple[str, ...]]:
        """Return the LogsQL of each question."""
        wanted = self.wanted
        day = f"_time:[{wanted.day_us // 1_000_000}, {wanted.day_us // 1_000_000 + 86_400})"
        newest = f"sort by (_time desc) limit {wanted.page}"
        word = 'i("suspicious")'
        return {
            "a": (f"{day} level:=error | {newest}",),
            "b": (f"{word} or entity_name:{word} or username:{word} | {newest}",),
            "c": (f'event_id:="{wanted.event}"',),
            "d": ("* | stats by (category, level) count() as n",),
            "e": ("* | stats by (username) count() as n | sort by (n desc) limit 10",),
            "f": ("* | stats by (_time:1d) count_uniq(user_id) as n",),
            "g": ("* | stats by (_time:1h, level) count() as n",),
            "h": (f'correlation_id:="{wanted.correlation}"',),
            "i": tuple(
                f"* | stats by ({field}) count() as n | sort by (n desc) limit 10" for field in FACETS
            ),
            "k": (f"* | sort by (_time desc) offset {wanted.skip} limit {wanted.page}",),
            "m": ('event_id:="no-such-event"',),
        }

    def ask(self, text: str) -> int:
        """Ask and return how many rows answered."""
        self._http.request("GET", f"/select/logsql/query?query={quote(text)}")
        answer = self._http.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise BenchmarkError(f"VictoriaLogs answered {answer.status}: {body[:200]!r}")
        return body.count(b"\n")

    def load(self, glob: str) -> None:
        """Send all events as JSON lines and wait until they can be found."""
        address = (
            "/insert/jsonline?_stream_fields=level,category&_time_field=timestamp&_msg_field=description"
        )
        sent = 0
        for rows in _rows(glob):
            lines = (json.dumps(_named(row)) for row in rows)
            self._http.request("POST", address, "\n".join(lines).encode())
            self._http.getresponse().read()
            sent += len(rows)
        deadline = time.monotonic() + START_SECONDS
        while self.ask("* | stats count() as n | filter n:>=" + str(sent)) < 1:
            if time.monotonic() > deadline:
                raise BenchmarkError(f"VictoriaLogs does not show all of {sent} events")
            time.sleep(0.2)


def victorialogs(
    binary: Path,
) -> Callable[[str, Wanted, Path], contextlib.AbstractContextManager[Mapping[str, Ask]]]:
    """Return what starts a VictoriaLogs of one's own, on loopback with a folder that is thrown away."""

    @contextlib.contextmanager
    def engine(glob: str, wanted: Wanted, folder: Path) -> Generator[Mapping[str, Ask]]:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        options = (f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={folder}", "-retentionPeriod=100y")
        with subprocess.Popen([str(binary), *options], stderr=subprocess.DEVNULL) as process:
            try:
                _await(port, process)
                peer = VictoriaLogs(port, wanted)
                peer.load(glob)
                yield {
                    letter: _together([lambda text=text: peer.ask(text) for text in texts])  # type: ignore[misc]
                    for letter, texts in peer.texts().items()
                }
            finally:
                process.terminate()

    return engine


def _await(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.1)
    raise BenchmarkError("VictoriaLogs did not start")


def _sql(wanted: Wanted, day: str, contains: str) -> dict[str, str]:
    """Return the questions that are the same in every SQL."""
    newest = f"ORDER BY timestamp DESC, seq DESC LIMIT {wanted.page}"
    found = " OR ".join(contains.format(name) for name in ("description", "entity_name", "username"))
    return {
        "a": f"SELECT * FROM events WHERE level = 'error' AND {day} {newest}",
        "b": f"SELECT * FROM events WHERE {found} {newest}",
        "c": f"SELECT * FROM events WHERE event_id = '{wanted.event}'",
        "d": "SELECT category, level, count(*) FROM events GROUP BY ALL",
        "e": _top("username"),
        "h": f"SELECT * FROM events WHERE correlation_id = '{wanted.correlation}'",
        "k": f"SELECT * FROM events {newest} OFFSET {wanted.skip}",
        "m": "SELECT * FROM events WHERE event_id = 'no-such-event'",
    }


def _top(field: str) -> str:
    return f"SELECT {field}, count(*) AS n FROM events GROUP BY {field} ORDER BY n DESC LIMIT 10"


def _together(asks: list[Ask]) -> Ask:
    return lambda: sum(ask() for ask in asks)


def _rows(glob: str) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the events in order of time, times in microseconds."""
    chosen = ", ".join(f"epoch_us({name})" if name == "timestamp" else name for name in COLUMNS)
    with duckdb.connect() as connection:
        connection.execute("SET preserve_insertion_order = true")
        found = connection.execute(
            f"SELECT {chosen} FROM read_parquet('{glob}', union_by_name = true) WHERE NOT internal "
            "ORDER BY timestamp, seq"
        )
        while rows := found.fetchmany(BATCH_ROWS):
            yield rows


def _named(row: tuple[Any, ...]) -> dict[str, Any]:
    found = {name: value for name, value in zip(COLUMNS, row, strict=True) if value is not None}
    seconds, rest = divmod(found["timestamp"], 1_000_000)
    found["timestamp"] = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:06d}Z"
    return {name: value if isinstance(value, str) else str(value) for name, value in found.items()}


def emptied(folder: Path) -> Path:
    """Return a folder that is not there."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


IN_PROCESS: dict[str, Callable[[str, Wanted, Path], contextlib.AbstractContextManager[Mapping[str, Ask]]]] = {
    "DuckDB": duckdb_sql,
    "ClickHouse": clickhouse,
    "SQLite FTS5": sqlite,
}
