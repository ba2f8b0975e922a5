"""A station with some events, served over real HTTP."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient

from tests.web.station import Station, served


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    station = Station(tmp_path)
    yield station
    station.close()


@pytest.fixture
async def client(station: Station) -> AsyncIterator[TestClient]:
    async with served(station) as client:
        yield client
