"""In which published hours a source can stand, told by the daily tables instead of the events.

`daily_sources` has each source's first and last moment of the day. An hour is left out only where
that table was made from the very events that the hour has now: the table's record names the hour's
partial aggregates, and the hour's record has the sizes of its objects. Any other hour (published
again since, of a day that was not rolled up yet, of a table that was lost) has to be read.

Of an hour that is being replaced at this moment, the object before or the one after is seen, as by
any other reader.
"""

import io
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Final

import polars as pl

from stingar_dagster.lake.daily import hour_records, sources_of_day
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.layout import day_of
from stingar_dagster.lake.publication import read_record
from stingar_dagster.lake.reader.candidates import lines_from
from stingar_dagster.lake.reader.hours import PublishedSlice
from stingar_dagster.lake.reader.query import SOURCE, Network, lies_in

TABLE: Final = "daily_sources"

_WORTH: Final = 4
"""Of so few objects a day the events are read as fast as the tables and records."""

_TO_THE_MINUTE: Final = len("2022-05-19T17:05")


def slices_with(
    lake: Lake, slices: Sequence[PublishedSlice], network: Network
) -> list[PublishedSlice]:
    """Those of some published slices, in order, in which a source of a network may stand."""
    if TABLE not in {table.name for table in lake.stream.tables}:
        return list(slices)
    kept: list[PublishedSlice] = []
    for day, group in groupby(slices, lambda piece: day_of(piece.hour)):
        of_day = list(group)
        kept += of_day if len(of_day) <= _WORTH else _of_day(lake, day, of_day, network)
    return kept


def _of_day(
    lake: Lake, day: datetime, slices: list[PublishedSlice], network: Network
) -> list[PublishedSlice]:
    known = _known(lake, day, slices)
    if not known:
        return slices
    try:
        # Read after its record, of which it holds no less.
        data = lake.store.read(lake.layout.daily(TABLE, day))
    except FileNotFoundError:
        return slices
    seen = _seen(data, network)
    return [
        piece
        for piece in slices
        if piece.object.path not in known
        or any(first < _minute(piece.end) and _minute(piece.start) <= last for first, last in seen)
    ]


def _known(lake: Lake, day: datetime, slices: list[PublishedSlice]) -> set[str]:
    """Paths of objects whose present events the day's table was made from."""
    record = read_record(lake.store, lake.layout.day_record(TABLE, day))
    if record is None:
        return set()
    made_from = set(record.made_from)
    table = lake.stream.table(TABLE)
    records = hour_records(lake, day)
    known = set()
    for piece in slices:
        published = records.get(piece.hour)
        held = None if published is None else published.objects().get(piece.name)
        if published is not None and held is not None and held.size == piece.object.size:
            needed = sources_of_day(table, {piece.hour: published}, 0)
            if made_from.issuperset(needed):
                known.add(piece.object.path)
    return known


def _seen(data: bytes, network: Network) -> list[tuple[str, str]]:
    """From which minute to which sources of a network were seen."""
    schema = {SOURCE: pl.String(), "first_seen": pl.String(), "last_seen": pl.String()}
    rows = pl.read_ndjson(io.BytesIO(lines_from(data, network)), schema=schema)
    inside = pl.Series([lies_in(source, network) for source in rows[SOURCE]], dtype=pl.Boolean)
    minutes = pl.col("first_seen", "last_seen").str.head(_TO_THE_MINUTE)
    return rows.filter(inside).select(minutes).unique().rows()


def _minute(moment: datetime) -> str:
    """As published times begin; slices begin and end with a minute."""
    return f"{moment:%Y-%m-%dT%H:%M}"
