"""Risky events of users or of addresses, counted by score: what the risk of each is added up from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from parsers.entityrisk import LEAST_EVENT_POINTS
from storage import rolled
from storage.coded import Ints
from storage.combinations import Places
from storage.material import Material
from storage.query import Filter, Scope
from storage.rollups import Family
from storage.sheet import unite


@dataclass(frozen=True, slots=True)
class Scored:
    """Risky events: row by row ``events`` of a score of ``points`` belong to the (key, name) of the number ``subjects``."""

    keys: Any
    names: Any
    subjects: Ints
    points: Ints
    events: Ints


def scored(material: Material, family: Family, wanted: Filter, scope: Scope) -> Scored:
    """Return the risky events of each user or address, by score; ``family`` is one of the risky ones."""
    rolls = None if wanted.names else family  # its words are scores, which no filter knows
    parts = material.plan(wanted, scope, rolls, rolls, family.name)
    found: list[tuple[Any, Any, Places, Ints, Ints]] = []
    for rolling, sheet, low, high in material.pieces(parts):
        mask = sheet.mask(material.chosen(rolling, wanted, scope), low, high)
        groups, words = material.sheets.combinations(rolling).grouped(rolling.dimensions)
        points = np.array([int(score) for (score,) in words], np.int64)
        assert sheet.subjects is not None
        about = sheet.subjects[mask], points[groups[sheet.combinations[mask]]], sheet.events[mask]
        found.append((sheet.keys, sheet.names, *about))
    if parts.rows:
        risky = replace(wanted, min_risk=max(LEAST_EVENT_POINTS, wanted.min_risk or 0))
        by = [rolled.SCORE, *rolled.key_and_name(family)]
        table = material.table(rolled.cells(rolled.Parts((), parts.rows), risky, scope, by, keyed=family))
        keys, names = (table[name].combine_chunks() for name in ("key", "name"))
        subjects = np.arange(len(keys), dtype=np.int32)
        points, events = (table[name].to_numpy().astype(np.int64) for name in ("score", "events"))
        found.append((keys, names, subjects, points, events))
    if not found:
        none = np.zeros(0, np.int64)
        return Scored(pa.array([], pa.string()), pa.array([], pa.string()), none, none, none)
    keys, names, numbers = unite([(keys, names) for keys, names, *_ in found])
    return Scored(
        keys,
        names,
        np.concatenate([place[each[2]] for place, each in zip(numbers, found, strict=True)]).astype(np.int64),
        np.concatenate([each[3] for each in found]),
        np.concatenate([each[4] for each in found]),
    )
