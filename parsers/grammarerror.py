"""The one error of a search: what is wrong, where, and what to write instead."""

from __future__ import annotations


class GrammarError(ValueError):
    """A search that cannot be read: where (a character, counted from 0), what is wrong, and what to write."""

    def __init__(self, what: str, position: int, hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.position = position
        self.hint = hint
