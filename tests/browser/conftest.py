"""A real browser before a real server: one of each for all tests here, on the session's event loop.

Playwright's own pytest plugin runs its own loop and breaks asynchronous tests that follow; these fixtures do not.
"""

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, async_playwright

from tests.browser.desk import CHROMIUM, PATIENT, Desk, Visitor, Watched, sample_events
from tests.support import require
from tests.web.station import served
from web.keys import WebOptions


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Debian's Chromium, once for all tests."""
    require(CHROMIUM.exists(), "Chromium", install="chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM))
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def filled_station(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A station with a day of events, a few hundred, ending a minute ago. Tests leave its events alone."""
    station = Watched(tmp_path_factory.mktemp("filled"))
    station.now_us = time.time_ns() // 1000
    day = time.strftime("%Y-%m-%d", time.gmtime(station.now_us / 1_000_000))
    station.write(f"shop-{day}.log", sample_events(station.now_us))
    station.archive.commit()
    yield station
    station.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def desk(filled_station: Watched) -> AsyncIterator[Desk]:
    """The filled station, served."""
    async with served(filled_station, WebOptions(version="1.2.3"), PATIENT) as client:
        yield Desk(filled_station, str(client.make_url("/")))


@pytest_asyncio.fixture(loop_scope="session")
async def own_desk(tmp_path: Path) -> AsyncIterator[Desk]:
    """An empty station of one test, served."""
    station = Watched(tmp_path)
    station.now_us = time.time_ns() // 1000
    async with served(station, WebOptions(version="1.2.3"), PATIENT) as client:
        yield Desk(station, str(client.make_url("/")))
    station.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visitor(browser: Browser) -> AsyncIterator[Visitor]:
    """A browser window that records every policy violation, script error and console error, and asserts none."""
    visitor = await Visitor.enter(browser)
    yield visitor
    await visitor.leave()
