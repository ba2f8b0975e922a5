"""Whether a file system tells of every change: one that other machines or programs write behind the kernel does not.

`statfs` says what kind it is. On these, notices are no help and the time of a folder may be an old answer, so
everything is looked at with each listing.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Callable

# statfs(2): the magic numbers of file systems whose changes may come from elsewhere.
REMOTE: dict[int, str] = {
    0x6969: "nfs",
    0xFF534D42: "cifs",
    0xFE534D42: "smb2",
    0x517B: "smb",
    0x01021997: "9p",
    0x65735546: "fuse",
    0x794C7630: "overlay",  # its layers may be written beside it
    0x00C36400: "ceph",
    0x5346414F: "afs",
    0x6B414653: "afs",
    0x73757245: "coda",
    0x564C: "ncp",
    0x0BD00BD0: "lustre",
    0x47504653: "gpfs",
    0x786F4256: "vboxsf",
    0xA501FCF5: "vxfs",
}
_STATFS_BYTES = 512  # more than the structure has anywhere; its first member is the magic number
_MASK = 0xFFFF_FFFF


def remote_kind(path: bytes) -> str:
    """Return the kind of file system if changes to it may go unnoticed; empty for a local one, or if it is unknown."""
    statfs = _statfs()
    if statfs is None:
        return ""
    buffer = ctypes.create_string_buffer(_STATFS_BYTES)
    if statfs(path, buffer) != 0:
        return ""
    magic = ctypes.cast(buffer, ctypes.POINTER(ctypes.c_long)).contents.value & _MASK
    return REMOTE.get(magic, "")


@functools.cache
def _statfs() -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    try:
        found: Callable[..., int] = ctypes.CDLL(None, use_errno=True).statfs
    except (OSError, AttributeError):
        return None
    return found
