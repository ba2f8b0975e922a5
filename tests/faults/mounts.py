"""Small disks for tests: a tmpfs, mounted here or, where that is not allowed, in a namespace of the test's own."""

from __future__ import annotations

import errno
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import ROOT, require

INSIDE = "WATCHKEEP_TEST_NAMESPACE"  # set for a test that runs in a namespace of its own
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


def _worked(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _mount(folder: Path, size: str) -> bool:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return shutil.which("mount") is not None and _worked(command)


@functools.cache
def mountable() -> bool:
    """Return whether this process may mount."""
    with tempfile.TemporaryDirectory() as folder:
        if not _mount(Path(folder), "1m"):
            return False
        subprocess.run(["umount", "-l", folder], check=False)
    return True


@functools.cache
def _namespaces() -> bool:
    """Return whether everybody may mount in a user namespace of their own here."""
    if shutil.which("unshare") is None:
        return False
    script = 'mount -t tmpfs tmpfs "$0"'
    with tempfile.TemporaryDirectory() as folder:
        command = [*NAMESPACE, "sh", "-c", script, folder]
        return _worked(command)


def run_in_namespace(item: pytest.Item) -> None:
    """Run a test once more where it may mount, and fail as it does; skip it where nothing helps."""
    require(
        _namespaces() and INSIDE not in os.environ,
        "permission to mount a tmpfs, also in a user namespace,",
        install="nothing: run the tests as root, or allow user namespaces",
    )
    options = ["-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", ""]
    command = [*NAMESPACE, sys.executable, "-m", "pytest", *options, item.nodeid]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, INSIDE: "1"}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.fail(f"in a namespace of its own:\n{done.stdout}\n{done.stderr}", pytrace=False)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Generator[Path]:
    """Mount a tmpfs. For tests that are marked `mounts`: those run only where it is allowed."""
    folder.mkdir()
    assert _mount(folder, f"{megabytes}m"), f"no tmpfs at {folder}"
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)


def fill(folder: Path) -> Path:
    """Take every byte that is left; returns the file that has them."""
    ballast = folder / "ballast"
    for size in (1 << 16, 1):
        with until_full(), ballast.open("ab", buffering=0) as file:
            while file.write(bytes(size)):
                pass
    return ballast


@contextmanager
def until_full() -> Generator[None]:
    """Let a full disk end what is done inside."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
