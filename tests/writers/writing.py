"""Write numbered events with a logger that is in use: ``python writing.py KIND FOLDER WRITER COUNT``.

Event ids are ``WRITER-1`` to ``WRITER-COUNT``, in this order; ``environment`` is the kind. Run by the tests of writers.
"""

import json
import logging
import logging.handlers
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

ROTATED_BYTES = 40_000  # a file of the size-rotating handlers: two hundred lines
KEPT_FILES = 1000  # rotated files are never removed, so that what is on disk is what was written
PAUSE_EVERY_LINES = 50
PAUSE_SECONDS = 0.02

Write = Callable[[str], None]


def event(kind: str, event_id: str) -> dict[str, Any]:
    """Return the event of one number."""
    return {
        "eventId": event_id,
        "timestamp": datetime.now(UTC).isoformat(),
        "level": "info",
        "category": "api",
        "action": "read",
        "description": f"line {event_id} " + "x" * 40,
        "system": {"environment": kind},
    }


def by_logging(handler: logging.Handler, kind: str) -> Write:
    """Write through a handler of the standard library."""
    logger = logging.getLogger(kind)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.addHandler(handler)
    return lambda event_id: logger.info(json.dumps(event(kind, event_id)))


def rotating(folder: Path, kind: str) -> Write:
    """Rotate by size: .1, .2 and so on, renamed at each rotation."""
    return by_logging(
        logging.handlers.RotatingFileHandler(
            folder / "app.log", maxBytes=ROTATED_BYTES, backupCount=KEPT_FILES
        ),
        kind,
    )


def timed(folder: Path, kind: str) -> Write:
    """Rotate each second, to names with the second in them."""
    return by_logging(logging.handlers.TimedRotatingFileHandler(folder / "app.log", when="s"), kind)


def watched(folder: Path, kind: str) -> Write:
    """Open the file anew when its name leads elsewhere: made for logrotate."""
    return by_logging(logging.handlers.WatchedFileHandler(folder / "app.log"), kind)


def held(folder: Path, kind: str) -> Write:
    """Hold one descriptor until SIGHUP says to open the file anew, as servers do."""
    path = folder / "app.log"
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
    state = {"fd": os.open(path, flags, 0o640), "again": False}
    signal.signal(signal.SIGHUP, lambda *_: state.update(again=True))
    (folder / "pid").write_text(str(os.getpid()))

    def write(event_id: str) -> None:
        if state["again"]:
            state["again"] = False
            os.close(state["fd"])
            state["fd"] = os.open(path, flags, 0o640)
        os.write(state["fd"], json.dumps(event(kind, event_id)).encode() + b"\n")

    return write


def by_structlog(folder: Path, kind: str) -> Write:
    """Write with structlog, a file a day, as the readme shows."""
    import structlog

    class Daily:
        def info(self, line: str) -> None:
            name = time.strftime(f"{folder}/app-%Y-%m-%d.jsonl", time.gmtime())
            file = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            os.write(file, line.encode() + b"\n")
            os.close(file)

    p = structlog.processors
    chain: list[Any] = [
        p.add_log_level,
        p.TimeStamper(fmt="iso", utc=True),
        p.EventRenamer("description"),
        p.JSONRenderer(),
    ]
    structlog.configure(processors=chain, logger_factory=lambda *_: Daily())
    logger = structlog.get_logger()
    return lambda event_id: logger.info("a line", eventId=event_id, system={"environment": kind})


def by_client(folder: Path, kind: str) -> Write:
    """Write with our own client."""
    from watchkeep_client.writer import Writer

    writer = Writer(folder, "app")
    return lambda event_id: None if writer.append(event(kind, event_id)) else sys.exit("dropped")


KINDS: dict[str, Callable[[Path, str], Write]] = {
    "create": held,
    "dateext": held,
    "delaycompress": held,
    "copytruncate": held,
    "watched": watched,
    "rotating": rotating,
    "rotating-by-four": rotating,
    "timed": timed,
    "timed-by-four": timed,
    "structlog": by_structlog,
    "client": by_client,
}


def main(kind: str, folder: str, writer: str, count: str) -> None:
    """Write, with short pauses, so that rotation and reading come in between."""
    write = partial(KINDS[kind](Path(folder), kind))
    for number in range(1, int(count) + 1):
        write(f"{writer}-{number}")
        if number % PAUSE_EVERY_LINES == 0:
            time.sleep(PAUSE_SECONDS)
    # An interpreter that ends takes its handlers back: a rotation in that moment would kill it.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


if __name__ == "__main__":
    main(*sys.argv[1:])
