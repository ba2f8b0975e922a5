"""`watchkeep cleanup`: remove whole days of old events. Without `--delete` it only lists them."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta
from typing import Any

from daemon.command import Command, CommandError, Context, Exit, Option
from daemon.terminal import count, size

MIN_DAYS = 7  # as over HTTP: so that nobody removes this week by a slip of the finger


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < MIN_DAYS:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of at least {MIN_DAYS}")
    return int(text)


def run(context: Context) -> int:
    """List or remove the days before the cutoff."""
    from daemon.control import ControlError, call

    arguments, output = context.arguments, context.output
    days = arguments.days if arguments.days is not None else context.settings.retention.event_days
    if days < MIN_DAYS:
        hint = f"give --days, at least {MIN_DAYS}"
        raise CommandError(
            "[retention] event_days keeps everything" if not days else f"{days} days are too few",
            Exit.USAGE,
            hint=hint,
        )
    before = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%d")
    dry_run = not arguments.delete
    try:
        report = call(context.control_socket, "POST", "/cleanup", {"before_day": before, "dry_run": dry_run})
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        report = _alone(context, before, dry_run=dry_run)
    except ControlError as error:
        raise CommandError(f"the daemon could not clean up: {error}", Exit.ARCHIVE) from None
    if output.as_json:
        output.object({"before": before, "dry_run": dry_run, **report})
        return Exit.OK
    found = report["days"]
    span = f" ({found[0]} to {found[-1]})" if found else ""
    what = "would go" if dry_run else "are gone"
    output.line(
        f"{count(len(found))} days before {before}{span}: {count(report['rows'])} events, "
        f"{count(report['files'])} files, {size(report['bytes'])} {what}"
    )
    if dry_run and found:
        output.line("nothing was removed; --delete removes them")
    return Exit.OK


def _alone(context: Context, before: str, *, dry_run: bool) -> dict[str, Any]:
    from daemon import options
    from storage.archive import Archive
    from storage.reader import read_snapshot
    from storage.retention import plan_drop

    settings = context.settings.archive
    snapshot = read_snapshot(settings.path, settings.node)
    if dry_run:
        files = (*snapshot.events, *snapshot.rollups, *snapshot.rejects)
        report, _ = plan_drop(files, before, dry_run=True)
    else:
        archive = Archive.open(options.archive_options(context.settings))
        try:
            report = archive.drop(before, dry_run=False)
            archive.publish()
            archive.collect()
        finally:
            archive.close()
    return {
        "days": [day.day for day in report.days],
        "files": report.files,
        "rows": report.rows,
        "bytes": report.bytes,
    }


COMMAND = Command(
    name="cleanup",
    text="List the whole days of events that are older than so many days, and with --delete remove them: whole files, as one "
    "record in the ledger. The daemon does the same once a day by [retention] event_days.",
    options=(
        Option(
            ("--days",),
            f"keep so many days before today, at least {MIN_DAYS} (default: [retention] event_days)",
            "N",
            _days,
        ),
        Option(("--delete",), "remove them; without this nothing changes"),
    ),
    run=run,
    examples=("watchkeep cleanup --days 30", "watchkeep cleanup --days 30 --delete"),
)
