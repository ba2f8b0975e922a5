"""The shape of a profile's lines: which keys they have, learned from the lines, as DuckDB's structure for from_json.

A shape is a tree of objects and leaves. Known names become columns; unknown keys that keep coming are leaves too, so
that they stay on the fast path and end in `extra`. What a shape does not foresee goes the slow path and is learned
from there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from parsers.columns import BY_NAME
from parsers.jsontext import Number
from parsers.names import NAMES, NATIVE_PARENTS, PARENTS

Kind = Literal["text", "scalar", "json"]

MOST_UNKNOWN = 64  # unknown keys in one shape: enough for any writer, a bound for keys that are really values
SEEN_BEFORE_LEARNED = 3  # lines that must have had an unknown key before the shape grows: a typo is no shape
MOST_CANDIDATES = 1000  # unknown keys counted at a time
_SAFE_KEY = re.compile(r"[A-Za-z0-9_@.\-/$: ]{1,64}")  # keys that may be spelled in SQL

_SCALARS = ("user_id", "entity_id")  # text columns that numbers are common in
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One key of the shape: its path, its column (None: it goes to `extra`), and how it is read.

    ``text``: a JSON string, taken as it is; ``scalar``: JSON text of a string or number, looked at after; ``json``: the
    JSON text of any value.
    """

    path: Path
    column: str | None
    rank: int
    kind: Kind


@dataclass(slots=True)
class Shape:
    """What is known of a profile's lines so far. ``version`` rises with each change."""

    leaves: dict[Path, Leaf] = field(default_factory=dict)
    parents: set[Path] = field(default_factory=set)
    version: int = 0
    candidates: Counter[Path] = field(default_factory=Counter)
    _folded: dict[Path, Path] = field(
        default_factory=dict
    )  # lower case → path: DuckDB folds the names of a struct

    def learn(self, value: dict[str, Any], *, at_once: bool = False) -> None:
        """Extend the shape by one line's keys; unknown ones only after several lines, or ``at_once`` for a sample."""
        for path, item in _members(value, ()):
            if item is None:
                continue
            name = ".".join(path)
            if name in PARENTS and isinstance(item, dict):
                continue  # its members follow
            known = NAMES.get(name)
            if name in NATIVE_PARENTS:
                continue  # another type than an object: decided line by line
            if known is None and not at_once and not self._often(path):
                continue
            if known is None and sum(leaf.column is None for leaf in self.leaves.values()) >= MOST_UNKNOWN:
                continue
            self._add(path, known, item)

    def _often(self, path: Path) -> bool:
        if len(self.candidates) >= MOST_CANDIDATES:
            self.candidates.clear()
        self.candidates[path] += 1
        return self.candidates[path] >= SEEN_BEFORE_LEARNED

    def _add(self, path: Path, known: tuple[str, int] | None, item: Any) -> None:
        old = self.leaves.get(path)
        column, rank = known if known is not None else (None, len(NAMES))
        kind = _kind(column, item)
        if old is not None:
            if old.kind == "text" and kind == "scalar":  # a number where only strings were seen so far
                self.leaves[path] = Leaf(path, column, rank, kind)
                self.version += 1
            return
        steps = [path[:length] for length in range(1, len(path) + 1)]
        if not all(_SAFE_KEY.fullmatch(key) for key in path) or path in self.parents:
            return
        if any(step in self.leaves for step in steps):
            return
        if any(self._folded.get(tuple(key.lower() for key in step), step) != step for step in steps):
            return
        self._folded.update({tuple(key.lower() for key in step): step for step in steps})
        self.parents.update(steps[:-1])
        self.leaves[path] = Leaf(path, column, rank, kind)
        self.version += 1

    def structure(self) -> str:
        """Return the JSON text of DuckDB's structure, keys in the order of `tree`."""
        return orjson.dumps(_structure(self.tree())).decode()

    def tree(self) -> dict[str, Any]:
        """Return the leaves as nested objects; their order is the order of the struct's fields."""
        root: dict[str, Any] = {}
        for leaf in self.leaves.values():
            at = root
            for key in leaf.path[:-1]:
                at = at.setdefault(key, {})
            at[leaf.path[-1]] = leaf
        return root

    def __bool__(self) -> bool:
        return bool(self.leaves)

    def sql(self) -> str:
        """Return the statement that reads the column `line` of `lines` into one struct `s` per row."""
        literal = self.structure().replace("'", "''")
        return f"SELECT from_json(line, '{literal}') AS s FROM lines"  # values of `line` never reach the text


VALID_SQL = "SELECT json_valid(line) AS valid FROM lines"


def _structure(node: Any) -> Any:
    if isinstance(node, Leaf):
        return "VARCHAR" if node.kind == "text" else "JSON"
    return {key: _structure(item) for key, item in node.items()}


def _members(value: dict[str, Any], parents: Path) -> Iterator[tuple[Path, Any]]:
    for key, item in value.items():
        path = (*parents, key)
        yield path, item
        if isinstance(item, dict) and ".".join(path) in PARENTS:
            yield from _members(item, path)


def _kind(column: str | None, item: Any) -> Kind:
    if column is None:
        return "json"
    about = BY_NAME[column]
    if about.json or about.sql not in {"VARCHAR", "TIMESTAMPTZ"}:
        return "json" if about.json or about.sql.endswith("[]") else "scalar"
    number = isinstance(item, Number | int | float)
    return "scalar" if number or column in _SCALARS else "text"
