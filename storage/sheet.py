"""A sheet: what figures add up, of one family of one roll-up (or of several, or of a hot batch), as arrays of integers.

The words of a row are one number, its *combination*, which means the same in every sheet of families with the same
dimensions: a filter is decided once for each combination, and counting a sheet is then an index and a sum. Keys (users,
addresses …) are texts of the sheet's own; sheets that are added up have theirs united first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.coded import Codes, Flags, Ints, encode, pack, unpack
from storage.combinations import ALWAYS, Combinations, Places
from storage.filters import Bind, quote
from storage.rollups import QUARTER_US, Family
from storage.sql import FILE, Statement

MERGED_KEYS = 16_384  # of a sum of heavy families; a file keeps a fourth of that, and a sum may hold hundreds

_CODED = ("level", "category", "action", "outcome", "risk", "tenant", "key", "name")


@dataclass(frozen=True, slots=True)
class Sheet:
    """Counted rows of one family. ``places`` are buckets as numbers of quarter hours since 1970 (None: dropped).

    Families with keys have ``subjects``: the row's number in ``keys`` and ``names``. ``known`` says for each subject
    how often the files without it could have hidden it at most, if they had it; with ``bound``, how many events of
    any key are hidden at most, ``bound - known`` is what may be missing of it. ``there`` is False when a file was
    written without this family.
    """

    combinations: Places
    places: Places | None
    subjects: Places | None
    events: Ints
    keys: Any = None
    names: Any = None
    known: Ints | None = None
    bound: int = 0
    there: bool = True

    @property
    def nbytes(self) -> int:
        """Bytes of memory it takes."""
        arrays = (
            self.combinations,
            self.places,
            self.subjects,
            self.events,
            self.keys,
            self.names,
            self.known,
        )
        return sum(array.nbytes for array in arrays if array is not None)

    def mask(self, chosen: Flags, low_us: int | None = None, high_us: int | None = None) -> Flags:
        """Return which rows have a chosen combination and a bucket in ``[low_us, high_us)``, multiples of a quarter."""
        found: Flags = chosen[self.combinations]
        if low_us is not None or high_us is not None:
            assert self.places is not None
            if low_us is not None:
                found &= self.places >= low_us // QUARTER_US
            if high_us is not None:
                found &= self.places < high_us // QUARTER_US
        return found

    def by_subject(self, mask: Flags) -> Ints:
        """Return how many events of the rows in a mask each subject has."""
        assert self.subjects is not None
        sums = np.bincount(self.subjects[mask], weights=self.events[mask], minlength=len(self.keys))
        return sums.astype(np.int64)


def sheet_of(table: pa.Table, family: Family, combinations: Combinations) -> Sheet:
    """Return rows of one family (ROLLUP_SCHEMA) as a sheet."""
    bound, there = 0, True
    if family.keys:
        missing = pc.is_null(table["key"])
        marks = table.filter(missing)
        bound = pc.sum(marks["at_most"]).as_py() or 0
        there = not family.marked or (marks.num_rows > 0 and not (family.few and bound))
        if marks.num_rows:
            table = table.filter(pc.invert(missing))
    numbers = _numbers_of(table, combinations)
    places = (table["bucket"].cast(pa.int64()).to_numpy() // QUARTER_US).astype(np.int32)
    events = table["events"].to_numpy()
    if not family.keys:
        return Sheet(numbers, places, None, events)
    key, name = encode(table["key"]), encode(table["name"])
    codes, subjects = _distinct(pack([key, name])[0], (key.size, name.size))
    keys, names = (
        _plain(column.words).take(pa.array(part)) for column, part in zip((key, name), codes, strict=True)
    )
    known = np.full(len(keys), bound, np.int64) if family.heavy else None
    return Sheet(numbers, places, subjects, events, keys, names, known, bound if family.heavy else 0, there)


def sheet_of_several(table: pa.Table, family: Family, combinations: Combinations) -> Sheet:
    """Return rows of one family of several files, told apart by `FILE`, as their sum. Not for families that are marked."""
    sheet = sheet_of(table, family, combinations)
    if not family.keys:
        return sheet
    if family.heavy:
        hidden: Any = table["at_most"]
        marks = pc.is_null(table["key"]).to_numpy()
        files = table[FILE].to_numpy()
        bounds = np.bincount(
            files[marks],
            weights=hidden.fill_null(0).to_numpy()[marks],
            minlength=int(files.max(initial=0)) + 1,
        )
        # A file that names a key hides none of its events: what it may hide of others is known not to be this key's.
        assert sheet.subjects is not None
        pairs = np.unique(files[~marks].astype(np.int64) * max(1, len(sheet.keys)) + sheet.subjects)
        at, subjects = np.divmod(pairs, max(1, len(sheet.keys)))
        known = np.bincount(subjects, weights=bounds[at], minlength=len(sheet.keys)).astype(np.int64)
        sheet = replace(sheet, known=known)
    return united([sheet], family)


def united(sheets: Sequence[Sheet], family: Family) -> Sheet:
    """Return the sum of sheets with keys, without buckets. Of heavy families the lightest keys are left out again."""
    keys, names, numbers = unite([(sheet.keys, sheet.names) for sheet in sheets])
    combinations = np.concatenate([sheet.combinations for sheet in sheets])
    subjects = np.concatenate([numbers[n][sheet.subjects] for n, sheet in enumerate(sheets)])
    events = np.concatenate([sheet.events for sheet in sheets])
    size = int(combinations.max()) + 1 if len(combinations) else 1
    packed = subjects.astype(np.int64) * size + combinations
    found, inverse = np.unique(packed, return_inverse=True)
    sums = np.bincount(inverse, weights=events, minlength=len(found)).astype(np.int64)
    subject, combination = np.divmod(found, size)
    sheet = Sheet(
        combination.astype(np.int32),
        None,
        subject.astype(np.int32),
        sums,
        keys,
        names,
        there=all(sheet.there for sheet in sheets),
    )
    if not family.heavy:
        return sheet
    known = np.zeros(len(keys), np.int64)
    for part, places in zip(sheets, numbers, strict=True):
        if part.known is not None:
            known[places] += part.known
    return _without_light(replace(sheet, known=known, bound=sum(part.bound for part in sheets)))


def unite(subjects: Sequence[tuple[Any, Any]]) -> tuple[Any, Any, list[Places]]:
    """Return the distinct (key, name) pairs of several lists, and for each list where its pairs are among them."""
    lengths = np.cumsum([0, *(len(keys) for keys, _ in subjects)])
    columns = [encode(pa.chunked_array([pair[n] for pair in subjects], pa.string())) for n in (0, 1)]
    codes, inverse = _distinct(pack(columns)[0], tuple(column.size for column in columns))
    keys, names = (_plain(c.words).take(pa.array(part)) for c, part in zip(columns, codes, strict=True))
    return keys, names, [inverse[low:high] for low, high in pairwise(lengths)]


def _without_light(sheet: Sheet) -> Sheet:
    """Keep the MERGED_KEYS heaviest keys. What is hidden of any other is more now, of the kept ones it is the same."""
    assert sheet.known is not None
    assert sheet.subjects is not None
    if len(sheet.keys) <= MERGED_KEYS:
        return sheet
    most = sheet.by_subject(np.ones(len(sheet.events), np.bool_)) + sheet.bound - sheet.known
    place = len(most) - MERGED_KEYS - 1
    bound = max(sheet.bound, int(np.partition(most, place)[place]))
    kept = np.flatnonzero(most > bound)
    renumbered = np.full(len(most), -1, np.int32)
    renumbered[kept] = np.arange(len(kept), dtype=np.int32)
    subjects = renumbered[sheet.subjects]
    rows = subjects >= 0
    return Sheet(
        sheet.combinations[rows],
        None,
        subjects[rows],
        sheet.events[rows],
        sheet.keys.take(pa.array(kept)),
        sheet.names.take(pa.array(kept)),
        sheet.known[kept] + bound - sheet.bound,
        bound,
        sheet.there,
    )


def one_after_another(sheets: Sequence[Sheet]) -> Sheet:
    """Return the rows of sheets without keys as one sheet."""
    return Sheet(
        np.concatenate([sheet.combinations for sheet in sheets]),
        np.concatenate([sheet.places for sheet in sheets if sheet.places is not None]),
        None,
        np.concatenate([sheet.events for sheet in sheets]),
    )


def loaded(path: str, family: Family) -> pa.Table:
    """Read one family's rows; row groups without any are skipped. Texts come as numbers of words."""
    try:
        with pq.ParquetFile(path, read_dictionary=list(_CODED)) as file:
            groups = [
                n for n in range(file.num_row_groups) if _may_hold(file.metadata.row_group(n), family.name)
            ]
            table = file.read_row_groups(groups, columns=_columns_of(family), use_threads=False)
    except pa.ArrowInvalid as error:
        raise OSError(f"a roll-up cannot be read: {error}") from error
    return table.filter(pc.equal(table["family"], pa.scalar(family.name)))


def loaded_together(cursor: duckdb.DuckDBPyConnection, paths: Sequence[str], family: Family) -> pa.Table:
    """Read one family's rows of several roll-ups by one statement; `FILE` says which file a row is of."""
    columns = ", ".join(quote(name) for name in _columns_of(family))
    bind = Bind()
    text = (
        f"SELECT {columns}, {FILE} FROM read_parquet({bind(list(paths))}, union_by_name = true) "
        f"WHERE {quote('family')} = {bind(family.name)}"
    )
    return Statement(text, bind.values).table(cursor)


def _columns_of(family: Family) -> list[str]:
    keys = ("key", "name", "at_most") if family.keys else ()
    return ["family", "bucket", "events", *family.dimensions, *ALWAYS, *keys]


def _may_hold(group: Any, name: str) -> bool:
    statistics = group.column(0).statistics  # of `family`, the first column
    return statistics is None or not statistics.has_min_max or statistics.min <= name <= statistics.max


def _numbers_of(table: pa.Table, combinations: Combinations) -> Places:
    """Return the combination of each row."""
    columns = [encode(table[name]) for name in combinations.names]
    packed, steps = pack(columns)
    found, inverse = np.unique(packed, return_inverse=True)
    parts = unpack(found, steps)
    words = [_plain(c.words).take(pa.array(part)).to_pylist() for c, part in zip(columns, parts, strict=True)]
    return combinations.numbered(list(zip(*words, strict=True)))[inverse]


def _distinct(packed: Ints, sizes: tuple[int, ...]) -> tuple[tuple[Codes, Codes], Places]:
    """Return the distinct pairs of a packed column of pairs, taken apart, and each row's pair."""
    found, inverse = np.unique(packed, return_inverse=True)
    first, second = np.divmod(found, sizes[1])
    return (first, second), inverse.astype(np.int32)


def _plain(words: Any) -> Any:
    return words.dictionary_decode() if pa.types.is_dictionary(words.type) else words
