"""The daemon's own events: JSON lines in a folder of the archive that is tailed like any other source.

One file a UTC day, one write a line with O_APPEND. What must not be lost is synced before `append` returns.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson
from aiofiles.base import wrap

from daemon.discovery import Root
from storage.failpoints import reach

FOLDER_MODE = 0o750
SEARCHED_FILES = 30  # newest days in which an event is looked for after a crash
FILE_MODE = 0o640
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


def root_of(folder: str) -> Root:
    """Return the folder as something to follow: its lines are internal, because of where they are."""
    return Root(os.fsencode(folder), include=("*.jsonl",), exclude=(), profile="native", internal=True)


def _now() -> datetime:
    return datetime.now(UTC)


def program_version() -> str:
    """Return the version of the installed distribution."""
    try:
        return version("watchkeep")
    except PackageNotFoundError:
        return "0.1.0"


def verified_event(outcome: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event that says how a verification of the archive ended."""
    ok = bool(outcome.get("ok"))
    found = ", ".join(f"{count} {kind}" for kind, count in outcome.get("classes", {}).items())
    return {
        "level": "info" if ok else "critical",
        "outcome": "success" if ok else "failure",
        "description": "The archive was verified: everything is as the ledger says"
        if ok
        else f"The archive was verified and is not as the ledger says: {found}",
        "metadata": dict(outcome),
    }


def write_once(folder: str, node: str, event: Mapping[str, Any]) -> None:
    """Append one event while no daemon runs, durably: it is archived when one starts. Blocks; OSError if it cannot."""
    log = SelfLog(folder, node=node, version=program_version())
    try:
        log.write(event, durable=True)
    finally:
        log.close()


class SelfLog:
    """Appends events. `append` is for the event loop, `write` blocks."""

    def __init__(
        self,
        folder: str,
        *,
        node: str,
        version: str,
        clock: Callable[[], datetime] = _now,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """``on_lost`` is called, in any thread, for each event that could not be written."""
        self.folder = folder
        self.trouble = ""  # why the last event could not be written
        self._on_lost = on_lost
        self._system = {"server": socket.gethostname(), "environment": node, "version": version}
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="selflog")
        self._write = wrap(self.write)

    async def append(self, event: Mapping[str, Any], *, durable: bool = False) -> None:
        """Append one event (the API's camelCase object); what every event needs is added where it is missing.

        ``durable``: it is synced when this returns. Raises OSError if the disk refuses.
        """
        await self._write(event, durable=durable, executor=self._thread)

    def write(self, event: Mapping[str, Any], *, durable: bool = False) -> None:
        """Append one event. Blocks; see `append`."""
        try:
            self._write_line(event, durable=durable)
        except OSError as error:
            self.trouble = error.strerror or str(error)
            self._on_lost()
            raise
        self.trouble = ""

    def _write_line(self, event: Mapping[str, Any], *, durable: bool) -> None:
        now = self._clock()
        whole = {
            "eventId": str(uuid.uuid4()),
            "timestamp": now.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "level": "info",
            "category": "system_management",
            "action": "system_event",
            "entity": {"type": "watchkeep", "id": self._system["environment"], "name": "watchkeep"},
            "system": self._system,
            **event,
        }
        line = orjson.dumps(whole, option=orjson.OPT_APPEND_NEWLINE)
        os.makedirs(self.folder, FOLDER_MODE, exist_ok=True)
        path = os.path.join(self.folder, f"{now:%Y-%m-%d}.jsonl")
        fd = os.open(path, _FLAGS, FILE_MODE)
        try:
            size = os.fstat(fd).st_size
            if size and os.pread(fd, 1, size - 1) != b"\n":
                line = b"\n" + line  # a full disk left half an event: this one must not be glued to it
            written = os.write(fd, line[: reach("write", path)])
            if written < len(line):
                raise OSError(f"only {written} of {len(line)} bytes could be written to {path}")
            if durable:
                reach("sync", path)
                os.fdatasync(fd)
        finally:
            os.close(fd)

    def holds(self, event_ids: Collection[str]) -> set[str]:
        """Return those ids whose events stand in the log, the newest file first until all are found. Blocks."""
        missing = {b'"eventId":"%s"' % event_id.encode(): event_id for event_id in event_ids}
        found: set[str] = set()
        with suppress(FileNotFoundError):
            for name in sorted(os.listdir(self.folder), reverse=True)[:SEARCHED_FILES]:
                if len(found) == len(missing):
                    break
                with open(os.path.join(self.folder, name), "rb") as lines:
                    for line in lines:
                        if line.endswith(b"\n"):  # half an event is none
                            found.update(event_id for text, event_id in missing.items() if text in line)
        return found

    def lines_with(self, text: bytes) -> Iterator[bytes]:
        """Yield the whole lines of the newest days that hold a text, the oldest first. Blocks."""
        with suppress(FileNotFoundError):
            for name in sorted(os.listdir(self.folder))[-SEARCHED_FILES:]:
                with open(os.path.join(self.folder, name), "rb") as lines:
                    yield from (line for line in lines if text in line and line.endswith(b"\n"))

    def close(self) -> None:
        """Wait for what is being written."""
        self._thread.shutdown(wait=True)
