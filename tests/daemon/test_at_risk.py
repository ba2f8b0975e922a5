"""What a crash would lose is in the ledger before it can: lines of rewritten and of deleted files are archived or told of."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from daemon.exposure import Exposure
from daemon.following import Fate
from daemon.tailer import Tailer
from storage.reader import read_state
from tests.daemon.collector import AtOnce, CollectorLadder
from tests.daemon.test_gaps import LINE, PATIENCE_SECONDS, SOON, eventually, gap_events, offset_of, write
from tests.daemon.test_service import Process, serving
from tests.daemon.test_tailer import Followed, append

LINES = [b"line %04d of the file\n" % number for number in range(200)]
OTHERS = [b"other %04d, written later\n" % number for number in range(100)]
HALF = b"half a line"
STEPS = 9  # of `Rewritten.steps`


class OnDemand(Executor):
    """Compares when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.waiting.append((future, partial(fn, *args, **named)))
        return future

    def work(self) -> None:
        for future, call in self.waiting:
            try:
                future.set_result(call())
            except Exception as error:  # noqa: BLE001 - belongs to who asks for the result
                future.set_exception(error)
        self.waiting = []


class Rewritten(Followed):
    """A log that loses its end, is written on, and is deleted, seen in small steps."""

    executor: Executor

    def _started(self) -> Tailer:
        self.executor = OnDemand() if self.stepping else AtOnce()
        ladder = CollectorLadder(self.collector)
        return Tailer(
            self.options, self.collector, ladder=ladder, executor=self.executor, clock=lambda: self.now
        )

    def __init__(self, folder: Path) -> None:
        self.stepping = False
        super().__init__(folder)
        self.path = folder / "a.log"

    def turn(self) -> None:
        self.now += 0.3
        turn = self.tailer.turn(rescan=True)
        self.notes += turn.notes
        self.collector.told(turn.notes)
        self.collector.append([reading.chunk for reading in turn.readings])

    def work(self) -> None:
        assert isinstance(self.executor, OnDemand)
        self.executor.work()

    def steps(self) -> list[Callable[[], None]]:
        """What happens once the file is rewritten, until all of it is committed and it is let go of."""
        return [
            self.turn,  # it is seen
            self.turn,  # the comparison begins
            self.path.unlink,
            self.turn,  # that is seen
            self.work,
            self.turn,  # the comparison ended: lines are read
            self.collector.commit,
            partial(self.settle, seconds=10),  # the last half line is taken
            self.collector.commit,
        ]

    def crash(self) -> None:
        self.stepping = False
        self.restart(crash=True)
        self.path.unlink(missing_ok=True)

    def rest(self) -> None:
        for _ in range(3):
            self.settle(seconds=20)
            self.collector.commit()


@pytest.fixture
def it(tmp_path: Path) -> Iterator[Rewritten]:
    made = Rewritten(tmp_path)
    append(made.path, b"".join(LINES))
    made.settle()
    made.collector.commit()
    made.stepping = True
    made.restart()
    made.turn()
    yield made
    made.tailer.close()


def expected(it: Rewritten, kept: int) -> None:
    """Each new line came once, or one gap tells of the place where it was; what was archived is not told of."""
    arrived = [line + b"\n" for line in it.collector.lines()]
    new = [line for line in arrived if line not in LINES]
    assert [line for line in arrived if line in LINES] == LINES
    assert new in ([], OTHERS, [*OTHERS, HALF + b"\n"])
    gaps = [note for note in it.notes if note.kind == "gap"]
    whole = len(b"".join([*LINES[:kept], *OTHERS])) + len(HALF)
    lost = whole - len(b"".join(LINES[:kept])) - len(b"".join(new)) + new.count(HALF + b"\n")
    assert len(gaps) == (1 if lost else 0), gaps
    for gap in gaps:
        assert (gap.path, gap.end) == (str(it.path), whole)
        assert gap.start <= whole - lost
        assert gap.sid in it.collector.sources
        assert gap.code in {"uncompared", "gone"}
    assert it.collector.files_at_risk == {}


@pytest.mark.parametrize("kept", [0, 120])
@pytest.mark.parametrize("done", range(1, STEPS + 1))
def test_a_rewritten_file_that_is_deleted_is_archived_or_told_of_whenever_the_daemon_dies(it, kept, done):
    """Killed after each step, from the look that saw it on: also when the file goes while nobody runs."""
    os.truncate(it.path, len(b"".join(LINES[:kept])))
    append(it.path, b"".join(OTHERS) + HALF)
    for step in it.steps()[:done]:
        step()
    it.crash()
    it.rest()

    expected(it, kept)
    notes, it.notes = it.notes, []
    it.crash()  # and once more: nothing is told again
    it.rest()
    assert notes
    assert "gap" not in it.kinds()


@pytest.mark.parametrize("done", range(1, STEPS))
def test_a_file_that_is_rewritten_and_deleted_between_two_looks_is_archived_or_told_of(it, done):
    """Its descriptor is open: the next look finds both at once."""
    append(it.path, b"")
    os.truncate(it.path, 0)
    append(it.path, b"".join(OTHERS) + HALF)
    steps = it.steps()
    for step in (it.path.unlink, *steps[:2], *steps[3:])[: done + 1]:
        step()
    it.crash()
    it.rest()

    expected(it, 0)


def test_a_rewritten_file_that_is_still_there_after_a_crash_is_no_gap(it):
    """Whoever it is now, the next start reads it; and what was at risk is so no more."""
    os.truncate(it.path, 100)
    append(it.path, b"".join(OTHERS))
    it.turn()
    assert [risk.path for risk in it.collector.files_at_risk.values()] == [str(it.path)]
    it.stepping = False
    it.restart(crash=True)
    it.rest()

    arrived = [line + b"\n" for line in it.collector.lines()]
    assert arrived == [*LINES, LINES[4][:12] + OTHERS[0], *OTHERS[1:]]
    assert "gap" not in it.kinds()
    assert it.collector.files_at_risk == {}


def test_a_rewritten_file_that_holds_its_lines_again_is_not_at_risk(it):
    """An editor was at work; nothing was lost, so a crash and a deletion afterwards lose nothing either."""
    for size in (1000, 2000, len(b"".join(LINES))):
        it.path.write_bytes(b"".join(LINES)[:size])
        for _ in range(3):
            it.turn()
            it.work()
        it.turn()
    assert it.collector.files_at_risk == {}
    it.crash()
    it.rest()
    assert "gap" not in it.kinds()


def test_what_was_read_and_not_committed_when_its_file_was_truncated_is_told_of_after_a_crash(it):
    """Visible lines that nobody can read again: the ledger knew of them before the commit that did not come."""
    append(it.path, b"".join(OTHERS))
    it.turn()
    os.truncate(it.path, 0)
    it.turn()
    it.stepping = False
    it.restart(crash=True)
    it.rest()

    (gap,) = (note for note in it.notes if note.kind == "gap")
    size = len(b"".join(LINES))
    assert (gap.code, gap.start, gap.end) == ("truncated", size, size + len(b"".join(OTHERS)))


def test_a_tail_that_was_never_read_is_told_of_when_its_file_was_truncated_while_the_daemon_was_down(it):
    """T31: its name is still there, its content is not."""
    append(it.path, b"".join(OTHERS))
    it.collector.at_risk({next(iter(it.collector.sources)): it.path.stat().st_size}, [])
    it.stepping = False
    it.restart(crash=True)
    os.truncate(it.path, 0)
    append(it.path, OTHERS[0])
    it.rest()

    (gap,) = (note for note in it.notes if note.kind == "gap")
    assert (gap.code, gap.start) == ("truncated", len(b"".join(LINES)))


def test_what_a_deleted_file_gets_is_known_to_the_ledger_before_its_commit(it):
    """Its writer still has it open: each look that sees more of it makes that known."""
    sid = next(iter(it.collector.sources))
    with it.path.open("ab", buffering=0) as writer:
        it.path.unlink()
        for number in range(3):
            writer.write(OTHERS[number])
            it.turn()
            assert it.collector.sources[sid].size == len(b"".join([*LINES, *OTHERS[: number + 1]]))
    it.crash()
    it.rest()

    (gap,) = (note for note in it.notes if note.kind == "gap")
    assert gap.end - gap.start == len(b"".join(OTHERS[:3]))


def test_an_archive_that_refuses_to_note_what_is_at_risk_is_asked_again(it, monkeypatch):
    """Its disk is full for a moment; reading goes on."""

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    os.truncate(it.path, 0)
    append(it.path, b"".join(OTHERS))
    with monkeypatch.context() as patched:
        patched.setattr(it.collector, "at_risk", refuse)
        it.now += 0.3
        assert isinstance(it.tailer.turn(rescan=True).trouble, OSError)
    it.turn()
    assert it.collector.files_at_risk


def test_an_inode_number_that_is_used_again_does_not_hide_what_was_at_risk(it):
    """The file that has it now is another one, as its generation says."""
    os.truncate(it.path, 0)
    append(it.path, b"".join(OTHERS))
    it.turn()
    (risk,) = it.collector.files_at_risk.values()
    it.collector.files_at_risk = {
        risk.key: type(risk)(**{**risk.to_json(), "generation": (risk.generation or 0) + 1})
    }
    exposure = Exposure(it.collector, it.tailer.binder.books.files)
    assert it.tailer.binder.books.files[risk.key].fate is Fate.PRESENT
    exposure.found(it.tailer.binder.books.files[risk.key].reader.file.identity)

    scan = it.tailer._discovery.scan(it.tailer.binder.books.files, relist=True)
    assert [gone.path for gone in exposure.missing(scan, set())] == [risk.path]
    assert exposure.missing(scan, set()) == []  # told once


FRESH = b"".join(LINE % number for number in range(1000, 1010))


def deleted_anew(it: Process, path: Path) -> None:
    """Delete a log and write it anew through the descriptor that is still open; the daemon sees all of it at once."""
    it.process.send_signal(signal.SIGSTOP)
    with path.open("r+b", buffering=0) as file:
        path.unlink()
        file.truncate(0)
        file.write(FRESH)
    it.process.send_signal(signal.SIGCONT)


def committed(it: Process) -> Path:
    path = it.logs / "app.jsonl"
    write(path, b"".join(LINE % number for number in range(40)))
    it.until_events(40)
    eventually(lambda: offset_of(it, path.name) == path.stat().st_size, "a commit")
    return path


def archived(it: Process) -> int:
    return sum(int(event["eventId"]) >= 1000 for event in it.events())


def told(it: Process, path: Path, *reasons: str) -> None:
    """One event says which bytes of which source are lost, and why."""
    (event,) = eventually(partial(gap_events, it), "an event of the gap")
    facts = event["metadata"]
    assert facts["reason"] in reasons
    assert (facts["from"], facts["to"]) == (0, len(FRESH))
    sources = read_state(str(it.archive), "main").sources
    assert (sources[facts["source"]].file, facts["path"]) == (path.name, str(path))
    assert f"{len(FRESH)} bytes of {path}" in event["description"]


def test_a_daemon_that_is_killed_while_a_deleted_file_is_compared_tells_of_its_lines(tmp_path):
    """The whole daemon, a real SIGKILL as the comparison begins: one event, however often it starts."""
    # The first time a descriptor of the log is duplicated, that is for its sync, the second time for the comparison.
    with serving(tmp_path, WATCHKEEP_FAILPOINTS="duplicate kill */app.jsonl 2", **SOON) as it:
        path = committed(it)
        deleted_anew(it, path)
        assert it.process.wait(PATIENCE_SECONDS) == -signal.SIGKILL
        it.log.unlink()
    for _ in range(2):
        with serving(tmp_path, **SOON) as it:
            told(it, path, "uncompared")
            assert archived(it) == 0
            it.process.kill()
            it.process.wait()
            it.log.unlink()


@pytest.mark.soak
@pytest.mark.parametrize("milliseconds", [0, 100, 200, 300, 400, 600, 800, 1200, 2000])
def test_a_daemon_that_is_killed_at_any_moment_archives_a_deleted_file_or_tells_of_it(tmp_path, milliseconds):
    """From the moment on that it was seen, which the ledger shows."""
    with serving(tmp_path, **SOON) as it:
        path = committed(it)
        deleted_anew(it, path)
        time.sleep(milliseconds / 1000)
        it.process.kill()
        it.process.wait()
        it.log.unlink()
        state = read_state(str(it.archive), "main")
        seen = state.files_at_risk or sum(source.file == path.name for source in state.sources.values()) > 1
    with serving(tmp_path, **SOON) as it:
        it.url()
        if seen and archived(it) == 0:
            told(
                it, path, "uncompared", "gone"
            )  # the second: compared, and a source of its own, but not committed
        else:
            assert archived(it) in ({10} if seen else {0, 10})
