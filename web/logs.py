"""`GET /logs`: the raw lines of one day's files, newest last, redacted like events and parsed where that is possible."""

from __future__ import annotations

import asyncio
import base64
import binascii
import heapq
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from aiohttp import web

from parsers.profiles import AUTO, detect, read_with
from parsers.redact import Redactor
from parsers.slow import LineError
from parsers.timestamps import format_time, parse_time
from parsers.vocabulary import level_of
from storage.masking import Mask
from storage.treatments import HIDDEN, hidden_from
from web.answers import etag, json_answer, unchanged, validators
from web.asking import scope_of
from web.errors import invalid
from web.keys import CLOCK, DAEMON, OPTIONS, QUERIES, REDACTOR
from web.serviceparams import LogsParams
from web.status import LogFile
from web.tails import DAY_BYTES, LEAST_FILE_BYTES, Line, Opened, last_lines, opened
from web.times import day_of

SHOWN_CHARS = 64 * 1024  # of one line; the rest is in the archive
SAMPLE_LINES = 20  # by which a file's profile is told when the daemon was not told it


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: the day, and for each source the offset before which its older lines lie."""

    day: str
    offsets: dict[str, int]

    def encode(self) -> str:
        """Return the text of `next`."""
        return base64.urlsafe_b64encode(orjson.dumps([self.day, self.offsets])).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Place:
        """Read a cursor back; raises the 422 if it is none of ours."""
        try:
            day, offsets = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            if isinstance(day, str) and all(_is_offset(value) for value in offsets.values()):
                return cls(day, dict(offsets))
        except (ValueError, TypeError, AttributeError, binascii.Error):
            pass
        raise invalid("cursor", "this is no cursor of /logs", "use `next` of the answer before, unchanged")


@dataclass(frozen=True, slots=True)
class Seen:
    """A line as it is shown: its redacted text, the object it holds if any, its time (microseconds) and level."""

    line: Line
    text: str
    data: dict[str, Any] | None
    time_us: int | None
    level: str | None

    @property
    def shown(self) -> str:
        """The text, cut to what a page can hold."""
        return self.text[:SHOWN_CHARS]

    def row(self) -> dict[str, Any]:
        """Return the entry of `lines`."""
        return {
            "source": self.line.file.sid,
            "file": self.line.file.file,
            "offset": self.line.offset,
            "raw": self.shown,
            "cut": self.line.cut or len(self.text) > SHOWN_CHARS,
            "timestamp": None if self.time_us is None else format_time(self.time_us),
            "level": self.level,
        }


def _is_offset(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


async def logs(request: web.Request, params: LogsParams) -> web.StreamResponse:
    """Answer with the newest lines of a day, or the lines before a cursor."""
    place = Place.decode(params.cursor) if params.cursor else None
    day = place.day if place else params.date or day_of(request.app[CLOCK]())
    files = _chosen(request.app[DAEMON].log_files(), params.source)
    answer, tag = await asyncio.to_thread(_read, request, files, day, params, place)
    return answer if isinstance(answer, web.Response) else json_answer(answer, headers=validators(tag))


def _chosen(files: Sequence[LogFile], source: str | None) -> list[LogFile]:
    """Return the files asked for: the applications', or the one that is named by id or file."""
    if source is None:
        return [file for file in files if not file.internal]
    return [file for file in files if source in {file.sid, file.file}]


def _read(
    request: web.Request, files: list[LogFile], day: str, params: LogsParams, place: Place | None
) -> tuple[web.Response | dict[str, Any], str]:
    """Open, check the validator, read, merge and parse. Blocking."""
    with opened([file for file in files if file.day in {None, day}]) as entries:
        of_day = [entry for entry in entries if entry.file.day or day_of(entry.changed_ns // 1000) == day]
        scope = scope_of(request)
        tag = etag("logs", day, params, scope, [(e.file.sid, e.size, e.changed_ns) for e in of_day])
        known = unchanged(request, tag)
        if known is not None:
            return known, tag
        if not of_day:
            return _missing(day, params.source), tag
        zone = ZoneInfo(request.app[OPTIONS].timezone)
        mask = request.app[QUERIES].mask if hidden_from(scope) else None
        return _page(of_day, day, params.lines, place, _Reading(zone, request.app[REDACTOR], mask)), tag


@dataclass(frozen=True, slots=True)
class _Reading:
    """How lines are read: the zone of times that name none, what is redacted, and the mask of who may not see all."""

    zone: ZoneInfo
    redactor: Redactor
    mask: Mask | None


def _missing(day: str, source: str | None) -> dict[str, Any]:
    """Return what the original says of a day without a file: 200, but no success."""
    of = "" if source is None else " of this source"
    return {
        "success": False,
        "data": [],
        "lines": [],
        "file": None,
        "files": [],
        "lines_count": 0,
        "error": f"there is no log file{of} for {day}",
        "next": None,
    }


def _page(
    entries: list[Opened], day: str, count: int, place: Place | None, reading: _Reading
) -> dict[str, Any]:
    ends = {e.file.sid: place.offsets.get(e.file.sid, 0) if place else e.size for e in entries}
    budget = max(LEAST_FILE_BYTES, DAY_BYTES // len(entries))
    tails = [last_lines(e, ends[e.file.sid], count, budget) for e in entries]
    shown = _newest([_seen(tail, reading) for tail in tails], count)
    # A file that gave nothing has nothing older to offer; one whose lines all waited goes on where it was.
    older = {tail[0].file.sid: ends[tail[0].file.sid] for tail in tails if tail}
    for seen in shown:
        sid = seen.line.file.sid
        older[sid] = min(older[sid], seen.line.offset)
    older = {sid: offset for sid, offset in older.items() if offset > 0}
    newest = max(entries, key=lambda entry: entry.changed_ns)
    return {
        "success": True,
        "data": [seen.data if seen.data is not None else {"raw": seen.shown} for seen in shown],
        "lines": [seen.row() for seen in shown],
        "file": newest.file.file,
        "files": sorted({entry.file.file for entry in entries}),
        "lines_count": len(shown),
        "error": None,
        "next": Place(day, older).encode() if older else None,
    }


def _newest(tails: list[list[Seen]], count: int) -> list[Seen]:
    """Return the newest ``count`` lines of all files, oldest first, each file's own order kept.

    A line without a time belongs to the moment of the line before it.
    """
    if len(tails) == 1:
        return tails[0]
    keyed: list[list[tuple[int, Seen]]] = []
    for tail in tails:
        moment = 0
        mine: list[tuple[int, Seen]] = []
        for seen in tail:
            moment = max(moment, seen.time_us or 0)
            mine.append((moment, seen))
        keyed.append(mine)
    merged = [seen for _, seen in heapq.merge(*keyed, key=lambda pair: pair[0])]
    return merged[-count:]


def _seen(tail: list[Line], reading: _Reading) -> list[Seen]:
    """Read the lines of one file: redacted first, so that nothing else ever sees a secret; masked last."""
    if not tail:
        return []
    profile = tail[0].file.profile
    if profile == AUTO:
        profile = detect(b"\n".join(line.data for line in tail[:SAMPLE_LINES]))
    lines = [_read_line(line, profile, reading) for line in tail]
    return lines if reading.mask is None else [_masked(seen, reading.mask) for seen in lines]


def _masked(seen: Seen, mask: Mask) -> Seen:
    """Return a line as a viewer may see it. Of one that nobody understood, nothing says where a person is."""
    if seen.data is None:
        return replace(seen, text=HIDDEN)
    data = mask.line(seen.data)
    is_json = _object(seen.text) is not None
    return replace(seen, data=data, text=orjson.dumps(data).decode() if is_json else HIDDEN)


def _read_line(line: Line, profile: str, reading: _Reading) -> Seen:
    text = reading.redactor.text(line.data.decode("utf-8", "replace").rstrip("\r"))
    draft: dict[str, Any] | None = None
    if not line.cut:
        with suppress(LineError):
            draft, _ = read_with(profile, text.encode())
    if draft is None:
        return Seen(line, text, None, None, None)
    time_us = parse_time(str(draft.get("timestamp") or ""), reading.zone)
    level = level_of(str(draft.get("level") or ""))
    return Seen(line, text, _object(text) or _said(draft), time_us, level)


def _object(text: str) -> dict[str, Any] | None:
    """Return the JSON object of a line, also behind a prefix as `asctime | LEVEL | {json}` has."""
    try:
        value = orjson.loads(text[text.index("{") :])
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _said(draft: dict[str, Any]) -> dict[str, Any]:
    """Return what a line of text says, by field, as `data` has it where a line is no JSON."""
    return {name: value for name, value in draft.items() if value is not None and name != "bits"}
