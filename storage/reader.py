"""The committed state of an archive, read without the lock and without writing: for commands beside the daemon."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace

from storage.errors import ArchiveError, LedgerError
from storage.fs import Disk, Fs
from storage.layout import NODES, Layout
from storage.ledger import Ledger
from storage.recovery import refuse_if_behind
from storage.snapshot import File, Snapshot
from storage.state import State, fold

PATIENCE_SECONDS = 2.0  # how long a reader waits for files to be moved to their places
PAUSE_SECONDS = 0.01


def nodes(path: str, fs: Fs | None = None) -> list[str]:
    """Return the names of the nodes in an archive."""
    disk, folder = fs or Disk(), os.path.join(path, NODES)
    return [name for name in disk.listdir(folder) if disk.isdir(os.path.join(folder, name))]


def read_state(path: str, node: str, fs: Fs | None = None) -> State:
    """Return a node's committed state; LedgerError if its ledger is damaged or newer than this release."""
    return fold(Ledger(fs or Disk(), Layout(path, node), writer_version="").read(repair=False))


def known_state(path: str, node: str, fs: Fs | None = None) -> State:
    """Return a node's committed state while nobody writes, for a command that tells what it holds or decides by it.

    Raises ArchiveError where there is no such node, and LedgerError where files say that records are missing: a lost
    ledger must not pass for one without holds, exports and files.
    """
    disk = fs or Disk()
    state = read_state(path, node, disk)
    refuse_if_behind(disk, Layout(path, node), state)
    if not state.n:
        raise absent(path, node, disk)
    return state


def absent(path: str, node: str | None, disk: Fs) -> ArchiveError:
    """Return the error that says what is not there: the node, or the whole archive."""
    others = [name for name in nodes(path, disk) if name != node]
    if node is None or not others:
        return ArchiveError("there is no archive", where=path, hint="start the daemon, or give --archive")
    hint = f"it has {', '.join(others)}: correct [archive] node, or start the daemon"
    return ArchiveError(f"the archive has no node {node}", where=path, hint=hint)


@dataclass(frozen=True, slots=True)
class Placed:
    """A node's state, its files that are in their places, and those still in `staging`, under the path they have there.

    ``lost`` are those that are in neither, or not whole.
    """

    state: State
    files: list[File]
    staged: list[File]
    lost: list[File]


def read_placed(
    path: str, node: str, fs: Fs | None = None, *, patience: float = PATIENCE_SECONDS, known: bool = True
) -> Placed:
    """Return a node's committed state and files.

    Between a record and the moves it asks for (milliseconds, or until the next start if the daemon died in between) rows
    are in files that are not in their places yet, and no longer in those they were merged from: this is waited out.
    Raises LedgerError if there are files whose records are missing, and stay so (the ledger was lost or cut); not
    ``known``: whoever asks has no use for that.
    """
    disk = fs or Disk()
    layout = Layout(path, node)
    until = time.monotonic() + patience
    while True:
        state = read_state(path, node, disk)
        try:
            if known:
                refuse_if_behind(disk, layout, state)
        except LedgerError:
            if time.monotonic() >= until:
                raise
            time.sleep(PAUSE_SECONDS)  # a commit came after the ledger was read
            continue
        placed, staged, lost = [], [], []
        for file in state.files.values():
            if _is_whole(disk, layout.absolute(file.path), file):
                placed.append(file)
            elif _is_whole(disk, layout.staged(file.path), file):
                staged.append(replace(file, path=os.path.relpath(layout.staged(file.path), path)))
            elif _is_whole(disk, layout.absolute(file.path), file):  # moved while we looked
                placed.append(file)
            else:
                lost.append(file)
        if not staged or time.monotonic() >= until:
            return Placed(state, placed, staged, lost)
        time.sleep(PAUSE_SECONDS)


def _is_whole(disk: Fs, path: str, file: File) -> bool:
    return disk.size(path) == file.bytes


def read_snapshot(
    path: str, node: str | None = None, *, fs: Fs | None = None, patience: float = PATIENCE_SECONDS
) -> Snapshot:
    """Return the committed rows of one node, or of all when ``node`` is None.

    Raises ArchiveError if there is no archive. A file whose record is durable but that a crash left in `staging` is
    read there. A file that is missing or damaged is left out, and among the ``lost``.
    """
    disk = fs or Disk()
    root = os.path.abspath(path)
    names = [node] if node is not None else nodes(root, disk)
    found = {name: read_placed(root, name, disk, patience=patience) for name in names}
    states = {name: placed.state for name, placed in found.items()}
    if not any(state.n for state in states.values()):
        raise absent(root, node, disk)
    files = [file for placed in found.values() for file in (*placed.files, *placed.staged)]
    files.sort(key=lambda file: (file.max_time_us, file.max_seq), reverse=True)

    def only(kind: str) -> tuple[File, ...]:
        return tuple(file for file in files if file.kind == kind)

    return Snapshot(
        root=root,
        node=names[0],
        seq=max(state.max_seq for state in states.values()),
        seq_internal=max(state.max_seq_internal for state in states.values()),
        seq_external=max(state.max_seq_external for state in states.values()),
        view_seq=max(state.max_seq for state in states.values()),
        sealed_seq=min(state.sealed_seq for state in states.values()),
        commit=max(state.n for state in states.values()),
        drops=sum(state.drops for state in states.values()),
        events=only("events"),
        rollups=only("rollup"),
        rejects=only("rejects"),
        hot=(),
        hot_rejects=(),
        lost=tuple(file for placed in found.values() for file in placed.lost if file.kind != "rollup"),
    )
