"""Kills a process at its N-th file operation between an event and the receiver of its alert, and again in the recovery.

Run as a program: it imports everything once and forks for each kill. Real files, a real archive, detection, the outbox,
and HTTP to a receiver in a process of its own, which writes down what it gets. Prints one JSON object.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import duckdb
from aiohttp import web

from daemon.detection import Detection, DetectionOptions
from daemon.outbound.around import Around
from daemon.outbound.dispatcher import Route
from daemon.outbound.sender import Channel
from daemon.outbound.teller import Teller, TellerOptions
from daemon.rulebook import read
from daemon.selflog import SelfLog
from storage import failpoints
from storage.observer import Silent
from tests.faults.cycles import Killer
from tests.web.station import Station, event

USERS = 4  # that are attacked, one after the other; one alert each
LINES = 24
AT_ONCE = 5  # lines that become visible together
LOG = "app-2026-06-01.log"
OF_ALERTS = ("/self/", "/outbox/", "/detection/")
PATIENCE_SECONDS = 240.0
RULE = """
title: Failed logins
id: 5f3f0d2e-6f0c-4d35-9a52-3f1a5d6b9901
logsource: {product: watchkeep}
detection: {sel: {outcome: failure}, condition: sel}
level: high
group: [user.id]
"""


class AlertKiller(Killer):
    """Kills before the N-th operation on files of detection, of the daemon's own log and of the outbox."""

    def __call__(self, operation: str, path: str) -> None:
        if any(part in path for part in OF_ALERTS):
            super().__call__(operation, path)


@contextmanager
def receiver(got: Path) -> Iterator[str]:
    """A receiver in a process of its own: key and alerts of each message become a line of ``got`` before it answers."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if not pid:
        asyncio.run(_receive(got, write_end))
    try:
        yield f"http://127.0.0.1:{int(os.read(read_end, 16))}"
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


async def _receive(got: Path, port_to: int) -> None:
    async def answer(request: web.Request) -> web.Response:
        body = await request.json()
        alerts = [alert["id"] for alert in body["data"]["alerts"]]
        line = json.dumps({"key": request.headers["webhook-id"], "type": body["type"], "alerts": alerts})
        with (got.parent / request.path[1:] / got.name).open("a") as out:
            out.write(line + "\n")
        return web.Response()

    app = web.Application()
    app.router.add_post("/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    os.write(port_to, str(runner.addresses[0][1]).encode())
    await asyncio.Event().wait()


def prepare(folder: Path) -> None:
    """Write what the application says, and the rule."""
    (folder / "logs").mkdir(parents=True)
    (folder / "rules").mkdir()
    (folder / "rules" / "one.yml").write_text(RULE)
    lines = [
        event(
            eventId=f"e{n}",
            outcome="success" if n % 3 == 2 else "failure",
            user={"id": f"u{n * USERS // LINES}"},
            timestamp=f"2026-06-01T11:{n:02}:00Z",
        )
        for n in range(LINES)
    ]
    (folder / "logs" / LOG).write_text("".join(json.dumps(line) + "\n" for line in lines))


async def work(folder: Path, url: str) -> None:
    """Do all that lies between the file and the receiver, until everybody was told of everything."""
    station = Station(folder)
    station.resume()
    own = f"{datetime.now(UTC):%Y-%m-%d}.jsonl"
    selflog = SelfLog(station.archive.layout.own_log, node="main", version="0")
    options = DetectionOptions(interval_seconds=0.0, update_seconds=0.0)
    book = str(folder / "rules")
    detection = Detection(station.archive, selflog, Silent(), options, lambda: read([book], ()))
    detection.prepare()
    hook = Channel("hook", "webhook", url=url, per_minute=10_000)
    route = Route(("hook",), group_by=("...",), wait_us=0)
    around = Around(
        sources=tuple,
        degraded=tuple,
        ready=lambda: (True, ""),
        audit=_said,
        dashboard=str,
        alerts=detection.changes,
    )
    told = TellerOptions(channels=(hook,), routes=(route,), own_alerts=False)
    teller = Teller(told, station.archive.layout.outbox, Silent(), {}, around)
    detection.add_listener(teller.hear)
    telling = asyncio.create_task(teller.run())
    turn = 0
    while await asyncio.to_thread(_take, station, own):
        await detection.caught_up()
        turn += 1
        if turn % 2:
            await asyncio.to_thread(station.archive.commit)
    await asyncio.to_thread(station.archive.commit)
    while detection.watermark < station.archive.state.max_seq:
        await detection.caught_up()
    await teller.observe()
    while await teller.dispatch() == 0 or teller.outbox.pending:  # noqa: ASYNC110 - as other processes do
        await asyncio.sleep(0.01)
    telling.cancel()
    await asyncio.gather(telling, return_exceptions=True)
    teller.close()
    detection.close()
    selflog.close()
    station.close()


async def _said(_event: object) -> None:
    """Nothing of it is of interest here."""


def _take(station: Station, own: str) -> bool:
    """Take in the next lines of the application, and all of the daemon's own."""
    there = (Path(station.archive.layout.own_log) / own).exists()
    return station.take_lines(LOG, AT_ONCE) | (there and station.take_lines(own, internal=True))


def check(folder: Path) -> None:
    """Compare what was told and what is archived with what happened; exits with 1 and a word if anything is wrong."""
    told = [json.loads(line) for line in (folder / "got").read_text().splitlines()]
    keys: dict[str, set[str]] = defaultdict(set)
    for message in told:
        for alert in message["alerts"]:
            keys[alert].add(message["key"])
    station = Station(folder)
    paths = [
        f"{station.archive.layout.root}/{file.path}"
        for file in station.archive.state.files.values()
        if file.kind == "events"
    ]
    rows = duckdb.execute(
        "SELECT event_id, entity_id, internal, json_extract_string(metadata, '$.change') AS change, "
        "json_extract(metadata, '$.alert.groups[0]') AS who, CAST(json_extract(metadata, '$.alert.count') AS INT) AS n "
        f"FROM read_parquet({paths!r}, union_by_name = true)"
    ).fetchall()
    station.close()
    ids = Counter(event_id for event_id, _, internal, *_ in rows if internal)
    assert not [name for name, times in ids.items() if times > 1], f"twice in the archive: {ids}"
    opened = Counter(who for _, _, internal, change, who, _ in rows if internal and change == "opened")
    assert opened == {f'"u{n}"': 1 for n in range(USERS)}, f"opened: {opened}"
    alerts = {alert for _, alert, internal, change, *_ in rows if internal and change == "opened"}
    counts = {who: max(n for *_, w, n in rows if w == who) for who in opened}
    assert set(counts.values()) == {LINES // USERS * 2 // 3}, f"failures: {counts}"
    assert set(keys) == alerts, f"told of {set(keys)}, archived are {alerts}"
    repeats = Counter(message["key"] for message in told)
    bodies = {(message["key"], message["type"], tuple(message["alerts"])) for message in told}
    assert len(bodies) == len(repeats), "two different messages have one key"


def forked(action: Callable[[], None], killer: Killer | None = None) -> int:
    """Run something in a child; returns its wait status."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    signal.alarm(int(PATIENCE_SECONDS))
    try:
        if killer is not None:
            failpoints.plant(killer)
        action()
    except BaseException as error:  # noqa: BLE001 - the parent hears of it
        sys.stderr.write(f"{error!r}\n")
        os._exit(1)
    os._exit(0)


def main(folder: Path, first: int, step: int, most: int) -> None:
    kills = in_recovery = 0
    number = first
    with receiver(folder / "got") as url:
        while kills < most:
            place = folder / str(number)
            place.mkdir()
            prepare(place)

            def go(place: Path = place) -> None:
                asyncio.run(work(place, f"{url}/{place.name}"))

            status = forked(go, AlertKiller(number))
            if status == 0:
                break
            assert os.WIFSIGNALED(status), f"operation {number}"
            assert os.WTERMSIG(status) == signal.SIGKILL, f"operation {number}: it hangs"
            kills += 1
            in_recovery += os.WIFSIGNALED(forked(go, AlertKiller(number % 11)))
            assert forked(go) == 0, f"operation {number}: it does not come to its end"
            assert forked(lambda place=place: check(place)) == 0, f"operation {number}"  # type: ignore[misc]
            number += step
    print(json.dumps({"kills": kills, "in_recovery": in_recovery, "operations": number}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
