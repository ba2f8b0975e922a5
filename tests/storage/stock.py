"""An archive stocked with events of given days, categories and persons, for tests of what is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from parsers.batch import Chunk, Parsed
from parsers.classes import Classes
from parsers.columns import PARSED_SCHEMA, TIMESTAMP
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.books import now_us
from storage.retention import Policy
from tests.storage.made import lines, seen

TODAY = "2026-06-01"


def opened(
    folder: Path, policy: Policy | None = None, *, clock: Callable[[], int] = now_us, **options: Any
) -> Archive:
    """Open the archive in a folder."""
    return Archive.open(ArchiveOptions(str(folder), policy=policy or Policy(), **options), clock=clock)


def stock(
    archive: Archive, rows: Sequence[dict[str, Any]], *, name: str = "app", internal: bool = False
) -> None:
    """Commit and seal events; a row gives its ``day`` and any columns."""
    source = archive.register(seen(name, internal=internal))
    parsed, chunk = lines(source, 0, len(rows))
    archive.append(*_with(parsed, chunk, rows, archive.options.policy))
    archive.commit()
    archive.seal()


def _with(
    parsed: Parsed, chunk: Chunk, rows: Sequence[dict[str, Any]], policy: Policy
) -> tuple[Parsed, list[Chunk]]:
    times = [
        int(datetime.fromisoformat(row["day"]).replace(tzinfo=UTC).timestamp()) * 1_000_000 + place
        for place, row in enumerate(rows)
    ]
    table = parsed.events
    given: dict[str, pa.Array[Any]] = {"timestamp": pa.array(times).cast(TIMESTAMP)}
    for column in {key for row in rows for key in row} - {"day"}:
        given[column] = pa.array([row.get(column) for row in rows], PARSED_SCHEMA.field(column).type)
    internal = np.array(table["internal"].to_pylist(), bool)
    categories = given.get("category", pa.nulls(len(rows), pa.string()))
    given["retention_class"] = Classes(policy.by_category).column(categories, internal)
    for column, values in given.items():
        table = table.set_column(table.schema.get_field_index(column), PARSED_SCHEMA.field(column), values)
    return Parsed(table, parsed.rejects, parsed.counts, parsed.redactions), [chunk]


def days(archive: Archive) -> list[str]:
    """Return the days of which there are events, once for each events file."""
    return sorted(file.day or "live" for file in archive.snapshot.events)


def counted(archive: Archive) -> int:
    """Return how many events there are."""
    return sum(file.rows for file in archive.snapshot.events)
