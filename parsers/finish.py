"""From drafts to events: times, levels, outcomes, ids, addresses and flags, a whole batch at a time.

Nothing here looks at a single event; what needs Python (an unusual time, a level's spelling, an address) is done
once per distinct value of the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from parsers.addresses import address_column
from parsers.arrow import (
    Array,
    Int64s,
    Mask,
    from_numpy,
    mask,
    nulls,
    numbers,
    pc,
    rows,
    strings,
    true,
    valid,
    whole,
)
from parsers.batch import Source
from parsers.classes import Classes
from parsers.clock import iso_times
from parsers.columns import PARSED_SCHEMA, TIMESTAMP
from parsers.flags import BIT, names
from parsers.forwarded import Proxies, clients
from parsers.identifiers import derived_ids
from parsers.timestamps import EARLIEST_US, latest_for, parse_time
from parsers.vocabulary import DEFAULT_LEVEL, OTEL_PREFIX, level_of, outcome_of

HIGHEST_SCORE = 100.0
PROXY = "proxy_ip"  # in `extra`: the address that the line had, where its client's was found behind it
FIRST_FAILURE_STATUS = 400  # HTTP: below it a request succeeded
_ACCESS = pa.array(["authentication", "authorization"])
_OUTCOMES = pa.array(["failure", "success", "unknown"])

Bits = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the lines of one chunk come from, as their events say it."""

    source: Source
    parser: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for every line of this daemon."""

    node: str
    zone: ZoneInfo
    classes: Classes
    proxies: Proxies = field(default_factory=Proxies)


def finish(draft: pa.Table, origins: Sequence[Origin], terms: Terms) -> pa.Table:
    """Return rows of PARSED_SCHEMA for rows of DRAFT_SCHEMA, in their order; ``draft.chunk`` indexes ``origins``."""
    draft = draft.combine_chunks()
    if not draft.num_rows:
        return PARSED_SCHEMA.empty_table()
    columns: dict[str, Array] = {name: whole(draft.column(name)) for name in draft.column_names}
    chunk = numbers(columns["chunk"], 0).astype(np.int64)
    offset = numbers(columns["offset"], 0)
    bits = numbers(columns["bits"], 0).copy()  # flags are added below

    times, originals = _times(columns["timestamp"], chunk, origins, terms.zone, bits)
    columns["timestamp"] = from_numpy(times, TIMESTAMP)
    columns["level"], unknown_levels = _levels(columns["level"], bits)
    columns["ip"], columns["ip_bytes"], replaced = _clients(columns, terms.proxies)
    originals_of = {"timestamp": originals, "level": unknown_levels, PROXY: replaced}
    columns["extra"] = _with_originals(columns["extra"], originals_of)
    columns["outcome"] = _outcomes(columns)
    columns["risk_score"], columns["risk_score_reported"] = _scores(
        columns["risk_score"], columns["risk_score_reported"]
    )
    columns["event_id"] = _ids(columns["event_id"], times, chunk, offset, origins, bits)
    columns["flags"] = _flags(bits)
    columns["source_offset"] = columns["offset"]
    internal = np.array([o.source.internal for o in origins], bool)[chunk]
    columns["retention_class"] = terms.classes.column(columns["category"], internal)
    for name, value in (
        ("source", [o.source.sid for o in origins]),
        ("source_file", [o.source.file for o in origins]),
        ("internal", [o.source.internal for o in origins]),
        ("parser", [o.parser for o in origins]),
        ("node", [terms.node]),
    ):
        same = all(item == value[0] for item in value)
        columns[name] = pa.repeat(value[0], len(bits)) if same else pa.array(value).take(rows(chunk))
    arrays = [columns[field.name] for field in PARSED_SCHEMA]
    typed = [a if a.type == f.type else a.cast(f.type) for a, f in zip(arrays, PARSED_SCHEMA, strict=True)]
    return pa.Table.from_arrays(typed, schema=PARSED_SCHEMA)


def _flags(bits: Bits) -> Array:
    """Lists of flag names; most batches have none."""
    if not bits.any():
        return nulls(len(bits), pa.list_(pa.string()))
    return _per_distinct(from_numpy(bits, pa.int32()), names, pa.list_(pa.string()))


def _per_distinct(values: Array, convert: Callable[[Any], Any], kind: pa.DataType) -> Array:
    """Apply ``convert`` to each distinct value once; null stays null."""
    if values.null_count == len(values):
        return nulls(len(values), kind)
    encoded: Any = values.dictionary_encode()
    converted: Array = pa.array([convert(value) for value in encoded.dictionary.to_pylist()], kind)
    taken: Array = converted.take(encoded.indices)
    return taken


def _times(
    text: Array, chunk: Int64s, origins: Sequence[Origin], zone: ZoneInfo, bits: Bits
) -> tuple[Int64s, dict[int, str]]:
    """Microseconds per row, and the original spelling of each time that had to be replaced, by row."""
    us, known = _read_times(text, zone)
    missing = ~valid(text)
    latest = np.array([latest_for(o.source.file_date_us) for o in origins], np.int64)[chunk]
    absurd = known & ((us < EARLIEST_US) | (us >= latest))
    replaced = absurd | ~known
    if not replaced.any():
        return us, {}
    stand_in = np.array(
        [o.source.first_seen_us if o.source.file_date_us is None else o.source.file_date_us for o in origins],
        np.int64,
    )[chunk]
    bits[missing] |= BIT["timestamp_missing"]
    bits[absurd] |= BIT["timestamp_absurd"]
    bits[~known & ~missing] |= BIT["timestamp_unparsable"]
    at = np.flatnonzero(replaced & ~missing)
    originals = dict(zip(at.tolist(), strings(text.take(rows(at))), strict=True))
    return np.where(replaced, stand_in, us), originals


def _read_times(text: Array, zone: ZoneInfo) -> tuple[Int64s, Mask]:
    """Microseconds per row, and where they are known."""
    us, known = iso_times(text, naive_is_utc=zone.key == "UTC")
    known &= valid(text)
    rest = np.flatnonzero(~known)
    if len(rest):
        others = text.take(rows(rest))
        read = _per_distinct(
            others, lambda value: None if value is None else parse_time(value, zone), pa.int64()
        )
        us[rest] = numbers(read, 0)
        known[rest] = valid(read)
    return us, known


def _levels(text: Array, bits: Bits) -> tuple[Array, dict[int, str]]:
    """One of the five levels per row, and the original of each that nobody knows, by row."""
    level = _per_distinct(text, lambda value: None if value is None else level_of(value), pa.string())
    missing = ~valid(text)
    unknown = ~valid(level) & ~missing
    originals: dict[int, str] = {}
    if missing.any():
        bits[missing] |= BIT["level_missing"]
    if unknown.any():
        bits[unknown] |= BIT["level_unknown"]
        at = np.flatnonzero(unknown)
        spelled = [value.removeprefix(OTEL_PREFIX) for value in strings(text.take(rows(at)))]
        originals = dict(zip(at.tolist(), spelled, strict=True))
    return pc.fill_null(level, DEFAULT_LEVEL) if level.null_count else level, originals


def _with_originals(extra: Array, originals: dict[str, dict[int, str]]) -> Array:
    """Put replaced values back into `extra` under their column's name; only rows that have some are touched."""
    changed = sorted(set().union(*originals.values()))
    if not changed:
        return extra
    texts = extra.to_pylist()
    for row in changed:
        old = texts[row]
        members = [
            f"{orjson.dumps(name).decode()}:{orjson.dumps(found[row]).decode()}"
            for name, found in originals.items()
            if row in found
        ]
        inside = old[1:-1] if old else ""
        texts[row] = "{" + ",".join([*([inside] if inside else []), *members]) + "}"
    return pa.array(texts, pa.string())


def _clients(columns: dict[str, Array], proxies: Proxies) -> tuple[Array, Array, dict[int, str]]:
    """Addresses as text and as bytes, the client's for a proxy's, and which proxy's address was replaced, by row."""
    ip, packed = columns["ip"], address_column(columns["ip"])
    found = clients(packed, columns["request_headers"], proxies)
    if not found:
        return ip, packed, {}
    extra = columns["extra"]
    # A field of the application's own with that name stays what it is.
    replaced = {row: ip[row].as_py() for row in found if f'"{PROXY}"' not in (extra[row].as_py() or "")}
    at = np.zeros(len(ip), bool)
    at[list(found)] = True
    texts, bytes_ = zip(*(found[row] for row in sorted(found)), strict=True)
    ip = pc.replace_with_mask(ip, mask(at), pa.array(texts, ip.type))
    everything = packed.to_pylist()  # replacing in a column of fixed width is not offered
    for row, value in zip(sorted(found), bytes_, strict=True):
        everything[row] = value
    return ip, pa.array(everything, packed.type), replaced


def _outcomes(columns: dict[str, Array]) -> Array:
    """The line's own outcome, or what status and level say; the table is in docs/lines.md."""
    given = _per_distinct(
        columns["outcome"], lambda value: None if value is None else outcome_of(value), pa.string()
    )
    if given.null_count == 0:
        return given
    status = numbers(columns["status_code"], 0)
    level = columns["level"]
    failed = (
        (status >= FIRST_FAILURE_STATUS) | true(pc.equal(level, "error")) | true(pc.equal(level, "critical"))
    )
    refused = true(pc.equal(level, "warning"))
    if refused.any():
        failed |= refused & true(pc.is_in(columns["category"], _ACCESS))
    failed |= true(pc.equal(columns["action"], "validation_failed"))
    known = valid(columns["status_code"]) | valid(columns["action"])
    derived = _OUTCOMES.take(
        from_numpy(np.where(failed, 0, np.where(known, 1, 2)).astype(np.int64), pa.int64())
    )
    return derived if given.null_count == len(given) else pc.coalesce(given, derived)


def _scores(score: Array, reported: Array) -> tuple[Array, Array]:
    """The score rounded half up and clipped to 0-100, and the score as given."""
    given = score if reported.null_count == len(reported) else pc.coalesce(reported, score)
    clipped = np.floor(np.clip(numbers(score, 0.0), 0.0, HIGHEST_SCORE) + 0.5).astype(np.int32)
    return from_numpy(clipped, pa.int32(), valid(score)), given


def _ids(
    given: Array, times: Int64s, chunk: Int64s, offset: Int64s, origins: Sequence[Origin], bits: Bits
) -> Array:
    missing = ~valid(given)
    if not missing.any():
        return given
    bits[missing] |= BIT["event_id_missing"]
    at = np.flatnonzero(missing)
    ids = derived_ids([o.source.sid for o in origins], chunk[at], offset[at], times[at])
    return ids if len(at) == len(given) else pc.replace_with_mask(given, mask(missing), ids)
