"""The committed state of an archive, read without the lock and without writing: for commands beside the daemon."""

from __future__ import annotations

import os

from storage.errors import ArchiveError
from storage.fs import Disk, Fs
from storage.layout import NODES, Layout
from storage.ledger import Ledger
from storage.snapshot import File, Snapshot
from storage.state import State, fold


def nodes(path: str, fs: Fs | None = None) -> list[str]:
    """Return the names of the nodes in an archive."""
    return (fs or Disk()).listdir(os.path.join(path, NODES))


def read_state(path: str, node: str, fs: Fs | None = None) -> State:
    """Return a node's committed state; LedgerError if its ledger is damaged or newer than this release."""
    return fold(Ledger(fs or Disk(), Layout(path, node), writer_version="").read(repair=False))


def read_snapshot(path: str, node: str | None = None, *, fs: Fs | None = None) -> Snapshot:
    """Return the committed rows of one node, or of all when ``node`` is None.

    Raises ArchiveError if there is no archive. A file whose record is durable but that a crash left in `staging` is
    left out until the daemon has moved it.
    """
    disk = fs or Disk()
    root = os.path.abspath(path)
    names = [node] if node is not None else nodes(root, disk)
    states = {name: read_state(root, name, disk) for name in names}
    if not any(state.n for state in states.values()):
        raise ArchiveError("there is no archive", where=path, hint="start the daemon, or give --archive")
    files = [
        file
        for state in states.values()
        for file in state.files.values()
        if disk.size(os.path.join(root, file.path)) == file.bytes
    ]
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
    )
