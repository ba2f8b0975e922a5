"""Old log files are compressed so that a crash at any step loses nothing, and nothing that is not ours is touched."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from daemon.oldlogs import NotCompressedError, OldFile, compress
from tests.support import ROOT

LINES = b"".join(b'{"n": %d}\n' % number for number in range(200_000))


@pytest.fixture
def old(tmp_path: Path) -> OldFile:
    path = tmp_path / "app-2020-01-01.log"
    path.write_bytes(LINES)
    path.chmod(0o640)
    os.utime(path, ns=(1_577_836_800_000_000_000, 1_577_836_800_123_456_789))
    return found(path)


def found(path: Path) -> OldFile:
    return OldFile.of(bytes(path), path.lstat())


@pytest.mark.parametrize("compression", ["gz", "zst"])
def test_the_copy_has_content_mode_and_time_of_the_original(old: OldFile, compression) -> None:
    """The original stays: whoever called removes it."""
    target = Path(os.fsdecode(compress(old, compression)))
    assert target.name == f"app-2020-01-01.log.{compression}"
    codec: Any = {"gz": "gzip", "zst": "zstd"}[compression]
    with pa.input_stream(str(target), compression=codec) as stream:
        assert stream.read() == LINES
    info = target.stat()
    assert info.st_mode & 0o7777 == 0o640
    assert info.st_mtime_ns == old.mtime_ns
    assert info.st_size < len(LINES) / 4
    assert old.unchanged()
    assert sorted(path.name for path in target.parent.iterdir()) == [
        target.name.rpartition(".")[0],
        target.name,
    ]


def test_what_a_crash_left_is_used_or_replaced(old: OldFile, tmp_path: Path) -> None:
    """A partial copy is written anew; a whole one is recognised and not written again."""
    (tmp_path / "app-2020-01-01.log.gz.tmp").write_bytes(b"half a")
    target = Path(os.fsdecode(compress(old, "gz")))
    assert gzip.decompress(target.read_bytes()) == LINES
    before = target.stat().st_ino
    assert compress(old, "gz") == bytes(target)
    assert target.stat().st_ino == before
    assert not (tmp_path / "app-2020-01-01.log.gz.tmp").exists()


@pytest.mark.parametrize("content", [b"not gzip at all", gzip.compress(b"something else\n", mtime=0), b""])
def test_a_file_that_has_the_name_already_is_not_overwritten(
    old: OldFile, tmp_path: Path, content: bytes
) -> None:
    """It may be somebody's only copy of something."""
    target = tmp_path / "app-2020-01-01.log.gz"
    target.write_bytes(content)
    with pytest.raises(NotCompressedError, match="exists and is not the compressed"):
        compress(old, "gz")
    assert target.read_bytes() == content
    assert old.unchanged()


def test_a_file_that_changes_meanwhile_is_left_alone(old: OldFile, tmp_path: Path) -> None:
    """A writer came back: its lines are not in the copy, so there is none."""
    asked = 0

    def grow() -> bool:
        nonlocal asked
        asked += 1
        if asked == 3:
            with (tmp_path / "app-2020-01-01.log").open("ab") as file:
                file.write(b"late\n")
        return False

    with pytest.raises(NotCompressedError, match="changed while"):
        compress(old, "gz", grow)
    assert [path.name for path in tmp_path.iterdir()] == ["app-2020-01-01.log"]


def test_stopping_leaves_nothing_behind(old: OldFile, tmp_path: Path) -> None:
    """The daemon need not wait for a large file."""
    with pytest.raises(InterruptedError):
        compress(old, "zst", lambda: True)
    assert [path.name for path in tmp_path.iterdir()] == ["app-2020-01-01.log"]


CRASH = """
import os, sys
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, {root!r})
from daemon import failpoints
failpoints.plant(f"* kill {{sys.argv[1]}}* {{sys.argv[2]}}")
from daemon import files, oldlogs
path = os.fsencode(sys.argv[1])
old = oldlogs.OldFile.of(path, os.lstat(path))
oldlogs.compress(old, "gz")
if old.unchanged():
    files.unlink(path)
"""


def test_killed_at_any_step_every_line_is_still_there_once_it_goes_on(tmp_path: Path) -> None:
    """SIGKILL before each operation on the files; the next run finishes the work."""
    script = CRASH.format(root=str(ROOT))
    for step in range(1, 20):
        folder = tmp_path / str(step)
        folder.mkdir()
        path = folder / "app.log"
        path.write_bytes(LINES[:100_000])
        killed = subprocess.run([sys.executable, "-c", script, str(path), str(step)], check=False)
        target = folder / "app.log.gz"
        assert path.exists() or gzip.decompress(target.read_bytes()) == LINES[:100_000]
        if killed.returncode == 0:
            assert step > 8
            break
        if path.exists():
            compress(found(path), "gz")
        assert gzip.decompress(target.read_bytes()) == LINES[:100_000]
        assert not (folder / "app.log.gz.tmp").exists()
    else:
        raise AssertionError("it never came to its end")
