"""Ids that sort by time (UUID version 7), so that ids made together lie together in an archive."""

from __future__ import annotations

import os
import time
import uuid

_VERSION = 0x7 << 76
_VARIANT = 0x2 << 62


def new_id() -> str:
    """Return a fresh UUID of version 7: 48 bits of milliseconds, then 74 random ones."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    high = random >> 68 & 0xFFF
    low = random & ((1 << 62) - 1)
    return str(
        uuid.UUID(int=(milliseconds & 0xFFFF_FFFF_FFFF) << 80 | _VERSION | high << 64 | _VARIANT | low)
    )
