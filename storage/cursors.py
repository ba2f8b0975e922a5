"""Opaque cursors: where a page ended, checked so that a damaged one, or one of another list, is refused."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from dataclasses import dataclass

from storage.errors import QueryError
from storage.query import fingerprint

_LAYOUT = struct.Struct(">BqqQ8s")  # version, time_us, seq, snapshot, check
_VERSION = 1
_CHECK_BYTES = 8


class CursorError(QueryError):
    """A cursor is damaged, or belongs to another list."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a page ended: the next one begins behind (time, seq), in the same snapshot."""

    time_us: int
    seq: int
    snapshot: int


def encode(mark: Mark, *of: object) -> str:
    """Return an opaque cursor that works only with the same frozen values ``of`` (filter, scope …)."""
    packed = _LAYOUT.pack(_VERSION, mark.time_us, mark.seq, mark.snapshot, _check(mark, of))
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def decode(cursor: str, *of: object) -> Mark:
    """Return what `encode` was given. Raises CursorError for anything else."""
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        version, time_us, seq, snapshot, check = _LAYOUT.unpack(packed)
    except (binascii.Error, ValueError, struct.error):
        raise CursorError(
            "the cursor cannot be read", hint="take it from `next` of a page, unchanged"
        ) from None
    mark = Mark(time_us, seq, snapshot)
    if version != _VERSION or check != _check(mark, of):
        raise CursorError(
            "the cursor belongs to another list",
            hint="keep the filter while you page, or begin without a cursor",
        )
    return mark


def _check(mark: Mark, of: tuple[object, ...]) -> bytes:
    return hashlib.blake2b(fingerprint(mark, *of).encode(), digest_size=_CHECK_BYTES).digest()
