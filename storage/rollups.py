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
has_address level, category, outcome                      1 day      ``ip``, of events with an address
hours     user                                            1 hour     as users, without the name: for sets
*risky*   user or address, of risky events; ``risk``      1 day      as users, or the address
          holds their score
*column*  a column of FEW, level, category, outcome       1 day      the column's text
sketches  nothing: see `storage.sketch`                   none       number of the row group
========= =============================================== ========== ===================================

A roll-up covers exactly the rows of its events file: a file that is dropped takes its sums with it, and late rows
come with the file that holds them, so sums over files stay exact.

Addresses and entities have nearly as many values as there are events, so a file keeps only its heavy keys. One more
row of the family, without a key, then says in ``at_most`` how often any omitted key can occur in that file; with it
`storage.rankings` proves that a list of the top ten is exact, or reads the rows instead.

The columns of FEW mostly have few values, and facets ask for them. A file that has more than FEW_KEYS of one keeps none,
and its row without a key has an ``at_most``. The last three kinds of families came later than the others: where a file
was written by a release that did not have them, the row without a key is missing too. It is also missing, with all of
the family, where a file has too many risky rows to count them once more (RISKY_ROWS).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parsers.columns import TIMESTAMP
from parsers.entityrisk import LEAST_EVENT_POINTS, MOST_POINTS
from storage.coded import Coded, Cube, Flags, Ints, encode, pack, starts_of, take

QUARTER_US = (
    900_000_000  # 15 minutes: every time zone's offset is a multiple of it, so trends align in any zone
)
HOUR_US = 3_600_000_000
DAY_US = 86_400_000_000
HEAVY_KEYS = 4096  # a file with at most so many addresses or entities keeps them all
HEAVY_SHARE = 128  # otherwise it keeps at most one key per so many rows
FEW_KEYS = 256  # a file with more values of a column of FEW keeps none of them: it is no list to choose from
# A file with more combinations of entity, day and score among its risky events keeps none: an application that calls
# everything risky would have it written twice.
RISKY_ROWS = 65_536
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
    few: bool = False  # kept only where there are few keys
    named: bool = (
        True  # with the second of the keys as ``name``; sets are of keys, and names would double their bytes
    )
    marked: bool = False  # a row without a key says that the file has it at all


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
HAS_ADDRESS = Family("has_address", DAY_US, _KIND, ("has_address",), marked=True)
HOURS = Family("hours", HOUR_US, (), _USER, named=False, marked=True)
RISKY_USERS = Family("risky_users", DAY_US, ("risk",), _USER, marked=True)
RISKY_ADDRESSES = Family("risky_addresses", DAY_US, ("risk",), ("ip",), marked=True)
FEW = {
    column: Family(column, DAY_US, _KIND, (column,), few=True, marked=True)
    for column in ("method", "status_code", "entity_type", "server", "environment", "source_file")
}
FAMILIES = {
    family.name: family
    for family in (
        TOTALS,
        COUNTS,
        LEVELS,
        USERS,
        USAGE,
        COUNTRIES,
        ADDRESSES,
        ENTITIES,
        HAS_ADDRESS,
        HOURS,
        RISKY_USERS,
        RISKY_ADDRESSES,
        *FEW.values(),
    )
}

_QUARTERS_A_DAY = DAY_US // QUARTER_US
_ALWAYS = ("internal", "tenant")  # every family is counted by these too: a scope asks for them


def delta(table: pa.Table, *, complete: bool = False) -> pa.Table:
    """Return the roll-up rows (ROLLUP_SCHEMA) that cover exactly the given event rows, in any order.

    With ``complete``, every family keeps every key.

    Columns become integer codes, and counting is sorting of integers: three times cheaper than grouping text in
    SQL, so ``cursor`` (which callers hold anyway) is not used at present.
    """
    if not table.num_rows:
        return ROLLUP_SCHEMA.empty_table()
    quarters: Ints = table["timestamp"].cast(pa.int64()).to_numpy() // QUARTER_US
    first = int(quarters.min()) // _QUARTERS_A_DAY * _QUARTERS_A_DAY  # a midnight, so that days begin at zero
    columns = {name: encode(table[name]) for name in _TEXT_COLUMNS}
    columns["has_address"] = _is_there(columns["ip"])
    columns["risk"] = _risk(table["risk_score"])
    columns["quarter"] = Coded(quarters - first, int(quarters.max()) - first + 1)
    columns |= _coarser(columns["quarter"])
    events = Cube(columns)

    fine = events.by(("quarter", *_WORDS, *_ALWAYS))
    coarse = Cube({**fine.columns, **_coarser(fine.columns["quarter"])}, fine.counts)
    usage = events.by((*_USER, "day", *_KIND, *_ALWAYS))
    firsts = (*COUNTRIES.keys, *HAS_ADDRESS.keys, *FEW)
    by_kind = list(events.each_by(firsts, ("day", *_KIND, *_ALWAYS)))
    cubes = [
        (TOTALS, coarse.by(("day", *_WORDS, *_ALWAYS))),
        (LEVELS, fine.by(("quarter", "level", *_ALWAYS))),
        (USERS, usage.by((*_USER, "day", *_ALWAYS))),
        (COUNTRIES, by_kind[0]),
        (ADDRESSES, events.by((*ADDRESSES.keys, "day", *_ALWAYS))),
        (ENTITIES, events.by((*ENTITIES.keys, "day", *_ALWAYS))),
        (HAS_ADDRESS, by_kind[1]),
        *(
            (few, cube if complete else _few(few, cube))
            for few, cube in zip(FEW.values(), by_kind[2:], strict=True)
        ),
        *_risky(columns, table["risk_score"], complete=complete),
        (COUNTS, fine),  # the large families last: readers of the others skip their row groups
        (USAGE, usage),
        (HOURS, events.by((*_USER, "hour", *_ALWAYS))),
    ]
    total = table.num_rows
    return pa.concat_tables([_rows(family, cube, first, total, complete=complete) for family, cube in cubes])


def counted(table: pa.Table, family: Family) -> pa.Table:
    """Return the rows of one family without keys, as `delta` has them: for those who ask often for little."""
    assert not family.keys
    if not table.num_rows:
        return ROLLUP_SCHEMA.empty_table()
    quarters: Ints = table["timestamp"].cast(pa.int64()).to_numpy() // QUARTER_US
    first = int(quarters.min()) // _QUARTERS_A_DAY * _QUARTERS_A_DAY
    quarter = Coded(quarters - first, int(quarters.max()) - first + 1)
    unit = next(name for name, width in _WIDTHS.items() if width * QUARTER_US == family.width_us)
    columns = {"quarter": quarter, **_coarser(quarter)}
    for name in (*family.dimensions, *_ALWAYS):
        columns[name] = _risk(table["risk_score"]) if name == "risk" else encode(table[name])
    cube = Cube(columns).by((unit, *family.dimensions, *_ALWAYS))
    return _rows(family, cube, first, table.num_rows, complete=True)


_TEXT_COLUMNS = (
    *("level", "category", "action", "outcome", "internal", "tenant"),
    *("user_id", "username", "country_code", "ip", "entity_id"),
    *FEW,
)
_PLAIN_COLUMNS = ("timestamp", "risk_score", "internal")
# What `delta` reads of a row. A roll-up must be made of all rows of its file at once (which keys are heavy depends on
# all of them), so whoever writes a file in pieces keeps these columns until it is finished.
COUNTED = ("timestamp", "risk_score", *_TEXT_COLUMNS)


def narrowed(table: pa.Table) -> pa.Table:
    """Return what `delta` reads of some rows, in little memory: texts as numbers of words."""
    columns = [
        column
        if name in _PLAIN_COLUMNS or pa.types.is_dictionary(column.type)
        else pc.dictionary_encode(column)
        for name, column in ((name, table[name]) for name in COUNTED)
    ]
    return pa.table(columns, names=list(COUNTED))


def _risk(column: Any) -> Coded:
    """Number the risk bands; an event without a score has none."""
    scores = pc.fill_null(column.combine_chunks(), -1).to_numpy()
    codes = np.searchsorted(np.array([0, LOW_RISK_TO + 1, MEDIUM_RISK_TO + 1]), scores, side="right")
    return Coded(codes.astype(np.int64), len(RISK_BANDS) + 1, pa.array([None, *RISK_BANDS], pa.string()))


_SCORES = pa.array([str(score) for score in range(MOST_POINTS + 1)], pa.string())


def _risky(columns: Mapping[str, Coded], scores: Any, *, complete: bool) -> Iterator[tuple[Family, Cube]]:
    """Yield the families of risky events, whose ``risk`` is the score itself, but for those with too many rows."""
    points = pc.fill_null(scores.combine_chunks(), 0).to_numpy().astype(np.int64)
    rows = np.flatnonzero(points >= LEAST_EVENT_POINTS)
    known = {name: columns[name].at(columns[name].codes[rows]) for name in (*_USER, "ip", "day", *_ALWAYS)}
    risky = Cube({**known, "risk": Coded(np.minimum(points[rows], MOST_POINTS), len(_SCORES), _SCORES)})
    for family in (RISKY_USERS, RISKY_ADDRESSES):
        names = (*family.keys, "day", *family.dimensions, *_ALWAYS)
        cube = risky.by(names) if len(rows) else Cube({name: risky.columns[name] for name in names}, rows)
        assert cube.counts is not None
        if complete or len(cube.counts) <= RISKY_ROWS:
            yield family, cube


def _is_there(addresses: Coded) -> Coded:
    """Return whether there is an address: ``ip`` or null."""
    there = pc.is_valid(addresses.words).to_numpy(zero_copy_only=False)[addresses.codes]
    return Coded(there.astype(np.int32), 2, pa.array([None, "ip"]))


_WIDTHS = {"quarter": 1, "hour": HOUR_US // QUARTER_US, "day": _QUARTERS_A_DAY}  # in quarters


def _coarser(quarters: Coded) -> dict[str, Coded]:
    """Return the hours and days, numbered from the same midnight, of a column of quarters."""
    return {
        name: Coded(quarters.codes // width, (quarters.size - 1) // width + 1)
        for name, width in _WIDTHS.items()
        if width > 1
    }


def _few(family: Family, cube: Cube) -> Cube:
    """Return the counts by a column of FEW; none when it has too many values."""
    column = cube.columns[family.keys[0]]
    if column.size - column.words.null_count <= FEW_KEYS:
        return cube
    nothing = np.zeros(0, np.int64)
    return Cube({name: each.at(nothing) for name, each in cube.columns.items()}, nothing)


def _rows(family: Family, cube: Cube, first: int, total: int, *, complete: bool) -> pa.Table:
    """Lay a family out as ROLLUP_SCHEMA; what it does not have is null. ``total`` rows were counted."""
    assert cube.counts is not None
    keep = np.ones(len(cube.counts), np.bool_)
    bound = 0
    if family.keys:
        keep = _present(family, cube)
    if family.heavy and not complete:
        keep, bound = _heavy(family, cube, keep, total)
    elif family.few and not len(cube.counts):
        bound = total
    taken = None if keep.all() else np.flatnonzero(keep)
    texts: dict[str, Any] = {}
    for name, column in cube.columns.items():
        codes = column.codes if taken is None else column.codes[taken]
        if column.words is None:
            texts["bucket"] = pa.array((codes * _WIDTHS[name] + first) * QUARTER_US).cast(TIMESTAMP)
        else:
            texts[name] = take(column.words, codes)
    _name_keys(family, texts)
    rows = _table(family.name, texts, cube.counts if taken is None else cube.counts[taken])
    if not bound and not family.marked:
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
    elif not pa.types.is_string(key.type):
        key = key.cast(pa.string())
    texts |= zip(("key", "name"), (key, *names) if family.named else (key,), strict=False)


def _present(family: Family, cube: Cube) -> Flags:
    """Say which rows have a key: a user needs an id or a name, everything else its first column."""
    found: list[Flags] = []
    for name in family.keys if family.keys == _USER else family.keys[:1]:
        column = cube.columns[name]
        assert column.words is not None
        found.append(pc.is_valid(column.words).to_numpy(zero_copy_only=False)[column.codes])
    return found[0] if len(found) == 1 else found[0] | found[1]


def _heavy(family: Family, cube: Cube, present: Flags, total: int) -> tuple[Flags, int]:
    """Say which rows belong to heavy keys, and how often any other key occurs at most.

    A cube's rows are ordered by its first columns, the keys, so that the rows of a key lie together.
    """
    assert cube.counts is not None
    names, _ = pack([cube.columns[name] for name in family.keys])
    starts = starts_of(names)
    sums = np.add.reduceat(np.where(present, cube.counts, 0), starts)
    limit = max(HEAVY_KEYS, total // HEAVY_SHARE)
    if np.count_nonzero(sums) <= limit:
        return present, 0
    place = len(sums) - limit - 1
    bound = int(np.partition(sums, place)[place])
    lengths = np.diff(np.append(starts, len(names)))
    return present & np.repeat(sums > bound, lengths), bound


def _table(family: str, texts: Mapping[str, Any], counts: Ints) -> pa.Table:
    size = len(counts)
    columns: dict[str, Any] = {
        "family": take(pa.array([family], pa.string()), np.zeros(size, np.int64)),
        "events": pa.array(counts),
        **texts,
    }
    return pa.table(
        [columns[f.name] if f.name in columns else pa.nulls(size, f.type) for f in ROLLUP_SCHEMA],
        schema=ROLLUP_SCHEMA,
    )
