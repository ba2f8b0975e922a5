"""What a question would cost, told without asking it: from the ledger's figures and what is known of files' contents."""

from __future__ import annotations

from typing import Any

from parsers.moments import rfc3339
from storage.plan import planned_count
from storage.query import Filter, Scope
from storage.scope import view
from storage.sieve import Sieve
from storage.snapshot import Snapshot


def cost(snapshot: Snapshot, wanted: Filter, scope: Scope, sieve: Sieve) -> dict[str, Any]:
    """Return the files and rows that may hold events of a filter, of how many there are, and what would count them.

    A page of the newest events reads less: it stops when it is full. Blocks: bloom filters and sketches may be read.
    """
    in_range = view(snapshot, wanted, scope)
    seen = sieve.over(snapshot, wanted, scope).view(in_range)
    hot_rows = sum(batch.table.num_rows for batch in seen.hot)
    span = seen.span() if not seen.empty else None
    files = snapshot.events
    return {
        "scan": {
            "files": len(seen.files),
            "rows": sum(file.rows for file in seen.files) + hot_rows,
            "bytes": sum(file.bytes for file in seen.files),
            "days": len({file.day for file in seen.files if file.day is not None}),
            "hot_rows": hot_rows,
            "files_in_range": len(in_range.files),
            "oldest": rfc3339(span[0]) if span else None,
            "newest": rfc3339(span[1]) if span else None,
        },
        "archive": {
            "files": len(files),
            "rows": sum(file.rows for file in files) + sum(batch.table.num_rows for batch in snapshot.hot),
            "bytes": sum(file.bytes for file in files),
        },
        "plan": planned_count(snapshot, wanted, scope),
    }
