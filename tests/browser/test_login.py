"""The page that asks for a key, in a real browser: by keyboard, in both colour schemes, and what a session shows."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, async_playwright, expect

from storage.keyring import Keyring
from tests.browser.desk import CHROMIUM, PATIENT, PHONE, WIDE, Visitor, Watched, axe, sample_events
from tests.browser.test_accessible import overflow
from tests.web.station import served
from web.access import AccessOptions
from web.keys import WebOptions

pytestmark = pytest.mark.asyncio(loop_scope="session")

REFUSED = "status of 401"  # what Chromium says of an answer to a form that is refused


@dataclass
class House:
    """A filled station with a key of a viewer and one of an administrator."""

    station: Watched
    url: str
    keyring: Keyring
    keys: dict[str, str]


@pytest_asyncio.fixture(loop_scope="session")
async def house(tmp_path: Path) -> AsyncIterator[House]:
    station = Watched(tmp_path)
    station.now_us = time.time_ns() // 1000
    day = time.strftime("%Y-%m-%d", time.gmtime(station.now_us / 1_000_000))
    station.write(f"shop-{day}.log", sample_events(station.now_us)[-60:])
    keyring = Keyring()
    keys = {
        role: keyring.create(f"{role} key", role, now_us=station.now_us)[1] for role in ("viewer", "admin")
    }
    options = WebOptions(version="1.2.3", access=AccessOptions(failures_per_minute=2))
    async with served(station, options, PATIENT, keyring=keyring) as client:
        yield House(station, str(client.make_url("/")), keyring, keys)
    station.close()


async def give(page: Page, key: str) -> None:
    """Type a key where the page has put the focus, and press Enter."""
    await expect(page.get_by_label("API key")).to_be_focused()
    await page.keyboard.type(key)
    await page.keyboard.press("Enter")


@pytest.mark.parametrize("screen", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_page_that_asks_is_accessible(
    house: House, browser: Browser, scheme: Literal["light", "dark"], screen: tuple[int, int]
) -> None:
    """No violation, nothing wider than the screen, also with its message; the field has a label and the focus."""
    visitor = await Visitor.enter(browser, size=screen, scheme=scheme)
    visitor.expected = [REFUSED]
    page = visitor.page
    await page.goto(house.url)
    assert "\n".join(await axe(page)) == ""
    await expect(page.get_by_label("API key")).to_be_focused()
    await give(page, "wk_wrong")
    await expect(page.get_by_role("alert")).to_contain_text("not valid")
    assert "\n".join(await axe(page)) == ""
    assert await overflow(page) == []
    await visitor.leave()


async def test_a_key_opens_the_view_that_was_asked_for_and_logging_out_closes_it(
    house: House, visitor: Visitor
) -> None:
    """By keyboard alone; the head says who is there; the address and the history hold no key."""
    visitor.expected = [REFUSED]
    page = visitor.page
    await page.goto(f"{house.url}?level=error&range=7d")
    await give(page, house.keys["admin"])
    await expect(page.locator(".caller-name")).to_contain_text("admin key")
    await visitor.settled()
    assert page.url == f"{house.url}?level=error&range=7d"
    assert all(house.keys["admin"] not in asked for asked in visitor.requests)
    await page.get_by_role("button", name="Log out").press("Enter")
    await expect(page.get_by_label("API key")).to_be_visible()
    await page.go_back()
    await expect(page.get_by_label("API key")).to_be_visible()


@pytest.mark.parametrize("screen", [WIDE, PHONE], ids=["wide", "phone"])
async def test_a_viewer_sees_pseudonyms_and_the_page_works(
    house: House, browser: Browser, screen: tuple[int, int]
) -> None:
    """Cards, table and head; no name, no export, and no error that the viewer could do nothing about."""
    visitor = await Visitor.enter(browser, size=screen)
    page = visitor.page
    await page.goto(house.url)
    await give(page, house.keys["viewer"])
    await expect(page.locator(".caller-name")).to_contain_text("viewer")
    await visitor.settled()
    text = await page.locator("body").inner_text()
    assert "person-" in text
    assert "carol.mueller" not in text
    assert "alice" not in text
    assert "\n".join(await axe(page)) == ""
    assert await overflow(page) == []
    assert await page.locator("button[aria-controls=export-menu]").count() == 0
    await visitor.leave()


async def test_a_session_that_ends_asks_for_the_key_and_goes_on(house: House, visitor: Visitor) -> None:
    """The next answer is a refusal: the page asks for a key where it stands, and the view is there again."""
    visitor.expected = [REFUSED]
    page = visitor.page
    await page.goto(f"{house.url}?level=error")
    await give(page, house.keys["viewer"])
    await expect(page.locator(".caller-name")).to_contain_text("viewer")
    await visitor.settled()
    house.keyring.revoke("viewer key", now_us=house.station.now_us)
    await page.get_by_role("button", name="Refresh now").click()
    await expect(page.get_by_label("API key")).to_be_visible()
    await give(page, house.keys["admin"])
    await expect(page.locator(".caller-name")).to_contain_text("admin key")
    assert page.url == f"{house.url}?level=error"


async def test_over_plain_http_to_a_name_the_forms_work_as_well(house: House) -> None:
    """There a browser sends no Sec-Fetch-Site: the form's Origin is what says that it is the page's own."""
    name = "logs.test"
    options = WebOptions(version="1.2.3", allowed_hosts=(name,))
    async with (
        served(house.station, options, PATIENT, keyring=house.keyring) as client,
        async_playwright() as playwright,
    ):
        rules = f"--host-resolver-rules=MAP {name} 127.0.0.1"
        browser = await playwright.chromium.launch(executable_path=str(CHROMIUM), args=[rules])
        visitor = await Visitor.enter(browser)
        visitor.expected = ["Cross-Origin-Opener-Policy"]  # which has no meaning there
        sent: list[dict[str, str]] = []
        visitor.page.on(
            "request", lambda asked: sent.append(asked.headers) if asked.method == "POST" else None
        )
        await visitor.page.goto(f"http://{name}:{client.port}/?level=error")
        await give(visitor.page, house.keys["admin"])
        await expect(visitor.page.locator(".caller-name")).to_contain_text("admin key")
        await visitor.page.get_by_role("button", name="Log out").click()
        await expect(visitor.page.get_by_label("API key")).to_be_visible()
        assert len(sent) == 2
        assert all("sec-fetch-site" not in headers for headers in sent)
        await visitor.leave()
        await browser.close()


async def test_a_link_from_another_site_finds_the_session(house: House, visitor: Visitor) -> None:
    """The strict cookie does not come along with the first request; the page loads itself again, and it does."""
    page = visitor.page
    await page.goto(house.url)
    await give(page, house.keys["admin"])
    await expect(page.locator(".caller-name")).to_contain_text("admin key")
    await page.goto(
        house.url.replace("127.0.0.1", "localhost") + "health/live"
    )  # another site for the browser
    await page.evaluate("url => { location.href = url; }", f"{house.url}?level=error")
    await expect(page.locator(".caller-name")).to_contain_text("admin key")
    assert page.url == f"{house.url}?level=error"
    visitor.hosts.clear()
