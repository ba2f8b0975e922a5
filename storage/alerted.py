"""Alerts as the archive has them: the newest state of each, from the daemon's own events about it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb
import orjson

from parsers.sigma.naming import target_of
from parsers.sigma.rule import Level
from storage import sql
from storage.correlating import ALERT_ENTITY
from storage.filters import Bind, quote
from storage.query import Filter, Scope
from storage.rollups import NAME_PREFIX
from storage.scope import view
from storage.snapshot import Snapshot

ALERT_ID = "alert-"  # with which the ids of events about alerts begin
_SCOPE = Scope(internal="only")


@dataclass(frozen=True, slots=True)
class Alerted:
    """An alert: what it is called and how grave it is, when it began, and whom or what it is about.

    ``groups`` are texts by column, as the rule grouped events. ``dismissed``: a person said that it is over.
    """

    id: str
    rule_id: str
    title: str
    level: Level
    opened_us: int
    dismissed: bool
    groups: Mapping[str, str]

    @property
    def user(self) -> str | None:
        """The key of the user that it is about (`storage.rollups`)."""
        name = self.groups.get("username")
        return self.groups.get("user_id") or (f"{NAME_PREFIX}{name}" if name else None)


def newest(
    cursor: duckdb.DuckDBPyConnection, snapshot: Snapshot, most: int, wanted: Filter | None = None
) -> Iterator[Mapping[str, Any]]:
    """Yield the metadata of the newest event about each alert, at most ``most``, the latest first.

    ``wanted`` limits the events that are looked at. The cursor must have the snapshot's hot rows.
    """
    wanted = wanted or Filter()
    seen = view(snapshot, wanted, _SCOPE)
    if seen.empty:
        return
    bind = Bind()
    from_item = sql.source(seen, bind)
    condition = sql.where(seen, wanted, _SCOPE, bind)
    rows = cursor.execute(
        f"SELECT arg_max(metadata, seq) FROM {from_item} WHERE {condition} "
        f"AND {quote('entity_type')} = {bind(ALERT_ENTITY)} AND starts_with(event_id, {bind(ALERT_ID)}) "
        f"GROUP BY entity_id ORDER BY max(seq) DESC LIMIT {bind(most)}",
        bind.values,
    ).fetchall()
    for (metadata,) in rows:
        if metadata:
            yield orjson.loads(metadata)


def alerted(
    cursor: duckdb.DuckDBPyConnection, snapshot: Snapshot, most: int, start_us: int, end_us: int
) -> list[Alerted]:
    """Return the alerts that an event between two times tells of, as of the newest such event, by id."""
    found = []
    for metadata in newest(cursor, snapshot, most, Filter(start_us=start_us, end_us=end_us)):
        try:
            found.append(_read(metadata["alert"]))
        except (KeyError, TypeError, ValueError):  # of another release: others count all the same
            continue
    return sorted(found, key=lambda alert: alert.id)


def _read(alert: Mapping[str, Any]) -> Alerted:
    about = alert["about"]
    groups: dict[str, str] = {}
    for field, value in zip(about["group_by"], alert["groups"], strict=False):
        column, rest = target_of(field).places[0]
        if not rest:
            groups[column] = str(value)
    return Alerted(
        str(alert["id"]),
        str(alert["rule_id"]),
        str(about["title"]),
        about["level"],
        int(alert["opened_us"]),
        alert["state"] == "resolved" and bool(alert["by"]),
        groups,
    )
