"""From raw values of lists to typed polars columns.

Missing, null, "" and [] mean the same and come out as null. Not here: what columns mean (`clean`,
the stream's steps).
"""

import msgspec
import numpy as np
import polars as pl

from stingar_dagster.cleaning.interned import Interned
from stingar_dagster.cleaning.spans import pick
from stingar_dagster.streams.stream import PUBLISHED_TYPE, Field, FieldKind

_decode_list = msgspec.json.Decoder(list[str] | str | None).decode
_decode_reals = msgspec.json.Decoder(list[float] | float | None).decode


def list_column(item: Field, raw: Interned) -> pl.Series:
    """A LIST, REALS or PAIR field's raw values, checked by the gate, as a column of lists."""
    if not raw.distinct:
        return _nulls(item.name, PUBLISHED_TYPE[item.kind], len(raw.index))
    lists: list[list[str] | None] | list[list[float] | None]
    if item.kind is FieldKind.REALS:
        lists = [_reals(_decode_reals(text)) for text in raw.distinct]
    else:
        lists = [_items(item, _decode_list(text)) for text in raw.distinct]
    distinct = pl.Series(item.name, [*lists, None], dtype=PUBLISHED_TYPE[item.kind], strict=True)
    places = np.where(raw.index < 0, len(lists), raw.index)
    return pick(distinct, places)


def _items(item: Field, value: list[str] | str | None) -> list[str] | None:
    if item.kind is FieldKind.PAIR:
        return value if isinstance(value, list) and value else None
    parts = [value] if isinstance(value, str) else value or []
    if item.separator is not None:
        parts = [piece.strip() for part in parts for piece in part.split(item.separator)]
    return [part for part in parts if part] or None


def _reals(value: list[float] | float | None) -> list[float] | None:
    return [value] if isinstance(value, float) else value or None


def _nulls(name: str, dtype: pl.DataType, length: int) -> pl.Series:
    return pl.Series(name, [None], dtype=dtype).new_from_index(0, length)
