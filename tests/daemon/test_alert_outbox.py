"""What is to be told survives a crash at any moment, a full disk, and damage; and it does not grow for ever."""

from __future__ import annotations

import os
import signal

import pytest

from daemon.failpoints import plant, planted
from daemon.outbound.dispatcher import Dispatcher, Route
from daemon.outbound.matchers import parsed
from daemon.outbound.outbox import Outbox
from storage.fs import Disk
from tests.daemon.alerting import SECOND, START, alert, opened, resolved

ROUTES = [Route(("ops", "pager"))]


def outbox(folder, *, now=START, most=1000):
    made = Outbox(Disk(), str(folder / "outbox"), Dispatcher(ROUTES), most=most)
    made.load(now)
    return made


def facts(box):
    """Return all that counts of an outbox."""
    dispatcher = box.dispatcher
    return (
        dispatcher.alerts,
        dispatcher.groups,
        dispatcher.numbers,
        dispatcher.sequence,
        box.pending,
        box.dead,
        box.silences,
        box.dead_total,
        list(box.left),
    )


def life(box):
    """Do one of everything, yielding after each step."""
    yield box.take([opened("a"), opened("b", level="critical")], START)
    yield box.decide(START + 30 * SECOND)
    yield box.silence(parsed(["user.id=42"]), "ann", "test", START, START + 900 * SECOND)
    yield box.done(next(iter(box.pending.values())), START + 35 * SECOND, "status 200")
    yield box.fail(next(iter(box.pending.values())), "status 404", START + 40 * SECOND)
    yield box.take([resolved(opened("a"))], START + 60 * SECOND)
    yield box.decide(START + 400 * SECOND)
    yield box.digest(list(box.pending.values()), 10, START + 500 * SECOND)
    yield box.expire(next(iter(box.silences)), START + 600 * SECOND)
    yield box.retry(START + 700 * SECOND)


def test_what_was_done_is_there_after_every_step(tmp_path):
    """Opened again after each step, by another process as it were, it is the same."""
    box = outbox(tmp_path)
    for _ in life(box):
        assert facts(outbox(tmp_path)) == facts(box)


def test_a_rewrite_keeps_everything(tmp_path):
    """The rewritten journal says the same as the history did."""
    box = outbox(tmp_path)
    for _ in life(box):
        box._journal._rewrite()
        assert facts(outbox(tmp_path)) == facts(box)


@pytest.mark.parametrize("operation", ["write", "sync", "open", "rename", "sync_dir"])
@pytest.mark.parametrize("error", ["ENOSPC", "EIO", "short"])
def test_a_step_that_fails_changes_nothing_and_can_be_done_again(tmp_path, operation, error):
    """A full disk at any operation: the error rises, memory is as before, and the next try succeeds."""
    box = outbox(tmp_path)
    for step in range(3):
        change = opened(f"a{step}")
        if error == "short":
            plan = f"archive.{operation} short */outbox/*; archive.{operation} EIO */outbox/* 3"
        else:
            plan = f"archive.{operation} {error} */outbox* 1+{step + 1}"
        with planted(plan):
            for _ in range(step + 1):
                before = dict(box.dispatcher.alerts)
                try:
                    box.take([change], START)
                except OSError:
                    assert box.dispatcher.alerts == before
        box.take([change], START)
        assert set(box.dispatcher.alerts) == {f"a{n}" for n in range(step + 1)}
        assert facts(outbox(tmp_path)) == facts(box)


def test_a_torn_line_is_cut_off_and_a_damaged_one_is_left_out_and_kept(tmp_path):
    """Half a line was acknowledged to nobody. A flipped bit loses its line, said and kept for whoever looks."""
    box = outbox(tmp_path)
    for name in "abc":
        box.take([opened(name)], START)
    path = tmp_path / "outbox" / "journal.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert set(outbox(tmp_path).dispatcher.alerts) == {"a", "b"}
    lines = whole.splitlines(keepends=True)
    lines[-2] = lines[-2].replace(b"Many", b"Mbny")
    path.write_bytes(b"".join(lines))
    found = outbox(tmp_path)
    assert set(found.dispatcher.alerts) == {"a", "c"}
    assert found.damaged == 1
    assert b"Mbny" in (tmp_path / "outbox" / "journal.damaged").read_bytes()


def test_the_journal_does_not_grow_with_its_history(tmp_path, monkeypatch):
    """Ten thousand steps of one alert leave a file of a few lines."""
    monkeypatch.setattr("storage.journal.COMPACT_BYTES", 20_000)
    monkeypatch.setattr("daemon.outbound.outbox.MOST_TOLD", 20)
    monkeypatch.setattr(Disk, "sync_file", lambda self, path: None)
    box = outbox(tmp_path)
    for turn in range(200):
        now = START + turn * 1000 * SECOND
        box.take([opened(f"a{turn}")], now)
        box.decide(now + 30 * SECOND)
        for message in list(box.pending.values()):
            box.done(message, now, "status 200")
        box.take([resolved(opened(f"a{turn}"))], now + 40 * SECOND)
        box.decide(now + 400 * SECOND)
        for message in list(box.pending.values()):
            box.done(message, now, "status 200")
    assert os.path.getsize(tmp_path / "outbox" / "journal.jsonl") < 60_000
    assert facts(outbox(tmp_path)) == facts(box)


def test_who_was_told_of_what_is_remembered_as_long_as_there_is_room(tmp_path, monkeypatch):
    """When it left, who took it and what came back, also of what was given up; the oldest goes first."""
    monkeypatch.setattr("daemon.outbound.outbox.MOST_TOLD", 3)
    box = outbox(tmp_path)
    for turn, name in enumerate("abc"):
        now = START + turn * 1000 * SECOND
        box.take([opened(name, rule=f"r-{name}")], now)
        box.decide(now + 30 * SECOND)
        first, *others = box.pending.values()
        box.done(first, now + 31 * SECOND, "status 200")
        for message in others:
            box.fail(message, "status 404", now + 32 * SECOND)
    for kept in (box.left, outbox(tmp_path).left):
        assert len(kept) == 3
        assert kept[-1].alerts == ("c",)
        assert {(left.ok, left.what) for left in kept} == {(True, "status 200"), (False, "status 404")}


def test_too_many_messages_go_to_the_dead_letters_and_are_counted(tmp_path):
    """The bound holds, and nothing vanishes silently."""
    box = outbox(tmp_path, most=3)
    for name in "abc":
        box.take([opened(name, rule=f"r-{name}")], START)
    box.decide(START + 30 * SECOND)
    assert len(box.pending) == 3
    assert len(box.dead) == box.dead_total == 3


def test_a_digest_stands_for_what_it_covers(tmp_path):
    """One message for six, with the newest word on each alert; the others are gone, durably."""
    box = outbox(tmp_path)
    for name in "abc":
        box.take([opened(name, rule=f"r-{name}")], START)
    box.decide(START + 30 * SECOND)
    ops = [message for message in box.pending.values() if message.channel == "ops"]
    made = box.digest(ops, 2, START + 60 * SECOND)
    assert (len(made.alerts), made.more) == (2, 1)
    assert [m.key for m in outbox(tmp_path).pending.values() if m.channel == "ops"] == [made.key]


def living(folder, operation, pipe):
    """Live in a process of its own that is killed before its so-manyth operation; what it did goes to a pipe."""

    def say(*words):
        os.write(pipe, (" ".join(words) + "\n").encode())

    box = outbox(folder)
    plant(f"archive.* kill */outbox* {operation}")
    for turn in range(4):
        name = f"a{turn}"
        box.take([opened(name)], START)
        say("took", name)
        box.decide(START + (30 + turn) * SECOND)
        for message in list(box.pending.values()):
            say("sent", message.key, *[one.id for one in message.alerts])
            box.done(message, START, "status 200")
            say("done", message.key)
        if turn == 2:
            box._journal._rewrite()
    say("end")


def lived(folder, operation):
    """Fork a process for `living`; return how it ended and what it said. A fork, for sixty imports take a minute."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            living(folder, operation, writing)
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as said:
        lines = [line.split() for line in said]
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), lines


def test_a_kill_at_any_operation_loses_nothing_and_repeats_with_the_same_key(tmp_path):
    """SIGKILL before each operation on the outbox's files, one after the other, in a real process.

    What was taken is told afterwards; what was struck off does not come again; what was only sent comes again under its key.
    """
    killed = 0
    for operation in range(1, 200):
        folder = tmp_path / str(operation)
        folder.mkdir()
        code, lines = lived(folder, operation)
        if code == 0:
            assert lines[-1] == ["end"]
            break
        assert code == -signal.SIGKILL
        killed += 1
        box = outbox(folder)
        box.decide(START + 1000 * SECOND)
        took = {(channel, line[1]) for line in lines if line[0] == "took" for channel in ("ops", "pager")}
        sent = {line[1]: set(line[2:]) for line in lines if line[0] == "sent"}
        done = {line[1] for line in lines if line[0] == "done"}
        told = {(key.rpartition("-")[2], name) for key, names in sent.items() for name in names}
        waiting = {(message.channel, one.id) for message in box.pending.values() for one in message.alerts}
        assert took <= told | waiting, f"operation {operation}: lost {took - told - waiting}"
        assert not done & set(box.pending), f"operation {operation}: came again"
        assert len(set(sent) - done) <= 1
        for key in set(sent) & set(box.pending):
            assert {one.id for one in box.pending[key].alerts} == sent[key]
    else:
        pytest.fail("it never came to its end")
    assert killed > 30


def test_alerts_taken_before_the_first_word_are_told_after_a_restart(tmp_path):
    """Killed within the thirty seconds of waiting: the wait goes on where it was."""
    outbox(tmp_path).take([opened("a")], START)
    box = outbox(tmp_path, now=START + 10 * SECOND)
    assert not box.decide(START + 29 * SECOND)
    assert len(box.decide(START + 30 * SECOND)[0].messages) == 2
    assert alert("a") in next(iter(box.pending.values())).alerts
