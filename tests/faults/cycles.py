"""Kills a process at its N-th file operation of a cycle on a real disk, then in the recovery, then counts.

Run as a program: it imports everything once and forks for each kill. Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from storage import failpoints
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.meeting import source_of
from tests.storage.made import LINE, lines, seen

DROPPED_BEFORE = "2023-11-15"


def options(folder: Path) -> ArchiveOptions:
    return ArchiveOptions(path=str(folder / "archive"), grace_seconds=0.0, fold_files=3)


class Killer:
    """Kills this process before its N-th operation. The many small writes of one Parquet file count once."""

    def __init__(self, number: int) -> None:
        self.left = number
        self.last = ("", "")

    def __call__(self, operation: str, path: str) -> None:
        before, self.last = self.last, (operation, path)
        if before == self.last == ("write", path):
            return
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


def cycle(folder: Path) -> None:
    """Do everything that writes, and note what was acknowledged in a file of its own."""
    archive = Archive.open(options(folder))
    sid = next(iter(archive.sources), None)
    source = source_of(archive.sources[sid]) if sid else archive.register(seen("a.jsonl"))
    end = archive.sources[source.sid].offset

    def add(count: int) -> None:
        nonlocal end
        parsed, chunk = lines(source, end, count)
        archive.append(parsed, [chunk])
        archive.commit()
        end = chunk.end
        (folder / "acknowledged").write_text(f"{source.sid} {end}")

    for count in (3, 2, 2, 2):
        add(count)
    archive.fold()
    archive.seal()
    archive.collect()
    archive.state.commits_since_snapshot = 10_000
    add(4)
    archive.drop(DROPPED_BEFORE, dry_run=False)
    archive.collect()
    archive.publish()
    add(1)
    archive.close()


def recovery(folder: Path) -> None:
    Archive.open(options(folder)).abandon()


def count(folder: Path) -> None:
    """Recover and compare; exits with 1 and a word if anything is wrong."""
    archive = Archive.open(options(folder))
    assert archive.problems == [], archive.problems
    if (folder / "acknowledged").exists():
        sid, end = (folder / "acknowledged").read_text().split()
        assert archive.sources[sid].offset >= int(end), "lost"
    rows = []
    for file in archive.state.files.values():
        if file.kind == "events":
            table = pq.read_table(
                folder / "archive" / file.path, columns=["source", "source_offset"], partitioning=None
            )
            rows += [(row["source"], row["source_offset"]) for row in table.to_pylist()]
    expected = {(sid, at) for sid, state in archive.sources.items() for at in range(0, state.offset, LINE)}
    assert len(rows) == len(set(rows)), "twice"
    assert set(rows) <= expected
    if not archive.state.drops:
        assert set(rows) == expected, "lost"
    archive.abandon()


def forked(work: Callable[[Path], None], folder: Path, kill_at: int | None) -> int:
    """Run something in a child; returns its wait status."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    try:
        if kill_at is not None:
            failpoints.plant(Killer(kill_at))
        work(folder)
    except BaseException as error:  # noqa: BLE001 - the parent hears of it
        sys.stderr.write(f"{work.__name__}: {error!r}\n")
        os._exit(1)
    os._exit(0)


def main(folder: Path, first: int, step: int) -> None:
    kills = in_recovery = 0
    number = first
    while True:
        place = folder / str(number)
        place.mkdir()
        status = forked(cycle, place, number)
        if status == 0:
            break
        assert os.WIFSIGNALED(status), f"operation {number}"
        kills += 1
        for again in (number % 13, number % 7):
            if os.WIFSIGNALED(forked(recovery, place, again)):
                in_recovery += 1
        assert forked(count, place, None) == 0, f"operation {number}"
        assert forked(cycle, place, None) == 0, f"operation {number}: the work does not go on"
        assert forked(count, place, None) == 0, f"operation {number}"
        number += step
    print(json.dumps({"kills": kills, "in_recovery": in_recovery, "operations": number}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
