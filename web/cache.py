"""Answers given again while the archive has not changed: statistics cost a query once, however many pages poll."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

MAX_ANSWERS = 256  # a few kB each; one per distinct question


@dataclass(frozen=True, slots=True)
class Answer:
    """A body, the version of the archive it holds for, and when it was computed (microseconds)."""

    version: str
    body: bytes
    made_us: int


class AnswerCache:
    """Bodies by question. An answer is given again for at most ``reuse_us``, and never for a changed archive."""

    def __init__(self, reuse_us: int) -> None:
        self._reuse_us = reuse_us
        self._answers: OrderedDict[str, Answer] = OrderedDict()
        self._locks: dict[str, tuple[asyncio.Lock, list[int]]] = {}

    def get(self, question: str, version: str, now_us: int) -> Answer | None:
        """Return the answer if it still holds."""
        answer = self._answers.get(question)
        if answer is None or answer.version != version or not 0 <= now_us - answer.made_us < self._reuse_us:
            return None
        self._answers.move_to_end(question)
        return answer

    async def get_or_make(
        self, question: str, version: str, now: Callable[[], int], make: Callable[[], Awaitable[bytes]]
    ) -> Answer:
        """Return the answer, computing it once however many ask at the same time.

        Whoever computes may be cancelled or fail; the next one in line then computes for itself.
        """
        lock, waiting = self._locks.setdefault(question, (asyncio.Lock(), [0]))
        waiting[0] += 1
        try:
            async with lock:
                answer = self.get(question, version, now())
                if answer is None:
                    made_us = now()
                    answer = Answer(version, await make(), made_us)
                    self._put(question, answer)
                return answer
        finally:
            waiting[0] -= 1
            if not waiting[0]:
                self._locks.pop(question, None)

    def _put(self, question: str, answer: Answer) -> None:
        if self._reuse_us <= 0:
            return
        self._answers[question] = answer
        self._answers.move_to_end(question)
        if len(self._answers) > MAX_ANSWERS:
            self._answers.popitem(last=False)
