"""Entry of the `watchkeep` command: finds the four packages, beside this file or in the wheel's private folder."""

import sys
from pathlib import Path

# In the wheel the packages live in `watchkeep_app/`, so that names as plain as `web` never land in site-packages.
_PRIVATE = Path(__file__).resolve().parent / "watchkeep_app"


def main() -> int:
    """Run the command line and return its exit code."""
    if _PRIVATE.is_dir() and str(_PRIVATE) not in sys.path:
        sys.path.insert(0, str(_PRIVATE))
    from daemon.cli import main as run  # the path must be set first

    return run(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
