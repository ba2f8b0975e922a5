"""``python -m watchkeep_demo``: see `run_demo`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from watchkeep_demo.runner import DEFAULT_PORT, run_demo


def main() -> int:
    """Run the demonstration until Ctrl-C, or for the seconds asked for."""
    parser = argparse.ArgumentParser(
        prog="watchkeep_demo", description="A daemon, an application and its users."
    )
    parser.add_argument(
        "--directory", type=Path, default=Path(".demo"), help="where it keeps everything (.demo)"
    )
    parser.add_argument("--seconds", type=float, help="stop after so long; default: at Ctrl-C")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="of the dashboard; another is taken if busy"
    )
    parser.add_argument(
        "--pace", type=float, default=1.0, help="how much faster than people the users act (1)"
    )
    given = parser.parse_args()
    return run_demo(directory=given.directory, seconds=given.seconds, port=given.port, pace=given.pace)


if __name__ == "__main__":
    sys.exit(main())
