"""A page of facts stays small however many files are followed."""

import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
from aiohttp.test_utils import TestClient
from yarl import URL

from tests.web.station import Station
from web.overview import SHOWN_SOURCES, shown
from web.status import SourceStatus


def source(number: int, *, state: str = "idle", size: int = 10, gaps: int = 0) -> SourceStatus:
    return SourceStatus(
        sid=f"{number:032x}",
        path=f"/logs/{number}.log",
        file=f"{number}.log",
        size=size,
        read=10,
        committed=10,
        lines=1,
        events=1,
        rejects=0,
        last_event_us=None,
        state=state,
        gaps=gaps,
    )


def test_of_many_sources_those_that_need_attention_are_shown() -> None:
    """What failed, what lost bytes and what lags comes before what is calm."""
    calm = [source(number) for number in range(SHOWN_SOURCES)]
    odd = [source(1000, state="failed"), source(1001, gaps=1), source(1002, state="live", size=5000)]

    found = shown([*calm, *odd])

    assert [entry.file for entry in found[:3]] == ["1000.log", "1001.log", "1002.log"]
    assert len(found) == SHOWN_SOURCES
    assert shown(calm) == calm


@pytest.mark.parametrize("path", ["/api/v1/logs/files", "/api/v1/status", "/metrics"])
async def test_what_lists_every_file_is_made_beside_the_event_loop(
    station: Station, client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Of fifty thousand files it takes seconds. A pause on the loop's thread would fail this test by itself."""
    many = [source(number) for number in range(2000)]

    def slowly() -> Sequence[SourceStatus]:
        time.sleep(0.05)
        return many

    def measured() -> bytes:
        time.sleep(0.05)
        return b"measured"

    monkeypatch.setattr(station, "sources", slowly)
    monkeypatch.setattr(station, "metrics", measured)

    async with client.get(path) as answer:
        assert answer.status == 200
        if path.endswith("files"):
            body = await answer.json()
            assert (body["message"], len(body["data"])) == ("2000 sources", 50)


async def test_sources_come_in_pages_that_hold_each_once(
    station: Station, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By path, or what lags most first; two files of one name in two directories are two."""
    many = [source(number, size=10 + number % 7) for number in range(130)]
    many += [replace(source(5), path="/other/5.log", sid=""), replace(source(5), path="/third/5.log", sid="")]
    monkeypatch.setattr(station, "sources", lambda: many)
    for sort, lags_first in (("lag", True), ("path", False)):
        rows, url = [], f"/api/v1/logs/files?limit=25&sort={sort}"
        while url:
            async with client.get(url) as answer:
                body = await answer.json()
                assert body["total"] == len(many)
                rows += body["data"]
                url = URL(str(answer.links["next"]["url"])).path_qs if body["next"] else ""
        assert sorted(row["path"] for row in rows) == sorted(entry.file for entry in many)
        keys = [(-row["lag_bytes"] if lags_first else 0, row["path"]) for row in rows]
        assert keys == sorted(keys)


@pytest.mark.parametrize(
    ("question", "paths"),
    [
        ("state=failed&state=gone", ["shop/a.log", "shop/b/c.log"]),
        ("directory=shop", ["shop/a.log", "shop/b/c.log"]),
        ("directory=shop/b/", ["shop/b/c.log"]),
        ("name=C.LOG", ["shop/b/c.log"]),
        ("gaps=true", ["shop/b/c.log"]),
        ("gaps=false&lagging=true", ["shopping.log"]),
        ("name=nothing", []),
    ],
)
async def test_sources_are_found_by_what_they_are(
    station: Station, client: TestClient, monkeypatch: pytest.MonkeyPatch, question: str, paths: list[str]
) -> None:
    """And counted: the states of all that the other filters leave, so that a choice shows what it would find."""
    found = [
        replace(source(1, state="failed"), file="shop/a.log"),
        replace(source(2, state="gone", gaps=2), file="shop/b/c.log", gap_bytes=7),
        replace(source(3, size=30), file="shopping.log"),
    ]
    monkeypatch.setattr(station, "sources", lambda: found)
    async with client.get(f"/api/v1/logs/files?sort=path&{question}") as answer:
        body = await answer.json()
    assert [row["path"] for row in body["data"]] == paths
    assert body["total"] == len(paths)
    if question.startswith("state"):
        assert body["states"] == {"failed": 1, "gone": 1, "idle": 1}
        assert (body["with_gaps"], body["gap_bytes"], body["lag_bytes"]) == (1, 7, 0)


@pytest.mark.parametrize(
    "question", ["cursor=x", "cursor=WzEsMl0", "limit=0", "limit=100000", "sort=size", "gaps=2"]
)
async def test_a_page_of_sources_that_cannot_be_is_refused(client: TestClient, question: str) -> None:
    """With what is wrong, as everywhere."""
    async with client.get(f"/api/v1/logs/files?{question}") as answer:
        assert answer.status == 422
        assert (await answer.json())["errors"]
