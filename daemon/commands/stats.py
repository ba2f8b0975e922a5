"""`watchkeep stats`: the figures of the last hours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from daemon.command import Command, Context, Exit, Option, positive
from daemon.filtering import FILTERS, REPEATED, values_of
from daemon.terminal import Output, count

DEFAULT_HOURS = 24
BAR_CELLS = 30
NUMBER_CELLS = 12


def run(context: Context) -> int:
    """Print the figures."""
    from daemon.asking import connect

    arguments, output = context.arguments, context.output
    figures = connect(context).statistics(values_of(arguments), arguments.hours)
    if output.machine:
        output.object(figures)
    else:
        _show(output, figures)
    return Exit.OK


def _show(output: Output, figures: dict[str, Any]) -> None:
    totals, span = figures["totals"], figures["timeRange"]
    output.facts(
        {
            "from": span["start"],
            "to": span["end"],
            "events": count(totals["events"]),
            "users": count(totals["users"]),
            "error rate": f"{figures['errorRate']} %",
        }
    )
    _bars(output, "level", figures["byLevel"].items())
    _bars(output, "category", ((name, number) for name, number in figures["byCategory"].items() if number))
    _bars(output, "user", ((row["username"], row["eventCount"]) for row in figures["topUsers"]))


def _bars(output: Output, heading: str, rows: Iterable[tuple[Any, int]]) -> None:
    """Print names with their counts, largest first, each with a bar."""
    ordered: Sequence[tuple[Any, int]] = sorted(rows, key=lambda row: -row[1])
    if not ordered:
        return
    most = max(number for _, number in ordered) or 1
    output.line()
    output.rows(
        (heading, "events", ""),
        (
            (name, f"{count(number):>{NUMBER_CELLS}}", "█" * round(number / most * BAR_CELLS))
            for name, number in ordered
        ),
    )


COMMAND = Command(
    name="stats",
    text=f"Print how many events of each kind there were in the last hours, or between --since and --until. {REPEATED}",
    options=(
        Option(
            ("--hours",), f"the last so many hours (default: {DEFAULT_HOURS})", "N", positive, DEFAULT_HOURS
        ),
        *FILTERS,
    ),
    run=run,
    examples=("watchkeep stats --hours 168", "watchkeep stats --since 2026-11-01 --until 2026-11-30 --json"),
)
