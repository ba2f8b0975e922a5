"""A station served over real HTTP: one for each test, or one that the tests of a module share."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp.test_utils import TestClient

from tests.web.station import Station, event, served


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    """A station of one test."""
    station = Station(tmp_path)
    yield station
    station.close()


@pytest.fixture
async def client(station: Station) -> AsyncIterator[TestClient]:
    """A client of that station."""
    async with served(station) as client:
        yield client


@pytest.fixture(scope="module")
def shared_station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Station]:
    """A station with one event, for tests that only ask: starting one costs more than most of them."""
    station = Station(tmp_path_factory.mktemp("station"))
    station.write("app-2026-06-01.log", [event()])
    yield station
    station.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(shared_station: Station) -> AsyncIterator[TestClient]:
    """A client of the shared station; its tests run in the module's loop."""
    async with served(shared_station) as client:
        yield client
