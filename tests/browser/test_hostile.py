"""Fields of an event are data: whatever an attacker writes into a log, the page shows it and runs nothing."""

import pytest

from tests.browser.desk import Desk, Visitor

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAYLOADS = (
    "<script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 1'>",
    '"><svg onload=window.pwned=1>',
    "javascript:window.pwned=1",
    "</textarea><iframe srcdoc='<script>parent.pwned=1</script>'>",
    "{{constructor.constructor('window.pwned=1')()}}",
    "${window.pwned=1}",
    "' onmouseover='window.pwned=1",
    "\u202egnp.exe",
    "__proto__",
)


def _event(payload: str, number: int) -> dict[str, object]:
    """An event that says the payload wherever a line can."""
    return {
        "eventId": f"{payload}#{number}",
        "correlationId": payload,
        "sessionId": payload,
        "traceId": payload,
        "level": "critical",
        "category": payload,
        "action": payload,
        "outcome": payload,
        "user": {"id": payload, "username": payload},
        "entity": {"type": payload, "id": payload, "name": payload},
        "request": {
            "method": payload,
            "path": payload,
            "ip": payload,
            "userAgent": payload,
            "headers": {payload: payload},
        },
        "response": {"headers": {payload: payload}, "bytes": 5},
        "location": {"country": payload, "city": payload},
        "description": payload,
        "metadata": {payload: payload, "__proto__": {"polluted": True}},
        "tags": [payload],
        "riskScore": 90,
        "riskReasons": [{"reason": payload, "points": 5, "detail": payload}],
        "system": {"server": payload, "environment": payload, "version": payload},
        payload: payload,
    }


async def test_hostile_text_in_every_field_is_shown_and_never_run(own_desk: Desk, visitor: Visitor) -> None:
    """Table, summaries, filters, every tab of the dialog and the log lines: text stays text."""
    await own_desk.write([_event(payload, n) for n, payload in enumerate(PAYLOADS)], seconds_ago=30)
    own_desk.station.write(own_desk.file, [payload.encode() for payload in PAYLOADS])
    page = await visitor.open(own_desk.url)
    descriptions = await page.locator("table.events .description").all_inner_texts()
    assert sorted(descriptions) == sorted(PAYLOADS)
    for name in ("Category", "Action"):
        await page.get_by_role("button", name=name, exact=True).click()
    for number, payload in enumerate(PAYLOADS):
        await page.locator("table.events tbody .at-time a").nth(len(PAYLOADS) - 1 - number).click()
        dialog = page.locator("dialog.event")
        await dialog.get_by_role("tab", name="Overview").wait_for()
        assert await dialog.locator("#event-title").inner_text() == payload
        for tab in ("Request", "Metadata", "Raw JSON"):
            await dialog.get_by_role("tab", name=tab).click()
        await page.keyboard.press("Escape")
        await dialog.wait_for(state="detached")
    for payload in PAYLOADS[:3]:
        await page.locator(".panel-users .bar-button", has_text=payload).click()
        await visitor.settled()
        assert await page.locator("table.events tbody tr").count() == 1
        await page.get_by_role("button", name="Clear all").click()
        await visitor.settled()
    await page.get_by_role("link", name="Logs").click()
    await visitor.settled()
    assert PAYLOADS[0] in await page.locator(".lines").inner_text()
    assert await page.evaluate("() => [window.pwned, {}.polluted]") == [None, None]
    assert (
        await page.evaluate("() => document.querySelectorAll('#app script, #app img, #app iframe').length")
        == 0
    )


@pytest.mark.parametrize(
    "query",
    [
        "?search_query=<script>window.pwned=1</script>&level=<img+src=x+onerror=window.pwned=1>",
        "?event=<img src=x onerror=window.pwned=1>&pane=<script>",
        "?tab=logs&log=<svg onload=window.pwned=1>&date=<b>",
        "?category=javascript:window.pwned=1&__proto__=x&constructor=y",
    ],
    ids=["filters", "event", "logs", "names"],
)
async def test_a_hostile_link_runs_nothing(desk: Desk, visitor: Visitor, query: str) -> None:
    """A link that somebody sends is data as well; what the server refuses is told in its part."""
    visitor.expected += ["422", "404"]
    page = await visitor.open(f"{desk.url}{query}")
    assert await page.evaluate("() => window.pwned") is None


async def test_the_recorder_hears_what_the_policy_stops(desk: Desk, visitor: Visitor) -> None:
    """A control: what somebody might inject is refused, and this suite would see it."""
    page = await visitor.open(desk.url)
    visitor.expected += ["Content Security Policy", "violates the following", "requires 'Trusted"]
    refused = await page.evaluate(
        """() => [
          () => document.body.insertAdjacentHTML("beforeend", "<i></i>"),
          () => document.body.setAttribute("onclick", "window.pwned = 1"),
          () => { document.createElement("script").text = "window.pwned = 1"; },
        ].map((attempt) => { try { attempt(); return "let through"; } catch (error) { return error.name; } })"""
    )
    assert refused == ["TypeError"] * 3
    await page.evaluate("() => { new Image().src = 'https://elsewhere.invalid/pixel.png'; }")
    await page.wait_for_function("() => window.violations.some((text) => text.startsWith('img-src'))")
    assert len(await page.evaluate("() => window.violations")) >= 4
    assert await page.evaluate("() => window.pwned") is None
    await page.evaluate("() => { window.violations = []; }")
