"""A machine lets events appear, be committed, sealed and crash while clients come and go: each gets each event once."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from aiohttp.test_utils import TestClient
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from storage.hub import HubOptions
from tests.web.followers import Follower, until
from tests.web.station import Station, event, served

CLIENTS = 4
QUERIES = ("", "level=error", "internal=true", "internal=only", "search_query=number%207")

Key = tuple[str, int]


class Known(Follower):
    """A client and how many of the lines were there when it first came."""

    def __init__(self, query: str, since: int) -> None:
        super().__init__(query)
        self.since = since
        self.connected = False

    def wants(self, line: dict[str, Any]) -> bool:
        internal = line["internal"]
        if self.query == "internal=only":
            return bool(internal)
        if self.query == "internal=true":
            return True
        if internal:
            return False
        if self.query == "level=error":
            return bool(line["level"] == "error")
        return "number 7" in line["description"] if self.query else True


class LiveMachine(RuleBasedStateMachine):
    """Delivered is what was written, exactly once and in order; after a crash at least once, and said so."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="watchkeep-live-"))
        self.station = Station(self.folder)
        self.runner = asyncio.Runner()
        self.lines: list[dict[str, Any]] = []  # what was written, in order
        self.clients: list[Known] = []
        self.crashed = False
        self.stack: AsyncExitStack
        self.http: TestClient[Any, Any]
        self.runner.run(self._start())

    async def _start(self) -> None:
        self.stack = AsyncExitStack()
        # A queue that holds everything: what is dropped is the subject of other tests.
        options = HubOptions(queue_events=100_000, queue_bytes=1 << 30, near=5)
        self.http = await self.stack.enter_async_context(served(self.station, hub=options))

    async def _stop(self) -> None:
        for client in self.clients:
            await client.leave()
            client.connected = False
        await self.stack.aclose()

    @rule(
        count=st.integers(1, 12),
        levels=st.lists(st.sampled_from(["info", "error"]), min_size=12, max_size=12),
    )
    def append(self, count: int, levels: list[str]) -> None:
        self._write("app.log", count, levels, internal=False)

    @rule(count=st.integers(1, 3))
    def the_daemon_says_something(self, count: int) -> None:
        self._write("self.jsonl", count, ["info"] * count, internal=True)

    @rule()
    def a_line_is_rejected(self) -> None:
        self.station.write("app.log", [b"no event"])

    def _write(self, file: str, count: int, levels: list[str], *, internal: bool) -> None:
        fresh = [
            event(
                eventId=f"e-{len(self.lines) + n}",
                level=levels[n],
                description=f"number {(len(self.lines) + n) % 10}",
            )
            for n in range(count)
        ]
        self.lines += [{**line, "internal": internal} for line in fresh]
        self.station.write(file, fresh, internal=internal)

    @rule()
    def commit(self) -> None:
        self.station.archive.commit()

    @rule()
    def fold(self) -> None:
        self.station.archive.fold()

    @rule()
    def seal(self) -> None:
        self.station.archive.commit()
        self.station.archive.seal()

    @precondition(lambda self: len(self.clients) < CLIENTS)
    @rule(query=st.sampled_from(QUERIES))
    def somebody_comes(self, query: str) -> None:
        client = Known(query, len(self.lines))
        self.clients.append(client)
        self._connect(client)

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0, CLIENTS - 1))
    def somebody_leaves(self, which: int) -> None:
        client = self.clients[which % len(self.clients)]
        self.runner.run(client.leave())
        client.connected = False

    @precondition(lambda self: self.clients)
    @rule(which=st.integers(0, CLIENTS - 1))
    def somebody_comes_back(self, which: int) -> None:
        client = self.clients[which % len(self.clients)]
        if not client.connected:
            self._connect(client)

    def _connect(self, client: Known) -> None:
        self.runner.run(client.connect(self.http))
        client.connected = True

    @rule(crash=st.booleans())
    def the_daemon_starts_again(self, crash: bool) -> None:
        """In order, with everything committed, or killed: what was not committed is read again."""
        self.runner.run(self._stop())
        self.crashed |= crash
        self.station.reopen(crash=crash)
        self.runner.run(self._start())

    @rule()
    def everybody_has_everything(self) -> None:
        for client in self.clients:
            if not client.connected:
                self._connect(client)
        for client in self.clients:
            self.has_everything(client)

    def has_everything(self, client: Known) -> None:
        wanted = [line["eventId"] for line in self.lines[client.since :] if client.wants(line)]
        self.runner.run(until(lambda: set(wanted) <= set(client.ids)))
        ours = [row for row in client.events if row["eventId"].startswith("e-")]  # others tell who has read
        ids = [row["eventId"] for row in ours]
        assert not client.dropped
        if not client.resets:
            # Lines of several files that were not committed come in another order after a crash.
            assert (sorted(ids) if self.crashed else ids) == (sorted(wanted) if self.crashed else wanted)
            return
        assert self.crashed, "nothing was lost, so nothing is to be said"
        assert set(ids) <= {line["eventId"] for line in self.lines if client.wants(line)}
        places = {(row["source"]["id"], row["source"]["offset"]) for row in ours}
        assert len(places) == len(set(ids)), "a repeated event has its source and offset"

    def teardown(self) -> None:
        try:
            self.everybody_has_everything()
        finally:
            self.runner.run(self._stop())
            self.runner.close()
            self.station.close()
            shutil.rmtree(self.folder)


LiveMachine.TestCase.settings = settings(max_examples=8, stateful_step_count=15)
TestLiveMachine = LiveMachine.TestCase
