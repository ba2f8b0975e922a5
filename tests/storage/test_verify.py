"""Whatever is changed behind the archive's back is found and named; what the archive does itself never is."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from storage import books
from storage.archive import Archive
from storage.archiveoptions import ArchiveOptions
from storage.findings import CLASSES, Report
from storage.fs import Disk
from storage.rebuild import holding, plan, rebuild
from storage.verify import Parts, verify
from tests.storage.made import lines, seen
from tests.storage.test_rebuild import a_life, add
from tests.support import soak_examples

ATTACKS_OF_EACH_KIND = 20
SOAK_ATTACKS = soak_examples(1000)  # of each kind
BIT_FLIPS = 500
HASHES_ONLY = Parts(rows=False)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with every kind of file and several ledger segments."""
    root = tmp_path_factory.mktemp("clean")
    before = books.SNAPSHOT_EVERY
    books.SNAPSHOT_EVERY = 4
    try:
        archive = Archive.open(ArchiveOptions(path=str(root), grace_seconds=0.0, fold_files=4))
        a_life(archive)
        archive.collect()
        archive.close()
    finally:
        books.SNAPSHOT_EVERY = before
    assert verify(str(root)).ok
    return root


@pytest.fixture
def attacked(clean: Path, tmp_path: Path) -> Path:
    """A copy that may be spoiled."""
    return Path(shutil.copytree(clean, tmp_path / "archive"))


def segments(root: Path) -> list[Path]:
    """Return the ledger's segments, oldest first."""
    return sorted((root / "nodes/main/ledger").iterdir())


def parquet(root: Path, top: str = "") -> list[Path]:
    """Return the Parquet files below a folder."""
    return sorted((root / top).rglob("*.parquet"))


def overwrite(path: Path, data: bytes | bytearray) -> None:
    """Replace a file's bytes, read-only or not."""
    path.chmod(0o640)
    path.write_bytes(data)


def records(path: Path) -> list[bytes]:
    """Return a segment's lines."""
    return path.read_bytes().splitlines(keepends=True)


def hashed(document: dict[str, object]) -> bytes:
    """Return a record's line with the right hash: what somebody who knows the format would write."""
    text = json.dumps(document, separators=(",", ":")).encode()
    return hashlib.sha256(text).hexdigest().encode() + b" " + text + b"\n"


# The attacks: each spoils an archive and returns the classes of which one must be found.


def modify_a_file(root: Path, chance: random.Random) -> set[str]:
    """One byte of a file."""
    path = chance.choice(parquet(root))
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    overwrite(path, data)
    return {"MODIFIED"}


def shorten_a_file(root: Path, chance: random.Random) -> set[str]:
    """The end of a file."""
    path = chance.choice(parquet(root))
    overwrite(path, path.read_bytes()[: -chance.randrange(1, 100)])
    return {"MODIFIED"}


def delete_a_file(root: Path, chance: random.Random) -> set[str]:
    """A file."""
    chance.choice(parquet(root)).unlink()
    return {"MISSING"}


def insert_a_file(root: Path, chance: random.Random) -> set[str]:
    """A copy of a file, where a glob finds it."""
    path = chance.choice(parquet(root, "events"))
    shutil.copy(
        path,
        path.with_name(f"{chance.choice(['main', 'other'])}-{chance.randrange(10**9):016d}-default.parquet"),
    )
    return {"UNKNOWN"}


def swap_files(root: Path, chance: random.Random) -> set[str]:
    """Two files for each other."""
    left, right = chance.sample(parquet(root, "events"), 2)
    kept = left.read_bytes()
    overwrite(left, right.read_bytes())
    overwrite(right, kept)
    return {"MODIFIED"}


def edit_a_record(root: Path, chance: random.Random) -> set[str]:
    """A digit within a record."""
    path = chance.choice(segments(root))
    data = bytearray(path.read_bytes())
    at = chance.choice([i for i in range(len(data)) if chr(data[i]).isdigit()])
    data[at] = ord("0") + (data[at] - ord("0") + 1) % 10
    path.write_bytes(data)
    return {"CHAIN"}


def edit_a_record_and_its_hash(root: Path, chance: random.Random) -> set[str]:
    """A record, with a hash that fits: the next one still tells."""
    path = chance.choice(segments(root)[:-1])
    entries = records(path)
    at = chance.randrange(len(entries))
    document = json.loads(entries[at].partition(b" ")[2])
    document["written_at"] += 1
    entries[at] = hashed(document)
    path.write_bytes(b"".join(entries))
    return {"CHAIN"}


def drop_a_record(root: Path, chance: random.Random) -> set[str]:
    """A record in the middle."""
    path = chance.choice([path for path in segments(root) if len(records(path)) > 2])
    entries = records(path)
    del entries[chance.randrange(len(entries) - 1)]
    path.write_bytes(b"".join(entries))
    return {"CHAIN"}


def swap_records(root: Path, chance: random.Random) -> set[str]:
    """Two records for each other."""
    path = chance.choice([path for path in segments(root) if len(records(path)) > 2])
    entries = records(path)
    left, right = chance.sample(range(len(entries)), 2)
    entries[left], entries[right] = entries[right], entries[left]
    path.write_bytes(b"".join(entries))
    return {"CHAIN"}


def insert_a_record(root: Path, chance: random.Random) -> set[str]:
    """A record with the right hash and the right one before it."""
    path = chance.choice([path for path in segments(root) if len(records(path)) > 2])
    entries = records(path)
    at = chance.randrange(1, len(entries))
    document = json.loads(entries[at].partition(b" ")[2])
    document["body"], document["kind"] = {"sid": "0" * 32, "start": 0, "end": 9, "reason": "made up"}, "gap"
    entries.insert(at, hashed(document))
    path.write_bytes(b"".join(entries))
    return {"CHAIN"}


def remove_a_segment(root: Path, chance: random.Random) -> set[str]:
    """A segment that no start-up reads any more."""
    chance.choice(segments(root)[:-1]).unlink()
    return {"CHAIN"}


def truncate_the_tail(root: Path, chance: random.Random) -> set[str]:
    """The last records: those that put a file in its place cannot be missed."""
    path = segments(root)[-1]
    entries = records(path)
    kinds = [json.loads(entry.partition(b" ")[2])["kind"] for entry in entries]
    last = max(i for i, kind in enumerate(kinds) if kind in {"commit", "fold", "seal"})
    kept = b"".join(entries[: chance.randint(1, last)])
    path.write_bytes(kept)
    return {"TRUNCATED"}


ATTACKS: list[Callable[[Path, random.Random], set[str]]] = [
    modify_a_file,
    shorten_a_file,
    delete_a_file,
    insert_a_file,
    swap_files,
    edit_a_record,
    edit_a_record_and_its_hash,
    drop_a_record,
    swap_records,
    insert_a_record,
    remove_a_segment,
    truncate_the_tail,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_every_attack_is_found(
    clean: Path, tmp_path: Path, attack: Callable[[Path, random.Random], set[str]]
) -> None:
    """Twenty of each kind: all of them, by the class that it is."""
    attacked_often(clean, tmp_path / "archive", attack, range(ATTACKS_OF_EACH_KIND))


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_attacks_without_number_are_found(
    clean: Path, tmp_path: Path, attack: Callable[[Path, random.Random], set[str]]
) -> None:
    """The long form; WATCHKEEP_SOAK_EXAMPLES says how long."""
    first = random.SystemRandom().randrange(1 << 32)
    attacked_often(clean, tmp_path / "archive", attack, range(first, first + SOAK_ATTACKS))


def attacked_often(
    clean: Path, copy: Path, attack: Callable[[Path, random.Random], set[str]], seeds: range
) -> None:
    kept = {path: path.read_bytes() for path in clean.rglob("*") if path.is_file()}
    root = Path(shutil.copytree(clean, copy))
    for seed in seeds:
        wanted = attack(root, random.Random(seed))
        report = verify(str(root), parts=HASHES_ONLY)
        assert wanted & set(report.classes()), (seed, report.findings)
        restore(root, clean, kept)
    assert verify(str(root), parts=HASHES_ONLY).ok


def restore(root: Path, clean: Path, kept: dict[Path, bytes]) -> None:
    """Undo an attack."""
    wanted = {root / path.relative_to(clean): data for path, data in kept.items()}
    for path in [path for path in root.rglob("*") if path.is_file()]:
        if path not in wanted:
            path.unlink()
    for path, data in wanted.items():
        if not path.exists() or path.read_bytes() != data:
            if path.exists():
                path.chmod(0o640)
            path.write_bytes(data)


def test_every_flipped_bit_is_found(attacked: Path) -> None:
    """Disks rot: Parquet readers notice few of such flips, and some answers would be wrong in silence."""
    chance = random.Random(13)
    files = [*parquet(attacked), *segments(attacked)]
    missed = []
    for number in range(BIT_FLIPS):
        path = chance.choice(files)
        data = bytearray(path.read_bytes())
        at, bit = chance.randrange(len(data) - 1), 1 << chance.randrange(8)
        data[at] ^= bit
        overwrite(path, data)
        if verify(str(attacked), parts=HASHES_ONLY, with_sources=False).ok:
            missed.append((number, path, at))
        data[at] ^= bit
        overwrite(path, data)
    assert missed == []
    assert verify(str(attacked)).ok


def test_what_the_archive_does_itself_is_never_called_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each commit, fold, seal, import, fork, drop, snapshot, crash, restart and rebuild: no finding."""
    monkeypatch.setattr(books, "SNAPSHOT_EVERY", 3)
    everything = Parts(rollups=True)

    def right(archive: Archive) -> Report:
        report = verify(str(tmp_path), parts=everything)
        assert report.findings == []
        assert report.events == sum(file.rows for file in archive.snapshot.events)
        return report

    archive = Archive.open(ArchiveOptions(path=str(tmp_path), grace_seconds=0.0, fold_files=4))
    first, second = archive.register_all([seen("a"), seen("b")])
    for round_ in range(6):
        add(archive, first, 5)
        add(archive, second, 1 + round_)
        archive.commit()
        right(archive)
        archive.fold()
        right(archive)
    fork = archive.register(replace(seen("a"), base=200, continues=first.sid))
    parsed, chunk = lines(fork, 200, 7)
    archive.append(parsed, [chunk])
    archive.commit()
    right(archive)
    archive.seal()
    right(archive)
    archive.collect()
    parsed, chunk = lines(second, archive.sources[second.sid].offset, 80)
    archive.bulk.append(parsed, [chunk])
    archive.bulk.commit()
    right(archive)
    archive.drop("2023-11-16", dry_run=False)
    right(archive)
    archive.collect()
    assert right(archive).events < 6 * 5 + sum(range(1, 7)) + 87
    add(archive, first, 5)
    archive.commit()
    add(archive, first, 3)
    archive.abandon()  # a crash: what was hot is read again
    again = Archive.open(archive.options)
    right(again)
    for _ in range(7):
        add(again, first, 2)
        again.commit()
        right(again)
    again.close()
    assert len(list(Path(again.layout.ledger).iterdir())) > 3
    shutil.rmtree(again.layout.ledger)
    with holding(Disk(), again.layout):
        rebuild(Disk(), again.layout, plan(Disk(), again.layout))
    third = Archive.open(again.options)
    assert "rebuilt" in right(third).notes[0]
    add(third, first, 4)
    third.commit()
    third.seal()
    third.keeping.confirm_holds(reason="there were none", author="a")
    third.drop("2023-11-17", dry_run=False)
    right(third)
    third.close()


def test_it_may_run_while_the_archive_is_written(tmp_path: Path) -> None:
    """Files that are merged, dropped or collected meanwhile are looked up before anything is called wrong."""
    archive = Archive.open(ArchiveOptions(path=str(tmp_path), grace_seconds=0.0, fold_files=2))
    source = archive.register(seen("a"))

    def written() -> Iterator[None]:
        for _ in range(12):
            add(archive, source, 3)
            archive.commit()
            yield
            archive.fold()
            archive.collect()
            yield
            archive.seal()
            archive.collect()
            yield

    steps = written()
    next(steps)
    for _ in range(8):
        # The archive goes on whenever verification tells how far it is.
        report = verify(str(tmp_path), progress=lambda *_: next(steps, None))
        assert report.findings == []
    archive.close()


def test_rows_that_repeat_or_fit_no_range_are_found_though_every_hash_is_right(tmp_path: Path) -> None:
    """Written by somebody who knows how to write ledgers: the rows themselves tell."""
    archive = Archive.open(ArchiveOptions(path=str(tmp_path)))
    source = archive.register(seen("a"))
    add(archive, source, 10)
    archive.commit()
    add(archive, source, 10)
    archive.commit()
    archive.close()
    segment = segments(tmp_path)[-1]
    first, second = sorted(file.path for file in archive.snapshot.events)
    entries = [json.loads(entry.partition(b" ")[2]) for entry in records(segment)]
    for entry in entries:
        for file in entry["body"].get("files", ()):
            if file["path"] == second:
                # The second commit's file becomes a copy of the first one's.
                overwrite(tmp_path / second, (tmp_path / first).read_bytes())
                file["sha256"] = hashlib.sha256((tmp_path / second).read_bytes()).hexdigest()
                file["bytes"] = (tmp_path / second).stat().st_size
    head = entries[0]["prev"]
    written = []
    for entry in entries:
        entry["prev"] = head
        written.append(hashed(entry))
        head = written[-1][:64].decode()
    segment.write_bytes(b"".join(written))
    assert verify(str(tmp_path), parts=HASHES_ONLY).ok
    assert verify(str(tmp_path)).classes() == {"DUPLICATE": 1}


def test_every_class_is_explained() -> None:
    """The words of the report are those of the documents."""
    guarantees = (Path(__file__).resolve().parents[2] / "docs" / "guarantees.md").read_text()
    assert all(f"`{kind}`" in guarantees for kind in CLASSES)
