"""How risky an event is, 0 to 100, and why: the points of its reasons, put together by the batch.

What the event itself says gives its base (`parsers.points`), unless the application gave a score: that takes the
base's place. What is unlike its user's habits (`parsers.habits`) can only add to it. The daemon's own events have no
score, and change no habits.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parsers.arrow import Array, Int64s, Mask, from_numpy, nulls, numbers, pc, true, valid, whole
from parsers.columns import EVENT_SCHEMA
from parsers.habits import Acts, Habits, Unusual
from parsers.memory import Keys
from parsers.people import DAY_SECONDS
from parsers.points import APPLICATION, BASE, BEHAVIOUR, LEVEL, SCALE, SCALES, Points

MICROSECONDS: Final = 1_000_000
TEXTS_KNOWN: Final = 131_072  # distinct texts whose hash is remembered: 15 MB
HASH_BYTES: Final = 8
LEAST_KM: Final = 50.0  # nearer than that, two positions are one: addresses are placed that inexactly
DECIMALS: Final = 9  # that are kept before rounding half up: 41.5 must not come out as 41.49999999999999
NAME_PREFIX: Final = "name:"  # of the key of a user who has a name and no id, as in roll-ups
IPV4_NETWORK_BYTES, IPV6_NETWORK_BYTES = 15, 6  # of the sixteen of an address: a /24, a /48
_MAPPED_BYTES: Final = 12  # of the sixteen that say that it is IPv4
_REASON: Final = EVENT_SCHEMA.field("risk_reasons").type
_VERSIONS: Final = re.compile(r"\d[\d._]*")  # in a user agent: an update makes no new device

# Columns that scoring reads; everything needed to score archived rows again.
READ: Final[tuple[str, ...]] = (
    "timestamp", "internal", "user_id", "username", "category", "action", "outcome", "level", "country_code",
    "latitude", "longitude", "ip_bytes", "asn", "device", "user_agent", "affected_users_count",
    "risk_score_reported",
)  # fmt: skip
WRITTEN: Final[tuple[str, ...]] = ("risk_score", "risk_model", "risk_reasons", "travel_kmh")


@dataclass(slots=True)
class _Reason:
    """One reason: which events have it, its points for each of them, and a text for each that says more."""

    name: str
    rows: Int64s
    points: npt.NDArray[np.float64]
    details: Sequence[str | None]


@dataclass(slots=True)
class Scoring:
    """Scores events in the order of the stream. Not thread-safe; ``habits`` are changed with every batch."""

    points: Points
    habits: Habits = field(default_factory=Habits)

    def score(self, events: pa.Table, read_us: int | Int64s) -> pa.Table:
        """Return the events with their risk. ``read_us`` says when they were read: one time, or one for each."""
        if not events.num_rows:
            return events
        columns = {name: whole(events.column(name)) for name in READ if name in events.column_names}
        size = events.num_rows
        outside = ~true(columns["internal"])
        read_days = np.broadcast_to(np.asarray(read_us, np.int64) // (MICROSECONDS * DAY_SECONDS), (size,))
        users = _users(columns)
        people = np.flatnonzero(outside & (users != 0))
        unusual = self.habits.fold(_acts(columns, users, read_days, people))
        reasons = [*self._own(columns, outside), *self._behaviour(columns, unusual, people)]
        survived = np.ones(size)
        for reason in reasons:
            survived[reason.rows] *= 1.0 - reason.points / 100.0
        exact = np.round(100.0 * (1.0 - survived), DECIMALS)
        scores = np.floor(exact + 0.5).astype(np.int32)
        travel = np.full(size, np.nan)
        # Whole numbers pack well.
        travel[people] = np.where(unusual.travel_km >= LEAST_KM, np.round(unusual.travel_kmh), np.nan)
        made = {
            "risk_score": from_numpy(scores, pa.int32(), outside),
            "risk_model": pc.if_else(pa.array(outside), self.points.version, None),
            "risk_reasons": _reasons(reasons, size),
            "travel_kmh": from_numpy(np.nan_to_num(travel), pa.float64(), np.isfinite(travel)),
        }
        for name, values in made.items():
            at = events.schema.get_field_index(name)
            if at >= 0:
                kind = events.schema.field(at)
                typed = values if values.type == kind.type else values.cast(kind.type)
                events = events.set_column(at, kind, typed)
        return events

    def _own(self, columns: dict[str, Array], outside: Mask) -> list[_Reason]:
        """Reasons of the event itself: the application's score, or else base, level and how many it touches."""
        reported = columns["risk_score_reported"]
        given = valid(reported) & outside
        found: list[_Reason] = []
        if given.any():
            scores = np.clip(numbers(reported, 0.0), 0.0, 100.0)
            rows = np.flatnonzero(given & (scores > 0))
            found.append(_Reason(APPLICATION, rows, scores[rows], [None] * len(rows)))
        judged = np.flatnonzero(outside & ~given)
        if not len(judged):
            return found
        base, words = self._bases(columns)
        rows = judged[base[judged] > 0]
        found.append(_Reason(BASE, rows, base[rows], [words(row) for row in rows.tolist()]))
        level = _looked_up(columns["level"], lambda text: self.points.of_level(text or ""))
        rows = judged[level[judged] > 0]
        levels = columns["level"].take(from_numpy(rows, pa.int64())).to_pylist()
        found.append(_Reason(LEVEL, rows, level[rows], levels))
        touched = numbers(columns["affected_users_count"], 0).astype(np.int64)
        rows = judged[touched[judged] >= min(least for least, _ in SCALES)]
        if len(rows):
            steps = np.array([[least, points] for least, points in SCALES])
            chosen = np.argmax(touched[rows][:, None] >= steps[None, :, 0], axis=1)
            details = [f"{number} users" for number in touched[rows].tolist()]
            found.append(_Reason(SCALE, rows, steps[chosen, 1], details))
        return found

    def _bases(self, columns: dict[str, Array]) -> tuple[npt.NDArray[np.float64], Callable[[int], str]]:
        """The base points of each event and their words, found once for each combination that occurs."""
        names = ("category", "action", "outcome", "level")
        code = np.zeros(len(columns["level"]), np.int64)
        words: list[list[str | None]] = []
        for name in names:
            encoded: Any = columns[name].dictionary_encode()
            distinct: list[str | None] = [*encoded.dictionary.to_pylist(), None]
            codes = numbers(encoded.indices, len(distinct) - 1).astype(np.int64)
            code = code * len(distinct) + codes
            words.append(distinct)
        occurring, inverse = np.unique(code, return_inverse=True)
        points = np.zeros(len(occurring))
        told = []
        for at, number in enumerate(occurring.tolist()):
            said: list[str | None] = []
            rest = number
            for distinct in reversed(words):
                rest, place = divmod(rest, len(distinct))
                said.append(distinct[place])
            level, outcome, action, category = said
            points[at] = self.points.base(category, action, outcome, level)
            told.append(" ".join(word for word in (category, action, outcome) if word))
        return points[inverse], lambda row: told[inverse[row]]

    def _behaviour(self, columns: dict[str, Array], unusual: Unusual, people: Int64s) -> list[_Reason]:
        found: list[_Reason] = []
        for name in BEHAVIOUR:
            inner = np.flatnonzero(unusual.flags[name]) if name in unusual.flags else np.zeros(0, np.int64)
            points = self.points.of(name)
            if len(inner) and points > 0:
                rows = people[inner]
                details = _details(name, columns, unusual, inner, rows)
                found.append(_Reason(name, rows, np.full(len(rows), points), details))
        return found


def _details(
    name: str, columns: dict[str, Array], unusual: Unusual, inner: Int64s, rows: Int64s
) -> Sequence[str | None]:
    """Return what explains a reason, for each of its events."""
    if name.startswith("new_country"):
        return _texts(columns["country_code"], rows)
    if name == "rare_action":
        return _texts(columns["action"], rows)
    if name == "impossible_travel":
        pairs = zip(unusual.travel_km[inner].tolist(), unusual.travel_kmh[inner].tolist(), strict=True)
        return [f"{far:,.0f} km at {fast:,.0f} km/h" for far, fast in pairs]
    if name == "velocity":
        return [f"{number} events in a minute" for number in unusual.in_minute[inner].tolist()]
    if name.startswith("failed_streak") or name == "success_after_failures":
        return [f"{number} failures in a row" for number in unusual.streak[inner].tolist()]
    return [None] * len(rows)


def _texts(column: Array, rows: Int64s) -> list[str | None]:
    found: list[str | None] = column.take(from_numpy(rows, pa.int64())).to_pylist()
    return found


def _reasons(reasons: Sequence[_Reason], size: int) -> Array:
    """Return a list of reasons for each event, null where there is none."""
    rows = np.concatenate([np.zeros(0, np.int64), *(reason.rows for reason in reasons)])
    if not len(rows):
        return nulls(size, _REASON)
    order = np.argsort(rows, kind="stable")
    numbers_of = np.concatenate([np.full(len(reason.rows), at) for at, reason in enumerate(reasons)])[order]
    names = pa.array([reason.name for reason in reasons]).take(from_numpy(numbers_of, pa.int64()))
    points = pa.array(np.concatenate([reason.points for reason in reasons])[order])
    details = pa.concat_arrays([pa.array(list(reason.details), pa.string()) for reason in reasons])
    struct = pa.StructArray.from_arrays(
        [names, points, details.take(from_numpy(order, pa.int64()))], fields=list(_REASON.value_type)
    )
    counts = np.bincount(rows, minlength=size)
    offsets = np.zeros(size + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    some: Any = from_numpy(
        offsets, pa.int32(), np.append(counts > 0, True)
    )  # a null offset makes a null list
    lists: Array = pa.ListArray.from_arrays(some, struct, type=_REASON)
    return lists


def _users(columns: dict[str, Array]) -> Keys:
    """The key of each event's user, 0 where it has none; a user is its id, or else its name."""
    ids, names = columns["user_id"], columns["username"]
    if names.null_count < len(names) and ids.null_count:
        named = pc.binary_join_element_wise(NAME_PREFIX, names, "")
        ids = pc.coalesce(ids, named)
    return hashes(ids)


def _acts(columns: dict[str, Array], users: Keys, read_days: Int64s, people: Int64s) -> Acts:
    """What the fold needs of the events that have a user."""
    outcome = columns["outcome"]
    failed = true(pc.equal(outcome, "failure")) | true(pc.equal(outcome, "denied"))
    succeeded = true(pc.equal(outcome, "success"))
    logging_in = true(pc.equal(columns["category"], "authentication")) | true(
        pc.equal(columns["action"], "login")
    )
    logins = np.where(logging_in & failed, 1, np.where(logging_in & succeeded, 2, 0)).astype(np.int8)
    packed = columns["ip_bytes"]
    seconds = numbers(columns["timestamp"].cast(pa.int64()), 0).astype(np.int64) // MICROSECONDS
    device = columns["device"]
    if device.null_count:
        device = (
            pc.coalesce(device, columns["user_agent"])
            if device.null_count < len(device)
            else columns["user_agent"]
        )
    return Acts(
        users=users[people],
        seconds=seconds[people],
        read_days=read_days[people],
        countries=hashes(columns["country_code"])[people],
        networks=_networks(packed, columns["asn"])[people],
        devices=hashes(device, _device)[people],
        actions=hashes(columns["action"])[people],
        addresses=hashes(packed)[people],
        logins=logins[people],
        succeeded=(succeeded | ~failed)[people],
        latitude=numbers(columns["latitude"], np.nan).astype(np.float64)[people],
        longitude=numbers(columns["longitude"], np.nan).astype(np.float64)[people],
    )


def _networks(packed: Array, asn: Array) -> Keys:
    """The network of each address: its autonomous system, or else its /24 or /48."""
    near = hashes(packed, _network)
    if asn.null_count == len(asn):
        return near
    number = numbers(asn, 0).astype(np.uint64)
    return np.where(valid(asn), number + np.uint64(1), near)


def hashes(values: Array, reduce: Callable[[Any], bytes] | None = None) -> Keys:
    """Return a 64-bit hash of each value, never 0 but for null; of what ``reduce`` makes of it, if given.

    BLAKE2b, because it is the same in every release and on every machine: what is remembered lies on disk.
    """
    if values.null_count == len(values):
        return np.zeros(len(values), np.uint64)
    encoded: Any = values.dictionary_encode()
    make = _bytes if reduce is None else reduce
    distinct = [hashed(make(value)) for value in encoded.dictionary.to_pylist()]
    known = np.array([*distinct, 0], np.uint64)
    return known[numbers(encoded.indices, len(distinct)).astype(np.int64)]


@lru_cache(maxsize=TEXTS_KNOWN)
def hashed(value: bytes) -> int:
    """Return the hash of some bytes; 1 instead of 0."""
    return int.from_bytes(hashlib.blake2b(value, digest_size=HASH_BYTES).digest(), "little") or 1


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _device(text: str) -> bytes:
    return _VERSIONS.sub("", text).encode()


def _network(packed: bytes) -> bytes:
    mapped = packed[:_MAPPED_BYTES] == bytes(10) + b"\xff\xff"
    return packed[: IPV4_NETWORK_BYTES if mapped else IPV6_NETWORK_BYTES]


def _looked_up(values: Array, find: Callable[[str | None], float]) -> npt.NDArray[np.float64]:
    encoded: Any = values.dictionary_encode()
    known = np.array([*(find(value) for value in encoded.dictionary.to_pylist()), find(None)])
    return known[numbers(encoded.indices, len(known) - 1).astype(np.int64)]
