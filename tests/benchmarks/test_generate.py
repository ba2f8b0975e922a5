"""The generated events: the same numbers give the same bytes, and the bytes look like a week of a real system."""

import collections
import hashlib
import json
from datetime import datetime
from pathlib import Path

import pytest

from benchmarks.generate import generate, lines

EVENTS = 20_000


@pytest.fixture(scope="module")
def week() -> list[bytes]:
    return lines(EVENTS)


def test_the_same_count_and_seed_give_the_same_bytes(tmp_path: Path, week: list[bytes]) -> None:
    """The recorded hash is of the files, in order; another seed gives other bytes."""
    made = generate(tmp_path / "a", EVENTS)
    assert made.sha256 == hashlib.sha256(b"".join(week)).hexdigest()
    files = b"".join((tmp_path / "a" / name).read_bytes() for name in made.files)
    assert hashlib.sha256(files).hexdigest() == made.sha256
    assert generate(tmp_path / "b", EVENTS, seed=8).sha256 != made.sha256


def test_files_made_before_are_kept_and_damaged_ones_made_again(tmp_path: Path) -> None:
    """A benchmark that runs twice generates once."""
    made = generate(tmp_path, 1000)
    first = tmp_path / made.files[0]
    before = first.stat().st_mtime_ns
    assert generate(tmp_path, 1000) == made
    assert first.stat().st_mtime_ns == before
    first.write_bytes(b"")
    assert generate(tmp_path, 1000) == made
    assert first.stat().st_size > 0


def test_every_line_is_the_apis_object_of_about_830_bytes(week: list[bytes]) -> None:
    """All blocks of the documented event are there."""
    assert 800 < sum(map(len, week)) / EVENTS < 860
    for line in week[:500]:
        event = json.loads(line)
        assert {
            "eventId",
            "correlationId",
            "timestamp",
            "user",
            "entity",
            "request",
            "location",
            "system",
        } <= set(event)


def test_the_week_is_sorted_and_quieter_at_night_and_on_weekends(tmp_path: Path) -> None:
    """One file a day, in order of time."""
    made = generate(tmp_path, EVENTS)
    counts: list[int] = []
    for name in made.files:
        times = [json.loads(line)["timestamp"] for line in (tmp_path / name).read_text().splitlines()]
        assert times == sorted(times)
        assert {f"app-{moment[:10]}.jsonl" for moment in times} == {name}
        counts.append(len(times))
        hours = collections.Counter(datetime.fromisoformat(moment).hour for moment in times)
        assert hours[3] * 3 < hours[10]
    assert len(counts) == 7
    assert max(counts[5:]) < min(counts[:5]) / 2


def test_users_follow_zipf_and_requests_have_nearly_two_events(week: list[bytes]) -> None:
    """One user makes an eighth of it; a request id is shared by 1.8 events, by one user from one address."""
    users: collections.Counter[int] = collections.Counter()
    requests = collections.defaultdict(set)
    for line in week:
        event = json.loads(line)
        users[event["user"]["id"]] += 1
        requests[event["correlationId"]].add((event["user"]["id"], event["request"]["ip"]))
    assert 0.10 < users.most_common(1)[0][1] / EVENTS < 0.16
    assert 1.7 < EVENTS / len(requests) < 1.95
    assert all(len(who) == 1 for who in requests.values())
