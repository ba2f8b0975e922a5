"""What scoring costs: µs of CPU an event, by the size of batches, beside parsing the same events."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from benchmarks.generate import lines
from benchmarks.measure import DEFAULT_DATA, ratio, table
from parsers.batch import Chunk, Mark, Place, Source
from parsers.points import BEHAVIOUR, Points
from parsers.risk import Scoring
from storage.transform import ParseOptions, Transformer

EVENTS = 200_000
BATCHES = (1_000, 5_000, 20_000)
READ_US = 1_900_000_000_000_000  # later than all events, so that none is taken for one with a wrong clock


def measure() -> None:
    """Print the table."""
    stock = [_unscored(line) for line in lines(EVENTS)]
    rows: list[list[str]] = []
    for size in BATCHES:
        batches, parsing = parsed(stock, size)
        scoring = Scoring(Points())
        started = time.process_time()
        scored = [scoring.score(batch, READ_US) for batch in batches]
        spent = time.process_time() - started
        reasons = sum(_count(events) for events in scored)
        each = 1e6 / EVENTS
        rows.append([
            f"{size:,}",
            f"{parsing * each:.2f}",
            f"{spent * each:.2f}",
            f"{spent * each / len(BEHAVIOUR):.2f}",
            ratio(spent, parsing),
            f"{reasons / EVENTS:.2f}",
            f"{scoring.habits.bytes / max(1, len(scoring.habits.users)):,.0f}",
        ])  # fmt: skip
    heads = (
        "batch",
        "parsing, µs",
        "scoring, µs",
        "a reason of behaviour, µs",
        "scoring / parsing",
        "reasons an event",
        "bytes a user",
    )
    table(f"Risk: µs of CPU an event, {EVENTS:,} events", heads, rows)


def _count(scored: pa.Table) -> int:
    return sum(len(reasons or ()) for reasons in scored["risk_reasons"].to_pylist())


def _unscored(line: bytes) -> bytes:
    event = json.loads(line)
    event.pop("riskScore", None)
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


def parsed(stock: Sequence[bytes], size: int) -> tuple[list[pa.Table], float]:
    """Return lines as batches of events, and the CPU seconds that parsing took."""
    transformer = Transformer(ParseOptions())
    source = Source("0" * 32, "app.jsonl", 0, None, "native", False)
    tables, offset, spent = [], 0, 0.0
    for begin in range(0, len(stock), size):
        data = b"".join(stock[begin : begin + size])
        place = Place("", 0, 0, None, 0)
        chunk = Chunk(source, offset, offset + len(data), data, Mark("", 0, "", 0, "", offset), place)
        offset = chunk.end
        started = time.process_time()
        tables.append(transformer.parse([chunk]).events)
        spent += time.process_time() - started
    transformer.close()
    return tables, spent


def main() -> int:
    """Measure once."""
    parser = argparse.ArgumentParser(prog="benchmarks.risk", description=__doc__)
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA, help="not used: nothing is written")
    parser.parse_args()
    measure()
    return 0


if __name__ == "__main__":
    sys.exit(main())
