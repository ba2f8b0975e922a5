"""From DuckDB's structs to drafts, and the proof, per line, that nothing was lost or misread on the way.

A row is sure when its line's weight is accounted for (`parsers.weigh`), every value has a form that its column takes
without a decision, and nothing occurs that JSON text cannot carry exactly. All other rows go the slow path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from parsers.arrow import Array, Int64s, Mask, from_numpy, numbers, pc, rows, strings, texts, true, valid
from parsers.columns import BY_NAME
from parsers.draft import DRAFT_SCHEMA
from parsers.flags import BIT
from parsers.jsontext import JsonError, exact, read, string
from parsers.names import OTEL_NUMBERS, PARENTS
from parsers.shape import Leaf, Shape
from parsers.slow import WrongTypeError, convert
from parsers.vocabulary import OTEL_PREFIX
from parsers.weigh import (
    KEY,
    MOST_KEYS,
    NULL,
    OBJECT,
    STRING,
    brackets,
    first_bytes,
    unsure_numbers,
    weigh_texts,
    weigh_values,
)

_QUOTE, _OBJECT, _ARRAY, _BACKSLASH = 0x22, 0x7B, 0x5B, 0x5C
# What may be a number with more digits than a double has.
_LONG_NUMBER: Final = r"[0-9][0-9.eE+-]{15,}"
# A number with a fraction or an exponent that stands where a value stands.
_FRACTION: Final = r"(?:^|[:,\[])\s*-?[0-9]+[.eE]"
_LONG_NUMBERS = re.compile(r"-?[0-9][0-9.eE+-]{15,}")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_ESCAPED_QUOTE: Final = r"\\u00[23]"  # the escapes of quote and colon begin so


@dataclass(slots=True)
class Extracted:
    """Draft columns for all lines, and which rows are sure; the others hold nothing of worth."""

    columns: dict[str, Array]
    sure: Mask

    def has(self, column: str) -> Mask:
        """Return which rows have a value in the column."""
        found = self.columns.get(column)
        return np.zeros(len(self.sure), bool) if found is None else valid(found)


def extract(
    shape: Shape, structs: Any, lines: pa.ChunkedArray[Any], weights: Int64s, max_depth: int
) -> Extracted:
    """Return the drafts of ``structs``, what from_json gave for ``lines`` under ``shape``."""
    reading = _Reading(shape, structs, lines, max_depth)
    reading.sure &= _accounted(weights - reading.accounted)
    reading.check_numbers()
    return Extracted(reading.columns(), reading.sure)


def _pad(values: Array) -> Array:
    """The distinct values and a null, which stands for every null row."""
    padded: Array = pa.concat_arrays([values, pa.array([None], values.type)])
    return padded


def _accounted(difference: Int64s) -> Mask:
    """True where the line has nothing more than the columns but nulls."""
    nulls, rest = np.divmod(difference, KEY + NULL)
    accounted: Mask = (rest == 0) & (nulls >= 0) & (nulls < MOST_KEYS)
    return accounted


class _Reading:
    """The values of every leaf of one batch, checked as they are taken."""

    def __init__(self, shape: Shape, structs: Any, lines: pa.ChunkedArray[Any], max_depth: int) -> None:
        self.lines = lines
        self.max_depth = max_depth
        self.rows = len(structs)
        self.accounted = np.zeros(self.rows, np.int64)
        self.sure = valid(structs)
        self.inexact = np.zeros(
            self.rows, bool
        )  # holds a number that is no integer where its spelling matters
        self.bits = np.zeros(self.rows, np.int32)
        self.found: dict[str, list[tuple[int, Array]]] = {}
        self.leftover: list[tuple[Leaf, Array]] = []
        self._take(shape.tree(), structs)

    def _take(self, node: dict[str, Any], structs: Any) -> None:
        for child, values in zip(node.values(), structs.flatten(), strict=True):
            if isinstance(child, Leaf):
                if values.null_count < self.rows:
                    self._leaf(child, values)
            else:
                self._count(values, KEY + OBJECT)
                self._take(child, values)

    def _count(self, values: Array, weight: int) -> None:
        self.accounted += weight if values.null_count == 0 else valid(values) * np.int64(weight)

    def _leaf(self, leaf: Leaf, values: Array) -> None:
        if leaf.kind == "text":
            self._count(values, KEY + STRING)
            first = first_bytes(values)
            self.sure &= (first != _OBJECT) & (first != _ARRAY)
            self._give(leaf, values)
        elif leaf.kind == "json":
            self._json(leaf, values)
        elif leaf.column is not None and BY_NAME[leaf.column].sql in {"VARCHAR", "TIMESTAMPTZ"}:
            self.accounted += weigh_values(values)
            self._give(leaf, self._scalar_text(leaf, values))
        else:
            self.accounted += weigh_values(values)
            self._give(leaf, self._numbers(leaf, values))

    def _give(self, leaf: Leaf, values: Array) -> None:
        assert leaf.column is not None
        if ".".join(leaf.path) in OTEL_NUMBERS:
            values = pc.binary_join_element_wise(OTEL_PREFIX, values, "")
        self.found.setdefault(leaf.column, []).append((leaf.rank, values))

    def _json(self, leaf: Leaf, values: Array) -> None:
        column = leaf.column
        if column is not None and not BY_NAME[column].json:  # lists of few distinct values
            encoded: Any = values.dictionary_encode()
            distinct = _pad(encoded.dictionary)
            at = np.where(valid(values), numbers(encoded.indices, 0), len(distinct) - 1)
            self._check_json(leaf, distinct, at)
            self._give(leaf, self._per_distinct(column, values))
            return
        self._check_json(leaf, values, slice(None))
        if column is None:
            self.leftover.append((leaf, values))
        else:
            self._give(leaf, values)

    def _check_json(self, leaf: Leaf, values: Array, at: Int64s | slice) -> None:
        """Weigh JSON texts and find what they cannot carry exactly; ``at`` maps rows to them."""
        self.accounted += weigh_texts(values)[at]
        sure = brackets(values) < self.max_depth - len(leaf.path)
        if ".".join(leaf.path) in PARENTS:  # an object here would hold names of columns
            sure &= first_bytes(values) != _OBJECT
        fraction, unreal = unsure_numbers(values)
        suspects = np.flatnonzero(fraction)
        if len(suspects):
            # A hash or a version in a string looks like a fraction, until one looks at what is before it.
            fraction[suspects] = true(pc.match_substring_regex(values.take(rows(suspects)), _FRACTION))
        self.sure &= (sure & ~unreal)[at]
        self.inexact |= fraction[at]

    def _scalar_text(self, leaf: Leaf, values: Array) -> Array:
        """Strings without their quotes and numbers as they are; what needs a decision is not sure."""
        first = first_bytes(values)
        present = first != 0
        quoted = first == _QUOTE
        plain = (first == ord("-")) | ((first >= ord("0")) & (first <= ord("9")))
        self.sure &= ~present | quoted | plain
        fraction, unreal = unsure_numbers(values)
        self.sure &= ~(plain & unreal)
        self.inexact |= plain & fraction
        text: Array = values
        if quoted.any():
            if (texts(values)[1] == _BACKSLASH).any():
                self.sure &= ~true(pc.match_substring(values, "\\"))
            text = pc.utf8_trim(values, '"')
            if leaf.column == "user_id":
                alike = quoted & true(pc.match_substring_regex(text, r"^(?:0|-?[1-9][0-9]*)$"))
                self.bits[alike] |= BIT["user_id_text"]
        return text

    def _numbers(self, leaf: Leaf, values: Array) -> Array:
        """Numbers of the column's type, also from strings; what does not fit is not sure."""
        assert leaf.column is not None
        kind = DRAFT_SCHEMA.field(leaf.column).type
        try:
            found = values.cast(kind)
        except pa.ArrowInvalid:
            return self._per_distinct(leaf.column, values)
        if pa.types.is_floating(kind):
            self.sure &= np.isfinite(numbers(found, 0.0))
        return found

    def _per_distinct(self, column: str, values: Array) -> Array:
        """Convert each distinct JSON text as the slow path does; rows whose text does not convert are not sure."""
        encoded = values.dictionary_encode()
        items = [_converted(column, text) for text in encoded.dictionary.to_pylist()]
        taken: Array = pa.array(items, DRAFT_SCHEMA.field(column).type).take(encoded.indices)
        if any(item is None for item in items):
            self.sure &= valid(taken) | ~valid(values)
        return taken

    def check_numbers(self) -> None:
        """Rows are not sure whose line spells a number that a double would change."""
        at = np.flatnonzero(self.inexact & self.sure)
        if len(at):
            long = at[true(pc.match_substring_regex(self.lines.take(rows(at)), _LONG_NUMBER))]
            for row, line in zip(long.tolist(), strings(pc.take(self.lines, rows(long))), strict=True):
                self.sure[row] = all(_exact(found) for found in _LONG_NUMBERS.findall(line))

    def columns(self) -> dict[str, Array]:
        columns: dict[str, Array] = {}
        for name, offers in self.found.items():
            if len(offers) > 1:  # two names of one column in the same line need a decision
                self.sure &= sum(valid(values).astype(np.int8) for _, values in offers) < 2
            values = [values for _, values in offers]
            columns[name] = values[0] if len(values) == 1 else pc.coalesce(*values)
        columns["extra"] = self._extra()
        columns["bits"] = from_numpy(self.bits, pa.int32())
        return columns

    def _extra(self) -> Array:
        """The unknown keys as one object per row, nested as they were in the line."""
        if not self.leftover:
            return pa.nulls(self.rows, pa.string())
        tree: dict[str, Any] = {}
        for leaf, values in self.leftover:
            at = tree
            for key in leaf.path[:-1]:
                at = at.setdefault(key, {})
            at[leaf.path[-1]] = values
        return _object(tree)


def _object(tree: dict[str, Any]) -> Array:
    """One JSON object per row of what is not null; null where nothing is."""
    members = []
    for key, item in tree.items():
        values = _object(item) if isinstance(item, dict) else item
        members.append(pc.fill_null(pc.binary_join_element_wise(f",{string(key)}:", values, ""), ""))
    joined = pc.binary_join_element_wise(*members, "") if len(members) > 1 else members[0]
    present = pc.if_else(pc.equal(joined, ""), None, joined)
    opened = pc.binary_replace_slice(present, 0, 1, "{")  # in place of the first comma
    closed: Array = pc.binary_join_element_wise(opened, "}", "")
    return closed


def lines_with_escaped_quotes(lines: Array) -> Mask:
    """True for lines that spell quotes or colons as escapes: weighing them proves nothing."""
    return true(pc.match_substring_regex(lines, _ESCAPED_QUOTE))


def _exact(text: str) -> bool:
    """True unless the text is a number whose value a double changes."""
    return _NUMBER.fullmatch(text) is None or exact(text)


def _converted(column: str, text: str | None) -> Any:
    if text is None:
        return None
    try:
        return convert(column, read(text.encode()))
    except (JsonError, WrongTypeError):
        return None
