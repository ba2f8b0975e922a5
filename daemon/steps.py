"""Steps that come due again and again. One that fails is tried again later, is counted, and stops no other."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from storage.observer import Observer

_log = logging.getLogger(__name__)


class Steps:
    """Runs the steps of ``work``, one at a time, in its order.

    ``due`` says by step when, on ``clock``; each step moves its own entry. It is looked at every ``tick_seconds``; a
    step that raised waits ``retry_seconds``.
    """

    def __init__(
        self,
        work: Mapping[str, Callable[[], Awaitable[None]]],
        due: dict[str, float],
        observer: Observer,
        clock: Callable[[], float],
        *,
        tick_seconds: float,
        retry_seconds: float,
    ) -> None:
        self._work = work
        self._due = due
        self._observer = observer
        self._clock = clock
        self._tick_seconds = tick_seconds
        self._retry_seconds = retry_seconds

    async def run(self) -> None:
        """Run what is due until cancelled."""
        while True:
            for step, work in self._work.items():
                if self._due[step] <= self._clock():
                    await self._attempt(step, work)
            await asyncio.sleep(self._tick_seconds)

    async def _attempt(self, step: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - whatever a step raises, the others and ingest go on
            self._due[step] = self._clock() + self._retry_seconds
            self._observer.count("upkeep_failures", step=step)
            _log.error(
                "upkeep: %s failed and will be tried again", step, exc_info=error, extra={"step": step}
            )
