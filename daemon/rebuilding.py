"""`watchkeep doctor --rebuild-ledger`: a lost or damaged ledger built again from the files, shown first, then written."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from daemon.command import CommandError, Context, Exit
from daemon.terminal import Output, Progress, count, size

if TYPE_CHECKING:
    from storage.rebuild import Plan

SHOWN = 20  # entries of a list that is printed; --json has all of them


def rebuild_ledger(context: Context) -> int:
    """Show what a new ledger would know, and with ``--yes`` write it."""
    from storage.errors import LockedError
    from storage.fs import Disk
    from storage.layout import Layout
    from storage.rebuild import holding, plan, rebuild, usable

    settings, output, write = context.settings.archive, context.output, context.arguments.yes
    fs, layout = Disk(), Layout(settings.path, settings.node)
    if not fs.listdir(layout.home):
        raise CommandError(f"there is no node {settings.node!r} in {settings.path}", Exit.ARCHIVE)
    bar: Progress | None = None

    def tell(_what: str, done: int, total: int) -> None:
        nonlocal bar
        bar = bar or Progress("read files", total, stream=output.err)
        bar.update(done)

    try:
        with holding(fs, layout) if write else nullcontext():
            if usable(fs, layout) is not None:
                if output.as_json:
                    output.object({"node": settings.node, "usable": True, "written": False})
                else:
                    output.line("the ledger is whole and as new as the files: there is nothing to rebuild")
                return Exit.OK
            found = plan(fs, layout, tell)
            if write:
                rebuild(fs, layout, found)
                _record(context, found)
    except LockedError as error:
        hint = "stop it first: a ledger is rebuilt while nobody writes"
        raise CommandError(f"{error.what} ({error.where})", Exit.ARCHIVE, hint=hint) from None
    finally:
        if bar is not None:
            bar.close()
    _show(output, found, written=write)
    return Exit.OK if write else Exit.FOUND


def _record(context: Context, found: Plan) -> None:
    """Append an event: it is archived like any other when the daemon starts."""
    from daemon.selflog import write_once
    from storage.layout import Layout

    settings = context.settings.archive
    event = {
        "level": "warning",
        "description": f"The ledger was rebuilt from {found.files} files by hand",
        "metadata": {
            "files": found.files,
            "events": found.rows("events"),
            "sources": len(found.state.sources),
            "missing": len(found.missing),
            "unusable": len(found.unusable),
            "holes": len(found.holes),
        },
    }
    write_once(Layout(settings.path, settings.node).own_log, settings.node, event)


def _show(output: Output, found: Plan, *, written: bool) -> None:
    if output.as_json:
        output.object({**found.to_json(), "usable": False, "written": written})
        return
    state = found.state
    output.facts(
        {
            "node": found.node,
            "files": f"{count(found.files)} ({size(sum(file.bytes for file in state.files.values()))})",
            "events": count(found.rows("events")),
            "rejects": count(found.rows("rejects")),
            "sources": count(len(state.sources)),
            "bytes of them archived": size(sum(source.offset for source in state.sources.values())),
            "records of the old ledger": f"{count(found.old_records)} could be read and are used",
        }
    )
    unread = [f"bytes {hole.start} to {hole.end} of {hole.path}" for hole in found.holes]
    for title, entries in (
        ("not readable in the old ledger", list(found.old_damage)),
        ("superseded: their rows are in newer files", found.superseded),
        ("unfinished: cleared at the next start, their lines are read again", found.unfinished),
        ("not usable: moved to the folder 'aside'", [f"{path}: {why}" for path, why in found.unusable]),
        ("named by the old ledger and not here: dropped since, or lost", found.missing),
        ("archived once, and in no file here: dropped by retention, or lost; not read again", unread),
    ):
        if entries:
            output.line()
            output.line(f"{title} ({count(len(entries))}):")
            for entry in entries[:SHOWN]:
                output.line(f"  {entry}")
            if len(entries) > SHOWN:
                output.line(f"  … and {count(len(entries) - SHOWN)} more (--json lists all)")
    output.line()
    output.line(
        "Not known again: which days retention had dropped, gaps, and what happened to lines that made no row after the "
        "last commit with a file. Log lines of sources that nothing here names are read as new."
    )
    names = ", ".join(sorted(state.holds)) or "none"
    output.line(
        f"Holds that the old ledger still tells of: {names}. There may have been others (look for the events 'Hold … was "
        "added'): nothing is removed by retention until they are there again and 'watchkeep retention confirm holds' was given."
    )
    if written:
        output.line(
            f"written: the new ledger begins with record {found.n + 1}, epoch {found.epoch}; the old one is in 'aside'"
        )
    else:
        output.line("nothing was changed; --yes writes the new ledger")
