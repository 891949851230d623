"""Rows of a daily table that a slice keeps as they are published, so that a day only strings them
together.

For tables whose rows stand in order of time (those with a gap, such as sessions): nearly every row
is over within its slice, mostly an hour. A day takes the lines of slices over byte for byte, and
makes anew only those few rows that were put together over the border of a slice. What comes out is
the same as if all rows had been merged and written at once. Not here: which rows belong together
(`streams.tables`), and where lines are kept (`partials`).
"""

import io
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl

from stingar_dagster.lake.lines import joined, lines_of
from stingar_dagster.lake.segments import encode, read_frame
from stingar_dagster.streams.tables import DailyTable

_FROM, _TO = "line from", "line to"
"""Where a row's line stands in its slice's bytes. Names of columns that no stream has."""
_PLACE: Final = "place of slice"

_PIECE: Final = 1 << 20
"""Bytes of lines that are stored as one value: Parquet's are limited."""


@dataclass(frozen=True, slots=True)
class KeptRows:
    """A slice's rows of one table.

    Attributes:
        lines: of all of them, as they are published, in order: the bytes of a frame of pieces
            (`lines`, Binary) and how many lines end in each (`rows`).
        open: partial aggregates of those that may go on in another slice, with the places of their
            lines.
    """

    lines: bytes
    open: pl.DataFrame


def kept_rows(
    table: DailyTable, partials: pl.DataFrame, start: datetime, end: datetime
) -> KeptRows:
    """What a slice keeps of a table with a gap.

    Args:
        table: which.
        partials: the slice's partial aggregates.
        start, end: of the slice, half open.
    """
    lines = lines_of(table.finish(partials))
    ends = (lines.str.len_bytes().cast(pl.Int64) + 1).cum_sum()
    placed = partials.with_columns(ends.shift(1, fill_value=0).alias(_FROM), ends.alias(_TO))
    start_us, end_us = (int(moment.timestamp()) * 1_000_000 for moment in (start, end))
    gap_us = (table.gap or timedelta()) // timedelta(microseconds=1)
    near_start = pl.col("first_us") - start_us <= gap_us
    near_end = end_us - pl.col("last_us") <= gap_us
    return KeptRows(encode(_pieces(joined(lines))), placed.filter(near_start | near_end))


def _pieces(data: bytes) -> pl.DataFrame:
    pieces = [data[start : start + _PIECE] for start in range(0, len(data), _PIECE)]
    rows = [piece.count(b"\n") for piece in pieces]
    schema = {"lines": pl.Binary(), "rows": pl.Int64()}
    return pl.DataFrame({"lines": pieces, "rows": rows}, schema=schema)


def placed_schema(schema: dict[str, pl.DataType]) -> dict[str, pl.DataType]:
    """Columns of `KeptRows.open`.

    Args:
        schema: of the table's partial aggregates.
    """
    return schema | {_FROM: pl.Int64(), _TO: pl.Int64()}


def day_of(table: DailyTable, slices: list[KeptRows]) -> tuple[bytes, int]:
    """A day's lines, and how many.

    Args:
        table: which.
        slices: in order of time.

    Raises:
        UnknownFormat: a slice's lines can't be read.
    """
    edits = _edits(table, slices)
    day = io.BytesIO()
    rows = 0
    # Unpacked one after the other: a day's bytes are written once, and held once.
    for place, kept in enumerate(slices):
        pieces = read_frame(kept.lines, f"rows of {table.name}")
        rows += int(pieces["rows"].sum())
        changed = sorted(edits.get(place, ()))
        if not changed:
            day.writelines(pieces["lines"])
            continue
        lines = memoryview(b"".join(pieces["lines"]))
        done = 0
        for start, end, line in changed:
            day.write(lines[done:start])
            day.write(line)
            rows -= not line
            done = end
        day.write(lines[done:])
    return day.getvalue(), rows


def _edits(table: DailyTable, slices: list[KeptRows]) -> dict[int, list[tuple[int, int, bytes]]]:
    """By hour, the places of lines that others stand for: the row that was put together stands
    where its first part stood, since it begins with it, and nothing stands for the other parts."""
    if not slices:
        return {}
    place_of = np.repeat(np.arange(len(slices)), [len(kept.open) for kept in slices])
    partials = pl.concat([kept.open for kept in slices]).with_columns(pl.Series(_PLACE, place_of))
    places = (_PLACE, _FROM, _TO)
    near = partials.filter(table.have_neighbours(partials))
    changed = table.joined(near, *map(pl.col, places))
    edits: dict[int, list[tuple[int, int, bytes]]] = {}
    lines = lines_of(table.finish(changed))
    for line, *parts in zip(lines, *(changed[name] for name in places), strict=True):
        written = line.encode() + b"\n"
        for place, start, end in zip(*parts, strict=True):
            edits.setdefault(place, []).append((start, end, written))
            written = b""
    return edits
