"""The contract with readers of other processes, while everything that moves files goes on at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.storage.hammering import GRACE_SECONDS, KINDS
from tests.support import ROOT

READS = int(os.environ.get("WATCHKEEP_HAMMER_READS", "10000"))  # of the long form
ROUND_SECONDS = 60.0
PROCESSES = (("glob", "api"), ("view", "sql-file"), ("held",), ("sql",))


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start a role of the hammer."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.storage.hammering", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def hammer(
    root: Path, seconds: float, pause: float, grace: float = GRACE_SECONDS
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Run writer and readers; return what was done and what each kind of reader saw."""
    writer = start("write", str(root), str(pause), str(grace))
    try:
        assert writer.stdout is not None
        port = json.loads(writer.stdout.readline())["port"]
        readers = [start("read", str(root), str(port), str(seconds), *kinds) for kinds in PROCESSES]
        seen = [kind for reader in readers for kind in json.loads(reader.communicate()[0])]
        done: dict[str, Any] = json.loads(writer.communicate("")[0])
    finally:
        writer.kill()
        writer.wait()
    return done, seen


def report(done: dict[str, Any], seen: list[dict[str, Any]]) -> None:
    """Print the figures, for whoever runs the long form."""
    print(json.dumps(done))
    for kind in seen:
        print(
            f"{kind['kind']}: {kind['reads']} reads, {len(kind['anomalies'])} anomalies, {kind['expiring']} expiring"
        )


def check(done: dict[str, Any], seen: list[dict[str, Any]]) -> None:
    """Nothing wrong was seen, and there was something to see."""
    assert done["failures"] == []
    assert {kind["kind"]: kind["anomalies"] for kind in seen} == {kind: [] for kind in KINDS}
    assert all(done[what] > 0 for what in ("commits", "folds", "seals", "drops"))
    assert all(kind["last"] > 0 for kind in seen)


def test_every_reader_finds_exactly_what_was_promised(tmp_path: Path) -> None:
    """Glob, view, SQL file, SQL command and API, during commits, folding, sealing, late rows and drops."""
    done, seen = hammer(tmp_path, seconds=3, pause=0.15)
    check(done, seen)


@pytest.mark.soak
@pytest.mark.timeout(6 * 3600)
def test_ten_thousand_reads_find_nothing_wrong(tmp_path: Path) -> None:
    """The same for long: round after round, each with an archive of its own."""
    reads, number = 0, 0
    while reads < READS:
        number += 1
        done, seen = hammer(tmp_path / str(number), seconds=ROUND_SECONDS, pause=0.5)
        report(done, seen)
        check(done, seen)
        reads += sum(kind["reads"] for kind in seen)


@pytest.mark.soak
def test_the_hammer_finds_files_that_go_too_early(tmp_path: Path) -> None:
    """A harness that finds nothing when the grace time is missing would prove nothing."""
    _, seen = hammer(tmp_path, seconds=10, pause=0.1, grace=0.0)
    assert any(kind["anomalies"] for kind in seen if kind["kind"] == "held")
