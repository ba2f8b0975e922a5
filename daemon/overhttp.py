"""The running daemon as an answerer: what the command line asks it over HTTP."""

from __future__ import annotations

import http.client
import time
import urllib.parse
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson

from daemon import resuming
from daemon.command import CommandError, Exit
from daemon.lost import Lost
from daemon.resuming import Part, fixed
from daemon.wanted import Values

if TYPE_CHECKING:
    pass

from daemon.answers import MESSAGE, Block

PREFIX = "/api/v1"
ANSWER_SECONDS = 600.0  # between two bytes of an answer; the daemon's own deadlines are shorter
READ_BYTES = 1 << 20  # of an export at once: a system call a megabyte costs nothing
GOOD = frozenset({http.client.OK, http.client.PARTIAL_CONTENT})


class Daemon:
    """Asks the running daemon."""

    live = True

    def __init__(self, url: str, page_rows: int, lend: Callable[[], str], lost: Sequence[Lost] = ()) -> None:
        parts = urllib.parse.urlsplit(url)
        self._host, self._port = _near(parts.hostname or "127.0.0.1"), parts.port
        self._page_rows = page_rows
        self._lend = lend
        self.lost = lost
        self._token: str | None = None

    def follow(self, values: Values, after: str | None) -> Iterator[Block]:
        """Read `/events/live` block by block; the daemon gives a sign of life when nothing comes."""
        asked = {**values, "last_event_id": [after]} if after else values
        with self._request("/events/live", asked) as response:
            event, data = MESSAGE, list[str]()
            last: str | None = None
            while raw := response.readline():
                field, _, value = raw.decode().rstrip("\r\n").partition(":")
                text = value.removeprefix(" ")
                if not field and not text:
                    yield Block(event, last, "\n".join(data))
                    event, last, data = MESSAGE, None, []
                elif field == "event":
                    event = text
                elif field == "id":
                    last = text
                elif field == "data":
                    data.append(text)

    def events(self, values: Values, limit: int) -> Iterator[str]:
        """Follow the pages by their cursor."""
        for row in self._rows("/events", values, limit):
            yield orjson.dumps(row).decode()

    def event(self, event_id: str) -> dict[str, Any] | None:
        """Ask for one event."""
        try:
            found: dict[str, Any] = self._json(f"/events/{urllib.parse.quote(event_id, safe='')}", {})["data"]
        except _NotFoundError:
            return None
        return found

    def rejects(self, limit: int, source: str | None) -> Iterator[dict[str, Any]]:
        """Follow the pages by their cursor."""
        return self._rows("/rejects", {"source": [source]} if source else {}, limit)

    def statistics(self, values: Values, hours: int) -> dict[str, Any]:
        """Ask for the figures."""
        return self._json("/events/statistics", {**values, "hours": [str(hours)]})

    def risk(self, values: Values, hours: int) -> dict[str, Any]:
        """Ask for the riskiest."""
        return self._json("/risk", {**values, "hours": [str(hours)]})

    def count(self, values: Values) -> int:
        """Ask for one row and the total."""
        total: int = self._json("/events", {**values, "limit": ["1"]})["total"]
        return total

    def export(self, values: Values, form: str, limit: int | None = None) -> Iterator[bytes]:
        """Read the export as it comes. One that breaks off is an error here, unless its format can go on where it was."""
        asked = {**fixed(values), "format": [form], **({"limit": [str(limit)]} if limit is not None else {})}
        part = Part()
        pauses = iter(resuming.RESUME_PAUSES)
        while True:
            try:
                yield from self._rest(asked, part)
            except CommandError as error:
                pause = next(pauses, None) if part.tag and error.code is Exit.UNREACHABLE else None
                if pause is None:
                    raise
                time.sleep(pause)
            else:
                return

    def _rest(self, asked: Values, part: Part) -> Iterator[bytes]:
        with self._request("/events/export", asked, part=part) as response:
            if part.at and response.status != http.client.PARTIAL_CONTENT:
                raise CommandError(
                    "the export broke off, and is another one now", Exit.ARCHIVE, hint="begin anew"
                )
            part.tag = response.headers.get("ETag")
            whole = response.headers.get("Content-Range", "/*").rpartition("/")[2]
            while data := response.read(READ_BYTES):
                part.at += len(data)
                yield data
            if whole.isdigit() and part.at < int(
                whole
            ):  # nothing else tells of a body that is shorter than it says
                raise http.client.IncompleteRead(b"", int(whole) - part.at)

    def _rows(self, path: str, values: Values, limit: int) -> Iterator[dict[str, Any]]:
        cursor: str | None = None
        while limit > 0:
            asked = {**values, "limit": [str(min(limit, self._page_rows))]}
            if cursor is not None:
                asked["cursor"] = [cursor]
            answer = self._json(path, asked)
            yield from answer["data"]
            limit -= len(answer["data"])
            cursor = answer["next"]
            if cursor is None:
                return

    def _json(self, path: str, values: Values) -> dict[str, Any]:
        with self._request(path, values) as response:
            answer: dict[str, Any] = orjson.loads(response.read())
        return answer

    @contextmanager
    def _request(
        self, path: str, values: Values, part: Part | None = None
    ) -> Generator[http.client.HTTPResponse, None, None]:
        query = urllib.parse.urlencode([(name, text) for name, texts in values.items() for text in texts])
        target = f"{PREFIX}{path}" + (f"?{query}" if query else "")
        connection = http.client.HTTPConnection(self._host, self._port, timeout=ANSWER_SECONDS)
        try:
            headers = part.headers() if part else {}
            response = self._sent(connection, target, headers)
            if response.status == http.client.UNAUTHORIZED:  # what was lent has expired
                response.read()
                self._token = None
                response = self._sent(connection, target, headers)
            if response.status not in GOOD:
                raise _refused(response.status, response.read())
            yield response
        except (OSError, http.client.HTTPException) as error:
            what = f"the daemon's answer broke off ({str(error) or type(error).__name__})"
            raise CommandError(what, Exit.UNREACHABLE, hint="look at the daemon's log") from None
        finally:
            connection.close()

    def _sent(
        self, connection: http.client.HTTPConnection, target: str, headers: dict[str, str]
    ) -> http.client.HTTPResponse:
        self._token = self._token or self._lend()
        connection.request("GET", target, headers={"Authorization": f"Bearer {self._token}", **headers})
        return connection.getresponse()


def _near(host: str) -> str:
    """Return the address of this machine by which a daemon that listens on every address is reached."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - nothing is bound here


class _NotFoundError(CommandError):
    """There is no such thing."""


def _refused(status: int, body: bytes) -> CommandError:
    """Return the error that a problem document tells of."""
    from web.errors import UNAVAILABLE

    kind = ""
    try:
        problem = orjson.loads(body)
        kind = problem["type"]
        said = [_fault(fault) for fault in problem.get("errors", [])]
        what = "; ".join(said) or problem.get("detail") or problem["title"]
    except (ValueError, KeyError, TypeError):
        what = f"the daemon answered with status {status}"
    if status == http.client.NOT_FOUND:
        return _NotFoundError(what, Exit.FOUND)
    if status == http.client.UNPROCESSABLE_ENTITY:
        return CommandError(what, Exit.USAGE)
    if kind == UNAVAILABLE.uri:
        return CommandError(what, Exit.ARCHIVE)
    return CommandError(what, Exit.DEADLINE if status >= http.client.TOO_MANY_REQUESTS else Exit.UNREACHABLE)


def _fault(fault: dict[str, Any]) -> str:
    option = "".join(f"--{str(name).replace('_', '-')}: " for name in fault["loc"][1:2])
    return f"{option}{fault['msg']}" + (f" ({fault['hint']})" if fault.get("hint") else "")
