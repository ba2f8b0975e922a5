"""`watchkeep retention`: what is kept for how long, the one way to lower a minimum age, and to end a doubt."""

from __future__ import annotations

import sys
import time
from typing import Any

from daemon.command import Command, CommandError, Context, Exit, Option

CONFIRMED = ("clock", "holds")


def run(context: Context) -> int:
    """Show the ages in force, lower one, or confirm what retention waits for."""
    return DOINGS[context.arguments.doing](context)


def _show(context: Context) -> int:
    from daemon.alone import ask

    answer = ask(context, "GET", "/retention", {}, lambda: _committed(context))
    output = context.output
    if output.as_json:
        output.object(answer)
        return Exit.OK
    output.rows(
        ("class", "minimum days", "maximum days"),
        (
            (
                name,
                str(ages["minimum_days"]),
                str(ages["maximum_days"]) if ages["maximum_days"] else "for ever",
            )
            for name, ages in answer["classes"].items()
        ),
    )
    if answer["waits"]:
        output.line()
        output.line(f"nothing is removed: {answer['waits']}")
    return Exit.OK


def _committed(context: Context) -> dict[str, Any]:
    from daemon import options
    from storage.keeping import doubt
    from storage.reader import known_state
    from storage.retention import ages

    archive, policy = context.settings.archive, options.policy(context.settings)
    state = known_state(archive.path, archive.node)
    found = doubt(state, policy)
    return {"classes": ages(policy, state.minimums), "waits": str(found) if found else None}


def _lower(context: Context) -> int:
    from daemon.alone import ask, author, opened
    from daemon.held import lower

    arguments, output = context.arguments, context.output
    if arguments.name is None or arguments.to is None or not arguments.reason:
        hint = "watchkeep retention lower CLASS --to DAYS --reason TEXT"
        raise CommandError("a class, --to and --reason are needed", Exit.USAGE, hint=hint)
    _confirm(context)
    name, days, reason = arguments.name, arguments.to, arguments.reason

    def alone() -> dict[str, Any]:
        with opened(context) as (archive, say):
            told, event = lower(archive, name, days, reason=reason, author=author())
            say(event)
            return told

    body = {"class": name, "minimum_days": days, "reason": reason, "author": author()}
    told = ask(context, "POST", "/retention/lower", body, alone)
    if output.as_json:
        output.object(told)
    else:
        output.line(f"class {name}: minimum {told['before']} → {told['minimum_days']} days")
    return Exit.OK


def _confirmed(context: Context) -> int:
    from daemon.alone import ask, author, opened
    from daemon.held import confirm

    arguments, output = context.arguments, context.output
    what, reason = arguments.name, arguments.reason
    if what not in CONFIRMED or not reason:
        hint = "watchkeep retention confirm clock|holds --reason TEXT"
        raise CommandError("what is confirmed and --reason are needed", Exit.USAGE, hint=hint)

    def alone() -> dict[str, Any]:
        with opened(context) as (archive, say):
            told, event = confirm(archive, what, time.time_ns() // 1000, reason=reason, author=author())
            say(event)
            return told

    told = ask(
        context,
        "POST",
        "/retention/confirm",
        {"what": what, "reason": reason, "author": author()},
        alone,
    )
    if output.as_json:
        output.object(told)
    else:
        output.line(f"{what} confirmed: retention goes on")
    return Exit.OK


def _confirm(context: Context) -> None:
    """Let a person type the class's name, unless it was given as an option."""
    arguments = context.arguments
    typed = arguments.confirm
    if typed is None and sys.stdin.isatty():
        sys.stderr.write(
            f"Events of class {arguments.name} that must be kept today may then be removed. "
            f"Type the name of the class to go on: "
        )
        sys.stderr.flush()
        typed = sys.stdin.readline().strip()
    if typed != arguments.name:
        what = "lowering a minimum age must be confirmed"
        raise CommandError(what, Exit.USAGE, hint=f"add --confirm {arguments.name}")


def _whole(text: str) -> int:
    import argparse

    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of days")
    return int(text)


DOINGS = {"show": _show, "lower": _lower, "confirm": _confirmed}

COMMAND = Command(
    name="retention",
    text="Show how long each class is kept, lower a class's minimum age, or confirm what retention waits for. A minimum is a lock: raising it in the settings is "
    "enough, lowering it there has no effect until this command has said so as well. It asks for the class's name, "
    "records author and reason in the ledger, and writes an event. `confirm clock` says that a clock far ahead of the last one "
    "that was believed is right, `confirm holds` that after a rebuilt ledger no hold is missing; until then nothing is removed.",
    options=(
        Option(
            ("doing",), "show, lower or confirm", "doing", choices=tuple(DOINGS), default="show", needed=False
        ),
        Option(("name",), "the class, for lower; clock or holds, for confirm", "NAME", needed=False),
        Option(("--to",), "the new minimum age in days", "DAYS", _whole),
        Option(("--reason",), "why", "TEXT"),
        Option(("--confirm",), "the class once more, instead of typing it", "CLASS"),
    ),
    run=run,
    examples=(
        "watchkeep retention",
        "watchkeep retention lower audit --to 180 --reason 'decision of the board, 2026-04'",
        "watchkeep retention confirm clock --reason 'the machine was off for a month'",
    ),
)
