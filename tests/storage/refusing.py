"""Runs `watchkeep` on a kernel that refuses some system calls, as an older one or a service manager would.

``python -m tests.storage.refusing ERRNO NUMBER,NUMBER… ARGUMENT…``; with ``ERRNO`` 1 memory that is written may not become
code either.
"""

from __future__ import annotations

import ctypes
import errno
import struct
import sys

LOAD_NUMBER, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
REFUSED, ALLOWED = 0x00050000, 0x7FFF0000
NO_NEW_PRIVILEGES, SECCOMP, WRITE_XOR_EXECUTE = 38, 22, 65
FILTER = 2


def refuse(numbers: list[int], code: int) -> None:
    """Have the kernel answer some system calls of this process and its children with an error."""
    steps = [(LOAD_NUMBER, 0, 0, 0)]
    steps += [(JUMP_IF_EQUAL, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    steps += [(RETURN, 0, 0, ALLOWED), (RETURN, 0, 0, REFUSED | code)]
    text = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), ctypes.addressof(text)))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) == 0
    if code == errno.EPERM:
        assert libc.prctl(WRITE_XOR_EXECUTE, 1, 0, 0, 0) == 0
    assert libc.prctl(SECCOMP, FILTER, program, 0, 0) == 0, ctypes.get_errno()


if __name__ == "__main__":
    given, numbers = sys.argv[1:3]
    refuse([int(number) for number in numbers.split(",")], int(given))
    from daemon.cli import main

    sys.exit(main(sys.argv[3:]))
