"""Rules at work over a station, and who is told of what they find: the daemon's own stages, moved on by a test."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from daemon.detection import Detection, DetectionOptions
from daemon.outbound.around import Around
from daemon.outbound.dispatcher import Route
from daemon.outbound.sender import Channel
from daemon.outbound.teller import Teller, TellerOptions
from daemon.rulebook import PACK, read
from daemon.selflog import SelfLog
from storage.observer import Silent
from tests.web.station import Station


class OwnLog(SelfLog):
    """The daemon's own log, whose lines the station takes in as soon as they are written."""

    def __init__(self, station: Station) -> None:
        super().__init__(station.archive.layout.own_log, node="main", version="0")
        self._station = station

    def _write_line(self, event: Mapping[str, Any], *, durable: bool) -> None:
        before = self._sizes()
        super()._write_line(event, durable=durable)
        for path, size in self._sizes().items():
            grown = path.read_bytes()[before.get(path, 0) :] if size > before.get(path, 0) else b""
            if grown:
                self._station.take(path, path.name, grown, internal=True)

    def _sizes(self) -> dict[Path, int]:
        # What the station writes of audits stands in a file of its own.
        found = [path for path in Path(self.folder).glob("*.jsonl") if path.name != "self.jsonl"]
        return {path: path.stat().st_size for path in found}


class Watch:
    """A station with rules and channels. `look` does what the daemon does by itself."""

    def __init__(
        self,
        station: Station,
        *,
        rules: Sequence[str] = (PACK,),
        channels: Sequence[Channel] = (),
        wait_us: int = 0,
    ) -> None:
        self.station = station
        self.log = OwnLog(station)
        self.detection = Detection(
            station.archive,
            self.log,
            Silent(),
            DetectionOptions(),
            lambda: read(rules, ()),
            judge=lambda text: read(rules, (), given=text),
            clock=lambda: station.now_us,
        )
        self.detection.prepare()
        names = tuple(channel.name for channel in channels)
        self.teller = Teller(
            TellerOptions(
                channels=tuple(channels), routes=(Route(names, wait_us=wait_us),), own_alerts=False
            ),
            station.archive.layout.outbox,
            Silent(),
            {},
            Around(
                sources=station.sources,
                degraded=station.degraded,
                ready=station.ready,
                audit=lambda event: self.log.append(event, durable=True),
                dashboard=lambda: "",
                alerts=self.detection.changes,
            ),
            clock=lambda: station.now_us / 1e6,
        )
        self.detection.add_listener(self.teller.hear)

    async def look(self) -> None:
        """Let rules look at everything that is visible, and everybody be told who is to be told now."""
        await self.detection.caught_up()
        await self.teller.dispatch()
        for worker in self.teller._workers.values():
            while worker.waiting() and await worker.step() == 0.0:
                pass

    async def close(self) -> None:
        """End what runs."""
        await self.teller._sender.close()
        await asyncio.to_thread(self.detection.close)
        await asyncio.to_thread(self.teller.close)
        self.log.close()
