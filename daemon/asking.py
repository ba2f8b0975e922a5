"""Questions of the command line: put to the running daemon over HTTP, or to the committed files when none runs.

Both sides take the same texts by the API's parameter names, and give the same answers. Beside a running daemon its
newest lines are among them, and the daemon's audit trail says who asked.
"""

from __future__ import annotations

from typing import Any

from daemon.alone import author
from daemon.answers import PAGE_ROWS, Answers
from daemon.command import CommandError, Context, Exit
from daemon.control import ControlError, call
from daemon.fromfiles import Files
from daemon.lost import told_lost, warning
from daemon.overhttp import Daemon

STATUS_SECONDS = 5.0  # a daemon that runs says so at once


def connect(context: Context) -> Answers:
    """Return who answers for the archive of the settings. What no answer can hold is said at once."""
    answers = _answers(context)
    if answers.lost:
        context.output.note(warning(answers.lost))
    return answers


def _answers(context: Context) -> Answers:
    status = daemon_status(context)
    if status is None:
        return Files(context.settings)
    web = context.settings.web
    url = status.get("url") or f"http://{web.host}:{web.port}"
    return Daemon(url, min(PAGE_ROWS, web.page_limit), lambda: _lent(context), told_lost(status))


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
