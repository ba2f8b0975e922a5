"""Entry of the `watchkeep` command: finds the four packages, beside this file or in the wheel's private folder."""

import sys
from pathlib import Path

# In the wheel the packages live in `watchkeep_app/`, so that names as plain as `web` never land in site-packages.
_HERE = Path(__file__).resolve().parent
_PRIVATE = _HERE / "watchkeep_app"


def main() -> int:
    """Run the command line and return its exit code."""
    sys.path.insert(
        0, str(_PRIVATE if _PRIVATE.is_dir() else _HERE)
    )  # first: others own a `daemon` and a `web` too
    from daemon.cli import main as run

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
