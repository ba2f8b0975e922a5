"""`watchkeep alerts`: see what rules found and look after it, test a channel, silence alerts for a while, see what waits to be told and what nobody took."""

from __future__ import annotations

from typing import Any

from daemon.alertlist import DOINGS as ALERT_DOINGS
from daemon.alertlist import SHORT_ID, STATES, look_after
from daemon.command import Command, CommandError, Context, Exit, Option

DOINGS = (*ALERT_DOINGS, "test", "silence", "outbox")
WHAT = {
    "silence": ("list", "add", "expire"),
    "outbox": ("list", "retry", "discard"),
}
HOUR_SECONDS = 3600.0


def run(context: Context) -> int:
    """Look after alerts, test, silence, or look after the outbox."""
    arguments = context.arguments
    if arguments.doing in ALERT_DOINGS:
        return look_after(context)
    return {"test": _test, "silence": _silence, "outbox": _outbox}[arguments.doing](context)


def _words(context: Context, most: int) -> tuple[str, list[str]]:
    """Return what is to be done with silences or the outbox, and the words behind it."""
    arguments = context.arguments
    what, *rest = arguments.what or ["list"]
    if what not in WHAT[arguments.doing] or len(rest) > most:
        known = ", ".join(WHAT[arguments.doing])
        raise CommandError(f"{' '.join(arguments.what)!r} is not understood", Exit.USAGE, hint=f"say {known}")
    return what, rest


def _test(context: Context) -> int:
    from daemon.alone import ask, author

    words = context.arguments.what
    if len(words) != 1:
        raise CommandError(
            "one channel is tested at a time", Exit.USAGE, hint="watchkeep alerts test CHANNEL"
        )
    name = words[0]
    body = {"channel": name, "author": author()}
    answer = ask(context, "POST", "/alerts/test", body, lambda: _tested_alone(context, name))
    output = context.output
    if output.as_json:
        output.object(answer)
    else:
        verdict = "took the message" if answer["ok"] else "did NOT take the message"
        output.line(f"{answer['channel']} ({answer['type']}) {verdict}: {answer['answer']}")
    return Exit.OK if answer["ok"] else Exit.FOUND


def _tested_alone(context: Context, name: str) -> dict[str, Any]:
    """Send the test from here: no daemon runs. Variables are those of this shell, not the daemon's."""
    import asyncio
    import time

    from daemon import options
    from daemon.outbound.sender import Sender
    from daemon.outbound.testmessage import tested

    found = [item for item in context.settings.alerts.channels if item.name == name]
    if not found:
        known = ", ".join(item.name for item in context.settings.alerts.channels) or "none"
        raise CommandError(f"no channel is called {name!r}", Exit.USAGE, hint=f"there are {known}")

    async def send() -> dict[str, Any]:
        sender = Sender(context.environ)
        try:
            return await tested(sender, options.channel(found[0]), time.time_ns() // 1000)
        finally:
            await sender.close()

    return asyncio.run(send())


def _nobody() -> dict[str, Any]:
    raise CommandError("no daemon runs for this archive", Exit.UNREACHABLE, hint="start it: watchkeep serve")


def _silence(context: Context) -> int:
    from daemon.alone import ask, author

    what, rest = _words(context, 1)
    arguments, output = context.arguments, context.output
    if what == "list":
        answer = ask(context, "GET", "/alerts/silences", {}, _nobody)
        if output.as_json:
            output.object(answer)
        elif not answer["silences"]:
            output.line("no silences")
        else:
            output.rows(
                ("silence", "state", "until", "by", "alerts", "comment"),
                (
                    (
                        one["id"],
                        one["state"],
                        one["ends"],
                        one["author"],
                        ", ".join(one["matchers"]),
                        one["comment"],
                    )
                    for one in answer["silences"]
                ),
            )
        return Exit.OK
    if what == "add":
        _checked(arguments.match, arguments.comment)
        body = {
            "matchers": arguments.match,
            "author": author(),
            "comment": arguments.comment,
            "seconds": arguments.hours * HOUR_SECONDS,
        }
        answer = ask(context, "POST", "/alerts/silence", body, _nobody)
        line = f"silence {answer['id']} is in force until {answer['ends']}"
    else:
        if len(rest) != 1:
            raise CommandError("which silence?", Exit.USAGE, hint="watchkeep alerts silence expire ID")
        answer = ask(context, "POST", "/alerts/expire", {"id": rest[0], "author": author()}, _nobody)
        line = f"silence {answer['id']} is over"
    if output.as_json:
        output.object(answer)
    else:
        output.line(line)
    return Exit.OK


def _checked(matchers: list[str], comment: str | None) -> None:
    """Raise CommandError for a silence that the daemon would refuse."""
    from daemon.outbound.matchers import parsed

    if not matchers:
        raise CommandError("a silence needs a matcher", Exit.USAGE, hint="give --match 'rule=…'")
    if not comment:
        raise CommandError("a silence needs a reason", Exit.USAGE, hint="give --comment")
    try:
        parsed(matchers)
    except ValueError as error:
        raise CommandError(str(error), Exit.USAGE) from None


def _outbox(context: Context) -> int:
    from daemon.alone import ask, author

    what, _ = _words(context, 0)
    answer = ask(context, "POST", "/alerts/outbox", {"doing": what, "author": author()}, _nobody)
    output = context.output
    if output.as_json:
        output.object(answer)
        return Exit.OK
    if what != "list":
        done = "are sent again" if what == "retry" else "were thrown away"
        output.line(f"{answer['changed']} dead letters {done}")
        return Exit.OK
    rows = [
        (one["channel"], state, one["kind"], one["since"], ", ".join(one["alerts"]), one.get("why", ""))
        for state in ("pending", "dead")
        for one in answer[state]
    ]
    if rows:
        output.rows(("channel", "state", "kind", "since", "alerts", "why"), rows)
    else:
        output.line("nothing waits, and nothing was given up")
    return Exit.OK


def _hours(text: str) -> float:
    from argparse import ArgumentTypeError

    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 24 * 366:
        raise ArgumentTypeError(f"{text!r} is no number of hours up to a year")
    return number


COMMAND = Command(
    name="alerts",
    text="Lists the alerts of rules and those of the daemon itself (list), shows one (show ALERT), says that you look after it (ack ALERT), ends it (resolve ALERT) or "
    "opens it again (reopen ALERT), which then only a person ends; each change is an event with who made it. Sends a test message over a channel and says what came back (test CHANNEL); keeps people from being told of some alerts "
    "for a while (silence list, add, expire ID); shows what waits to be told and what nobody took (outbox list, retry, discard). "
    "Silences and their ends are events.",
    options=(
        Option(
            ("doing",),
            "`list`, `show`, `ack`, `resolve`, `reopen`, `test`, `silence` or `outbox`",
            "doing",
            choices=DOINGS,
        ),
        Option(
            ("what",),
            f"show, ack, resolve, reopen: the alert's id or its first {SHORT_ID} characters; test: the channel; silence: `list`, `add` or `expire ID`; outbox: `list`, `retry` or `discard`",
            "what",
            many=True,
            needed=False,
        ),
        Option(
            ("--match",),
            "silence add: what the alerts must have, such as 'level=low' or 'user.id=~\"svc-.*\"'",
            "MATCHER",
            many=True,
        ),
        Option(("--state",), "list: only alerts in this state", "STATE", choices=STATES),
        Option(("--comment",), "ack, resolve, reopen: why; silence add: why nobody is to be told", "TEXT"),
        Option(("--hours",), "silence add: how long (2)", "HOURS", kind=_hours, default=2.0),
    ),
    examples=(
        "watchkeep alerts list --state open",
        "watchkeep alerts ack 1f3a9c20 --comment 'asking the user'",
        "watchkeep alerts test ops",
        "watchkeep alerts silence add --match 'rule=brute-force' --hours 4 --comment 'penetration test, ticket 7'",
        "watchkeep alerts silence list",
        "watchkeep alerts outbox retry",
    ),
    run=run,
)
