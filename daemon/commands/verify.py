"""`watchkeep verify`: whether everything is as the ledger says."""

from __future__ import annotations

from daemon.command import Command, Context, Exit, Option
from daemon.terminal import Progress, count, size


def run(context: Context) -> int:
    """Check the archive and print what was found."""
    from storage.verify import verify

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
            progress=tell,
        )
    finally:
        _close(bars)
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
        }
    )
    output.line()
    if report.ok:
        output.line("everything is as the ledger says")
        return Exit.OK
    rows = [(finding.kind, finding.where, finding.what) for finding in report.findings]
    output.rows(("finding", "where", "what"), rows)
    return Exit.FOUND


def _close(bars: dict[str, Progress]) -> None:
    for bar in bars.values():
        bar.close()


COMMAND = Command(
    name="verify",
    text="Check the archive against its ledger: the chain of records, the hash and rows of every file, and the bytes of "
    "the log files that still exist. Changes nothing, and may run beside the daemon. docs/guarantees.md says what this proves.",
    options=(
        Option(("--node",), "only this node (default: all in the archive)", "NAME"),
        Option(("--no-sources",), "leave the log files out"),
    ),
    run=run,
    examples=("watchkeep verify", "watchkeep verify --json --no-sources"),
)
