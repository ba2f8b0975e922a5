"""What is wrong between settings that are each right alone: folders inside each other, names of nothing, filters."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from daemon import recipients
from daemon.configerror import ConfigProblem
from daemon.settings import Settings


def contradictions(settings: Settings, origin_of: Callable[[str], str]) -> Iterator[ConfigProblem]:
    """Yield what is wrong between keys that are each right alone; ``origin_of`` says where a dotted key was set."""
    archive, log_file = settings.archive.path, settings.daemon.log_file
    if "?" in archive:
        yield ConfigProblem(
            origin_of("archive.path"),
            "archive.path",
            f"{archive} has a question mark in it, behind which DuckDB looks for options",
            "the view for outside readers could not be written: choose another name",
        )
    for folder in settings.logs.directories:
        if _inside(archive, folder):
            yield ConfigProblem(
                origin_of("archive.path"),
                "archive.path",
                f"{archive} lies inside the followed folder {folder}",
                "the daemon would read what it writes: put the archive elsewhere",
            )
        if log_file is not None and _inside(log_file, folder):
            yield ConfigProblem(
                origin_of("daemon.log_file"),
                "daemon.log_file",
                f"{log_file} lies inside the followed folder {folder}",
                "the daemon would read its own log: put it elsewhere",
            )
    yield from _of_reach(settings, origin_of)
    told = settings.alerts
    for key, what, hint in recipients.contradictions(
        told.channels, told.routes, told.receivers, told.heartbeat
    ):
        yield ConfigProblem(origin_of(key.split(" ")[0]), key, what, hint)
    yield from _of_exports(settings, origin_of("archive.exports"))


def _of_reach(settings: Settings, origin_of: Callable[[str], str]) -> Iterator[ConfigProblem]:
    """Yield what is wrong with a proxy that names users."""
    web = settings.web
    if web.trusted_header is not None:
        at = origin_of("web.trusted_header")
        if not web.trusted_proxies:
            hint = "name the proxy in trusted_proxies: from anybody else the header must not count"
            yield ConfigProblem(at, "web.trusted_header", "no proxy is trusted", hint)
        if not web.trusted_roles:
            hint = 'give trusted_roles, for example { "*" = "viewer", "@ops" = "admin" }'
            yield ConfigProblem(at, "web.trusted_header", "nobody that it names has a role", hint)
    for name in ("trusted_groups_header", "trusted_roles"):
        if getattr(web, name) and web.trusted_header is None:
            at = origin_of(f"web.{name}")
            yield ConfigProblem(
                at, f"web.{name}", "it needs trusted_header", "name the header that names the user"
            )


def _of_exports(settings: Settings, origin: str) -> Iterator[ConfigProblem]:
    """Yield what is wrong with exports: a filter that cannot be used, a folder that the daemon reads or manages."""
    for number, export in enumerate(settings.archive.exports, 1):
        key = f"archive.exports #{number}"
        if _inside(export.folder, settings.archive.path):
            yield ConfigProblem(
                origin, f"{key} folder", f"{export.folder} lies inside the archive", "put it elsewhere"
            )
        for folder in settings.logs.directories:
            if _inside(export.folder, folder):
                what = f"{export.folder} lies inside the followed folder {folder}"
                yield ConfigProblem(
                    origin, f"{key} folder", what, "the daemon would read what it exports: put it elsewhere"
                )
        # Filters know the columns, which take a quarter of a second to import: only for those who have exports.
        from daemon.wanted import wanted
        from parsers.fields import TIMESTAMP
        from storage.filters import FilterError

        for name in ("start_date", "end_date"):
            if name in export.filter:
                yield ConfigProblem(
                    origin, f"{key} filter", f"{name} is not for exports", "each day is one export"
                )
        try:
            found, _scope = wanted(export.filter, now_us=0)
        except FilterError as error:
            yield ConfigProblem(origin, f"{key} filter {error.field}", error.what, error.hint)
        else:
            # A time in a search would be a range, or hide somewhere in the expression.
            timed = TIMESTAMP in found.names or found.start_us is not None or found.end_us is not None
            if "q" in export.filter and timed:
                yield ConfigProblem(
                    origin, f"{key} filter q", "a time is not for exports", "each day is one export"
                )


def _inside(path: str, folder: str) -> bool:
    return os.path.commonpath([os.path.realpath(path), os.path.realpath(folder)]) == os.path.realpath(folder)
