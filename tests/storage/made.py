"""Lines and rows made for archive tests: ten bytes a line, one event a line, at a time of the test's choice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from parsers.batch import Chunk, Counts, Mark, Parsed, Place, Source
from parsers.columns import PARSED_REJECT_SCHEMA, PARSED_SCHEMA, TIMESTAMP
from storage.records import SourceSeen

LINE = 10  # bytes of a line
FIRST_TIME_US = 1_700_000_000_000_000  # 2023-11-14T22:13:20Z
STEP_US = 3_600_000_000  # an hour between lines: a few dozen lines span days


def seen(name: str, *, internal: bool = False) -> SourceSeen:
    """Return a source as the tailer would report it."""
    return SourceSeen(
        path=f"/logs/{name}",
        file=name,
        device=1,
        inode=abs(hash(name)) % 1000,
        generation=None,
        head="",
        head_length=0,
        internal=internal,
        profile="native",
        file_date_us=None,
        first_seen_us=FIRST_TIME_US,
    )


def lines(source: Source, start: int, count: int, *, step_us: int = STEP_US) -> tuple[Parsed, Chunk]:
    """Return ``count`` lines of ``source`` from byte ``start`` as parsed rows and the chunk they came from."""
    offsets = np.arange(start, start + count * LINE, LINE, dtype=np.int64)
    given: dict[str, pa.Array[Any]] = {
        "event_id": pa.array([f"{source.sid[:8]}-{offset}" for offset in offsets]),
        "timestamp": pa.array(FIRST_TIME_US + offsets // LINE * step_us).cast(TIMESTAMP),
        "level": pa.array(["info"] * count),
        "internal": pa.array([source.internal] * count),
        "retention_class": pa.array(["default"] * count),
        "node": pa.array(["main"] * count),
        "parser": pa.array(["native"] * count),
        "source": pa.array([source.sid] * count),
        "source_file": pa.array([source.file] * count),
        "source_offset": pa.array(offsets),
    }
    columns = [given.get(field.name, pa.nulls(count, field.type)) for field in PARSED_SCHEMA]
    table = pa.Table.from_arrays(columns, schema=PARSED_SCHEMA)
    counts = Counts(lines=count, events=count)
    end = start + count * LINE
    chunk = Chunk(
        source,
        start,
        end,
        b"x" * (count * LINE),
        Mark(head="h", head_length=1, seam="s", seam_length=1, digest=f"d{end}", digest_from=0),
        Place(path=f"/logs/{source.file}", device=1, inode=1, generation=None, size=end),
    )
    return Parsed(table, PARSED_REJECT_SCHEMA.empty_table(), (counts,), {}), chunk
