"""`watchkeep sql`: a statement over the archive, in a process that can read it and nothing else."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from daemon.command import Command, CommandError, Context, Exit, Option, positive, seconds
from daemon.terminal import Output, safe

if TYPE_CHECKING:
    from storage.adhoc import Heading

TERMINAL_ROWS = 1000  # a table has to be held to be laid out, and nobody reads more
DEADLINE_SECONDS = 60.0
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what spreadsheets take for a formula at the beginning of a cell


def run(context: Context) -> int:
    """Run the statement and print its rows."""
    from storage import adhoc
    from storage.errors import QueryError

    arguments, query = context.arguments, context.settings.query
    job = adhoc.Job(
        root=os.path.abspath(context.settings.archive.path),
        sql=arguments.statement,
        memory_mb=arguments.memory or query.memory_limit_mb,
        threads=query.threads,
        confined=not arguments.unsafe,
    )
    try:
        with closing(adhoc.run(job, deadline=arguments.deadline)) as answer:
            _print(context.output, arguments.format, answer)
    except adhoc.UnconfinedError as error:
        hint = "the statement was not run; --unsafe runs it with this user's rights"
        raise CommandError(str(error), Exit.UNREACHABLE, hint=hint) from None
    except QueryError as error:
        code = Exit.DEADLINE if type(error) is not QueryError else Exit.FOUND
        raise CommandError(str(error), code) from None
    return Exit.OK


def _print(output: Output, form: str | None, answer: Iterator[Heading | list[Any]]) -> None:
    heading: Any = next(answer, None)
    rows: Any = answer
    if heading is None:
        return
    wanted = form or ("json" if output.machine else "table")
    if wanted == "table":
        _table(output, heading, rows)
    elif wanted == "csv":
        writer = csv.writer(output.out, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(heading.columns)
        show = safe if output.terminal else str
        writer.writerows([show(_cell(value)) for value in row] for row in rows)
    else:
        _objects(output, _distinct(heading.columns), rows)


def _table(output: Output, heading: Heading, rows: Iterator[list[Any]]) -> None:
    shown = list(itertools.islice(rows, TERMINAL_ROWS))
    output.rows(heading.columns, ([_text(value) for value in row] for row in shown))
    if next(rows, None) is not None:
        output.note(f"only the first {TERMINAL_ROWS} rows; a pipe or --format csv gets all of them")


def _objects(output: Output, columns: list[str], rows: Iterable[list[Any]]) -> None:
    import orjson

    for row in rows:
        # NaN and infinities, which JSON has no form for, become null.
        output.json_text(
            orjson.dumps(
                dict(zip(columns, row, strict=True)), option=orjson.OPT_PASSTHROUGH_SUBCLASS
            ).decode()
        )


def _distinct(columns: Iterable[str]) -> list[str]:
    """Return names of which none repeats: an object cannot hold two fields of one name."""
    seen: dict[str, int] = {}
    names = []
    for column in columns:
        seen[column] = seen.get(column, 0) + 1
        names.append(column if seen[column] == 1 else f"{column}_{seen[column]}")
    return names


def _text(value: Any) -> str:
    import json

    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cell(value: Any) -> str:
    """Return a value for CSV: text that a spreadsheet would run is marked as text."""
    text = _text(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


COMMAND = Command(
    name="sql",
    text="Run one SQL statement (DuckDB's) over the views `events` and `rejects`, as of the last commit. It runs in a "
    "process of its own that can read the archive and nothing else, without network, and is killed at the deadline. "
    "The daemon's own events are among the rows: WHERE NOT internal leaves them out.",
    options=(
        Option(("statement",), "the statement", "SQL"),
        Option(
            ("--format",),
            "table, json (one object a line) or csv; default: table on a terminal, json in a pipe",
            choices=("table", "json", "csv"),
        ),
        Option(
            ("--deadline",),
            f"seconds it may take (default: {DEADLINE_SECONDS:.0f})",
            "SECONDS",
            seconds,
            DEADLINE_SECONDS,
        ),
        Option(("--memory",), "MiB it may use, instead of [query] memory_limit_mb", "MIB", positive),
        Option(("--unsafe",), "run it even where the system cannot confine it: it may then do what you may"),
    ),
    run=run,
    examples=(
        'watchkeep sql "SELECT level, count(*) FROM events WHERE NOT internal GROUP BY level"',
        'watchkeep sql --format csv "SELECT timestamp, username, path FROM events WHERE status_code >= 500" > errors.csv',
    ),
)
