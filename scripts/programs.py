"""Install the programs that the tests run beside Python, where that is allowed; say what is missing where it is not.

A test whose program is missing is skipped, and fails under CI=true. Debian's package names; other systems have the same
programs under similar names. The writers' own packages (tests/writers/package-lock.json) come by npm, with their hashes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

WRITERS = Path(__file__).resolve().parent.parent / "tests" / "writers"


@dataclass(frozen=True, slots=True)
class Program:
    """Any of ``names`` will do; ``packages`` bring it."""

    names: tuple[str, ...]
    packages: tuple[str, ...]
    used: str


PROGRAMS = (
    Program(
        ("chromium", "chromium-browser", "google-chrome"), ("chromium", "fonts-dejavu-core"), "the dashboard"
    ),
    Program(("node",), ("nodejs",), "the dashboard's modules, and a logger of its world"),
    Program(("npm",), ("npm",), "a logger of Node's world"),
    Program(("logrotate",), ("logrotate",), "rotation as it is in use"),
    Program(("strace",), ("strace",), "disks that fail at a chosen call"),
    Program(("faketime",), ("faketime",), "clocks that jump"),
    Program(("systemd-analyze",), ("systemd",), "the service unit"),
)


def missing() -> list[Program]:
    """Return the programs that are not here."""
    return [program for program in PROGRAMS if not any(_found(name) for name in program.names)]


def _found(name: str) -> bool:
    # logrotate is in a folder that is not on everybody's path.
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is not None


def install(programs: list[Program]) -> bool:
    """Install what is missing; return whether that was allowed and worked."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return False
    packages = [package for program in programs for package in program.packages]
    print(f"installing {' '.join(packages)}", flush=True)
    _apt("update")
    return _apt("install", "-y", "--no-install-recommends", *packages)


def _apt(*arguments: str) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "-qq", *arguments]
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False
    )
    return done.returncode == 0


def install_writers() -> None:
    """Install the writers' own packages, exactly as locked."""
    stamp = WRITERS / "node_modules" / ".package-lock.json"
    lock = WRITERS / "package-lock.json"
    if not shutil.which("npm") or (stamp.exists() and stamp.stat().st_mtime >= lock.stat().st_mtime):
        return
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    if subprocess.run(command, cwd=WRITERS, stdin=subprocess.DEVNULL, check=False).returncode:
        print("note: the writers' packages could not be installed; their test will be skipped")


def main() -> int:
    """Install, and tell what is still missing. Never fails: the tests decide."""
    wanted = missing()
    if wanted and not install(wanted):
        for program in missing():
            print(
                f"note: {program.names[0]} is missing, tests of {program.used} will be skipped (Debian: apt-get install {' '.join(program.packages)})"
            )
    install_writers()
    return 0


if __name__ == "__main__":
    sys.exit(main())
