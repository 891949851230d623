"""Frames to JSON lines as readers get them: no null keys, one type a field.

Not here: which columns there are (`streams`), and where lines go (`hours`, `daily`).
"""

import io
from collections.abc import Sequence
from typing import Final

import polars as pl

_NULL_MEMBER: Final = r',"[A-Za-z0-9_@]+":null'
"""Safe on whole lines: inside a JSON string every quote is escaped, so this never matches there."""


_MOST_SHAPES: Final = 256


def json_lines(frame: pl.DataFrame, shape_fields: Sequence[str] = ()) -> bytes:
    """One JSON object a row, in the frame's order, null members left out.

    Args:
        frame: names of columns must match [A-Za-z0-9_@]+.
        shape_fields: rows that share these columns' values mostly have the same columns filled.
    """
    if frame.is_empty():
        return b""
    numbered = frame.with_row_index("#")
    groups = (
        numbered.partition_by(shape_fields, maintain_order=False)
        if shape_fields and frame.select(shape_fields).n_unique() <= _MOST_SHAPES
        else [numbered]
    )
    lines = pl.concat([_encoded(group) for group in groups]).sort("#")
    buffer = io.BytesIO()
    lines.select("line").write_csv(buffer, include_header=False, quote_style="never")
    return buffer.getvalue()


def _encoded(group: pl.DataFrame) -> pl.DataFrame:
    filled = [c.name for c in group if c.name != "#" and c.null_count() < len(c)]
    sparse = any(group[name].null_count() for name in filled)
    # A first member that is never null keeps the pattern simple, and an empty row an object.
    members = pl.struct(pl.lit(None, dtype=pl.Null).alias("0"), *filled).struct.json_encode()
    body = members.str.strip_prefix('{"0":null')
    if sparse:
        body = body.str.replace_all(_NULL_MEMBER, "")
    line = pl.concat_str(pl.lit("{"), body.str.strip_prefix(","))
    return group.select("#", line.alias("line"))
