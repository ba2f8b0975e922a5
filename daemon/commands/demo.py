"""`watchkeep demo`: the daemon, and a small real application that logs to it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from daemon.command import Command, CommandError, Context, Exit, Option, seconds

ROOT = Path(__file__).resolve().parent.parent.parent
DEFAULT_FOLDER = ".demo"


def _port(text: str) -> int:
    return int(text)


def run(context: Context) -> int:
    """Run the demonstration until Ctrl-C."""
    client, entry = ROOT / "client", ROOT / "watchkeep.py"
    if not (client / "watchkeep_demo").is_dir():
        hint = "clone the repository and run make demo"
        raise CommandError(
            "the demonstration is part of the source, not of this installation", Exit.UNREACHABLE, hint=hint
        )
    sys.path.insert(0, str(client))
    from watchkeep_demo.runner import DEFAULT_PORT, run_demo

    arguments = context.arguments
    return run_demo(
        directory=Path(os.path.abspath(arguments.folder)),
        seconds=arguments.seconds,
        port=DEFAULT_PORT if arguments.port is None else arguments.port,
        command=(sys.executable, str(entry)),
    )


COMMAND = Command(
    name="demo",
    text="Start a daemon with an archive of its own and a small aiohttp application with simulated users that logs to it; "
    "print the dashboard's address; stop both on Ctrl-C.",
    options=(
        Option(
            ("--folder",),
            f"where logs and archive are kept; emptied at the start (default: {DEFAULT_FOLDER})",
            "FOLDER",
            default=DEFAULT_FOLDER,
        ),
        Option(("--seconds",), "stop after so long (default: at Ctrl-C)", "SECONDS", seconds),
        Option(
            ("--port",),
            "port of the dashboard (default: 8710; another is taken if it is busy)",
            "PORT",
            _port,
        ),
    ),
    run=run,
    examples=("watchkeep demo",),
)
