"""A page of facts stays small however many files are followed."""

import time
from collections.abc import Sequence

import pytest
from aiohttp.test_utils import TestClient

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
            assert (body["message"], len(body["data"])) == ("2000 sources", 2000)
