"""What lies in a node's folders, file by file, as the files say themselves: the ground a ledger is built on again.

Nothing is changed here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq

from storage.fs import Fs
from storage.layout import EVENTS, REJECTS, ROLLUPS, Layout
from storage.provenance import Footer, parse_footer
from storage.snapshot import File

# Folder → what precedes the node's name in the names of the sealed files there.
SEALED = ((EVENTS, ""), (REJECTS, "rejects-"), (ROLLUPS, "rollup-"))
_PARQUET = ".parquet"

Progress = Callable[[str, int, int], None]  # what is read, done, total


@dataclass(frozen=True, slots=True)
class Piece:
    """A Parquet file as found. ``path`` is relative to the archive; ``file`` is its entry as the ledger would have it.

    ``footer`` is None when the file cannot be read, or does not say what it is: ``trouble`` tells why.
    """

    path: str
    bytes: int
    file: File | None
    footer: Footer | None
    trouble: str = ""


def sealed_names(fs: Fs, layout: Layout) -> Iterator[str]:
    """Yield the relative paths of the sealed files that carry the node's name."""
    for top, prefix in SEALED:
        for day in fs.listdir(layout.absolute(top)):
            for name in fs.listdir(layout.absolute(os.path.join(top, day))):
                if name.startswith(f"{prefix}{layout.node}-") and name.endswith(_PARQUET):
                    yield os.path.join(top, day, name)


def folder_names(fs: Fs, layout: Layout, folder: str) -> Iterator[str]:
    """Yield the relative paths of the Parquet files in one of the node's own folders."""
    for name in fs.listdir(folder):
        if name.endswith(_PARQUET):
            yield os.path.relpath(os.path.join(folder, name), layout.root)


def read_footer(fs: Fs, layout: Layout, path: str) -> Footer | None:
    """Return what a file says of itself; None if it says nothing, or nothing that can be read."""
    return _piece(path, fs.read(layout.absolute(path))).footer


def survey(fs: Fs, layout: Layout, tell: Progress) -> tuple[list[Piece], list[Piece]]:
    """Return the node's files in their places, and those in `staging`. Reads every byte, one file at a time."""
    placed = [*sealed_names(fs, layout), *folder_names(fs, layout, layout.live)]
    staged = list(folder_names(fs, layout, layout.staging))
    sizes = {path: fs.size(layout.absolute(path)) or 0 for path in (*placed, *staged)}
    total, done = sum(sizes.values()), 0
    found: dict[str, Piece] = {}
    for path in (*placed, *staged):
        found[path] = _piece(path, fs.read(layout.absolute(path)))
        done += sizes[path]
        tell("files", done, total)
    return [found[path] for path in placed], [found[path] for path in staged]


def _piece(path: str, data: bytes) -> Piece:
    try:
        footer = parse_footer(pq.read_metadata(pa.BufferReader(data)).metadata)
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
        return Piece(path, len(data), None, None, f"cannot be read: {error}")
    if footer is None:
        return Piece(path, len(data), None, None, "does not say what it holds")
    entry = replace(footer.entry, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    return Piece(path, len(data), entry, footer)
