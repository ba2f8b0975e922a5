"""`watchkeep export`: every event that matches, into a file or a pipe."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import BinaryIO

from daemon.command import Command, CommandError, Context, Exit, Option, positive
from daemon.filtering import FILTERS, REPEATED, values_of
from daemon.terminal import Progress, count, size

FORMATS = ("json", "ndjson", "csv")
PARTIAL = ".part"  # a file under this name is not whole


def run(context: Context) -> int:
    """Write the export. A file has its name only once it is whole."""
    from daemon.asking import connect

    arguments, output = context.arguments, context.output
    answers, values = connect(context), values_of(arguments)
    if arguments.output is None and output.terminal:
        raise CommandError(
            "an export is not for a terminal", Exit.USAGE, hint="give --output FILE, or use query"
        )
    total = answers.count(values)
    total = total if arguments.limit is None else min(total, arguments.limit)
    pieces = answers.export(values, arguments.format, arguments.limit)
    if arguments.output is None:
        stream = sys.stdout.buffer
        for piece in pieces:
            stream.write(piece)
        stream.flush()
        return Exit.OK
    partial = arguments.output + PARTIAL
    bar = Progress("export", total, stream=output.err)
    written = lines = 0
    try:
        with open(partial, "xb") as file:
            for piece in pieces:
                written += file.write(piece)
                lines += piece.count(b"\n")
                bar.update(lines, size(written))
            _sync(file)
        os.replace(partial, arguments.output)
    except FileExistsError:
        raise CommandError(
            f"{partial} exists", Exit.ARCHIVE, hint="another export writes it, or one failed: remove it"
        ) from None
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(partial)
        raise
    finally:
        bar.close()
    if output.as_json:
        output.object({"file": arguments.output, "events": total, "bytes": written})
    else:
        output.line(f"{count(total)} events, {size(written)}, in {arguments.output}")
    return Exit.OK


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


COMMAND = Command(
    name="export",
    text=f"Write every event that matches, newest first, without a cap: an array (json), one object a line (ndjson) or a "
    f"table (csv, with cells that a spreadsheet would run marked as text). {REPEATED}",
    options=(
        Option(("--format",), "json, ndjson or csv (default: ndjson)", default="ndjson", choices=FORMATS),
        Option(
            ("--output", "-o"),
            "file to write; it appears under this name when it is whole (default: standard output)",
            "FILE",
        ),
        Option(("--limit",), "at most so many", "N", positive),
        *FILTERS,
    ),
    run=run,
    examples=(
        "watchkeep export --format csv --since=-7d -o week.csv",
        "watchkeep export --user-id 42 | gzip > user-42.ndjson.gz",
    ),
)
