"""`watchkeep export`: every event that matches, into a file or a pipe."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, BinaryIO

import orjson

from daemon.command import Command, CommandError, Context, Exit, Option, positive
from daemon.filtering import FILTERS, REPEATED, values_of
from daemon.terminal import Progress, count, size

FORMATS = ("json", "ndjson", "csv", "parquet", "arrow")
TEXTS = frozenset({"json", "ndjson", "csv"})
PACKINGS = ("gzip", "zstd")
PARTIAL = ".part"  # a file under this name is not whole
MANIFEST = ".manifest.json"
READ_BYTES = 1 << 20
MAX_CELL = 1 << 30  # of a CSV file: an event's metadata may be as long as a line


def run(context: Context) -> int:
    """Write the export. A file has its name only once it is whole."""
    from daemon.asking import connect

    arguments, output = context.arguments, context.output
    values = values_of(arguments)
    if arguments.subject is not None:
        values.setdefault("internal", ["true"])  # what the daemon noted about a person is about them as well
    described = bool(arguments.manifest or arguments.subject is not None)
    if described and arguments.output is None:
        raise CommandError("a manifest needs a file to describe", Exit.USAGE, hint="give --output FILE")
    answers = connect(context)
    ended = Exit.FOUND if answers.lost else Exit.OK
    if arguments.output is None and output.terminal:
        raise CommandError(
            "an export is not for a terminal", Exit.USAGE, hint="give --output FILE, or use query"
        )
    position = _position(context) if described else {}
    if arguments.compress and arguments.format == "parquet":
        raise CommandError("--compress: parquet is compressed already", Exit.USAGE, hint="leave it out")
    total = answers.count(values)
    total = total if arguments.limit is None else min(total, arguments.limit)
    how = {**values}
    if arguments.fields:
        how["fields"] = list(arguments.fields)
    if arguments.compress:
        how["compress"] = [arguments.compress]
    pieces = answers.export(how, arguments.format, arguments.limit)
    if arguments.output is None:
        stream = sys.stdout.buffer
        for piece in pieces:
            stream.write(piece)
        stream.flush()
        return ended
    countable = arguments.format in TEXTS and not arguments.compress
    bar = Progress("export", total, stream=output.err)
    written, digest = _write(arguments.output, pieces, bar, lines=countable)
    answer: dict[str, Any] = {"file": arguments.output, "events": total, "bytes": written}
    if described:
        total = _rows(arguments.output, arguments.format, arguments.compress)
        answer |= {"events": total, "sha256": digest, "manifest": arguments.output + MANIFEST}
        manifest = {
            "file": os.path.basename(arguments.output),
            "format": arguments.format,
            **({"compress": arguments.compress} if arguments.compress else {}),
            **({"fields": how["fields"]} if arguments.fields else {}),
            "rows": total,
            "bytes": written,
            "sha256": digest,
            "filter": values,
            **({} if arguments.limit is None else {"limit": arguments.limit}),
            **position,
            **({"lost": [asdict(file) for file in answers.lost]} if answers.lost else {}),
        }
        text = orjson.dumps(manifest, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        _write(arguments.output + MANIFEST, iter([text]), None)
    if output.as_json:
        output.object(answer)
    else:
        beside = f", described in {arguments.output}{MANIFEST}" if described else ""
        output.line(f"{count(total)} events, {size(written)}, in {arguments.output}{beside}")
    return ended


def _write(
    path: str, pieces: Iterator[bytes], bar: Progress | None, *, lines: bool = False
) -> tuple[int, str]:
    """Write a file, durably, under its own name only when it is whole; return its size and SHA-256.

    ``lines``: the progress can be told by counting them.
    """
    partial = path + PARTIAL
    digest = hashlib.sha256()
    began = time.monotonic()
    written = done = 0
    try:
        with open(partial, "xb") as file:
            for piece in pieces:
                written += file.write(piece)
                digest.update(piece)
                if bar is not None:
                    done += piece.count(b"\n") if lines else 0
                    rate = size(written / max(time.monotonic() - began, 0.001))
                    told = f"{count(done)} events  " if lines else ""
                    bar.update(done if lines else None, f"{told}{size(written)}  {rate}/s")
            _sync(file)
        os.replace(partial, path)
    except FileExistsError:
        raise CommandError(
            f"{partial} exists", Exit.ARCHIVE, hint="another export writes it, or one failed: remove it"
        ) from None
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(partial)
        raise
    finally:
        if bar is not None:
            bar.close()
    return written, digest.hexdigest()


def _position(context: Context) -> dict[str, Any]:
    """Return where the ledger stands: every event up to there is in an export that begins now."""
    from daemon.asking import daemon_status
    from daemon.selflog import program_version
    from storage.reader import read_state

    archive = context.settings.archive
    status = daemon_status(context)
    if status is not None:
        ledger = {"record": status["ledger_record"], "head": status["ledger_head"]}
    else:
        state = read_state(archive.path, archive.node)
        ledger = {"record": state.n, "head": state.head}
    at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"node": archive.node, "ledger": ledger, "at": at, "watchkeep": program_version()}


def _rows(path: str, form: str, packing: str | None) -> int:
    """Count the events in a whole export: what was counted before may have grown since."""
    from storage.columnar import rows_of
    from storage.packing import unpacked

    with open(path, "rb") as file, unpacked(file, packing) as plain:
        if form not in TEXTS:
            return rows_of(plain, form)
        if form == "csv":
            csv.field_size_limit(MAX_CELL)
            with io.TextIOWrapper(plain, "utf-8", newline="") as text:
                return sum(1 for _ in csv.reader(text)) - 1
        lines = 0
        while block := plain.read(READ_BYTES):
            lines += block.count(b"\n")
    if form == "json":  # a line break stands before each event, before the end of the array and after it
        return lines - 2
    return lines


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


COMMAND = Command(
    name="export",
    text=f"Write every event that matches, newest first, without a cap: an array (json), one object a line (ndjson), a "
    f"table (csv, with cells that a spreadsheet would run marked as text), or the archive's columns (parquet, arrow). A "
    f"download of parquet that breaks off goes on where it was. With --subject: everything by, for or about one "
    f"person, the daemon's own notes included, with a manifest. {REPEATED}",
    options=(
        Option(
            ("--format",),
            "json, ndjson, csv, parquet or arrow (default: ndjson)",
            default="ndjson",
            choices=FORMATS,
        ),
        Option(
            ("--output", "-o"),
            "file to write; it appears under this name when it is whole (default: standard output)",
            "FILE",
        ),
        Option(("--limit",), "at most so many", "N", positive),
        Option(("--compress",), "compress it: gzip or zstd; not for parquet", choices=PACKINGS),
        Option(
            ("--fields",),
            "only these, in this order: names of the API's event such as level,user.id; for parquet and arrow the archive's columns too",
            "NAMES",
            many=True,
        ),
        Option(
            ("--manifest",),
            "write FILE.manifest.json too: rows, bytes, SHA-256, filter, where the ledger stood, committed files that are lost (always with --subject)",
        ),
        *FILTERS,
    ),
    run=run,
    examples=(
        "watchkeep export --format csv --since=-7d -o week.csv",
        "watchkeep export --format parquet --since=-30d -o month.parquet",
        "watchkeep export --user-id 42 | gzip > user-42.ndjson.gz",
        "watchkeep export --subject 42 --format csv -o request-2026-17.csv",
    ),
)
