"""`watchkeep query`: events, newest first; one event; or the lines that could not be parsed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from daemon.command import Command, CommandError, Context, Exit, Option, positive
from daemon.filtering import FILTERS, REPEATED, values_of
from daemon.terminal import Output, safe_json

DEFAULT_LIMIT = 50  # as the API's
HEADINGS = ("time", "level", "category", "action", "user", "status", "address", "risk", "description")
REJECT_HEADINGS = ("read at", "source", "offset", "bytes", "reason", "line")
LINE_CHARACTERS = 200  # of a rejected line in the table


def run(context: Context) -> int:
    """Print what was asked for."""
    from daemon.asking import connect

    arguments, output = context.arguments, context.output
    values = values_of(arguments)
    answers = connect(context)
    if arguments.id is not None:
        event = answers.event(arguments.id)
        if event is None:
            raise CommandError(f"there is no event {arguments.id!r}", Exit.FOUND)
        show_event(output, event)
    elif arguments.rejects:
        source = next(iter(values.get("source", [])), None)
        show_rejects(output, answers.rejects(arguments.limit, source))
    else:
        show_events(output, answers.events(values, arguments.limit))
    return Exit.OK


def show_event(output: Output, event: dict[str, Any]) -> None:
    """Print one event whole."""
    if output.machine:
        output.json_text(orjson.dumps(event).decode())
    else:
        output.line(safe_json_lines(orjson.dumps(event, option=orjson.OPT_INDENT_2).decode()))


def safe_json_lines(text: str) -> str:
    """Return indented JSON that changes nothing on a terminal but its lines."""
    return "\n".join(safe_json(line) for line in text.split("\n"))


def show_events(output: Output, rows: Iterator[str]) -> None:
    """Print events: a table for people, one object a line for programs."""
    if output.machine:
        for row in rows:
            output.json_text(row)
    else:
        output.rows(HEADINGS, (cells_of(orjson.loads(row)) for row in rows))


def cells_of(event: dict[str, Any]) -> list[Any]:
    """Return an event's cells in the order of `HEADINGS`."""
    user, request = event.get("user") or {}, event.get("request") or {}
    return [
        event.get("timestamp"),
        event.get("level"),
        event.get("category"),
        event.get("action"),
        user.get("username") or user.get("id"),
        request.get("statusCode"),
        request.get("ip"),
        event.get("riskScore"),
        event.get("description"),
    ]


def show_rejects(output: Output, rows: Iterable[dict[str, Any]]) -> None:
    """Print lines that could not be parsed."""
    if output.machine:
        for row in rows:
            output.json_text(orjson.dumps(row).decode())
        return
    output.rows(
        REJECT_HEADINGS,
        (
            [
                row["timestamp"],
                row["file"],
                row["offset"],
                row["length"],
                row["reason"],
                row["raw"][:LINE_CHARACTERS],
            ]
            for row in rows
        ),
    )


COMMAND = Command(
    name="query",
    text=f"Print events, newest first: a table on a terminal, one JSON object a line in a pipe. A running daemon is asked, "
    f"so its newest lines are there; without one the committed files are read. {REPEATED}",
    options=(
        Option(("--limit",), f"at most so many (default: {DEFAULT_LIMIT})", "N", positive, DEFAULT_LIMIT),
        Option(("--id",), "the event with this id, whole", "ID"),
        Option(("--rejects",), "the lines that could not be parsed, and why (of one --source, if given)"),
        *FILTERS,
    ),
    run=run,
    examples=(
        "watchkeep query --level error --level critical --since=-24h",
        "watchkeep query --ip 10.0.0.0/8 --status-code 403 --json | jq .user.username",
        "watchkeep query --rejects",
    ),
)
