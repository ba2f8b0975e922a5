"""`watchkeep tail`: the newest events, and those that come."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from typing import NoReturn

import orjson

from daemon.asking import Answers, connect
from daemon.command import Command, Context, Exit, Option, positive
from daemon.commands.query import cells_of
from daemon.filtering import FILTERS, REPEATED, values_of
from daemon.terminal import Output, clipped, safe

POLL_SECONDS = 0.5  # the daemon says without a query that nothing is new
DEFAULT_LINES = 10
# Events are listed by their time and appear in any order: so many known ones in a row end the search for new ones.
KNOWN_IN_A_ROW = 500
BURST_ROWS = 10_000  # more new events at once are printed in the next round
_COLOURS = {"debug": "2", "warning": "33", "error": "31", "critical": "1;31"}


def run(context: Context) -> int:
    """Print the newest events, oldest first; then wait for more until Ctrl-C."""
    arguments, output = context.arguments, context.output
    values = values_of(arguments)
    answers = connect(context)
    answers.changed(values)  # before the first look, so that nothing falls between
    rows = list(answers.events(values, arguments.lines))
    for row in reversed(rows):
        _show(output, row)
    output.flush()
    if arguments.no_follow:
        return Exit.OK
    if not answers.live:
        output.note("no daemon runs, so nothing new can come")
        return Exit.OK
    with suppress(KeyboardInterrupt):
        _follow(output, answers, values, max((_seq(row) for row in rows), default=0))
    return Exit.OK


def _follow(output: Output, answers: Answers, values: dict[str, list[str]], last: int) -> NoReturn:
    """Print what appears, in the order of the archive."""
    while True:
        time.sleep(POLL_SECONDS)
        if not answers.changed(values):
            continue
        fresh = sorted(_fresh(answers.events(values, BURST_ROWS), last))
        for seq, row in fresh:
            _show(output, row)
            last = seq
        output.flush()


def _fresh(rows: Iterator[str], last: int) -> Iterator[tuple[int, str]]:
    """Yield the events above a seq, until too many old ones follow each other."""
    known = 0
    for row in rows:
        seq = _seq(row)
        if seq > last:
            known = 0
            yield seq, row
        else:
            known += 1
            if known >= KNOWN_IN_A_ROW:
                return


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
    text=f"Print the newest events, oldest first, then every new one as it appears, until Ctrl-C. Events that come late, "
    f"with a time far back, may be left out: query finds them. {REPEATED}",
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
