"""Bound context, the standard library's logging, the aiohttp middleware, and the distribution itself."""

import asyncio
import json
import logging
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout, web

from watchkeep_client import EnhancedLogger, EventHandler, Options, bind
from watchkeep_client.aiohttp import instrument, traceparent
from watchkeep_client.requests import client_address

CLIENT = Path(__file__).resolve().parents[2] / "client"


@pytest.fixture
def logger(tmp_path: Path) -> EnhancedLogger:
    return EnhancedLogger(Options(directory=tmp_path, app="app", server="s", environment="test", version="1"))


def shop(logger: EnhancedLogger) -> logging.Logger:
    """Return an application's logger whose records become events."""
    source = logging.Logger("shop")  # noqa: LOG001 - outside the tree, so that tests do not share handlers
    source.addHandler(EventHandler(logger=logger))
    return source


def written(tmp_path: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for path in tmp_path.glob("app-*.jsonl") for line in path.read_text().splitlines()
    ]


def test_what_is_bound_is_in_every_event_until_the_block_ends(logger: EnhancedLogger, tmp_path: Path) -> None:
    """Inner bindings add to outer ones; what is said in the call wins."""
    with bind(user=(1, "ana"), correlation_id="outer", tenant="acme"):
        with bind(correlation_id="inner"):
            logger.log_event(description="a")
            logger.log_event(description="b", user_id=2, username="ben", correlation_id="said")
        logger.log_event(description="c")
    logger.log_event(description="d")
    a, b, c, d = written(tmp_path)
    assert (a["user"], a["correlationId"], a["tenant"]) == ({"id": 1, "username": "ana"}, "inner", "acme")
    assert (b["user"], b["correlationId"]) == ({"id": 2, "username": "ben"}, "said")
    assert c["correlationId"] == "outer"
    assert not {"user", "correlationId", "tenant"} & set(d)


async def test_tasks_see_what_was_bound_where_they_were_started(
    logger: EnhancedLogger, tmp_path: Path
) -> None:
    """Two requests at once do not mix their users."""

    async def request(name: str) -> None:
        with bind(user=name):
            await asyncio.sleep(0)
            await asyncio.create_task(log(name))

    async def log(name: str) -> None:
        logger.log_event(description=name)

    await asyncio.gather(*(request(f"user{number}") for number in range(20)))
    assert all(event["user"]["username"] == event["description"] for event in written(tmp_path))


@pytest.mark.parametrize("number", [5, 10, 19, 20, 30, 40, 50, 60])
def test_a_log_record_becomes_an_event_of_its_level(
    logger: EnhancedLogger, tmp_path: Path, number: int
) -> None:
    """Numbers in between count as the level below."""
    source = shop(logger)
    source.log(number, "%d items", 3)
    (event,) = written(tmp_path)
    expected = ["debug", "info", "warning", "error", "critical"][min(max(number // 10 - 1, 0), 4)]
    assert (event["level"], event["description"]) == (expected, "3 items")
    assert event["metadata"]["logger"] == "shop"


def test_extra_fields_of_a_log_record_find_their_place(logger: EnhancedLogger, tmp_path: Path) -> None:
    """Names of the helpers fill the event, all others go to its metadata; an exception comes with its traceback."""
    source = shop(logger)
    try:
        int("no stock")
    except ValueError:
        source.exception("failed", extra={"category": "workflow", "user_id": 7, "basket": {"items": 2}})
    (event,) = written(tmp_path)
    assert (event["category"], event["user"]) == ("workflow", {"id": 7})
    assert event["metadata"]["basket"] == {"items": 2}
    assert event["metadata"]["exception"]["type"] == "ValueError"
    assert "no stock" in event["metadata"]["exception"]["traceback"]


def test_a_log_record_that_cannot_be_formatted_is_counted_not_raised(
    logger: EnhancedLogger, tmp_path: Path
) -> None:
    """A wrong format string is the application's fault, and must stay harmless."""
    source = shop(logger)
    source.info("%d items", "three")
    assert logger.stats.dropped == 1
    assert written(tmp_path) == []


def test_the_clients_own_complaint_is_not_logged_through_itself(tmp_path: Path) -> None:
    """A handler on the root logger and a directory that cannot be written to: no recursion."""
    (tmp_path / "file").write_text("")
    broken = EnhancedLogger(Options(directory=tmp_path / "file", app="app"))
    root = logging.getLogger()
    handler = EventHandler(logger=broken)
    root.addHandler(handler)
    try:
        logging.getLogger("shop").error("lost")
    finally:
        root.removeHandler(handler)
    assert broken.stats.dropped == 1


def test_log_event_never_raises_whatever_it_is_given(logger: EnhancedLogger) -> None:
    """Objects where text was expected, a request that is none, a timestamp without a zone method."""

    class Hostile:
        def __getattribute__(self, name: str) -> Any:
            raise RuntimeError(name)

    hostile: Any = Hostile()
    yesterday: Any = "yesterday"
    nothing: Any = None
    assert not logger.log_event(request=hostile, description="x").written
    assert not logger.log_event(timestamp=yesterday, description="x").written
    assert logger.log_event(metadata={"it": object()}, description=nothing).written
    assert logger.stats.dropped == 2


@pytest.mark.parametrize(
    ("hops", "forwarded", "expected"),
    [
        (0, "6.6.6.6", "127.0.0.1"),
        (1, "6.6.6.6, 198.51.100.7", "198.51.100.7"),
        (2, "6.6.6.6, 198.51.100.7", "6.6.6.6"),
    ],
)
def test_a_forged_forwarded_address_is_believed_only_as_far_as_our_own_proxies(
    hops: int, forwarded: str, expected: str
) -> None:
    """Anybody can send X-Forwarded-For; only what our proxies appended counts."""
    request = type("Request", (), {"headers": {"X-Forwarded-For": forwarded}, "remote": "127.0.0.1"})()
    assert client_address(request, hops) == expected


def test_a_missing_forwarded_address_falls_back_to_the_connection() -> None:
    """A request that did not come through the proxy has the address it came from."""
    request = type("Request", (), {"headers": {}, "remote": "10.0.0.9"})()
    assert client_address(request, 1) == "10.0.0.9"


class Site:
    """A running application with the middleware."""

    def __init__(self, logger: EnhancedLogger) -> None:
        self.entered = asyncio.Event()
        app = web.Application()
        app.router.add_get("/fine/{name}", self.fine)
        app.router.add_get("/stream", self.stream)
        app.router.add_get("/refused", self.refused)
        app.router.add_get("/broken", self.broken)
        app.router.add_get("/slow", self.slow)
        app.router.add_get("/health", self.fine)
        instrument(app, user=lambda request: request.headers.get("X-User"), skip={"/health"}, logger=logger)
        self.runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        self.logger = logger
        self.trace: str | None = None

    async def fine(self, request: web.Request) -> web.Response:
        self.logger.log_event(description="inside")
        self.trace = traceparent()
        return web.json_response({"ok": True})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(b"x")
        return answer

    async def refused(self, request: web.Request) -> web.Response:
        raise web.HTTPForbidden

    async def broken(self, request: web.Request) -> web.Response:
        raise ZeroDivisionError("the application's fault")

    async def slow(self, request: web.Request) -> web.Response:
        self.entered.set()
        await asyncio.sleep(30)
        raise AssertionError("the client went away long ago")


@pytest.fixture
async def site(logger: EnhancedLogger) -> AsyncIterator[tuple[Site, ClientSession]]:
    found = Site(logger)
    await found.runner.setup()
    await web.TCPSite(found.runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{found.runner.addresses[0][1]}"
    async with ClientSession(address) as http:
        yield found, http
    await found.runner.cleanup()


async def test_the_middleware_ties_a_requests_events_together(
    site: tuple[Site, ClientSession], tmp_path: Path
) -> None:
    """The caller's request id comes back, and is in the request's own event and in those its handler logged."""
    _, http = site
    async with http.get("/fine/a?token=x", headers={"X-Request-ID": "abc-1", "X-User": "ana"}) as answer:
        assert answer.headers["X-Request-ID"] == "abc-1"
    inside, call = written(tmp_path)
    assert inside["correlationId"] == call["correlationId"] == "abc-1"
    assert inside["traceId"] == call["traceId"]
    assert call["request"]["statusCode"] == 200
    assert call["request"]["path"] == "/fine/a"
    assert call["user"] == {"username": "ana"}
    assert call["metadata"]["route"] == "/fine/{name}"
    assert call["response"] == {"bytes": 12}


@pytest.mark.parametrize("given", ["", "x" * 200, "a b", 'a"b', "ä"])
async def test_an_unsound_request_id_is_replaced(site: tuple[Site, ClientSession], given: str) -> None:
    """What comes from outside must not be able to spoil a header or a log."""
    _, http = site
    async with http.get("/fine/a", headers={"X-Request-ID": given}) as answer:
        assert len(answer.headers["X-Request-ID"]) == 36


async def test_the_middleware_continues_the_callers_trace(
    site: tuple[Site, ClientSession], tmp_path: Path
) -> None:
    """Same trace, a span of its own, the caller's span as parent; and the header to send on."""
    found, http = site
    async with http.get("/fine/a", headers={"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}):
        pass
    _, call = written(tmp_path)
    assert call["traceId"] == "ab" * 16
    assert call["spanId"] != "cd" * 8
    assert call["metadata"]["parent_span"] == "cd" * 8
    assert found.trace == f"00-{call['traceId']}-{call['spanId']}-01"


@pytest.mark.parametrize("given", ["", "00-0-0-01", f"00-{'0' * 32}-{'cd' * 8}-01", "garbage"])
async def test_a_broken_traceparent_begins_a_new_trace(
    site: tuple[Site, ClientSession], tmp_path: Path, given: str
) -> None:
    """Nonsense in the header is not an id."""
    _, http = site
    async with http.get("/fine/a", headers={"traceparent": given}):
        pass
    assert "parent_span" not in written(tmp_path)[-1]["metadata"]
    assert len(written(tmp_path)[-1]["traceId"]) == 32


@pytest.mark.parametrize(
    ("path", "status", "level", "outcome"),
    [
        ("/refused", 403, "warning", "denied"),
        ("/broken", 500, "error", "failure"),
        ("/none", 404, "warning", "failure"),
    ],
)
async def test_every_way_a_request_can_end_is_logged(
    site: tuple[Site, ClientSession], tmp_path: Path, path: str, status: int, level: str, outcome: str
) -> None:
    """Refused, failed and unknown requests have an event each."""
    logging.getLogger("aiohttp.server").disabled = True
    _, http = site
    async with http.get(path) as answer:
        assert answer.status == status
    logging.getLogger("aiohttp.server").disabled = False
    (event,) = written(tmp_path)
    assert (event["request"]["statusCode"], event["level"], event["outcome"]) == (status, level, outcome)
    assert ("exception" in event.get("metadata", {})) == (status == 500)


async def test_a_streamed_answer_has_the_request_id_too(site: tuple[Site, ClientSession]) -> None:
    """Its headers are gone before the middleware sees it."""
    _, http = site
    async with http.get("/stream", headers={"X-Request-ID": "s-1"}) as answer:
        assert answer.headers["X-Request-ID"] == "s-1"


async def test_a_client_that_goes_away_is_logged_as_such(
    site: tuple[Site, ClientSession], tmp_path: Path
) -> None:
    """The handler is cancelled; the event says so, with the number proxies use."""
    found, http = site
    with pytest.raises(TimeoutError):
        await http.get("/slow", timeout=ClientTimeout(total=0.5))
    for _ in range(100):
        if written(tmp_path):
            break
        await asyncio.sleep(0.05)
    assert found.entered.is_set()
    (event,) = written(tmp_path)
    assert event["request"]["statusCode"] == 499


async def test_skipped_paths_write_nothing(site: tuple[Site, ClientSession], tmp_path: Path) -> None:
    """A health check every second is no event; what its handler logs is."""
    _, http = site
    async with http.get("/health"):
        pass
    assert [event["description"] for event in written(tmp_path)] == ["inside"]


def test_the_client_needs_nothing_but_the_standard_library() -> None:
    """Imported without site-packages, and without aiohttp."""
    script = f"import sys; sys.path.insert(0, {str(CLIENT)!r}); import watchkeep_client; print('aiohttp' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_the_wheel_holds_the_client_alone(tmp_path: Path) -> None:
    """Built as it would be released: typed, without dependencies, without the demonstration."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=CLIENT, check=True, capture_output=True, timeout=100)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"watchkeep_client"}
    assert "watchkeep_client/py.typed" in names
    assert "Requires-Dist" not in metadata
