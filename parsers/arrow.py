"""Between numpy and Arrow without detours: `pa.array` looks for pandas on every call, which costs a micro-batch dear."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Mask = npt.NDArray[np.bool_]


def from_numpy(values: npt.NDArray[Any], kind: pa.DataType, valid: Mask | None = None) -> pa.Array:
    """Return the numbers as an Arrow array of a type of the same width, sharing memory; null where not ``valid``."""
    bitmap = None if valid is None or valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    buffers: list[Any] = [bitmap, pa.py_buffer(np.ascontiguousarray(values))]
    return pa.Array.from_buffers(kind, len(values), buffers)


def mask(values: Mask) -> pa.BooleanArray:
    """Return a mask as an Arrow array."""
    buffers: list[Any] = [None, pa.py_buffer(np.packbits(values, bitorder="little"))]
    array = pa.Array.from_buffers(pa.bool_(), len(values), buffers)
    assert isinstance(array, pa.BooleanArray)
    return array


def rows(values: npt.NDArray[np.int64]) -> pa.Array:
    """Return row numbers for `take`."""
    return from_numpy(values, pa.int64())


def true(values: Any) -> Mask:
    """Return Arrow booleans as a mask: null is False."""
    if values.null_count:
        values = pc.fill_null(values, False)
    return np.asarray(values.to_numpy(zero_copy_only=False), bool)


def valid(values: Any) -> Mask:
    """Return where the values are not null."""
    if values.null_count == 0:
        return np.ones(len(values), bool)
    return np.asarray(values.is_valid().to_numpy(zero_copy_only=False), bool)


def numbers(values: Any, default: float) -> npt.NDArray[Any]:
    """Return Arrow numbers as numpy ones, with ``default`` for null."""
    return np.asarray(pc.fill_null(values, default).to_numpy(zero_copy_only=False))
