"""Alerts over HTTP, on the command line and across restarts, and rules that change while the daemon runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.daemon.test_detection import FAST, LIMIT, TITLE, failures
from tests.daemon.test_service import PATIENCE_SECONDS, Process, serving
from tests.support import ROOT

RULE = """
title: A word nobody says
logsource: {product: watchkeep}
detection:
  sel: {description: %s}
  condition: sel
level: high
group: [user.id]
"""


@pytest.fixture
def alerted(tmp_path: Path) -> Iterator[Process]:
    """A daemon with one alert."""
    (tmp_path / "rules").mkdir()
    with serving(tmp_path, **FAST) as it:
        failures(it, "eve", LIMIT + 2)
        until(lambda: found(it))
        yield it


def found(it: Process, query: str = "") -> list[dict[str, Any]]:
    return [alert for alert in it.get(f"/alerts{query}")["data"] if alert["title"] == TITLE]


def until(ask: Callable[[], Any]) -> Any:
    ends = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < ends:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.1)
    raise AssertionError("it never came")


def post(it: Process, path: str, body: dict[str, Any] | None = None, **headers: str) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    kind = {} if body is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(it.url() + path, data, {**kind, **headers}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def command(it: Process, *words: str) -> Any:
    asked = [sys.executable, str(ROOT / "watchkeep.py"), *words, "--archive", str(it.archive), "--json"]
    done = subprocess.run(asked, capture_output=True, text=True, cwd=it.folder, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_alert_is_shown_acknowledged_and_still_so_after_a_restart(alerted: Process) -> None:
    """With who did it, as events of the archive; and its evidence are events that can be asked for."""
    (alert,) = found(alerted)
    assert (alert["state"], alert["count"], alert["level"]) == ("open", 3, "medium")
    assert alert["group"] == [{"field": "user.id", "value": "eve"}]
    assert alert["evidence"] == [f"eve-{at}" for at in range(LIMIT - 1, LIMIT + 2)]
    assert alert["techniques"] == ["T1110.001"]
    assert alert["runbook"]

    status, answer = post(alerted, f"/alerts/{alert['id']}/acknowledge", {"comment": "asking eve"})
    assert (status, answer["data"]["state"], answer["data"]["by"]) == (200, "acknowledged", "local")
    assert found(alerted, "?state=open") == []
    assert alerted.get(f"/alerts/{alert['id']}")["data"]["state"] == "acknowledged"
    told = until(
        lambda: [
            e for e in alerted.get("/events?internal=only")["data"] if e["action"] == "alert_acknowledged"
        ]
    )
    assert told[0]["user"]["id"] == "local"
    assert told[0]["metadata"]["alert"]["comment"] == "asking eve"
    assert told[0]["entity"]["id"] == alert["id"]

    (fired,) = [e for e in alerted.get("/detections")["data"] if e["entity"]["id"] == alert["id"]]
    assert fired["eventId"] == f"alert-{alert['id']}-1"

    assert alerted.stop() == 0
    alerted.log.unlink()  # which tells the address
    with serving(alerted.folder, **FAST) as again:
        (kept,) = until(lambda: found(again))
        assert (kept["id"], kept["state"], kept["by"]) == (alert["id"], "acknowledged", "local")
        failures(again, "eve", 1, first=LIMIT + 2)
        until(lambda: found(again)[0]["count"] == 4)
        resolved = command(again, "alerts", "resolve", alert["id"][:8])
        assert resolved["state"] == "resolved"
        assert [a["id"] for a in command(again, "alerts", "list", "--state", "resolved")["alerts"]] == [
            alert["id"]
        ]
        assert again.get("/rules")["data"]


def test_who_may_not_change_alerts_is_refused_and_a_wrong_id_is_told(alerted: Process) -> None:
    """Another site, another host, an alert that is not there."""
    (alert,) = found(alerted)
    path = f"/alerts/{alert['id']}/resolve"
    assert post(alerted, path, None, **{"Sec-Fetch-Site": "cross-site"})[0] == 403
    assert post(alerted, path, Host="example.org")[0] == 421
    assert post(alerted, "/alerts/nothing/resolve")[0] == 404
    assert found(alerted)[0]["state"] == "open"
    assert post(alerted, path)[1]["data"]["state"] == "resolved"


def test_rules_are_tried_and_taken_up_while_the_daemon_runs(alerted: Process) -> None:
    """What a rule would have done; one that cannot be used is shown and stops nothing."""
    tried = {"rule": RULE % "'x'"}
    status, answer = post(alerted, "/rules/test?start_date=2026-03-01", tried)
    assert (status, answer["data"][0]["fired"]) == (200, 0)
    lax = (
        "title: any\nlogsource: {product: watchkeep}\ndetection:\n  sel: {action: login}\n  condition: sel\n"
    )
    answer = post(alerted, "/rules/test?start_date=2026-03-01", {"rule": lax})[1]
    assert (answer["data"][0]["fired"], answer["data"][0]["episodes"]) == (LIMIT + 2, 1)
    status, answer = post(alerted, "/rules/test", {"rule": "title: [broken"})
    assert status == 422

    rules = alerted.folder / "rules"
    (rules / "good.yml").write_text(RULE % "xyzzy")
    (rules / "bad.yml").write_text("title: [broken")
    alerted.process.send_signal(1)  # SIGHUP
    until(lambda: [r for r in alerted.get("/rules")["data"] if r["title"] == "A word nobody says"])
    assert [rule["state"] for rule in alerted.get("/rules")["data"]].count("unsupported") == 1
    event = {"timestamp": "2026-03-01T12:00:00Z", "description": "xyzzy", "user": {"id": "bob"}}
    with (alerted.logs / "app-2026-03-01.jsonl").open("ab") as file:
        file.write(json.dumps(event).encode() + b"\n")
    (alert,) = until(lambda: [a for a in alerted.get("/alerts?level=high")["data"] if a["title"] != TITLE])
    assert alert["group"] == [{"field": "user.id", "value": "bob"}]
