"""How rows become Parquet bytes: encodings, row groups, bloom filters, checksums. Written by pyarrow through `Fs`.

The choices are measured (`benchmarks/parquet.py` prints the table): ids are near-random, so they get no dictionary
but a bloom filter, and their lengths are stored apart from their bytes; positions and times rise, so their
differences are stored; long texts are left to zstd; everything else repeats and gets a dictionary.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from storage.fs import Fs, Handle
from storage.layout import FORMAT_VERSION, SCHEMA_VERSION
from storage.sketch import COLUMN, sketch
from storage.words import one_dictionary

GATHERED_BYTES = 256 << 10  # written and hashed at once, at least
_NOTHING: Mapping[str, str] = MappingProxyType({})

# Half of what DuckDB scans as one task: a lookup by id decompresses half as much, for 1 % more bytes.
ROW_GROUP_ROWS = 61_440

# Looked up by value and near-random, so a bloom filter tells absence.
BLOOM_COLUMNS = ("event_id", "correlation_id", "session_id", "trace_id")


@dataclass(frozen=True, slots=True)
class Encoding:
    """How columns are laid out. The defaults are what files are written with; benchmarks try others."""

    row_group_rows: int = ROW_GROUP_ROWS
    page_bytes: int = (
        1 << 18
    )  # 256 KiB: a row costs a page of each column; 128 KiB would cost 1.3 bytes an event
    zstd_level: int = 1  # level 3 makes random ids larger, level 6 saves 4 % of the bytes for twice the CPU
    bloom: tuple[str, ...] = BLOOM_COLUMNS
    # Rounded up to a power of two this is 17 bits a value, and a lookup in a year opens no row group in vain but two or
    # three in a thousand; 5 % would be 8 bits, 2 % fewer bytes, and every tenth file of a hundred million events.
    bloom_false_positives: float = 0.01
    # Nearly a value a row: a dictionary would overflow, and 4-byte lengths between the texts disturb zstd.
    distinct: tuple[str, ...] = (*BLOOM_COLUMNS, "span_id", "path", "entity_id", "entity_name", "sha256")
    # Long texts are left to zstd as they are.
    long: tuple[str, ...] = ("description", "metadata", "extra", "changes", "raw", COLUMN)
    # Positions and times rise: their differences are small.
    rising: tuple[str, ...] = ("timestamp", "ingested_at", "seq", "source_offset", "writer_seq")

    def options(self, schema: pa.Schema, bloom_rows: int) -> dict[str, Any]:
        """Return pyarrow's writer options for ``schema``; ``bloom_rows`` sizes the bloom filters."""
        names = set(schema.names)
        distinct, rising = names.intersection(self.distinct), names.intersection(self.rising)
        nested = {field.name for field in schema if pa.types.is_nested(field.type)}
        repeating = self._repeating(schema)
        size = {"ndv": max(bloom_rows, 1), "fpp": self.bloom_false_positives}
        return {
            **self._compression(schema),
            "use_dictionary": sorted(repeating | {f"{name}.list.element" for name in nested}),
            "column_encoding": {
                **dict.fromkeys(sorted(rising), "DELTA_BINARY_PACKED"),
                **dict.fromkeys(sorted(distinct), "DELTA_LENGTH_BYTE_ARRAY"),
            },
            "write_page_checksum": True,
            "write_page_index": True,
            "data_page_size": self.page_bytes,
            "store_schema": False,
            "bloom_filter_options": {name: size for name in self.bloom if name in names} or None,
        }

    def coded(self, schema: pa.Schema) -> list[str]:
        """Return the text columns that are stored as numbers of words."""
        return [name for name in schema.names if name in self._repeating(schema) and _is_text(schema, name)]

    def coded_schema(self, schema: pa.Schema) -> pa.Schema:
        """Return ``schema`` with these columns as dictionaries, as rows are held while they wait for a file."""
        coded = set(self.coded(schema))
        return pa.schema(
            field.with_type(pa.dictionary(pa.int32(), field.type)) if field.name in coded else field
            for field in schema
        )

    def _compression(self, schema: pa.Schema) -> dict[str, Any]:
        """Return the options for it. Sketches are random bits; uncompressed, single blocks of them can be read."""
        if COLUMN not in schema.names:
            return {"compression": "zstd", "compression_level": self.zstd_level}
        others = [name for name in schema.names if name != COLUMN]
        return {
            "compression": {**dict.fromkeys(others, "zstd"), COLUMN: "none"},
            "compression_level": dict.fromkeys(others, self.zstd_level),
        }

    def _repeating(self, schema: pa.Schema) -> set[str]:
        nested = {field.name for field in schema if pa.types.is_nested(field.type)}
        return set(schema.names) - set(self.distinct) - set(self.rising) - nested - set(self.long)


def _is_text(schema: pa.Schema, name: str) -> bool:
    return pa.types.is_string(schema.field(name).type)


STANDARD = Encoding()
# The families of a roll-up are asked for one by one, and small groups let a reader skip the others.
ROLLUP = Encoding(row_group_rows=16_384)


@dataclass(frozen=True, slots=True)
class Written:
    """A finished file: how large it is and its hash."""

    rows: int
    bytes: int
    sha256: str


class WriteOnly:
    """What pyarrow asks of a file that it only writes to, `write` apart."""

    def __init__(self) -> None:
        self.size = 0
        self.closed = False

    def flush(self) -> None:
        """Do nothing: whoever hands on decides when."""

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self.size

    def close(self) -> None:
        """Mark the file as closed."""
        self.closed = True

    def readable(self) -> bool:
        """Return False."""
        return False

    def writable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return False: what was written is gone."""
        return False


class _Sink(WriteOnly):
    """Hands pyarrow's bytes to an `Fs` handle and hashes them on the way. Small pieces, hundreds a file, are gathered."""

    def __init__(self, handle: Handle) -> None:
        super().__init__()
        self._handle = handle
        self._hash = hashlib.sha256()
        self._gathered = bytearray()

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self.size += len(view)
        if len(view) < GATHERED_BYTES:
            self._gathered += view
            if len(self._gathered) >= GATHERED_BYTES:
                self.hand_over()
        else:
            self.hand_over()
            self._pass_on(view)
        return len(view)

    def hand_over(self) -> None:
        """Write what is gathered."""
        if self._gathered:
            data, self._gathered = self._gathered, bytearray()
            self._pass_on(memoryview(data))

    def _pass_on(self, view: memoryview) -> None:
        self._handle.write(view)  # type: ignore[arg-type]  # any buffer will do; bytes() would copy
        self._hash.update(view)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


class ParquetFile:
    """One Parquet file being written into ``path``. Nothing is durable before `finish`.

    ``rows`` so far, and with ``sketching`` the sketch of each row group; `finish` syncs and returns size and hash.
    """

    def __init__(
        self,
        fs: Fs,
        path: str,
        schema: pa.Schema,
        *,
        node: str,
        bloom_rows: int,
        encoding: Encoding = STANDARD,
        sketching: bool = False,
    ) -> None:
        self._fs = fs
        self.path = path
        fs.unlink(path)  # a failed attempt of the same name
        self._handle = fs.create(path)
        self._sink = _Sink(self._handle)
        metadata = {
            b"watchkeep.format": str(FORMAT_VERSION).encode(),
            b"watchkeep.schema": str(SCHEMA_VERSION).encode(),
            b"watchkeep.node": node.encode(),
        }
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._sink, mode="w"),  # type: ignore[arg-type]  # the stubs know only real files
            schema.with_metadata(metadata),
            **encoding.options(schema, bloom_rows),
        )
        self._schema = schema
        self._encoding = encoding
        self.rows = 0
        self.rows_of: Counter[str] = Counter()  # by source, if there is such a column
        self._sketching = sketching
        self.sketches: list[bytes] = []  # of each row group so far, if asked for

    @property
    def bytes(self) -> int:
        """Bytes handed to the file system so far."""
        return self._sink.size

    def write(self, table: pa.Table) -> None:
        """Append rows, as row groups of at most the encoding's size."""
        if table.num_rows:
            size = self._encoding.row_group_rows
            for begin in range(0, table.num_rows, size):
                group = one_dictionary(table.slice(begin, size))
                self._writer.write_table(group.select(self._schema.names), row_group_size=size)
                if self._sketching:
                    self.sketches.append(sketch(group))
            self.rows += table.num_rows
            if "source" in self._schema.names:
                found = pc.value_counts(table.column("source"))
                for sid, rows in zip(found.field("values"), found.field("counts"), strict=True):
                    self.rows_of[str(sid)] += int(rows.as_py())

    def finish(self, footer: Mapping[str, str] = _NOTHING, *, sync: bool = True) -> Written:
        """Write the footer (``footer``: more keys for it), make the file durable and read-only.

        Without ``sync`` the caller makes it durable, together with others.
        """
        try:
            self._writer.add_key_value_metadata(dict(footer))
            self._writer.close()
            self._sink.hand_over()
            if sync:
                self._handle.sync()
        finally:
            self._handle.close()
        self._fs.publish_mode(self.path)
        return Written(self.rows, self._sink.size, self._sink.sha256)

    def abandon(self) -> None:
        """Give up: close and remove the file."""
        self._handle.close()
        self._fs.unlink(self.path)


def write_parquet(
    fs: Fs,
    path: str,
    table: pa.Table,
    *,
    node: str,
    encoding: Encoding = STANDARD,
    footer: Callable[[Mapping[str, int]], Mapping[str, str]] | None = None,
    sync: bool = True,
) -> Written:
    """Write ``table`` as one durable file; OSError if the disk refuses (then no file is left).

    ``footer`` is given the number of rows by source and returns more keys for the file's footer. Without ``sync`` the
    caller makes it durable.
    """
    rows = min(table.num_rows, encoding.row_group_rows)
    file = ParquetFile(fs, path, table.schema, node=node, bloom_rows=rows, encoding=encoding)
    try:
        file.write(table)
        return file.finish(footer(file.rows_of) if footer else _NOTHING, sync=sync)
    except BaseException:
        file.abandon()
        raise
