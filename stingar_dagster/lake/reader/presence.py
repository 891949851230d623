"""In which published hours a source can stand, told by the daily tables instead of the events.

`daily_sources` has each source's first and last moment of the day. An hour is left out only where
that table was made from the very events that the hour has now: the table's record names the hour's
partial aggregates, and the hour's record has the size of its object. Any other hour (published
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
from stingar_dagster.lake.layout import day_of, hour_key
from stingar_dagster.lake.publication import read_record
from stingar_dagster.lake.reader.candidates import lines_from
from stingar_dagster.lake.reader.hours import PublishedHour
from stingar_dagster.lake.reader.query import SOURCE, Network, lies_in

TABLE: Final = "daily_sources"

_WORTH: Final = 4
"""Of so few hours a day the events are read as fast as the tables and records."""


def hours_with(lake: Lake, hours: Sequence[PublishedHour], network: Network) -> list[PublishedHour]:
    """Those of some published hours, in order, in which a source of a network may stand."""
    if TABLE not in {table.name for table in lake.stream.tables}:
        return list(hours)
    kept: list[PublishedHour] = []
    for day, group in groupby(hours, lambda hour: day_of(hour.start)):
        of_day = list(group)
        kept += of_day if len(of_day) <= _WORTH else _of_day(lake, day, of_day, network)
    return kept


def _of_day(
    lake: Lake, day: datetime, hours: list[PublishedHour], network: Network
) -> list[PublishedHour]:
    known = _known(lake, day, hours)
    if not known:
        return hours
    try:
        # Read after its record, of which it holds no less.
        data = lake.store.read(lake.layout.daily(TABLE, day))
    except FileNotFoundError:
        return hours
    seen = _seen(data, network)
    return [
        hour
        for hour in hours
        if hour.start not in known
        or any(first <= hour_key(hour.start) <= last for first, last in seen)
    ]


def _known(lake: Lake, day: datetime, hours: list[PublishedHour]) -> set[datetime]:
    """Hours whose present events the day's table was made from."""
    record = read_record(lake.store, lake.layout.day_record(TABLE, day))
    if record is None:
        return set()
    made_from = set(record.made_from)
    table = lake.stream.table(TABLE)
    records = hour_records(lake, day)
    known = set()
    for hour in hours:
        published = records.get(hour.start)
        if published is not None and published.size == hour.object.size:
            needed = sources_of_day(table, {hour.start: published}, 0)
            if made_from.issuperset(needed):
                known.add(hour.start)
    return known


def _seen(data: bytes, network: Network) -> list[tuple[str, str]]:
    """From which hour to which sources of a network were seen, as keys of hours."""
    schema = {SOURCE: pl.String(), "first_seen": pl.String(), "last_seen": pl.String()}
    rows = pl.read_ndjson(io.BytesIO(lines_from(data, network)), schema=schema)
    inside = [lies_in(source, network) for source in rows[SOURCE]]
    hours = rows.filter(pl.Series(inside, dtype=pl.Boolean)).select(
        pl.col("first_seen", "last_seen").str.head(len("2022-05-19T17"))
    )
    return hours.unique().rows()
