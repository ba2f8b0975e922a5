"""The section `[logs]`: which files are read, and how their lines are understood."""

from __future__ import annotations

import zoneinfo
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from daemon.discovery import EXCLUDE, INCLUDE
from daemon.marks import MEBIBYTE, FilePath, Names, Section
from parsers.profiles import AUTO, PROFILES


def _known_profile(value: str) -> str:
    if value != AUTO and value not in PROFILES:
        raise ValueError(f"no profile is called {value!r}: there are {AUTO}, {', '.join(PROFILES)}")
    return value


def _known_zone(value: str) -> str:
    try:
        zoneinfo.ZoneInfo(value)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{value!r} is no time zone: give an IANA name such as Europe/Berlin") from None
    return value


Profile = Annotated[str, AfterValidator(_known_profile)]
Zone = Annotated[str, AfterValidator(_known_zone)]


class Logs(Section):
    """Which files are read, and how their lines are understood."""

    directories: Annotated[Names, FilePath()] = Field(
        default=("logs",), min_length=1, description="Folders whose files are followed, at any depth."
    )
    include: Names = Field(
        default=INCLUDE,
        description="Files that count. A pattern without a slash is about the name, with one about the path below the folder; `**/` is any number of folders. A compressed file (`.gz`, `.zst`, `.bz2`, `.xz`) also counts by its name without that ending, and is read as what it holds.",
    )
    exclude: Names = Field(
        default=EXCLUDE, description="Files that do not count, even if `include` names them."
    )
    profile: Profile = Field(
        default=AUTO,
        description="How lines are read: `auto` looks at the first lines of each file; otherwise the name of a profile (`native`, `flat`, `fastnext`, `verifywise`).",
    )
    profiles: Annotated[dict[str, Profile], FilePath()] = Field(
        default={},
        description="Another profile for single folders: the folder as written in `directories`, and the profile.",
    )
    timezone: Zone = Field(default="UTC", description="Zone of times that name none (IANA name).")
    max_line_bytes: int = Field(
        default=MEBIBYTE,
        ge=1024,
        le=64 * MEBIBYTE,
        description="Longest line that is parsed, in bytes; of a longer one the beginning is kept as a reject.",
    )
    on_copy: Literal["skip", "ingest"] = Field(
        default="skip",
        description="What becomes of a file that for ten minutes only repeats another one that is there too (`cp a.log b.log`): `skip` leaves it unread, counted and shown until it differs; `ingest` reads it as a source of its own, so that its lines are in the archive twice.",
    )
    max_unpacked_bytes: int = Field(
        default=16 * 1024 * MEBIBYTE,
        ge=MEBIBYTE,
        description="Most that one compressed file (`.gz`, `.zst`, `.bz2`, `.xz`) may hold, in bytes. One that holds more is not read at all, counted and shown: a few bytes can unpack to anything.",
    )
    scan_seconds: float = Field(
        default=2.0,
        ge=0.1,
        le=300,
        description="How often the folders are listed, beside the system's change notices, which are only a hint.",
    )
    queue_bytes: int = Field(
        default=32 * MEBIBYTE,
        ge=2 * MEBIBYTE,
        le=1024 * MEBIBYTE,
        description="Bytes read ahead of the parser, all files together. When they are reached, reading pauses.",
    )
    pinned_bytes: int = Field(
        default=1024 * MEBIBYTE,
        ge=0,
        description="Bytes of disk that deleted files may hold while they are read to their end. Above it they are read first and let go of as soon as they are archived; nothing unread is dropped.",
    )
