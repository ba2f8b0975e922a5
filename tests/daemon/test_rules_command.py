"""`watchkeep rules`: what works here and what does not, and what would have fired."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support import ROOT

BRUTE = """
title: Many failed logins
id: 0b0c5a52-6f4a-4f8e-8a35-000000000001
name: failed
logsource: {product: watchkeep}
detection: {sel: {action: login, outcome: failure}, condition: sel}
---
title: Brute force
id: 0b0c5a52-6f4a-4f8e-8a35-000000000002
author: Ann
level: high
correlation:
  type: event_count
  rules: [failed]
  group-by: [user.id]
  timespan: 10m
  condition: {gte: 5}
"""
OTHERS = [
    {"title": "other product", "logsource": {"product": "github"}, "detection": {"sel": {"action": "x"}, "condition": "sel"}},
    {"title": "unknown field", "logsource": {"product": "watchkeep"}, "detection": {"sel": {"nobody.has.it": "x"}, "condition": "sel"}},
    {"title": "known field", "logsource": {"product": "watchkeep"}, "detection": {"sel": {"shard": "x"}, "condition": "sel"}},
    {"title": "look-around", "logsource": {"product": "watchkeep"}, "detection": {"sel": {"action|re": "(?=x)"}, "condition": "sel"}},
]  # fmt: skip


def watchkeep(folder: Path, *arguments: str) -> tuple[int, str]:
    command = [
        sys.executable,
        str(ROOT / "watchkeep.py"),
        *arguments,
        "--config",
        str(folder / "config.toml"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False, timeout=120)
    return done.returncode, done.stdout or done.stderr


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """An archive with seven failed logins of one user and four of another."""
    (tmp_path / "config.toml").write_text(
        '[rules]\npack = false\n[[rules.sources]]\nproduct = "gitlab"\nevents = "action:push"\n'
    )
    events = []
    for user, amount in (("eve", 7), ("ann", 4)):
        for number in range(amount):
            event = {
                "action": "login",
                "outcome": "failure",
                "level": "info",
                "user": {"id": user},
                "shard": "a",
            }
            events.append(
                {**event, "timestamp": f"2026-03-01T10:0{number}:00Z", "eventId": f"{user}-{number}"}
            )
    (tmp_path / "app-2026-03-01.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "brute.yml").write_text(BRUTE)
    (tmp_path / "rules" / "others.yml").write_text(yaml.safe_dump_all(OTHERS))
    (tmp_path / "rules" / "notes.txt").write_text("no rule")
    code, said = watchkeep(tmp_path, "ingest", "app-2026-03-01.jsonl")
    assert code == 0, said
    return tmp_path


def test_check_says_of_each_rule_whether_it_works_here(here: Path) -> None:
    """Active, only correlated, of a product nobody named, with fields that no event has, or not to be used at all."""
    code, said = watchkeep(here, "rules", "check", "--json")
    found: dict[str, Any] = json.loads(said)
    assert {rule["title"]: rule["state"] for rule in found["rules"]} == {
        "Many failed logins": "correlated",
        "Brute force": "active",
        "other product": "no source",
        "unknown field": "unknown fields",
        "known field": "active",
        "look-around": "unsupported",
    }
    assert found["reached"] == {"load": 5, "compile": 5, "run": 5}  # whoever they are about
    assert code == 1
    code, said = watchkeep(here, "rules", "check")
    assert "6 rules: " in said
    assert "5 load, 5 compile, 5 run" in said
    assert "no [[rules.sources]] says which events come from github" in said


def test_a_directory_is_summed_up_by_folder(here: Path, tmp_path: Path) -> None:
    """How many rules of each load, compile and run, whoever they are about, and why the others do not."""
    for path, condition in (
        ("web/nginx", "{a: 1}"),
        ("web/nginx", "{a|re: '(?!x)'}"),
        ("cloud/aws/x", "{b: 2}"),
    ):
        folder = tmp_path / "sigma" / path
        folder.mkdir(parents=True, exist_ok=True)
        name = f"rule {len(list(folder.iterdir()))} of {path}"
        (folder / f"{len(list(folder.iterdir()))}.yml").write_text(
            f"title: {name}\nid: {uuid.uuid4()}\nlogsource: {{product: other}}\n"
            f"detection:\n  sel: {condition}\n  condition: sel\n"
        )
    code, said = watchkeep(here, "rules", "check", str(tmp_path / "sigma"), "--summary")
    rows = {tuple(line.split()) for line in said.splitlines()}
    assert {("web/nginx", "2", "1", "1", "1", "1"), ("all", "3", "2", "2", "2", "1")} <= rows, said
    assert "it is no Sigma rule" in said
    assert code == 1


def test_test_says_how_often_a_rule_would_have_fired_and_on_what(here: Path) -> None:
    """Anchors, the alerts they make, the group, and the newest events."""
    code, said = watchkeep(here, "rules", "test", "--hours", "100000", "--rule", "Brute force", "--json")
    assert code == 0, said
    (outcome,) = json.loads(said)["rules"]
    assert (outcome["fired"], outcome["episodes"], outcome["groups"]) == (3, 1, 1)
    assert [example["eventId"] for example in outcome["examples"]] == ["eve-4", "eve-5", "eve-6"]
    assert outcome["examples"][0]["group"] == ["eve"]
    assert outcome["author"] == "Ann"
    code, said = watchkeep(here, "rules", "test", "--hours", "100000")
    assert "Brute force: 2026-03-01T10:04:00Z eve-4 eve" in said


def test_a_mistake_is_named(here: Path) -> None:
    """No such rule, no such folder, a search that is none."""
    code, said = watchkeep(here, "rules", "test", "--rule", "none")
    assert code == 1
    assert "rules check" in said
    code, said = watchkeep(here, "rules", "check", "nowhere")
    assert code == 4
    assert "nowhere" in said
    (here / "config.toml").write_text('[[rules.sources]]\nproduct = "x"\nevents = "timestamp:>-1h"\n')
    code, said = watchkeep(here, "rules", "check")
    assert code == 3
    assert "relative times" in said


def test_rehearse_runs_the_samples_beside_the_rules(here: Path) -> None:
    """Those of our own rules all pass; one that promises too much is told, and ends with a code of its own."""
    sample = {"hit": "a login", "events": [{"event": {"action": "login"}}]}
    wrong = {
        "title": "wrong",
        "logsource": {"product": "watchkeep"},
        "detection": {"sel": {"action": "export"}, "condition": "sel"},
        "samples": [sample, {**sample, "hit": "an export", "events": [{"event": {"action": "export"}}]}],
    }
    (here / "rules" / "wrong.yml").write_text(yaml.safe_dump(wrong))
    code, said = watchkeep(here, "rules", "rehearse")
    assert code == 1
    assert "NOT AS IT MUST" in said
    assert "2 samples, 1 of them not as they must be" in said
    (here / "config.toml").write_text("")
    code, said = watchkeep(here, "rules", "rehearse", "--rule", "mass_delete", "--json")
    assert code == 0, said
    assert json.loads(said)["wrong"] == 0
    assert len(json.loads(said)["samples"]) == 2
