"""Kill a real daemon many times while applications write and rotate, and count what it archived.

    python benchmarks/soak.py --kills 200

Prints one JSON object: lines written, lost, duplicated, reordered. Exit code 1 unless all three are 0.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.daemon.soaking import soak


def main() -> int:
    """Run the soak and print its outcome."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument(
        "--burst", type=int, default=40, help="most lines in one write; 2500 make ten million in 1000 kills"
    )
    parser.add_argument("--folder", type=Path, help="where to work; default: a temporary folder")
    parser.add_argument("--most-seconds", type=float, default=3.0, help="longest life of a daemon")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-", dir=arguments.folder) as folder:
        outcome = soak(
            Path(folder) / "soak",
            kills=arguments.kills,
            seed=arguments.seed,
            most_seconds=arguments.most_seconds,
            burst=arguments.burst,
            tell=True,
        )
    print(json.dumps({**asdict(outcome), "seed": arguments.seed}))
    return 0 if outcome.clean else 1


if __name__ == "__main__":
    sys.exit(main())
