"""`watchkeep ingest`: read files once, straight into sealed files."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from daemon.command import Command, CommandError, Context, Exit, Option
from daemon.terminal import Progress, count, size

if TYPE_CHECKING:
    from daemon.discovery import Found
    from daemon.importing import ImportReport
    from parsers.batch import Counts


def run(context: Context) -> int:
    """Import the named files."""
    from daemon import options
    from daemon.importing import gather
    from parsers.profiles import AUTO, PROFILES

    settings, arguments = context.settings, context.arguments
    profile = arguments.profile
    if profile not in {None, AUTO, *PROFILES}:
        raise CommandError(
            f"no profile is called {profile!r}", Exit.USAGE, hint=f"there are {', '.join(PROFILES)}"
        )
    files, left_out = gather(arguments.files, options.roots(settings), profile, settings.archive.path)
    report = _import(context, files)
    report.left_out[:0] = left_out
    return _say(context, report)


def _import(context: Context, files: list[Found]) -> ImportReport:
    from daemon import options
    from daemon.atlas import Atlas
    from daemon.importing import COMMIT_BYTES, Importer, ImportOptions
    from daemon.ladder import ArchiveLadder
    from daemon.scoring import Scorer
    from storage.archive import Archive
    from storage.errors import LockedError
    from storage.observer import Silent
    from storage.transform import Transformer

    settings = context.settings
    try:
        archive = Archive.open(options.archive_options(settings))
    except LockedError as error:
        hint = "it reads whatever lies in its folders; to import other files, stop it for that time"
        raise CommandError(f"{error.what} ({error.where})", Exit.ARCHIVE, hint=hint) from None
    try:
        parse = options.parse_options(settings)
        atlas = Atlas(options.atlas_options(settings), archive.layout.places, Silent())
        atlas.refresh()
        transformer = Transformer(parse, atlas.lookup)
        try:
            scorer = None
            if settings.risk.enabled:
                scorer = Scorer(options.scoring_options(settings), archive, Silent())
                scorer.restore()
            ladder = ArchiveLadder(archive, parse, settings.logs.max_line_bytes)
            importer = Importer(
                archive,
                transformer,
                ImportOptions(
                    max_line_bytes=settings.logs.max_line_bytes,
                    commit_bytes=min(COMMIT_BYTES, settings.archive.seal_bytes),
                    final=context.arguments.final,
                    max_unpacked_bytes=settings.logs.max_unpacked_bytes,
                ),
                ladder=ladder,
                scorer=scorer,
            )
            bar = Progress("ingest", sum(file.size for file in files), stream=context.output.err)

            def tell(done: int, counts: Counts) -> None:
                bar.update(done, f"{count(counts.events)} events, {size(done)}")

            try:
                return importer.run(files, tell)
            finally:
                bar.close()
        finally:
            transformer.close()
            atlas.close()
    finally:
        try:
            archive.publish()
        finally:
            archive.close()


def _say(context: Context, report: ImportReport) -> int:
    output, counts = context.output, report.counts
    if output.as_json:
        shown: dict[str, Any] = {**asdict(report), "counts": asdict(counts)}
        output.object(shown)
    else:
        for entry in report.left_out:
            output.note(f"{entry.path}: {entry.reason}")
        rate = counts.events / report.seconds if report.seconds else 0
        output.line(
            f"{count(counts.events)} events of {count(counts.lines)} lines from {count(report.files)} files "
            f"({size(report.bytes)}) in {report.seconds:.1f} s: {count(rate)} events/s"
        )
        if report.known_bytes:
            output.line(f"{size(report.known_bytes)} were in the archive already")
        others = {name: getattr(counts, name) for name in ("rejects", "blanks", "oversize", "nul", "torn")}
        told = ", ".join(f"{count(number)} {name}" for name, number in others.items() if number)
        if told:
            output.line(f"other lines: {told} (watchkeep query --rejects shows why)")
        if report.interrupted:
            output.note("stopped; the same command continues where this one ended")
    if report.interrupted:
        return Exit.INTERRUPTED
    return Exit.FOUND if any(entry.trouble for entry in report.left_out) else Exit.OK


COMMAND = Command(
    name="ingest",
    text="Read log files once into the archive, and seal them. What is in the archive already is not read again, so a "
    "command that was stopped can be repeated: Ctrl-C ends it after the batch at hand, a second one at once. Files are told apart by content, as the daemon does; compressed ones (.gz .zst .bz2 .xz) by what they hold. "
    "While a daemon runs it alone writes the archive: put files into its folders instead.",
    options=(
        Option(("files",), "log file, or folder of log files", "FILE", many=True),
        Option(("--profile",), "how the lines are written, instead of what the first lines say", "NAME"),
        Option(
            ("--final",), "nobody writes to these files any more: take a last line without its newline too"
        ),
    ),
    run=run,
    examples=("watchkeep ingest /var/log/myapp/*.log", "watchkeep ingest --profile fastnext old-logs/"),
)
