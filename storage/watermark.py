"""How far a fold over the stream has come, and what it holds there: one small file, replaced whole.

It lies beside the ledger and holds no truth of its own: everything above its seq is looked at again.
"""

from __future__ import annotations

import json
from typing import Any

from storage.fs import Fs, makedirs, replacing
from storage.layout import Layout

FORMAT = 1


def write(fs: Fs, layout: Layout, seq: int, held: Any) -> None:
    """Write durably that all rows up to ``seq`` were looked at, with what is held then (JSON-able). Raises OSError."""
    makedirs(fs, layout.detection)
    path = _path(layout)
    with replacing(fs, path, f"{path}.part") as handle:
        handle.write(json.dumps({"format": FORMAT, "seq": seq, "held": held}, separators=(",", ":")).encode())


def read(fs: Fs, layout: Layout) -> tuple[int, Any] | None:
    """Return the seq and what was held, or None where nothing was written. Raises ValueError for a damaged file."""
    if not fs.isdir(layout.detection) or fs.size(_path(layout)) is None:
        return None
    found = json.loads(fs.read(_path(layout)))
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("seq"), int):
        raise ValueError(f"{_path(layout)} is not what this version writes")
    return found["seq"], found.get("held")


def _path(layout: Layout) -> str:
    return f"{layout.detection}/watermark.json"
