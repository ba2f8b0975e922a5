"""What happened to files that people should know of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from storage.atrisk import FileAtRisk

NoteKind = Literal["gap", "rewritten", "shortened", "copy", "renamed", "unlinked", "damaged", "too large"]


@dataclass(frozen=True, slots=True)
class Note:
    """Something about a file that people should know. For a gap ``[start, end)`` are the bytes that are lost."""

    kind: NoteKind
    path: str
    sid: str = ""
    start: int = 0
    end: int = 0
    detail: str = ""
    code: str = ""  # of a gap: one of `storage.gaps.REASONS`
    file: FileAtRisk | None = None  # of a gap: the file, if its bytes were no source's
