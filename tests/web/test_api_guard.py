"""Who may ask, from where, and what every answer carries."""

from typing import Any

import pytest
from aiohttp.test_utils import TestClient
from multidict import CIMultiDict

from tests.web.station import Station, served
from web.guard import host_name
from web.keys import WebOptions
from web.routes import ROUTES

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8710", "", "10.0.0.1", "[::2]"]
)
async def test_another_host_name_is_refused(shared_station: Station, shared: TestClient, host: str) -> None:
    """A page that rebinds its name to this machine sends its own name."""
    async with shared.get("/api/v1/events", headers={"Host": host}) as response:
        assert response.status == 421
        body = await response.json(content_type=None)
        assert body["type"] == "urn:watchkeep:problem:host-refused"
        assert "allowed_hosts" in body["errors"][0]["hint"]
    assert shared_station.audited[-1]["outcome"] == "denied"


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:8710", "[::1]:8710", "logs.example:443"]
)
async def test_our_own_names_answer(station: Station, host: str) -> None:
    """Loopback by any name and port, and the names of [web] allowed_hosts."""
    options = WebOptions(allowed_hosts=("logs.example",))
    async with (
        served(station, options) as client,
        client.get("/health/live", headers={"Host": host}) as response,
    ):
        assert response.status == 200


async def test_host_names_are_compared_without_port() -> None:
    """An IPv6 address keeps its brackets."""
    assert host_name("Example:80") == "example"
    assert host_name("[::1]:80") == "[::1]"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "nonsense"}, 403),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "{own}"}, 200),
        ({"Origin": "http://127.0.0.1:1"}, 403),
    ],
)
async def test_another_site_can_change_nothing(
    shared: TestClient, headers: dict[str, str], status: int
) -> None:
    """Fetch Metadata decides; an older browser's Origin stands in; a program sends neither."""
    own = f"http://{shared.host}:{shared.port}"
    given = {name: value.replace("{own}", own) for name, value in headers.items()}
    async with shared.delete("/api/v1/events/cleanup?days=30", headers=given) as response:
        assert response.status == status, await response.text()


async def test_another_site_may_still_be_linked_from(shared: TestClient) -> None:
    """Reading is not changed by where a link stands; CORP and no CORS keep the answer from other pages."""
    async with shared.get("/api/v1/events", headers={"Sec-Fetch-Site": "cross-site"}) as response:
        assert response.status == 200
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via"])
async def test_what_comes_through_a_proxy_is_not_the_administrator(
    shared_station: Station, shared: TestClient, header: str
) -> None:
    """A proxy on this machine speaks for somebody else: reading yes, removing no."""
    headers = {header: "for=203.0.113.9"}
    async with shared.get("/events", headers=headers) as response:
        assert response.status == 200
    async with shared.delete("/events/cleanup?days=30", headers=headers) as response:
        body = await response.json(content_type=None)
        assert (response.status, body["type"]) == (403, "urn:watchkeep:problem:forbidden")
    assert shared_station.audited[-1]["metadata"]["reason"] == "forbidden"


def every_answer() -> list[tuple[str, str]]:
    found = [
        (route.method, route.path.replace("{event_id}", "e-1").replace("{", "").replace("}", ""))
        for route in ROUTES
    ]
    return [
        # What is followed ends only when told to.
        *((method, f"{path}?timeout=0.1" if path == "/events/live" else path) for method, path in found),
        ("GET", "/nothing"),
        ("POST", "/events"),
        ("GET", "/events?x=1"),
        ("GET", "/openapi.json"),
    ]


@pytest.mark.parametrize(("method", "path"), every_answer())
async def test_every_answer_carries_the_security_headers(
    shared_station: Station, shared: TestClient, method: str, path: str
) -> None:
    """Streams and errors included; an answer of the API can run, load and frame nothing."""
    async with shared.request(method, path) as response:
        await response.read()
        headers: CIMultiDict[Any] = CIMultiDict(response.headers)
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'; base-uri 'none'")
    assert headers["Cache-Control"] in {"no-store", "no-cache", "private, no-cache", "no-store, no-transform"}
    assert headers["Server"] == "watchkeep"
    assert len(headers["X-Request-Id"]) == 32
