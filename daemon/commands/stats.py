"""`watchkeep stats`: the figures of the last hours; `… risk`: who is riskiest; `… storage`: what lies where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from daemon.command import Command, CommandError, Context, Exit, Option, positive
from daemon.filtering import FILTERS, REPEATED, values_of
from daemon.terminal import Output, count, size

DEFAULT_HOURS = 24
DEFAULT_RISK_HOURS = 720
DEFAULT_DAYS = 14
BAR_CELLS = 30
NUMBER_CELLS = 12
SHOWN_CONTRIBUTIONS = 3  # in a line of a terminal


def run(context: Context) -> int:
    """Print the figures."""
    from daemon.asking import connect

    arguments, output = context.arguments, context.output
    if arguments.what == "storage":
        return _storage(context)
    values, answers = values_of(arguments), connect(context)
    if arguments.what == "risk":
        figures = answers.risk(values, arguments.hours or DEFAULT_RISK_HOURS)
    else:
        figures = answers.statistics(values, arguments.hours or DEFAULT_HOURS)
    if output.machine:
        output.object(figures)
    elif arguments.what == "risk":
        _show_risk(output, figures)
    else:
        _show(output, figures)
    return Exit.OK


def _storage(context: Context) -> int:
    """Print what the archive is made of, as the daemon sees it, or as it is committed when none runs."""
    from daemon.control import ControlError, call

    days = context.arguments.days
    try:
        found = call(context.control_socket, "GET", f"/storage?days={days}")
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        from storage.occupancy import occupancy
        from storage.reader import read_snapshot

        settings = context.settings.archive
        found = occupancy(read_snapshot(settings.path), days=days, seal_bytes=settings.seal_bytes).to_json()
    except ControlError as error:
        raise CommandError(f"the daemon could not say: {error}", Exit.ARCHIVE) from None
    if context.output.machine:
        context.output.object(found)
    else:
        _show_storage(context.output, found)
    return Exit.OK


def _show_storage(output: Output, found: dict[str, Any]) -> None:
    output.facts(
        {
            "in all": f"{count(found['rows'])} events, {count(found['files'])} files, {size(found['bytes'])}",
            "not sealed yet": f"{count(found['live_rows'])} events, {count(found['live_files'])} files, {size(found['live_bytes'])}",
            "late, waiting": f"{count(found['waiting_rows'])} events in {count(found['waiting_files'])} files",
            "not committed yet": f"{count(found['hot_rows'])} events",
        }
    )
    output.line()
    heads = ("day", "files", "late", "events", "bytes", "an event", "row groups", "rows in one", "roll-ups")
    output.rows(
        heads,
        (
            (
                day["day"],
                count(day["files"]),
                count(day["late_files"]),
                count(day["rows"]),
                size(day["bytes"]),
                f"{day['bytes_per_row']} B" if day["rows"] else "",
                count(day["row_groups"]),
                count(day["median_group_rows"]),
                size(day["rollup_bytes"]),
            )
            for day in found["days"]
        ),
    )
    if found["older_days"]:
        output.line(f"and {count(found['older_days'])} days before: --days shows more")
    asked = found["recent_questions"]
    if asked and asked["questions"]:
        output.line()
        shown = {
            name.replace("_", " "): f"{count(asked[f'{name}_read'])} of {count(asked[name])} read, "
            f"{asked[f'{name}_skipped_percent']} % left out"
            for name in ("files", "row_groups", "rows")
            if asked[name]
        }
        output.facts({"last questions": count(asked["questions"]), **shown})
    for hint in found["hints"]:
        output.line()
        output.line(hint)


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


def _show_risk(output: Output, found: dict[str, Any]) -> None:
    span = found["timeRange"]
    output.facts({"from": span["start"], "to": span["end"]})
    for heading, rows in (("user", found["riskyUsers"]), ("address", found["riskyAddresses"])):
        if rows:
            output.line()
            heads = (heading, "risk", "", "from", "heaviest")
            output.rows(
                heads,
                (
                    (
                        row["ip"] if heading == "address" else row["username"] or row["userId"],
                        f"{row['riskScore']:5.1f}",
                        row["riskBand"],
                        count(row["contributing"]),
                        ", ".join(_contribution(part) for part in row["contributions"][:SHOWN_CONTRIBUTIONS]),
                    )
                    for row in rows
                ),
            )
    if not found["riskyUsers"] and not found["riskyAddresses"]:
        output.line("nobody has an alert or a risky event")


def _contribution(part: dict[str, Any]) -> str:
    """Name a contribution in a few words."""
    if part["kind"] == "alert":
        return f"{part.get('title', 'an alert')} (+{part['adds']})"
    events = "an event" if part["count"] == 1 else f"{count(part['count'])} events"
    return f"{events} of {part['points']} (+{part['adds']})"


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
    text="Print how many events of each kind there were in the last hours, or between --since and --until; with `risk`, "
    "the users and addresses with the highest risk and what it comes from; with `storage`, what the archive's days are made "
    "of: files, events, bytes and row groups, what waits, how much the last questions left unread, and what could be better. "
    f"{REPEATED}",
    options=(
        Option(
            ("what",),
            "`events` (the default), `risk` or `storage`",
            "WHAT",
            default="events",
            choices=("events", "risk", "storage"),
            needed=False,
        ),
        Option(
            ("--days",),
            f"storage: the newest so many days (default: {DEFAULT_DAYS})",
            "N",
            positive,
            DEFAULT_DAYS,
        ),
        Option(
            ("--hours",),
            f"the last so many hours (default: {DEFAULT_HOURS}, for risk {DEFAULT_RISK_HOURS})",
            "N",
            positive,
        ),
        *FILTERS,
    ),
    run=run,
    examples=(
        "watchkeep stats --hours 168",
        "watchkeep stats risk",
        "watchkeep stats storage",
        "watchkeep stats --since 2026-11-01 --until 2026-11-30 --json",
    ),
)
