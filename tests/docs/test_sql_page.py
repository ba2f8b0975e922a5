"""The statements of docs/sql.md answer, each as it stands there, over an archive that has what they look for."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon import cli
from daemon.command import Exit
from storage.adhoc import Ask, Limits
from storage.committed import committed_views
from storage.spares import SpareOptions, Spares
from tests.support import ROOT

PAGE = (ROOT / "docs" / "sql.md").read_text("utf-8")
EXAMPLES = dict(re.findall(r"^### ([^\n]+)\n\n```sql\n(.*?)```", PAGE, flags=re.DOTALL | re.MULTILINE))
MOST_AT_A_TIME = 2
# All events lie in the three hours before this, on one day (UTC), and within the last 24 hours.
_CLOCK = datetime.now(UTC)
NOW = (
    _CLOCK - timedelta(minutes=5)
    if _CLOCK.hour >= 4
    else _CLOCK.replace(hour=0, minute=0) - timedelta(minutes=10)
)

# What the first row must hold, where the archive below decides it.
FIRST: dict[str, dict[str, Any]] = {
    "Failed log-ins by user, last seven days": {"username": "mallory", "failures": 3, "addresses": 2},
    "Users who were in two countries on one day": {"username": "bob", "countries": ["DE", "JP"]},
    "Response times by path, in percentiles": {"path": "/pay", "requests": 3, "p50": 900},
    "The keys that metadata has": {"key": "browser", "events": 6},
    "A value inside metadata": {"browser": "firefox", "events": 4},
    "A funnel: how far sessions get": {"carts": 3, "payments": 2, "orders": 1},
    "Distinct users a day, from roll-ups": {"users": 4},
    "Requests by network": {"network": "10.0.0.0/24"},
    "Events that applications wrote twice": {"event_id": "twice", "copies": 2},
    "What could not be parsed": {"lines": 1, "example": "not JSON"},
    "What happened to one thing, newest first": {"action": "update", "username": "alice"},
}


def _lines() -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []

    def add(minutes: float, **fields: Any) -> None:
        moment = NOW - timedelta(minutes=minutes)
        base = {"eventId": f"e{len(lines)}", "level": "info", "category": "api", "action": "read"}
        lines.append({**base, "timestamp": moment.isoformat(), "description": "x", **fields})

    for number in range(3):
        add(
            100 - number,
            action="login",
            category="authentication",
            outcome="failure",
            level="error",
            user={"id": 9, "username": "mallory"},
            request={"ip": f"10.0.0.{number % 2}"},
        )
    for country in ("DE", "JP"):
        add(1, user={"id": 2, "username": "bob"}, location={"country": country})
    steps = {"s1": ("/cart", "/pay", "/thanks"), "s2": ("/cart", "/pay"), "s3": ("/cart",), "s4": ("/pay",)}
    for session, paths in steps.items():
        for place, path in enumerate(paths):
            request = {"path": path, "responseTime": 900 if path == "/pay" else 20, "ip": "10.0.0.7"}
            add(50 - place, sessionId=session, request=request, user={"id": 3, "username": "carol"})
    for number in range(6):
        add(2, metadata={"browser": "firefox" if number < 4 else "chrome"})
    for _ in range(2):
        add(3, eventId="twice")
    add(4, entity={"type": "order", "id": "17", "name": "Order"}, action="update", user={"username": "alice"})
    add(3 * 60, description="late")
    return lines


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive in which every example finds something."""
    folder = tmp_path_factory.mktemp("cookbook")
    log = folder / f"app-{NOW:%Y-%m-%d}.log"
    log.write_text("".join(f"{json.dumps(line)}\n" for line in _lines()) + "not JSON\n")
    assert cli.main(["ingest", str(log), "--archive", str(folder / "archive")]) == Exit.OK
    return folder / "archive"


@pytest.fixture(scope="module")
def answers(archive: Path) -> dict[str, list[dict[str, Any]]]:
    """What each example answers."""

    async def all_of_them() -> dict[str, list[dict[str, Any]]]:
        views = committed_views(str(archive))
        options = SpareOptions(children=MOST_AT_A_TIME, waiting=len(EXAMPLES), limits=Limits(128, 1))
        spares = Spares(str(archive), lambda: views, options)
        found = {}

        async def one(name: str, statement: str) -> None:
            async with spares.answer(Ask(statement, form="ndjson", whole=True)) as reply:
                lines = b"".join([piece async for piece in reply.pieces]).splitlines()
            found[name] = [json.loads(line) for line in lines]

        try:
            await asyncio.gather(*(one(*example) for example in EXAMPLES.items()))
        finally:
            await spares.close()
        return found

    return asyncio.run(all_of_them())


def test_there_are_examples_enough() -> None:
    """And every expectation is about one of them."""
    assert len(EXAMPLES) >= 15
    assert set(FIRST) <= set(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_the_page_answers(answers: dict[str, list[dict[str, Any]]], name: str) -> None:
    """It finds what is there to be found."""
    rows = answers[name]
    assert rows
    assert {key: rows[0][key] for key in FIRST.get(name, {})} == FIRST.get(name, {})
