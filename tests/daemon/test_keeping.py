"""What the running daemon keeps and lets go: by the hour, for the budget, by command; through kills and restarts."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from daemon import cli
from daemon.control import call
from daemon.exporting import Exporter
from daemon.keeping import FIRST_CLEANUP_SECONDS, Keeper
from daemon.kept import KeeperOptions
from daemon.oldlogs import OldFile
from storage.archive import Archive
from storage.keeping import ClockError, HoldsUnknownError
from storage.layout import Layout
from storage.query import Filter
from storage.reader import read_snapshot, read_state
from storage.retention import Policy, RetentionClass
from storage.verify import verify
from tests.daemon.test_service import Process, serving
from tests.storage.stock import TODAY, counted, days, opened, stock

PATIENCE_SECONDS = 40.0
NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Watching:
    """Observes; remembers counters and gauges."""

    def __init__(self) -> None:
        self.values: dict[str, float] = {}

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        self.values[name] = self.values.get(name, 0) + amount

    def gauge(self, name: str, value: float, **labels: str) -> None:
        self.values[name] = value

    def seconds(self, name: str, value: float, **labels: str) -> None:
        pass


class Around:
    """The rest of the daemon, as far as the keeper needs it."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.said: list[tuple[str, str, Mapping[str, Any]]] = []
        self.old: list[OldFile] = []

    async def say(self, description: str, level: str, metadata: Mapping[str, Any], **fields: Any) -> None:
        self.said.append((description, level, metadata))

    async def seal(self) -> int:
        return await asyncio.to_thread(self.archive.seal)

    async def publish(self) -> None:
        await asyncio.to_thread(self.archive.publish)

    async def old_log_files(self, before_us: int) -> list[OldFile]:
        return [old for old in self.old if old.mtime_ns // 1000 < before_us]

    async def remove_log_file(self, old: OldFile) -> bool:
        await asyncio.to_thread(os.unlink, old.path)
        return True


class Bench:
    """A keeper over a real archive, whose clock the test turns."""

    def __init__(self, archive: Archive, options: KeeperOptions, *, now: datetime = NOON) -> None:
        self.archive = archive
        self.now = now
        self.seconds = 0.0
        self.observer = Watching()
        self.around = Around(archive)
        exporter = Exporter(archive, self.observer, [], version="1")
        self.keeper = Keeper(
            archive, self.observer, options, exporter, self.around, clock=self._clock, now=lambda: self.now
        )

    def _clock(self) -> float:
        return self.seconds

    def later(self, **passed: float) -> None:
        """Let time pass."""
        span = timedelta(**passed)
        self.now += span
        self.seconds += span.total_seconds()

    async def until(self, what: Any) -> None:
        """Run the keeper until something is true."""
        task = asyncio.create_task(self.keeper.run())
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while not what():  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await asyncio.to_thread(self.keeper.close)


OLD = [{"day": "2026-01-01", "user_id": "42"}, {"day": "2026-05-30", "user_id": "7"}]


@pytest.fixture
def archive(tmp_path: Path):
    found = opened(tmp_path / "a", clock=lambda: int(NOON.timestamp() * 1e6))
    yield found
    found.close()


async def test_what_is_too_old_goes_after_a_start_and_then_at_its_hour(archive: Archive) -> None:
    """Also when the machine was off at the hour; each removal is told before it happens, with its facts."""
    await asyncio.to_thread(stock, archive, OLD)
    bench = Bench(archive, KeeperOptions(policy=Policy(event_days=90), cleanup_hour=3))
    bench.later(seconds=FIRST_CLEANUP_SECONDS)
    await bench.until(lambda: bench.keeper.status()["last"])
    assert days(archive) == ["2026-05-30"]
    ((text, level, metadata),) = bench.around.said
    assert (text, level) == ("Retention removes 1 events of 1 days", "warning")
    assert (metadata["days"], metadata["events"], metadata["classes"]) == (["2026-01-01"], 1, ["default"])
    assert bench.observer.values["dropped_events"] == 1
    policy = Policy(event_days=90, clock_jump_days=90)
    bench = Bench(archive, KeeperOptions(policy=policy), now=NOON + timedelta(days=90))
    bench.keeper._due["retention"] = 15 * 3600.0  # three in the night
    bench.later(hours=14)
    await asyncio.sleep(0)
    assert days(archive) == ["2026-05-30"]
    bench.later(hours=1)
    await bench.until(lambda: not days(archive))


async def test_settings_that_are_read_again_do_not_put_the_first_removal_off(archive: Archive) -> None:
    """A machine that is off at the hour, and reads its settings after each start, would never remove anything."""
    await asyncio.to_thread(stock, archive, OLD)
    options = KeeperOptions(policy=Policy(event_days=90), cleanup_hour=3)
    bench = Bench(archive, options)
    bench.later(seconds=FIRST_CLEANUP_SECONDS / 2)
    await bench.keeper.use(options)
    bench.later(seconds=FIRST_CLEANUP_SECONDS / 2)
    await bench.until(lambda: bench.keeper.status()["last"])
    assert days(archive) == ["2026-05-30"]
    await bench.keeper.use(replace(options, cleanup_hour=5))
    assert bench.keeper._due["retention"] - bench.seconds == pytest.approx(17 * 3600, abs=600)


async def test_what_removed_nothing_was_no_dry_run_all_the_same(archive: Archive) -> None:
    """Whoever asked for a removal is not told that it was a listing."""
    bench = Bench(archive, KeeperOptions(policy=Policy(event_days=90), cleanup_hour=3))
    assert not (await bench.keeper.cleanup("2000-01-01", dry_run=False)).dry_run
    assert (await bench.keeper.cleanup("2000-01-01", dry_run=True)).dry_run


async def test_the_budget_is_kept_and_when_it_cannot_be_that_is_loud(archive: Archive) -> None:
    """The oldest day goes; what a hold keeps stays, and status, measurement, log and event say so."""
    await asyncio.to_thread(stock, archive, [{"day": "2026-05-01"}, *OLD])
    await asyncio.to_thread(
        archive.keeping.add_hold, "case", Filter.of({"user_id": ["42"]}), reason="r", author="a"
    )
    used = sum(file.bytes for file in archive.state.files.values())
    bench = Bench(archive, KeeperOptions(max_bytes=used - 1))
    await bench.until(lambda: "budget_over_bytes" in bench.observer.values)
    assert days(archive) == ["2026-01-01", "2026-05-30"]
    assert bench.observer.values["budget_over_bytes"] == 0
    bench = Bench(archive, KeeperOptions(max_bytes=1))
    await bench.until(lambda: "budget_over_bytes" in bench.observer.values)
    assert days(archive) == ["2026-01-01"]
    over = bench.keeper.status()["over_budget_bytes"]
    assert over == bench.observer.values["budget_over_bytes"] > 0
    ((code, _),) = bench.keeper.complaints()
    assert code == "budget"
    text, level, metadata = bench.around.said[-1]
    assert text.startswith("The disk budget cannot be kept")
    assert (level, metadata["bytes"], metadata["reasons"]) == ("error", over, ["hold case"])


async def test_too_little_free_space_lets_the_oldest_go(archive: Archive) -> None:
    """What was dropped already and waits for its readers is counted as free."""
    await asyncio.to_thread(stock, archive, OLD)
    bench = Bench(archive, KeeperOptions(min_free_bytes=10**18))
    await bench.until(lambda: "budget_over_bytes" in bench.observer.values)
    assert days(archive) == []
    waiting = sum(os.stat(archive.layout.absolute(path)).st_size for path in archive.state.retired)
    assert waiting > 0
    free = os.statvfs(archive.options.path)
    expected = 10**18 - free.f_bavail * free.f_frsize - waiting
    assert abs(bench.observer.values["budget_over_bytes"] - expected) < 10**10


async def test_a_clock_that_jumped_ahead_removes_nothing(archive: Archive) -> None:
    """A year ahead everything is too old. It is told, and believed only after a day, or if a person says so."""
    await asyncio.to_thread(stock, archive, OLD)
    bench = Bench(archive, KeeperOptions(policy=Policy(clock_jump_days=7), max_bytes=1))
    bench.later(seconds=FIRST_CLEANUP_SECONDS)
    bench.now += timedelta(days=365)
    with pytest.raises(ClockError, match="the clock jumped ahead by 31536000 s"):
        await bench.keeper._retain()
    with pytest.raises(ClockError):
        await bench.keeper._budget()
    assert days(archive) == ["2026-01-01", "2026-05-30"]
    assert [code for code, _ in bench.keeper.complaints()] == ["clock"]
    bench.now -= timedelta(days=365, hours=2)
    await bench.keeper._retain()
    assert days(archive) == ["2026-05-30"]
    (told,) = (text for text, _, _ in bench.around.said if "Retention waits" in text)
    assert told == (
        "Retention waits: the clock jumped ahead by 31536000 s: nothing is removed until it is right again, "
        "or, if it is right, 'watchkeep retention confirm clock --reason TEXT' was given"
    )
    bench.now += timedelta(days=5)
    with pytest.raises(ClockError):
        await bench.keeper._retain()
    bench.later(days=1)
    await bench.keeper._retain()
    bench.now += timedelta(days=365)
    for _ in range(3):
        bench.later(days=1)
        with pytest.raises(ClockError):
            await bench.keeper._retain()
    assert days(archive) == ["2026-05-30"]
    await bench.keeper.confirm("clock", reason="it was wrong before", author="ops")
    await bench.keeper._retain()
    assert days(archive) == []
    assert bench.keeper.status()["waits"] is None
    await asyncio.to_thread(bench.keeper.close)


@pytest.mark.parametrize("known", ["written down", "the last commit"])
async def test_a_clock_that_is_far_ahead_at_a_start_removes_nothing(archive: Archive, known: str) -> None:
    """A restart does not make a wrong clock right, however often: nothing goes until it is right, or confirmed."""
    await asyncio.to_thread(stock, archive, OLD)
    if known == "written down":
        await asyncio.to_thread(archive.keeping.believe, archive.state.last_commit_us)
    options = KeeperOptions(policy=Policy(event_days=10_000), max_bytes=1)
    for _ in range(2):
        bench = Bench(archive, options, now=NOON + timedelta(days=365))
        for _ in range(3):
            bench.later(days=1)
            with pytest.raises(ClockError, match="the clock jumped ahead by 31536000 s"):
                await bench.keeper._budget()
            with pytest.raises(ClockError):
                await bench.keeper.cleanup("2026-12-31", dry_run=False)
        assert [code for code, _ in bench.keeper.complaints()] == ["clock"]
        await asyncio.to_thread(bench.keeper.close)
    assert len(days(archive)) == 2
    bench = Bench(archive, options, now=NOON + timedelta(days=5))
    await bench.keeper._budget()
    assert archive.state.clock_us == int(bench.now.timestamp() * 1e6)
    assert days(archive) == []
    await asyncio.to_thread(bench.keeper.close)


async def test_after_a_rebuilt_ledger_nothing_is_removed_until_holds_are_confirmed(archive: Archive) -> None:
    """Neither by age, nor for the budget, nor by command; the confirmation is durable, and an event."""
    await asyncio.to_thread(stock, archive, OLD)
    archive.state.holds_unknown = True
    bench = Bench(archive, KeeperOptions(max_bytes=1))
    for attempt in (bench.keeper._retain, bench.keeper._budget):
        with pytest.raises(HoldsUnknownError, match="watchkeep retention confirm holds"):
            await attempt()
    with pytest.raises(HoldsUnknownError):
        await bench.keeper.cleanup("2026-12-31", dry_run=False)
    with pytest.raises(HoldsUnknownError):
        await asyncio.to_thread(lambda: archive.drop("2026-12-31", dry_run=False))
    assert len(days(archive)) == 2
    assert [code for code, _ in bench.keeper.complaints()] == ["holds"]
    await bench.keeper.confirm("holds", reason="there were none", author="ops")
    assert bench.around.said[-1][0] == "It was confirmed that no hold is missing: there were none"
    assert read_state(archive.options.path, archive.options.node).holds_unknown is False
    await bench.keeper._budget()
    assert days(archive) == []
    await asyncio.to_thread(bench.keeper.close)


async def test_one_log_file_in_the_way_does_not_keep_the_others(archive: Archive, tmp_path: Path) -> None:
    """It is counted, and told in the log; the others are compressed."""
    logs = tmp_path / "logs"
    logs.mkdir()
    for name in ("a.log", "b.log"):
        (logs / name).write_text("line\n")
        os.utime(logs / name, (1, 1))
    (logs / "a.log.gz").write_text("mine")
    bench = Bench(archive, KeeperOptions(log_file_days=30, log_files="compress"))
    bench.around.old = [OldFile.of(bytes(path), path.lstat()) for path in sorted(logs.glob("*.log"))]
    bench.later(seconds=FIRST_CLEANUP_SECONDS)
    await bench.until(lambda: bench.keeper.status()["last"])
    assert sorted(path.name for path in logs.iterdir()) == ["a.log", "a.log.gz", "b.log.gz"]
    assert bench.observer.values["log_file_failures"] == 1
    assert bench.observer.values["compressed_log_files"] == 1
    assert bench.around.said[-1][2] == {"log_files": [str(logs / "b.log")]}


# The daemon as a process


@contextmanager
def again(folder: Path, **environment: str) -> Iterator[Process]:
    """Serve once more; the log of the daemon before would tell its address."""
    (folder / "daemon.log").unlink()
    with serving(folder, **environment) as it:
        yield it


def lines(*found: tuple[str, str]) -> bytes:
    return b"".join(
        json.dumps(
            {"eventId": event_id, "timestamp": f"{day}T10:00:00Z", "level": "info", "category": "api"}
        ).encode()
        + b"\n"
        for event_id, day in found
    )


class Done(NamedTuple):
    """How a command ended and what it printed."""

    returncode: int
    stdout: str
    stderr: str


def watchkeep(it: Process, *arguments: str, config: Path) -> Done:
    """Run a command in this process, which has imported everything already."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setenv("WATCHKEEP_CONFIG", str(config))
        code = cli.main([*arguments, "--archive", str(it.archive)])
        out.flush()
    return Done(code, out.buffer.getvalue().decode(), err.getvalue())


def rows_of(folder: Path) -> int:
    return sum(file.rows for file in read_snapshot(str(folder)).events if not file.internal)


def test_killed_in_the_middle_of_a_cleanup_rows_are_gone_once_or_not_at_all(tmp_path: Path) -> None:
    """T71: SIGKILL as soon as the ledger grows; after the restart no row is back, none is twice, verify is content."""
    old = [f"2026-01-{day:02}" for day in range(1, 13)]
    with serving(tmp_path) as it:
        (it.logs / "app.log").write_bytes(lines(*((f"e{day}", day) for day in [*old, "2026-11-20"])))
        it.until_events(13)
        call(it.socket, "POST", "/seal")
        ledger = it.archive / "nodes" / "main" / "ledger"
        size = sum(path.stat().st_size for path in ledger.iterdir())
        asked = threading.Thread(target=_quietly, args=(it, "/events/cleanup?days=90&dry_run=false"))
        asked.start()
        ends = time.monotonic() + PATIENCE_SECONDS
        while sum(path.stat().st_size for path in ledger.iterdir()) == size:
            assert time.monotonic() < ends
        it.process.send_signal(signal.SIGKILL)
        it.process.wait()
        asked.join()
    left = rows_of(tmp_path / "archive")
    assert left in {1, 13}
    with again(tmp_path) as it:
        it.until_events(left)
        request = urllib.request.Request(
            f"{it.url()}/events/cleanup?days=90&dry_run=false",
            method="DELETE",
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
            assert json.load(response)["data"]["events_count"] == left - 1
        it.until_events(1)
        assert it.stop() == 0
    with again(tmp_path) as it:
        it.until_events(1)
        assert it.stop() == 0
    assert rows_of(tmp_path / "archive") == 1
    assert verify(str(tmp_path / "archive")).findings == []


def _quietly(it: Process, path: str) -> None:
    with suppress(OSError):
        request = urllib.request.Request(it.url() + path, method="DELETE")
        urllib.request.urlopen(request, timeout=PATIENCE_SECONDS).close()


CONFIG = """
[logs]
directories = ["logs"]
[archive]
path = "archive"
[[archive.exports]]
name = "daily"
folder = "out"
format = "csv"
hour = 0
[retention]
log_files = "compress"
log_file_days = 30
[[retention.classes]]
name = "audit"
categories = ["security"]
minimum_days = 300
"""


def test_commands_and_daemon_agree_on_what_is_kept(tmp_path: Path) -> None:
    """Classes, a hold and an export, by command with and without the daemon; every change is an event."""
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)
    today = datetime.now(UTC).date()
    young, old = (today - timedelta(days=200)).isoformat(), (today - timedelta(days=400)).isoformat()
    with serving(tmp_path, WATCHKEEP_CONFIG=str(config)) as it:
        text = lines(("api-old", old), ("api-young", young)) + lines(
            ("sec-old", old), ("sec-young", young)
        ).replace(b'"api"', b'"security"')
        (it.logs / "app.log").write_bytes(text)
        it.until_events(4)
        held = watchkeep(it, "holds", "add", "case", "--reason", "court", "--category", "api", config=config)
        assert (held.returncode, held.stdout) == (0, "hold case keeps category api\n"), held.stderr
        assert watchkeep(it, "exports", "run", config=config).returncode == 0  # unless it has run already
        (export,) = json.loads(watchkeep(it, "exports", "--json", config=config).stdout)["exports"]
        assert (export["days"], export["waiting"], export["reason"]) == (2, [], None)
        assert {path.name for path in (tmp_path / "out").glob("*.csv")} == {
            f"daily-{day}.csv" for day in (old, young)
        }
        plan = json.loads(watchkeep(it, "cleanup", "--days", "90", "--json", config=config).stdout)
        with urllib.request.urlopen(
            urllib.request.Request(f"{it.url()}/events/cleanup?days=90", method="DELETE"),
            timeout=PATIENCE_SECONDS,
        ) as response:
            answered = json.load(response)["data"]
        told = ("days", "classes", "kept", "files", "rows", "bytes")
        assert [plan[name] for name in told] == [answered[name] for name in told]
        assert [(day["day"], day["rows"]) for day in plan["days"]] == [(old, 1)]
        assert [
            (kept["day"], kept["retention_class"], kept["reason"].split(",")[0]) for kept in plan["kept"]
        ] == [
            (old, "default", "hold case"),
            (young, "audit", "class audit is kept for 300 days"),
            (young, "default", "hold case"),
        ]
        kept = it.get("/status")["retention"]
        assert kept["holds"] == ["case"]
        assert kept["classes"]["audit"] == {"minimum_days": 300, "maximum_days": 300}
        assert kept["exports"][0]["waiting"] == []
        descriptions = {event["description"] for event in it.get("/events?internal=only")["data"]}
        assert "Hold case was added: court" in descriptions
        assert f"Export daily wrote {old}: 2 events" in descriptions
        assert it.stop() == 0

    listed = json.loads(watchkeep(it, "holds", "list", "--json", config=config).stdout)["holds"]
    assert [(hold["name"], hold["reason"], hold["filter"]) for hold in listed] == [
        ("case", "court", {"values": {"category": ["api"]}})
    ]
    beside = json.loads(watchkeep(it, "cleanup", "--days", "90", "--json", config=config).stdout)
    assert {name: beside[name] for name in told} == {name: plan[name] for name in told}
    lower = ("retention", "lower", "audit", "--to", "100", "--reason", "decided")
    assert watchkeep(it, *lower, config=config).returncode == 2  # not confirmed
    refused = watchkeep(it, *lower, "--confirm", "audit", config=config)
    assert (refused.returncode, "the settings say 300 days" in refused.stderr) == (4, True)
    config.write_text(CONFIG.replace("300", "100"))
    lowered = watchkeep(it, *lower, "--confirm", "audit", config=config)
    assert lowered.stdout == "class audit: minimum 300 → 100 days\n", lowered.stderr
    released = watchkeep(it, "holds", "release", "case", "--reason", "closed", config=config)
    assert released.returncode == 0, released.stderr
    gone = json.loads(watchkeep(it, "cleanup", "--days", "90", "--delete", "--json", config=config).stdout)
    assert (gone["rows"], gone["kept"]) == (4, [])
    assert rows_of(it.archive) == 0
    with again(tmp_path, WATCHKEEP_CONFIG=str(config)) as it:
        wanted = {
            "Hold case was released: closed",
            "The minimum age of class audit was lowered from 300 to 100 days: decided",
            "watchkeep cleanup removes 4 events of 2 days",
        }
        ends = time.monotonic() + PATIENCE_SECONDS
        found: set[str] = set()
        while time.monotonic() < ends:
            found = {event["description"] for event in it.get("/events?internal=only&limit=100")["data"]}
            if wanted <= found:
                break
            time.sleep(0.05)
        assert wanted <= found
        assert it.events() == []
        assert it.stop() == 0
    assert read_state(str(it.archive), "main").holds == {}
    assert verify(str(it.archive)).findings == []


async def test_old_log_files_are_compressed_by_the_daemon_and_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only those whose every byte is committed; what was archived stays, and nothing is there twice."""
    from daemon import service
    from daemon.origins import load

    monkeypatch.setattr("daemon.keeping.FIRST_CLEANUP_SECONDS", 0.0)
    monkeypatch.setattr("daemon.keeping._seconds_until", lambda _hour, _now: 0.5)  # days that pass quickly
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "app-2026-01-01.log").write_bytes(lines(*((f"e{n}", "2026-01-01") for n in range(50))))
    (logs / "half-2026-01-01.log").write_bytes(lines(("h", "2026-01-01"))[:-5])
    for path in logs.iterdir():
        os.utime(path, (1, 1))
    (logs / "young.log").write_bytes(lines(("y", TODAY)))
    (tmp_path / "config.toml").write_text(CONFIG)
    environ = {"WATCHKEEP__WEB__PORT": "0", "WATCHKEEP__RETENTION__EVENT_DAYS": "0"}
    settings = load(str(tmp_path / "config.toml"), environ).settings
    stop = asyncio.Event()
    task = asyncio.create_task(service.run(settings, stop=stop))
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await asyncio.to_thread((logs / "app-2026-01-01.log").exists):
                assert not task.done(), task.exception()
                await asyncio.sleep(0.05)
    finally:
        stop.set()
        await task
    stop = asyncio.Event()
    task = asyncio.create_task(service.run(settings, stop=stop))
    socket = Layout(str(tmp_path / "archive"), "main").control_socket
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            # The compressed file was looked at.
            while not await asyncio.to_thread(_flushed, socket):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    finally:
        stop.set()
        await task
    names = sorted(path.name for path in logs.iterdir())
    assert names == ["app-2026-01-01.log.gz", "half-2026-01-01.log", "young.log"]
    sources = read_state(str(tmp_path / "archive"), "main").sources.values()
    assert sum(source.counts.events for source in sources if not source.internal) == 51
    assert verify(str(tmp_path / "archive")).findings == []


def _flushed(socket: str) -> bool:
    try:
        return bool(call(socket, "POST", "/flush")["seq"])
    except OSError:
        return False


async def test_a_minimum_that_rises_while_the_daemon_runs_holds_at_once(archive: Archive) -> None:
    """And is written down, so that lowering it again changes nothing."""
    await asyncio.to_thread(stock, archive, OLD)
    bench = Bench(archive, KeeperOptions())
    policy = Policy(classes=(RetentionClass("default", (), 36_000),))
    await bench.keeper.use(KeeperOptions(policy=policy))
    await bench.keeper.use(KeeperOptions())
    report = await bench.keeper.cleanup(TODAY, dry_run=False)
    assert (report.files, counted(archive)) == (0, 2)
    assert archive.keeping.minimums["default"] == 36_000
    assert {code for code, _ in bench.keeper.complaints()} == {
        "minimum"
    }  # the settings do not have their way
    await asyncio.to_thread(bench.keeper.close)
