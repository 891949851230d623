"""What joined tables are counted again from besides a day's events: rows of other streams.

Not here: the count itself, which the stream declares beside the table.
"""

from collections.abc import Iterator
from datetime import datetime

import msgspec

from stingar_dagster.lake.indicators import OtherTables, days_of, is_of_others
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.layout import Layout
from stingar_dagster.lake.publication import Record, read_record
from stingar_dagster.streams.joined import JoinedTable, OtherRow


def other_rows(lake: Lake, table: JoinedTable, day: datetime) -> Iterator[OtherRow]:
    """The lines of the other streams' tables, of the day and the days before.

    Raises:
        ValueError: a line is not a JSON object.
    """
    decode = msgspec.json.Decoder(dict).decode
    for stream, name in table.others:
        for other_day in days_of(table, day):
            try:
                data = lake.store.read(Layout(stream).daily(name, other_day))
            except FileNotFoundError:
                continue
            for line in data.splitlines():
                yield stream, name, decode(line)


def waits_for_others(lake: Lake, table: JoinedTable, day: datetime) -> bool:
    """Whether other streams' tables changed since a day was made, so that it waits to be made
    again: it can't be held against what they say now."""
    record = read_record(lake.store, lake.layout.day_record(table.name, day)) or Record()
    if not record.made_from:
        return False
    seen = tuple(name for name in record.made_from if is_of_others(name))
    return seen != OtherTables(lake).names(table, day)


def waiting_paths(lake: Lake, days: list[datetime]) -> set[str]:
    """The objects of days that wait so."""
    return {
        lake.layout.daily(table.name, day)
        for table in lake.stream.joined
        for day in days
        if waits_for_others(lake, table, day)
    }
