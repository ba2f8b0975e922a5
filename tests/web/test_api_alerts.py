"""Alerts, rules, silences and channels over HTTP: real rules over real events, real receivers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient

from daemon.outbound.ownalerts import QUIET
from daemon.outbound.sender import Channel
from parsers.sigma.alert import Alert, AlertChange
from storage.keyring import Keyring
from tests.daemon.alerting import Receiver
from tests.web.station import NOW_US, Station, event, served
from tests.web.watch import Watch

HOUR_US = 3_600_000_000
RULE = """
title: Failed logins
id: 5f3f0d2e-6f0c-4d35-9a52-3f1a5d6b9901
description: Somebody guesses.
logsource: {product: watchkeep}
detection:
  sel: {outcome: failure}
  condition: sel
level: high
tags: [attack.t1110.001]
falsepositives: [A forgotten password]
group: [user.id]
runbook: Ask the user.
suppress: 10m
---
title: Of another product
id: 5f3f0d2e-6f0c-4d35-9a52-3f1a5d6b9902
logsource: {product: elsewhere}
detection:
  sel: {outcome: failure}
  condition: sel
"""
RULE_ID = "5f3f0d2e-6f0c-4d35-9a52-3f1a5d6b9901"
JSON = {"Content-Type": "application/json"}


@dataclass
class Desk:
    """A served station with rules and two channels: one that takes everything and one that takes nothing."""

    station: Station
    watch: Watch
    client: TestClient
    keys: dict[str, str]

    async def ask(self, path: str, *, role: str = "admin", body: Any = None, post: bool = False) -> Any:
        """Ask as a role, and return status and answer."""
        method = "POST" if post or body is not None else "GET"
        headers = {"X-API-Key": self.keys[role]}
        async with self.client.request(method, f"/api/v1{path}", json=body, headers=headers) as response:
            return response.status, await response.json(content_type=None)

    async def get(self, path: str, *, role: str = "admin") -> Any:
        """Return the answer of a question that must be answered."""
        status, answer = await self.ask(path, role=role)
        assert status == 200, answer
        return answer

    async def fail(self, user: str, amount: int = 3) -> None:
        """Let logins of a user fail, and rules look at them."""
        self.station.write(
            "app-2026-06-01.log",
            [
                event(
                    eventId=f"{user[:1]}-{at}",
                    outcome="failure",
                    user={"id": user, "username": user},
                    timestamp=f"2026-06-01T11:{at:02}:00Z",
                )
                for at in range(amount)
            ],
        )
        await self.watch.look()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    station = Station(tmp_path)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "one.yml").write_text(RULE)
    keyring = Keyring()
    keys = {role: keyring.create(role, role, now_us=NOW_US)[1] for role in ("viewer", "auditor", "admin")}
    async with Receiver([200]) as good, Receiver([404]) as bad:
        channels = [Channel("good", "webhook", url=good.url), Channel("bad", "webhook", url=bad.url)]
        watch = Watch(station, rules=[str(tmp_path / "rules")], channels=channels)
        await watch.look()
        async with served(
            station, keyring=keyring, detection=watch.detection, telling=watch.teller
        ) as client:
            yield Desk(station, watch, client, keys)
        await watch.close()
    station.close()


async def test_an_alert_says_what_it_is_what_became_of_it_and_who_was_told(desk: Desk) -> None:
    """What the rule says of itself, each change with who made it and why, and each message with what came back."""
    await desk.fail("eve")
    (alert,) = (await desk.get("/alerts"))["data"]
    assert (alert["state"], alert["count"], alert["risk"]) == ("open", 3, 73)
    assert alert["false_positives"] == ["A forgotten password"]
    assert alert["runbook"] == "Ask the user."
    path = f"/alerts/{alert['id']}"
    for word, comment in (("acknowledge", "asking eve"), ("resolve", "it was she"), ("reopen", "it was not")):
        status, answer = await desk.ask(f"{path}/{word}", body={"comment": comment})
        assert (status, answer["data"]["comment"]) == (200, comment)
    assert (await desk.get(path))["data"]["state"] == "open"
    await desk.watch.look()

    found = await desk.get(path)
    told = [(change["change"], change["comment"], change["by"] is None) for change in found["history"]]
    assert told == [
        ("reopened", "it was not", False),
        ("resolved", "it was she", False),
        ("acknowledged", "asking eve", False),
        ("opened", "", True),
    ]
    assert found["history"][0]["by"].startswith("key:")
    assert {(one["channel"], one["ok"]) for one in found["told"]} == {("good", True), ("bad", False)}
    assert all("404" in one["answer"] for one in found["told"] if not one["ok"])
    assert all(one["alerts"] == [alert["id"]] for one in found["told"])


async def test_what_somebody_opened_again_only_a_person_ends(desk: Desk) -> None:
    """However quiet it is: the group was quiet long before, or it would not have been over."""
    await desk.fail("eve")
    (alert,) = (await desk.get("/alerts"))["data"]
    desk.station.now_us += HOUR_US
    desk.watch.detection.cases._resolved_at = 0.0
    await desk.watch.look()
    path = f"/alerts/{alert['id']}"
    assert (await desk.get(path))["data"]["state"] == "resolved"
    assert (await desk.ask(f"{path}/reopen", post=True))[1]["data"]["state"] == "open"
    assert (await desk.ask(f"{path}/acknowledge", post=True))[1]["data"]["state"] == "acknowledged"
    desk.station.now_us += 24 * HOUR_US
    desk.watch.detection.cases._resolved_at = 0.0
    await desk.watch.look()
    assert (await desk.get(path))["data"]["state"] == "acknowledged"
    assert (await desk.ask(f"{path}/resolve", post=True))[1]["data"]["state"] == "resolved"


async def test_alerts_are_narrowed_and_their_states_counted(desk: Desk) -> None:
    """By state, level, rule and words; the counts are of what the other filters let through."""
    for user in ("eve", "bob", "ann"):
        await desk.fail(user)
    one = (await desk.get("/alerts?search_query=EVE"))["data"]
    assert [alert["group"][0]["value"] for alert in one] == ["eve"]
    await desk.ask(f"/alerts/{one[0]['id']}/resolve", post=True)
    found = await desk.get("/alerts?state=open&level=high")
    assert (found["total"], found["states"]) == (2, {"open": 2, "acknowledged": 0, "resolved": 1})
    assert (await desk.get("/alerts?rule=another"))["total"] == 0
    assert (await desk.get("/status"))["detection"]["new_alerts"] == 2
    first = await desk.get("/alerts?limit=2")
    second = await desk.get(f"/alerts?limit=2&cursor={first['next']}")
    ids = [alert["id"] for alert in (*first["data"], *second["data"])]
    assert len(set(ids)) == 3
    assert second["next"] is None


async def test_a_viewer_sees_alerts_masked_and_changes_nothing(desk: Desk) -> None:
    """Whom an alert is about is the pseudonym that events show; finding by the name finds nothing."""
    await desk.fail("eve-1984")
    (plain,) = (await desk.get("/alerts"))["data"]
    await desk.ask(f"/alerts/{plain['id']}/acknowledge", body={"comment": "asked eve-1984"})
    (row,) = (await desk.get("/events?limit=1", role="viewer"))["data"]
    (alert,) = (await desk.get("/alerts", role="viewer"))["data"]
    assert alert["group"] == [{"field": "user.id", "value": row["user"]["id"]}]
    found = await desk.get(f"/alerts/{alert['id']}", role="viewer")
    assert "eve-1984" not in str(found)
    assert [change["change"] for change in found["history"]] == ["acknowledged", "opened"]
    assert (await desk.get("/alerts?search_query=eve", role="viewer"))["total"] == 0
    status, answer = await desk.ask(f"/alerts/{alert['id']}/resolve", role="viewer", post=True)
    assert (status, "needs the role auditor" in answer["detail"]) == (403, True)


async def test_rules_say_what_they_are_and_what_keeps_them_from_working(desk: Desk) -> None:
    """With their text, their alerts, and how often they fired."""
    await desk.fail("eve")
    rules = {rule["title"]: rule for rule in (await desk.get("/rules", role="viewer"))["data"]}
    works, not_here = rules["Failed logins"], rules["Of another product"]
    assert (works["state"], works["fired"], works["alerts"], works["open_alerts"]) == ("active", 3, 1, 1)
    assert works["group_by"] == ["user.id"]
    assert not_here["state"] == "no source"
    assert "elsewhere" in not_here["why"]
    assert (await desk.get(f"/rules/{RULE_ID}"))["data"]["text"] == RULE
    assert (await desk.ask("/rules/nothing"))[0] == 404
    assert (await desk.ask(f"/rules/{RULE_ID}", role="viewer"))[0] == 403


async def test_a_rule_in_force_is_tried_by_its_id(desk: Desk) -> None:
    """As if it had been sent: how often, when, and about whom; one that cannot work says why."""
    await desk.fail("eve", 4)
    await desk.fail("bob", 2)
    body = {"id": RULE_ID}
    status, answer = await desk.ask("/rules/test?start_date=2026-06-01T00:00:00Z", body=body)
    (outcome,) = answer["data"]
    assert (status, outcome["fired"]) == (200, 6)
    assert outcome["top"] == [{"group": ["eve"], "fired": 4}, {"group": ["bob"], "fired": 2}]
    assert outcome["group_by"] == ["user.id"]
    series = outcome["series"]
    assert sum(bucket["fired"] for bucket in series) == 6
    assert [bucket["start"] for bucket in series] == sorted(bucket["start"] for bucket in series)
    assert outcome["series_seconds"] * len(series) >= 12 * 3600
    sent = await desk.ask(
        "/rules/test?start_date=2026-06-01T00:00:00Z", body={"rule": RULE.split("---", maxsplit=1)[0]}
    )
    assert {**sent[1]["data"][0], "seconds": 0} == {**outcome, "seconds": 0}
    ages = await desk.ask("/rules/test?start_date=0001-01-01&end_date=9999-12-31", body=body)
    assert sum(bucket["fired"] for bucket in ages[1]["data"][0]["series"]) == 6
    other = RULE_ID[:-1] + "2"
    status, answer = await desk.ask("/rules/test", body={"id": other})
    assert (status, "elsewhere" in answer["detail"]) == (422, True)
    assert (await desk.ask("/rules/test", body={"id": "nothing"}))[0] == 404
    status, answer = await desk.ask("/rules/test?start_date=2026-06-02&end_date=2026-06-01", body=body)
    assert (status, answer["errors"][0]["loc"]) == (422, ["query", "start_date"])
    for wrong in ({}, {"id": RULE_ID, "rule": RULE}):
        assert (await desk.ask("/rules/test", body=wrong))[0] == 422


async def test_a_silence_says_what_it_means_and_mutes_it_until_it_ends(desk: Desk) -> None:
    """First tried, then in force with who made it, then ended; only an administrator may."""
    await desk.fail("eve")
    (alert,) = (await desk.get("/alerts"))["data"]
    wanted = {"matchers": ['user.id="eve"'], "comment": "a test of ours", "seconds": 3600}
    status, answer = await desk.ask("/silences?dry_run=true", body=wanted)
    assert (status, answer["data"]["alerts"]) == (200, [alert["id"]])
    assert (await desk.get("/silences"))["data"] == []

    status, answer = await desk.ask("/silences", body=wanted)
    made = answer["data"]
    assert (status, made["state"], made["alerts"]) == (200, "in force", [alert["id"]])
    assert made["author"].startswith("key:")
    assert [one["id"] for one in (await desk.get("/silences", role="auditor"))["data"]] == [made["id"]]
    status, answer = await desk.ask(f"/silences/{made['id']}/expire", post=True)
    assert (status, answer["data"]["state"]) == (200, "ended")
    assert (await desk.ask(f"/silences/{made['id']}/expire", post=True))[0] == 404
    own = (await desk.get("/events?internal=only&entity_type=silence"))["data"]
    assert [one["action"] for one in own] == ["delete", "create"]

    for body in (
        {**wanted, "matchers": ["what is this"]},
        {**wanted, "matchers": []},
        {**wanted, "comment": ""},
        {**wanted, "seconds": 0},
        {**wanted, "starts": "soon"},
    ):
        assert (await desk.ask("/silences", body=body))[0] == 422, body
    assert (await desk.ask("/silences", role="auditor", body=wanted))[0] == 403
    assert (await desk.ask("/silences", role="viewer"))[0] == 403


async def test_channels_say_how_they_do_and_are_tested(desk: Desk) -> None:
    """What a receiver says comes back; what nobody took is a dead letter, sent again or thrown away."""
    await desk.fail("eve")
    channels = {one["name"]: one for one in (await desk.get("/channels", role="auditor"))["data"]}
    assert channels["good"]["last_sent"] is not None
    assert "404" in channels["bad"]["last_error"]
    assert channels["good"]["routes"] == [{"match": [], "group_by": ["rule"]}]
    assert "127.0.0.1" not in str(channels)
    assert (await desk.ask("/channels/good/test", post=True))[1]["data"]["ok"] is True
    status, answer = await desk.ask("/channels/bad/test", post=True)
    assert (status, answer["data"]["ok"]) == (200, False)
    assert (await desk.ask("/channels/none/test", post=True))[0] == 404
    assert (await desk.ask("/channels/good/test", role="auditor", post=True))[0] == 403

    outbox = (await desk.get("/outbox", role="auditor"))["data"]
    assert [(one["channel"], one["alerts"]) for one in outbox["dead"]] == [("bad", ["Failed logins"])]
    assert {one["channel"] for one in outbox["told"]} == {"good", "bad"}
    assert (await desk.ask("/outbox/retry", post=True))[1]["data"]["changed"] == 1
    await desk.watch.look()
    assert (await desk.get("/outbox"))["data"]["dead_ever"] == 2
    assert (await desk.ask("/outbox/discard", post=True))[1]["data"]["changed"] == 1
    assert (await desk.get("/outbox"))["data"]["dead"] == []
    own = (await desk.get("/events?internal=only&q=entity.type:(outbox OR channel)"))["data"]
    assert [(one["entity"]["type"], one["action"], one["outcome"]) for one in own] == [
        ("outbox", "delete", "success"),
        ("outbox", "update", "success"),
        ("channel", "system_event", "failure"),
        ("channel", "system_event", "success"),
    ]
    assert all(one["user"]["username"].startswith("key:") for one in own)


async def test_where_nobody_is_told_that_is_said(client: TestClient) -> None:
    """501 with the reason, as where no rules look."""
    for path, code in (
        ("/channels", "telling-off"),
        ("/silences", "telling-off"),
        ("/alerts", "detection-off"),
    ):
        async with client.get(f"/api/v1{path}") as response:
            answer = await response.json(content_type=None)
            assert (response.status, answer["type"].rpartition(":")[2]) == (501, code)


GUESSED = """
title: failed
name: failed
logsource: {product: watchkeep}
detection: {sel: {outcome: failure}, condition: sel}
---
title: worked
name: worked
logsource: {product: watchkeep}
detection: {sel: {outcome: success}, condition: sel}
---
title: many
name: many
correlation: {type: event_count, rules: [failed], group-by: [user.id], timespan: 10m, condition: {gte: 3}}
---
title: Guessed
id: 5f3f0d2e-6f0c-4d35-9a52-3f1a5d6b9903
correlation: {type: temporal_ordered, rules: [many, worked], group-by: [user.id], timespan: 20m}
"""


async def test_an_alert_names_exactly_the_events_because_of_which_its_rule_fired(desk: Desk) -> None:
    """Of a correlation of correlations the failures in their windows, and neither older ones nor those of others."""
    (desk.station.logs.parent / "rules" / "two.yml").write_text(GUESSED)
    desk.watch.detection.reload()
    await desk.fail("eve", 6)
    await desk.fail("bob", 4)
    for number, (minute, outcome) in enumerate([(20, "failure"), (21, "success"), (50, "success")]):
        line = event(
            eventId=f"later-{number}",
            outcome=outcome,
            user={"id": "eve", "username": "eve"},
            timestamp=f"2026-06-01T11:{minute}:00Z",
        )
        desk.station.write("app-2026-06-01.log", [line])
    desk.station.archive.commit()
    await desk.watch.look()
    by_title = {
        (alert["title"], alert["group"][0]["value"]): alert for alert in (await desk.get("/alerts"))["data"]
    }

    found = (await desk.get(f"/alerts/{by_title['Guessed', 'eve']['id']}/events"))["data"]
    # The failures at 11:00 and 11:01 lie before the twenty minutes, but in the window of the third one, that is in it.
    assert [(row["eventId"], row["fired"]) for row in found] == [
        *((f"e-{at}", False) for at in range(6)),
        ("later-1", True),
    ]
    assert {row["eventId"]: row["rules"] for row in found}["later-1"] == ["worked"]
    plain = (await desk.get(f"/alerts/{by_title['Failed logins', 'bob']['id']}/events", role="viewer"))[
        "data"
    ]
    assert [(row["eventId"], row["fired"]) for row in plain] == [(f"b-{at}", True) for at in range(4)]
    assert (await desk.ask("/alerts/nothing/events"))[0] == 404


async def test_the_daemons_own_alerts_are_in_the_list_and_are_looked_after(desk: Desk) -> None:
    """Beside those of rules, with their history; and who asks for the events behind one is told that no rule made it."""
    group = (("source", "app*"),)
    own = Alert(
        "own-1", QUIET, "A source fell silent", "high", group, "open", NOW_US, NOW_US, 1, changed_us=NOW_US
    )
    await desk.fail("eve")
    await desk.watch.teller.accept([AlertChange(own, "opened", 1)])
    listed = await desk.get("/alerts")
    assert {row["title"] for row in listed["data"]} == {"A source fell silent", "Failed logins"}
    status, answer = await desk.ask("/alerts/own-1/acknowledge", body={"comment": "on it"})
    assert (status, answer["data"]["state"]) == (200, "acknowledged")
    found = await desk.get("/alerts/own-1")
    assert [(one["change"], one["comment"]) for one in found["history"]] == [("acknowledged", "on it")]
    status, answer = await desk.ask("/alerts/own-1/events")
    assert status == 404
    status, _ = await desk.ask("/alerts/own-1/resolve", body={}, role="viewer")
    assert status == 403
    assert (await desk.get("/alerts?state=acknowledged", role="viewer"))["total"] == 1
