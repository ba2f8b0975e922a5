"""What is remembered of users, written down now and then with the seq of the last row in it.

A checkpoint saves time and holds no truth: what is remembered is a fold over the committed rows, and can be folded
again. So it is written beside the commits, not in them, and one counts only if all its rows were committed: rows that
a crash took back come again with other numbers.
"""

from __future__ import annotations

import io
import logging
import os
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from storage.fs import Fs, makedirs, replacing
from storage.layout import SEQ_DIGITS, Layout

SUFFIX = ".npz"
_NAME = re.compile(rf"(\d{{{SEQ_DIGITS}}})\{SUFFIX}")

_log = logging.getLogger(__name__)

Arrays = Mapping[str, npt.NDArray[Any]]


def write(fs: Fs, layout: Layout, seq: int, arrays: Iterable[tuple[str, npt.NDArray[Any]]]) -> int:
    """Write what is remembered after the row ``seq``; returns how many bytes. Raises OSError, and leaves nothing."""
    makedirs(fs, layout.habits)
    path = _path(layout, seq)
    # As numpy's `savez` writes them: plain arrays, each with a checksum. The handle only ever appends.
    with replacing(fs, path, f"{path}.part") as handle:
        with zipfile.ZipFile(cast("BinaryIO", handle), "w") as archive:
            for name, array in arrays:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.ascontiguousarray(array), allow_pickle=False)
        return handle.tell()


def newest(fs: Fs, layout: Layout, committed_seq: int) -> Iterator[tuple[int, Arrays]]:
    """Yield the checkpoints that count, the newest first; those with rows that never were committed are removed.

    A file that cannot be read is passed over: the one before it serves as well, it only takes longer.
    """
    for seq in sorted(_seqs(fs, layout), reverse=True):
        path = _path(layout, seq)
        if seq > committed_seq:
            fs.unlink(path)
            continue
        try:
            with np.load(io.BytesIO(fs.read(path)), allow_pickle=False) as loaded:
                arrays = {name: loaded[name] for name in loaded.files}
        except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
            _log.warning("a checkpoint of habits cannot be read", extra={"path": path, "reason": str(error)})
            continue
        yield seq, arrays


def collect(fs: Fs, layout: Layout, committed_seq: int) -> None:
    """Remove those that a newer one with committed rows has made useless."""
    useful = max((seq for seq in _seqs(fs, layout) if seq <= committed_seq), default=0)
    for seq in _seqs(fs, layout):
        if seq < useful:
            fs.unlink(_path(layout, seq))


def _seqs(fs: Fs, layout: Layout) -> list[int]:
    matches = (_NAME.fullmatch(name) for name in fs.listdir(layout.habits))
    return [int(match[1]) for match in matches if match]


def _path(layout: Layout, seq: int) -> str:
    return os.path.join(layout.habits, f"{seq:0{SEQ_DIGITS}d}{SUFFIX}")
