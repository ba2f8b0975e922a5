"""`watchkeep doctor`: what may be wrong here, and what to do about it."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from daemon.command import Command, CommandError, Context, Exit, Option
from daemon.terminal import Output, count

if TYPE_CHECKING:
    from daemon.sampling import Sample

SAMPLED_FILES = 3  # of the followed ones, those that were written last
_MARKS = {"ok": "ok", "warning": "WARNING", "failed": "FAILED"}


def run(context: Context) -> int:
    """Examine machine, folders and archive; look at some lines."""
    if context.arguments.rebuild_ledger:
        from daemon.rebuilding import rebuild_ledger

        return rebuild_ledger(context)
    from daemon.asking import daemon_status
    from daemon.doctor import examine, newest_files
    from daemon.findings import Patient

    output, settings = context.output, context.settings
    named = context.arguments.sample
    try:
        status = daemon_status(context)
    except CommandError as error:
        status = {"ready": False, "reason": str(error)}
    findings = [] if named else list(examine(Patient(settings, status)))
    roots = (
        {}
        if named
        else {
            file.path.decode("utf-8", "surrogateescape"): file.root.profile
            for file in newest_files(settings, SAMPLED_FILES)
        }
    )
    # A followed file that cannot be read is among the findings.
    samples = [
        _sample(context, path, roots.get(path, settings.logs.profile))
        for path in named or filter(_readable, roots)
    ]
    failed = any(finding.state == "failed" for finding in findings)
    if output.as_json:
        shown: dict[str, Any] = {"ok": not failed, "checks": [asdict(finding) for finding in findings]}
        output.object({**shown, "samples": [asdict(sample) for sample in samples]})
    else:
        if findings:
            rows = [(_MARKS[finding.state], finding.check, finding.what) for finding in findings]
            output.rows(("state", "about", "found"), rows)
            for finding in findings:
                if finding.fix:
                    output.line(f"{_MARKS[finding.state]} {finding.check}: {finding.fix}")
        for sample in samples:
            _show(output, sample)
    return Exit.FOUND if failed or (named and any(sample.bad for sample in samples)) else Exit.OK


def _readable(path: str) -> bool:
    return os.access(path, os.R_OK)


def _sample(context: Context, path: str, profile: str) -> Sample:
    from daemon import options, sampling

    settings = context.settings
    try:
        return sampling.take(
            path,
            options.parse_options(settings),
            max_line_bytes=settings.logs.max_line_bytes,
            profile=profile,
        )
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}", Exit.ARCHIVE) from None


def _show(output: Output, sample: Sample) -> None:
    """Print what the lines of one file are."""
    output.line()
    if not sample.counts.lines:
        output.facts({"file": sample.path, "lines": "none yet"})
        return
    facts = {
        "file": sample.path,
        "profile that fits": sample.profile,
        "first lines": count(sample.counts.lines),
        "events": count(sample.counts.events),
        "levels": ", ".join(f"{count(number)} {level}" for level, number in sample.levels.items()) or "none",
    }
    if sample.flags:
        facts["decided for lines"] = ", ".join(
            f"{flag} ({count(number)})" for flag, number in sample.flags.items()
        )
    others = {name: getattr(sample.counts, name) for name in ("rejects", "blanks", "oversize", "nul", "torn")}
    told = ", ".join(f"{count(number)} {name}" for name, number in others.items() if number)
    if told:
        facts["other lines"] = told
    output.facts(facts)
    if sample.bad:
        output.rows(("offset", "reason", "line"), ((bad.offset, bad.reason, bad.text) for bad in sample.bad))


COMMAND = Command(
    name="doctor",
    text="Check folders, permissions, clock, watch limits, disk, archive and daemon, each with what to do if it is not well, "
    "and show what becomes of the first lines of the newest log files. Changes nothing, unless a lost ledger is built again.",
    options=(
        Option(
            ("--sample",),
            "only this file's first lines: which profile fits, and which lines would be rejected and why",
            "FILE",
            many=True,
        ),
        Option(
            ("--rebuild-ledger",),
            "for a lost or damaged ledger: show what can be known again from the Parquet files, and what not",
        ),
        Option(("--yes",), "with --rebuild-ledger: write the new ledger and set the old one aside"),
    ),
    run=run,
    examples=(
        "watchkeep doctor",
        "watchkeep doctor --sample /var/log/myapp/2026-11-20.log",
        "watchkeep doctor --rebuild-ledger",
    ),
)
