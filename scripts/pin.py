"""Write the four requirements files: every version and hash, and no address, from pyproject.toml.

Needs pip-tools. The files hold hashes of all builds of a version, so that they serve every Python from 3.11 on.
"""

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNTIME = ROOT / "requirements.txt"
DEVELOPMENT = ROOT / "requirements-dev.txt"
BENCHMARKS = ROOT / "requirements-bench.txt"
NEIGHBOURS = ROOT / "tests" / "packaging" / "neighbours.txt"

# What an editable install needs beside the build backend itself; pip does not fetch it without build isolation.
EDITABLE = ("editables>=0.5",)

# Programs that own the plain names `daemon` and `web`; a test installs ours beside them.
OTHERS = ["python-daemon", "web.py"]

# Engines that `make bench-query` measures beside us.
PEERS = ["chdb>=4.4"]

HEADER = "# Written by `make requirements` from pyproject.toml; do not edit.\n"


def compile_pins(wanted: list[str], target: Path, *options: str) -> None:
    """Resolve `wanted` and write the pinned set to `target`; versions pinned there before stay when they fit."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "wanted.in"
        source.write_text("\n".join(wanted) + "\n")
        subprocess.run(
            [
                *(
                    sys.executable,
                    "-m",
                    "piptools",
                    "compile",
                    "--quiet",
                    "--generate-hashes",
                    "--strip-extras",
                ),
                *("--no-header", "--no-annotate", "--allow-unsafe"),
                *(
                    "--no-emit-index-url",
                    "--no-emit-find-links",
                    "--no-emit-trusted-host",
                    "--no-emit-options",
                ),
                *(*options, "--output-file", str(target), str(source)),
            ],
            check=True,
        )
    pins = [
        line for line in target.read_text().splitlines() if line.strip() and not line.startswith(("#", "-"))
    ]
    if any("://" in line for line in pins) or not any("--hash=" in line for line in pins):
        sys.exit(f"{target.name}: expected pins with hashes and no address")
    target.write_text(HEADER + "\n".join(pins) + "\n")


def main() -> None:
    """Pin the runtime first, then the tools under the runtime's pins."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    compile_pins(project["project"]["dependencies"], RUNTIME)
    wanted = [*project["dependency-groups"]["dev"], *EDITABLE, f"-c {RUNTIME}"]
    compile_pins(wanted, DEVELOPMENT)
    compile_pins([*PEERS, f"-c {RUNTIME}"], BENCHMARKS)
    compile_pins(OTHERS, NEIGHBOURS)


if __name__ == "__main__":
    main()
