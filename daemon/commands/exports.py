"""`watchkeep exports`: the daily exports of `[[archive.exports]]`: what they wrote, what waits, and writing it now."""

from __future__ import annotations

from typing import Any

from daemon.command import Command, Context, Exit, Option
from daemon.terminal import count, size

DOINGS = ("list", "run")


def run(context: Context) -> int:
    """List the exports, or write what waits."""
    return _list(context) if context.arguments.doing == "list" else _run(context)


def _list(context: Context) -> int:
    from daemon.alone import ask

    found = ask(context, "GET", "/exports", {}, lambda: {"exports": _committed(context)})["exports"]
    output = context.output
    if output.as_json:
        output.object({"exports": found})
    elif found:
        output.rows(
            ("export", "days", "last day", "waiting", "trouble", "folder"),
            (
                (
                    item["name"],
                    count(item["days"]),
                    item["last_day"] or "",
                    count(len(item["waiting"])),
                    item["reason"] or "",
                    item["folder"],
                )
                for item in found
            ),
        )
    else:
        output.line("no exports are configured: see [[archive.exports]]")
    return Exit.OK


def _run(context: Context) -> int:
    from daemon.alone import ask

    output = context.output
    written = ask(context, "POST", "/exports/run", {}, lambda: {"exports": _alone(context)})["exports"]
    if output.as_json:
        output.object({"exports": written})
    else:
        for item in written:
            if item["ok"]:
                output.line(
                    f"{item['name']} {item['day']}: {count(item['rows'])} events, {size(item['bytes'])}"
                )
            else:
                output.line(f"{item['name']} {item['day']} failed: {item['reason']}")
        if not written:
            output.line("nothing waits")
    return Exit.OK if all(item["ok"] for item in written) else Exit.FOUND


def _committed(context: Context) -> list[dict[str, Any]]:
    from daemon import options
    from daemon.exporting import shown
    from storage.reader import known_state

    archive = context.settings.archive
    state = known_state(archive.path, archive.node)
    return [shown(plan, state, archive.node) for plan in options.exports(context.settings)]


def _alone(context: Context) -> list[dict[str, Any]]:
    from daemon import options
    from daemon.alone import opened
    from daemon.exporting import Exporter, told
    from daemon.selflog import program_version
    from storage.observer import Silent

    with opened(context) as (archive, say):
        plans = options.exports(context.settings)
        exporter = Exporter(archive, Silent(), plans, version=program_version())
        archive.seal()
        outcomes = exporter.run(whatever_the_hour=True)
        for outcome in outcomes:
            say(told(outcome))
        return [outcome.to_json() for outcome in outcomes]


COMMAND = Command(
    name="exports",
    text="List the daily exports of [[archive.exports]] with what they have written and what waits, or write every finished day "
    "now, whatever the hour.",
    options=(Option(("doing",), "list or run", "doing", choices=DOINGS, default="list", needed=False),),
    run=run,
    examples=("watchkeep exports", "watchkeep exports run"),
)
