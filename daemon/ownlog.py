"""What the daemon says about itself, for operators: JSON lines on standard error or in a file, by stdlib logging.

These are not events: nothing here is archived. The file must lie outside the followed folders.
"""

from __future__ import annotations

import logging
import logging.handlers
import queue
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import orjson

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, the fields given as ``extra``, the error with its trace."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update(
            {key: value for key, value in vars(record).items() if key not in _STANDARD and value != ""}
        )
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line["error"] = f"{type(error).__name__}: {error}"
            line["trace"] = "".join(traceback.format_exception(error))
        elif record.exc_text:
            line["trace"] = record.exc_text
        return orjson.dumps(line, default=str).decode()


class _Unformatted(logging.handlers.QueueHandler):
    """Hands records over as they are: the thread that writes them formats them."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record


class _Patient(logging.StreamHandler[Any]):
    """Writes lines as long as the disk lets it; says how many may be missing as soon as it works again."""

    missing = 0  # since it last worked

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.on_lost: Callable[[], None] = lambda: None

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line. Nobody hears of a failure: there is no other place to say it."""
        try:
            lines = self.format(record) + self.terminator
            if self.missing:
                text = f"{self.missing} lines of this log may be missing: it could not be written"
                told = logging.LogRecord(__name__, logging.ERROR, "", 0, text, None, None)
                lines = self.format(told) + self.terminator + lines
            self.stream.write(lines)
            self.flush()
        except (OSError, ValueError):
            self.missing += 1
            self.on_lost()
        else:
            self.missing = 0


class OwnLog:
    """Sets up logging for the process; records are written by a thread of their own, never by the event loop."""

    def __init__(self, *, level: str, file: str | None) -> None:
        self._file = open(file, "a", encoding="utf-8") if file else None  # noqa: SIM115 - closed with the log
        self._writer = _Patient(self._file)
        self._writer.setFormatter(JsonFormatter())
        records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
        self._handler = _Unformatted(records)
        self._listener = logging.handlers.QueueListener(records, self._writer)
        self._root = logging.getLogger()
        self._root.addHandler(self._handler)
        self.set_level(level)
        logging.getLogger("watchfiles").setLevel(logging.WARNING)  # it tells of every change it sees
        self._listener.start()

    @property
    def missing(self) -> int:
        """Return how many lines may be missing since it could last be written; 0 while it works."""
        return self._writer.missing

    def on_lost(self, tell: Callable[[], None]) -> None:
        """Call ``tell``, in the thread that writes, for each line that may be missing."""
        self._writer.on_lost = tell

    def set_level(self, level: str) -> None:
        """Say less or more from now on."""
        self._root.setLevel(level.upper())

    def close(self) -> None:
        """Write what is left."""
        self._root.removeHandler(self._handler)
        self._listener.stop()
        self._writer.close()
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
