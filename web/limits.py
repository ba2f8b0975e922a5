"""How many requests one caller may make: a token bucket each, in bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

# The bucket that was used longest ago goes first; by then it is full again, or its owner has plenty of company.
REMEMBERED = 10_000


class Limiter:
    """Lets ``burst`` requests through at once and ``per_second`` after that, for each name. 0 per second: all."""

    def __init__(self, per_second: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = max(1.0, burst)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name → (tokens, at)

    def wait(self, name: str) -> float:
        """Take a token and return 0, or return how many seconds are missing until there is one."""
        if self._per_second <= 0:
            return 0.0
        tokens = self._tokens(name)
        if tokens < 1:
            return (1 - tokens) / self._per_second
        self._buckets[name] = (tokens - 1, self._clock())
        self._buckets.move_to_end(name)
        if len(self._buckets) > REMEMBERED:
            self._buckets.popitem(last=False)
        return 0.0

    def _tokens(self, name: str) -> float:
        held = self._buckets.get(name)
        if held is None:
            return self._burst
        tokens, at = held
        return min(self._burst, tokens + (self._clock() - at) * self._per_second)

    def __len__(self) -> int:
        return len(self._buckets)
