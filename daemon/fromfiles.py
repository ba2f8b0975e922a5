"""The committed files as an answerer, while no daemon runs: without the lock and without writing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from daemon.command import CommandError, Exit
from daemon.lost import Lost, lost_files
from daemon.wanted import Values

if TYPE_CHECKING:
    from daemon.settings import Settings
    from storage.queries import Queries

from daemon.answers import COMPRESS, PAGE_ROWS, Block, question

T = TypeVar("T")


class Files:
    """Reads what is committed, without the lock and without writing."""

    live = False

    def __init__(self, settings: Settings) -> None:
        from storage.reader import read_snapshot

        self._settings = settings
        self._snapshot = read_snapshot(settings.archive.path)
        self.lost: Sequence[Lost] = lost_files(self._snapshot.lost)

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
