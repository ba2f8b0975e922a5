"""The committed files of the other nodes in an archive's folder."""

from __future__ import annotations

import os

from storage.fs import Fs
from storage.layout import Layout
from storage.reader import nodes, read_placed
from storage.snapshot import File

_Stamp = tuple[tuple[str, int | None], ...]


class Neighbours:
    """Looks at the other nodes' ledgers, and reads one again only when it grew. Not thread-safe."""

    def __init__(self, fs: Fs, layout: Layout) -> None:
        self._fs = fs
        self._layout = layout
        self._known: dict[str, tuple[_Stamp, list[File]]] = {}

    def files(self) -> list[File]:
        """Return what they have committed, as far as it is in its place."""
        found: list[File] = []
        for node in nodes(self._layout.root, self._fs):
            if node != self._layout.node:
                found += self._of(node)
        return found

    def _of(self, node: str) -> list[File]:
        ledger = Layout(self._layout.root, node).ledger
        stamp = tuple((name, self._fs.size(os.path.join(ledger, name))) for name in self._fs.listdir(ledger))
        if node not in self._known or self._known[node][0] != stamp:
            placed = read_placed(self._layout.root, node, self._fs, patience=0, known=False)
            if not placed.staged:
                self._known[node] = (stamp, placed.files)
            elif node in self._known:  # on the move: what it had before is whole, and is shown once more
                self._known[node] = ((), self._known[node][1])
            else:
                self._known[node] = ((), placed.files)
        return self._known[node][1]
