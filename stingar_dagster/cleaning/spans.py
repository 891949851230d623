"""Stretches of a buffer as a polars column, without a Python object for each; values by position.

Not here: what stands in them.
"""

from typing import Any

import nanoarrow
import numpy as np
import polars as pl
from numpy.typing import NDArray


def texts(buffer: bytes, start: NDArray[np.int64], end: NDArray[np.int64]) -> pl.Series:
    """The stretches as a String column that shares the buffer.

    Args:
        buffer: UTF-8 within the stretches.
        start, end: of each, ascending; stretches may touch and be empty, but not overlap.

    Raises:
        ValueError: stretches overlap or are not ascending.
        polars.exceptions.ComputeError: a stretch is not UTF-8.
    """
    if not len(start):
        return pl.Series([], dtype=pl.String)
    first, last = int(start[0]), int(end[-1])
    # Arrow's binary layout has no room between values, so what is between becomes values, too.
    offsets = np.empty(2 * len(start) + 1, dtype=np.int64)
    offsets[0:-1:2], offsets[1::2], offsets[-1] = start, end, end[-1]
    offsets -= first
    if (offsets[1:] < offsets[:-1]).any():  # polars trusts them
        raise ValueError("stretches must be ascending and not overlap")
    array = nanoarrow.c_array_from_buffers(
        nanoarrow.large_binary(),
        2 * len(start),
        [None, offsets, memoryview(buffer)[first:last]],
    )
    return pl.Series(array, dtype=pl.Binary).gather_every(2).cast(pl.String)


def pick(values: pl.Series, places: NDArray[np.integer[Any]]) -> pl.Series:
    """The values at some positions. `Series.gather` plans a query, which costs more than most
    columns here."""
    return values[pl.Series(places.astype(np.uint32, copy=False))]
