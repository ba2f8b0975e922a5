"""SHA-256 of many files at the speed of the disk: several at once, each in large steps, in little memory."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

# hashlib lets other threads run while it hashes, so files are hashed in parallel; above this the disk is the limit.
MOST_THREADS = 4
# A step that fits the processor's cache beside the hash: larger ones are read into memory and fetched from it again.
STEP_BYTES = 256 << 10


def default_threads() -> int:
    """Return how many files are hashed at once here."""
    return max(1, min(MOST_THREADS, len(os.sched_getaffinity(0))))


def digests(
    paths: Sequence[str], *, threads: int | None = None, tell: Callable[[int], None] | None = None
) -> Iterator[tuple[str, str | None]]:
    """Yield (path, SHA-256 in hex) as they are done, in any order; None for a file that is not there.

    ``tell`` is given the bytes read since it was last called, from any thread, one call at a time.
    Raises OSError for a file that is there and cannot be read.
    """
    local = threading.local()
    lock = threading.Lock()

    def read(path: str) -> str | None:
        if not hasattr(local, "buffer"):
            local.buffer = memoryview(bytearray(STEP_BYTES))
        try:
            return _digest(path, local.buffer, told)
        except FileNotFoundError:
            return None

    def told(count: int) -> None:
        if tell is not None:
            with lock:
                tell(count)

    with ThreadPoolExecutor(threads or default_threads(), thread_name_prefix="hash") as pool:
        futures = {pool.submit(read, path): path for path in paths}
        for future in as_completed(futures):
            yield futures[future], future.result()


def _digest(path: str, buffer: memoryview, told: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            told(count)
    return digest.hexdigest()
