"""Statements in SQL for tests, through the real confined process."""

import json
from pathlib import Path
from typing import Any

from storage.adhoc import Ask, Limits, run

SMALL = Limits(memory_mb=128, threads=1)


def rows(
    archive: Path, statement: str, *, deadline: float = 30, limits: Limits = SMALL, **given: Any
) -> list[list[Any]]:
    """Return the rows of an answer, each a list of JSON values."""
    _heading, *pieces = run(str(archive), Ask(statement, **given), limits, deadline=deadline)
    return [json.loads(line) for line in b"".join(p for p in pieces if isinstance(p, bytes)).splitlines()]
