"""Pieces made in a thread and taken on the event loop, a few ahead of the reader and no more."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")

HAND_OVER_SECONDS = 0.1  # how often a producer that waits for its reader looks whether it should stop


class Handover(Generic[T]):
    """One producer in a thread, one reader on the loop that this was made on."""

    def __init__(self, ahead: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[tuple[T] | None] = asyncio.Queue(ahead)
        self._stopped = threading.Event()

    def produce(self, pieces: Iterable[T]) -> None:
        """Hand every piece over, then the end, also when ``pieces`` raises. Blocks while the reader is slow."""
        try:
            for piece in pieces:
                if self._stopped.is_set():
                    return
                self._put((piece,))
        finally:
            self._put(None)

    def stop(self) -> None:
        """Let the producer know that nobody reads any more."""
        self._stopped.set()

    async def __aiter__(self) -> AsyncIterator[T]:
        """Yield the pieces."""
        while (piece := await self._queue.get()) is not None:
            yield piece[0]

    def _put(self, piece: tuple[T] | None) -> None:
        handing = asyncio.run_coroutine_threadsafe(self._queue.put(piece), self._loop)
        while True:
            try:
                handing.result(HAND_OVER_SECONDS)
                return
            except TimeoutError:
                if self._stopped.is_set():
                    handing.cancel()
                    return
