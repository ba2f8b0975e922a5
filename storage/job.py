"""What is said between whoever asks in SQL and the process that answers: values, and frames of bytes.

The parent writes two lines of JSON, a `Setup` when it starts the process and a `Job` when there is something to do.
The process answers in frames: one letter, four bytes of length, so many bytes. In order: ``r`` (ready, no content),
``h`` (a `Heading`), any number of ``d`` (a piece of the answer), and ``e`` (the end: a `Mishap`, or empty if all is well).
Nothing in a frame is believed further than that: the process runs what a stranger wrote.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import IO, Any, Literal, get_args

Form = Literal["json", "ndjson", "csv", "arrow", "parquet", "rows"]
FORMS: tuple[Form, ...] = get_args(Form)

READY, HEADING, DATA, END = b"r", b"h", b"d", b"e"
MAX_FRAME_BYTES = 64 << 20  # a row may be large; a longer frame is no answer of ours
_HEAD = struct.Struct(">cI")

MishapKind = Literal["syntax", "query", "refused", "memory", "archive", "sandbox"]


@dataclass(frozen=True, slots=True)
class View:
    """A view over files of the archive, named by their paths below it. Without files it is empty.

    ``columns`` are (name, DuckDB type) pairs; ``united``: some file may lack a column.
    """

    name: str
    files: tuple[str, ...]
    columns: tuple[tuple[str, str], ...]
    united: bool = True


@dataclass(frozen=True, slots=True)
class Setup:
    """How a process is confined: the archive it may read, which folders of it, and what it may use.

    ``programs`` are the files and folders that it loads itself from; DuckDB may read only what is ``readable``.
    """

    root: str  # absolute
    readable: tuple[str, ...]  # absolute
    programs: tuple[str, ...]
    memory_mb: int
    threads: int
    confined: bool = True
    parent: int = 0  # pid of who starts it


@dataclass(frozen=True, slots=True)
class Job:
    """One statement, the views it may use, and what of its answer is wanted.

    ``params`` are values for ``$name`` in the statement. With ``whole`` the answer is complete before its first byte
    leaves: a mistake then never follows half an answer, and the heading knows how many rows there are.
    """

    sql: str
    views: tuple[View, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    form: Form = "rows"
    max_rows: int | None = None
    max_bytes: int | None = None  # of the columns in memory, before they are written in the form
    whole: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)  # goes into the form `json` as it is


@dataclass(frozen=True, slots=True)
class Heading:
    """Names and DuckDB types of the columns. ``rows`` and ``truncated`` are None unless the job asked for the whole."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: int | None = None
    truncated: bool | None = None


@dataclass(frozen=True, slots=True)
class Mishap:
    """Why there is no answer."""

    kind: MishapKind
    text: str


def line(value: Setup | Job) -> bytes:
    """Return a value as the line that the process reads."""
    return json.dumps(asdict(value)).encode() + b"\n"


def setup_of(text: bytes) -> Setup:
    """Return the setup of a line."""
    given = json.loads(text)
    given |= {name: tuple(given[name]) for name in ("readable", "programs")}
    return Setup(**given)


def job_of(text: bytes) -> Job:
    """Return the job of a line."""
    given: dict[str, Any] = json.loads(text)
    given["views"] = tuple(
        View(view["name"], tuple(view["files"]), tuple((n, t) for n, t in view["columns"]), view["united"])
        for view in given["views"]
    )
    return Job(**given)


def frame(kind: bytes, content: bytes = b"") -> bytes:
    """Return one frame."""
    return _HEAD.pack(kind, len(content)) + content


def frames(kind: bytes, content: bytes) -> Iterable[bytes]:
    """Return content as frames of which none is too long."""
    for start in range(0, len(content), MAX_FRAME_BYTES):
        yield frame(kind, content[start : start + MAX_FRAME_BYTES])


def read_frame(stream: IO[bytes]) -> tuple[bytes, bytes] | None:
    """Return the next frame; None when the stream ends first, or holds what is no frame."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    kind, length = _HEAD.unpack(head)
    if length > MAX_FRAME_BYTES:
        return None
    content = stream.read(length)
    return (kind, content) if len(content) == length else None


def heading_of(content: bytes) -> Heading:
    """Return the heading in a frame; ValueError, KeyError or TypeError for what is none."""
    given = json.loads(content)
    return Heading(
        tuple(map(str, given["columns"])),
        tuple(map(str, given["types"])),
        None if given["rows"] is None else int(given["rows"]),
        None if given["truncated"] is None else bool(given["truncated"]),
    )


def mishap_of(content: bytes) -> Mishap | None:
    """Return what went wrong by an end frame, None if nothing did."""
    if not content:
        return None
    given = json.loads(content)
    kinds: dict[str, MishapKind] = {kind: kind for kind in get_args(MishapKind)}
    return Mishap(kinds.get(given["kind"], "query"), str(given["text"]))


def told(value: Heading | Mishap) -> bytes:
    """Return a heading or mishap as the content of a frame."""
    return json.dumps(asdict(value)).encode()
