"""What a server under load still does: the loop turns, deadlines hold, and the next request is unharmed."""

import asyncio
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Any

import orjson

from storage.engine import Engine, EngineOptions, Places
from tests.web.station import Station, event, served

# Far more than a minute of work for any machine; every test here stops it.
ENDLESS = "SELECT sum(a.range * b.range) FROM range(10_000_000) a, range(10_000_000) b"


@asynccontextmanager
async def busy(engine: Engine, place: str = "interactive"):
    """Keep one place of the engine busy with a query that never ends by itself."""
    started = asyncio.Event()
    loop = asyncio.get_running_loop()

    def work(cursor: Any) -> None:
        loop.call_soon_threadsafe(started.set)
        cursor.execute(ENDLESS).fetchall()

    task = asyncio.create_task(engine.run(work, deadline=600, place=place))
    await started.wait()
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def places(running: int, waiting: int) -> Any:
    return MappingProxyType(
        {name: Places(running=running, waiting=waiting) for name in ("interactive", "statistics", "export")}
    )


async def test_a_heavy_query_never_blocks_the_loop(station: Station) -> None:
    """While DuckDB computes, other requests, queries among them, are answered one after the other."""
    station.write("a.log", [event(eventId=f"e-{n}") for n in range(100)])
    async with served(station) as client, busy(station.engine) as heavy:
        for _ in range(20):
            async with client.get("/health/live") as response:
                assert response.status == 200
            async with client.get("/events?limit=5") as response:
                assert len((await response.json())["data"]) == 5
        assert not heavy.done()


async def test_a_query_over_its_deadline_is_503_and_the_next_one_is_unharmed(station: Station) -> None:
    """The answer says what to narrow; afterwards the same place serves again."""
    station.write("a.log", [event()])
    options = EngineOptions(deadline_seconds=0.5, places=places(1, 8))
    async with served(station, engine=options) as client:
        async with busy(station.engine), client.get("/api/v1/events") as response:
            body = await response.json(content_type=None)
            assert response.status == 503, body
            assert body["type"] == "urn:watchkeep:problem:deadline"
            assert "narrow" in body["errors"][0]["hint"]
            assert "range(" not in str(body)
        async with client.get("/api/v1/events") as response:
            assert response.status == 200
            assert (await response.json())["total"] == 1


async def test_when_all_places_are_taken_the_answer_says_when_to_come_back(station: Station) -> None:
    """429 with Retry-After; what needs no query is answered all the same."""
    station.write("a.log", [event()])
    async with served(station, engine=EngineOptions(places=places(1, 0))) as client:
        async with busy(station.engine):
            async with client.get("/events") as response:
                assert response.status == 429
                assert int(response.headers["Retry-After"]) >= 1
            async with client.get("/health/ready") as response:
                assert response.status == 200
        async with client.get("/events") as response:
            assert response.status == 200


async def test_a_client_that_leaves_frees_its_place(station: Station) -> None:
    """A request that waits for a place gives its turn up when its client goes away."""
    station.write("a.log", [event()])
    async with served(station, engine=EngineOptions(places=places(1, 1))) as client:
        async with busy(station.engine):
            waiting = asyncio.create_task(client.get("/events"))
            while True:  # until it waits: then the next one is told to come back
                async with client.get("/events/categories") as other:
                    assert other.status == 200 or other.status == 429
                async with client.get("/events?limit=1") as other:
                    if other.status == 429:
                        break
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await waiting
            second = asyncio.create_task(client.get("/events?limit=2"))
            await asyncio.sleep(0.2)
            assert not second.done()  # it has the waiting place now
        async with await second as response:
            assert response.status == 200


async def test_pages_are_answered_beside_a_slow_export_and_a_back_test(station: Station) -> None:
    """Long work has threads of its own: it keeps nobody waiting, and the export still arrives whole, each event once."""
    amount = 10_000
    text = "x" * 900  # nine megabytes in all: more than the buffers between us take
    station.write("a.log", [event(eventId=f"e-{n}", description=text) for n in range(amount)])
    plain = {"Accept-Encoding": "identity"}
    got: list[str] = []
    async with served(station) as client, busy(station.engine, "rules") as backtest:
        async with client.get("/events/export?format=ndjson", headers=plain) as export:
            assert export.status == 200
            while line := await export.content.readline():
                got.append(orjson.loads(line)["eventId"])
                if len(got) % 1_000 == 1:  # it reads on when it has its page
                    async with client.get(f"/events?limit={1 + len(got) // 1_000}") as response:
                        page = (await response.json())["data"]
                    assert len(page) == 1 + len(got) // 1_000
                    assert not export.content.at_eof()
        assert not backtest.done()
    assert sorted(got) == sorted(f"e-{n}" for n in range(amount))


async def test_many_pages_at_once_are_all_answered(station: Station) -> None:
    """Fifty readers with different questions, while lines come in."""
    station.write("a.log", [event(eventId=f"e-{n}", user={"id": n % 7}) for n in range(500)])
    async with served(station) as client:

        async def ask(n: int) -> int:
            async with client.get(f"/events?user_id={n % 7}&limit={n + 1}") as response:
                return len((await response.json())["data"])

        asked = [asyncio.create_task(ask(n)) for n in range(50)]
        for n in range(5):
            await asyncio.to_thread(station.write, "b.log", [event(eventId=f"new-{n}")])
        assert await asyncio.gather(*asked) == [min(n + 1, 72 if n % 7 < 3 else 71) for n in range(50)]
