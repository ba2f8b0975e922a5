"""`watchkeep tail`: the newest events, and those that come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import orjson

from daemon.answers import MESSAGE, Answers, Block
from daemon.asking import connect
from daemon.command import Command, CommandError, Context, Exit, Option, positive
from daemon.commands.query import cells_of
from daemon.filtering import FILTERS, REPEATED, values_of
from daemon.terminal import Output, clipped, safe
from daemon.wanted import Values

AGAIN_SECONDS = 1.0  # between two attempts to reach a daemon that went away
GONE_SECONDS = 60.0  # a daemon that does not come back for so long has ended
DEFAULT_LINES = 10
_COLOURS = {"debug": "2", "warning": "33", "error": "31", "critical": "1;31"}


def run(context: Context) -> int:
    """Print the newest events, oldest first; then wait for more until Ctrl-C."""
    arguments, output = context.arguments, context.output
    values = values_of(arguments)
    answers = connect(context)
    if arguments.no_follow or not answers.live:
        _show_newest(output, answers, values, arguments.lines)
        if not arguments.no_follow:
            output.note("no daemon runs, so nothing new can come")
        return Exit.OK
    with suppress(KeyboardInterrupt):
        blocks = _blocks(context, answers, values)
        next(block for block in blocks if block.last)  # from here on nothing is missed
        shown = _show_newest(output, answers, values, arguments.lines)
        for block in blocks:
            _show_block(output, block, shown)
    return Exit.OK


def _show_newest(output: Output, answers: Answers, values: Values, lines: int) -> set[int]:
    """Print the newest events, oldest first, and return their seqs."""
    rows = list(answers.events(values, lines))
    for row in reversed(rows):
        _show(output, row)
    output.flush()
    return {_seq(row) for row in rows}


def _blocks(context: Context, answers: Answers, values: Values) -> Iterator[Block]:
    """Yield what the daemon sends, for ever: where a stream ends, the next one goes on."""
    last: str | None = None
    while True:
        try:
            for block in answers.follow(values, last):
                last = block.last or last
                yield block
        except CommandError as error:
            if error.code != Exit.UNREACHABLE:
                raise
        answers = _again(context)


def _again(context: Context) -> Answers:
    """Return the daemon once it answers again."""
    ends = time.monotonic() + GONE_SECONDS
    while time.monotonic() < ends:
        time.sleep(AGAIN_SECONDS)
        with suppress(CommandError):
            answers = connect(context)
            if answers.live:
                return answers
    raise CommandError("the daemon has ended", Exit.UNREACHABLE, hint="start it, and tail again")


def _show_block(output: Output, block: Block, shown: set[int]) -> None:
    """Print an event that was not printed yet, or what the daemon says about those that it does not send."""
    if not block.data:
        return
    if block.event == MESSAGE:
        if _seq(block.data) not in shown:
            _show(output, block.data)
            output.flush()
        return
    said = orjson.loads(block.data)
    if block.event == "dropped":
        output.note(f"{said['count']} events were left out: this terminal is too slow for them")
    elif block.event == "reset":
        output.note(f"some events may come again: {said['detail']}")


def _seq(row: str) -> int:
    seq: int = orjson.loads(row)["seq"]
    return seq


def _show(output: Output, row: str) -> None:
    """Print one event: a line for people, its JSON for programs."""
    if output.machine:
        output.json_text(row)
        return
    text = "  ".join(safe(str(cell)) for cell in cells_of(orjson.loads(row)) if cell is not None)
    text = clipped(text, output.width or len(text))
    level = orjson.loads(row).get("level")
    colour = _COLOURS.get(level)
    output.line(f"\x1b[{colour}m{text}\x1b[0m" if colour else text)


COMMAND = Command(
    name="tail",
    text=f"Print the newest events, oldest first, then every new one as it appears, until Ctrl-C. New ones come in the "
    f"order in which they were read, also those with a time far back. A daemon that starts again is waited for. {REPEATED}",
    options=(
        Option(
            ("--lines", "-n"), f"begin with so many (default: {DEFAULT_LINES})", "N", positive, DEFAULT_LINES
        ),
        Option(("--no-follow",), "end after those"),
        *FILTERS,
    ),
    run=run,
    examples=(
        "watchkeep tail --level error --level critical",
        "watchkeep tail -n 100 --username alice --json",
    ),
)
