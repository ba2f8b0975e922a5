"""Roll-ups: what dashboards ask of one events file, counted once when the file is written.

A roll-up is one small table per events file. Its rows belong to families, each a count of events by some columns
(all of them also by ``internal`` and ``tenant``), in buckets of time:

========= =============================================== ========== ===================================
family    counted by                                      bucket     ``key``, ``name``
========= =============================================== ========== ===================================
totals    level, category, action, outcome, risk band     1 day      none
counts    level, category, action, outcome, risk band     15 minutes none
levels    level                                           15 minutes none
users     user                                            1 day      id (or ``name:`` and name), username
usage     user, level, category, outcome                  1 day      the same
countries country, level, category, outcome               1 day      country code
addresses address, heavy ones only                        1 day      address
entities  entity, heavy ones only                         1 day      entity id, entity type
sketches  nothing: see `storage.sketch`                   none       number of the row group
========= =============================================== ========== ===================================

A roll-up covers exactly the rows of its events file: a file that is dropped takes its sums with it, and late rows
come with the file that holds them, so sums over files stay exact.

Addresses and entities have nearly as many values as there are events, so a file keeps only its heavy keys. One more
row of the family, without a key, then says in ``at_most`` how often any omitted key can occur in that file; with it
`storage.planner` proves that a list of the top ten is exact, or reads the rows instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parsers.columns import TIMESTAMP

QUARTER_US = (
    900_000_000  # 15 minutes: every time zone's offset is a multiple of it, so trends align in any zone
)
HOUR_US = 3_600_000_000
DAY_US = 86_400_000_000
HEAVY_KEYS = 4096  # a file with at most so many addresses or entities keeps them all
HEAVY_SHARE = 128  # otherwise it keeps at most one key per so many rows
RISK_BANDS = ("low", "medium", "high")
LOW_RISK_TO = 30  # bands of the original: low 0-30, medium 31-70, high 71-100
MEDIUM_RISK_TO = 70
NAME_PREFIX = "name:"  # marks the key of a user without an id

_FIELDS: list[tuple[str, pa.DataType]] = [
    ("family", pa.string()),
    ("bucket", TIMESTAMP),
    ("level", pa.string()),
    ("category", pa.string()),
    ("action", pa.string()),
    ("outcome", pa.string()),
    ("risk", pa.string()),
    ("internal", pa.bool_()),
    ("tenant", pa.string()),
    ("key", pa.string()),
    ("name", pa.string()),
    ("events", pa.int64()),
    ("at_most", pa.int64()),
]
ROLLUP_SCHEMA = pa.schema(_FIELDS)


@dataclass(frozen=True, slots=True)
class Family:
    """A family: the columns it counts by, those that make its key and name, and the width of its buckets."""

    name: str
    width_us: int
    dimensions: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    heavy: bool = False  # light keys are left out, and the row without a key says how light they are


_WORDS = ("level", "category", "action", "outcome", "risk")
_KIND = ("level", "category", "outcome")
_USER = ("user_id", "username")

TOTALS = Family("totals", DAY_US, _WORDS)
COUNTS = Family("counts", QUARTER_US, _WORDS)
LEVELS = Family("levels", QUARTER_US, ("level",))
USERS = Family("users", DAY_US, (), _USER)
USAGE = Family("usage", DAY_US, _KIND, _USER)
COUNTRIES = Family("countries", DAY_US, _KIND, ("country_code",))
ADDRESSES = Family("addresses", DAY_US, (), ("ip",), heavy=True)
ENTITIES = Family("entities", DAY_US, (), ("entity_id", "entity_type"), heavy=True)
FAMILIES = {
    family.name: family for family in (TOTALS, COUNTS, LEVELS, USERS, USAGE, COUNTRIES, ADDRESSES, ENTITIES)
}

_Ints = npt.NDArray[np.int64]
_Codes = npt.NDArray[np.int32] | npt.NDArray[np.int64]  # a column of a million rows is the narrower one
_Flags = npt.NDArray[np.bool_]
_CODE_LIMIT = 1 << 62  # packed codes stay below it, so that int64 cannot overflow
_QUARTERS_A_DAY = DAY_US // QUARTER_US
_ALWAYS = ("internal", "tenant")  # every family is counted by these too: a scope asks for them


@dataclass(frozen=True, slots=True)
class _Coded:
    """A column as integers below ``size``; ``words[code]`` is its text (None: the code is a number of quarters)."""

    codes: _Codes
    size: int
    words: Any = None  # a string or boolean array

    def at(self, codes: _Codes) -> _Coded:
        """Return a column of the same words with other rows."""
        return _Coded(codes, self.size, self.words)


@dataclass(frozen=True, slots=True)
class _Cube:
    """Counted rows: coded columns, and how many events each row stands for (None: one each)."""

    columns: Mapping[str, _Coded]
    counts: _Ints | None = None

    def by(self, names: Sequence[str]) -> _Cube:
        """Return the counts by some of the columns, rows ordered by them."""
        chosen = [self.columns[name] for name in names]
        packed, steps = _pack(chosen)
        codes, counts = _group(packed, self.counts)
        parts = _unpack(codes, steps)
        return _Cube({name: c.at(part) for name, c, part in zip(names, chosen, parts, strict=True)}, counts)


def delta(table: pa.Table) -> pa.Table:
    """Return the roll-up rows (ROLLUP_SCHEMA) that cover exactly the given event rows, in any order.

    Columns become integer codes, and counting is sorting of integers: three times cheaper than grouping text in
    SQL, so ``cursor`` (which callers hold anyway) is not used at present.
    """
    if not table.num_rows:
        return ROLLUP_SCHEMA.empty_table()
    quarters: _Ints = table["timestamp"].cast(pa.int64()).to_numpy() // QUARTER_US
    first = int(quarters.min()) // _QUARTERS_A_DAY * _QUARTERS_A_DAY  # a midnight, so that days begin at zero
    columns = {name: _encode(table[name]) for name in _TEXT_COLUMNS}
    columns["risk"] = _risk(table["risk_score"])
    columns["quarter"] = _Coded(quarters - first, int(quarters.max()) - first + 1)
    columns["day"] = _days(columns["quarter"])
    events = _Cube(columns)

    fine = events.by(("quarter", *_WORDS, *_ALWAYS))
    coarse = _Cube({**fine.columns, "day": _days(fine.columns["quarter"])}, fine.counts)
    usage = events.by((*_USER, "day", *_KIND, *_ALWAYS))
    cubes = (
        (TOTALS, coarse.by(("day", *_WORDS, *_ALWAYS))),
        (LEVELS, fine.by(("quarter", "level", *_ALWAYS))),
        (USERS, usage.by((*_USER, "day", *_ALWAYS))),
        (COUNTRIES, events.by((*COUNTRIES.keys, "day", *_KIND, *_ALWAYS))),
        (ADDRESSES, events.by((*ADDRESSES.keys, "day", *_ALWAYS))),
        (ENTITIES, events.by((*ENTITIES.keys, "day", *_ALWAYS))),
        (COUNTS, fine),  # the two large families last: readers of the others skip their row groups
        (USAGE, usage),
    )
    return pa.concat_tables([_rows(family, cube, first, table.num_rows) for family, cube in cubes])


_TEXT_COLUMNS = (
    *("level", "category", "action", "outcome", "internal", "tenant"),
    *("user_id", "username", "country_code", "ip", "entity_id", "entity_type"),
)
_PLAIN_COLUMNS = ("timestamp", "risk_score", "internal")
# What `delta` reads of a row. A roll-up must be made of all rows of its file at once (which keys are heavy depends on
# all of them), so whoever writes a file in pieces keeps these columns until it is finished.
COUNTED = ("timestamp", "risk_score", *_TEXT_COLUMNS)


def _take(words: Any, codes: _Codes) -> Any:
    """Return the words of codes."""
    return words.take(pa.array(codes))


def _encode(column: Any) -> _Coded:
    """Number the distinct values of a column; null is a value."""
    numbered = pa.types.is_dictionary(column.type)
    kind = column.type.value_type if numbered else column.type
    if column.null_count == len(column):
        return _Coded(np.zeros(len(column), np.int32), 1, pa.nulls(1, kind))
    whole: Any = column.unify_dictionaries() if numbered else pc.dictionary_encode(column)
    coded: Any = whole.combine_chunks()
    if isinstance(coded, pa.ChunkedArray):  # no rows, no chunk
        coded = coded.chunk(0)
    words, indices = coded.dictionary, coded.indices
    if indices.null_count:
        indices = pc.fill_null(indices, len(words))
        words = pa.concat_arrays([words, pa.nulls(1, kind)])
    return _Coded(indices.to_numpy().astype(np.int32), len(words), words)


def narrowed(table: pa.Table) -> pa.Table:
    """Return what `delta` reads of some rows, in little memory: texts as numbers of words."""
    columns = [
        column
        if name in _PLAIN_COLUMNS or pa.types.is_dictionary(column.type)
        else pc.dictionary_encode(column)
        for name, column in ((name, table[name]) for name in COUNTED)
    ]
    return pa.table(columns, names=list(COUNTED))


def _risk(column: Any) -> _Coded:
    """Number the risk bands; an event without a score has none."""
    scores = pc.fill_null(column.combine_chunks(), -1).to_numpy()
    codes = np.searchsorted(np.array([0, LOW_RISK_TO + 1, MEDIUM_RISK_TO + 1]), scores, side="right")
    return _Coded(codes.astype(np.int64), len(RISK_BANDS) + 1, pa.array([None, *RISK_BANDS], pa.string()))


def _days(quarters: _Coded) -> _Coded:
    """Return days, still counted in quarters, of a column of quarters."""
    return _Coded(quarters.codes // _QUARTERS_A_DAY, (quarters.size - 1) // _QUARTERS_A_DAY + 1)


def _pack(columns: Sequence[_Coded]) -> tuple[_Ints, list[int | _Ints]]:
    """Combine columns into one code a row, the first column weighing most; also how to take it apart again."""
    packed, size = columns[0].codes.astype(np.int64), columns[0].size
    steps: list[int | _Ints] = []
    for column in columns[1:]:
        if size * column.size >= _CODE_LIMIT:  # absurdly many distinct words: renumber what occurs
            values, inverse = np.unique(packed, return_inverse=True)
            packed, size = inverse.astype(np.int64), len(values)
            steps.append(values)
        packed = packed * column.size + column.codes
        size *= column.size
        steps.append(column.size)
    return packed, steps


def _unpack(codes: _Ints, steps: Sequence[int | _Ints]) -> list[_Ints]:
    """Take packed codes apart: the inverse of `_pack`."""
    columns: list[_Ints] = []
    for step in reversed(steps):
        if isinstance(step, int):
            codes, rest = np.divmod(codes, step)
            columns.append(rest)
        else:
            codes = step[codes]
    columns.append(codes)
    return columns[::-1]


def _group(codes: _Ints, counts: _Ints | None) -> tuple[_Ints, _Ints]:
    """Return the distinct codes, rising, and how many events each stands for."""
    if counts is None:
        ordered = np.sort(codes)
        starts = _starts(ordered)
        return ordered[starts], np.diff(np.append(starts, len(ordered)))
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    starts = _starts(ordered)
    return ordered[starts], np.add.reduceat(counts[order], starts)


def _starts(ordered: _Ints) -> _Ints:
    """Return where each run of equal values begins."""
    return np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))


def _rows(family: Family, cube: _Cube, first: int, total: int) -> pa.Table:
    """Lay a family out as ROLLUP_SCHEMA; what it does not have is null. ``total`` rows were counted."""
    assert cube.counts is not None
    keep = np.ones(len(cube.counts), np.bool_)
    bound = 0
    if family.keys:
        keep = _present(family, cube)
    if family.heavy:
        keep, bound = _heavy(family, cube, keep, total)
    taken = None if keep.all() else np.flatnonzero(keep)
    texts: dict[str, Any] = {}
    for name, column in cube.columns.items():
        codes = column.codes if taken is None else column.codes[taken]
        if column.words is not None:
            texts[name] = _take(column.words, codes)
        elif name == "day":
            texts["bucket"] = pa.array((codes * _QUARTERS_A_DAY + first) * QUARTER_US).cast(TIMESTAMP)
        else:
            texts["bucket"] = pa.array((codes + first) * QUARTER_US).cast(TIMESTAMP)
    _name_keys(family, texts)
    rows = _table(family.name, texts, cube.counts if taken is None else cube.counts[taken])
    if not bound:
        return rows
    rest = {"bucket": pa.array([first * QUARTER_US]).cast(TIMESTAMP), "at_most": pa.array([bound])}
    return pa.concat_tables([rows, _table(family.name, rest, np.zeros(1, np.int64))])


def _name_keys(family: Family, texts: dict[str, Any]) -> None:
    """Put a family's key columns where roll-ups have them."""
    if not family.keys:
        return
    key, *names = (texts.pop(name) for name in family.keys)
    if family.keys == _USER:
        named = pc.binary_join_element_wise(pa.scalar(NAME_PREFIX), names[0], pa.scalar(""))
        key = pc.coalesce(key, named)
    texts |= zip(("key", "name"), (key, *names), strict=False)


def _present(family: Family, cube: _Cube) -> _Flags:
    """Say which rows have a key: a user needs an id or a name, everything else its first column."""
    found: list[_Flags] = []
    for name in family.keys if family.keys == _USER else family.keys[:1]:
        column = cube.columns[name]
        assert column.words is not None
        found.append(pc.is_valid(column.words).to_numpy(zero_copy_only=False)[column.codes])
    return found[0] if len(found) == 1 else found[0] | found[1]


def _heavy(family: Family, cube: _Cube, present: _Flags, total: int) -> tuple[_Flags, int]:
    """Say which rows belong to heavy keys, and how often any other key occurs at most.

    A cube's rows are ordered by its first columns, the keys, so that the rows of a key lie together.
    """
    assert cube.counts is not None
    names, _ = _pack([cube.columns[name] for name in family.keys])
    starts = _starts(names)
    sums = np.add.reduceat(np.where(present, cube.counts, 0), starts)
    limit = max(HEAVY_KEYS, total // HEAVY_SHARE)
    if np.count_nonzero(sums) <= limit:
        return present, 0
    place = len(sums) - limit - 1
    bound = int(np.partition(sums, place)[place])
    lengths = np.diff(np.append(starts, len(names)))
    return present & np.repeat(sums > bound, lengths), bound


def _table(family: str, texts: Mapping[str, Any], counts: _Ints) -> pa.Table:
    size = len(counts)
    columns: dict[str, Any] = {
        "family": _take(pa.array([family], pa.string()), np.zeros(size, np.int64)),
        "events": pa.array(counts),
        **texts,
    }
    return pa.table(
        [columns[f.name] if f.name in columns else pa.nulls(size, f.type) for f in ROLLUP_SCHEMA],
        schema=ROLLUP_SCHEMA,
    )
