"""A rule on a stage of its own: the events of a sample are read and scored as the daemon would, and the rule fires or not."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import orjson
import pyarrow as pa

from parsers.batch import Chunk, Mark, Place, Source
from parsers.columns import EVENT_SCHEMA
from parsers.expression import Expression
from parsers.points import Points
from parsers.risk import Scoring
from parsers.sigma.rule import Rule
from parsers.sigma.samples import BEGIN_SECONDS, Sample
from storage.correlating import Plan
from storage.duck import connect
from storage.hot import with_order
from storage.transform import ParseOptions, Transformer

MEMORY_LIMIT_MB = 512
LATER_US = (
    400 * 86_400 * 1_000_000
)  # when the sample is read: after all its events, so that none seems to have a wrong clock


def rehearse(
    rule: Rule, rules: Mapping[str, Rule], routes: Mapping[str, Expression], sample: Sample
) -> list[tuple[str, ...]]:
    """Return the groups for which a rule fires among the events of a sample, once for each anchor. Blocking."""
    events = _events(sample)
    plan = Plan(rules, routes)
    text = plan.anchors(rule, "events")
    with connect(threads=1, memory_limit_mb=MEMORY_LIMIT_MB) as connection:
        connection.register("events", events)
        rows = connection.execute(
            f"SELECT groups FROM ({text}) ORDER BY at_us, seq", plan.bind.values
        ).fetchall()
    return [tuple(groups) for (groups,) in rows]


def _events(sample: Sample) -> pa.Table:
    data = b"".join(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE) for line in sample.lines)
    source = Source("0" * 32, "sample.jsonl", BEGIN_SECONDS * 1_000_000, None, "native", sample.internal)
    chunk = Chunk(source, 0, len(data), data, Mark("", 0, "", 0, "", 0), Place("", 0, 0, None, len(data)))
    transformer = Transformer(ParseOptions())
    try:
        parsed = transformer.parse([chunk]).events
    finally:
        transformer.close()
    read_us = BEGIN_SECONDS * 1_000_000 + LATER_US
    scored = Scoring(Points()).score(parsed, np.full(parsed.num_rows, read_us, np.int64))
    return with_order(scored, EVENT_SCHEMA, 1, read_us)
