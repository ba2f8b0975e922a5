"""The daemon of the demonstration: its folders, its configuration, its process."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from aiohttp import ClientConnectionError, ClientSession, ClientTimeout

ENTRY = Path(__file__).resolve().parents[2] / "watchkeep.py"
DEFAULT_COMMAND = (sys.executable, str(ENTRY))
START_SECONDS = 30.0
POLL_SECONDS = 0.1
# Longer than the daemon's own limit for a graceful stop, so that its last commit is never cut off.
STOP_SECONDS = 15.0
# Says that a folder was made by the demonstration, which may therefore empty it at the next start.
MARK = "made-by-the-demonstration"


class DemoError(Exception):
    """The demonstration cannot go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Folders:
    """Everything the demonstration keeps, in one folder."""

    root: Path

    @property
    def logs(self) -> Path:
        """Where the application logs."""
        return self.root / "logs"

    @property
    def archive(self) -> Path:
        """The daemon's archive."""
        return self.root / "archive"

    @property
    def config(self) -> Path:
        """The daemon's configuration."""
        return self.root / "config.toml"

    @property
    def daemon_log(self) -> Path:
        """What the daemon says about itself."""
        return self.root / "daemon.log"

    def prepare(self) -> None:
        """Make the folders, empty. A folder that the demonstration did not make is refused, never emptied."""
        mark = self.root / MARK
        if self.root.exists() and any(self.root.iterdir()) and not mark.exists():
            raise DemoError(f"{self.root} holds files of somebody else: give another folder")
        if self.root.exists():
            shutil.rmtree(self.root)
        self.logs.mkdir(parents=True)
        mark.touch()

    def configure(self, port: int) -> None:
        """Write the daemon's configuration: these folders, this port, a dashboard that refreshes often."""
        self.config.write_text(
            "# Written by the demonstration at every start.\n"
            f"[logs]\ndirectories = [{_toml(self.logs)}]\n\n"
            f"[archive]\npath = {_toml(self.archive)}\n\n"
            f"[web]\nport = {port}\nrefresh_seconds = 5\n",
            encoding="utf-8",
        )


class Server:
    """A running daemon as a child process."""

    def __init__(self, process: asyncio.subprocess.Process, address: str, folders: Folders) -> None:
        self.process = process
        self.address = address
        self._folders = folders

    @classmethod
    async def start(cls, folders: Folders, port: int, command: Sequence[str] = DEFAULT_COMMAND) -> Self:
        """Start ``command serve`` on ``port`` (another one if it is taken) and wait until it is ready."""
        chosen = free_port(port)
        folders.configure(chosen)
        with folders.daemon_log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command,
                "serve",
                "--config",
                str(folders.config),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        server = cls(process, f"http://127.0.0.1:{chosen}", folders)
        try:
            await server._ready()
        except BaseException:
            await server.stop()
            raise
        return server

    async def ask(self, path: str) -> Any:
        """Return the JSON a GET of ``path`` answers; raises `DemoError` for any answer but a success."""
        timeout = ClientTimeout(total=START_SECONDS)
        async with ClientSession(timeout=timeout) as http, http.get(self.address + path) as answer:
            if answer.status != 200:
                raise DemoError(
                    f"the daemon answered {answer.status} to {path}: {(await answer.text())[:500]}"
                )
            return await answer.json()

    async def stop(self) -> int:
        """Ask the daemon to stop, wait for its last commit, and return its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self.process.wait(), STOP_SECONDS)
            except TimeoutError:
                self.process.kill()
        return await self.process.wait()

    async def _ready(self) -> None:
        deadline = asyncio.get_running_loop().time() + START_SECONDS
        async with ClientSession(timeout=ClientTimeout(total=5)) as http:
            while asyncio.get_running_loop().time() < deadline:
                if self.process.returncode is not None:
                    raise DemoError(f"the daemon ended with {self.process.returncode}:\n{self._last_words()}")
                try:
                    async with http.get(self.address + "/health/ready") as answer:
                        if answer.status == 200:
                            return
                except (ClientConnectionError, TimeoutError):
                    pass  # not listening yet
                await asyncio.sleep(POLL_SECONDS)
        raise DemoError(f"the daemon was not ready within {START_SECONDS:.0f} s:\n{self._last_words()}")

    def _last_words(self) -> str:
        return "\n".join(self._folders.daemon_log.read_text(errors="replace").splitlines()[-20:])


def free_port(wanted: int) -> int:
    """Return ``wanted`` if nobody listens there, else a free port."""
    for port in (wanted, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise DemoError("no free port on 127.0.0.1")


def _toml(path: Path) -> str:
    text = os.fspath(path.resolve()).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'
