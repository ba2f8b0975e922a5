"""How risky an event is, 0 to 100, and why: the points of its reasons, put together by the batch.

What the event itself says gives its base (`parsers.points`), unless the application gave a score: that takes the
base's place. What is unlike its user's habits (`parsers.habits`) can only add to it. The daemon's own events have no
score, and change no habits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parsers.acts import MICROSECONDS, ActReader
from parsers.arrow import Array, Int64s, Mask, from_numpy, nulls, numbers, pc, true, valid, whole
from parsers.arrow import rows as rows_of
from parsers.columns import EVENT_SCHEMA
from parsers.habits import Habits, Unusual
from parsers.people import DAY_SECONDS
from parsers.points import APPLICATION, BASE, BEHAVIOUR, LEVEL, SCALE, SCALES, Points

LEAST_KM: Final = 50.0  # nearer than that, two positions are one: addresses are placed that inexactly
DECIMALS: Final = 9  # that are kept before rounding half up: 41.5 must not come out as 41.49999999999999
_REASON: Final = EVENT_SCHEMA.field("risk_reasons").type

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
    details: Array


@dataclass(slots=True)
class Scoring:
    """Scores events in the order of the stream. Not thread-safe; ``habits`` are changed with every batch."""

    points: Points
    habits: Habits = field(default_factory=Habits)
    _reader: ActReader = field(init=False, default_factory=ActReader)

    def score(self, events: pa.Table, read_us: int | Int64s) -> pa.Table:
        """Return the events with their risk. ``read_us`` says when they were read: one time, or one for each."""
        if not events.num_rows:
            return events
        columns = {name: whole(events.column(name)) for name in READ if name in events.column_names}
        size = events.num_rows
        outside = ~true(columns["internal"])
        read_days = np.broadcast_to(np.asarray(read_us, np.int64) // (MICROSECONDS * DAY_SECONDS), (size,))
        people, acts = self._reader.read(columns, outside, read_days)
        unusual = self.habits.fold(acts)
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
            found.append(_Reason(APPLICATION, rows, scores[rows], _untold(rows)))
        judged = np.flatnonzero(outside & ~given)
        if not len(judged):
            return found
        base, words = self._bases(columns)
        rows = judged[base[judged] > 0]
        found.append(_Reason(BASE, rows, base[rows], words(rows)))
        level = _looked_up(columns["level"], lambda text: self.points.of_level(text or ""))
        rows = judged[level[judged] > 0]
        found.append(_Reason(LEVEL, rows, level[rows], _taken(columns["level"], rows)))
        touched = numbers(columns["affected_users_count"], 0).astype(np.int64)
        rows = judged[touched[judged] >= min(least for least, _ in SCALES)]
        if len(rows):
            steps = np.array([[least, points] for least, points in SCALES])
            chosen = np.argmax(touched[rows][:, None] >= steps[None, :, 0], axis=1)
            details = [f"{number} users" for number in touched[rows].tolist()]
            found.append(_Reason(SCALE, rows, steps[chosen, 1], pa.array(details, pa.string())))
        return found

    def _bases(self, columns: dict[str, Array]) -> tuple[npt.NDArray[np.float64], Callable[[Int64s], Array]]:
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
        texts = pa.array(told, pa.string())
        return points[inverse], lambda rows: _taken(texts, inverse[rows])

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


def _details(name: str, columns: dict[str, Array], unusual: Unusual, inner: Int64s, rows: Int64s) -> Array:
    """Return what explains a reason, for each of its events."""
    if name.startswith("new_country"):
        return _taken(columns["country_code"], rows)
    if name == "rare_action":
        return _taken(columns["action"], rows)
    if name == "impossible_travel":
        pairs = zip(unusual.travel_km[inner].tolist(), unusual.travel_kmh[inner].tolist(), strict=True)
        return pa.array([f"{far:,.0f} km at {fast:,.0f} km/h" for far, fast in pairs], pa.string())
    if name == "velocity":
        counts = unusual.in_minute[inner].tolist()
        return pa.array([f"{number} events in a minute" for number in counts], pa.string())
    if name.startswith("failed_streak") or name == "success_after_failures":
        return pa.array(
            [f"{number} failures in a row" for number in unusual.streak[inner].tolist()], pa.string()
        )
    return _untold(rows)


def _taken(texts: Array, places: Int64s) -> Array:
    found: Array = texts.take(rows_of(places))
    return found


def _untold(rows: Int64s) -> Array:
    return nulls(len(rows), pa.string())


def _reasons(reasons: Sequence[_Reason], size: int) -> Array:
    """Return a list of reasons for each event, null where there is none."""
    rows = np.concatenate([np.zeros(0, np.int64), *(reason.rows for reason in reasons)])
    if not len(rows):
        return nulls(size, _REASON)
    order = np.argsort(rows, kind="stable")
    numbers_of = np.concatenate([np.full(len(reason.rows), at) for at, reason in enumerate(reasons)])[order]
    names = pa.array([reason.name for reason in reasons]).take(from_numpy(numbers_of, pa.int64()))
    points = pa.array(np.concatenate([reason.points for reason in reasons])[order])
    details = pa.concat_arrays([reason.details for reason in reasons])
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


def _looked_up(values: Array, find: Callable[[str | None], float]) -> npt.NDArray[np.float64]:
    encoded: Any = values.dictionary_encode()
    known = np.array([*(find(value) for value in encoded.dictionary.to_pylist()), find(None)])
    return known[numbers(encoded.indices, len(known) - 1).astype(np.int64)]
