"""Daily tables: merged exactly from the hours' partial aggregates.

Not here: what tables there are and how they merge (`streams`).
"""

from datetime import datetime, timedelta

import polars as pl

from stingar_dagster.lake.hours import read_events, table_frame
from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.layout import hour_key, hour_of_path
from stingar_dagster.lake.ledger import Ledger, read_ledger
from stingar_dagster.lake.lines import json_lines
from stingar_dagster.lake.publication import Draft, Record, publish, read_record
from stingar_dagster.lake.segments import decode
from stingar_dagster.streams.tables import DailyTable

HOUR = timedelta(hours=1)


def publish_daily(lake: Lake, day: datetime, tables: tuple[str, ...]) -> dict[str, Record]:
    """Publish a day's tables; a pure function of the day's hour records and ledgers."""
    published = {}
    for name in tables:
        table = lake.stream.table(name)

        def make(table: DailyTable = table) -> Draft:
            hours = hour_records(lake, day)
            quarantined = quarantined_on(lake, day) if table.quarantine_column else 0
            frame = table.merge(_partials(lake, table, hours), quarantined)
            data = json_lines(frame) if len(frame) else None
            return Draft(
                Record(
                    made_from=sources_of_day(table, hours, quarantined),
                    rows=len(frame),
                    size=len(data or b""),
                ),
                data,
            )

        published[name], _ = publish(
            lake.store, lake.layout.daily(name, day), lake.layout.day_record(name, day), make
        )
    return published


def sources_of_day(
    table: DailyTable, hours: dict[datetime, Record], quarantined: int
) -> tuple[str, ...]:
    """What a day's table is made from: each hour's partial, and the count of quarantined."""
    partials = (
        record.partials.get(table.name, f"{hour_key(hour)} {'+'.join(record.made_from)}")
        for hour, record in sorted(hours.items())
        if record.rows
    )
    return (*partials, *([f"quarantined {quarantined}"] if quarantined else []))


def hour_records(lake: Lake, day: datetime) -> dict[datetime, Record]:
    """The records of a day's published hours."""
    entries = lake.store.find(lake.layout.hour_records("events", day))
    records = in_parallel(lambda entry: read_record(lake.store, entry.path), entries)
    return {
        hour_of_path(entry.path): record
        for entry, record in zip(entries, records, strict=True)
        if record is not None
    }


def quarantined_on(lake: Lake, day: datetime) -> int:
    """How many events of the day's landed hours were quarantined."""
    return sum(
        line.quarantined for ledger in _ledgers_of(lake, day) for line in ledger.lines.values()
    )


def _ledgers_of(lake: Lake, day: datetime) -> list[Ledger]:
    return in_parallel(
        lambda hour: read_ledger(lake.store, lake.layout, hour),
        [day + hour * HOUR for hour in range(24)],
    )


def _partials(lake: Lake, table: DailyTable, hours: dict[datetime, Record]) -> pl.DataFrame:
    schema = table.partials(table_frame(_no_events(lake), lake)).schema
    frames = in_parallel(
        lambda item: _partial(lake, table, dict(schema), *item),
        [(hour, record) for hour, record in sorted(hours.items()) if record.rows],
    )
    return pl.concat([pl.DataFrame(schema=schema), *frames])


def _partial(
    lake: Lake, table: DailyTable, schema: dict[str, pl.DataType], hour: datetime, record: Record
) -> pl.DataFrame:
    path = record.partials.get(table.name)
    if path is not None:
        try:
            return decode(lake.store.read(path), schema)
        except FileNotFoundError:
            if read_record(lake.store, lake.layout.hour_record("events", hour)) != record:
                raise  # the hour was published again meanwhile: start over
    # The partial was lost, or its table declared later: count the hour's events now.
    events, _ = read_events(lake, hour, record.made_from)
    return table.partials(table_frame(events, lake))


def _no_events(lake: Lake) -> pl.DataFrame:
    return read_events(lake, datetime.min, ())[0]
