"""Detection beside ingest: it may be slow, fail, or find its log full, and nothing else notices; nothing is lost."""

from __future__ import annotations

import asyncio
import errno
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from daemon.detection import Detection, DetectionOptions
from daemon.rulebook import Rulebook, read
from daemon.selflog import SelfLog
from parsers.sigma.alert import AlertChange
from storage.backtest import anchors_of
from storage.detecting import Detector, DetectorOptions, Step
from storage.duck import connect
from storage.observer import Silent
from storage.snapshot import Snapshot
from tests.web.station import Station, event

RULE = """
title: Failed logins
id: 5f3f0d2e-6f0c-4d35-9a52-3f1a5d6b9901
logsource: {product: watchkeep}
detection:
  sel: {outcome: failure}
  condition: sel
level: high
group: [user.id]
suppress: 10m
"""


class Log(SelfLog):
    """An own log whose disk is full as often as a test says; ``torn``: after the line reached the file."""

    full = 0
    torn = False

    def _write_line(self, event: Mapping[str, Any], *, durable: bool) -> None:
        if self.full and self.torn:
            super()._write_line(event, durable=durable)
        if self.full:
            self.full -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        super()._write_line(event, durable=durable)


class Stage:
    """Detection over a station, with everything that it told."""

    def __init__(
        self,
        station: Station,
        rules: Path,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
        busy: Callable[[], bool] = lambda: False,
        **options: Any,
    ) -> None:
        self.station = station
        self.rules = rules
        self.told: list[AlertChange] = []
        self.log = Log(station.archive.layout.own_log, node="main", version="0")
        given: dict[str, Any] = {"interval_seconds": 0.01, "update_seconds": 0.0} | options
        self.detection = Detection(
            station.archive,
            self.log,
            Silent(),
            DetectionOptions(**given),
            self.book,
            clock=clock,
            busy=busy,
        )
        self.detection.prepare()
        self.detection.add_listener(self.told.append)

    def book(self) -> Rulebook:
        return read([str(self.rules)], ())

    def fail(self, user: str, amount: int, first: int = 0) -> None:
        """Take in failed logins of a user, a minute apart."""
        self.station.write(
            "app-2026-06-01.log",
            [
                event(
                    eventId=f"{user}-{at}",
                    outcome="failure",
                    user={"id": user},
                    timestamp=f"2026-06-01T11:{at:02}:00Z",
                )
                for at in range(first, first + amount)
            ],
        )

    def events(self) -> list[bytes]:
        return list(self.log.lines_with(b'"type":"alert"'))

    def close(self) -> None:
        self.detection.close()
        self.log.close()


@pytest.fixture
def station(tmp_path: Path) -> Iterator[Station]:
    station = Station(tmp_path)
    yield station
    station.close()


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "one.yml").write_text(RULE)
    return tmp_path / "rules"


async def test_a_slow_rule_holds_up_nobody(
    station: Station, rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows become visible and committed while a look does not end; it goes on where it was."""
    stage = Stage(station, rules)
    await stage.detection.caught_up()
    began, go_on = threading.Event(), threading.Event()
    step = Detector.step

    def slow(detector: Detector, snapshot: Snapshot, after: int) -> Step:
        began.set()
        go_on.wait()
        return step(detector, snapshot, after)

    monkeypatch.setattr(Detector, "step", slow)
    stage.fail("ann", 2)
    looking = asyncio.create_task(stage.detection.caught_up())
    await asyncio.to_thread(began.wait)
    seq = station.archive.snapshot.seq
    for at in range(5):
        stage.fail("bob", 2, first=2 * at)
        station.archive.commit()
    assert station.archive.snapshot.seq == seq + 10
    assert stage.detection.alerts() == []
    assert stage.detection.status()["lag_rows"] == 12
    go_on.set()
    await looking
    await stage.detection.caught_up()
    assert {alert.group[0][1]: alert.count for alert in stage.detection.alerts()} == {"ann": 2, "bob": 10}
    stage.close()


@pytest.mark.parametrize("torn", [False, True])
async def test_a_full_disk_delays_an_alert_and_never_doubles_it(
    station: Station, rules: Path, torn: bool
) -> None:
    """Also when the event reached the file before the error: its id is looked for first."""
    stage = Stage(station, rules)
    stage.log.full, stage.log.torn = 2, torn
    stage.fail("ann", 1)
    await stage.detection.caught_up()
    assert [(change.kind, change.number, change.alert.count) for change in stage.told] == [("opened", 1, 1)]
    assert len(stage.events()) == 1
    stage.close()


async def test_the_watermark_waits_for_the_commit_and_a_crash_repeats_no_alert(
    station: Station, rules: Path
) -> None:
    """Rows that a crash took back come again with other numbers; the alert, its count and its id stay."""
    stage = Stage(station, rules)
    stage.fail("ann", 3)
    await stage.detection.caught_up()
    await stage.detection.caught_up()
    (first,) = stage.detection.alerts()
    assert stage.detection.watermark == 0
    stage.close()

    station.reopen(crash=True)
    again = Stage(station, rules)
    await again.detection.caught_up()
    (kept,) = again.detection.alerts()
    assert (kept.id, kept.count, kept.evidence) == (first.id, 3, first.evidence)
    assert again.told == []
    station.archive.commit()
    await again.detection.caught_up()
    await again.detection.caught_up()
    assert again.detection.watermark > 0
    again.fail("ann", 1, first=3)
    await again.detection.caught_up()
    assert [(change.kind, change.alert.count) for change in again.told] == [("updated", 4)]
    again.close()


async def test_a_group_that_was_quiet_makes_another_alert(station: Station, rules: Path) -> None:
    """Ten minutes here; what comes late belongs to the episode of its time."""
    stage = Stage(station, rules)
    stage.fail("ann", 1)
    stage.fail("ann", 1, first=11)
    stage.fail("ann", 1, first=5)
    await stage.detection.caught_up()
    assert sum(alert.count for alert in stage.detection.alerts()) == 3
    stage.fail("ann", 1, first=40)
    await stage.detection.caught_up()
    newest = stage.detection.alerts()[0]
    assert newest.evidence == ("ann-40",)
    stage.close()


async def test_an_alert_ends_when_its_group_was_quiet(
    station: Station, rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock, and told once; a late event of its time is counted and opens nothing."""
    monkeypatch.setattr("daemon.casebook.RESOLVE_SECONDS", 0.0)
    now = [station.now_us]
    stage = Stage(station, rules, clock=lambda: now[0])
    stage.fail("ann", 2)
    await stage.detection.caught_up()
    now[0] += 59_000_000
    await stage.detection.caught_up()
    assert [change.kind for change in stage.told] == ["opened"]
    now[0] += 2_000_000
    await stage.detection.caught_up()
    stage.fail("ann", 1, first=2)
    await stage.detection.caught_up()
    assert [change.kind for change in stage.told] == ["opened", "resolved"]
    (alert,) = stage.detection.alerts()
    assert (alert.state, alert.count) == ("resolved", 3)
    stage.close()


async def test_a_person_acknowledges_and_resolves_and_what_follows_stays_quiet(
    station: Station, rules: Path
) -> None:
    """Each change once, with who made it; nothing new while it is quiet; the same change again is none."""
    stage = Stage(station, rules)
    stage.fail("ann", 1)
    await stage.detection.caught_up()
    identity = stage.detection.alerts()[0].id
    for kind, by in (
        ("acknowledged", "bob"),
        ("acknowledged", "eve"),
        ("resolved", "bob"),
        ("acknowledged", "eve"),
    ):
        await stage.detection.change(identity, kind, by=by)  # type: ignore[arg-type]
    stage.fail("ann", 1, first=3)
    await stage.detection.caught_up()
    assert [(change.kind, change.alert.by) for change in stage.told] == [
        ("opened", ""),
        ("acknowledged", "bob"),
        ("resolved", "bob"),
    ]
    (alert,) = stage.detection.alerts()
    assert (alert.state, alert.count) == ("resolved", 2)
    assert await stage.detection.change("nothing", "resolved", by="bob") is None
    stage.close()


async def test_too_many_alerts_are_forgotten_and_stay_in_the_log(station: Station, rules: Path) -> None:
    """Memory is bounded; every alert was told of."""
    stage = Stage(station, rules, most_alerts=5, detector=DetectorOptions(rows=1000))
    for at in range(12):
        stage.fail(f"user{at}", 1, first=at)
        await stage.detection.caught_up()
    assert len(stage.detection.alerts()) == 5
    assert len({change.alert.id for change in stage.told if change.kind == "opened"}) == 12
    stage.close()


CHAIN = """
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
alone: true
correlation: {type: event_count, rules: [failed], group-by: [user.id], timespan: 10m, condition: {gte: 3}}
---
title: few
correlation: {type: event_count, rules: [failed], group-by: [user.id], timespan: 10m, condition: {lt: 3}}
---
title: broken in
correlation: {type: temporal_ordered, rules: [many, worked], group-by: [user.id], timespan: 20m}
"""


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("memory", [1, 1 << 20])
async def test_hot_committed_and_sealed_rows_make_what_the_archive_says(
    station: Station, rules: Path, seed: int, memory: int
) -> None:
    """Shuffled events in random batches, commits and seals between them, with and without room for matches."""
    (rules / "one.yml").write_text(CHAIN)
    choose = random.Random(seed)
    lines = [
        event(
            eventId=f"e{at}",
            outcome=choose.choice(["failure", "failure", "success"]),
            user={"id": choose.choice("uv")},
            timestamp=f"2026-06-01T{choose.choice([8, 11]):02}:{choose.randrange(60):02}:{choose.randrange(60):02}Z",
        )
        for at in range(60)
    ]
    book = read([str(rules)], ())
    detector = Detector(book.emitting, book.rules, book.routes, DetectorOptions(match_bytes=memory))
    found: dict[str, Counter[tuple[int, int]]] = {rule.id: Counter() for rule in book.emitting}
    after = 0
    while lines:
        amount = choose.randint(1, 12)
        station.write("app-2026-06-01.log", lines[:amount])
        del lines[:amount]
        if choose.random() < 0.5:
            station.archive.commit()
        if choose.random() < 0.3:
            station.archive.seal()
        if choose.random() < 0.7 or not lines:
            step = detector.step(station.archive.snapshot, after)
            after = step.seq
            for anchor in step.anchors:
                found[anchor.rule][anchor.at_us, anchor.seq] += 1
            for anchor in step.withdrawn:
                found[anchor.rule][anchor.at_us, anchor.seq] -= 1
    assert after == station.archive.snapshot.seq
    detector.close()
    start_us, end_us = station.now_us - 86_400_000_000, station.now_us + 86_400_000_000
    with connect(threads=1, memory_limit_mb=256) as connection:
        for rule in book.emitting:
            snapshot = station.archive.snapshot
            anchors = anchors_of(
                connection.cursor(), snapshot, rule, book.rules, book.routes, start_us=start_us, end_us=end_us
            )
            told = {(anchor[0], anchor[1]) for anchor in anchors}
            assert len(told) == len(anchors)
            assert {key for key, times in found[rule.id].items() if times} == told, rule.title
            assert set(found[rule.id].values()) <= {0, 1}


async def test_detection_gives_way_to_a_backlog_and_goes_on_after_it(
    station: Station, rules: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While ingest is busy it looks once and waits; then it catches up."""
    monkeypatch.setattr("daemon.detection.GIVE_WAY_STEP_SECONDS", 0.01)
    backlog, asked, told = [True], asyncio.Event(), asyncio.Event()

    def busy() -> bool:
        asked.set()
        return backlog[0]

    stage = Stage(station, rules, busy=busy)
    stage.detection.add_listener(lambda _: told.set())
    running = asyncio.create_task(stage.detection.run())
    await asked.wait()  # the first look is over
    stage.fail("ann", 1)
    for _ in range(3):
        asked.clear()
        await asked.wait()
    assert stage.told == []
    backlog[0] = False
    await told.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    stage.close()
