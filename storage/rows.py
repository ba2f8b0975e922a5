"""Events rendered lately, by where they lie. Files never change, so what was rendered once stays right."""

from __future__ import annotations

import threading
from collections import OrderedDict

CACHE_CHARS = 8_000_000  # about 6,000 events: the pages that dashboards poll, a few MB

Place = tuple[str | None, int]


class RowCache:
    """JSON texts by (file, row number), the least recently used dropped first. For any thread."""

    def __init__(self, chars: int = CACHE_CHARS) -> None:
        self._limit = chars
        self._chars = 0
        self._texts: OrderedDict[Place, str] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, place: Place) -> str | None:
        """Return the text, if it is kept."""
        with self._lock:
            text = self._texts.get(place)
            if text is not None:
                self._texts.move_to_end(place)
            return text

    def put(self, place: Place, text: str) -> None:
        """Keep a text."""
        with self._lock:
            if place in self._texts:
                return
            self._texts[place] = text
            self._chars += len(text)
            while self._chars > self._limit and self._texts:
                self._chars -= len(self._texts.popitem(last=False)[1])
