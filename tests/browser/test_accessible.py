"""Axe in both colour schemes and two widths, and what axe does not see: nothing wider than the screen."""

from typing import Literal

import pytest
from playwright.async_api import Browser, Page

from tests.browser.desk import PHONE, WIDE, Desk, Visitor, axe

pytestmark = pytest.mark.asyncio(loop_scope="session")

SCREENS = {"wide": WIDE, "phone": PHONE}
VIEWS = {
    "events": "?category=!api&limit=25",
    "dialog": "?event=e-0007&search_query=nothing-like-this",
    "logs": "?tab=logs&lines=100",
}


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_view_is_accessible(
    desk: Desk, browser: Browser, scheme: Literal["light", "dark"], screen: str
) -> None:
    """No violation of WCAG 2.2 A and AA or of axe's best practice, and no horizontal overflow."""
    visitor = await Visitor.enter(browser, size=SCREENS[screen], scheme=scheme)
    for name, query in VIEWS.items():
        page = await visitor.open(desk.url + query)
        assert "\n".join(await axe(page)) == "", name
        assert await overflow(page) == [], name
    page = await visitor.open(f"{desk.url}?search_query=nothing-like-this")
    for menu in ("level", "category", "range", "export"):
        await page.locator(f"button[aria-controls={menu}-menu]").click()
        assert await overflow(page) == [], menu
        if menu == "range":
            assert "\n".join(await axe(page)) == "", menu
        await page.keyboard.press("Escape")
    await visitor.leave()


async def test_a_time_stays_on_one_line_on_a_phone(desk: Desk, browser: Browser) -> None:
    """The time of an event is not broken between two of its digits."""
    visitor = await Visitor.enter(browser, size=PHONE, scheme="light")
    page = await visitor.open(desk.url)
    lines = await page.evaluate(
        """() => [...document.querySelectorAll("table.events td.at-time a")]
            .map((link) => {
              const text = document.createRange();
              text.selectNodeContents(document.createTreeWalker(link, NodeFilter.SHOW_TEXT).nextNode());
              return text.getClientRects().length;
            })"""
    )
    inside = await page.evaluate(
        """() => [...document.querySelectorAll("table.events td.at-time")]
            .every((cell) => cell.scrollWidth <= cell.clientWidth)"""
    )
    assert lines
    assert set(lines) == {1}
    assert inside
    await visitor.leave()


async def overflow(page: Page) -> list[str]:
    """Return what reaches beyond the right edge of the screen; what scrolls inside its own box does not count."""
    found: list[str] = await page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter((element) => {
          const box = element.getBoundingClientRect();
          if (box.width === 0 || box.right <= innerWidth + 0.5) return false;
          for (let at = element; at !== null; at = at.parentElement)
            if (["auto", "scroll", "hidden"].includes(getComputedStyle(at).overflowX)) return false;
          return true;
        }).map((element) => `${element.tagName}.${element.getAttribute("class")} ${element.getBoundingClientRect().right}`)
          .concat(document.documentElement.scrollWidth > innerWidth ? ["the page scrolls sideways"] : [])"""
    )
    return found


async def test_axe_sees_what_is_wrong(desk: Desk, visitor: Visitor) -> None:
    """A control: a field without a name and faint text are found."""
    page = await visitor.open(desk.url)
    await page.evaluate(
        """() => { document.getElementById("search").removeAttribute("aria-label");
          document.getElementById("search").removeAttribute("placeholder");
          for (const cell of document.querySelectorAll(".description")) cell.style.color = "#ccc"; }"""
    )
    found = {line.split(":")[0] for line in await axe(page)}
    assert {"label", "color-contrast"} <= found


async def test_levels_and_bands_are_words_and_marks(desk: Desk, visitor: Visitor) -> None:
    """Colour is never the only sign: every level has its own shape and its word, every score its band."""
    page = await visitor.open(desk.url)
    shapes = await page.locator(".legend li").evaluate_all(
        "(all) => all.map((item) => [item.innerText.trim(), item.querySelector('path').getAttribute('d')])"
    )
    assert len({word for word, _ in shapes}) == len({shape for _, shape in shapes}) == 5
    assert all(await page.locator("table.events .level").all_inner_texts())


async def test_bars_are_told_apart_from_their_ground(desk: Desk, browser: Browser) -> None:
    """Each level's colour has 3:1 against the surface it is drawn on, in both schemes (axe does not look at charts)."""
    for scheme in ("light", "dark"):
        visitor = await Visitor.enter(browser, scheme=scheme)
        page = await visitor.open(desk.url)
        ratios = await page.evaluate(
            """() => {
              const light = (css) => { const [r, g, b] = css.match(/[\\d.]+/g).map(Number).map((v) => v / 255)
                .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
                return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
              const ground = light(getComputedStyle(document.querySelector(".panel-timeline")).backgroundColor);
              return Object.fromEntries([...document.querySelectorAll(".legend .mark")].map((mark) => {
                const own = light(getComputedStyle(mark).stroke);
                return [mark.getAttribute("class"), (Math.max(own, ground) + 0.05) / (Math.min(own, ground) + 0.05)];
              }));
            }"""
        )
        assert len(ratios) == 5
        assert all(ratio >= 3 for ratio in ratios.values()), (scheme, ratios)
        await visitor.leave()
