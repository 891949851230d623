"""From decoded values to typed polars columns.

Missing, null, "" and [] mean the same and come out as null. Not here: what columns mean (`clean`,
the stream's steps).
"""

from collections.abc import Iterable
from typing import Any

import msgspec
import polars as pl

from stingar_dagster.cleaning.interned import Interned
from stingar_dagster.streams.stream import PUBLISHED_TYPE, Field, FieldKind

_decode_list = msgspec.json.Decoder(list[str] | str | None).decode


def scalar_column(item: Field, values: tuple[Any, ...]) -> pl.Series:
    """A TEXT, INTEGER or PORT field's values, checked by the gate, as a typed column.

    Args:
        item: the field.
        values: one for each event, of the types that the field's kind allows, or None.
    """
    if values.count(None) == len(values):
        return _nulls(item, len(values))
    if item.kind is FieldKind.TEXT:
        return text_column(item.name, values)
    return _integers(item.name, values)


def list_column(item: Field, raw: Interned) -> pl.Series:
    """A LIST or PAIR field's raw values, checked by the gate, as a column of lists of strings."""
    if not raw.distinct:
        return _nulls(item, len(raw.index))
    lists = [_items(item, _decode_list(text)) for text in raw.distinct]
    distinct = pl.Series(item.name, [*lists, None], dtype=PUBLISHED_TYPE[item.kind], strict=True)
    missing = len(lists)
    places = [place if place >= 0 else missing for place in raw.index]
    return distinct.gather(pl.Series(places, dtype=pl.UInt32))


def _items(item: Field, value: list[str] | str | None) -> list[str] | None:
    if item.kind is FieldKind.PAIR:
        return value if isinstance(value, list) and value else None
    parts = [value] if isinstance(value, str) else value or []
    if item.separator is not None:
        parts = [piece.strip() for part in parts for piece in part.split(item.separator)]
    return [part for part in parts if part] or None


def _nulls(item: Field, length: int) -> pl.Series:
    dtype = PUBLISHED_TYPE[item.kind]
    return pl.Series(item.name, [None], dtype=dtype).new_from_index(0, length)


def text_column(name: str, values: Iterable[str | None]) -> pl.Series:
    """A text column with "" as null."""
    column = pl.Series(name, values, dtype=pl.String, strict=True)
    return column.replace("", None) if (column == "").any() else column


def _integers(name: str, values: tuple[Any, ...]) -> pl.Series:
    try:
        return pl.Series(name, values, dtype=pl.Int64, strict=True)
    except TypeError:
        numbers = [int(v) if isinstance(v, str) and v else v or None for v in values]
        kept = [0 if value == 0 else number for value, number in zip(values, numbers, strict=True)]
        return pl.Series(name, kept, dtype=pl.Int64, strict=True)
