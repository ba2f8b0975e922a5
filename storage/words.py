"""Columns of repeating texts as numbers of words, as they lie in Parquet files and wait to be written there."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


def coded(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows with the types of ``schema``, in which some texts are dictionaries; each word occurs in some row.

    What is read of the rows after that, roll-ups, sketches and the file itself, hashes no text a second time.
    """
    columns = [
        pc.dictionary_encode(column) if column.type != field.type else column
        for column, field in zip(table.columns, schema, strict=True)
    ]
    return pa.table(columns, schema=schema)


def one_dictionary(table: pa.Table) -> pa.Table:
    """Return rows each coded column of which has one dictionary, of words that occur. Other columns are not copied."""
    if not any(pa.types.is_dictionary(field.type) for field in table.schema):
        return table
    columns = [
        without_idle_words(column.unify_dictionaries().combine_chunks())
        if pa.types.is_dictionary(column.type)
        else column
        for column in table.columns
    ]
    return pa.table(columns, schema=table.schema)


def used(column: Any) -> npt.NDArray[np.bool_]:
    """Return which words of a coded column some row has."""
    found = np.zeros(len(column.dictionary), np.bool_)
    codes = column.indices
    if codes.null_count < len(codes):
        found[(codes.drop_null() if codes.null_count else codes).to_numpy()] = True
    return found


def without_idle_words(column: Any) -> Any:
    """Return a coded column whose dictionary holds no word that no row has: else a few rows would bring all of a file's."""
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    there = used(column)
    if bool(there.all()):
        return column
    codes = pc.fill_null(column.indices, pa.scalar(0, column.indices.type)).to_numpy()
    renumbered = (np.cumsum(there) - 1).astype(np.int32)[codes]
    missing = pc.is_null(column.indices).to_numpy(zero_copy_only=False)
    words = column.dictionary.take(pa.array(np.flatnonzero(there)))
    return pa.DictionaryArray.from_arrays(pa.array(renumbered, pa.int32(), mask=missing), words)
