"""`watchkeep holds`: keep what a case needs, whatever its age, until the hold is released."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.command import Command, CommandError, Context, Exit, Option
from daemon.filtering import FILTERS, REPEATED, values_of
from daemon.terminal import Output

DOINGS = ("list", "add", "release")


def run(context: Context) -> int:
    """List, add or release."""
    arguments = context.arguments
    if (arguments.doing == "list") != (arguments.name is None):
        hint = (
            "watchkeep holds list" if arguments.doing == "list" else f"watchkeep holds {arguments.doing} NAME"
        )
        raise CommandError("a name belongs to add and release", Exit.USAGE, hint=hint)
    return {"list": _list, "add": _add, "release": _release}[arguments.doing](context)


def _list(context: Context) -> int:
    from daemon.alone import ask

    holds = ask(context, "GET", "/holds", {}, lambda: {"holds": _committed(context)})["holds"]
    output = context.output
    if output.as_json:
        output.object({"holds": holds})
    elif holds:
        output.rows(
            ("hold", "added", "by", "reason", "keeps"),
            (
                (hold["name"], hold["added"], hold["author"], hold["reason"], _spelled(hold["filter"]))
                for hold in holds
            ),
        )
    else:
        output.line("no holds are in force")
    return Exit.OK


def _committed(context: Context) -> list[dict[str, Any]]:
    from daemon.held import shown
    from storage.keeping import holds_of
    from storage.reader import known_state

    archive = context.settings.archive
    return [shown(hold) for hold in holds_of(known_state(archive.path, archive.node))]


def _add(context: Context) -> int:
    from daemon.alone import ask, author, opened
    from daemon.answers import question
    from daemon.held import add

    arguments = context.arguments
    values = values_of(arguments)
    question(values)  # a filter that cannot be used is said in the words of the options
    if not arguments.reason:
        raise CommandError("a hold needs a reason", Exit.USAGE, hint="give --reason")
    body = {"name": arguments.name, "values": values, "reason": arguments.reason, "author": author()}

    def alone() -> dict[str, Any]:
        with opened(context) as (archive, say):
            hold, event = add(archive, arguments.name, values, reason=arguments.reason, author=author())
            say(event)
            return hold

    hold = ask(context, "POST", "/holds/add", body, alone)
    return _said(context.output, hold, f"hold {hold['name']} keeps {_spelled(hold['filter'])}")


def _release(context: Context) -> int:
    from daemon.alone import ask, author, opened
    from daemon.held import release

    arguments = context.arguments
    reason = arguments.reason or ""
    body = {"name": arguments.name, "reason": reason, "author": author()}

    def alone() -> dict[str, Any]:
        with opened(context) as (archive, say):
            hold, event = release(archive, arguments.name, reason=reason, author=author())
            say(event)
            return hold

    hold = ask(context, "POST", "/holds/release", body, alone)
    return _said(context.output, hold, f"hold {hold['name']} is released; retention may remove what it kept")


def _said(output: Output, answer: dict[str, Any], line: str) -> int:
    if output.as_json:
        output.object(answer)
    else:
        output.line(line)
    return Exit.OK


def _spelled(found: dict[str, Any]) -> str:
    """Return a filter in one line."""
    parts = [f"{name} {', '.join(texts)}" for name, texts in found.get("values", {}).items()]
    for name, value in found.items():
        if name in _TIMES:
            parts.append(f"{_TIMES[name]} {_time(value)}")
        elif name != "values":
            parts.append(f"{name} {value}")
    return "; ".join(parts)


_TIMES = {"start_us": "from", "end_us": "to"}


def _time(us: int) -> str:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    return at.isoformat().replace("+00:00", "Z")


COMMAND = Command(
    name="holds",
    text="Keep every event that matches a filter until the hold is released: neither retention nor the disk budget nor a person "
    "removes a file that holds one. Adding and releasing are records in the ledger and events. A time such as -7d is "
    f"counted from the moment of adding. {REPEATED}",
    options=(
        Option(("doing",), "list, add or release", "doing", choices=DOINGS, default="list", needed=False),
        Option(("name",), "name of the hold, for add and release", "NAME", needed=False),
        Option(("--reason",), "why: the case, the request; needed for add", "TEXT"),
        *FILTERS,
    ),
    run=run,
    examples=(
        "watchkeep holds add case-2026-17 --reason 'court order 17/2026' --subject 42",
        "watchkeep holds list",
        "watchkeep holds release case-2026-17 --reason 'closed'",
    ),
)
