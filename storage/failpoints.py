"""Where tests make the disk fail. Every file operation of the archive and of the tailer passes `reach` first.

Nothing is planted in production, and then a failpoint costs one comparison. A plan may raise OSError, wait, kill the
process, or let only some bytes of a write through; `tests/faults` has those that the tests use.
"""

from __future__ import annotations

from collections.abc import Callable

# Gets the operation's name and the path; returns how many bytes of a write (or read) may pass, None for all.
Plan = Callable[[str, str], int | None]

_planted: Plan | None = None


def plant(plan: Plan | None) -> None:
    """Let every operation from now on, in any thread, pass ``plan`` first; None takes it out again."""
    global _planted  # noqa: PLW0603 - one switch for the whole process is what a fault is
    _planted = plan


def reach(operation: str, path: str) -> int | None:
    """Pass the failpoint of an operation. Raises what the plan raises."""
    return _planted(operation, path) if _planted is not None else None
