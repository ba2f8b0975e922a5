"""What readers see of an archive: one frozen snapshot after another, swapped whole, and who is told of each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from storage.books import Books
from storage.layout import Layout
from storage.snapshot import File, Snapshot
from storage.visible import Visible

Listener = Callable[[Snapshot], None]


@dataclass(frozen=True, slots=True)
class _Placed:
    """The files that readers see, and what was true of the ledger when all of them were in their places.

    Between a record and the moves it asks for, the books are ahead of what a reader of the folders finds.
    """

    events: tuple[File, ...] = ()
    rollups: tuple[File, ...] = ()
    rejects: tuple[File, ...] = ()
    sealed_seq: int = 0
    max_seq: int = 0
    record: int = 0
    drops: int = 0


class Shown:
    """The present snapshot. ``memory`` is the archive's lock for what readers see, held around ``visible`` as well."""

    def __init__(self, layout: Layout, books: Books, visible: Visible, memory: threading.RLock) -> None:
        self._layout = layout
        self._books = books
        self._visible = visible
        self._memory = memory
        self._placed = _Placed()
        self._view_seq = 0
        self._listeners: list[Listener] = []
        self.snapshot: Snapshot = self._frozen()

    def add_listener(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with every new snapshot, in the thread that made it; returns what ends that.

        Memory is locked meanwhile, so it must return at once.
        """
        with self._memory:
            self._listeners.append(listener)

        def end() -> None:
            with self._memory:
                self._listeners.remove(listener)

        return end

    def swap(self, *, files_changed: bool = False) -> Snapshot:
        """Build the new snapshot and show it. Called with ``memory`` held."""
        if files_changed:
            state = self._books.state
            files = self._books.readable()
            self._placed = _Placed(*files, state.sealed_seq, state.max_seq, state.n, state.drops)
        self.snapshot = snapshot = self._frozen()
        for listener in self._listeners:
            listener(snapshot)
        return snapshot

    def placed(self) -> tuple[Snapshot, int]:
        """Return the snapshot, and the last seq that is in its files."""
        with self._memory:
            return self.snapshot, self._placed.max_seq

    def published(self, seq: int) -> None:
        """Note that outside readers see every row up to ``seq``."""
        with self._memory:
            self._view_seq = max(self._view_seq, seq)
            self.swap()

    def _frozen(self) -> Snapshot:
        placed, visible = self._placed, self._visible
        hot = bool(visible.events or visible.rejects)
        return Snapshot(
            root=self._layout.root,
            node=self._layout.node,
            seq=visible.next_seq - 1 if hot else placed.max_seq,
            seq_internal=visible.max_seq_internal,
            seq_external=visible.max_seq_external,
            view_seq=self._view_seq,
            sealed_seq=placed.sealed_seq,
            commit=placed.record,
            drops=placed.drops,
            events=placed.events,
            rollups=placed.rollups,
            rejects=placed.rejects,
            hot=visible.events,
            hot_rejects=visible.rejects,
        )
