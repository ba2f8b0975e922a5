"""Memory that is free is given back to the system: allocators keep it, and an export frees much in other threads' heaps."""

from __future__ import annotations

import ctypes

import pyarrow as pa

# Only glibc has it; elsewhere there is nothing to call.
_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


def give_back() -> None:
    """Give the free pages of every heap back. Takes some milliseconds, and needs no lock of ours."""
    pa.default_memory_pool().release_unused()
    if _trim is not None:
        _trim(0)
