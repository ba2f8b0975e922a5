"""The dashboard in a browser, over the real server and a real archive."""

import json
from urllib.parse import parse_qsl, urlsplit

import pytest

from tests.browser.desk import COUNT, Desk, Visitor

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROWS = "table.events tbody tr"


def query_of(url: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(url).query)


async def test_cards_and_summaries_say_what_the_api_says(desk: Desk, visitor: Visitor) -> None:
    """Every figure on the page is the server's, not a count of the rows that happen to be loaded."""
    page = await visitor.open(desk.url)
    answer = await page.evaluate(
        "() => fetch('api/v1/events/statistics?start_date=-24h').then((r) => r.json())"
    )
    figures = await page.locator(".card .figure").all_inner_texts()
    assert figures == [
        f"{answer['totals']['events']:,}",
        str(answer["totals"]["users"]),
        str(answer["byLevel"]["critical"]),
        f"{answer['errorRate']:.1f} %",
    ]
    levels = await page.locator(".panel-levels .bar-button .number:not(.bar-share)").all_inner_texts()
    assert levels == [
        str(answer["byLevel"][level]) for level in ("critical", "error", "warning", "info", "debug")
    ]
    assert await page.locator(".panel-critical li").count() == min(10, answer["byLevel"]["critical"])
    users = await page.locator(".panel-users .bar-text").all_inner_texts()
    assert users == [user["username"] for user in answer["topUsers"]]
    bars = await page.locator(".histogram .bar").count()
    assert bars == sum(count > 0 for point in answer["series"] for count in point["byLevel"].values())


async def test_a_row_opens_a_dialog_and_back_closes_it(desk: Desk, visitor: Visitor) -> None:
    """The address names the event; its four tabs show it; Back undoes the opening."""
    page = await visitor.open(desk.url)
    assert await page.locator(ROWS).count() == 50
    await page.locator(ROWS).first.click()
    dialog = page.locator("dialog.event")
    await dialog.get_by_role("heading", name=f"Order {COUNT - 1} was looked at").wait_for()
    assert ("event", f"e-{COUNT - 1:04}") in query_of(page.url)

    await dialog.get_by_role("tab", name="Request").click()
    assert f"/api/orders/{COUNT - 1}" in await dialog.inner_text()
    await page.keyboard.press("ArrowRight")
    assert "firefox" in await dialog.inner_text()
    await dialog.get_by_role("tab", name="Raw JSON").click()
    shown = await dialog.locator("pre").inner_text()
    assert json.loads(shown)["metadata"]["big"] == 12345678901234567890
    assert "12345678901234567890" in shown

    await page.go_back()
    await dialog.wait_for(state="detached")
    assert query_of(page.url) == []


async def test_a_link_to_an_event_opens_it_and_escape_leaves_the_view_behind_it(
    desk: Desk, visitor: Visitor
) -> None:
    """A permalink stands for itself; closing it goes to the list, not out of the page."""
    page = await visitor.open(f"{desk.url}?event=e-0007&pane=raw&level=info")
    dialog = page.locator("dialog.event")
    assert '"eventId": "e-0007"' in await dialog.locator("pre").inner_text()
    await page.keyboard.press("Escape")
    await dialog.wait_for(state="detached")
    assert query_of(page.url) == [("level", "info")]


async def test_a_long_description_leaves_the_rest_of_its_event_in_sight(
    own_desk: Desk, visitor: Visitor
) -> None:
    """A stack trace can be read, and the tabs below it are not a thousand lines away."""
    await own_desk.write([{"eventId": "long", "description": "at line 1\n" * 3000}], seconds_ago=1)
    page = await visitor.open(f"{own_desk.url}?event=long")
    tab = page.locator("dialog.event").get_by_role("tab", name="Request")
    await tab.wait_for()
    box, size = await tab.bounding_box(), page.viewport_size
    assert box is not None
    assert size is not None
    assert box["y"] + box["height"] < size["height"] / 2
    assert "at line 1" in await page.locator("#event-title").inner_text()


async def test_an_unknown_event_says_so_in_its_dialog_only(desk: Desk, visitor: Visitor) -> None:
    """The list stays; the dialog tells what went wrong."""
    visitor.expected.append("404")
    page = await visitor.open(f"{desk.url}?event=no-such-event")
    await page.locator("dialog.event .failure").wait_for()
    assert await page.locator(ROWS).count() == 50


async def test_filters_set_the_address_and_a_reload_shows_the_same(desk: Desk, visitor: Visitor) -> None:
    """Level, risk, user and words narrow list and figures alike, and the address is the whole state."""
    page = await visitor.open(desk.url)
    await page.get_by_role("button", name="Level", exact=True).click()
    await page.locator("#level-menu label", has_text="Error").click()
    await page.locator("#level-menu label", has_text="Warning").click()
    await page.keyboard.press("Escape")
    await page.get_by_label("User: a name").fill("alice")
    await page.keyboard.press("Enter")
    await page.locator(".panel-categories .bar-button").first.click()
    await page.get_by_role("button", name="Times: Local").click()
    await page.get_by_label("Refresh every").select_option("60")
    await visitor.settled()

    query = query_of(page.url)
    assert [value for name, value in query if name == "level"] == ["error", "warning"]
    assert {"username", "category", "zone", "refresh"} <= {name for name, _ in query}
    words = set(await page.locator(f"{ROWS} .level").all_inner_texts())
    assert words <= {"Error", "Warning"}
    assert len(words) > 0
    assert await page.locator(".chip").count() == 4
    before = (await page.locator("main").inner_text(), await page.locator(".card").all_inner_texts())
    await page.reload()
    await visitor.settled()
    assert (await page.locator("main").inner_text(), await page.locator(".card").all_inner_texts()) == before

    await page.get_by_role("button", name="Clear all").click()
    await visitor.settled()
    assert await page.locator(".chip").count() == 0
    assert await page.locator(ROWS).count() == 50


async def test_search_and_risk_bands_narrow_the_table(desk: Desk, visitor: Visitor) -> None:
    """Words are a search, bands go to `risk`; each row shows its score and its band as a word."""
    page = await visitor.open(f"{desk.url}?risk=high")
    bands = set(await page.locator(f"{ROWS} .risk").all_inner_texts())
    assert all(band.endswith("high") and int(band.split()[0]) > 70 for band in bands)
    await page.get_by_role("combobox", name="Search").fill('"looked at by carol"')
    await page.keyboard.press("Enter")
    await page.wait_for_function("() => location.search.includes('q=')")
    await visitor.settled()
    assert ("q", '"looked at by carol"') in query_of(page.url)
    assert all("carol" in text for text in await page.locator(f"{ROWS} .description").all_inner_texts())


async def test_a_brush_over_the_histogram_sets_the_range(desk: Desk, visitor: Visitor) -> None:
    """Dragging chooses whole bars; list and figures then cover exactly those."""
    page = await visitor.open(f"{desk.url}?zone=utc")
    chart = page.locator(".histogram svg")
    box = await chart.bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 60)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + 70, steps=5)
    assert await page.locator(".histogram .brush").count() == 1
    await page.mouse.up()
    await page.wait_for_function("() => location.search.includes('end_date')")
    await visitor.settled()
    query = dict(query_of(page.url))
    assert query["start_date"] < query["end_date"]
    assert query["end_date"].endswith("999999Z")
    times = await page.locator(f"{ROWS} time").evaluate_all("(all) => all.map((time) => time.dateTime)")
    assert times
    assert all(query["start_date"] <= time <= query["end_date"] for time in times)
    total = int((await page.locator(".panel-events .panel-note").inner_text()).split()[0].replace(",", ""))
    assert 0 < total < COUNT
    assert (await page.locator(".card-total .figure").inner_text()) == str(total)
    await page.go_back()
    await visitor.settled()
    assert query_of(page.url) == [("zone", "utc")]


async def test_export_links_are_the_lists_query(desk: Desk, visitor: Visitor) -> None:
    """What is exported is what is listed: the same filter, and every event of it, not one page."""
    page = await visitor.open(f"{desk.url}?level=info&level=!debug&start_date=-48h&search_query=order")
    asked = [url for url in visitor.requests if urlsplit(url).path == "/api/v1/events"][-1]
    listed = [pair for pair in query_of(asked) if pair[0] != "limit"]
    total = int((await page.locator(".panel-events .panel-note").inner_text()).split()[0].replace(",", ""))
    await page.get_by_role("button", name="Export").click()
    for name in ("CSV", "JSON", "NDJSON"):
        href = await page.locator("#export-menu a", has=page.get_by_text(name, exact=True)).get_attribute(
            "href"
        )
        assert href is not None
        assert query_of(href) == [*listed, ("format", name.lower())]
    async with page.expect_download() as waiting:
        await page.locator("#export-menu a", has=page.get_by_text("NDJSON", exact=True)).click()
    download = await waiting.value
    lines = (await download.path()).read_text(encoding="utf-8").splitlines()
    assert len(lines) == total
    assert total > 50
    assert {json.loads(line)["level"] for line in lines} == {"info"}


async def test_pages_stand_still_at_their_snapshot(own_desk: Desk, visitor: Visitor) -> None:
    """Older and newer walk through pages of one snapshot, so that new events do not shift them."""
    now = own_desk.station.now_us
    await own_desk.write([{"description": f"event {n}"} for n in range(60)], seconds_ago=120)
    page = await visitor.open(own_desk.url)
    await page.get_by_role("link", name="Older").click()
    await visitor.settled()
    assert await page.locator(ROWS).count() == 10
    pinned = dict(query_of(page.url))
    assert pinned["page"] == "2"
    first = await page.locator(f"{ROWS} .description").first.inner_text()
    await own_desk.write([{"description": "late"}], seconds_ago=1)
    await page.reload()
    await visitor.settled()
    assert await page.locator(f"{ROWS} .description").first.inner_text() == first
    await page.get_by_role("link", name="To the newest").click()
    await visitor.settled()
    assert await page.locator(f"{ROWS} .description").first.inner_text() == "late"
    assert own_desk.station.now_us == now


async def test_the_logs_tab_shows_the_days_lines(own_desk: Desk, visitor: Visitor) -> None:
    """Raw lines newest last, those that are no event among them; day, source and number of lines in the address."""
    await own_desk.write(
        [{"description": f"line {n}", "level": "warning"} for n in range(120)], seconds_ago=1
    )
    own_desk.station.write(own_desk.file, [b"<b>not json</b>"])
    page = await visitor.open(own_desk.url)
    await page.get_by_role("link", name="Logs").click()
    await visitor.settled()
    lines = page.locator(".line")
    assert await lines.count() == 121
    assert await lines.last.locator(".line-text").inner_text() == "<b>not json</b>"
    assert "Warning" in await lines.nth(119).inner_text()
    await page.get_by_role("combobox", name="Lines").select_option("100")
    await visitor.settled()
    assert await lines.count() == 100
    await page.get_by_role("button", name="Older lines").click()
    await page.wait_for_function("() => document.querySelectorAll('.line').length === 121")
    await page.get_by_role("combobox", name="Source").select_option(label=own_desk.file)
    await visitor.settled()
    assert {name for name, _ in query_of(page.url)} == {"tab", "lines", "log"}
    assert own_desk.file in await page.locator(".panel-files").inner_text()
    await page.locator("input[type=date]").fill("2020-01-01")
    await visitor.settled()
    assert "no log file of this source for 2020-01-01" in await page.locator(".panel-lines").inner_text()


async def test_keys_search_walk_open_and_close(desk: Desk, visitor: Visitor) -> None:
    """/ finds the search, j and k walk the rows, Enter opens, Esc closes and gives the row back, ? helps."""
    page = await visitor.open(desk.url)
    await page.keyboard.press("/")
    assert await page.evaluate("() => document.activeElement.id") == "search"
    await page.keyboard.press("Escape")
    for key in "jjjk":
        await page.keyboard.press(key)
    at = "() => [...document.querySelectorAll('table.events tbody tr')].findIndex((r) => r.contains(document.activeElement))"
    assert await page.evaluate(at) == 1
    await page.keyboard.press("Enter")
    await page.locator("dialog.event .tabs").wait_for()
    assert ("event", f"e-{COUNT - 2:04}") in query_of(page.url)
    await page.keyboard.press("Escape")
    await page.locator("dialog.event").wait_for(state="detached")
    assert await page.evaluate(at) == 1
    await page.keyboard.press("?")
    await page.locator("dialog.help").wait_for()
    await page.keyboard.press("Escape")
    await page.locator("dialog.help").wait_for(state="detached")
    await page.keyboard.press("l")
    await visitor.settled()
    assert query_of(page.url) == [("tab", "logs")]


async def test_a_value_of_an_event_narrows_the_list(desk: Desk, visitor: Visitor) -> None:
    """Only and leave-out stand beside every value that one can filter by."""
    page = await visitor.open(f"{desk.url}?event=e-0100")
    await page.get_by_role("button", name="Only Correlation c-25").click()
    await page.locator("dialog.event").wait_for(state="detached")
    await visitor.settled()
    assert await page.locator(ROWS).count() == 4
    assert query_of(page.url) == [("correlation_id", "c-25")]


async def test_times_are_local_or_utc(desk: Desk, visitor: Visitor) -> None:
    """One switch; what was local time becomes UTC everywhere, and the exact instant is in the title."""
    page = await visitor.open(desk.url)
    local = await page.locator(f"{ROWS} time").first.inner_text()
    await page.get_by_role("button", name="Times: Local").click()
    await page.wait_for_function("() => location.search === '?zone=utc'")
    utc = await page.locator(f"{ROWS} time").first.inner_text()
    instant = await page.locator(f"{ROWS} time").first.get_attribute("datetime")
    assert instant is not None
    assert instant[11:19] in utc
    assert instant[11:19] not in local
