"""The dashboard over time: refreshing, waiting, failing, and the first event."""

import asyncio
from pathlib import Path

import pytest
from playwright.async_api import Route

from tests.browser.desk import Desk, Visitor

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROWS = "table.events tbody tr"
LIST = "/api/v1/events"
STATISTICS = "/api/v1/events/statistics"


async def test_a_refresh_without_news_is_a_304(own_desk: Desk, visitor: Visitor) -> None:
    """The page asks with the validator it was given, and shows what is new as soon as there is something."""
    await own_desk.write([{"description": "first"}], seconds_ago=60)
    page = await visitor.open(own_desk.url)
    visitor.answers.clear()
    await page.get_by_role("button", name="Refresh now").click()
    await visitor.answered(LIST, STATISTICS)
    assert (304, LIST) in visitor.answers
    assert (304, STATISTICS) in visitor.answers

    await own_desk.write([{"description": "second"}], seconds_ago=30)
    visitor.answers.clear()
    await page.get_by_role("button", name="Refresh now").click()
    await visitor.answered(LIST, STATISTICS)
    assert (200, LIST) in visitor.answers
    assert await page.locator(f"{ROWS} .description").all_inner_texts() == ["second", "first"]
    assert await page.locator(".card-total .figure").inner_text() == "2"


async def test_it_refreshes_by_itself_and_rests_while_hidden(own_desk: Desk, visitor: Visitor) -> None:
    """Every chosen number of seconds while somebody looks; nothing while nobody does; at once when they come back."""
    await own_desk.write([{"description": "first"}], seconds_ago=60)
    page = visitor.page
    await page.clock.install()
    await visitor.open(f"{own_desk.url}?refresh=10")
    visitor.answers.clear()
    await page.clock.run_for(11_000)
    await visitor.answered(LIST, STATISTICS)

    await page.evaluate(
        """() => { Object.defineProperty(document, "hidden", { configurable: true, get: () => window.away });
          window.away = true; document.dispatchEvent(new Event("visibilitychange")); }"""
    )
    visitor.requests.clear()
    await page.clock.run_for(120_000)
    assert visitor.requests == []
    await own_desk.write([{"description": "meanwhile"}], seconds_ago=30)
    await page.evaluate(
        "() => { window.away = false; document.dispatchEvent(new Event('visibilitychange')); }"
    )
    await page.get_by_text("meanwhile").first.wait_for()

    await page.get_by_label("Refresh every").select_option("0")
    await visitor.settled()
    visitor.requests.clear()
    await page.clock.run_for(600_000)
    # The browser fetches the page's icon whenever it finds the time.
    assert [url for url in visitor.requests if not url.endswith("/icon.svg")] == []


async def test_rows_do_not_move_under_the_pointer(own_desk: Desk, visitor: Visitor) -> None:
    """What is new waits behind a button while the reader is in the table."""
    await own_desk.write([{"description": "first"}], seconds_ago=60)
    page = visitor.page
    await page.clock.install()
    await visitor.open(f"{own_desk.url}?refresh=5")
    await page.locator(ROWS).first.hover()
    await own_desk.write([{"description": "second"}], seconds_ago=30)
    await page.clock.run_for(6_000)
    button = page.get_by_role("button", name="1 new")
    await button.wait_for()
    assert await page.locator(ROWS).count() == 1
    await button.click()
    assert await page.locator(ROWS).count() == 2


async def test_one_part_fails_and_the_others_stay(desk: Desk, visitor: Visitor) -> None:
    """A part that gets no answer says so in its own place and can be tried again."""
    visitor.expected.append("ERR_FAILED")
    page = visitor.page
    await page.route("**/api/v1/events/statistics**", lambda route: route.abort("failed"))
    await visitor.open(desk.url)
    assert await page.locator(ROWS).count() == 50
    assert await page.locator(".panel-timeline .failure").count() == 1
    assert await page.locator(".panel-events .failure").count() == 0
    await page.unroute("**/api/v1/events/statistics**")
    await page.locator(".panel-timeline").get_by_role("button", name="Try again").click()
    await page.locator(".histogram svg").wait_for()
    assert await page.locator(".failure").count() == 0


async def test_a_changed_filter_aborts_the_question_before(desk: Desk, visitor: Visitor) -> None:
    """The answer to an old question is neither waited for nor shown."""
    page = await visitor.open(desk.url)
    aborted: list[str] = []
    page.on("requestfailed", lambda request: aborted.append(request.url))
    held: list[Route] = []

    async def hold(route: Route) -> None:
        held.append(route)

    await page.route("**/api/v1/events?*level=error*", hold)
    await page.locator(".panel-levels .bar-button").nth(1).click()
    await page.wait_for_function("() => location.search === '?level=error'")
    await page.locator(".panel-events[aria-busy=true]").wait_for()
    await page.get_by_role("button", name="Clear all").click()
    await visitor.settled()
    assert len(held) == 1
    assert any("level=error" in url for url in aborted)
    assert await page.locator(ROWS).count() == 50


async def test_the_first_run_says_where_to_write_and_waits(
    own_desk: Desk, visitor: Visitor, tmp_path: Path
) -> None:
    """An empty archive shows the directory and a command; the command works; the event appears by itself."""
    page = await visitor.open(own_desk.url)
    panel = page.locator(".first-run")
    assert str(own_desk.station.logs) in await panel.inner_text()
    command = await panel.locator("pre").inner_text()
    shell = await asyncio.create_subprocess_exec("sh", "-c", command)
    assert await shell.wait() == 0
    (written,) = own_desk.station.logs.iterdir()
    line = written.read_bytes().removesuffix(b"\n")
    written.unlink()
    own_desk.station.now_us += 60_000_000  # the command wrote the real time, which is past the station's
    own_desk.station.write(written.name, [line])
    await page.locator(ROWS, has_text="Hello, Watchkeep").wait_for()
    assert await panel.count() == 0


async def test_an_empty_answer_says_whether_filters_or_the_range_are_why(
    desk: Desk, visitor: Visitor
) -> None:
    """Nothing found is told apart from nothing there, with the way out beside it."""
    page = await visitor.open(f"{desk.url}?search_query=nothing-like-this")
    empty = page.locator(".nothing")
    assert "No event matches these filters" in await empty.inner_text()
    assert "The archive holds 400 events" in await empty.inner_text()
    await page.get_by_role("button", name="Clear the filters").click()
    await visitor.settled()
    assert await page.locator(ROWS).count() == 50


async def test_trouble_of_the_daemon_stands_out(own_desk: Desk, visitor: Visitor) -> None:
    """What needs a person is a sentence under the page's head."""
    await own_desk.write([{"description": "first"}], seconds_ago=60)
    own_desk.station.facts = {"ready": False, "reason": "the disk is full"}
    page = await visitor.open(own_desk.url)
    assert "The daemon is not ready: the disk is full." in await page.locator(".warnings").inner_text()
    assert "Needs attention" in await page.locator(".strip").inner_text()
