"""From decoded values to typed polars columns.

Missing, null, "" and [] mean the same and come out as null. Not here: what columns mean (`clean`,
the stream's steps).
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import polars as pl

from stingar_dagster.cleaning.interned import Interned
from stingar_dagster.streams.stream import PUBLISHED_TYPE, Field, FieldKind

_decode_list = msgspec.json.Decoder(list[str] | str | None).decode


def text_series(name: str, values: Sequence[str | None]) -> pl.Series:
    """Texts as a column; "" stays, so that what was sent can be counted."""
    if _all_missing(values):
        return _nulls(name, pl.String(), len(values))
    return pl.Series(name, values, dtype=pl.String, strict=True)


def integer_series(name: str, values: Sequence[int | str | None]) -> pl.Series:
    """Integers, or their digits, as a column; "" is null."""
    if _all_missing(values):
        return _nulls(name, pl.Int64(), len(values))
    try:
        return pl.Series(name, values, dtype=pl.Int64, strict=True)
    except TypeError:
        numbers = [int(v) if isinstance(v, str) and v else v for v in values]
        kept = [None if number == "" else number for number in numbers]
        return pl.Series(name, kept, dtype=pl.Int64, strict=True)


def without_empty(column: pl.Series) -> pl.Series:
    """The column with "" as null."""
    if column.dtype != pl.String or not (column == "").any():
        return column
    return column.replace("", None)


def list_column(item: Field, raw: Interned) -> pl.Series:
    """A LIST or PAIR field's raw values, checked by the gate, as a column of lists of strings."""
    if not raw.distinct:
        return _nulls(item.name, PUBLISHED_TYPE[item.kind], len(raw.index))
    lists = [_items(item, _decode_list(text)) for text in raw.distinct]
    distinct = pl.Series(item.name, [*lists, None], dtype=PUBLISHED_TYPE[item.kind], strict=True)
    places = np.where(raw.index < 0, len(lists), raw.index)
    return distinct.gather(pl.Series(places.astype(np.uint32)))


def _items(item: Field, value: list[str] | str | None) -> list[str] | None:
    if item.kind is FieldKind.PAIR:
        return value if isinstance(value, list) and value else None
    parts = [value] if isinstance(value, str) else value or []
    if item.separator is not None:
        parts = [piece.strip() for part in parts for piece in part.split(item.separator)]
    return [part for part in parts if part] or None


def _all_missing(values: Sequence[Any]) -> bool:
    # Looking at the first value spares counting in most columns that have any.
    return not values or (values[0] is None and values.count(None) == len(values))


def _nulls(name: str, dtype: pl.DataType, length: int) -> pl.Series:
    return pl.Series(name, [None], dtype=dtype).new_from_index(0, length)
