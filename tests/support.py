"""What tests of several packages share."""

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# On a laptop a missing helper (a browser, systemd) skips a test; on a build machine it is an error.
CI = os.environ.get("CI", "") not in {"", "0", "false"}


def soak_examples(usual: int) -> int:
    """Return how many examples the long form of a test tries: WATCHKEEP_SOAK_EXAMPLES, or what is usual for it."""
    return int(os.environ.get("WATCHKEEP_SOAK_EXAMPLES", usual))


def require(present: object, what: str, *, install: str = "") -> None:
    """Skip the running test when `present` is false; under CI=true fail instead, so that nothing is skipped unseen."""
    if present:
        return
    hint = f"; install {install}" if install else ""
    if CI:
        pytest.fail(f"{what} is missing here{hint}", pytrace=False)
    pytest.skip(f"{what} is missing{hint}")


def require_program(name: str, *, install: str = "") -> str:
    """Return the path of a program; skip or fail as `require` does when there is none."""
    path = shutil.which(name)
    require(path, f"the program {name}", install=install or name)
    assert path is not None
    return path
