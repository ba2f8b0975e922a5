"""Questions of the command line: put to the running daemon over HTTP, or to the committed files when none runs.

Both sides take the same texts by the API's parameter names, and give the same answers. Beside a running daemon its
newest lines are among them, and the daemon's audit trail says who asked.
"""

from __future__ import annotations

import asyncio
import http.client
import time
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import orjson

from daemon import resuming
from daemon.alone import author
from daemon.command import CommandError, Context, Exit
from daemon.control import ControlError, call
from daemon.resuming import Part, fixed
from daemon.wanted import Values, wanted

if TYPE_CHECKING:
    from daemon.settings import Settings
    from storage.queries import Queries
    from storage.query import Filter, Scope

T = TypeVar("T")

PREFIX = "/api/v1"
PAGE_ROWS = 500  # rows a request; at most [web] page_limit
STATUS_SECONDS = 5.0  # a daemon that runs says so at once
ANSWER_SECONDS = 600.0  # between two bytes of an answer; the daemon's own deadlines are shorter
READ_BYTES = 1 << 20
COMPRESS = "compress"  # names no filter, but how the file is compressed
GOOD = frozenset({http.client.OK, http.client.PARTIAL_CONTENT})
RESUME_PAUSES = (
    0.5,
    2.0,
    5.0,
    10.0,
    20.0,
)  # seconds before each attempt to go on with a download that broke off
HOUR_US = 3_600_000_000
MESSAGE = "message"  # the kind of a live event that names none


@dataclass(frozen=True, slots=True)
class Block:
    """What a live stream sends at once: the kind of event, the id behind which to go on, and the data (both may lack)."""

    event: str
    last: str | None
    data: str


class Answers(Protocol):
    """Who answers: the daemon or the files. Events and rejects come newest first; events as JSON text."""

    live: bool  # whether new events can appear while it is open

    def events(self, values: Values, limit: int) -> Iterator[str]:
        """Yield at most ``limit`` events."""
        ...

    def follow(self, values: Values, after: str | None) -> Iterator[Block]:
        """Yield what a live stream sends, behind an id or from now on, until the daemon ends it."""
        ...

    def event(self, event_id: str) -> dict[str, Any] | None:
        """Return the first event with this id."""
        ...

    def rejects(self, limit: int, source: str | None) -> Iterator[dict[str, Any]]:
        """Yield at most ``limit`` lines that could not be parsed."""
        ...

    def statistics(self, values: Values, hours: int) -> dict[str, Any]:
        """Return the figures of the last hours, or of the range among ``values``."""
        ...

    def risk(self, values: Values, hours: int) -> dict[str, Any]:
        """Return the riskiest users and addresses of the last hours, or of the range among ``values``."""
        ...

    def count(self, values: Values) -> int:
        """Return how many events match."""
        ...

    def export(self, values: Values, form: str, limit: int | None = None) -> Iterator[bytes]:
        """Yield an export piece by piece. ``values`` may have `fields` and `compress` as well."""
        ...


def connect(context: Context) -> Answers:
    """Return who answers for the archive of the settings."""
    status = daemon_status(context)
    if status is None:
        return Files(context.settings)
    web = context.settings.web
    url = status.get("url") or f"http://{web.host}:{web.port}"
    return Daemon(url, min(PAGE_ROWS, web.page_limit), lambda: _lent(context))


def _lent(context: Context) -> str:
    """Return a key for a while. The daemon lends it over its socket, which only its own user reaches."""
    try:
        token: str = call(context.control_socket, "POST", "/keys/lend", {"author": author()})["token"]
    except (OSError, ControlError) as error:
        what = f"the daemon runs and lends no key ({error})"
        raise CommandError(what, Exit.UNREACHABLE, hint="look at its log") from None
    return token


def daemon_status(context: Context) -> dict[str, Any] | None:
    """Return what the running daemon says of itself; None when none runs."""
    try:
        return call(context.control_socket, "GET", "/status", seconds=STATUS_SECONDS)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        return None
    except OSError as error:
        what = f"the daemon runs and does not answer ({error.strerror or error})"
        raise CommandError(what, Exit.UNREACHABLE, hint="look at its log") from None


class Daemon:
    """Asks the running daemon."""

    live = True

    def __init__(self, url: str, page_rows: int, lend: Callable[[], str]) -> None:
        parts = urllib.parse.urlsplit(url)
        self._host, self._port = _near(parts.hostname or "127.0.0.1"), parts.port
        self._page_rows = page_rows
        self._lend = lend
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
    try:
        problem = orjson.loads(body)
        said = [_fault(fault) for fault in problem.get("errors", [])]
        what = "; ".join(said) or problem.get("detail") or problem["title"]
    except (ValueError, KeyError, TypeError):
        what = f"the daemon answered with status {status}"
    if status == http.client.NOT_FOUND:
        return _NotFoundError(what, Exit.FOUND)
    if status == http.client.UNPROCESSABLE_ENTITY:
        return CommandError(what, Exit.USAGE)
    return CommandError(what, Exit.DEADLINE if status >= http.client.TOO_MANY_REQUESTS else Exit.UNREACHABLE)


def _fault(fault: dict[str, Any]) -> str:
    name = str(fault["loc"][1]).replace("_", "-")
    return f"--{name}: {fault['msg']}" + (f" ({fault['hint']})" if fault.get("hint") else "")


class Files:
    """Reads what is committed, without the lock and without writing."""

    live = False

    def __init__(self, settings: Settings) -> None:
        from storage.reader import read_snapshot

        self._settings = settings
        self._snapshot = read_snapshot(settings.archive.path)

    def follow(self, values: Values, after: str | None) -> Iterator[Block]:  # noqa: ARG002 - the protocol's
        """Nobody writes: nothing can come."""
        return iter(())

    def events(self, values: Values, limit: int) -> Iterator[str]:
        """Follow the pages by their cursor."""
        from storage.query import ListQuery

        asked, scope = question(values)

        async def pages(queries: Queries) -> AsyncIterator[str]:
            left, cursor = limit, None
            while left > 0:
                query = ListQuery(asked, scope, limit=min(left, PAGE_ROWS), cursor=cursor, count=False)
                page = await queries.page(query)
                for row in page.rows:
                    yield row
                left -= len(page.rows)
                cursor = page.next
                if cursor is None:
                    return

        return self._stream(pages)

    def event(self, event_id: str) -> dict[str, Any] | None:
        """Look the id up."""
        answer = self._once(lambda queries: queries.event(event_id))
        if answer is None:
            return None
        found: dict[str, Any] = {**orjson.loads(answer.json), "duplicates": answer.duplicates}
        return found

    def rejects(self, limit: int, source: str | None) -> Iterator[dict[str, Any]]:
        """Follow the pages by their cursor."""
        from storage.query import RejectQuery, Scope

        async def pages(queries: Queries) -> AsyncIterator[dict[str, Any]]:
            left, cursor = limit, None
            while left > 0:
                scope = Scope(internal="include")
                query = RejectQuery(scope, limit=min(left, PAGE_ROWS), cursor=cursor, source=source)
                page = await queries.rejects(query)
                for row in page.rows:
                    yield row
                left -= len(page.rows)
                cursor = page.next
                if cursor is None:
                    return

        return self._stream(pages)

    def statistics(self, values: Values, hours: int) -> dict[str, Any]:
        """Compute the figures."""
        from storage.query import StatisticsQuery

        asked, scope = question(values, hours=hours)
        return self._once(lambda queries: queries.statistics(StatisticsQuery(asked, scope)))

    def risk(self, values: Values, hours: int) -> dict[str, Any]:
        """Compute the riskiest."""
        from storage.query import StatisticsQuery

        asked, scope = question(values, hours=hours)
        query = StatisticsQuery(asked, scope, parts=frozenset({"risk"}))
        return self._once(lambda queries: queries.statistics(query))

    def count(self, values: Values) -> int:
        """Count."""
        from storage.query import ExportQuery

        asked, scope = question(values)
        return self._once(lambda queries: queries.count(ExportQuery(asked, scope)))

    def export(self, values: Values, form: str, limit: int | None = None) -> Iterator[bytes]:
        """Render the rows."""
        from storage.chosen import PARAMETER, columns_of_fields
        from storage.export import COLUMNAR
        from storage.filters import FilterError
        from storage.query import ExportQuery

        filters = {name: texts for name, texts in values.items() if name not in {PARAMETER, COMPRESS}}
        asked, scope = question(filters)
        packing = next(iter(values.get(COMPRESS, ())), None)
        try:
            columns = columns_of_fields(values.get(PARAMETER, ()), event=form not in COLUMNAR)
        except FilterError as error:
            raise CommandError(f"--{error.field}: {error.what}", Exit.USAGE, hint=error.hint) from None
        query = ExportQuery(asked, scope, limit, columns=columns)
        pieces = self._stream(
            lambda queries: queries.export(query, form, packing)  # type: ignore[arg-type]  # argparse checked it
        )
        return (bytes(piece) for piece in pieces)

    def _once(self, work: Callable[[Queries], Awaitable[T]]) -> T:
        async def only(queries: Queries) -> AsyncIterator[T]:
            yield await work(queries)

        (answer,) = self._stream(only)
        return answer

    def _stream(self, work: Callable[[Queries], AsyncIterator[T]]) -> Iterator[T]:
        """Run an event loop with an engine of its own for as long as somebody reads."""
        from daemon import options
        from storage.engine import Engine
        from storage.queries import Queries

        engine = Engine(options.engine_options(self._settings))
        with asyncio.Runner() as runner:

            async def step(items: AsyncIterator[T]) -> tuple[T] | None:
                try:
                    return (await anext(items),)
                except StopAsyncIteration:
                    return None

            async def stop(items: AsyncIterator[T]) -> None:
                close = getattr(items, "aclose", None)
                if close is not None:
                    await close()

            items = work(Queries(engine, lambda: self._snapshot))
            try:
                while (item := runner.run(step(items))) is not None:
                    yield item[0]
            finally:
                runner.run(stop(items))
                engine.close()


def question(values: Values, *, hours: int | None = None) -> tuple[Filter, Scope]:
    """Return what the API would make of these parameters; CommandError names the one that cannot be used."""
    from storage.filters import FilterError

    now_us = time.time_ns() // 1000
    try:
        found, scope = wanted(values, now_us=now_us)
    except FilterError as error:
        raise CommandError(
            f"--{error.field.replace('_', '-')}: {error.what}", Exit.USAGE, hint=error.hint
        ) from None
    if hours is not None:
        end_us = now_us if found.end_us is None else found.end_us
        start_us = end_us - hours * HOUR_US if found.start_us is None else found.start_us
        found = replace(found, start_us=start_us, end_us=end_us)
    return found, scope
