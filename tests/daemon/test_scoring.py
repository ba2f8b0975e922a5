"""Risk in a running daemon: scored before anybody sees the event, and the same after any crash."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from daemon.scoring import Scorer, ScoringOptions
from parsers.arrow import numbers, whole
from parsers.points import Points
from parsers.risk import READ, WRITTEN, Scoring
from storage import checkpoints
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.fs import Disk
from storage.layout import Layout
from storage.observer import Silent
from storage.reader import read_snapshot
from storage.replay import rows_after
from tests.daemon.test_service import Process, serving
from tests.support import ROOT

KILLS = 5
DAY = 86_400
NEWEST = 1_772_600_000  # 2026-03-04


def lines(seed: int, count: int, *, days: int = 30) -> Iterator[dict[str, Any]]:
    """Users with habits, and what is unlike them."""
    chance = random.Random(seed)
    for number in range(count):
        usual = chance.random() < 0.9
        yield {
            "eventId": f"{seed}-{number}",
            "timestamp": NEWEST - days * DAY + number * days * DAY / count,
            "level": chance.choice(("info", "info", "warning")),
            "category": "authentication",
            "action": chance.choice(("login", "login", "read", "export")),
            "outcome": chance.choice(("success", "failure")),
            "user": {"id": f"user-{chance.randrange(5)}"},
            "request": {"ip": "198.51.100.7" if usual else f"203.0.{chance.randrange(256)}.9"},
            "location": {"country": "DE" if usual else "".join(chance.choices("ABCDEFGH", k=2))},
        }


def append(path: Path, events: Sequence[dict[str, Any]]) -> None:
    with path.open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)


def stored(archive: Path) -> pa.Table:
    """All committed events in the order of the stream, scored again in one go beside what is stored."""
    snapshot = read_snapshot(str(archive))
    tables = list(rows_after(snapshot, 0, (*READ, *WRITTEN, "ingested_at", "event_id")))
    return pa.concat_tables(tables).combine_chunks()


def scored_again(table: pa.Table) -> pa.Table:
    blank = table
    for name in WRITTEN:
        at = table.schema.get_field_index(name)
        blank = blank.set_column(
            at, table.schema.field(at), pa.nulls(len(table), table.schema.field(at).type)
        )
    read_us = numbers(whole(table.column("ingested_at")).cast("int64"), 0).astype(np.int64)
    return Scoring(Points()).score(blank, read_us)


def test_an_event_is_scored_before_it_is_visible(tmp_path: Path) -> None:
    """Score, reasons with points, model; the filter by risk finds it."""
    with serving(tmp_path) as daemon:
        event = {"eventId": "a", "level": "warning", "action": "login", "outcome": "failure"}
        append(daemon.logs / "app.jsonl", [event, {"eventId": "b", "level": "info", "riskScore": 82.5}])
        second, first = daemon.until_events(2)
        assert first["riskScore"] == 24
        assert [reason["reason"] for reason in first["riskReasons"]] == ["base", "level"]
        assert second["riskScore"] == 83
        assert second["riskScoreReported"] == 82.5
        assert second["riskReasons"][0]["points"] == 82.5
        assert daemon.get("/events?risk=high")["total"] == 1
        assert "watchkeep_score_seconds_count" in daemon.metrics()


def until_committed(daemon: Process, amount: int) -> None:
    ends = time.monotonic() + 60
    while (total := daemon.get("/events?limit=1")["total"]) < amount:
        assert time.monotonic() < ends, total
        time.sleep(0.05)


def test_scores_after_kills_are_those_of_a_stream_that_was_never_cut(tmp_path: Path) -> None:
    """What is stored is what one fold over the archived rows says, however often the daemon was killed."""
    events = list(lines(7, 3000))
    size = len(events) // (KILLS + 1)
    environment = {"WATCHKEEP__ARCHIVE__COMMIT_SECONDS": "0.2"}
    (tmp_path / "logs").mkdir()
    for number in range(KILLS):
        with serving(tmp_path, **environment) as daemon:
            daemon.url()
            part = events[number * size : (number + 1) * size]
            append(daemon.logs / "app.jsonl", part[: size // 2])
            if number % 2:
                until_committed(daemon, number * size + size // 2)
            append(daemon.logs / "app.jsonl", part[size // 2 :])
            time.sleep(random.Random(number).random())
            daemon.process.send_signal(signal.SIGKILL if number != 2 else signal.SIGTERM)
            daemon.process.wait()
        (tmp_path / "daemon.log").unlink()
    with serving(tmp_path, **environment) as daemon:
        append(daemon.logs / "app.jsonl", events[KILLS * size :])
        until_committed(daemon, len(events))
        assert daemon.stop() == 0
    found = stored(tmp_path / "archive")
    expected = scored_again(found)
    for name in WRITTEN:
        assert found[name].to_pylist() == expected[name].to_pylist(), name
    reasons = {reason["reason"] for row in found["risk_reasons"].to_pylist() for reason in row or []}
    assert reasons >= {"base", "new_country", "new_network", "failed_streak_3"}


def test_a_restart_takes_the_checkpoint_and_only_folds_what_came_after_it(tmp_path: Path) -> None:
    """A clean stop leaves one, so that nothing is folded again; without it everything is, with the same result."""
    with serving(tmp_path) as daemon:
        append(daemon.logs / "app.jsonl", list(lines(1, 500)))
        until_committed(daemon, 500)
        daemon.stop()
    archive = Archive.open(ArchiveOptions(path=str(tmp_path / "archive")))
    try:
        scorer = Scorer(ScoringOptions(Points()), archive, Silent())
        assert scorer.restore() < 5  # what the daemon itself said while it stopped
        learned = dict(scorer._scoring.habits.arrays())
        for file in (tmp_path / "archive/nodes/main/habits").iterdir():
            file.write_bytes(file.read_bytes()[:-100])
        again = Scorer(ScoringOptions(Points()), archive, Silent())
        assert again.restore() >= 500
        relearned = dict(again._scoring.habits.arrays())
        for memory in ("users", "values"):
            first, second = np.argsort(learned[f"{memory}.keys"]), np.argsort(relearned[f"{memory}.keys"])
            for name in learned:
                if name.startswith(memory):
                    np.testing.assert_array_equal(learned[name][first], relearned[name][second])
        few = Scorer(ScoringOptions(Points(), rebuild_events=100), archive, Silent())
        assert few.restore() <= 100  # whole files, but no more than that
    finally:
        archive.close()


def test_a_checkpoint_of_rows_that_were_taken_back_does_not_count(tmp_path: Path) -> None:
    """Rows that no commit holds come again with other numbers: what was learned from them must be forgotten."""
    layout = Layout(str(tmp_path), "main")
    for seq in (10, 20, 30):
        checkpoints.write(Disk(), layout, seq, [("watermark", np.array([seq]))])
    found = list(checkpoints.newest(Disk(), layout, 25))
    assert [(seq, arrays["watermark"].tolist()) for seq, arrays in found] == [(20, [20]), (10, [10])]
    assert len(list(Path(layout.habits).iterdir())) == 2
    checkpoints.collect(Disk(), layout, 25)
    assert [seq for seq, _ in checkpoints.newest(Disk(), layout, 25)] == [20]


def test_too_many_habits_are_forgotten_oldest_first_and_counted(tmp_path: Path) -> None:
    """Memory stays below its limit."""
    archive = Archive.open(ArchiveOptions(path=str(tmp_path)))
    counted: list[float] = []

    class Counting(Silent):
        def count(self, name: str, amount: float = 1, **labels: str) -> None:
            if name == "habits_forgotten":
                counted.append(amount)

    try:
        scorer = Scorer(ScoringOptions(Points(), memory_bytes=1 << 20), archive, Counting())
        habits = scorer._scoring.habits
        habits.users.add(np.arange(1, 20_001, dtype=np.uint64))
        habits.users["last_day"][:] = np.arange(20_000) // 1000 + 20_000
        habits.watermark = 20_019
        scorer._bound()
        assert counted
        assert habits.bytes <= 4 << 20
        assert 0 < len(habits.users) < 20_000
        assert habits.users["last_day"].min() > 20_000
    finally:
        archive.close()


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("POINTS", '{"new_contry" = 3.0}', "no reason is called"),
        ("LEVELS", '{"warn" = 3.0}', "no level is called"),
        ("POINTS", '{"new_country" = 300.0}', "less than or equal to 100"),
    ],
)
def test_a_mistake_in_the_table_of_points_is_named(tmp_path: Path, key: str, value: str, said: str) -> None:
    """The daemon does not start with points that it would not use."""
    config = tmp_path / "config.toml"
    config.write_text(f"[risk]\n{key.lower()} = {value}\n")
    done = subprocess.run(
        [sys.executable, str(ROOT / "watchkeep.py"), "check-config", "--config", str(config)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert said in done.stdout + done.stderr
