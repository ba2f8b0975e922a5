"""How many file descriptors the process may have, how many of them the tailer keeps, and what its watches are."""

from __future__ import annotations

import os
import resource
from contextlib import suppress

WANTED_DESCRIPTORS = 16_384  # asked of the system: a name costs nothing until it is used
KEPT_SHARE = (
    2  # every second descriptor may be a log file; the others are for the archive, queries and connections
)
MOST_KEPT = 4096
LEAST_KEPT = 16


def raise_limit() -> None:
    """Allow this process as many descriptors as the system lets it have, up to WANTED_DESCRIPTORS."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, WANTED_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # then it stays as it is
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def kept_descriptors() -> int:
    """Return how many files the tailer may keep open at once."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return MOST_KEPT
    return max(LEAST_KEPT, min(MOST_KEPT, soft // KEPT_SHARE))


def watches() -> int:
    """Return how many folders the kernel gives this process notices of; 0 where it does not say. Blocks."""
    total = 0
    with suppress(OSError):
        for name in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                if os.readlink(f"/proc/self/fd/{name}") == "anon_inode:inotify":
                    with open(f"/proc/self/fdinfo/{name}", encoding="ascii") as info:
                        total += sum(line.startswith("inotify wd:") for line in info)
    return total
