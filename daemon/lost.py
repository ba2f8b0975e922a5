"""Committed files that are missing or damaged: whoever asks is told that an answer lacks their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from daemon.terminal import count

if TYPE_CHECKING:
    from storage.snapshot import File


@dataclass(frozen=True, slots=True)
class Lost:
    """A file that is not whole, and the events that it held."""

    file: str
    events: int


def lost_files(files: Iterable[File]) -> tuple[Lost, ...]:
    """Return those of a snapshot."""
    return tuple(Lost(file.path, file.rows if file.kind == "events" else 0) for file in files)


def told_lost(status: Mapping[str, Any]) -> tuple[Lost, ...]:
    """Return those that the running daemon knows of."""
    return tuple(Lost(entry["file"], entry["events"]) for entry in status.get("lost", ()))


def warning(lost: Sequence[Lost]) -> str:
    """Return what a person is told."""
    return (
        f"{count(len(lost))} files of the archive are missing or damaged, and {count(sum(one.events for one in lost))} "
        f"events not in the answer, first {lost[0].file}: watchkeep verify names them all"
    )
