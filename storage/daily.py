"""Daily exports: each finished day is written once, whole, with a manifest, and recorded in the ledger.

An export covers sealed files, which never change, so what is outstanding is a matter of sets: the events files of a
day that no record of this export covers. Events that come late lie in other files and become a numbered supplement.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import duckdb
import orjson
import pyarrow as pa

from parsers.columns import EVENT_SCHEMA
from storage import sql
from storage.columnar import groups
from storage.duck import connect
from storage.engine import Piece
from storage.errors import ArchiveError, QueryError
from storage.export import pieces
from storage.fs import Fs, Handle, makedirs
from storage.parquet import ParquetFile
from storage.query import ExportQuery, Filter, Scope
from storage.scope import view
from storage.snapshot import File, Snapshot

DailyFormat = Literal["json", "ndjson", "csv", "parquet", "arrow"]
MEMORY_LIMIT_MB = 192
PARTIAL = ".part"  # a file under this name is not whole
MANIFEST = ".manifest.json"


class StoppedError(ArchiveError):
    """The daemon stops; the day is exported after the next start."""


@dataclass(frozen=True, slots=True)
class Export:
    """What is exported, and where to."""

    name: str
    folder: str
    form: DailyFormat
    filter: Filter
    scope: Scope


@dataclass(frozen=True, slots=True)
class Due:
    """A day that is finished and not, or not wholly, exported. ``part`` 1 is the day, later ones supplement it."""

    day: str
    part: int
    files: tuple[File, ...]


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where the ledger stands while a day is written: its last record, and who writes."""

    record: int
    head: str
    node: str
    version: str


def outstanding(files: Iterable[File], done: Mapping[str, Mapping[str, Any]], before_day: str) -> list[Due]:
    """Return the days before ``before_day`` that are to be exported, oldest first. ``done`` is of the ledger's state."""
    found: dict[str, list[File]] = {}
    for file in files:
        if file.kind != "events" or file.day is None or file.day >= before_day:
            continue
        if file.path not in done.get(file.day, {}).get("paths", ()):
            found.setdefault(file.day, []).append(file)
    return [
        Due(day, done.get(day, {}).get("parts", 0) + 1, tuple(sorted(mine, key=lambda file: file.path)))
        for day, mine in sorted(found.items())
    ]


def file_name(export: Export, due: Due) -> str:
    """Return the name of a day's file, or of its supplement."""
    supplement = f".{due.part}" if due.part > 1 else ""
    return f"{export.name}-{due.day}{supplement}.{export.form}"


def write(
    fs: Fs, export: Export, due: Due, snapshot: Snapshot, ledger: Ledger, stopping: Callable[[], bool]
) -> dict[str, Any]:
    """Write a day and its manifest, durably, and return the body of the record that says so.

    Raises OSError, QueryError, or StoppedError; then nothing has its final name unless it is whole, and the same
    call may be made again.
    """
    makedirs(fs, export.folder)
    path = os.path.join(export.folder, file_name(export, due))
    chosen = replace(
        snapshot,
        events=tuple(sorted(due.files, key=lambda file: (file.max_time_us, file.max_seq), reverse=True)),
        rollups=(),
        rejects=(),
        hot=(),
        hot_rejects=(),
        seq=max(file.max_seq for file in due.files),
    )
    try:
        rows, size, digest = _rows(fs, export, path, chosen, ledger.node, stopping)
    except (duckdb.Error, pa.ArrowException) as error:
        raise QueryError(
            f"the events of {due.day} could not be read: {str(error).splitlines()[0]}",
            hint="run 'watchkeep verify'",
        ) from error
    body = {
        "name": export.name,
        "day": due.day,
        "part": due.part,
        "file": path,
        "format": export.form,
        "rows": rows,
        "bytes": size,
        "sha256": digest,
        "covers": [file.path for file in due.files],
    }
    manifest = {
        **{name: value for name, value in body.items() if name != "covers"},
        "file": os.path.basename(path),
        "filter": export.filter.to_json(),
        "internal": export.scope.internal,
        "node": ledger.node,
        "seq": {"from": min(f.min_seq for f in due.files), "to": max(f.max_seq for f in due.files)},
        "ledger": {"record": ledger.record, "head": ledger.head},
        "sources": [{"file": file.path, "rows": file.rows, "sha256": file.sha256} for file in due.files],
        "watchkeep": ledger.version,
    }
    # The manifest comes last: where it is, the file beside it is whole.
    fs.rename(path + PARTIAL, path)
    fs.sync_dir(export.folder)
    text = orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    fs.unlink(path + MANIFEST + PARTIAL)
    _text(fs, path + MANIFEST + PARTIAL, iter([text]), stopping)
    fs.rename(path + MANIFEST + PARTIAL, path + MANIFEST)
    fs.sync_dir(export.folder)
    return body


def _rows(
    fs: Fs, export: Export, path: str, chosen: Snapshot, node: str, stopping: Callable[[], bool]
) -> tuple[int, int, str]:
    """Write the rows into ``path``'s partial file, durably; return how many, its size and SHA-256."""
    query = ExportQuery(export.filter, export.scope)
    with connect(threads=1, memory_limit_mb=MEMORY_LIMIT_MB) as connection:
        connection.execute("SET GLOBAL temp_directory = ''")
        seen = view(chosen, query.filter, query.scope)
        sql.register(connection, ())
        rows = 0 if seen.empty else int(sql.count(seen, query.filter, query.scope).rows(connection)[0][0])
        partial = path + PARTIAL
        fs.unlink(partial)
        if export.form == "parquet":
            return rows, *_parquet(fs, partial, connection, chosen, query, node, stopping)
        return rows, *_text(fs, partial, pieces(connection, chosen, query, export.form), stopping)


def _text(fs: Fs, path: str, parts: Iterator[Piece], stopping: Callable[[], bool]) -> tuple[int, str]:
    """Write bytes as they come, durably; return size and SHA-256."""
    digest = hashlib.sha256()
    handle = fs.create(path)
    try:
        for part in parts:
            _go_on(stopping)
            handle.write(part)  # type: ignore[arg-type]  # any buffer will do; bytes() would copy
            digest.update(part)
        handle.sync()
        return handle.tell(), digest.hexdigest()
    except BaseException:
        _remove(fs, handle, path)
        raise
    finally:
        handle.close()


def _parquet(
    fs: Fs,
    path: str,
    connection: duckdb.DuckDBPyConnection,
    snapshot: Snapshot,
    query: ExportQuery,
    node: str,
    stopping: Callable[[], bool],
) -> tuple[int, str]:
    """Write the rows with the archive's own columns, newest first, durably; return size and SHA-256."""
    seen = view(snapshot, query.filter, query.scope)
    file = ParquetFile(fs, path, EVENT_SCHEMA, node=node, bloom_rows=1)
    try:
        if not seen.empty:
            for rows in groups(connection, seen, query):
                _go_on(stopping)
                file.write(rows)
        written = file.finish()
    except BaseException:
        file.abandon()
        raise
    return written.bytes, written.sha256


def _remove(fs: Fs, handle: Handle, path: str) -> None:
    handle.close()
    fs.unlink(path)


def _go_on(stopping: Callable[[], bool]) -> None:
    if stopping():
        raise StoppedError("the export was stopped", hint="it is made after the next start", retry=True)
