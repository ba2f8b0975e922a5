"""What an export takes of memory, in a process of its own, by what the kernel saw at most."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.parquet import STANDARD
from storage.snapshot import File
from tests.storage.samples import filled, snapshot, table_of, write_events

if sys.platform != "linux":
    pytest.skip("/proc tells the peak", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
FILES = 16
ROWS = 12_288  # of a file
METADATA_BYTES = 1_000  # of a row
MIB = 1 << 20
# DuckDB, a block, its text, and a row group of Parquet: what was seen on a busy machine, and a fifth more.
MOST_BYTES = 235 * MIB
MOST_GROWTH_BYTES = 80 * MIB  # from half of the rows to all of them, which are 140 MB of text more

PROGRAM = """
import pickle, re, sys
from pathlib import Path
from storage.engine import Engine, EngineOptions
from storage.export import pieces
from storage.query import ExportQuery

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024

seen, form = pickle.loads(Path(sys.argv[1]).read_bytes()), sys.argv[2]
engine = Engine(EngineOptions())
before = peak()
half = sum(file.rows for file in seen.events) // 2
# Heaps of threads grow at random in the first ones: half of the rows twice, then all.
for limit in (half, half, None):
    with engine.cursor() as cursor:
        print(sum(map(len, pieces(cursor, seen, ExportQuery(limit=limit), form))), peak() - before)
engine.close()
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some hundred thousand rows in files that follow one another in time, and the snapshot of them as a file."""
    root = tmp_path_factory.mktemp("archive")
    words = [f'{{"a":"{os.urandom(METADATA_BYTES // 2).hex()}"}}' for _ in range(64)]
    one = filled(
        [{"metadata": words[number % len(words)], "username": f"u{number % 97}"} for number in range(ROWS)]
    )
    first, rollup = write_events(root, one, "f0")
    table = table_of(one)
    files: list[tuple[File, File]] = []
    for number in range(FILES):
        by = number * ROWS
        place = {name: table.schema.get_field_index(name) for name in ("timestamp", "seq")}
        later = table
        for name, at in place.items():
            cells = table[name].cast(pa.int64()).to_numpy() + by
            later = later.set_column(at, table.schema.field(name), pa.array(cells).cast(table[name].type))
        path = first.path.replace("f0", f"g{number}")
        pq.write_table(later, root / path, **STANDARD.options(later.schema, ROWS))
        files.append((_moved(first, path, by, (root / path).stat().st_size), rollup))
    kept = root / "snapshot"
    kept.write_bytes(pickle.dumps(snapshot(root, files)))
    return kept


def _moved(file: File, path: str, by: int, size: int) -> File:
    return File(
        **{name: getattr(file, name) for name in ("kind", "node", "rows", "sha256", "day", "internal")},
        path=path,
        bytes=size,
        min_time_us=file.min_time_us + by,
        max_time_us=file.max_time_us + by,
        min_seq=file.min_seq + by,
        max_seq=file.max_seq + by,
    )


@pytest.mark.parametrize("form", ["ndjson", "parquet"])
def test_an_export_takes_as_little_memory_however_much_it_holds(archive: Path, form: str) -> None:
    """Twice the rows take no more, and both stay within what a daemon has left for two at a time."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(archive), form],
        cwd=ROOT,
        env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"},
        capture_output=True,
        text=True,
        check=True,
    )

    *_, (some, taken), (more, taken_by_all) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert more > 1.9 * some
    assert taken_by_all < MOST_BYTES
    assert taken_by_all - taken < MOST_GROWTH_BYTES
