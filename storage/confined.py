"""The process that answers one statement in SQL: confined first, ready soon, thrown away afterwards.

It reads a `Setup`, gives up everything that a query never needs, and only then loads what starts threads. When a `Job`
comes it makes the views, takes away whatever else DuckDB could do as far as that lets itself be held, answers and ends.
What holds is the kernel (`storage.sandbox`), the limits below and whoever may kill this process; DuckDB's own locks
are a second door in front of it.
"""

from __future__ import annotations

import importlib
import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from storage import sandbox
from storage.job import (
    DATA,
    END,
    HEADING,
    READY,
    Heading,
    Job,
    Mishap,
    Setup,
    View,
    frame,
    frames,
    job_of,
    setup_of,
    told,
)

ROWS_AT_ONCE = 1000  # fetched and written together
MEBIBYTE = 1 << 20
# Address space above what the process has when it is ready: the query's memory, and room for threads and results.
SLACK_MB = 512
NICE = 10  # statements of people wait for the daemon, not the other way round
MAX_FILE_BYTES = 64 << 10  # of what it may write to any file: its standard error, and nothing else is open
PIECE_BYTES = 64 << 10  # rows are handed over together from here on

_Part = tuple[Any, bool]  # a batch of rows, and whether others behind it are left out

PRELOADED = ("orjson", "pyarrow.ipc", "pyarrow.parquet")  # now, not when somebody waits
# What reads. Others are told so before they run; this is a courtesy, for a SELECT can hold a COPY.
READING = ("SELECT", "EXPLAIN", "MULTI", "CALL", "PRAGMA")


def main() -> int:
    """Do one job. Everything is said on standard output; returns 0 also when the statement failed."""
    out = sys.stdout.buffer
    setup = setup_of(sys.stdin.buffer.readline())
    try:
        _give_up(setup)
    except sandbox.SandboxError as error:
        return _end(Mishap("sandbox", str(error)))
    os.chdir(setup.root)  # paths in answers and messages are those below the archive
    import duckdb  # from here on there are threads
    import pyarrow as pa

    from storage import forms
    from storage.duck import connect

    for name in PRELOADED:
        importlib.import_module(name)
    connection = connect(threads=setup.threads, memory_limit_mb=setup.memory_mb)
    connection.sql("SELECT 1").to_arrow_table()
    _lock(connection, setup)
    _bound(setup.memory_mb)
    out.write(frame(READY))
    out.flush()

    given = sys.stdin.buffer.readline()
    if not given.endswith(b"\n"):
        return 0  # whoever started it ended
    job = job_of(given)
    try:
        _prepare(connection, job)
        for piece in _answer(connection, job):
            out.write(piece)
    except (duckdb.OutOfMemoryException, pa.ArrowMemoryError, MemoryError):
        return _end(Mishap("memory", "the statement needs more memory than it may use"))
    except (duckdb.Error, pa.ArrowException, forms.UnwritableError) as error:
        return _end(_mishap(error, str(error).replace(setup.root, "archive"), job))
    out.write(frame(END))
    out.flush()
    return 0


def _give_up(setup: Setup) -> None:
    sandbox.die_with_parent()
    if setup.parent and os.getppid() != setup.parent:
        raise SystemExit(0)  # it ended before we asked to be told
    with suppress(PermissionError):  # a service may not be allowed even that
        os.nice(NICE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, MAX_FILE_BYTES))
    if setup.confined:
        sandbox.confine((*setup.readable, *setup.programs))


def _lock(connection: Any, setup: Setup) -> None:
    """Hold DuckDB to the readable folders, below which the views' paths lie."""
    connection.execute("SET enable_progress_bar = false")  # it would be drawn between the rows
    connection.execute("SET temp_directory = ''")
    connection.execute("SET allowed_directories = $1", [list(setup.readable)])
    connection.execute("SET enable_external_access = false")


def _prepare(connection: Any, job: Job) -> None:
    """Make the views; nothing can be set afterwards."""
    for view in job.views:
        # As a variable: thousands of names in the view's own text would be parsed with every use of it.
        variable = f"files of {view.name}"
        if view.files:
            connection.execute(f'SET VARIABLE "{variable}" = $1', [list(view.files)])
        connection.execute(_view_sql(view, variable))
    connection.execute("SET lock_configuration = true")


def _view_sql(view: View, variable: str) -> str:
    if not view.files:
        columns = ", ".join(f'CAST(NULL AS {kind}) AS "{name}"' for name, kind in view.columns)
        return f'CREATE VIEW "{view.name}" AS SELECT {columns} WHERE false'
    columns = ", ".join(f'"{name}"' for name, _ in view.columns)
    united = ", union_by_name = true" if view.united else ""
    return (
        f'CREATE VIEW "{view.name}" AS SELECT {columns} '
        f"FROM read_parquet(getvariable('{variable}'){united}, hive_partitioning = false)"
    )


def _bound(memory_mb: int) -> None:
    """Let the process grow by so much and no more: some functions ignore DuckDB's own limit."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    room = used + (memory_mb + SLACK_MB) * MEBIBYTE
    resource.setrlimit(resource.RLIMIT_AS, (room, room))


def _answer(connection: Any, job: Job) -> Iterator[bytes]:
    """Run the statement and yield the frames of its heading and rows."""
    import duckdb
    import pyarrow as pa

    from storage.forms import ENCODERS

    started = time.perf_counter()
    statements = connection.extract_statements(job.sql)
    if len(statements) != 1:
        counted = f"one statement at a time, not {len(statements)}" if statements else "there is no statement"
        raise duckdb.InvalidInputException(counted)
    kind = statements[0].type.name
    if kind not in READING:
        raise duckdb.PermissionException(f"{kind.replace('_', ' ')} does more than read")
    relation = connection.sql(statements[0], params=dict(job.params) or None)
    batches: Iterator[_Part] = iter(())
    if relation is None:  # a statement without an answer
        heading, schema = Heading((), (), 0, False), pa.schema([])
    else:
        reader = relation.to_arrow_reader(ROWS_AT_ONCE)
        heading = Heading(tuple(relation.columns), tuple(str(kind) for kind in relation.types))
        schema, batches = reader.schema, _capped(reader, job)
    if job.whole:
        held = list(batches)
        rows = sum(batch.num_rows for batch, _ in held)
        heading = Heading(heading.columns, heading.types, rows, any(cut for _, cut in held))
        batches = iter(held)
    facts = {"ms": round((time.perf_counter() - started) * 1000, 1), **job.facts}
    pieces = _gathered(ENCODERS[job.form](heading, schema, (batch for batch, _ in batches), facts))
    first = next(pieces, b"")  # what the form cannot hold is found out before the heading leaves
    yield frame(HEADING, told(heading))
    yield from frames(DATA, first)
    for piece in pieces:
        yield from frames(DATA, piece)


def _capped(batches: Any, job: Job) -> Iterator[_Part]:
    """Yield batches until a cap is reached, each with whether rows of it or after it are left out."""
    rows_left, bytes_left = job.max_rows, job.max_bytes
    for whole in batches:
        batch = whole
        if rows_left is not None:
            batch = batch.slice(0, rows_left)
            rows_left -= batch.num_rows
        if bytes_left is not None:
            while batch.num_rows and batch.nbytes > bytes_left:
                batch = batch.slice(0, batch.num_rows // 2)
            bytes_left -= batch.nbytes
        cut = batch.num_rows < whole.num_rows
        yield batch, cut
        if cut:
            return


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Join small pieces: a row each would be a system call each."""
    held: list[bytes] = []
    size = 0
    for piece in pieces:
        held.append(piece)
        size += len(piece)
        if size >= PIECE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _mishap(error: Exception, text: str, job: Job) -> Mishap:
    import duckdb

    if "Out of Memory" in text:
        return Mishap("memory", text)
    if isinstance(error, duckdb.ParserException):
        return Mishap("syntax", text)
    if isinstance(error, duckdb.PermissionException) or "disabled by configuration" in text:
        return Mishap("refused", text)
    if isinstance(error, duckdb.IOException) and "Permission denied" in text:
        return Mishap("refused", text)
    mistakes = (duckdb.BinderException, duckdb.CatalogException, duckdb.ConversionException)
    if not isinstance(error, mistakes) and (name := _damaged(job)):
        return Mishap("archive", f"a file of the archive could not be read: {name}")
    return Mishap("query", text)


def _damaged(job: Job) -> str | None:
    """Return the first file whose footer cannot be read: DuckDB tells only what is wrong in it."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for name in (file for view in job.views for file in view.files):
        try:
            pq.read_metadata(name)
        except (pa.ArrowException, OSError):
            return name
    return None


def _end(mishap: Mishap) -> int:
    sys.stdout.buffer.write(frame(END, told(mishap)))
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
