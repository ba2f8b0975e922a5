"""A client of `/events/live` for tests: it reads the stream as a browser does and remembers everything."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from aiohttp import ClientError, ClientResponse, ClientSession
from aiohttp.test_utils import TestClient

PATIENCE_SECONDS = 30.0
LOOK_SECONDS = 0.005


Client = ClientSession | TestClient[Any, Any]


async def frames(lines: AsyncIterable[bytes]) -> AsyncIterator[tuple[str, str | None, str]]:
    """Yield (event, id, data) of each block, as the specification of Server-Sent Events says."""
    event, last, data = "message", None, list[str]()
    async for raw in lines:
        line = raw.decode().rstrip("\n")
        if line:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "data":
                data.append(value)
            elif field == "event":
                event = value
            elif field == "id":
                last = value
            continue
        yield event, last, "\n".join(data)
        event, last, data = "message", None, []


class Follower:
    """One client, through any number of connections."""

    def __init__(self, query: str = "") -> None:
        self.query = query
        self.events: list[dict[str, Any]] = []
        self.dropped: list[dict[str, Any]] = []
        self.resets: list[dict[str, Any]] = []
        self.last_id: str | None = None
        self.response: ClientResponse | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def ids(self) -> list[str]:
        """The events' ids, in the order in which they came."""
        return [event["eventId"] for event in self.events]

    @property
    def lost(self) -> int:
        """How many events the server said were dropped."""
        return sum(said["count"] for said in self.dropped)

    async def connect(
        self, client: Client, *, wait: bool = True, headers: Mapping[str, str] | None = None
    ) -> None:
        """Open a stream, going on where the last one ended; with ``wait`` return when it has caught up."""
        sent = {**(headers or {}), **({"Last-Event-ID": self.last_id} if self.last_id else {})}
        self.response = await client.get(f"/api/v1/events/live?{self.query}", headers=sent)
        assert self.response.status == 200, await self.response.text()
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._read(self.response, ready))
        if wait:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await ready.wait()

    async def _read(self, response: ClientResponse, ready: asyncio.Event) -> None:
        with suppress(ClientError):
            async for event, last, data in frames(response.content):
                if last is not None:
                    self.last_id = last
                if event == "dropped":
                    self.dropped.append(json.loads(data))
                elif event == "reset":
                    self.resets.append(json.loads(data))
                elif data:
                    self.events.append(json.loads(data))
                elif last is not None:
                    ready.set()
        ready.set()

    async def ended(self) -> None:
        """Return when the server has ended the stream."""
        assert self._task is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._task

    async def leave(self) -> None:
        """Close the connection without a word."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self.response is not None:
            self.response.close()
            self.response = None


async def until(true: Callable[[], bool]) -> None:
    """Wait until something holds."""
    ends = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < ends, "it never came about"
        await asyncio.sleep(LOOK_SECONDS)


async def within_patience(awaited: Awaitable[Any]) -> Any:
    """Wait for something that must happen."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await awaited
