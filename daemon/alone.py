"""Commands that change an archive which no daemon writes: they take its lock, and their events go into its own log."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from daemon.command import CommandError, Context, Exit
from daemon.control import ControlError, call

if TYPE_CHECKING:
    from storage.archive import Archive

Say = Callable[[Mapping[str, Any]], None]


def author() -> str:
    """Return who runs this command, for the ledger."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name, in a container
        return "unknown"


def ask(
    context: Context,
    method: str,
    target: str,
    body: Mapping[str, Any],
    alone: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """Return the running daemon's answer, or what ``alone`` returns when none runs."""
    try:
        return call(context.control_socket, method, target, body)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        return alone()
    except ControlError as error:
        raise CommandError(str(error), Exit.ARCHIVE) from None


@contextmanager
def opened(context: Context) -> Generator[tuple[Archive, Say]]:
    """Give the archive, open for writing, and a function that appends to the daemon's own log, durably."""
    from daemon import options
    from daemon.selflog import SelfLog, program_version
    from storage.archive import Archive
    from storage.reader import read_snapshot

    settings = context.settings
    read_snapshot(settings.archive.path, settings.archive.node)  # a command does not make an archive
    archive = Archive.open(options.archive_options(settings))
    own_log = SelfLog(archive.layout.own_log, node=settings.archive.node, version=program_version())
    try:
        yield archive, lambda event: own_log.write(event, durable=True)
        archive.publish()
        archive.collect()
    finally:
        own_log.close()
        archive.close()
