"""Makes gaps known: an event in the daemon's own log and a measurement for each, exactly once.

The ledger decides what is a gap and which of them were told. An event is on the disk before its gap counts as told;
after a crash in between, the daemon's own log says whether it is there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Any

from daemon.selflog import SelfLog
from storage.archive import Archive
from storage.gaps import Gap
from storage.observer import Observer

AT_LEAST = {"gone", "removed", "truncated"}  # what was written after the last look is not known
AT_MOST = {"uncompared"}  # some of it may be archived
LEVELS = {"nul": "warning"}  # a hole held no line; everything else is an error

_log = logging.getLogger(__name__)


def event_id(node: str, gap: Gap) -> str:
    """Return the id of a gap's event: the same whenever it is made."""
    return f"gap-{node}-{gap.number}"


def event_of(node: str, gap: Gap) -> dict[str, Any]:
    """Return the event that tells of a gap."""
    bound = "at least " if gap.code in AT_LEAST else "at most " if gap.code in AT_MOST else ""
    amount = f"{bound}{gap.bytes}"
    name = gap.path or gap.sid
    return {
        "eventId": event_id(node, gap),
        "level": LEVELS.get(gap.code, "error"),
        "category": "security",
        "action": "security_event",
        "outcome": "failure",
        "entity": {"type": "log_source", "id": gap.sid, "name": name},
        "description": f"{amount} bytes of {name} will never be archived: {gap.reason}",
        "tags": ["gap", gap.code],
        "metadata": {
            "gap": gap.number,
            "source": gap.sid,
            "path": gap.path,
            "from": gap.start,
            "to": gap.end,
            "bytes": gap.bytes,
            "reason": gap.code,
        },
    }


class GapTeller:
    """Tells of every gap that the ledger holds and nobody was told of."""

    def __init__(self, archive: Archive, selflog: SelfLog, observer: Observer, *, node: str) -> None:
        self._archive = archive
        self._selflog = selflog
        self._observer = observer
        self._node = node
        self._lock = asyncio.Lock()
        self._doubtful = True  # an earlier process may have written events and not said so

    async def tell(self) -> None:
        """Make events of all gaps that have none. A disk that refuses is tried again with the next commit."""
        async with self._lock:
            gaps = self._archive.losses.untold()
            if not gaps:
                self._doubtful = False
                return
            there: Collection[str] = ()
            if self._doubtful:
                ids = {event_id(self._node, gap) for gap in gaps}
                there = await asyncio.to_thread(self._selflog.holds, ids)
                self._doubtful = False
            for gap in gaps:
                event = event_of(self._node, gap)
                if event["eventId"] not in there:
                    try:
                        await self._selflog.append(event, durable=True)
                    except OSError as error:
                        _log.error("a gap could not be told of: %s", event["description"], exc_info=error)
                        return
                self._archive.losses.tell(gap.number)
                self._observer.count("gaps", reason=gap.code)
                self._observer.count("gap_bytes", gap.bytes, reason=gap.code)
