"""`/events/live`: new events as they come, with the list's filters, to any number of clients, slow ones among them."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, TCPConnector
from aiohttp.test_utils import TestClient

from storage.hub import HubOptions
from storage.keyring import Keyring
from tests.web.followers import Follower, frames, until, within_patience
from tests.web.station import NOW_US, Station, event, served
from web.keys import WebOptions
from web.live import CHECK_SECONDS


def some(first: int, count: int, **given: Any) -> list[dict[str, Any]]:
    return [event(eventId=f"e-{n}", **given) for n in range(first, first + count)]


async def write(station: Station, lines: list[Any], file: str = "app.log", *, internal: bool = False) -> None:
    await asyncio.to_thread(station.write, file, lines, internal=internal)


def hub_is_idle(station: Station) -> bool:
    """Whether the hub holds nothing for anybody: no follower, no group, no task, no ear at the archive."""
    names = {task.get_name() for task in asyncio.all_tasks()}
    return (
        not station.hub.followers
        and not station.hub._groups
        and not station.archive._shown._listeners
        and "live group" not in names
    )


async def test_the_stream_is_neither_kept_nor_held_back_on_its_way(client: TestClient) -> None:
    """Proxies are told not to buffer; nothing compresses it, whatever the client accepts; the head comes at once."""
    headers = {"Accept-Encoding": "gzip, br"}
    async with client.get("/api/v1/events/live?timeout=0.2", headers=headers) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-store, no-transform"
        assert response.headers["X-Accel-Buffering"] == "no"
        assert "Content-Encoding" not in response.headers
        assert (await response.content.readline()).startswith(b"retry: ")
    async with client.head("/events/live") as response:
        assert response.headers["Content-Type"] == "text/event-stream"


async def test_an_event_is_the_object_that_lists_show(station: Station, client: TestClient) -> None:
    """Field by field, and its id says the run of the daemon and its place in the archive."""
    follower = Follower("limit=2")
    await follower.connect(client)
    await write(station, [event(eventId="a", user={"id": 7}, metadata={"x": [1]}), event(eventId="b")])
    await follower.ended()
    async with client.get("/events") as response:
        assert follower.events == list(reversed((await response.json())["data"]))
    assert follower.last_id == f"{station.archive.run.epoch}.{follower.events[-1]['seq']}"


async def test_line_ends_between_the_tokens_of_a_line_do_not_break_the_stream(
    station: Station, client: TestClient
) -> None:
    """A carriage return would end a field of the stream; between tokens of JSON it means nothing."""
    follower = Follower("limit=1")
    await follower.connect(client)
    line = b'{"eventId":"cr","timestamp":"2026-06-01T11:00:00Z","level":"info","metadata":{"a":\r[1,\r2]}}'
    await write(station, [line])
    await follower.ended()
    assert [row["metadata"] for row in follower.events] == [{"a": [1, 2]}]


async def test_filters_are_those_of_lists(station: Station, client: TestClient) -> None:
    """Each client gets what the list with the same parameters has; the daemon's own events only when asked for."""
    queries = [
        "level=error",
        "internal=true",
        "internal=only",
        "ip=10.0.0.0/8",
        "level=!error&search_query=needle",
    ]
    followers = [Follower(query) for query in queries]
    for follower in followers:
        await follower.connect(client)
    await write(station, some(0, 3, level="error") + some(3, 3, description="a Needle"))
    await write(station, [*some(6, 2, request={"ip": "10.1.2.3"}), b"broken"])
    await write(station, some(8, 2), "self.jsonl", internal=True)
    for follower in followers:
        async with client.get(f"/events?limit=100&{follower.query}") as response:
            wanted = ours(row["eventId"] for row in reversed((await response.json())["data"]))
        await has(follower, len(wanted))
        assert ours(follower.ids) == wanted
        await follower.leave()


async def has(follower: Follower, count: int) -> None:
    """Wait until a client has so many of the test's events."""
    await until(lambda: len(ours(follower.ids)) >= count)


def ours(ids: Iterable[str]) -> list[str]:
    """Return the ids of the test's events: the others say who has read."""
    return [name for name in ids if name.startswith("e-")]


async def test_a_client_goes_on_where_it_was(station: Station, client: TestClient) -> None:
    """By the header that browsers send, or by a parameter; the header is newer. What it missed comes first."""
    await write(station, some(0, 10))
    run = station.archive.run.epoch
    async with client.get(f"/events/live?limit=3&last_event_id={run}.4") as response:
        ids = [last async for _, last, data in frames(response.content) if data]
    assert ids == [f"{run}.{seq}" for seq in (5, 6, 7)]
    headers = {"Last-Event-ID": f"{run}.8"}
    async with client.get(
        f"/events/live?limit=2&last_event_id={run}.1&replay=5", headers=headers
    ) as response:
        ids = [last async for _, last, data in frames(response.content) if data]
    assert ids == [f"{run}.{seq}" for seq in (9, 10)]
    async with client.get("/events/live", headers={"Last-Event-ID": "yesterday"}) as response:
        assert response.status == 422
        assert (await response.json(content_type=None))["errors"][0]["loc"] == ["header", "Last-Event-ID"]


async def test_replay_begins_with_the_newest(station: Station, client: TestClient) -> None:
    """In the order in which they came, without gap or overlap to what comes then."""
    await write(station, some(0, 20))
    station.archive.commit()
    await write(station, some(20, 5))
    follower = Follower("replay=8&limit=10")
    await follower.connect(client)
    await write(station, some(25, 4))
    await follower.ended()
    assert follower.ids == [f"e-{n}" for n in range(17, 27)]


async def test_an_id_of_another_archive_is_said_to_be_unknown(station: Station, client: TestClient) -> None:
    """The stream goes on from what is known, and says so."""
    await write(station, some(0, 3))
    follower = Follower("timeout=0.5")
    follower.last_id = "99.2"
    await follower.connect(client)
    assert [said["reason"] for said in follower.resets] == ["unknown"]
    assert follower.last_id is not None
    assert follower.last_id.startswith(f"{station.archive.run.epoch}.")
    assert follower.ids == ["e-0", "e-1", "e-2"]
    await follower.leave()


async def test_when_nothing_matches_the_place_moves_on(station: Station) -> None:
    """So that a client that comes back does not make the daemon search what it has searched already."""
    async with served(station, WebOptions(static=station.logs / "none", heartbeat_seconds=0.05)) as client:
        follower = Follower("level=critical")
        await follower.connect(client)
        await write(station, some(0, 5))
        run = station.archive.run.epoch
        await until(lambda: follower.last_id == f"{run}.{station.archive.snapshot.seq}")
        assert follower.events == []
        await follower.leave()


async def test_what_a_slow_client_loses_is_counted_exactly(station: Station) -> None:
    """What it got and what it was told it lost are all events, in order; then it gets what comes; ids tell the rest."""
    hub = HubOptions(queue_events=50, queue_bytes=1 << 20)
    async with served(station, hub=hub) as client:
        reader, writer = await slow(client.port)
        total = 400
        for first in range(0, total, 20):
            await write(station, some(first, 20, description="x" * 30_000))
        await until(lambda: next(iter(station.hub._followers)).position == station.archive.snapshot.seq)
        got: list[int] = []
        lost: list[dict[str, Any]] = []
        async with asyncio.timeout(30):
            async for name, _, data in frames(lines_of(reader)):
                if name == "dropped":
                    lost.append(json.loads(data))
                elif data:
                    got.append(json.loads(data)["seq"])
                if len(got) + sum(said["count"] for said in lost) == total:
                    await write(station, some(total, 1))  # it goes on
                if got and got[-1] == total + 2:
                    break
        writer.transport.abort()
        assert lost, "the client took nothing while 12 MB came"
        assert sum(said["count"] for said in lost) + len(got) == total + 1
        first = 2  # that somebody follows was the first event, of the daemon's own
        missing = [seq for seq in range(first, first + total + 1) if seq not in set(got)]
        told = [range(int(said["first"].split(".")[1]), int(said["last"].split(".")[1]) + 1) for said in lost]
        assert [seq for span in told for seq in span] == missing
        assert got == sorted(got)
        query = f"limit={lost[0]['count']}&last_event_id={lost[0]['before']}"
        async with client.get(f"/events/live?{query}") as response:
            again = [json.loads(data)["seq"] async for _, _, data in frames(response.content) if data]
        assert again == list(told[0])


async def slow(port: int | None, query: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a connection with a live stream of which the system takes little as long as nobody reads."""
    near = socket.socket()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    near.setblocking(False)
    await asyncio.get_running_loop().sock_connect(near, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=near, limit=1 << 16)
    writer.write(f"GET /events/live?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    await within_patience(reader.readuntil(b"\r\n\r\n"))
    return reader, writer


async def lines_of(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield the lines of a chunked body."""
    rest = b""
    while size := int(await reader.readline() or b"0", 16):
        rest += await reader.readexactly(size)
        await reader.readline()
        *lines, rest = rest.split(b"\n")
        for line in lines:
            yield line + b"\n"


async def test_a_client_that_takes_nothing_is_cut_off(station: Station) -> None:
    """It holds neither a place nor memory after that."""
    options = WebOptions(static=station.logs / "none", stuck_seconds=0.2)
    async with served(station, options) as client:
        _, writer = await slow(client.port)
        for first in range(0, 400, 20):
            await write(station, some(first, 20, description="x" * 30_000))
            if not station.hub.followers:
                break
        await until(lambda: hub_is_idle(station))
        writer.transport.abort()


async def test_two_hundred_clients_get_everything_at_the_price_of_one(station: Station) -> None:
    """One group reads for all; each client has every event once, in order."""
    async with (
        served(station) as client,
        ClientSession(client.make_url("/"), connector=TCPConnector(limit=0)) as session,
    ):
        followers = [Follower() for _ in range(200)]
        for follower in followers:
            await follower.connect(session)
        assert len(station.hub._groups) == 1
        for first in range(0, 300, 50):
            await write(station, some(first, 50))
        for follower in followers:
            await has(follower, 300)
            assert follower.ids == [f"e-{n}" for n in range(300)]
            await follower.leave()
        await until(lambda: hub_is_idle(station))


async def test_who_finds_no_place_is_told_when_to_come_back(station: Station) -> None:
    """429 with Retry-After; a place that gets free is given."""
    async with served(station, hub=HubOptions(clients=2)) as client:
        followers = [Follower(), Follower("level=error")]
        for follower in followers:
            await follower.connect(client)
        async with client.get("/api/v1/events/live") as response:
            assert response.status == 429
            assert int(response.headers["Retry-After"]) >= 1
        await followers[0].leave()
        await until(lambda: station.hub.followers == 1)
        await followers[0].connect(client)
        for follower in followers:
            await follower.leave()


async def test_whoever_leaves_frees_everything(station: Station) -> None:
    """At any moment: while it catches up, while it waits, while much comes."""
    await write(station, some(0, 3000))
    async with served(station) as client:
        for query in ("", "level=error", f"last_event_id={station.archive.run.epoch}.0", "replay=100"):
            follower = Follower(query)
            await follower.connect(client, wait=False)
            await follower.leave()
            await follower.connect(client)
            await write(station, some(0, 50))
            await follower.leave()
        await until(lambda: hub_is_idle(station))
        assert station.engine._places["live"]._waiting == station.engine._places["replay"]._waiting == 0


async def test_when_the_daemon_stops_every_stream_ends_well(station: Station) -> None:
    """Whole, not cut: what was queued is sent, and the client comes back by itself."""
    async with served(station) as client:
        followers = [
            Follower(),
            Follower("level=error"),
            Follower(f"last_event_id={station.archive.run.epoch}.0"),
        ]
        for follower in followers:
            await follower.connect(client)
        await write(station, some(0, 10, level="error"))
        await until(lambda: all(len(follower.events) == 10 for follower in followers))
        await station.hub.close()  # what the application does when it shuts down
        for follower in followers:
            await follower.ended()
            assert follower.response is not None
            assert follower.response.content.exception() is None
        async with client.get("/events/live") as response:
            assert response.status == 429


async def test_following_is_recorded_once(station: Station, client: TestClient) -> None:
    """A client that comes back every few seconds reads the same view; only where it goes on has changed."""
    for seq in range(4):
        follower = Follower(f"level=error&last_event_id={station.archive.run.epoch}.{min(seq, 0)}")
        await follower.connect(client)
        await follower.leave()
    read = [entry["metadata"] for entry in station.audited if entry["action"] == "read"]
    assert [entry["view"] for entry in read] == ["live"]
    assert read[0]["query"] == "level=error"


async def test_a_viewer_follows_masked_events_until_its_key_is_revoked(station: Station) -> None:
    """What came before, what comes, and nothing once the key is gone; who is masked cannot be asked for."""
    keyring = Keyring()
    key, token = keyring.create("board", "viewer", now_us=NOW_US)
    headers = {"X-API-Key": token}
    person = {"id": "4711334", "username": "Quentin"}
    await write(station, some(0, 3, user=person))
    async with served(station, keyring=keyring) as client:
        async with client.get("/events/live?username=Quentin", headers=headers) as response:
            assert response.status == 403
        follower = Follower("replay=10")
        await follower.connect(client, headers=headers)
        await write(station, some(3, 1, user=person))
        await has(follower, 4)
        assert "Quentin" not in json.dumps(follower.events)
        assert {row["user"]["username"].partition("-")[0] for row in follower.events} == {"person"}
        keyring.revoke(key.id, now_us=NOW_US)
        await asyncio.sleep(CHECK_SECONDS)
        await write(station, some(4, 1))
        await follower.ended()
        assert len(ours(follower.ids)) == 4
        await follower.leave()
        await until(lambda: hub_is_idle(station))


async def test_what_cannot_be_read_cuts_the_stream_of_who_missed_it(station: Station) -> None:
    """It can come back where it was; those who only follow notice nothing."""
    await write(station, some(0, 5))
    station.archive.commit()
    station.archive.seal()
    (file,) = [file for file in station.archive.snapshot.events if file.day]
    path = Path(station.archive.options.path) / file.path
    async with served(station) as client:
        near = Follower("level=info")
        await near.connect(client)
        path.rename(path.with_suffix(".away"))
        behind = Follower()
        behind.last_id = f"{station.archive.run.epoch}.1"
        await behind.connect(client)
        await behind.ended()
        assert (behind.events, behind.last_id) == ([], f"{station.archive.run.epoch}.1")
        path.with_suffix(".away").rename(path)
        await behind.connect(client)
        assert behind.ids == [f"e-{n}" for n in range(1, 5)]
        await write(station, some(5, 1))
        for follower, count in ((near, 1), (behind, 5)):
            await has(follower, count)
            await follower.leave()
        await until(lambda: hub_is_idle(station))
