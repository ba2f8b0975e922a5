"""One error shape, whatever goes wrong and wherever."""

import asyncio
import json
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from tests.web.station import Station
from web.errors import KINDS, TYPE_PREFIX
from web.guard import MAX_BODY_BYTES
from web.keys import PREFIX
from web.routes import ROUTES

MEMBERS = {"type", "title", "status", "detail", "instance", "errors", "request_id"}
pytestmark = pytest.mark.asyncio(loop_scope="module")

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
WITHOUT_PARAMETERS = {"listLevels", "listCategories", "listActions", "getEvent", "getActivity"}


def check_problem(body: Any, status: int, headers: Any) -> None:
    assert set(body) >= MEMBERS
    assert body["status"] == status
    assert body["type"].startswith(TYPE_PREFIX)
    assert headers["Content-Type"] == "application/problem+json"
    assert body["request_id"] == headers["X-Request-Id"]
    text = json.dumps(body)
    for secret in ("Traceback", "SELECT", "/work", "/tmp", "storage/", ".py"):
        assert secret not in text


def address(path: str) -> str:
    return path.replace("{event_id}", "e-1").replace("{", "").replace("}", "")


@pytest.mark.parametrize("prefix", ["", PREFIX])
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_an_unknown_parameter_is_422_on_every_route(
    shared: TestClient, route: Any, prefix: str
) -> None:
    """With its name, what is wrong, and a hint; never ignored, so that a misspelt filter never shows everything."""
    async with shared.request(
        route.method, prefix + address(route.path), params={"levle": "error"}
    ) as response:
        body = await response.json(content_type=None)
        assert response.status == 422, body
        check_problem(body, 422, response.headers)
        assert body["errors"][0]["loc"] == ["query", "levle"]
        assert body["errors"][0]["hint"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_a_method_that_a_route_lacks_is_405_with_allow(
    shared: TestClient, route: Any, method: str
) -> None:
    """Events have no write method; the Allow header says what there is."""
    possible = {other.method for other in ROUTES if other.path == route.path}
    if method in possible:
        return
    async with shared.request(method, PREFIX + address(route.path)) as response:
        body = await response.json(content_type=None)
        assert response.status == 405, body
        check_problem(body, 405, response.headers)
        assert set(response.headers["Allow"].split(",")) - {"HEAD"} == possible


@pytest.mark.parametrize(
    "path", ["/nothing", "/api/v1", "/api/v2/events", "/events/a/b", "/assets/x/y.js", "/static/../x"]
)
async def test_an_address_that_is_none_is_404(shared: TestClient, path: str) -> None:
    """With where to look."""
    async with shared.get(path) as response:
        check_problem(await response.json(content_type=None), 404, response.headers)


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("level=fatal", "level"),
        ("level=", "level"),
        ("level=!", "level"),
        ("ip=10.0.0", "ip"),
        ("ip=10.0.0.0/33", "ip"),
        ("status_code=abc", "status_code"),
        ("risk=severe", "risk"),
        ("min_risk=-1", "min_risk"),
        ("max_risk=101", "max_risk"),
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=ten", "limit"),
        ("page=0", "page"),
        ("page=99999999999", "page"),
        ("limit=5&limit=6", "limit"),
        ("start_date=yesterday", "start_date"),
        ("end_date=2026-02-30", "end_date"),
        ("start_date=2026-06-02&end_date=2026-06-01", "start_date"),
        ("cursor=nonsense", "cursor"),
        ("cursor=AAAA~~", "cursor"),
        ("cursor=x~1~2~3", "cursor"),
        ("cursor=abc&page=2", "page"),
        ("snapshot=-1", "snapshot"),
        ("snapshot=9007199254740992", "snapshot"),
        ("internal=maybe", "internal"),
        ("category=", "category"),
        ("search_query=", "search_query"),
        ("q=levl:error", "q"),
        ("q=", "q"),
        ("nonsense=1", "nonsense"),
    ],
)
async def test_a_bad_value_is_422_that_names_its_parameter(
    shared_station: Station, shared: TestClient, query: str, name: str
) -> None:
    """A person sees which one, why, and what to write instead."""
    async with shared.get(f"/api/v1/events?{query}") as response:
        body = await response.json()
        assert response.status == 422, body
        check_problem(body, 422, response.headers)
        assert body["errors"][0]["loc"][:2] == ["query", name]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/events/statistics?hours=0", "hours"),
        ("/events/statistics?hours=8761", "hours"),
        ("/events/statistics?tz=Mars/Olympus", "tz"),
        ("/events/stats?days=366", "days"),
        ("/events/export?format=xml", "format"),
        ("/events/export?limit=0", "limit"),
        ("/logs?date=2026-6-1", "date"),
        ("/logs?date=2026-02-30", "date"),
        ("/logs?lines=5001", "lines"),
        ("/logs?cursor=%25", "cursor"),
        ("/logs?cursor=WzEsMl0", "cursor"),
        ("/rejects?limit=501", "limit"),
        ("/rejects?cursor=zzzz", "cursor"),
        ("/activity-logs?page_size=101", "page_size"),
    ],
)
async def test_every_endpoint_names_its_bad_parameter(shared: TestClient, path: str, name: str) -> None:
    """The bounds are the original's where it had them."""
    async with shared.get(path) as response:
        body = await response.json()
        assert response.status == 422, body
        assert body["errors"][0]["loc"] == ["query", name]


@pytest.mark.parametrize(
    ("path", "msg", "hint"),
    [
        ("/events?level=err", "'err' cannot be used here", "one of debug, info"),
        ("/events?tag=!", "'!' cannot be used here", "leaves out what stands behind it"),
        ("/events?category=", "it is empty", "leave it out"),
        ("/events?limit=0", "'0' is less than 1", ""),
        ("/events?limit=ten", "'ten' is not a whole number", ""),
        ("/events?max_risk=101", "'101' is more than 100", ""),
        ("/events?" + "&".join(f"tag={n}" for n in range(101)), "more than 100 values", ""),
        ("/events?username=M%FCller", "M%FCller is not UTF-8", "percent-encode"),
        ("/events?username=!M%FCller", "is not UTF-8", "percent-encode"),
        ("/events/export?format=xml", "'xml' is not one of json, ndjson, csv, parquet or arrow", ""),
        ("/events/trends?heatmap=x", "'x' is not weekday_hour", ""),
        ("/events/statistics?start_date=2190-01-01", "it is later than now", "give an end_date"),
        ("/events/export?fields=user.name", "no field 'user.name'", "did you mean user.username?"),
        ("/events/export?fields=metadata.browser", "no field 'metadata.browser'", "did you mean metadata?"),
        ("/alerts?level=error", "'error' is not one of informational", "informational, low, medium"),
        ("/events?start_date=-24h&q=timestamp:2024-05-31", "outside the range", "choose a range around it"),
        ("/events?q=timestamp:2024-05-31..2024-05-01", "between its start and its end", "exchange the two"),
        ("/events?q=risk:>=medium", "'medium' is a band", "31..70"),
        ("/events?q=status:99999999999999999999", "is too large a number", "2^53"),
    ],
)
async def test_a_person_reads_what_is_wrong_and_what_to_write(
    shared: TestClient, path: str, msg: str, hint: str
) -> None:
    """In words about the value, not in patterns and types of this program."""
    async with shared.get(path) as response:
        body = await response.json()
        assert response.status == 422, body
        [fault] = body["errors"]
        assert msg in fault["msg"]
        assert hint in fault["hint"]


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
async def test_an_example_of_fields_can_be_written_as_it_stands(shared: TestClient, route: Any) -> None:
    """The hint is what a person copies."""
    if "fields" not in route.params.model_fields:
        return
    example = route.params.hints["fields"].removeprefix("for example ")
    async with shared.get(PREFIX + route.path, params={"fields": example}) as response:
        assert response.status == 200, await response.text()


async def test_everything_wrong_is_said_at_once(shared: TestClient) -> None:
    """So that nobody has to try five times."""
    async with shared.get("/events?limit=x&page=y&colour=red&level=loud") as response:
        body = await response.json()
        assert {fault["loc"][1] for fault in body["errors"]} == {"limit", "page", "colour", "level"}


@pytest.mark.parametrize(
    "query",
    [
        "category=%00",
        "category=%ED%A0%80",
        "category=%FF%FE",
        "search_query=%27%3B%20DROP%20TABLE%20events%3B--",
        "search_query=%25%5F%5C",
        "user_id=%27%20OR%201%3D1",
        "path=" + "a" * 1024,
        "tag=%F0%9F%94%A5&tag=%E2%80%AE",
        "source=..%2F..%2Fetc%2Fpasswd",
        "entity_id=$1&entity_id=?&entity_id=:p0&entity_id=$p0",
        "start_date=0001-01-01&end_date=9999-12-31",
        "start_date=1969-01-01T00:00:00Z",
        "ip=::1&ip=!::/0&ip=0.0.0.0/0",
        "&".join(f"user_id={n}" for n in range(100)),
    ],
)
@pytest.mark.parametrize("path", ["/events", "/events/statistics", "/events/export"])
async def test_hostile_values_are_data(
    shared_station: Station, shared: TestClient, path: str, query: str
) -> None:
    """Quotes, wildcards, NULs, half characters, placeholders: an answer or a 422, never a 5xx, never more rows."""
    async with shared.get(f"{path}?{query}") as response:
        text = await response.text()
        assert response.status in {200, 422}, text


async def test_too_much_is_refused_with_the_same_shape(shared: TestClient) -> None:
    """A body nobody needs is 413, a query string that is too long is 414."""
    async with shared.delete("/events/cleanup", data=b"x" * (MAX_BODY_BYTES + 1)) as response:
        check_problem(await response.json(content_type=None), 413, response.headers)
    async with shared.get("/events?category=" + "x" * 9000) as response:
        check_problem(await response.json(content_type=None), 414, response.headers)


@pytest.mark.parametrize(
    "data", [b"BLAH\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\x00 HTTP/1.1\r\nHost: localhost\r\n\r\n"]
)
async def test_what_is_no_http_is_400(shared: TestClient, data: bytes) -> None:
    """Bytes that are no request get the same shape as everything else, and the connection ends."""
    reader, writer = await asyncio.open_connection(shared.host, shared.port)
    writer.write(data)
    await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 400 " in head.split(b"\r\n")[0]
    assert b"application/problem+json" in head
    assert json.loads(body)["type"] == "urn:watchkeep:problem:malformed-request"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"GET /events?username=\xc3\xa9 HTTP/1.1", "must be percent-encoded"),
        (b"GET /events?q=" + b"a" * 70_000 + b" HTTP/1.1", "longer than 65536"),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000, "or 16384 bytes"),
    ],
    ids=["not-ascii", "long-line", "long-header"],
)
async def test_what_is_no_http_is_told_why(shared: TestClient, line: bytes, said: str) -> None:
    """A name with an accent that curl sends as it is typed is the commonest of them."""
    reader, writer = await asyncio.open_connection(shared.host, shared.port)
    writer.write(line + b"\r\nHost: localhost\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    assert said in json.loads(answer.partition(b"\r\n\r\n")[2])["detail"]


@pytest.mark.parametrize(
    ("path", "status"), [("/login", 400), ("/rules/test", 501), ("/alerts/a/resolve", 400)]
)
async def test_a_body_that_is_not_what_its_head_says_leaves_no_stack(
    shared: TestClient, caplog: pytest.LogCaptureFixture, path: str, status: int
) -> None:
    """It is the client's mistake, whether the body was wanted or not."""
    kind = "application/x-www-form-urlencoded" if path == "/login" else "application/json"
    headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
    async with shared.post(path, data=b"hello", headers=headers) as response:
        assert response.status == status, await response.text()
        check_problem(await response.json(content_type=None), status, response.headers)
    await asyncio.sleep(0.1)  # what nobody read is read when the answer is out
    assert [record for record in caplog.records if record.exc_info] == []


async def test_a_bug_is_500_without_its_details(
    shared_station: Station,
    shared: TestClient,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The client gets the request id; the stack is in the log under the same id."""

    def broken() -> None:
        raise RuntimeError("/secret/path and SELECT 1")

    monkeypatch.setattr(shared_station, "sources", broken)
    async with shared.get("/logs/files") as response:
        body = await response.json(content_type=None)
        check_problem(body, 500, response.headers)
        assert "secret" not in json.dumps(body)
    assert body["request_id"] in caplog.text
    assert "RuntimeError" in caplog.text


async def test_every_kind_of_problem_has_its_own_type() -> None:
    """Clients compare `type`."""
    assert len({kind.uri for kind in KINDS}) == len(KINDS)
