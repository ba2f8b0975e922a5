"""`watchkeep sql`: a statement over the archive, in a process that can read it and nothing else."""

from __future__ import annotations

import itertools
import os
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from daemon.command import Command, CommandError, Context, Exit, Option, positive, seconds
from daemon.terminal import Output, safe

if TYPE_CHECKING:
    from storage.adhoc import Ask, Limits
    from storage.job import Form, Heading

TERMINAL_ROWS = 1000  # a table has to be held to be laid out, and nobody reads more
DEADLINE_SECONDS = 60.0
FORMS: dict[str, Form] = {
    "table": "rows",
    "json": "ndjson",
    "csv": "csv",
    "arrow": "arrow",
    "parquet": "parquet",
}
BINARY = ("arrow", "parquet")  # no terminal shows them


def run(context: Context) -> int:
    """Run the statement and print its rows, or write them to a file."""
    from storage.adhoc import Limits

    arguments, settings = context.arguments, context.settings
    ask = _ask(context)
    limits = Limits(
        arguments.memory or settings.query.memory_limit_mb,
        settings.query.threads,
        confined=not arguments.unsafe,
    )
    if arguments.output:
        with _file(arguments.output) as file:
            _answer(context, ask, limits, file)
    else:
        _answer(context, ask, limits, None)
    return Exit.OK


def _ask(context: Context) -> Ask:
    from storage.adhoc import Ask

    arguments, output = context.arguments, context.output
    to_file = arguments.output is not None
    form = arguments.format or ("json" if output.machine or to_file else "table")
    if form in BINARY and output.terminal and not to_file:
        raise CommandError(
            f"--format {form} is nothing for a terminal", Exit.USAGE, hint="add --output FILE, or a pipe"
        )
    if form == "table" and to_file:
        raise CommandError("a table cannot be written to a file", Exit.USAGE, hint="--format csv can")
    grace = context.settings.archive.grace_seconds
    if arguments.deadline > grace:
        hint = f"files that were merged into others stay for {grace:g} s ([archive] grace_seconds)"
        raise CommandError("--deadline: longer than what is read is sure to stay", Exit.USAGE, hint=hint)
    return Ask(arguments.statement, params=dict(map(_parameter, arguments.param)), form=FORMS[form])


def _parameter(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CommandError(f"--param: {text!r} is no NAME=VALUE", Exit.USAGE)
    return name, value


def _answer(context: Context, ask: Ask, limits: Limits, file: BinaryIO | None) -> None:
    """Run the statement; what goes wrong becomes a message and an exit code."""
    from daemon.lost import lost_files, warning
    from storage import adhoc
    from storage.errors import ChildError, DeadlineError, StatementError, UnconfinedError
    from storage.reader import read_snapshot

    arguments = context.arguments
    path = os.path.abspath(context.settings.archive.path)
    if lost := lost_files(read_snapshot(path).lost):
        context.output.note(warning(lost))
    try:
        with closing(adhoc.run(path, ask, limits, deadline=arguments.deadline)) as answer:
            heading = cast("Heading", next(answer))
            pieces = cast("Iterator[bytes]", answer)
            if file is not None:
                file.writelines(pieces)
            else:
                _print(context.output, ask.form, heading, pieces)
    except UnconfinedError as error:
        hint = "the statement was not run; --unsafe runs it with this user's rights"
        raise CommandError(str(error), Exit.UNREACHABLE, hint=hint) from None
    except DeadlineError as error:
        hint = "narrow the time range, or give it more with --deadline or --memory"
        raise CommandError(error.what, Exit.DEADLINE, hint=hint) from None
    except StatementError as error:
        raise CommandError(str(error), Exit.FOUND) from None
    except ChildError as error:
        raise CommandError(str(error), Exit.UNREACHABLE) from None


@contextmanager
def _file(path: str) -> Generator[BinaryIO]:
    """Give a file to write to; it has its name only when everything is in it."""
    temporary = f"{path}.part"
    try:
        with open(temporary, "wb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def _print(output: Output, form: Form, heading: Heading, pieces: Iterator[bytes]) -> None:
    if form == "rows":
        _table(output, heading, _lines(pieces))
    elif not output.terminal:
        output.flush()
        raw = output.out.buffer
        raw.writelines(pieces)
        raw.flush()
    elif form == "ndjson":
        for line in _lines(pieces):
            output.json_text(line.decode())
    else:
        for line in _lines(pieces):
            output.line(safe(line.decode()))


def _table(output: Output, heading: Heading, lines: Iterator[bytes]) -> None:
    import orjson

    from storage.forms import as_text

    shown = [orjson.loads(line) for line in itertools.islice(lines, TERMINAL_ROWS)]
    output.rows(heading.columns, ([as_text(value) for value in row] for row in shown))
    if next(lines, None) is not None:
        output.note(f"only the first {TERMINAL_ROWS} rows; a pipe or --format csv gets all of them")


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the lines that pieces make up, without their ends."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n")
        yield from whole
    if rest:
        yield rest


COMMAND = Command(
    name="sql",
    text="Run one SQL statement (DuckDB's) over the views `events`, `rejects` and `rollups`, as of the last commit. It "
    "runs in a process of its own that can read the archive and nothing else, without network, and is killed at the "
    "deadline. The daemon's own events are among the rows: WHERE NOT internal leaves them out. docs/sql.md has examples.",
    options=(
        Option(("statement",), "the statement", "SQL"),
        Option(
            ("--format",),
            "table, json (one object a line), csv, arrow (IPC stream) or parquet; default: table on a terminal, json in a pipe or file",
            choices=tuple(FORMS),
        ),
        Option(("--output",), "file to write to; it appears when the answer is complete", "FILE"),
        Option(("--param",), "value for $NAME in the statement, as text", "NAME=VALUE", many=True),
        Option(
            ("--deadline",),
            f"seconds it may take (default: {DEADLINE_SECONDS:.0f}), at most [archive] grace_seconds",
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
        "watchkeep sql --param who=alice 'SELECT timestamp, action FROM events WHERE username = $who'",
        'watchkeep sql --format parquet --output errors.parquet "SELECT * FROM events WHERE status_code >= 500"',
    ),
)
