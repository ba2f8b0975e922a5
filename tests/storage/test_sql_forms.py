"""The forms of an answer to SQL hold the same rows, and its caps cut exactly."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from storage.confined import _capped
from storage.forms import ENCODERS, EXACT_TO, distinct
from storage.job import Form, Heading, Job

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(
    ["=1+1", "-x", "@a", ""]
)
KINDS: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "text": (pa.string(), TEXTS),
    "whole": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "real": (pa.float64(), st.floats(allow_nan=True, allow_infinity=True)),
    "flag": (pa.bool_(), st.booleans()),
    "money": (pa.decimal128(10, 2), st.decimals(-99999, 99999, places=2, allow_nan=False)),
    "moment": (pa.timestamp("us", tz="UTC"), st.integers(-(2**62), 2**62)),
    "day": (pa.date32(), st.integers(-(2**30), 2**30)),
    "list": (pa.list_(pa.int64()), st.lists(st.integers(-9, 9), max_size=3)),
    "bytes": (pa.binary(), st.binary(max_size=4)),
}


@st.composite
def batches(draw: st.DrawFn) -> tuple[Heading, list[pa.RecordBatch]]:
    """Some columns, and batches of rows of them; names may repeat."""
    kinds = draw(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=4))
    found = []
    for size in draw(st.lists(st.integers(0, 5), min_size=1, max_size=4)):
        columns = []
        for kind in kinds:
            made, values = KINDS[kind]
            drawn = draw(st.lists(st.none() | values, min_size=size, max_size=size))
            whole = pa.array(drawn, pa.int64() if kind == "moment" else pa.int32() if kind == "day" else made)
            columns.append(whole.cast(made))
        found.append(pa.RecordBatch.from_arrays(columns, kinds))
    return Heading(tuple(kinds), tuple(kinds)), found


def written(form: Form, heading: Heading, rows: list[pa.RecordBatch]) -> bytes:
    """Return an answer in a form."""
    return b"".join(ENCODERS[form](heading, rows[0].schema, rows, {"ms": 1}))


@given(batches())
def test_every_form_holds_the_same_rows(drawn: tuple[Heading, list[pa.RecordBatch]]) -> None:
    """Whatever the values are; what JSON cannot hold as a number is text in all of the texts."""
    heading, rows = drawn
    table = pa.Table.from_batches(rows)
    stream = pa.ipc.open_stream(written("arrow", heading, rows)).read_all()
    assert stream.schema.equals(table.schema)
    document = json.loads(written("json", heading, rows))
    assert document["row_count"] == len(document["rows"]) == table.num_rows
    lists = [json.loads(line) for line in written("rows", heading, rows).splitlines()]
    assert written("rows", heading, stream.to_batches() or rows) == written("rows", heading, rows)
    objects = [json.loads(line) for line in written("ndjson", heading, rows).splitlines()]
    assert document["rows"] == lists == [list(row.values()) for row in objects]
    for row in lists:
        assert all(not isinstance(value, int) or abs(value) <= EXACT_TO for value in row)
    _, *cells = csv.reader(io.StringIO(written("csv", heading, rows).decode(), newline=""))
    assert len(cells) == table.num_rows
    for given_row, shown in zip(lists, cells, strict=True):
        for kind, value, cell in zip(heading.columns, given_row, shown, strict=True):
            if kind == "text" and value is not None:
                assert cell == (f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value)
            elif kind == "money" and value is not None:
                assert Decimal(cell) == Decimal(value)
    if len(set(heading.columns)) == len(heading.columns):
        read = pq.read_table(io.BytesIO(written("parquet", heading, rows)))
        assert read.schema.equals(table.schema)
        again = written("rows", heading, read.to_batches()) if read.num_rows else b""
        assert [json.loads(line) for line in again.splitlines()] == lists


@given(st.lists(st.text("ab_2", max_size=3), max_size=8))
def test_no_two_fields_of_an_object_have_one_name(names: list[str]) -> None:
    """Names that do not repeat stay; the others get a number that no other has."""
    found = distinct(names)
    assert len(set(found)) == len(found) == len(names)
    assert all(after.startswith(before) for before, after in zip(names, found, strict=True))


@given(
    st.lists(st.integers(0, 9), max_size=6), st.none() | st.integers(1, 30), st.none() | st.integers(0, 300)
)
def test_caps_leave_a_beginning_and_say_what_is_missing(
    sizes: list[int], max_rows: int | None, max_bytes: int | None
) -> None:
    """Never more rows or bytes than allowed; nothing is missing unless it is said, and nothing is said without cause."""
    numbers = iter(range(sum(sizes)))
    rows = [
        pa.record_batch({"n": pa.array([next(numbers) for _ in range(size)], pa.int64())}) for size in sizes
    ]
    job = Job("", (), max_rows=max_rows, max_bytes=max_bytes)
    found = list(_capped(rows, job))
    kept = [value for batch, _ in found for value in batch["n"].to_pylist()]
    assert kept == list(range(len(kept)))
    assert any(cut for _, cut in found) == (len(kept) < sum(sizes))
    assert max_rows is None or len(kept) <= max_rows
    assert max_bytes is None or 8 * len(kept) <= max_bytes
    if max_bytes is None:
        assert len(kept) == min(sum(sizes), max_rows if max_rows is not None else sum(sizes))
