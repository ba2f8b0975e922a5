"""The client's file: one write a record, the day in the name, nothing torn, nothing raised."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from watchkeep_client import Writer
from watchkeep_client.encoding import encode

CLIENT = Path(__file__).resolve().parents[2] / "client"
NOON = 1_795_435_200.0  # 2026-11-23T12:00:00Z
DAY = 86_400.0


def records(directory: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for path in sorted(directory.glob("*.jsonl"))
        for line in path.read_text().splitlines()
        if line
    ]


def test_the_file_is_named_after_the_utc_day(tmp_path: Path) -> None:
    """A record goes to the file of the day on which it is written, the next day's to the next file."""
    now = [NOON]
    writer = Writer(tmp_path, "shop", clock=lambda: now[0])
    assert writer.append({"n": 1})
    now[0] += DAY
    assert writer.append({"n": 2})
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "shop-2026-11-23.jsonl",
        "shop-2026-11-24.jsonl",
    ]


def test_records_are_counted_from_one_within_a_process(tmp_path: Path) -> None:
    """`writerBoot` and `writerSeq` let a reader see that one is missing."""
    writer = Writer(tmp_path)
    for number in range(3):
        writer.append({"n": number})
    found = records(tmp_path)
    assert [record["writerSeq"] for record in found] == [1, 2, 3]
    assert {record["writerBoot"] for record in found} == {writer.boot}


def test_a_record_that_cannot_be_written_leaves_a_hole_in_the_count(tmp_path: Path) -> None:
    """A directory that is a file: nothing is raised, the record is counted, and the next one shows the hole."""
    directory = tmp_path / "logs"
    directory.write_text("in the way")
    writer = Writer(directory)
    assert not writer.append({"n": 1})
    assert not writer.append({"n": 2})
    assert writer.stats.dropped == 2
    assert writer.stats.last_error is not None
    directory.unlink()
    assert writer.append({"n": 3})
    assert [record["writerSeq"] for record in records(directory)] == [3]


def test_a_drop_is_reported_once_per_outage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A full disk must not fill the other logs as well."""
    directory = tmp_path / "logs"
    directory.write_text("in the way")
    writer = Writer(directory)
    with caplog.at_level(logging.ERROR, "watchkeep_client"):
        for _ in range(5):
            writer.append({})
    assert len(caplog.records) == 1
    assert "dropped" in caplog.text


def test_after_a_short_write_the_next_record_starts_a_line_of_its_own(tmp_path: Path) -> None:
    """A disk that fills up in the middle of a record costs that record, not the next one.

    The limit on file size makes the kernel write only the part that fits, as a full disk does.
    """
    script = """
import resource, signal, sys
from watchkeep_client import Writer
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = Writer(sys.argv[1])
assert writer.append({"n": 1, "fill": "x" * 100})
size = writer.path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 40, resource.RLIM_INFINITY))
assert not writer.append({"n": 2, "fill": "y" * 100})
assert writer.path.stat().st_size == size + 40
assert not writer.append({"n": 3})
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert writer.append({"n": 4})
print(writer.stats.written, writer.stats.dropped, writer.stats.torn)
"""
    done = child(script, tmp_path)
    assert done.stdout.split() == ["2", "2", "1"]
    lines = next(tmp_path.glob("*.jsonl")).read_text().splitlines()
    assert len(lines) == 3
    assert json.loads(lines[0])["n"] == 1
    assert json.loads(lines[2])["n"] == 4
    with pytest.raises(json.JSONDecodeError):
        json.loads(lines[1])


def test_a_line_torn_by_another_process_does_not_take_the_next_one_with_it(tmp_path: Path) -> None:
    """A process killed in the middle of a write leaves half a line; who opens the file next begins a new one."""
    writer = Writer(tmp_path)
    writer.path.write_bytes(b'{"half":')
    writer.append({"n": 1})
    assert writer.path.read_bytes().splitlines()[0] == b'{"half":'
    assert json.loads(writer.path.read_bytes().splitlines()[1])["n"] == 1


def test_processes_and_threads_share_a_file_without_tearing_a_line(tmp_path: Path) -> None:
    """Four processes of two threads write lines of all sizes; every one is whole and in its writer's order."""
    script = """
import sys, threading
from watchkeep_client import Writer
writer = Writer(sys.argv[1])
def work(name):
    for number in range(400):
        assert writer.append({"fill": "x" * (number * 37 % 5000)})
threads = [threading.Thread(target=work, args=(name,)) for name in range(2)]
[thread.start() for thread in threads]; [thread.join() for thread in threads]
"""
    running = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], env={"PYTHONPATH": str(CLIENT)})
        for _ in range(4)
    ]
    assert [process.wait(60) for process in running] == [0] * 4
    by_writer: dict[str, list[int]] = {}
    for record in records(tmp_path):
        by_writer.setdefault(record["writerBoot"], []).append(record["writerSeq"])
    assert len(by_writer) == 4
    assert all(counts == list(range(1, 801)) for counts in by_writer.values())


def test_a_forked_child_writes_as_a_process_of_its_own(tmp_path: Path) -> None:
    """The child of a fork gets a boot id of its own, even if another thread of the parent held the lock."""
    script = """
import os, sys, threading
from watchkeep_client import Writer
writer = Writer(sys.argv[1])
writer.append({"who": "parent"})
held, done = threading.Event(), threading.Event()
def hold():
    with writer._lock:
        held.set(); done.wait()
threading.Thread(target=hold).start()
held.wait()
child = os.fork()
if child == 0:
    ok = writer.append({"who": "child"})
    os._exit(0 if ok else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
done.set()
writer.append({"who": "parent"})
"""
    child(script, tmp_path)
    found = [(record["who"], record["writerSeq"]) for record in records(tmp_path)]
    assert found == [("parent", 1), ("child", 1), ("parent", 2)]
    assert len({record["writerBoot"] for record in records(tmp_path)}) == 2


def test_a_removed_file_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody removes the log folder: the writer notices and does not write into nowhere."""
    monkeypatch.setattr("watchkeep_client.writer.CHECK_SECONDS", 0.0)
    writer = Writer(tmp_path / "logs")
    writer.append({"n": 1})
    writer.path.unlink()
    (tmp_path / "logs").rmdir()
    assert writer.append({"n": 2})
    assert [record["n"] for record in records(tmp_path / "logs")] == [2]


def test_a_record_above_the_cap_is_shortened_and_says_so(tmp_path: Path) -> None:
    """What happened, when and by whom survives; the size it had is told."""
    writer = Writer(tmp_path, max_record_bytes=4096)
    event = {"eventId": "e1", "level": "info", "user": {"id": 1}, "metadata": {"rows": ["y" * 900] * 500}}
    assert writer.append(event)
    (record,) = records(tmp_path)
    assert record["truncated"] is True
    assert record["truncatedFrom"] > 450_000
    assert (record["eventId"], record["user"], record["writerSeq"]) == ("e1", {"id": 1}, 1)
    assert writer.path.stat().st_size <= 4096 + 100


@pytest.mark.parametrize("limit", [700, 2000, 30_000])
def test_whatever_is_too_long_ends_below_the_cap(limit: int) -> None:
    """Many keys, long keys, deep nesting, long text: each is cut to fit."""
    deep: Any = "bottom"
    for _ in range(40):
        deep = {"k": deep}
    for event in (
        {"eventId": "e", "metadata": {f"key{number}": number for number in range(20_000)}},
        {"eventId": "e", "metadata": {"k" * 100_000: 1}},
        {"eventId": "e", "description": "é" * 100_000},
        {"eventId": "e", "metadata": [[["x" * 300] * 40] * 40] * 40},
        {"eventId": "e", "metadata": deep, "fill": "z" * 100_000},
        {f"top{number}": "w" * 50 for number in range(5000)},
    ):
        line = encode(event, limit)
        assert len(line) <= limit
        assert json.loads(line)["truncated"] is True


def test_values_json_does_not_have_become_text(tmp_path: Path) -> None:
    """Dates, sets, NaN, bytes, objects and things that contain themselves: the line is always valid JSON."""
    itself: dict[str, Any] = {}
    itself["self"] = itself

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    event: dict[Any, Any] = {
        "nan": float("nan"),
        "set": {1},
        "bytes": b"\xff",
        "broken": Broken(),
        "self": itself,
        3: "key",
        "lone": "\ud800",
    }
    assert Writer(tmp_path).append(event)
    (record,) = records(tmp_path)
    assert (record["nan"], record["set"], record["broken"], record["3"]) == ("nan", [1], "<Broken>", "key")
    assert record["lone"] == "?"


def test_a_newline_in_a_value_does_not_split_the_record(tmp_path: Path) -> None:
    """One record is one line, whatever it says."""
    writer = Writer(tmp_path)
    writer.append({"description": "a\nb\r\nc\u2028d"})
    assert writer.path.read_bytes().count(b"\n") == 1


def test_the_file_is_not_for_everybody(tmp_path: Path) -> None:
    """Events name people: others may not read them."""
    writer = Writer(tmp_path / "logs")
    writer.append({})
    assert writer.path.stat().st_mode & 0o007 == 0


def test_the_writer_costs_one_write_a_record(tmp_path: Path) -> None:
    """Counted by the kernel: as many write calls as records."""
    writer = Writer(tmp_path)
    writer.append({})
    before = write_calls()
    for _ in range(100):
        writer.append({"n": 1})
    assert write_calls() - before == 100


def write_calls() -> int:
    text = Path("/proc/thread-self/io").read_text()
    return int(text.split("syscw: ")[1].split()[0])


def child(script: str, directory: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script, str(directory)],
        env={"PYTHONPATH": str(CLIENT)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done
