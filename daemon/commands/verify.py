"""`watchkeep verify`: whether everything is as the ledger says."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from daemon.command import Command, Context, Exit, Option
from daemon.terminal import Progress, count, size

if TYPE_CHECKING:
    from storage.findings import Report

SHOWN = 50  # findings that are printed; --json has all of them
FIRST_FINDINGS = 10  # that the event names


def run(context: Context) -> int:
    """Check the archive and print what was found."""
    from daemon.rereading import Rereader
    from storage.findings import CLASSES
    from storage.verify import Parts, verify

    output, arguments = context.output, context.arguments
    bars: dict[str, Progress] = {}

    def tell(what: str, done: int, total: int) -> None:
        if what not in bars:
            _close(bars)
            bars[what] = Progress(f"verify {what}", total, stream=output.err)
        bars[what].update(done)

    try:
        report = verify(
            context.settings.archive.path,
            node=arguments.node,
            with_sources=not arguments.no_sources,
            parts=Parts(rollups=arguments.rollups, open_source=Rereader()),
            progress=tell,
        )
    finally:
        _close(bars)
    _tell_daemon(context, report)
    if output.as_json:
        output.object(report.to_json())
        return Exit.OK if report.ok else Exit.FOUND
    output.facts(
        {
            "ledger records": count(report.records),
            "files": f"{count(report.files)} ({size(report.bytes)})",
            "events": count(report.events),
            "rejects": count(report.rejects),
            "sources": count(report.sources),
            "log files compared": f"{count(report.sources_checked)} ({size(report.source_bytes)})",
            "seconds": f"{report.seconds:.1f}",
        }
    )
    for note in report.notes:
        output.line(f"note: {note}")
    output.line()
    if report.ok:
        output.line("everything is as the ledger says")
        return Exit.OK
    shown = report.findings[:SHOWN]
    output.rows(("finding", "where", "what"), [(f.kind, f.where, f.what) for f in shown])
    if len(report.findings) > len(shown):
        output.line(f"… and {count(len(report.findings) - len(shown))} more (--json lists all)")
    output.line()
    for kind in report.classes():
        output.line(f"{kind}: {CLASSES[kind]}")
    return Exit.FOUND


def _tell_daemon(context: Context, report: Report) -> None:
    """Make the outcome an event: through the daemon that runs, else appended to the log of its own that it will read."""
    from daemon.control import ControlError, call
    from daemon.selflog import verified_event, write_once
    from storage.layout import Layout

    settings = context.settings.archive
    outcome = {
        "ok": report.ok,
        "classes": report.classes(),
        "files": report.files,
        "bytes": report.bytes,
        "events": report.events,
        "first": [f"{f.kind} {f.where}: {f.what}" for f in report.findings[:FIRST_FINDINGS]],
    }
    try:
        call(context.control_socket, "POST", "/verified", outcome)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        layout = Layout(settings.path, settings.node)
        if os.path.isdir(layout.own_log) and os.access(layout.own_log, os.W_OK):
            write_once(layout.own_log, settings.node, verified_event(outcome))
        else:
            context.output.note(
                "the outcome is in no event: the daemon's folder cannot be written by this user"
            )
    except (ControlError, OSError) as error:
        context.output.note(f"the daemon was not told: {error}")


def _close(bars: dict[str, Progress]) -> None:
    for bar in bars.values():
        bar.close()


COMMAND = Command(
    name="verify",
    text="Check the archive against its ledger: the chain of records, the hash and rows of every file, foreign files, and the "
    "bytes of the log files that still exist. May run beside the daemon. Ends with 0 when everything is right and with 1 "
    "when something is not; the outcome becomes an event. docs/guarantees.md says what this proves.",
    options=(
        Option(("--node",), "only this node (default: all in the archive)", "NAME"),
        Option(("--no-sources",), "leave the log files out"),
        Option(("--rollups",), "make the roll-ups again from the events and compare: reads every event"),
    ),
    run=run,
    examples=("watchkeep verify", "watchkeep verify --json --no-sources"),
)
