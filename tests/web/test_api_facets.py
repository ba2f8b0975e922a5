"""Facets: values with counts, what is other and missing, alternatives, and a time limit of their own."""

from dataclasses import replace
from typing import Any

import duckdb
import pytest
from aiohttp.test_utils import TestClient

from storage import facets
from storage.engine import EngineOptions
from tests.web.station import Station, event, served


async def get(client: TestClient, path: str) -> Any:
    async with client.get(path) as response:
        body = await response.json()
        assert response.status == 200, body
        return body["facets"]


def seed(station: Station) -> None:
    station.write(
        "a.log",
        [
            event(
                eventId=f"e-{n}",
                level=["info", "error", "critical"][n % 3],
                request={"method": ["GET", "POST"][n % 2], "path": f"/p{n}", "ip": f"10.0.0.{n % 7}"},
                user={"id": n % 4, "username": f"u{n % 4}"} if n % 5 else None,
                tags=["all", f"t{n % 2}"],
                metadata={"browser": {"name": f"b{n % 3}"}} if n % 2 else {},
            )
            for n in range(30)
        ],
    )


def values(facet: Any) -> list[tuple[str, int]]:
    return [(item["value"], item["count"]) for item in facet["values"]]


async def test_each_field_has_its_values_by_frequency_and_what_is_left(
    station: Station, client: TestClient
) -> None:
    """Ties in order of the value; other and missing make up the rest. Hot and committed rows give the same."""
    seed(station)
    query = "/events/facets?top=2&fields=level,username,method,path,metadata.browser.name,tag,ip"
    hot = await get(client, query)
    assert values(hot["level"]) == [("critical", 10), ("error", 10)]
    assert (hot["level"]["other"], hot["level"]["missing"], hot["level"]["distinct"]) == (10, 0, 3)
    assert values(hot["username"]) == [("u0", 6), ("u1", 6)]
    assert (hot["username"]["other"], hot["username"]["missing"]) == (12, 6)
    assert values(hot["method"]) == [("GET", 15), ("POST", 15)]
    assert values(hot["path"]) == [("/p0", 1), ("/p1", 1)]
    assert (hot["path"]["other"], hot["path"]["distinct"]) == (28, 30)
    assert values(hot["metadata.browser.name"]) == [("b0", 5), ("b1", 5)]
    assert hot["metadata.browser.name"]["missing"] == 15
    assert values(hot["tag"]) == [("all", 30), ("t0", 15)]
    assert values(hot["ip"]) == [("10.0.0.0", 5), ("10.0.0.1", 5)]
    assert (hot["ip"]["other"], hot["ip"]["missing"]) == (20, 0)
    answered = {field: facet["answeredBy"] for field, facet in hot.items()}
    assert [field for field, by in answered.items() if by == "roll-up"] == [
        "level",
        "username",
        "method",
        "ip",
    ]
    station.archive.commit()
    assert await get(client, query) == hot


async def test_a_field_shows_its_alternatives_if_asked(station: Station, client: TestClient) -> None:
    """The filter on the field itself is left out for that field only."""
    seed(station)
    narrow = await get(client, "/events/facets?fields=level,method&level=error&method=GET")
    assert values(narrow["level"]) == [("error", 5)]
    wide = await get(client, "/events/facets?fields=level,method&level=error&method=GET&exclude_own=true")
    assert values(wide["level"]) == [("critical", 5), ("error", 5), ("info", 5)]
    assert values(wide["method"]) == [("GET", 5), ("POST", 5)]


async def test_a_facet_that_takes_too_long_is_left_out_and_says_so(
    station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its scan is stopped at the time limit of facets, and the other fields stand."""
    seed(station)

    def endless(cursor: duckdb.DuckDBPyConnection, *_: object) -> dict[str, facets.Facet]:
        cursor.execute(
            "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range % 7 = b.range % 11"
        ).fetchall()
        raise AssertionError("it was not stopped")

    monkeypatch.setattr(facets, "_scan", endless)
    async with served(station, engine=replace(EngineOptions(), facet_seconds=3.0)) as client:
        found = await get(client, "/events/facets?fields=level,path")
    assert found["path"] == facets.Facet(timed_out=True).to_json()
    assert len(found["level"]["values"]) == 3
    assert not found["level"]["timed_out"]


async def test_keys_are_written_as_they_are_or_as_in_searches(station: Station, client: TestClient) -> None:
    """In quotes a key may have dots and quotes of its own; a field copied from a search is not simply missing."""
    odd = {"odd key": {"a.b": ["x"]}, "": "empty", 'q"u': "quote", "s/l~": "slash"}
    station.write("a.log", [event(eventId=f"e-{n}", metadata=odd) for n in range(3)])
    fields = {
        "metadata.odd key": '{"a.b":["x"]}',
        'metadata."odd key"."a.b".0': "x",
        'metadata.""': "empty",
        'metadata."q\\"u"': "quote",
        'metadata.q"u': "quote",
        "metadata.s/l~": "slash",
    }
    async with client.get("/events/facets", params={"fields": ",".join(fields)}) as response:
        found = (await response.json())["facets"]
    assert {field: values(found[field]) for field in fields} == {
        field: [(value, 3)] for field, value in fields.items()
    }


async def test_fields_that_cannot_be_counted_by_are_named(station: Station, client: TestClient) -> None:
    """A name that is neither filter, nor column, nor path; none at all; too many."""
    many = ",".join(f"metadata.f{n}" for n in range(17))
    for fields in ("nothing", "risk_reasons", "metadata.", 'metadata."a', 'metadata."a"b', ",", many):
        async with client.get(f"/events/facets?fields={fields}") as response:
            body = await response.json()
            assert (response.status, body["errors"][0]["loc"]) == (422, ["query", "fields"]), fields
