"""Columns as integers: counting is sorting of integers, several times cheaper than grouping text."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Ints = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32] | npt.NDArray[np.int64]  # a column of a million rows is the narrower one
Flags = npt.NDArray[np.bool_]
DENSE_CODES = 4096  # so few codes, or so many a row, are counted in place: cheaper than sorting them
DENSE_SHARE = 2
_CODE_LIMIT = 1 << 62  # packed codes stay below it, so that int64 cannot overflow


@dataclass(frozen=True, slots=True)
class Coded:
    """A column as integers below ``size``; ``words[code]`` is its text (None: the code is a number of quarters)."""

    codes: Codes
    size: int
    words: Any = None  # a string or boolean array

    def at(self, codes: Codes) -> Coded:
        """Return a column of the same words with other rows."""
        return Coded(codes, self.size, self.words)


@dataclass(frozen=True, slots=True)
class Cube:
    """Counted rows: coded columns, and how many events each row stands for (None: one each)."""

    columns: Mapping[str, Coded]
    counts: Ints | None = None

    def by(self, names: Sequence[str]) -> Cube:
        """Return the counts by some of the columns, rows ordered by them."""
        chosen = [self.columns[name] for name in names]
        packed, steps = pack(chosen)
        codes, counts = group(packed, self.counts, math.prod(column.size for column in chosen))
        parts = unpack(codes, steps)
        return Cube({name: c.at(part) for name, c, part in zip(names, chosen, parts, strict=True)}, counts)

    def each_by(self, firsts: Sequence[str], rest: Sequence[str]) -> Iterator[Cube]:
        """Yield the counts by each of some columns with the same others, as `by` does, which are packed only once."""
        others = [self.columns[name] for name in rest]
        packed, steps = pack(others)
        together = Coded(packed, math.prod(column.size for column in others))
        for name in firsts:
            first = self.columns[name]
            both, outer = pack([first, together])
            codes, counts = group(both, self.counts, first.size * together.size)
            head, tail = unpack(codes, outer)
            parts = unpack(tail, steps)
            columns = {other: c.at(part) for other, c, part in zip(rest, others, parts, strict=True)}
            yield Cube({name: first.at(head), **columns}, counts)


def take(words: Any, codes: Codes) -> Any:
    """Return the words of codes."""
    return words.take(pa.array(codes))


def encode(column: Any) -> Coded:
    """Number the distinct values of a column; null is a value."""
    numbered = pa.types.is_dictionary(column.type)
    kind = column.type.value_type if numbered else column.type
    if column.null_count == len(column):
        return Coded(np.zeros(len(column), np.int32), 1, pa.nulls(1, kind))
    whole: Any = column.unify_dictionaries() if numbered else pc.dictionary_encode(column)
    coded: Any = whole.combine_chunks()
    if isinstance(coded, pa.ChunkedArray):  # no rows, no chunk
        coded = coded.chunk(0)
    words, indices = coded.dictionary, coded.indices
    if indices.null_count:
        indices = pc.fill_null(indices, len(words))
        words = pa.concat_arrays([words, pa.nulls(1, kind)])
    return Coded(indices.to_numpy().astype(np.int32), len(words), words)


def pack(columns: Sequence[Coded]) -> tuple[Ints, list[int | Ints]]:
    """Combine columns into one code a row, the first column weighing most; also how to take it apart again."""
    packed, size = columns[0].codes.astype(np.int64), columns[0].size
    steps: list[int | Ints] = []
    for column in columns[1:]:
        if size * column.size >= _CODE_LIMIT:  # absurdly many distinct words: renumber what occurs
            values, inverse = np.unique(packed, return_inverse=True)
            packed, size = inverse.astype(np.int64), len(values)
            steps.append(values)
        packed = packed * column.size + column.codes
        size *= column.size
        steps.append(column.size)
    return packed, steps


def unpack(codes: Ints, steps: Sequence[int | Ints]) -> list[Ints]:
    """Take packed codes apart: the inverse of `pack`."""
    columns: list[Ints] = []
    for step in reversed(steps):
        if isinstance(step, int):
            codes, rest = np.divmod(codes, step)
            columns.append(rest)
        else:
            codes = step[codes]
    columns.append(codes)
    return columns[::-1]


def group(codes: Ints, counts: Ints | None, size: int) -> tuple[Ints, Ints]:
    """Return the distinct codes, rising, and how many events each stands for. ``size`` is above every code."""
    if size <= max(DENSE_CODES, DENSE_SHARE * len(codes)):
        sums = np.bincount(codes, weights=counts, minlength=size)
        found = np.flatnonzero(sums)
        return found, sums[found].astype(np.int64)
    if counts is None:
        ordered = np.sort(codes)
        starts = starts_of(ordered)
        return ordered[starts], np.diff(np.append(starts, len(ordered)))
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    starts = starts_of(ordered)
    return ordered[starts], np.add.reduceat(counts[order], starts)


def starts_of(ordered: Ints) -> Ints:
    """Return where each run of equal values begins."""
    return np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
