"""Following a real daemon through a kill: nothing is lost, and what comes twice is said to."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable
from pathlib import Path

from aiohttp import ClientSession

from tests.daemon.test_service import Process, serving
from tests.support import ROOT
from tests.web.followers import Follower, until

SELDOM = {"WATCHKEEP__ARCHIVE__COMMIT_SECONDS": "60"}  # what is shown in a test stays uncommitted

LOG = "daemon.log"  # says where a daemon answers: only the newest counts


async def follow(process: Process, follower: Follower, *ids: str) -> Callable[[], int]:
    """Connect, append, wait until every id was delivered, and end the daemon in the way that is returned."""
    async with ClientSession(process.url()) as session:
        await follower.connect(session)
        process.append(*ids)
        await until(lambda: set(ids) <= set(follower.ids))
        await follower.leave()
    return process.stop


async def test_after_a_kill_a_client_is_told_what_comes_again(tmp_path: Path) -> None:
    """Events that were shown and not committed have new numbers; source and offset tell that they are the same."""
    follower = Follower()
    with serving(tmp_path, **SELDOM) as first:
        await follow(first, follower, "a", "b")
        os.kill(first.process.pid, signal.SIGKILL)
        first.process.wait()
    assert not follower.resets
    (tmp_path / LOG).unlink()
    with serving(tmp_path, **SELDOM) as second:
        await follow(second, follower, "c")
    assert [said["reason"] for said in follower.resets] == ["uncommitted"]
    places = [(row["source"]["id"], row["source"]["offset"]) for row in follower.events]
    assert follower.ids[:2] == ["a", "b"]
    assert follower.ids[2:] == ["a", "b", "c"]
    assert places[:2] == places[2:4]
    assert len(set(places)) == 3


async def test_after_an_orderly_stop_nothing_comes_twice(tmp_path: Path) -> None:
    """Whatever a client had seen is committed under the number it knows; what it missed meanwhile comes first."""
    follower = Follower()
    with serving(tmp_path, **SELDOM) as first:
        stop = await follow(first, follower, "a", "b")
        first.append("missed")
        assert stop() == 0
    (tmp_path / LOG).unlink()
    with serving(tmp_path, **SELDOM) as second:
        stop = await follow(second, follower, "c")
        assert stop() == 0
    (tmp_path / LOG).unlink()
    with serving(tmp_path, **SELDOM) as third:
        await follow(third, follower, "d")
    assert not follower.resets
    assert follower.ids == ["a", "b", "missed", "c", "d"]


async def test_tail_goes_on_when_the_daemon_starts_again(tmp_path: Path) -> None:
    """Whatever ended the daemon; what comes twice is printed twice, and a note says so."""
    command = [sys.executable, str(ROOT / "watchkeep.py"), "tail", "--json", "-n", "1"]
    command += ["--archive", str(tmp_path / "archive")]
    with serving(tmp_path, **SELDOM) as first:
        first.append("old", "a")
        await asyncio.to_thread(first.until_events, 2)
        tail = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, cwd=tmp_path)
        assert tail.stdout is not None
        assert tail.stderr is not None
        try:
            assert json.loads(await tail.stdout.readline())["eventId"] == "a"
            first.append("b")
            assert json.loads(await tail.stdout.readline())["eventId"] == "b"
            first.process.kill()
            first.process.wait()
            (tmp_path / LOG).unlink()
            with serving(tmp_path, **SELDOM) as second:
                second.append("c")
                found = [json.loads(await tail.stdout.readline())["eventId"] for _ in range(4)]
                assert found == ["old", "a", "b", "c"]
                assert b"may come again" in await tail.stderr.readline()
        finally:
            tail.send_signal(signal.SIGINT)
            assert await tail.wait() == 0
