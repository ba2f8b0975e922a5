"""Alerts, rules, channels and profiles in a browser, over rules at work and receivers that answer."""

import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from daemon.outbound.sender import Channel
from storage.keyring import Keyring
from tests.browser.desk import PATIENT, PHONE, WIDE, Visitor, Watched, axe, moment, sample_events
from tests.browser.test_accessible import overflow
from tests.daemon.alerting import Receiver
from tests.web.station import served
from tests.web.watch import Watch
from web.keys import WebOptions

pytestmark = pytest.mark.asyncio(loop_scope="session")

RULES = """
title: Failed logins of one user
id: 5f3f0d2e-6f0c-4d35-9a52-3f1a5d6b9901
description: Somebody guesses.
logsource: {product: watchkeep}
detection:
  sel: {description|startswith: Attempt}
  condition: sel
level: high
tags: [attack.t1110.001]
falsepositives: [A forgotten password]
group: [user.id]
runbook: Ask the user.
---
title: Made for another product
id: 5f3f0d2e-6f0c-4d35-9a52-3f1a5d6b9902
logsource: {product: elsewhere}
detection:
  sel: {outcome: failure}
  condition: sel
"""
RULE_ID = "5f3f0d2e-6f0c-4d35-9a52-3f1a5d6b9901"


@dataclass
class Post:
    """A station with alerts, served; keys for whoever is to be less than its administrator."""

    station: Watched
    watch: Watch
    url: str
    keys: dict[str, str]

    async def fail(self, user: str, amount: int = 3, *, ago: float = 600) -> None:
        """Let logins of a user fail, rules look, and everybody be told."""
        lines = [
            {
                "eventId": f"{user}-{at}",
                "timestamp": moment(self.station.now_us, ago - at),
                "level": "warning",
                "category": "authentication",
                "action": "login",
                "outcome": "failure",
                "user": {"id": user, "username": user.title()},
                "description": f"Attempt {at} of {user}",
                "riskScore": 40,
            }
            for at in range(amount)
        ]
        self.station.write("logins.log", lines)
        await self.watch.look()


@pytest_asyncio.fixture(loop_scope="session")
async def post(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Post]:
    """With the parameter ``keys`` a key is asked for."""
    station = Watched(tmp_path)
    station.now_us = time.time_ns() // 1000
    station.write("shop.log", sample_events(station.now_us)[-80:])
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "rules.yml").write_text(RULES)
    keyring = Keyring()
    roles = ("viewer", "auditor") if getattr(request, "param", "") == "keys" else ()
    keys = {role: keyring.create(role, role, now_us=station.now_us)[1] for role in roles}
    async with Receiver([200]) as good, Receiver([404]) as bad:
        channels = [Channel("ops", "webhook", url=good.url), Channel("pager", "webhook", url=bad.url)]
        watch = Watch(station, rules=[str(tmp_path / "rules")], channels=channels)
        await watch.look()
        options = WebOptions(version="1.2.3")
        async with served(
            station, options, PATIENT, keyring=keyring, detection=watch.detection, telling=watch.teller
        ) as client:
            yield Post(station, watch, str(client.make_url("/")), keys)
        await watch.close()
    station.close()


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


async def clean(page: Page, name: str) -> None:
    """Assert that axe finds nothing and nothing is wider than the screen."""
    assert "\n".join(await axe(page)) == "", name
    assert await overflow(page) == [], name


async def test_an_alert_is_found_read_and_looked_after(post: Post, visitor: Visitor) -> None:
    """From the count in the head to its events, its history and its end; the address is the whole state."""
    await post.fail("eve")
    page = await visitor.open(post.url)
    head = page.get_by_role("link", name="Alerts 1 that nobody looks after")
    await head.click()
    row = page.locator("table.alerts tbody tr")
    await row.get_by_role("link", name="Failed logins of one user").click()
    detail = page.locator(".detail")
    await detail.get_by_role("heading", name="Failed logins of one user").wait_for()
    await visitor.settled()
    text = await detail.inner_text()
    for said in ("Ask the user.", "Somebody guesses.", "A forgotten password", "ATT&CK T1110.001", "3 times"):
        assert said in text
    technique = detail.get_by_role("link", name="ATT&CK T1110.001")
    assert await technique.get_attribute("href") == "https://attack.mitre.org/techniques/T1110/001/"
    assert await technique.get_attribute("rel") == "noopener noreferrer"
    assert await technique.get_attribute("target") == "_blank"
    assert "Told over ops" in text
    assert "Nobody was told over pager" in text
    assert query_of(page.url)["tab"] == "alerts"

    await detail.get_by_label("Comment").fill("asking eve")
    await detail.get_by_role("button", name="Acknowledge").click()
    await expect(detail.locator(".detail-marks")).to_contain_text("Acknowledged")
    await expect(detail.locator(".history")).to_contain_text("Acknowledged by local asking eve")
    await expect(page.locator(".badge.is-urgent")).to_have_count(0)
    before = await detail.inner_text()
    await page.reload()
    await visitor.settled()
    await expect(detail.locator(".evidence")).to_contain_text("Attempt 2 of eve")
    assert await detail.inner_text() == before

    await detail.get_by_role("button", name="Resolve").click()
    await expect(detail.locator(".detail-marks")).to_contain_text("Resolved")
    await page.get_by_role("group", name="State").get_by_role("button", name="Resolved 1").click()
    await expect(row).to_have_count(1)
    await detail.get_by_role("button", name="Open again").click()
    await expect(detail.locator(".history")).to_contain_text("Opened again by local")
    await expect(row).to_have_count(0)

    await detail.get_by_role("button", name="All behind it").click()
    await expect(detail.locator(".evidence li")).to_have_count(3)
    await expect(detail.locator(".evidence")).to_contain_text("fired here")
    await detail.get_by_role("link", name="Attempt 2 of eve").click()
    dialog = page.locator("dialog.event")
    await dialog.get_by_role("heading", name="Attempt 2 of eve").wait_for()
    await page.keyboard.press("Escape")
    await dialog.wait_for(state="detached")
    await detail.get_by_role("link", name="In the list of events").click()
    await page.locator("table.events tbody tr").first.wait_for()
    await visitor.settled()
    assert await page.locator("table.events tbody tr").count() == 3


async def test_a_new_alert_appears_by_itself(post: Post, visitor: Visitor) -> None:
    """Nothing is pressed and no interval is waited for: automatic refreshing is off."""
    page = await visitor.open(f"{post.url}?tab=alerts&refresh=0")
    await page.get_by_text("Nothing needs attention.").wait_for()
    await post.fail("eve")
    await page.locator("table.alerts tbody tr").wait_for()
    await expect(page.locator(".badge.is-urgent")).to_contain_text("1")


async def test_alerts_are_narrowed_by_state_severity_and_words(post: Post, visitor: Visitor) -> None:
    """In the address, so that a reload shows the same."""
    for user in ("eve", "bob"):
        await post.fail(user)
    page = await visitor.open(f"{post.url}?tab=alerts")
    rows = page.locator("table.alerts tbody tr")
    await expect(rows).to_have_count(2)
    await page.get_by_role("searchbox").fill("EVE")
    await page.keyboard.press("Enter")
    await expect(rows).to_have_count(1)
    await page.get_by_role("button", name="Severity").click()
    await page.locator("#severity-menu label", has_text="Critical").click()
    await page.get_by_text("No alert matches these filters.").wait_for()
    await page.reload()
    await page.get_by_text("No alert matches these filters.").wait_for()
    assert query_of(page.url) == {"tab": "alerts", "find": "EVE", "severity": "critical"}
    await page.get_by_role("button", name="Show all alerts").click()
    await expect(rows).to_have_count(2)


@pytest.mark.parametrize("post", ["keys"], indirect=True)
async def test_whoever_may_not_change_something_is_told_why(post: Post, visitor: Visitor) -> None:
    """A viewer sees alerts, with whom they are about masked; the buttons are off and say which role they need."""
    visitor.expected += ["status of 403"]
    await post.fail("eve")
    page = await visitor.context.new_page()
    await page.goto(f"{post.url}?tab=alerts")
    await page.get_by_label("API key").fill(post.keys["viewer"])
    await page.keyboard.press("Enter")
    await page.get_by_role("link", name="Failed logins of one user").click()
    detail = page.locator(".detail")
    button = detail.get_by_role("button", name="Acknowledge")
    await expect(button).to_have_attribute("aria-disabled", "true")
    await expect(detail.locator("#doing-why")).to_have_text(
        "This needs the role auditor; viewer has the role viewer."
    )
    await button.focus()  # it can be reached, so that the reason is heard
    await page.keyboard.press("Enter")
    await expect(detail.locator(".detail-marks")).to_contain_text("Open")
    assert re.search(r"person-[a-z2-7]{10}", await detail.inner_text())
    await page.get_by_role("link", name="Channels").click()
    await page.get_by_text("this needs the role auditor").first.wait_for()
    await page.close()


async def test_a_rule_says_whether_it_works_and_what_it_would_have_done(post: Post, visitor: Visitor) -> None:
    """Its state, its text, and a trial over the archive that a reload makes again."""
    await post.fail("eve", 4)
    await post.fail("bob", 2)
    page = await visitor.open(f"{post.url}?tab=rules")
    first = page.locator("table.rules tbody tr").first
    await expect(first).to_contain_text("Made for another product")
    await expect(first).to_contain_text("No source")
    await expect(first).to_contain_text("elsewhere")
    await page.get_by_role("link", name="Failed logins of one user").click()
    detail = page.locator(".detail")
    await expect(detail.get_by_label("Text of the rule")).to_have_value(RULES)
    await detail.get_by_role("button", name="1 day", exact=True).click()
    await detail.get_by_role("button", name="Try it").click()
    said = "It would have fired 6 times and made 2 alerts"
    await expect(detail.locator(".outcome-said")).to_contain_text(said)
    assert await detail.locator(".small-table tr").all_inner_texts() == [
        "user.id\tFired",
        "eve\t4",
        "bob\t2",
    ]
    assert await detail.locator(".histogram .bar").count() > 0
    assert query_of(page.url)["test"] == "1"
    await page.reload()
    await expect(detail.locator(".outcome-said")).to_contain_text(said)
    await detail.locator(".outcome .row-link").first.click()
    await page.locator("dialog.event").get_by_role("heading", name="Attempt").wait_for()


async def test_a_changed_rule_is_tried_and_a_wrong_one_says_why(post: Post, visitor: Visitor) -> None:
    """Nothing is put in force."""
    visitor.expected.append("status of 422")
    await post.fail("eve")
    page = await visitor.open(f"{post.url}?tab=rules&rule=new")
    detail = page.locator(".detail")
    await detail.get_by_role("button", name="Try it").click()
    await expect(detail.locator(".outcome-said")).to_contain_text(
        re.compile(r"It would have fired \d+ times")
    )
    await detail.get_by_label("Text of the rule").fill("title: [broken")
    await detail.get_by_role("button", name="Try it").click()
    await detail.get_by_role("alert").wait_for()
    assert len(post.watch.detection.rules()) == 2


async def test_an_alert_is_silenced_from_where_it_is_read(post: Post, visitor: Visitor) -> None:
    """The form says what it means before it is in force; its end is one press, and it is listed after it."""
    await post.fail("eve")
    (alert,) = post.watch.detection.alerts()
    page = await visitor.open(f"{post.url}?tab=alerts&alert={alert.id}")
    await page.get_by_role("link", name="Silence").click()
    form = page.get_by_role("form", name="New silence")
    await expect(form).to_contain_text("Means 1 of the alerts that are not over.")
    await expect(form.get_by_role("button", name="Silence")).to_have_attribute("aria-disabled", "true")
    await page.reload()
    await expect(form).to_contain_text("Means 1 of the alerts that are not over.")
    await form.get_by_label("Why").fill("a test of ours")
    await form.get_by_role("button", name="1 h").click()
    await form.get_by_role("button", name="Silence").click()
    silence = page.locator(".silence")
    await expect(silence).to_contain_text("In force")
    await expect(silence).to_contain_text("By local")
    (made,) = post.watch.teller.silences()["silences"]
    assert made["ends_us"] - made["starts_us"] == 3600 * 1_000_000
    await silence.get_by_role("button", name="End it now").click()
    await expect(silence).to_contain_text("Ended")


async def test_channels_say_how_they_do_and_dead_letters_are_sent_again(post: Post, visitor: Visitor) -> None:
    """What a receiver answered is shown, in a test and for what it did not take."""
    await post.fail("eve")
    page = await visitor.open(f"{post.url}?tab=channels")
    ops, pager = page.locator(".channel").nth(0), page.locator(".channel").nth(1)
    await expect(ops).to_contain_text("Works")
    await expect(pager).to_contain_text("Failing")
    await ops.get_by_role("button", name="Send a test").click()
    await expect(ops).to_contain_text("It took the message")
    await pager.get_by_role("button", name="Send a test").click()
    await expect(pager).to_contain_text("It did not take the message: status 404")
    box = page.locator(".panel-outbox")
    await expect(box).to_contain_text("1 message was given up")
    await expect(box).to_contain_text("Failed logins of one user")
    await box.get_by_role("button", name="Throw them away").click()
    await expect(box).to_contain_text("nothing was given up")


async def test_a_name_leads_to_what_is_known_of_it(post: Post, visitor: Visitor) -> None:
    """From a row to the user's profile: figures of the API, alerts about them, and back to their events."""
    await post.fail("eve")
    page = await visitor.open(post.url)
    await page.locator("table.events .plain-link", has_text="Eve").first.click()
    await page.get_by_role("heading", name="Eve").wait_for()
    await visitor.settled()
    assert query_of(page.url) == {"tab": "profile", "of": "user/eve"}
    answer = await page.evaluate("() => fetch('api/v1/users/eve').then((r) => r.json()).then((a) => a.data)")
    assert await page.locator(".profile-page .card .figure").first.inner_text() == str(
        answer["totals"]["events"]
    )
    await expect(page.locator(".panel-about")).to_contain_text("Failed logins of one user")
    for part in ("risk", "activity"):
        assert await page.locator(f".panel-{part} .bar").count() > 0
    assert await page.locator(".heat:not(.is-none)").count() > 0
    await page.get_by_role("button", name="7 days").click()
    await visitor.settled()
    assert query_of(page.url)["days"] == "7"
    await page.get_by_role("link", name="All its events").click()
    await visitor.settled()
    assert query_of(page.url)["user_id"] == "eve"
    await page.goto(f"{post.url}?tab=profile&of=entity/order/399")
    await page.get_by_role("heading", name="399").wait_for()


async def test_who_is_riskiest_stands_beside_the_alerts(post: Post, visitor: Visitor) -> None:
    """With the score of the API; the name leads to what makes it so."""
    await post.fail("eve")
    post.station.now_us = time.time_ns() // 1000  # the alert's own event has the time of this machine
    page = await visitor.open(f"{post.url}?tab=alerts")
    answer = await page.evaluate("() => fetch('api/v1/risk?top=8').then((r) => r.json())")
    rows = page.locator(".panel-risky-users .risky")
    shown = [text.split() for text in await rows.all_inner_texts()]
    assert shown == [
        [user["username"], str(round(user["riskScore"])), user["riskBand"]] for user in answer["riskyUsers"]
    ]
    await rows.get_by_role("link", name="Eve").click()
    await page.get_by_role("heading", name="Eve").wait_for()
    await visitor.settled()
    reasons = page.locator(".panel-reasons")
    await reasons.get_by_role("link", name="Failed logins of one user").click()
    await page.locator(".detail").get_by_role("heading", name="Failed logins of one user").wait_for()


async def test_names_are_data_on_every_page(post: Post, visitor: Visitor) -> None:
    """Quotes, backslashes and markup in a name are shown as they are, found, silenced, and lead to a profile."""
    name = 'a"b\\c <img src=x onerror=alert(1)> & 100%/é'
    await post.fail(name)
    (alert,) = post.watch.detection.alerts()
    page = await visitor.open(f"{post.url}?tab=alerts&alert={alert.id}")
    detail = page.locator(".detail")
    await expect(detail.locator(".group-part a").first).to_have_text(name)
    await expect(detail.locator(".evidence")).to_contain_text(f"Attempt 2 of {name}")
    await detail.get_by_role("link", name="Events around it").click()
    await visitor.settled()
    await expect(page.locator("table.events tbody tr")).to_have_count(3)
    await page.goto(f"{post.url}?tab=alerts&alert={alert.id}")
    await page.get_by_role("link", name="Silence").click()
    await expect(page.get_by_role("form", name="New silence")).to_contain_text("Means 1 of the alerts")
    await page.goto(f"{post.url}?tab=alerts&alert={alert.id}")
    await detail.locator(".group-part a").first.click()
    await expect(page.locator("#profile-title")).to_have_text(name.title())
    assert await page.locator("img").count() == 0


async def test_somebody_who_was_never_seen_has_no_profile(post: Post, visitor: Visitor) -> None:
    """It is said; the page stays."""
    visitor.expected.append("status of 404")
    page = await visitor.open(f"{post.url}?tab=profile&of=user/nobody")
    await page.get_by_text("no event names it").wait_for()


@pytest.mark.parametrize("screen", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_is_accessible(
    post: Post, browser: Browser, scheme: Literal["light", "dark"], screen: tuple[int, int]
) -> None:
    """Lists and details, forms and results: no violation, nothing wider than the screen."""
    await post.fail("eve")
    (alert,) = post.watch.detection.alerts()
    visitor = await Visitor.enter(browser, size=screen, scheme=scheme)
    for query in (
        "?tab=alerts",
        f"?tab=alerts&alert={alert.id}",
        "?tab=rules",
        f"?tab=rules&rule={RULE_ID}&test=1",
        "?tab=channels&silence=level%3D%22high%22",
        "?tab=profile&of=user/eve",
    ):
        page = await visitor.open(post.url + query)
        await clean(page, query)
    await visitor.leave()
