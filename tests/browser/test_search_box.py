"""The box for searches in a browser: completion by keyboard, errors at their place, and one press on a value."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.browser.desk import PHONE, WIDE, Desk, Visitor, axe
from tests.browser.test_accessible import overflow

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROWS = "table.events tbody tr"
REFUSED = "status of 422"  # what Chromium says of a search that cannot be read


def query_of(url: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(url).query)


async def searched(page: Page, visitor: Visitor, q: str) -> None:
    """Wait until the address holds a search and the page shows it."""
    await page.wait_for_function("(q) => new URLSearchParams(location.search).get('q') === q", arg=q)
    await visitor.settled()


async def test_a_search_is_completed_by_keyboard(desk: Desk, visitor: Visitor) -> None:
    """Field, then value with how often it was seen; the option that Enter takes is told to screen readers."""
    page = await visitor.open(desk.url)
    box = page.get_by_role("combobox", name="Search", exact=True)
    await page.keyboard.press("/")
    await page.keyboard.type("usern")
    option = page.get_by_role("option", name="user.name")
    await option.wait_for()
    assert await box.get_attribute("aria-expanded") == "true"
    await page.keyboard.press("ArrowDown")
    active = await box.get_attribute("aria-activedescendant")
    assert active is not None
    assert await page.locator(f"#{active}").get_attribute("aria-selected") == "true"
    await page.keyboard.press("Enter")
    await expect(box).to_have_value("user.name:")
    await page.keyboard.type("car")
    await page.get_by_role("option", name="carol.mueller").wait_for()
    assert "\n".join(await axe(page)) == ""
    await page.keyboard.press("ArrowUp")
    await page.keyboard.press("Tab")
    await expect(box).to_have_value("user.name:carol.mueller ")
    await page.keyboard.press("Escape")
    await expect(box).to_have_attribute("aria-expanded", "false")
    await page.keyboard.press("Enter")
    await searched(page, visitor, "user.name:carol.mueller")
    names = set(await page.locator(f"{ROWS} .at-user .plain-link").all_inner_texts())
    assert names == {"carol.mueller"}
    await page.reload()
    await visitor.settled()
    await expect(box).to_have_value("user.name:carol.mueller")


async def test_completion_goes_on_in_the_middle_and_behind_wide_characters(
    desk: Desk, visitor: Visitor
) -> None:
    """What stands before and behind the cursor stays; places count characters, not UTF-16 units."""
    page = await visitor.open(desk.url)
    box = page.get_by_role("combobox", name="Search", exact=True)
    await box.fill("😀 OR lev (order)")
    for _ in range(len(" (order)")):
        await box.press("ArrowLeft")
    await page.get_by_role("option", name="level").click()
    await expect(box).to_have_value("😀 OR level: (order)")
    assert await box.evaluate("(box) => box.selectionStart") == 12


async def test_what_is_offered_fits_the_text_and_the_cursor_also_before_the_next_answer(
    desk: Desk, visitor: Visitor
) -> None:
    """On a slow network: letters written meanwhile belong to the word, and a cursor that moves closes the list."""
    page = await visitor.open(desk.url)
    box = page.get_by_role("combobox", name="Search", exact=True)
    level = page.get_by_role("option", name="level")
    await box.fill("order lev")
    await level.wait_for()
    held: list[Route] = []

    async def hold(route: Route) -> None:
        held.append(route)

    await page.route("**/api/v1/events/suggest?*", hold)
    await page.keyboard.type("el")
    await level.click()
    await expect(box).to_have_value("order level:")
    await box.press("Home")
    await expect(box).to_have_attribute("aria-expanded", "false")
    await page.unroute("**/api/v1/events/suggest?*")


@pytest.mark.parametrize("screen", [WIDE, PHONE], ids=["wide", "phone"])
async def test_what_cannot_be_read_is_shown_where_it_is_and_mended_by_one_press(
    desk: Desk, browser: Browser, screen: tuple[int, int]
) -> None:
    """The view stays; the wrong word is marked, what was expected is said, and a suggestion searches."""
    visitor = await Visitor.enter(browser, size=screen)
    visitor.expected.append(REFUSED)
    page = await visitor.open(desk.url)
    box = page.get_by_role("combobox", name="Search", exact=True)
    await box.fill("order levl:error")
    await box.press("Enter")
    said = page.get_by_role("alert")
    await expect(said.locator("mark")).to_have_text("levl:error")
    await expect(said).to_contain_text("there is no field levl")
    await expect(box).to_have_attribute("aria-invalid", "true")
    assert query_of(page.url) == []
    assert await page.locator(ROWS).count() == 50
    assert "\n".join(await axe(page)) == ""
    assert await overflow(page) == []
    await said.get_by_role("button", name="order level:error").click()
    await searched(page, visitor, "order level:error")
    assert await page.get_by_role("alert").count() == 0
    assert set(await page.locator(f"{ROWS} .at-level .level").all_inner_texts()) == {"Error"}
    await visitor.leave()


async def test_a_link_with_a_wrong_search_says_so_in_the_box(desk: Desk, visitor: Visitor) -> None:
    """Once, where it can be mended, not in every part of the page."""
    visitor.expected.append(REFUSED)
    page = await visitor.open(f"{desk.url}?q=level%3Aerrr")
    await expect(page.locator(".query-wrong mark")).to_have_text("errr")
    assert await page.locator(".failure").count() == 1


async def test_filters_become_a_search_and_a_search_filters(desk: Desk, visitor: Visitor) -> None:
    """The same events both ways, and a link, the search, SQL and a command to copy."""
    page = await visitor.open(f"{desk.url}?level=error&level=warning&username=!bob&risk=high")
    total = await page.locator(".panel-events .panel-note").inner_text()
    await page.get_by_role("button", name="Copy as").click()
    faces = page.locator(".faces")
    await expect(faces.locator("dd").nth(1)).to_contain_text("level:(error OR warning)")
    texts = await faces.locator("dd code").all_inner_texts()
    assert texts[0] == page.url
    assert texts[3].startswith("curl -s 'http")
    assert "FROM events" in texts[4]
    assert "\n".join(await axe(page)) == ""
    await faces.get_by_role("button", name="Write the filters as a search").click()
    await page.wait_for_function("() => !location.search.includes('level=')")
    await visitor.settled()
    written = dict(query_of(page.url))
    assert set(written) == {"q"}
    assert await page.locator(".panel-events .panel-note").inner_text() == total
    assert await page.locator(".chip").count() == 0

    await page.get_by_role("button", name="Copy as").click()
    await faces.get_by_role("button", name="Split the search into filters").click()
    await page.wait_for_function("() => location.search.includes('level=')")
    await visitor.settled()
    assert sorted(query_of(page.url)) == [
        ("level", "error"),
        ("level", "warning"),
        ("risk", "high"),
        ("username", "!bob"),
    ]
    assert await page.locator(".panel-events .panel-note").inner_text() == total


async def test_one_press_on_a_value_of_a_row_narrows_the_list(desk: Desk, visitor: Visitor) -> None:
    """Only this, or all but this, seen while the pointer is over the value; the row does not open."""
    page = await visitor.open(desk.url)
    user = page.locator(f"{ROWS} .at-user .cell-value").first
    name = await user.locator(".plain-link").inner_text()
    await user.hover()
    await user.get_by_title("Leave this out").first.click()
    await page.wait_for_function("() => location.search.includes('username')")
    await visitor.settled()
    assert query_of(page.url) == [("username", f"!{name}")]
    assert name not in await page.locator(f"{ROWS} .at-user .plain-link").all_inner_texts()
    level = page.locator(f"{ROWS} .at-level .cell-value").first
    await level.hover()
    await level.get_by_title("Only this").click()
    await page.wait_for_function("() => location.search.includes('level')")
    assert await page.locator("dialog.event").count() == 0


async def test_any_value_of_an_event_narrows_the_search(desk: Desk, visitor: Visitor) -> None:
    """Also the application's own members, and fields that no filter names."""
    page = await visitor.open(f"{desk.url}?event=e-0100&pane=metadata&level=!debug")
    await page.get_by_role("button", name="Only browser firefox").click()
    await searched(page, visitor, "metadata.browser:firefox")
    assert ("level", "!debug") in query_of(page.url)
    await page.goto(f"{desk.url}?event=e-0100&q=order")
    await page.get_by_role("button", name="Leave out Event ID e-0100").click()
    await searched(page, visitor, "order -eventId:e-0100")
    # JavaScript rounds it, so it would not be the number that was archived.
    await page.goto(f"{desk.url}?event=e-0100&pane=metadata")
    await page.get_by_role("button", name="Copy big").wait_for()
    assert await page.get_by_role("button", name="Only big").count() == 0
