"""Daemon, application and users together, until Ctrl-C or for some seconds."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from watchkeep_client import enhanced_logger
from watchkeep_demo.server import DEFAULT_COMMAND, DemoError, Folders, Server
from watchkeep_demo.traffic import application, visitors

DEFAULT_PORT = 8710
# After the users are gone, how long the last lines may take to be counted by the daemon.
SETTLE_SECONDS = 10.0
POLL_SECONDS = 0.2
REPORT_SECONDS = 10.0


def run_demo(
    *,
    directory: Path = Path(".demo"),
    seconds: float | None = None,
    port: int = DEFAULT_PORT,
    pace: float = 1.0,
    command: Sequence[str] = DEFAULT_COMMAND,
    out: TextIO = sys.stdout,
) -> int:
    """Run the demonstration and return an exit code: 0 when every line on disk came back over HTTP.

    ``directory`` keeps everything and is emptied at the start; ``seconds`` None means until Ctrl-C; ``pace`` 1 is
    as fast as people; ``command`` starts `watchkeep`.
    """
    try:
        return asyncio.run(_demo(Folders(directory), seconds, port, pace, command, out))
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


async def _demo(
    folders: Folders, seconds: float | None, port: int, pace: float, command: Sequence[str], out: TextIO
) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    folders.prepare()
    server = await Server.start(folders, port, command)
    try:
        async with application(folders.logs) as address:
            print(f"Dashboard   {server.address}/", file=out)
            print(f"Application {address}/  (its users are at work)", file=out)
            print(f"Log lines   {folders.logs}/", file=out)
            print(f"Archive     {folders.archive}/", file=out)
            print(
                "Ctrl-C stops everything." if seconds is None else f"Stops after {seconds:g} s.",
                file=out,
                flush=True,
            )
            async with visitors(address, pace):
                await _until(stop, seconds, server, out)
        found, written = await settled(server, folders)
    finally:
        code = await server.stop()
    print(f"\nThe application wrote {written} lines; the daemon answers with {found} events.", file=out)
    print(f"The daemon stopped with code {code}.", file=out, flush=True)
    return 0 if found == written and code == 0 and enhanced_logger.stats.dropped == 0 else 1


async def _until(stop: asyncio.Event, seconds: float | None, server: Server, out: TextIO) -> None:
    began = time.monotonic()
    shown = began
    while not stop.is_set():
        left = POLL_SECONDS if seconds is None else min(POLL_SECONDS, began + seconds - time.monotonic())
        if left <= 0:
            return
        if server.process.returncode is not None:
            raise DemoError(f"the daemon ended with {server.process.returncode}")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), left)
        if out.isatty() and time.monotonic() - shown > REPORT_SECONDS:
            shown = time.monotonic()
            print(f"  {enhanced_logger.stats.written} events so far", file=out, flush=True)


async def settled(server: Server, folders: Folders) -> tuple[int, int]:
    """Wait until the daemon answers with as many events as there are lines; return both counts."""
    written = await asyncio.to_thread(count_lines, folders.logs)
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        found = int((await server.ask("/api/v1/events?limit=1"))["total"])
        if found == written or time.monotonic() > deadline:
            return found, written
        await asyncio.sleep(POLL_SECONDS)


def count_lines(logs: Path) -> int:
    """Return how many lines the application's files hold."""
    return sum(path.read_bytes().count(b"\n") for path in logs.glob("*.jsonl"))
