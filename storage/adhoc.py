"""SQL written by a person, in a process of its own that can read the archive and nothing else, and be killed any time.

A `Child` is such a process (`storage.confined` is what runs in it): started without environment and with no open file
but three, told how to confine itself, ready when it has loaded everything, good for one statement. Whoever asks once
uses `run`; a daemon keeps some ready (`storage.spares`).
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from storage.committed import committed_views, programs, readable
from storage.errors import (
    ArchiveError,
    ChildError,
    DeadlineError,
    MemoryCapError,
    StatementError,
    UnconfinedError,
)
from storage.job import (
    DATA,
    END,
    HEADING,
    READY,
    Form,
    Heading,
    Job,
    Mishap,
    Setup,
    View,
    heading_of,
    line,
    mishap_of,
    read_frame,
)

T = TypeVar("T")

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MAX_SQL_BYTES = 64 << 10  # deeply nested text costs the parser memory that no limit covers
START_SECONDS = (
    30.0  # loading takes half a second; on a machine so busy that this passes, nothing would be answered
)
WATCH_SECONDS = 0.02  # between two looks at a running process: it gains some 50 MB at most meanwhile
# Resident memory above what the process has when it is ready, besides the query's own: results, and what functions
# take that DuckDB does not count.
RESULT_MB = 192
MEBIBYTE = 1 << 20
SHOWN_STDERR = 2000  # bytes of what a process said before it died
_MEMORY_WORDS = ("bad_alloc", "MemoryError", "Cannot allocate memory", "out of memory", "Out of Memory")
_KILLED = -9

_CHILD = "import sys; sys.path.insert(0, {root!r}); from storage.confined import main; sys.exit(main())"


@dataclass(frozen=True, slots=True)
class Limits:
    """What a process may use. ``confined`` is false only when somebody asked for that by name."""

    memory_mb: int = 256
    threads: int = 2
    confined: bool = True


@dataclass(frozen=True, slots=True)
class Ask:
    """One statement and what is wanted of its answer; see `storage.job.Job`."""

    sql: str
    params: Mapping[str, Any] = field(default_factory=dict)
    form: Form = "rows"
    max_rows: int | None = None
    max_bytes: int | None = None
    whole: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    def job(self, views: tuple[View, ...]) -> Job:
        """Return the job; StatementError for a statement that is too long."""
        if len(self.sql.encode("utf-8", "surrogatepass")) > MAX_SQL_BYTES:
            hint = f"at most {MAX_SQL_BYTES // 1024} KiB"
            raise StatementError("the statement is too long", kind="long", hint=hint)
        return Job(
            self.sql,
            views,
            dict(self.params),
            self.form,
            self.max_rows,
            self.max_bytes,
            self.whole,
            dict(self.facts),
        )


def run(path: str, ask: Ask, limits: Limits, *, deadline: float) -> Generator[Heading | bytes, None, None]:
    """Yield the heading, then the answer piece by piece, from a process started for this.

    It sees what is committed now, and is killed after ``deadline`` seconds or when this is closed. Raises what
    `Child.answer` raises, and ArchiveError where there is no archive.
    """
    until = time.monotonic() + deadline
    views = committed_views(path)
    job = ask.job(views)
    child = Child(path, limits, views)
    try:
        child.wait_ready(min(deadline, START_SECONDS))
        yield from child.answer(job, deadline=max(0.0, until - time.monotonic()), said=deadline)
    finally:
        child.close()


class Child:
    """A confined process that waits for one job.

    The kernel ends it with the *thread* that made it, so that is one that lives as long as the process is wanted.
    """

    def __init__(self, path: str, limits: Limits, views: tuple[View, ...] = ()) -> None:
        """Start it. ``views`` are those of the job, if they are known already: some lie in unusual places."""
        self._limits = limits
        self._root = os.path.realpath(path)
        self._seen = _identity(readable(self._root, views))
        self._why = ""  # we killed it: "deadline", "memory" or "closed"
        self._resident = 0
        self._done = threading.Event()
        self._watcher: threading.Thread | None = None
        self._errors = os.memfd_create("stderr")
        command = [sys.executable, "-P", "-c", _CHILD.format(root=ROOT)]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter; the statement goes through its input, and no variable with a secret comes along
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env={},
                cwd="/",
                start_new_session=True,  # Ctrl-C is for whoever asked
            )
        except OSError as error:
            os.close(self._errors)
            raise ChildError(f"a process for SQL could not be started: {error.strerror or error}") from error
        setup = Setup(
            self._root,
            tuple(self._seen),
            programs(),
            limits.memory_mb,
            limits.threads,
            limits.confined,
            os.getpid(),
        )
        self._tell(line(setup))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        """Wait until it has loaded everything. Raises UnconfinedError, ChildError, or DeadlineError after that time."""
        timer = threading.Timer(seconds, self._kill, ("deadline",))
        timer.daemon = True
        timer.start()
        try:
            found = self._frame()
        finally:
            timer.cancel()
        if found is not None and found[0] == READY:
            self._resident = self._resident_bytes()
            return
        if found is not None and found[0] == END:
            self._raise(_decoded(mishap_of, found[1]))
        raise self._ended(seconds, started=False)

    def usable(self) -> bool:
        """Return whether it still lives and may read the folders that there are now."""
        return self._process.poll() is None and _identity(readable(self._root)) == self._seen

    def answer(
        self, job: Job, *, deadline: float, said: float | None = None
    ) -> Generator[Heading | bytes, None, None]:
        """Yield the heading, then the answer piece by piece. The process is killed after ``deadline`` seconds.

        Whoever calls this calls `close` afterwards.

        Raises StatementError for what DuckDB refuses, DeadlineError and MemoryCapError for what was stopped (``said``
        is the deadline that is told), ArchiveError for files that cannot be read, and ChildError if the process died
        of something else.
        """
        self._watcher = threading.Thread(
            target=self._watch, args=(time.monotonic() + deadline,), name="watchkeep-sql-watch", daemon=True
        )
        self._watcher.start()
        self._tell(line(job))
        while (found := self._frame()) is not None:
            kind, content = found
            if kind == DATA:
                yield content
            elif kind == HEADING:
                yield _decoded(heading_of, content)
            elif kind == END:
                self._raise(_decoded(mishap_of, content))
                return
            else:
                break
        raise self._ended(said or deadline, started=True)

    def kill(self) -> None:
        """Stop it at once, from any thread; whoever reads its answer then sees the end of it."""
        self._kill("closed")

    def close(self) -> None:
        """Stop it, and wait until it is gone."""
        self._kill("closed")
        self._process.wait()
        self._done.set()
        if self._watcher is not None:
            self._watcher.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        if self._errors >= 0:
            os.close(self._errors)
            self._errors = -1

    def _kill(self, why: str) -> None:
        self._why = self._why or why
        self._process.kill()

    def _watch(self, until: float) -> None:
        """Kill the process when its time is over or it grew too large."""
        most = self._resident + (self._limits.memory_mb + RESULT_MB) * MEBIBYTE
        while not self._done.wait(WATCH_SECONDS):
            if time.monotonic() >= until:
                self._kill("deadline")
            elif self._resident_bytes() > most:
                self._kill("memory")

    def _resident_bytes(self) -> int:
        try:
            with open(f"/proc/{self._process.pid}/statm", encoding="ascii") as statm:
                return int(statm.read().split()[1]) * resource.getpagesize()
        except (OSError, IndexError, ValueError):
            return 0  # it ended

    def _tell(self, text: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it ended before it read everything; what it wrote says why
            self._process.stdin.write(text)
            self._process.stdin.flush()

    def _frame(self) -> tuple[bytes, bytes] | None:
        assert self._process.stdout is not None
        return read_frame(self._process.stdout)

    def _raise(self, mishap: Mishap | None) -> None:
        if mishap is None:
            return
        if mishap.kind == "sandbox":
            raise UnconfinedError(mishap.text)
        if mishap.kind == "archive":
            raise ArchiveError(mishap.text, hint="run 'watchkeep verify'", retry=True)
        if mishap.kind == "memory":
            raise MemoryCapError(mishap.text, hint="narrow the time range, or ask for less at a time")
        raise StatementError(mishap.text, kind=mishap.kind)

    def _ended(self, deadline: float, *, started: bool) -> ArchiveError:
        """Return why there is no end of the answer: we killed it, memory ran out, or something is wrong with it."""
        status = self._process.wait()
        if self._why == "deadline":
            hint = "narrow the time range, or ask for less at a time"
            return DeadlineError(f"the statement took longer than {deadline:g} s", hint=hint)
        if self._why == "closed":
            return DeadlineError("the statement was stopped")
        errors = os.pread(self._errors, SHOWN_STDERR, 0).decode("utf-8", "replace").strip()
        # The system ends processes for memory with the same signal that we use.
        for_memory = status == _KILLED or any(word in errors for word in _MEMORY_WORDS)
        if self._why == "memory" or (started and for_memory):
            hint = "narrow the time range, or ask for less at a time"
            return MemoryCapError("the statement needed more memory than it may use", hint=hint)
        what = "ended without an answer" if started else "could not be started"
        how = f"signal {-status}" if status < 0 else f"exit code {status}"
        last = errors.splitlines()[-1] if errors else "it said nothing"
        return ChildError(f"the process for SQL {what}", where=f"{how}: {last}", hint="see the log")


def _decoded(decode: Callable[[bytes], T], content: bytes) -> T:
    try:
        return decode(content)
    except (ValueError, KeyError, TypeError) as error:
        raise ChildError("the process for SQL said what it never says") from error


def _identity(paths: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """Return which folders they are: a folder that was replaced is another one to the kernel."""
    found = {}
    for path in paths:
        with suppress(OSError):
            facts = os.stat(path)
            found[path] = (facts.st_dev, facts.st_ino)
    return found
