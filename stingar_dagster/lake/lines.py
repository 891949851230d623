"""Frames to JSON lines as readers get them: no null keys, one type a field; and lines taken apart.

Not here: which columns there are (`streams`), and where lines go (`hours`, `daily`).
"""

import io
from collections.abc import Iterator
from functools import reduce
from operator import or_
from typing import Final

import numpy as np
import polars as pl

from stingar_dagster.cleaning.spans import texts

_FEW: Final = 16
"""Below so many rows a group costs more than the removal of their null members."""

_PIECE: Final = 1 << 22
"""Bytes that are searched for line ends at once."""

_NULL_MEMBER: Final = r',"[A-Za-z0-9_@]+":null'
"""Safe on whole lines: inside a JSON string every quote is escaped, so this never matches there."""


def json_lines(frame: pl.DataFrame) -> bytes:
    """One JSON object a row, null members left out.

    Args:
        frame: names of columns must match [A-Za-z0-9_@]+.
    """
    return b"" if frame.is_empty() else joined(lines_of(frame))


def lines_of(frame: pl.DataFrame) -> pl.Series:
    """The same as a String column: each row's object, without a line's end."""
    rows, lines = [], []
    for group, encoded in _encoded_groups(frame):
        rows.append(group.to_numpy())
        lines.append(encoded)
    if not lines:
        return pl.Series([], dtype=pl.String)
    place = np.empty(len(frame), dtype=np.uint32)
    place[np.concatenate(rows)] = np.arange(len(frame), dtype=np.uint32)
    return pl.concat(lines).rechunk()[place]


def joined(lines: pl.Series) -> bytes:
    """Lines as they are written."""
    buffer = io.BytesIO()
    lines.to_frame().write_csv(buffer, include_header=False, quote_style="never")
    return buffer.getvalue()


def split(data: bytes) -> pl.Series:
    """Written lines as a String column; what follows the last line's end is none."""
    # A piece at a time: a published hour may be large, and its flags would be as large again.
    ends = [
        np.flatnonzero(np.frombuffer(data[start : start + _PIECE], np.uint8) == ord("\n")) + start
        for start in range(0, len(data), _PIECE)
    ]
    end = np.concatenate([np.zeros(0, dtype=np.int64), *ends])
    start = np.concatenate([np.zeros(1, dtype=np.int64), end + 1])[: len(end)]
    return texts(data, start, end)


def _encoded_groups(frame: pl.DataFrame) -> Iterator[tuple[pl.Series, pl.Series]]:
    """Positions of rows and their lines, until every row was there.

    Rows that have the same columns filled are encoded together: nothing is to be removed then.
    """
    # In one piece, which is gathered from many times faster.
    filled = [column.rechunk() for column in frame if column.null_count() < len(frame)]
    filled = filled or frame.get_columns()[:1]  # a frame without columns has no rows
    sparse = [column.name for column in filled if column.null_count()]
    groups = (
        frame.select(*_patterns(sparse), row=pl.int_range(pl.len(), dtype=pl.UInt32))
        .group_by(pl.exclude("row"))
        .agg("row")
    )
    few = groups["row"].list.len() < _FEW
    for *words, rows in zip(*groups.filter(~few), strict=True):
        bits = "".join(f"{word:064b}"[::-1] for word in words)
        missing = {name for name, bit in zip(sparse, bits, strict=False) if bit == "0"}
        group = pl.DataFrame([column for column in filled if column.name not in missing])
        if not group.width:
            yield rows, pl.repeat("{}", len(rows), eager=True)
            continue
        yield rows, group.to_struct()[rows].struct.json_encode()
    if few.any():
        rest = groups.filter(few)["row"].explode()
        yield rest, _without_nulls(pl.DataFrame(filled)[rest])


def _patterns(sparse: list[str]) -> list[pl.Expr]:
    """Which of the columns a row has, as bits of integers, the first column's bit the lowest."""
    words = []
    for start in range(0, len(sparse), 64):
        bits = [
            pl.when(pl.col(name).is_not_null()).then(pl.lit(2**place, dtype=pl.UInt64)).otherwise(0)
            for place, name in enumerate(sparse[start : start + 64])
        ]
        words.append(reduce(or_, bits).alias(f"{start}"))
    return words


def _without_nulls(rows: pl.DataFrame) -> pl.Series:
    # A first member that is never null keeps the pattern simple, and an empty row an object.
    members = rows.select(pl.lit(None, dtype=pl.Null).alias("0"), pl.all()).to_struct()
    body = members.struct.json_encode().str.strip_prefix('{"0":null')
    return "{" + body.str.replace_all(_NULL_MEMBER, "").str.strip_prefix(",")
