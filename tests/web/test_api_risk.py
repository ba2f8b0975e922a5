"""`/risk`, and the risk in profiles: the definition by hand over the same events and alerts, whoever asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
from aiohttp.test_utils import TestClient

from daemon.alerting import event_of
from parsers.batch import Chunk, Parsed
from parsers.entityrisk import MOST_COUNTED
from parsers.points import Points
from parsers.risk import Scoring
from parsers.sigma.alert import ChangeKind
from parsers.sigma.episodes import Episode
from parsers.sigma.rule import SCORES, Level
from storage.filters import Term
from storage.queries import Queries
from storage.query import Filter, Scope, StatisticsQuery
from storage.transform import Transformer
from tests.web.station import NOW_US, Station, event, served

DAY_US = 86_400_000_000
MOST = sum(100 / i**1.5 for i in range(1, MOST_COUNTED + 1))


def risk(points: list[int]) -> float:
    """The definition, rounded as shown."""
    return round(
        float(100 * sum(p / i**1.5 for i, p in enumerate(sorted(points, reverse=True), 1)) / MOST), 1
    )


def alert(
    station: Station,
    identity: str,
    level: Level,
    groups: dict[str, str],
    kind: ChangeKind = "opened",
    by: str = "",
    at_us: int = NOW_US - DAY_US,
) -> None:
    """Let the daemon's own log tell of an alert."""
    about = {
        "title": f"Rule {identity}",
        "level": level,
        "group_by": list(groups),
        "author": "",
        "license": "",
        "references": [],
        "techniques": [],
        "runbook": "",
        "description": "",
    }
    state: Any = {"resolved": "resolved", "acknowledged": "acknowledged"}.get(kind, "open")
    episode = Episode(
        identity, "r", tuple(groups.values()), about, 3_600_000_000, at_us, at_us, state=state, by=by, count=1
    )
    line = event_of(episode, kind)
    station.write("self.jsonl", [line | {"timestamp": "2026-05-31T12:00:00Z"}], internal=True)


def lines(station: Station) -> list[dict[str, Any]]:
    """Write events of three users from some addresses: sealed, live, hot; and one that is too old to count."""
    users = [{"id": "1", "username": "ann"}, {"username": "bob"}, {"id": "3", "username": "eve"}]
    rows = [
        event(
            eventId=f"e-{n}",
            timestamp=f"2026-05-{4 + n % 27:02d}T{n % 24:02d}:30:00Z",
            user=users[n % 3],
            entity={"type": "invoice", "id": str(n % 5)},
            request={"ip": f"10.0.0.{n % 7}"},
            riskScore=(n * 37) % 101,
        )
        for n in range(120)
    ]
    rows.append(event(eventId="old", timestamp="2026-03-01T00:00:00Z", user=users[0], riskScore=100))
    station.write("app.log", rows[:50])
    station.archive.commit()
    station.archive.seal()
    station.write("app.log", rows[50:90])
    station.archive.commit()
    station.write("app.log", rows[90:])
    return rows[:-1]


class Scored:
    """The station's parser, with the scores and reasons that the daemon gives what it parsed."""

    def __init__(self, transformer: Transformer) -> None:
        self._transformer = transformer
        self._scoring = Scoring(Points())

    def parse(self, chunks: Sequence[Chunk]) -> Parsed:
        parsed = self._transformer.parse(chunks)
        read_us = np.full(parsed.events.num_rows, NOW_US, np.int64)
        return replace(parsed, events=self._scoring.score(parsed.events, read_us))

    def close(self) -> None:
        self._transformer.close()


async def json_of(client: TestClient, address: str) -> Any:
    async with client.get(address) as response:
        assert response.status == 200, await response.text()
        return await response.json()


def points_of(rows: list[dict[str, Any]], **wanted: Any) -> list[int]:
    return [
        row["riskScore"]
        for row in rows
        if row["riskScore"] >= 50 and all(row[name] == value for name, value in wanted.items())
    ]


async def test_the_riskiest_are_those_of_the_definition(station: Station, client: TestClient) -> None:
    """Events of thirty days from sealed, live and hot rows, and alerts; what a person resolved is none."""
    rows = lines(station)
    alert(station, "a1", "high", {"user.id": "1"})
    alert(station, "a2", "critical", {"user.name": "bob"})
    alert(station, "a3", "medium", {"request.ip": "10.0.0.3", "user.id": "1"})
    alert(station, "a4", "critical", {"user.id": "3"})
    alert(station, "a4", "critical", {"user.id": "3"}, "resolved", by="ops")
    alert(station, "a5", "low", {"user.id": "3"}, "resolved")  # over by itself: it happened all the same
    found = await json_of(client, "/risk")
    extra = {"ann": ["high", "medium"], "bob": ["critical"], "eve": ["low"]}
    expected = {
        name: risk(
            [SCORES[level] for level in extra[name]]
            + [row["riskScore"] for row in rows if row["riskScore"] >= 50 and row["user"]["username"] == name]
        )
        for name in extra
    }
    assert {user["username"]: user["riskScore"] for user in found["riskyUsers"]} == expected
    assert [user["riskScore"] for user in found["riskyUsers"]] == sorted(expected.values(), reverse=True)
    addresses = {entry["ip"]: entry["riskScore"] for entry in found["riskyAddresses"]}
    assert addresses == {
        f"10.0.0.{n}": risk(points_of(rows, request={"ip": f"10.0.0.{n}"}) + [47] * (n == 3))
        for n in range(7)
    }
    (bob,) = (user for user in found["riskyUsers"] if user["username"] == "bob")
    assert bob["userId"] is None
    assert bob["contributions"][0]["points"] == 99 or bob["contributions"][0]["points"] == 100
    named = [part for part in bob["contributions"] if part["kind"] == "alert"]
    assert [(part["id"], part["title"]) for part in named] == [("a2", "Rule a2")]
    assert (await json_of(client, "/events/statistics?hours=720&parts=risk"))["riskyUsers"] == found[
        "riskyUsers"
    ]
    assert "riskyUsers" not in await json_of(client, "/events/statistics?hours=1")


async def test_a_profile_names_every_contribution(station: Station, client: TestClient) -> None:
    """The score of the list, with the events themselves and why each is risky."""
    station.transformer = cast("Transformer", Scored(station.transformer))
    rows = lines(station)
    alert(station, "a1", "high", {"user.id": "1"})
    alert(station, "a3", "medium", {"request.ip": "10.0.0.3", "user.id": "3"})
    listed = await json_of(client, "/risk")
    for address, key, score in (
        ("/users/1", "userId", "1"),
        ("/addresses/10.0.0.3", "ip", "10.0.0.3"),
    ):
        own = (await json_of(client, address))["data"]["risk"]["entity"]
        entry = next(e for e in (*listed["riskyUsers"], *listed["riskyAddresses"]) if e.get(key) == score)
        assert (own["riskScore"], own["riskBand"], own["contributing"]) == (
            entry["riskScore"],
            entry["riskBand"],
            entry["contributing"],
        )
        events = [part for part in own["contributions"] if part["kind"] == "event"]
        by_id = {row["eventId"]: row["riskScore"] for row in rows}
        assert all(by_id[part["id"]] <= part["points"] for part in events)  # behaviour may add
        assert all("application" in part["reasons"] for part in events)
        points = [part["points"] for part in own["contributions"]]
        assert points == sorted(points, reverse=True)
        assert len(own["contributions"]) == min(10, own["contributing"])
    thing = (await json_of(client, "/entities/invoice/2"))["data"]["risk"]["entity"]
    about = (await json_of(client, "/events?entity_type=invoice&entity_id=2&limit=500"))["data"]
    assert thing["riskScore"] == risk([row["riskScore"] for row in about if row["riskScore"] >= 50])
    narrowed = (await json_of(client, "/users/1?level=critical&hours=1"))["data"]["risk"]["entity"]
    assert narrowed["riskScore"] == next(
        user["riskScore"] for user in listed["riskyUsers"] if user["userId"] == "1"
    )


async def test_more_contributions_than_are_shown_still_count(station: Station, client: TestClient) -> None:
    """Sixty of the same points: ten are shown, and the rest as how many there are."""
    station.write(
        "app.log",
        [
            event(eventId=f"e-{n}", user={"id": "7"}, timestamp=f"2026-05-31T11:00:{n:02d}Z", riskScore=80)
            for n in range(60)
        ],
    )
    own = (await json_of(client, "/users/7"))["data"]["risk"]["entity"]
    assert own["riskScore"] == risk([80] * 60)
    assert [part["id"] for part in own["contributions"]] == [f"e-{n}" for n in range(59, 49, -1)]
    (listed,) = (await json_of(client, "/risk"))["riskyUsers"]
    assert [(part["kind"], part["count"]) for part in listed["contributions"]] == [("events", 60)]
    assert listed["contributions"][0]["adds"] == listed["riskScore"] == own["riskScore"]


async def test_a_user_has_the_name_of_the_events_that_count(station: Station) -> None:
    """Not one of another day or of another tenant, which the same roll-up holds."""
    station.write(
        "app.log",
        [
            event(
                user={"id": "1", "username": name}, tenant=tenant, timestamp=f"2026-05-{day}T11:00:00Z", riskScore=60
            )
            for name, tenant, day in [("ann", "t1", 10), ("bob", "t2", 10), ("eve", "t1", 20)]
        ],
    )  # fmt: skip
    station.archive.commit()
    station.archive.seal()
    midnight_us = NOW_US // DAY_US * DAY_US
    day_10 = Filter(start_us=midnight_us - 22 * DAY_US, end_us=midnight_us - 21 * DAY_US - 1)
    async with served(station):
        queries = Queries(station.engine, lambda: station.archive.snapshot)
        named = {}
        for tenant in ("t1", "t2"):
            asked = StatisticsQuery(day_10, Scope(tenant=tenant), parts=frozenset({"risk"}))
            named[tenant] = [user["username"] for user in (await queries.statistics(asked))["riskyUsers"]]
    assert named == {"t1": ["ann"], "t2": ["bob"]}


@pytest.mark.parametrize(
    ("wanted", "scope", "sees"),
    [
        (Filter(), Scope(), True),
        (Filter(), Scope(tenant="t1"), False),
        (Filter(terms=(Term("level", "info"),)), Scope(), False),
    ],
    ids=["all", "a tenant", "a filter"],
)
async def test_alerts_count_for_who_sees_everything(
    station: Station, wanted: Filter, scope: Scope, sees: bool
) -> None:
    """They belong to no tenant, and no filter says which of them it means."""
    station.write(
        "app.log",
        [event(user={"id": "1"}, tenant="t1", timestamp="2026-05-30T11:00:00Z", riskScore=60)],
    )
    alert(station, "a1", "high", {"user.id": "1"})
    async with served(station):
        queries = Queries(station.engine, lambda: station.archive.snapshot)
        ranged = Filter(terms=wanted.terms, start_us=NOW_US - 30 * DAY_US, end_us=NOW_US)
        found = await queries.statistics(StatisticsQuery(ranged, scope, parts=frozenset({"risk"})))
    kinds = {part["kind"] for user in found["riskyUsers"] for part in user["contributions"]}
    assert kinds == ({"events", "alert"} if sees else {"events"})


async def test_a_viewer_sees_users_as_pseudonyms_and_addresses_as_networks(station: Station) -> None:
    """What was found about whom, as everywhere."""
    lines(station)
    alert(station, "a1", "high", {"user.id": "1"})
    async with served(station):
        queries = Queries(station.engine, lambda: station.archive.snapshot)
        ranged = Filter(start_us=NOW_US - 30 * DAY_US, end_us=NOW_US)
        found = await queries.statistics(
            StatisticsQuery(ranged, Scope(role="viewer"), parts=frozenset({"risk"}))
        )
    said = str(found)
    secrets = ("'ann'", "'bob'", "'eve'", "10.0.0.3")
    assert [secret for secret in secrets if secret in said] == []
    assert len(found["riskyAddresses"]) == 1  # one network, with the score of its riskiest address
    assert len(found["riskyUsers"]) == 3
