"""Listings: what counts, what does not, and what cannot be looked at."""

import os
from pathlib import Path

import pytest

from daemon.discovery import Discovery, Root, Scan
from daemon.patterns import file_date_us


def scan(folder: Path, **patterns) -> Scan:
    return Discovery((Root(os.fsencode(folder), **patterns),)).scan()


def names(folder: Path, **patterns) -> set[str]:
    return {found.file for found in scan(folder, **patterns).files}


def touch(folder: Path, *files: str) -> None:
    for file in files:
        path = folder / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x\n")


def test_files_are_found_at_any_depth(tmp_path):
    """Applications make folders as they like."""
    touch(tmp_path, "a.jsonl", "b/c/d/e.log", "node_modules/f.log", "g.txt")

    assert names(tmp_path) == {"a.jsonl", "b/c/d/e.log", "node_modules/f.log"}


@pytest.mark.parametrize("ending", ["", ".gz", ".zst", ".bz2", ".xz"])
def test_rotated_files_count_whether_they_are_compressed_or_not(tmp_path, ending):
    """A name that rotation gives must not lead out of sight: what was not read yet would be lost."""
    rotated = [
        "a.log.1",
        "a.log.12",
        "a.log-20260301",
        "a-2026-03-01.log",
        "b.jsonl.2",
        "b.json-20260301",
        "c.ndjson.3",
    ]
    touch(tmp_path, *(name + ending for name in rotated), f"d.txt{ending}", "e.log.gz.tmp", f".f.log{ending}")

    assert names(tmp_path) == {name + ending for name in rotated}
    assert names(tmp_path, exclude=("*.gz", "*.zst", "*.bz2", "*.xz", "*.tmp", ".*")) == (
        set(rotated) if not ending else set()
    )


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.log", {"a.log", "x/b.log", "x/y/c.log"}),
        ("x/*.log", {"x/b.log"}),
        ("x/**/*.log", {"x/b.log", "x/y/c.log"}),
        ("**/c.log", {"x/y/c.log"}),
        ("[ab].log", {"a.log", "x/b.log"}),
        ("[!a].log", {"x/b.log", "x/y/c.log"}),
        ("?.log", {"a.log", "x/b.log", "x/y/c.log"}),
    ],
)
def test_patterns_are_about_the_name_or_with_a_slash_about_the_path(tmp_path, pattern, expected):
    """`*` stays within a folder, `**/` does not."""
    touch(tmp_path, "a.log", "x/b.log", "x/y/c.log")

    assert names(tmp_path, include=(pattern,)) == expected


def test_excluded_files_do_not_count(tmp_path):
    """Even if they are included."""
    touch(tmp_path, "a.log", "a.log.gz", "old/b.log")

    assert names(tmp_path, include=("*",), exclude=("*.gz", "old/*")) == {"a.log"}


def test_only_regular_files_are_found(tmp_path):
    """Opening a FIFO would block for good."""
    os.mkfifo(tmp_path / "pipe.log")
    (tmp_path / "folder.log").mkdir()
    (tmp_path / "nowhere.log").symlink_to(tmp_path / "missing")

    assert names(tmp_path) == set()


def test_a_file_with_several_names_is_found_once(tmp_path):
    """Hard links, symbolic links and overlapping roots lead to the same lines."""
    touch(tmp_path, "a.log")
    os.link(tmp_path / "a.log", tmp_path / "b.log")
    (tmp_path / "c.log").symlink_to(tmp_path / "a.log")

    assert len(scan(tmp_path).files) == 1


def test_a_link_that_leads_back_up_ends(tmp_path):
    """A cycle of folders is entered once."""
    touch(tmp_path, "a/b.log")
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)

    assert len(scan(tmp_path).files) == 1


def test_a_name_that_is_not_utf8_is_found(tmp_path):
    """The path stays what it is, its text is printable."""
    path = os.path.join(os.fsencode(tmp_path), b"bad\xff.log")
    Path(os.fsdecode(path)).write_text("x\n")

    (found,) = scan(tmp_path).files

    assert (found.path, found.file) == (path, "bad\\xff.log")


def test_a_missing_root_is_a_problem_and_no_error(tmp_path):
    """Applications may make their folder later. What was known below it stays."""
    result = scan(tmp_path / "later")

    assert result.files == ()
    assert not result.covers(os.fsencode(tmp_path / "later" / "a.log"))


@pytest.mark.parametrize(
    ("name", "day"),
    [
        (b"app-2026-03-01.jsonl", 1772323200),
        (b"20260301.log", 1772323200),
        (b"app.2026_03_01.log", 1772323200),
        (b"app-2026-02-31.log", None),
        (b"app-120260301.log", None),
        (b"app.log", None),
    ],
)
def test_the_day_in_a_name_is_read(name, day):
    """As the start of a UTC day."""
    assert file_date_us(b"/logs/" + name) == (None if day is None else day * 1_000_000)
