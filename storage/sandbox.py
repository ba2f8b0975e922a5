"""A process that gives up what a query never needs: writing files, starting programs, the network. Linux's Landlock.

A thread that exists already is not bound by it, so a process calls this first of all, before anything starts threads.
DuckDB's own settings are no boundary: it says so itself, and statements were found that get around each of them.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

# Numbers of the kernel's interface; the system calls are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_SIGKILL = 9
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_NET_ALL = 0b11  # bind and connect, TCP
# Rights over files that each version knows: 1: execute to make symlinks; 2: refer; 3: truncate; 5: ioctl on devices.
_FS_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_NEWEST_KNOWN = max(_FS_RIGHTS)
_NET_SINCE = 4
# What a process may not do to those outside: connect to abstract sockets, send signals.
_SCOPE_ALL = 0b11
_SCOPE_SINCE = 6
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000


class SandboxError(Exception):
    """This system cannot confine a process."""


def landlock_version() -> int:
    """Return which version of Landlock the kernel offers; 0 for none."""
    version: int = ctypes.CDLL(None, use_errno=True).syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    return max(version, 0)


def confine(readable: Sequence[str]) -> None:
    """Take from this process everything but reading below ``readable``. There is no way back.

    Raises SandboxError where the kernel has no Landlock, or can refuse the network in no way.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = landlock_version()
    if not version:
        raise SandboxError(f"this kernel offers no Landlock ({os.strerror(ctypes.get_errno())})")
    rights = (1 << _FS_RIGHTS[min(version, _NEWEST_KNOWN)]) - 1
    refuses_network = version >= _NET_SINCE
    if not refuses_network and libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        raise SandboxError(
            "this kernel's Landlock cannot refuse the network, and a namespace without one is refused"
        )
    attributes = struct.pack("Q", rights)
    if refuses_network:
        attributes += struct.pack("Q", _NET_ALL)
    if version >= _SCOPE_SINCE:
        attributes += struct.pack("Q", _SCOPE_ALL)
    ruleset = _checked(libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0))
    try:
        for path in readable:
            _allow_reading(libc, ruleset, path)
        _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it ends."""
    _checked(ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0))


def _allow_reading(libc: ctypes.CDLL, ruleset: int, path: str) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        rights = _READ_FILE | _READ_DIR if os.path.isdir(path) else _READ_FILE
        rule = struct.pack("=Qi", rights, fd)  # the kernel's struct is packed
        _checked(libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0))
    finally:
        os.close(fd)


def _checked(result: int) -> int:
    if result < 0:
        raise SandboxError(f"the kernel refused to confine the process: {os.strerror(ctypes.get_errno())}")
    return result
