"""The power goes out at any operation of a daily export: what is described is whole, what is recorded is durable."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest

from storage.archive import Archive
from storage.daily import MANIFEST, DailyFormat, Export, Ledger, outstanding, write
from storage.query import Filter, Scope
from tests.storage.power import PowerDisk
from tests.storage.stock import TODAY, opened, stock

LEDGER = Ledger(1, "0" * 64, "main", "1")
CUTS = 8  # of each crash point: what was not synced may be kept, lost or torn
AGAIN_EVERY = 3  # crash points of which one is gone on from: each attempt opens DuckDB


def never() -> bool:
    return False


@pytest.fixture
def archive(tmp_path: Path):
    found = opened(tmp_path / "a")
    stock(found, [{"day": "2026-05-30", "event_id": "a"}, {"day": "2026-05-31", "event_id": "b"}])
    yield found
    found.close()


def exported(disk: PowerDisk, archive: Archive, form: DailyFormat) -> None:
    """Write every day that waits, as after a start whose ledger knows of none."""
    export = Export("daily", "/out/deep", form, Filter(), Scope())
    for due in outstanding(archive.state.files.values(), {}, TODAY):
        body = write(disk, export, due, archive.snapshot, LEDGER, never)
        disk.mark(body["file"])


def described(disk: PowerDisk) -> list[str]:
    """Return the files that have a manifest, each of them checked against it."""
    found = []
    for name, inode in disk.names.items():
        if not name.endswith(MANIFEST):
            continue
        said = json.loads(inode.data)
        data = disk.names[name.removesuffix(MANIFEST)].data
        assert hashlib.sha256(data).hexdigest() == said["sha256"]
        assert len(data) == said["bytes"]
        found.append(name.removesuffix(MANIFEST))
    return found


@pytest.mark.parametrize("form", ["ndjson", "parquet"])
def test_at_every_operation_what_is_described_is_whole_and_what_returned_is_durable(
    archive: Archive, form: DailyFormat
) -> None:
    """And the next attempt ends where one without a power cut does."""
    disk = PowerDisk()
    disk.mark("")  # from here on the power may go
    exported(disk, archive, form)
    whole = {name: inode.data for name, inode in disk.names.items()}
    assert len(whole) == 4
    states = 0
    for number, state, last in disk.crash_points():
        after = state
        for seed in range(CUTS):
            after = state.clone()
            after.cut(random.Random(number * CUTS + seed))
            found = described(after)
            assert last == "" or last in found
            states += 1
        if number % AGAIN_EVERY == 0:
            after.journal = []
            exported(after, archive, form)
            assert {name: inode.data for name, inode in after.names.items()} == whole
    assert states > 100
