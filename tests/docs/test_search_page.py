"""The page about searching: its examples are run."""

import re

import orjson
import pytest

from storage.engine import Engine, EngineOptions
from storage.queries import Queries
from storage.query import Filter, ListQuery
from tests.support import ROOT
from tests.web.station import NOW_US, Station

PAGE = (ROOT / "docs/search.md").read_text("utf-8")
EVENTS = re.search(r"^```jsonl\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
EXAMPLES = re.findall(r"^\| `(.+?)` \| ((?:e\d(?:, )?)*) ?\|$", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def station(tmp_path_factory):
    """Return a station with the page's events."""
    station = Station(tmp_path_factory.mktemp("page"))
    assert EVENTS is not None
    station.write("app-2026-06-01.log", EVENTS[1].encode().splitlines())
    station.archive.commit()
    yield station
    station.close()


@pytest.fixture(scope="module")
def engine():
    """Return an engine."""
    engine = Engine(EngineOptions(threads=1))
    yield engine
    engine.close()


def test_the_page_has_examples():
    """Enough of them."""
    assert len(EXAMPLES) > 30


@pytest.mark.parametrize(("q", "expected"), EXAMPLES)
async def test_an_example_finds_what_the_page_says(station, engine, q, expected):
    """In the events of the page."""
    queries = Queries(engine, lambda: station.archive.snapshot)
    page = await queries.page(ListQuery(Filter.of(q=q.replace("\\|", "|"), now_us=NOW_US)))
    assert sorted(orjson.loads(row)["eventId"] for row in page.rows) == sorted(
        filter(None, expected.split(", "))
    )
