"""SQL written by a person, in a process of its own that can read the archive and nothing else, and be killed any time.

The parent (`run`) starts ``python -m storage.adhoc``, writes one job to its standard input and reads lines of JSON:
first ``{"columns": [...], "types": [...]}``, then one list of values a row, at the end ``{"rows": n}`` or
``{"error": ...}``. The child confines itself before it imports anything that starts threads.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Generator
from dataclasses import asdict, dataclass, replace
from typing import Any

from storage import sandbox
from storage.errors import ArchiveError, DeadlineError, QueryError

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROWS_AT_ONCE = 1000  # fetched and written together
MAX_SQL_BYTES = 64 << 10  # deeply nested text costs the parser memory that no limit covers
MEBIBYTE = 1 << 20
# Address space above what the process has when it is ready: the query's memory, and room for threads and results.
SLACK_MB = 512
# Besides the archive: the interpreter and its libraries, for what is imported late, and what DuckDB asks of the
# machine (it aborts when it may not read its control group). Of /proc/self only single files: not the environment.
_SYSTEM = (
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/dev/null",
    "/dev/urandom",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/self/cgroup",
    "/proc/self/statm",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
)

_CHILD = "import sys; sys.path.insert(0, {root!r}); from storage.adhoc import main; sys.exit(main())"


@dataclass(frozen=True, slots=True)
class Job:
    """One statement over the views ``events`` and ``rejects`` of an archive, as it is committed when the child starts."""

    root: str  # absolute path
    sql: str
    memory_mb: int
    threads: int
    confined: bool = True


@dataclass(frozen=True, slots=True)
class Heading:
    """Names and DuckDB types of the answer's columns."""

    columns: tuple[str, ...]
    types: tuple[str, ...]


class UnconfinedError(QueryError):
    """This system offers nothing that a query could be confined with."""


def run(job: Job, *, deadline: float) -> Generator[Heading | list[Any], None, None]:
    """Yield the heading, then the rows. The process is killed after ``deadline`` seconds, or when this is closed.

    Raises QueryError for what DuckDB refuses, DeadlineError when time or memory ran out, UnconfinedError,
    and ArchiveError where there is no archive.
    """
    if len(job.sql.encode()) > MAX_SQL_BYTES:
        raise QueryError("the statement is too long", hint=f"at most {MAX_SQL_BYTES // 1024} KiB")
    command = [sys.executable, "-c", _CHILD.format(root=ROOT)]
    child = subprocess.Popen(  # noqa: S603 - our own interpreter; the statement goes through its input, and no variable with a secret comes along
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}
    )
    late = threading.Event()

    def kill() -> None:
        late.set()
        child.kill()

    timer = threading.Timer(deadline, kill)
    timer.daemon = True
    timer.start()
    assert child.stdin is not None
    assert child.stdout is not None
    finished = False
    try:
        try:
            child.stdin.write(json.dumps(asdict(job)).encode())
            child.stdin.close()
        except BrokenPipeError:
            pass  # it ended before it read everything; what it wrote says why
        for line in child.stdout:
            if not line.endswith(b"\n"):
                break  # killed while it wrote
            message = json.loads(line)
            if isinstance(message, list):
                yield message
            elif "columns" in message:
                yield Heading(tuple(message["columns"]), tuple(message["types"]))
            else:
                finished = True
                _raise(message)
        if not finished:
            what = (
                f"the query took longer than {deadline:g} s"
                if late.is_set()
                else "the query needed too much memory"
            )
            raise DeadlineError(
                what, hint="narrow the time range, or give it more with --deadline and --memory"
            )
    finally:
        timer.cancel()
        child.kill()
        child.wait()
        child.stdout.close()


def _raise(message: dict[str, Any]) -> None:
    if "error" not in message:
        return
    if message["kind"] == "sandbox":
        raise UnconfinedError(message["error"])
    if message["kind"] == "archive":
        raise ArchiveError(message["error"])
    if message["kind"] == "memory":
        raise DeadlineError(message["error"], hint="narrow the time range, or give it more with --memory")
    raise QueryError(message["error"])


# The child


def main() -> int:
    """Run the job on standard input; everything is said on standard output."""
    sandbox.die_with_parent()
    job = Job(**json.load(sys.stdin))
    if job.confined:
        try:
            sandbox.confine([job.root, ROOT, sys.prefix, sys.base_prefix, *_SYSTEM])
        except sandbox.SandboxError as error:
            return _say({"error": str(error), "kind": "sandbox"})
    import duckdb  # from here on there are threads
    import pyarrow as pa

    from storage.duck import connect

    try:
        connection = connect(threads=job.threads, memory_limit_mb=job.memory_mb)
        _prepare(connection, job)
        _bound(job.memory_mb)
        rows = _answer(connection, job.sql)
    except (duckdb.OutOfMemoryException, MemoryError):
        return _say({"error": "the query needs more memory than it may use", "kind": "memory"})
    except ArchiveError as error:
        return _say({"error": str(error), "kind": "archive"})
    except (duckdb.Error, pa.ArrowException) as error:
        kind = "memory" if "Out of Memory" in str(error) else "query"
        return _say({"error": str(error), "kind": kind})
    return _say({"rows": rows})


def _prepare(connection: Any, job: Job) -> None:
    """Make the views, then take away whatever else DuckDB could do, as far as it lets itself be held."""
    from storage.publish import view_sql
    from storage.reader import read_snapshot

    snapshot = read_snapshot(job.root)
    for name, files in (("events", snapshot.events), ("rejects", snapshot.rejects)):
        # Absolute, because `allowed_directories` refuses relative paths.
        connection.execute(view_sql(name, [replace(f, path=os.path.join(job.root, f.path)) for f in files]))
    connection.execute("SET enable_progress_bar = false")  # it would be drawn between the rows
    connection.execute("SET temp_directory = ''")
    connection.execute("SET allowed_directories = $1", [[job.root]])
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")


def _bound(memory_mb: int) -> None:
    """Let the process grow by so much and no more: some functions ignore DuckDB's own limit."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        used = int(statm.read().split()[0]) * resource.getpagesize()
    room = used + (memory_mb + SLACK_MB) * MEBIBYTE
    resource.setrlimit(resource.RLIMIT_AS, (room, room))


def _answer(connection: Any, sql: str) -> int:
    """Run one statement and print its rows; returns how many there were."""
    import duckdb

    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise duckdb.InvalidInputException(f"one statement at a time, not {len(statements)}")
    relation = connection.sql(statements[0])
    if relation is None:  # a statement without an answer
        _say({"columns": [], "types": []})
        return 0
    _say({"columns": relation.columns, "types": [str(kind) for kind in relation.types]})
    rows = 0
    for batch in relation.to_arrow_reader(ROWS_AT_ONCE):
        columns = [_values(column) for column in batch.columns]
        rows += batch.num_rows
        # By position: names may repeat.
        lines = (json.dumps(row, default=_plain) for row in zip(*columns, strict=True))
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    return rows


def _values(column: Any) -> list[Any]:
    """Return a column's values for JSON. Times are RFC 3339; they may lie outside the years that Python knows."""
    import numpy as np
    import pyarrow as pa

    if not pa.types.is_timestamp(column.type):
        values: list[Any] = column.to_pylist()
        return values
    zone = "Z" if column.type.tz else ""
    numbers = column.cast(pa.timestamp("us", tz=column.type.tz)).cast(pa.int64()).to_pylist()
    return [None if number is None else f"{np.datetime64(number, 'us')}{zone}" for number in numbers]


def _plain(value: Any) -> Any:
    """Return what JSON has no form for as text; bytes in hexadecimal."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    isoformat = getattr(value, "isoformat", None)
    return isoformat().replace("+00:00", "Z") if isoformat else str(value)


def _say(message: dict[str, Any]) -> int:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
