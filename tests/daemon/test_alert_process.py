"""From a line in a file to a receiver, through the real daemon, which is killed while it sends."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.daemon.alerting import Receiver, verified
from tests.daemon.test_detection import FAST, LIMIT, failures
from tests.daemon.test_service import PATIENCE_SECONDS, serving
from tests.support import ROOT

CONFIG = """
[alerts]
own_alerts = false

[[alerts.channels]]
name = "hook"
type = "webhook"
url = "{url}"
secret_file = "hook.key"

[[alerts.routes]]
match = ['title="Many failed logins of one user"']
channels = ["hook"]
group_by = ["..."]
group_wait_seconds = 0.0

[[alerts.routes]]
"""


async def asked(folder: Path, *words: str) -> tuple[int, str]:
    """Run `watchkeep alerts` beside the daemon."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "watchkeep.py"),
        "alerts",
        *words,
        "--archive",
        str(folder / "archive"),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


async def test_killed_while_it_sends_the_daemon_tells_of_every_alert_under_one_key(tmp_path: Path) -> None:
    """Nine users are attacked; the daemon is killed at every third request. Each alert arrives, repeats have their key."""
    current: list[Any] = []

    async def kill_sometimes(_request):
        if len(receiver.requests) in {2, 5, 8} and current[-1].poll() is None:
            current[-1].send_signal(signal.SIGKILL)
            await asyncio.sleep(0.05)
        return web.Response()

    async with Receiver([kill_sometimes]) as receiver:
        (tmp_path / "config.toml").write_text(CONFIG.format(url=receiver.url))
        (tmp_path / "hook.key").write_text("k3y\n")
        users = [f"user{n}" for n in range(9)]
        ends = time.monotonic() + 3 * PATIENCE_SECONDS
        written = False
        by_user: dict[str, set[str]] = {}
        while set(by_user) != set(users):
            assert time.monotonic() < ends, (by_user, (tmp_path / "daemon.log").read_text()[-3000:])
            with serving(tmp_path, **FAST) as it:
                current.append(it.process)
                if not written:
                    await asyncio.to_thread(it.url)
                    for user in users:
                        failures(it, user, LIMIT + 1)
                    written = True
                while it.process.poll() is None and set(by_user) != set(users):
                    await asyncio.sleep(0.1)
                    assert time.monotonic() < ends, (by_user, it.log.read_text()[-3000:])
                    for key, body in zip(receiver.keys(), receiver.bodies(), strict=False):
                        if body["type"] == "alert.firing":
                            for one in body["data"]["alerts"]:
                                by_user.setdefault(next(iter(one["group"].values())), set()).add(key)
        assert all(len(keys) == 1 for keys in by_user.values()), by_user
        assert len(current) > 2
        assert all(verified(headers, body, b"k3y") for headers, body in receiver.requests)


async def test_people_test_channels_and_silence_alerts_beside_the_running_daemon(tmp_path: Path) -> None:
    """`watchkeep alerts`: what came back, silences and states that are events, dead letters in readiness, sent again."""
    async with Receiver([404, 404, 200]) as receiver:
        (tmp_path / "config.toml").write_text(CONFIG.format(url=receiver.url))
        (tmp_path / "hook.key").write_text("k3y\n")
        with serving(tmp_path, **FAST) as it:
            await asyncio.to_thread(it.url)
            code, said = await asked(tmp_path, "test", "hook")
            assert (code, "404" in said) == (1, True), said
            failures(it, "ann", LIMIT + 1)
            ends = time.monotonic() + PATIENCE_SECONDS
            while len(receiver.requests) < 2:
                assert time.monotonic() < ends, it.log.read_text()[-3000:]
                await asyncio.sleep(0.1)
            while not (ready := await asyncio.to_thread(it.get, "/health/ready")).get("degraded"):
                assert time.monotonic() < ends, ready
                await asyncio.sleep(0.1)
            assert "dead-letters" in str(ready)
            code, said = await asked(tmp_path, "outbox")
            assert "404" in said
            assert (await asked(tmp_path, "outbox", "retry"))[0] == 0
            while len(receiver.requests) < 3:
                assert time.monotonic() < ends
                await asyncio.sleep(0.1)
            code, said = await asked(
                tmp_path, "silence", "add", "--match", "user_id=ann", "--comment", "we know", "--json"
            )
            assert code == 0, said
            identity = json.loads(said)["id"]
            assert "in force" in (await asked(tmp_path, "silence", "list"))[1]
            assert (await asked(tmp_path, "silence", "expire", identity))[0] == 0
            assert (await asked(tmp_path, "silence", "expire", identity))[0] != 0
            assert "k3y" not in it.log.read_text() + str(await asyncio.to_thread(it.get, "/api/v1/status"))
            (alert,) = json.loads((await asked(tmp_path, "list", "--json"))[1])["alerts"]
            for doing, state in (("ack", "acknowledged"), ("resolve", "resolved"), ("reopen", "open")):
                words = (doing, alert["id"][:8], "--comment", f"{doing} by hand", "--json")
                code, said = await asked(tmp_path, *words)
                assert (code, json.loads(said)["state"]) == (0, state), said
            code, said = await asked(tmp_path, "ack", "no-such-alert")
            assert (code, "there is no such alert" in said) == (1, True), said
            log = "".join(path.read_text() for path in (it.archive / "nodes/main/self").iterdir())
            assert "resolve by hand" in log
            assert log.count("we know") >= 2
            assert "watchkeep_alert_messages_total" in await asyncio.to_thread(it.metrics)
            assert await asyncio.to_thread(it.stop) == 0
        code, said = await asked(tmp_path, "test", "hook")
        assert (code, "took the message" in said or '"ok":true' in said.replace(" ", "")) == (0, True), said
