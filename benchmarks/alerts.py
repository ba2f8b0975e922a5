"""Append → alert at a receiver: how long after its line was written somebody is told of an event, under a steady stream.

All our rules are on, and two more whose alerts are measured: one fires at a marked event, one at the third marked event
of a user. A webhook in this process is told; its routes wait for nobody (`group_wait_seconds = 0`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.daemon import Daemon
from benchmarks.latency import RATE, Stream
from benchmarks.measure import DEFAULT_DATA, SPREAD, TAKEN, BenchmarkError, spread, table, taken

SECONDS = 60.0
WARM_SECONDS = 5.0  # of the stream, before the first is measured
MARK_SECONDS = 0.5  # mean time between two measured alerts
GIVE_UP_SECONDS = 120.0
EVENTS_OF_A_USER = 3  # for the correlation
RULES = f"""
title: A marked event
id: 0b0a5c1e-3c0f-4e0b-9a64-6f1d8b5a0001
logsource: {{product: watchkeep}}
detection: {{sel: {{action: mark_one}}, condition: sel}}
level: high
group: [user.id]
---
title: marked events
name: marked
logsource: {{product: watchkeep}}
detection: {{sel: {{action: mark_some}}, condition: sel}}
---
title: Marked events of a user
id: 0b0a5c1e-3c0f-4e0b-9a64-6f1d8b5a0002
correlation:
  type: event_count
  rules: [marked]
  group-by: [user.id]
  timespan: 10m
  condition: {{gte: {EVENTS_OF_A_USER}}}
level: high
"""
CONFIG = """
[rules]
directories = ["{rules}"]

[alerts]
own_alerts = false

[[alerts.channels]]
name = "hook"
type = "webhook"
url = "http://127.0.0.1:{port}/"
per_minute = 10000

[[alerts.routes]]
match = ['title=~"Marked events of a user|A marked event"']
channels = ["hook"]
group_by = ["..."]
group_wait_seconds = 0.0
"""


class Told:
    """When the receiver was told of whom."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        self.changed = threading.Condition()

    def note(self, body: bytes) -> None:
        """Note who is in a message."""
        now = time.perf_counter()
        with self.changed:
            for alert in json.loads(body)["data"].get("alerts", ()):
                for value in alert["group"].values():
                    self.at.setdefault(value, now)
            self.changed.notify_all()

    def wait(self, names: list[str]) -> None:
        """Wait until all were named. Raises BenchmarkError if that takes too long."""
        with self.changed:
            if not self.changed.wait_for(lambda: all(name in self.at for name in names), GIVE_UP_SECONDS):
                missing = [name for name in names if name not in self.at]
                raise BenchmarkError(
                    f"nobody was told of {len(missing)} of {len(names)} alerts, {missing[0]} first"
                )


@contextmanager
def receiver(told: Told) -> Iterator[int]:
    """A webhook on a free port."""

    class Answer(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            told.note(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Nothing: alerts come by the hundred."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def measure(
    data: Path, rate: int = RATE, seconds: float = SECONDS, warm_seconds: float = WARM_SECONDS
) -> None:
    """Print percentiles of append → delivered at ``rate`` events per second, ``warm_seconds`` after they begin."""
    folder = data / "alerts"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "rules").mkdir(parents=True)
    (folder / "rules" / "marks.yml").write_text(RULES)
    logs, told = folder / "logs", Told()
    with receiver(told) as port:
        config = CONFIG.format(rules=folder / "rules", port=port)
        with Daemon.over(folder / "archive", logs, folder, config) as daemon:
            path = logs / f"app-{time.strftime('%Y-%m-%d', time.gmtime())}.jsonl"
            stream = Stream(path, rate)
            _mark(path, "some-first")
            told.wait(["some-first"])  # the rules are read
            stream.start()
            time.sleep(warm_seconds)
            cpu, began = daemon.cpu_seconds(), time.perf_counter()
            written = _marks(path, seconds)
            used = (daemon.cpu_seconds() - cpu) / (time.perf_counter() - began)
            told.wait(list(written))
            stream.stop()
            peak = daemon.peak_bytes()
    rows = []
    for kind, what in (("one", "a rule of one event"), ("some", f"a correlation of {EVENTS_OF_A_USER}")):
        delays = [told.at[name] - at for name, at in written.items() if name.startswith(kind)]
        rows.append([what, *spread(delays), *taken(used, peak, stream.behind)])
    heads = ("append → delivered", "alerts", *SPREAD, *TAKEN)
    table(f"Alerts at {rate:,} events/s, all rules on", heads, rows)
    shutil.rmtree(folder, ignore_errors=True)


def _marks(path: Path, seconds: float) -> dict[str, float]:
    """Append marked events for a while; returns when the one that makes each alert was written, by its user."""
    chance = random.Random(7)
    written: dict[str, float] = {}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        time.sleep(chance.expovariate(1 / MARK_SECONDS))
        name = f"{'one' if len(written) % 2 else 'some'}-{len(written)}"
        written[name] = _mark(path, name)
    return written


def _mark(path: Path, user: str) -> float:
    """Append what makes an alert about a user, and return when the last write of it began."""
    kind = user.partition("-")[0]
    began = 0.0
    fd = os.open(path, os.O_WRONLY | os.O_APPEND)
    for _ in range(1 if kind == "one" else EVENTS_OF_A_USER):
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        line = {"timestamp": now, "action": f"mark_{kind}", "user": {"id": user}}
        began = time.perf_counter()
        os.write(fd, json.dumps(line).encode() + b"\n")
    os.close(fd)
    return began


def main() -> int:
    """Measure once."""
    parser = argparse.ArgumentParser(prog="benchmarks.alerts", description=__doc__)
    parser.add_argument("--rate", type=int, default=RATE, help="events per second")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--warm", type=float, default=WARM_SECONDS, help="seconds of the stream before")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    given = parser.parse_args()
    measure(given.data, given.rate, given.seconds, given.warm)
    return 0


if __name__ == "__main__":
    sys.exit(main())
