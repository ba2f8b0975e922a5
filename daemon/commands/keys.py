"""`watchkeep keys`: make, list and revoke API keys, beside a running daemon or without one."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from daemon.command import Command, CommandError, Context, Exit, Option
from storage.roles import ROLES, SCOPES

if TYPE_CHECKING:
    from storage.keyring import Keyring

DOINGS = ("list", "create", "revoke")
_UNITS = {"h": 3600, "d": 86_400, "w": 604_800}
_LENGTH = re.compile(r"([1-9][0-9]{0,4})([hdw])")


def run(context: Context) -> int:
    """List, create or revoke."""
    arguments = context.arguments
    if arguments.doing != "list" and not (arguments.name or arguments.key):
        hint = f"watchkeep keys {arguments.doing} --name NAME"
        raise CommandError(f"{arguments.doing} needs a name", Exit.USAGE, hint=hint)
    return {"list": _list, "create": _create, "revoke": _revoke}[arguments.doing](context)


def _list(context: Context) -> int:
    from daemon.alone import ask
    from daemon.keykeeper import listed

    found = ask(context, "GET", "/keys", {}, lambda: listed(_read(context)))["keys"]
    output = context.output
    if output.as_json:
        output.object({"keys": [_dated(key) for key in found]})
    elif found:
        headings = (
            "id",
            "name",
            "role",
            "scopes",
            "user",
            "tenant",
            "state",
            "expires",
            "last used",
            "made by",
        )
        output.rows(headings, ([_cell(key, name) for name in _SHOWN] for key in found))
    else:
        output.line("there are no keys")
    return Exit.OK


_SHOWN = ("id", "name", "role", "scopes", "user", "tenant", "state", "expires_us", "used_us", "created_by")


def _cell(key: Mapping[str, Any], name: str) -> str:
    value = key[name]
    if name.endswith("_us"):
        return _when(value) or ("never" if name == "used_us" else "")
    return ", ".join(value) if isinstance(value, list) else value or ""


def _create(context: Context) -> int:
    from daemon.alone import ask, author
    from daemon.keykeeper import create

    arguments, output = context.arguments, context.output
    if arguments.role is None:
        raise CommandError("a key needs a role", Exit.USAGE, hint=f"give --role {'|'.join(ROLES)}")
    asked = {
        "name": arguments.name or arguments.key,
        "role": arguments.role,
        "scopes": arguments.scope,
        "user": arguments.user,
        "tenant": arguments.tenant,
        "expires_seconds": arguments.expires,
        "author": author(),
    }
    answer = ask(context, "POST", "/keys/create", asked, lambda: _alone(context, create, asked))
    key, token = answer["key"], answer["token"]
    if output.as_json:
        output.object({**_dated(key), "token": token})
        return Exit.OK
    until = f", until {_when(key['expires_us'])}" if key["expires_us"] else ""
    output.note(f"key {key['name']} ({key['id']}), {key['role']}{until}. It is shown this once:")
    output.line(token)
    return Exit.OK


def _revoke(context: Context) -> int:
    from daemon.alone import ask, author
    from daemon.keykeeper import revoke

    arguments, output = context.arguments, context.output
    asked = {"name": arguments.key or arguments.name, "author": author()}
    answer = ask(context, "POST", "/keys/revoke", asked, lambda: _alone(context, revoke, asked))
    if output.as_json:
        output.object(_dated(answer["key"]))
    else:
        output.line(
            f"key {answer['key']['name']} ({answer['key']['id']}) is revoked: it opens nothing any more"
        )
    return Exit.OK


def _read(context: Context) -> Keyring:
    from storage.keyring import Keyring
    from storage.layout import Layout

    archive = context.settings.archive
    return Keyring.open(Layout(archive.path, archive.node).keys)


def _alone(
    context: Context,
    work: Callable[[Keyring, Mapping[str, Any]], tuple[dict[str, Any], dict[str, Any]]],
    asked: Mapping[str, Any],
) -> dict[str, Any]:
    """Change the keys while no daemon runs. The first key may come before the archive: a daemon may need one to start."""
    from daemon.selflog import write_once
    from storage.layout import Layout

    archive = context.settings.archive
    with _locked(context):
        answer, event = work(_read(context), asked)
        write_once(Layout(archive.path, archive.node).own_log, archive.node, event)
    return answer


@contextmanager
def _locked(context: Context) -> Generator[None]:
    """Hold the node's lock: a daemon that starts now would not see what is written."""
    from storage.fs import Disk, makedirs
    from storage.layout import Layout

    archive = context.settings.archive
    layout, disk = Layout(archive.path, archive.node), Disk()
    makedirs(disk, layout.home)
    if os.stat(layout.home).st_uid != os.geteuid():
        hint = "run this as that user, or while the daemon runs"
        raise CommandError(
            "the archive is another user's, who could not read the keys", Exit.ARCHIVE, hint=hint
        )
    lock = disk.lock(layout.lock, f"pid {os.getpid()}: watchkeep keys")
    try:
        yield
    finally:
        lock.release()


def _dated(key: Mapping[str, Any]) -> dict[str, Any]:
    """Return a key with its times as text."""
    return {
        name.removesuffix("_us"): _when(value) if name.endswith("_us") else value
        for name, value in key.items()
    }


def _when(us: int | None) -> str | None:
    if us is None:
        return None
    return datetime.fromtimestamp(us // 1_000_000, UTC).isoformat().replace("+00:00", "Z")


def length(text: str) -> float:
    """Return a length of time in seconds, such as 90d, or from now to a date, for options."""
    found = _LENGTH.fullmatch(text)
    if found:
        return float(int(found[1]) * _UNITS[found[2]])
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a length such as 90d nor a date") from None
    left = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - time.time()
    if left <= 0:
        raise argparse.ArgumentTypeError(f"{text} is over")
    return left


def scopes(text: str) -> list[str]:
    """Return scopes separated by commas, for options; an empty text is none."""
    found = [part.strip() for part in text.split(",") if part.strip()]
    wrong = next((part for part in found if part not in SCOPES), None)
    if wrong is not None:
        raise argparse.ArgumentTypeError(f"there is no scope {wrong!r}: there are {', '.join(SCOPES)}")
    return found


COMMAND = Command(
    name="keys",
    text="Make, list and revoke the keys that the HTTP side asks for. A key is shown once, when it is made; the daemon keeps a hash. "
    "Making and revoking take effect at once and are events. As soon as there is one key, callers on this machine need one as "
    "well; the commands of the daemon's own user do not.",
    options=(
        Option(("doing",), "list, create or revoke", "doing", choices=DOINGS, default="list", needed=False),
        Option(("key",), "name or id of the key", "KEY", needed=False),
        Option(("--name",), "name of the key, for create", "NAME"),
        Option(("--role",), "what it may do", choices=tuple(ROLES)),
        Option(
            ("--scope",),
            f"what its role allows only by name, separated by commas: {', '.join(SCOPES)} (default: export)",
            "SCOPES",
            scopes,
        ),
        Option(
            ("--expires",),
            "when it ends: a length such as 12h, 90d, 8w, or a date (default: never)",
            "WHEN",
            length,
        ),
        Option(("--user",), "user id whose events are its own (/events/me)", "ID"),
        Option(("--tenant",), "the only tenant whose events it sees", "TENANT"),
    ),
    run=run,
    examples=(
        "watchkeep keys create --name grafana --role viewer --expires 90d",
        "watchkeep keys create --name audit --role auditor --scope export,sql",
        "watchkeep keys list",
        "watchkeep keys revoke grafana",
    ),
)
