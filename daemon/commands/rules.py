"""`watchkeep rules`: say of each Sigma rule whether it works here, how often it would have fired, and on what samples."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import Any

from daemon.command import Command, CommandError, Context, Exit, Option, positive
from daemon.rulebook import Judged, Rulebook
from daemon.terminal import Output, count

DOINGS = ("check", "test", "rehearse")
DEFAULT_HOURS = 24
HOUR_US = 3_600_000_000
MEMORY_LIMIT_MB = 1024
THREADS = 2
SHOWN_EXAMPLES = 3
STAGES = ("load", "compile", "run")  # what a rule reaches, over no events
SUMMARY_FOLDERS = 2  # of a rule's path, below what all have in common: category and product in SigmaHQ's


def run(context: Context) -> int:
    """Check, test or rehearse."""
    return {"check": _check, "test": _test, "rehearse": _rehearse}[context.arguments.doing](
        context, _book(context)
    )


def _book(context: Context) -> Rulebook:
    from daemon import options
    from daemon.rulebook import read

    paths = tuple(context.arguments.paths) or options.rule_paths(context.settings)
    return read(paths, options.rule_routes(context.settings), _seen_fields(context))


def _seen_fields(context: Context) -> frozenset[str] | None:
    from storage.errors import ArchiveError
    from storage.fieldnames import seen_names
    from storage.reader import read_snapshot

    try:
        return seen_names(read_snapshot(context.settings.archive.path))
    except (ArchiveError, OSError):  # no archive yet: nobody can say what will be in it
        return None


def _check(context: Context, book: Rulebook) -> int:
    """Say of each rule whether it works here; and of all how many could, if somebody said which events they are about."""
    book, how_far = _tried(book)
    reached = {stage: sum(far >= at for far in how_far) for at, stage in enumerate(STAGES, 1)}
    output = context.output
    states = Counter(item.state for item in book.judged)
    if output.as_json:
        output.object({"rules": [_json(item) for item in book.judged], "states": states, "reached": reached})
    elif context.arguments.summary:
        _summarise(output, book, how_far)
    else:
        rows = (
            (item.state, item.rule.level, item.rule.title, item.why or item.rule.path) for item in book.judged
        )
        output.rows(("state", "level", "rule", "why, or where"), rows)
        output.line(
            f"{len(book.judged)} rules: " + ", ".join(f"{count(n)} {state}" for state, n in states.items())
        )
        output.line(", ".join(f"{count(number)} {what}" for what, number in reached.items()))
    return Exit.FOUND if states["unsupported"] else Exit.OK


def _tried(book: Rulebook) -> tuple[Rulebook, list[int]]:
    """Try every rule over no events; return what became of each, and how many of the `STAGES` it reached."""
    from storage.dryrun import DryRun

    judged, how_far = [], []
    dry = DryRun(book.rules, book.routes)
    for item in book.judged:
        why, far = "", 0
        if not item.rule.problem and item.state != "unsupported":
            why = dry.compiles(item.rule)
            far = 1 if why else 2
            if not why:
                why = dry.runs(item.rule)
                far = 2 if why else 3
        how_far.append(far)
        judged.append(Judged(item.rule, "unsupported", why) if why else item)
    dry.close()
    return replace(book, judged=tuple(judged)), how_far


def _summarise(output: Output, book: Rulebook, how_far: list[int]) -> None:
    """Show by folder how many rules reached each stage, and why the others cannot be used."""
    import os

    paths = [os.path.abspath(item.rule.path) for item in book.judged]
    root = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
    folders: dict[str, list[int]] = {}
    for path, far in zip(paths, how_far, strict=True):
        parts = os.path.relpath(os.path.dirname(path), root).split(os.sep)
        folders.setdefault("/".join(parts[:SUMMARY_FOLDERS]), []).append(far)
    rows = [(folder, *_counts(found)) for folder, found in sorted(folders.items())]
    output.rows(("folder", "rules", *STAGES, "unsupported"), [*rows, ("all", *_counts(how_far))])
    reasons = Counter(item.why.partition(": ")[0] for item in book.judged if item.state == "unsupported")
    if reasons:
        output.rows(("rules", "why not"), ((count(n), why) for why, n in reasons.most_common()))


def _counts(how_far: list[int]) -> tuple[str, ...]:
    reached = [sum(far >= at for far in how_far) for at in range(1, len(STAGES) + 1)]
    return (count(len(how_far)), *map(count, reached), count(len(how_far) - reached[-1]))


def _json(item: Judged) -> dict[str, Any]:
    rule = item.rule
    return {
        "id": rule.id,
        "title": rule.title,
        "state": item.state,
        "why": item.why,
        "level": rule.level,
        "author": rule.author,
        "tags": list(rule.tags),
        "path": rule.path,
    }


def _test(context: Context, book: Rulebook) -> int:
    from storage.backtest import backtest
    from storage.duck import connect
    from storage.reader import read_snapshot

    arguments, output = context.arguments, context.output
    chosen = [rule for rule in book.emitting if arguments.rule in {None, rule.id, rule.title, rule.name}]
    if not chosen:
        hint = "`watchkeep rules check` lists what is there and what keeps it from working"
        raise CommandError("there is no rule to test", Exit.FOUND, hint=hint)
    end_us = time.time_ns() // 1000
    start_us = end_us - arguments.hours * HOUR_US
    snapshot = read_snapshot(context.settings.archive.path)
    outcomes = []
    with connect(threads=THREADS, memory_limit_mb=MEMORY_LIMIT_MB) as connection:
        for rule in chosen:
            with connection.cursor() as cursor:
                outcomes.append(
                    backtest(
                        cursor, snapshot, rule, book.rules, book.routes, start_us=start_us, end_us=end_us
                    )
                )
    if output.as_json:
        output.object({"hours": arguments.hours, "rules": [outcome.to_json() for outcome in outcomes]})
    else:
        _show(output, [outcome.to_json() for outcome in outcomes])
    return Exit.OK


def _rehearse(context: Context, book: Rulebook) -> int:
    """Run the samples that stand beside the rules: each must hit or miss as it says."""
    from parsers.sigma.samples import samples_of
    from storage.rehearsal import rehearse

    rows: list[tuple[str, str, str, str]] = []
    for rule in book.emitting:
        if context.arguments.rule in {None, rule.id, rule.title, rule.name}:
            for sample in samples_of(rule):
                fired = bool(rehearse(rule, book.rules, book.routes, sample))
                right = "as it must" if fired == sample.hit else "NOT AS IT MUST"
                rows.append((right, "hits" if fired else "misses", rule.title, sample.name))
    wrong = sum(row[0].isupper() for row in rows)
    if context.output.as_json:
        names = ("result", "rule does", "rule", "sample")
        context.output.object(
            {"samples": [dict(zip(names, row, strict=True)) for row in rows], "wrong": wrong}
        )
    else:
        context.output.rows(("result", "the rule", "rule", "sample"), rows)
        context.output.line(f"{count(len(rows))} samples, {count(wrong)} of them not as they must be")
    return Exit.FOUND if wrong else Exit.OK


def _show(output: Output, outcomes: list[dict[str, Any]]) -> None:
    heads = ("rule", "level", "fired", "alerts", "groups", "last", "seconds")
    output.rows(
        heads,
        (
            (
                item["title"],
                item["level"],
                count(item["fired"]),
                count(item["episodes"]),
                count(item["groups"]),
                item["last"] or "",
                f"{item['seconds']:.2f}",
            )
            for item in outcomes
        ),
    )
    for item in outcomes:
        for example in item["examples"][-SHOWN_EXAMPLES:]:
            group = ", ".join(example["group"])
            output.line(f"  {item['title']}: {example['timestamp']} {example['eventId']} {group}")


COMMAND = Command(
    name="rules",
    text="Says of each Sigma rule whether it works here (check), how often it would have fired over the archive (test), and whether it hits and misses what its own samples say (rehearse). Without paths: our own rules and those of [rules] directories.",
    options=(
        Option(("doing",), "`check`, `test` or `rehearse`", "doing", choices=DOINGS),
        Option(("paths",), "rule files, or folders of them", "PATH", many=True, needed=False),
        Option(
            ("--summary",), "check: by folder how many rules load, compile and run, and why others do not"
        ),
        Option(("--rule",), "only the rule with this id, name or title", "RULE"),
        Option(
            ("--hours",),
            f"test: hours back from now ({DEFAULT_HOURS})",
            "HOURS",
            kind=positive,
            default=DEFAULT_HOURS,
        ),
    ),
    examples=(
        "watchkeep rules check rules/",
        "watchkeep rules check sigma/rules/ --summary",
        "watchkeep rules test rules/brute-force.yml --hours 720",
        "watchkeep rules rehearse",
    ),
    run=run,
)
