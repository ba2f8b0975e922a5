"""Where the CPU of ingest goes: µs an event by stage, of an import and of live batches, beside bare DuckDB.

The program itself runs, in this process, with a clock around the functions of STAGES. A stage's time is its thread's
own CPU seconds, without those of the stages that it calls; what threads without a stage use is the last row.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import io
import shutil
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.daemon import configure
from benchmarks.feed import Feed
from benchmarks.generate import generate
from benchmarks.measure import DEFAULT_DATA, BenchmarkError, table

EVENTS = 500_000
LIVE_BATCH = 16_384  # lines: what a daemon takes at once while it catches up
COMMIT_BATCHES = 4  # about 64 MiB of hot rows


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the way and the functions it consists of, as ``module:name``, where they are called from."""

    name: str
    functions: tuple[str, ...]


STAGES = (
    Stage("read and hash lines", ("daemon.reader:Reader.read", "benchmarks.feed:Feed.chunk")),
    Stage("frame", ("storage.transform:frame",)),
    Stage("weigh", ("storage.transform:_weights",)),
    Stage("from_json in DuckDB", ("storage.transform:Transformer._structs",)),
    Stage("extract and prove", ("storage.transform:extract",)),
    Stage("finish", ("storage.transform:finish",)),
    Stage("places", ("storage.transform:located",)),
    Stage("redact", ("parsers.redact:Redactor.table",)),
    Stage("parse, the rest", ("storage.transform:Transformer.parse",)),
    Stage("risk: what habits need", ("parsers.acts:ActReader.read",)),
    Stage("risk: habits", ("parsers.habits:Habits.fold",)),
    Stage("risk: scores", ("daemon.scoring:Scorer.score",)),
    Stage("risk: checkpoints", ("daemon.scoring:Scorer.checkpoint",)),
    Stage("number rows, make visible", ("storage.archive:Archive.append",)),
    Stage(
        "gather rows for sealed files", ("storage.bulkimports:BulkImports.append", "storage.merge:Inputs.slices")
    ),
    Stage("texts to numbers, kept for roll-ups",
        (
            "storage.seal:coded",
            "storage.commit:coded",
            "storage.parquet:one_dictionary",
            "storage.seal:narrowed",
        ),
    ),
    Stage("roll-ups: count", ("storage.rollups:delta",)),
    Stage("roll-ups: write", ("storage.seal:stage_rollup", "storage.commit:stage_rollup")),
    Stage("sketches", ("storage.parquet:sketch",)),
    Stage("encode Parquet", ("storage.parquet:ParquetFile.write", "storage.parquet:ParquetFile.finish")),
    Stage("hash and write Parquet", ("storage.parquet:_Sink._pass_on",)),
    Stage(
        "commit, the rest",
        ("storage.archive:Archive.commit", "storage.bulkimports:BulkImports.commit", "storage.seal:SealedWriter._end"),
    ),
    Stage("seal, the rest", ("storage.archive:Archive.seal",)),
    Stage("publish", ("storage.archive:Archive.publish",)),
)  # fmt: skip


class Clock:
    """CPU seconds by stage, of all threads."""

    def __init__(self) -> None:
        self.spent: defaultdict[str, float] = defaultdict(float)
        self._own = threading.local()
        self._lock = threading.Lock()

    def around(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """Return ``work`` with a clock around it."""

        @functools.wraps(work)
        def timed(*given: Any, **named: Any) -> Any:
            stack: list[float] = self._own.__dict__.setdefault("stack", [])
            stack.append(0.0)
            began = time.thread_time()
            try:
                return work(*given, **named)
            finally:
                whole = time.thread_time() - began
                inner = stack.pop()
                if stack:
                    stack[-1] += whole
                with self._lock:
                    self.spent[name] += whole - inner

        return timed


@contextlib.contextmanager
def clocked(clock: Clock) -> Iterator[None]:
    """Put the clock around every function of STAGES, and take it away again. Raises BenchmarkError for one that is gone."""
    undo: list[tuple[Any, str, Any]] = []
    try:
        for stage in STAGES:
            for function in stage.functions:
                module, _, path = function.partition(":")
                *owners, name = path.split(".")
                owner: Any = importlib.import_module(module)
                for part in owners:
                    owner = getattr(owner, part)
                if name not in vars(owner):
                    raise BenchmarkError(f"there is no {function} any more: mend benchmarks/stages.py")
                undo.append((owner, name, vars(owner)[name]))
                setattr(owner, name, clock.around(stage.name, getattr(owner, name)))
        yield
    finally:
        for owner, name, before in reversed(undo):
            setattr(owner, name, before)


@dataclass(frozen=True, slots=True)
class Run:
    """What one way cost, in CPU seconds: by stage, and all of it."""

    spent: Mapping[str, float]
    whole: float
    events: int


def imported(data: Path, files: list[str], events: int) -> Run:
    """Import files as `watchkeep ingest` does."""
    from daemon.cli import main as watchkeep

    archive = data / "stages-import"
    shutil.rmtree(archive, ignore_errors=True)
    config = configure(data / "settings", archive, data / "no-logs", 0)
    clock = Clock()
    began = time.process_time()
    with clocked(clock), contextlib.redirect_stdout(io.StringIO()) as said:
        code = watchkeep(["ingest", "--config", config, "--json", *files])
    if code:
        raise BenchmarkError(f"the import ended with {code}: {said.getvalue()}")
    return Run(clock.spent, time.process_time() - began, events)


def live(data: Path, files: list[str], events: int) -> Run:
    """Append batches, commit them and seal, as a daemon that catches up does."""
    archive = data / "stages-live"
    shutil.rmtree(archive, ignore_errors=True)
    clock = Clock()
    with clocked(clock), Feed(archive, scored=True) as feed:
        began = time.process_time()
        for number, lines in enumerate(_batches(files), 1):
            feed.append(feed.parse(chunk := feed.chunk(lines)), chunk)
            if number % COMMIT_BATCHES == 0:
                feed.archive.commit()
        feed.archive.commit()
        feed.archive.seal()
        feed.archive.publish()
        whole = time.process_time() - began
    return Run(clock.spent, whole, events)


def _batches(files: list[str]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    for path in files:
        with Path(path).open("rb") as file:
            for line in file:
                batch.append(line)
                if len(batch) == LIVE_BATCH:
                    yield batch
                    batch = []
    if batch:
        yield batch


def measure(data: Path, events: int) -> None:
    """Print the table."""
    source = data / f"events-{events}"
    files = [str(source / name) for name in generate(source, events).files]
    started = time.process_time()
    imported(data, files[-1:], events)  # modules are loaded, pages of the files are in memory
    started = time.process_time() - started
    runs = (imported(data, files, events), live(data, files, events))
    bare = _bare(data, files) / events * 1e6
    rows: list[list[str]] = []

    def row(name: str, seconds: list[float]) -> None:
        cells = [s / run.events * 1e6 for s, run in zip(seconds, runs, strict=True)]
        rows.append([name, *(f"{cell:.2f}" if cell else "" for cell in cells)])

    for stage in STAGES:
        row(stage.name, [run.spent.get(stage.name, 0.0) for run in runs])
    row("the rest, and other threads", [run.whole - sum(run.spent.values()) for run in runs])
    row("together", [run.whole for run in runs])
    rows.append(["bare COPY, 1 thread", f"{bare:.2f}", f"{bare:.2f}"])
    rows.append(["bare / ours", *(f"{bare / (run.whole / run.events * 1e6):.2f} x" for run in runs)])
    table(
        f"Stages of ingest: µs of CPU an event, {events:,} events",
        ("stage", "import", f"live, {LIVE_BATCH:,} lines a batch"),
        rows,
    )


def _bare(data: Path, files: list[str]) -> float:
    from benchmarks.bare import copy

    target = data / "stages-bare"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    began = time.process_time()
    copy(files, str(target), 1)
    return time.process_time() - began


def main() -> int:
    """Measure once."""
    parser = argparse.ArgumentParser(prog="benchmarks.stages", description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    given = parser.parse_args()
    measure(given.data, given.events)
    return 0


if __name__ == "__main__":
    sys.exit(main())
