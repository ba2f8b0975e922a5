"""`watchkeep cleanup`: remove whole days of old events. Without `--delete` it only lists them."""

from __future__ import annotations

import argparse
from typing import Any

from daemon.command import Command, CommandError, Context, Exit, Option
from daemon.terminal import Output, count, size

MIN_DAYS = 7  # as over HTTP: so that nobody removes this week by a slip of the finger
SHOWN_KEPT = 20  # lines about what stays; `--json` has them all


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < MIN_DAYS:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {MIN_DAYS}")
    return int(text)


def run(context: Context) -> int:
    """List or remove what is old."""
    from daemon.alone import ask
    from storage.keeping import today
    from storage.retention import day_before

    arguments, output = context.arguments, context.output
    before = None
    if arguments.days is not None:
        before = day_before(today(), arguments.days)
    else:
        _check(context)
    dry_run = not arguments.delete
    body = {"before_day": before, "dry_run": dry_run}
    report = ask(context, "POST", "/cleanup", body, lambda: _alone(context, before, dry_run=dry_run))
    if output.as_json:
        output.object({"before": before, "dry_run": dry_run, **report})
    else:
        _show(output, report, before, dry_run=dry_run)
    return Exit.OK


def _check(context: Context) -> None:
    """Refuse to go by settings that keep everything, or that would remove this week."""
    kept = context.settings.retention
    days = [kept.event_days, *(item.maximum_days for item in kept.classes if item.maximum_days is not None)]
    if not any(days):
        what = "[retention] event_days keeps everything"
        raise CommandError(what, Exit.USAGE, hint=f"give --days, at least {MIN_DAYS}")
    shortest = min(day for day in days if day)
    if shortest < MIN_DAYS:
        what = f"{shortest} days in the settings are too few for a command"
        raise CommandError(what, Exit.USAGE, hint=f"give --days, at least {MIN_DAYS}")


def _show(output: Output, report: dict[str, Any], before: str | None, *, dry_run: bool) -> None:
    days = [day["day"] for day in report["days"]]
    span = f" ({days[0]} to {days[-1]})" if days else ""
    what = "would go" if dry_run else "are gone"
    which = f"days before {before}" if before else "days older than their class may be"
    output.line(
        f"{count(len(days))} {which}{span}: {count(report['rows'])} events, "
        f"{count(report['files'])} files, {size(report['bytes'])} {what}"
    )
    if report["classes"]:
        output.rows(
            ("class", "events", "files", "size"),
            (
                (name, count(tally["rows"]), count(tally["files"]), size(tally["bytes"]))
                for name, tally in report["classes"].items()
            ),
        )
    kept = report["kept"]
    for item in kept[:SHOWN_KEPT]:
        output.line(
            f"{item['day']} stays: {item['reason']} ({count(item['rows'])} events, {size(item['bytes'])})"
        )
    if len(kept) > SHOWN_KEPT:
        output.line(f"and {count(len(kept) - SHOWN_KEPT)} more stay; --json lists them")
    if dry_run and days:
        output.line("nothing was removed; --delete removes them")


def _alone(context: Context, before: str | None, *, dry_run: bool) -> dict[str, Any]:
    from daemon import options
    from daemon.alone import author, opened
    from storage.keeping import plan_beside
    from storage.retention import facts

    if dry_run:
        where = context.settings.archive
        return facts(plan_beside(where.path, where.node, options.policy(context.settings), before))
    with opened(context) as (archive, say):
        keeping = archive.keeping
        keeping.check()
        keeping.take_late(before)
        planned = keeping.asked(before, dry_run=True) if before else keeping.old(dry_run=True)
        if planned.files:
            who = author()
            say(
                {
                    "level": "warning",
                    "category": "data_management",
                    "action": "delete",
                    "user": {"id": who, "username": who},
                    "description": f"watchkeep cleanup removes {planned.rows} events of {len(planned.days)} days",
                    "metadata": {"before": before, **facts(planned)},
                }
            )
        return facts(keeping.asked(before, dry_run=False) if before else keeping.old(dry_run=False))


COMMAND = Command(
    name="cleanup",
    text="List the whole days of events that are too old, by class, and what stays although its time has come and why (a minimum "
    "age, a hold, an export that has not written it); with --delete remove them: whole files, as one record in the ledger. "
    "The daemon does the same once a day by [retention].",
    options=(
        Option(
            ("--days",),
            f"keep so many days before today, at least {MIN_DAYS}, whatever the class's maximum age "
            "(default: each class's own, by [retention])",
            "N",
            _days,
        ),
        Option(("--delete",), "remove them; without this nothing changes"),
    ),
    run=run,
    examples=("watchkeep cleanup --days 30", "watchkeep cleanup --days 30 --delete"),
)
