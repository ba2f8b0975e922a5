"""The questions people ask, over HTTP, beside the same questions in plain SQL over the same Parquet in the same run.

Over HTTP the time includes the server's JSON; in plain SQL it ends when DuckDB has handed over the rows as Arrow.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import duckdb

from benchmarks import exports, ingest
from benchmarks.daemon import Connection, Daemon
from benchmarks.measure import DEFAULT_DATA, median, milliseconds, ratio, table

WEEK = {"start_date": "2026-11-16", "end_date": "2026-11-22"}
DAYS = tuple(f"2026-11-{day}" for day in range(16, 23))
TIMES = 7
FACETS = ("level", "category", "action", "username", "ip", "country", "entity_type", "status_code")
DEEP_PAGE = 1_000
PAGE = 50
THREADS = 2  # of the plain DuckDB beside us, as the daemon has by default


@dataclass(frozen=True, slots=True)
class Question:
    """One question: its letter, what it asks, how it is asked over HTTP, and the plain SQL for it."""

    letter: str
    text: str
    ask: Callable[[Connection], object]
    sql: tuple[str, ...]


def measure(data: Path, events: int, times: int = TIMES) -> None:
    """Print the tables for an archive made by `ingest.measure`."""
    archive = data / f"archive-{events}"
    glob = f"{archive}/events/*/*.parquet"
    with duckdb.connect() as plain, Daemon.over(archive, data / "no-logs", data / "settings") as daemon:
        plain.execute(f"SET threads = {THREADS}")
        plain.execute("SET TimeZone = 'UTC'")
        plain.execute(
            f"CREATE VIEW events AS SELECT * FROM read_parquet('{glob}', union_by_name = true) WHERE NOT internal"
        )
        daemon.settle()
        with daemon.connect() as connection:
            rows = [_row(question, connection, plain, daemon, times) for question in questions(plain)]
            heads = ("question", "HTTP ms", "CPU ms", "plain SQL ms", "SQL / HTTP")
            table(f"Queries over {events:,} events (median of {times}; above 1 we are faster)", heads, rows)
        print(f"  peak memory of the daemon {daemon.peak_bytes() / 2**20:,.0f} MiB")
        exports.measure(daemon, plain, data, events)


def _row(
    question: Question, connection: Connection, plain: duckdb.DuckDBPyConnection, daemon: Daemon, times: int
) -> list[str]:
    before = daemon.cpu_seconds()
    ours = median(lambda: question.ask(connection), times)
    cpu = (daemon.cpu_seconds() - before) / (times + 1)

    def ask_plain() -> None:
        for sql in question.sql:
            plain.sql(sql).to_arrow_table()

    theirs = median(ask_plain, times)
    name = f"{question.letter}  {question.text}"
    return [name, milliseconds(ours), milliseconds(cpu), milliseconds(theirs), ratio(theirs, ours)]


def questions(plain: duckdb.DuckDBPyConnection) -> tuple[Question, ...]:
    """Return the questions; ``plain`` has the view ``events``, from which it takes an event and a correlation id."""
    ((event,),) = plain.execute(
        "SELECT event_id FROM events ORDER BY event_id LIMIT 1 OFFSET 1000"
    ).fetchall()
    ((correlation, _),) = plain.execute(
        "SELECT correlation_id, count(*) AS n FROM events GROUP BY 1 ORDER BY n DESC, 1 LIMIT 1"
    ).fetchall()
    # Scattered over the archive; what was asked before is answered from memory, so these show what the first time costs.
    others = _texts(
        plain, "SELECT DISTINCT event_id FROM events USING SAMPLE reservoir(64 ROWS) REPEATABLE (7)"
    )
    requests = _texts(
        plain, "SELECT DISTINCT correlation_id FROM events USING SAMPLE reservoir(64 ROWS) REPEATABLE (7)"
    )
    newest = f"ORDER BY timestamp DESC, seq DESC LIMIT {PAGE}"
    day = "timestamp >= TIMESTAMPTZ '2026-11-22 00:00:00+00' AND timestamp < TIMESTAMPTZ '2026-11-23 00:00:00+00'"
    by_category = "SELECT category, level, count(*) FROM events GROUP BY ALL"
    top_users = "SELECT username, count(*) AS n FROM events GROUP BY 1 ORDER BY n DESC LIMIT 10"
    per_day = "SELECT timestamp::DATE, count(DISTINCT user_id) FROM events GROUP BY 1"
    per_hour = "SELECT epoch_us(timestamp) // 3600000000, level, count(*) FROM events GROUP BY ALL"
    fields = ("level", "category", "action", "username", "ip", "country_code", "entity_type", "status_code")
    facets = tuple(
        f"SELECT {field}, count(*) AS n FROM events GROUP BY 1 ORDER BY n DESC LIMIT 10" for field in fields
    )
    return (
        Question("a", "errors of the last day, newest 50", _get("/events", level="error", start_date=DAYS[-1], end_date=DAYS[-1], limit=PAGE), (f"SELECT * FROM events WHERE level = 'error' AND {day} {newest}",)),
        Question("b", "'suspicious' in any case, newest 50", _get("/events", search_query="suspicious", limit=PAGE), (f"SELECT * FROM events WHERE description ILIKE '%suspicious%' OR entity_name ILIKE '%suspicious%' OR username ILIKE '%suspicious%' {newest}",)),
        Question("c", "one event by id, the same again", _get(f"/events/{event}"), (f"SELECT * FROM events WHERE event_id = '{event}'",)),
        Question("d", "the week by category and level", _get("/events/statistics", **WEEK, parts="counts"), (by_category,)),
        Question("e", "top ten users of the week", _get("/events/statistics", **WEEK, parts="users"), (top_users,)),
        Question("f", "distinct users of each day", _get("/events/trends", **WEEK, interval="1d", of="users"), (per_day,)),
        Question("g", "the week per hour by level", _get("/events/trends", **WEEK, interval="1h"), (per_hour,)),
        Question("h", "all events of one correlation id, again", _get("/events", correlation_id=correlation, limit=PAGE), (f"SELECT * FROM events WHERE correlation_id = '{correlation}' ORDER BY timestamp DESC, seq DESC",)),
        Question("i", "top ten of eight fields", _get("/events/facets", **WEEK, fields=",".join(FACETS)), facets),
        Question("*", "all statistics of the week in one answer", _get("/events/statistics", **WEEK), (by_category, top_users, per_hour, *facets)),
        Question("k", f"page {DEEP_PAGE} of {PAGE}", _get("/events", page=DEEP_PAGE, limit=PAGE), (f"SELECT * FROM events {newest} OFFSET {(DEEP_PAGE - 1) * PAGE}",)),
        Question("l", "newest 50 of everything", _get("/events", limit=PAGE), (f"SELECT * FROM events {newest}",)),
        Question("n", "one event by id, another each time", _each(f"/events/{one}" for one in others), (f"SELECT * FROM events WHERE event_id = '{others[0]}'",)),
        Question("o", "events of a correlation id, another each time", _each(f"/events?limit={PAGE}&correlation_id={one}" for one in requests), (f"SELECT * FROM events WHERE correlation_id = '{requests[0]}' ORDER BY timestamp DESC, seq DESC",)),
        Question("m", "an id that does not exist", lambda connection: connection.status("/api/v1/events/no-such-event"), ("SELECT * FROM events WHERE event_id = 'no-such-event'",)),
    )  # fmt: skip


def _get(path: str, **query: object) -> Callable[[Connection], object]:
    address = f"/api/v1{path}" + (f"?{urlencode(query)}" if query else "")
    return lambda connection: connection.bytes(address)


def _each(paths: Iterable[str]) -> Callable[[Connection], object]:
    """Return a question that is another one each time, again the first after the last."""
    addresses = itertools.cycle([f"/api/v1{path}" for path in paths])
    return lambda connection: connection.bytes(next(addresses))


def _texts(plain: duckdb.DuckDBPyConnection, statement: str) -> list[str]:
    return [text for (text,) in plain.execute(statement).fetchall()]


def main() -> int:
    """Measure once, ingesting first if there is no archive yet."""
    parser = argparse.ArgumentParser(prog="benchmarks.queries", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--times", type=int, default=TIMES, help="runs of each query")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    given = parser.parse_args()
    if not (given.data / f"archive-{given.events}").exists():
        ingest.measure(given.data, given.events)
    measure(given.data, given.events, given.times)
    return 0


if __name__ == "__main__":
    sys.exit(main())
