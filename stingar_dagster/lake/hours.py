"""Event hours: segments to published events, and the hour's partial aggregates.

Not here: days (`daily`), and when an hour is published (`pipeline`, `backlog`).
"""

from datetime import datetime
from typing import Final

import polars as pl

from stingar_dagster.cleaning.clean import with_published_columns
from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.layout import hour_key, parse_hour
from stingar_dagster.lake.ledger import read_ledger
from stingar_dagster.lake.lines import json_lines
from stingar_dagster.lake.partials import write_partials
from stingar_dagster.lake.publication import Draft, Record, publish, read_record
from stingar_dagster.lake.reopened import marks
from stingar_dagster.lake.segments import (
    collect_orphans,
    complete,
    decode,
    landed_hour_of,
    segment_schema,
)

_IDENTITY: Final = ["source", "sequence", "sub"]


def staged(lake: Lake, hour: datetime) -> tuple[str, ...]:
    """The segments of an event hour that their landed hours' ledgers name; others are removed."""
    entries = lake.store.find(lake.layout.segments(hour))
    landed = sorted({landed_hour_of(entry.path.rsplit("/", 1)[-1]) for entry in entries})
    ledgers = in_parallel(lambda key: read_ledger(lake.store, lake.layout, parse_hour(key)), landed)
    named: set[str] = set().union(
        *(ledger.segments().get(hour_key(hour), set()) for ledger in ledgers)
    )
    collect_orphans(lake.store, entries, named)
    return tuple(sorted(named))


def read_events(lake: Lake, hour: datetime, names: tuple[str, ...]) -> tuple[pl.DataFrame, int]:
    """An hour's events with duplicates removed, sorted by time; and how many were removed.

    Raises:
        FileNotFoundError: a segment was replaced since it was listed.
    """
    schema = segment_schema(lake.stream)
    frames = in_parallel(
        lambda name: decode(
            lake.store.read(lake.layout.segment(hour_key(hour), name)), schema, name
        ),
        names,
    )
    events = pl.concat([pl.DataFrame(schema=schema), *frames])
    # The sort makes the survivor of a duplicate, and the order of equal times, a function of the
    # events alone: not of how they were split into captures and runs.
    order = (
        events.lazy()
        .select("time_us", *_IDENTITY, "capture", row=pl.int_range(pl.len(), dtype=pl.UInt32))
        .sort([*_IDENTITY, "capture"], nulls_last=True, maintain_order=True)
        .unique(_IDENTITY, keep="first", maintain_order=True)
        .sort(["time_us", *_IDENTITY])
        .collect()["row"]
    )
    filled = pl.DataFrame([column for column in events if column.null_count() < len(column)])
    ordered = complete(filled[order], schema) if len(events) else events
    return ordered, len(events) - len(order)


def publish_events(lake: Lake, hour: datetime) -> Record:
    """Publish an event hour from its segments; a pure function of them."""
    layout, store = lake.layout, lake.store

    def make() -> Draft:
        _collect_partials(lake, hour)
        segments = staged(lake, hour)
        events, duplicates = read_events(lake, hour, segments)
        published = with_published_columns(events, lake.stream)
        data = json_lines(published, lake.stream.shape_fields) if len(events) else None
        record = Record(
            made_from=segments,
            rows=len(events),
            duplicates=duplicates,
            size=len(data or b""),
            partials=write_partials(lake, hour, table_frame(events, lake)) if len(events) else "",
        )
        return Draft(record, data)

    seen = marks(lake, hour).get(hour, [])
    record, before = publish(store, layout.events(hour), layout.hour_record("events", hour), make)
    if before is not None:
        for path in before.partial_paths() - record.partial_paths():
            store.remove(path)
    for path in seen:
        store.remove(path)
    return record


def table_frame(events: pl.DataFrame, lake: Lake) -> pl.DataFrame:
    """Events as daily tables' expressions see them.

    Times are cut to milliseconds, as they are published, so that a day can be counted again from
    what readers see.
    """
    columns = [name for name in lake.stream.schema if name in events.columns]
    return events.select(pl.col("time_us", "enqueued_us") // 1000 * 1000, *columns)


def _collect_partials(lake: Lake, hour: datetime) -> None:
    """Remove partials that no record names and that no run can be about to name."""
    record = read_record(lake.store, lake.layout.hour_record("events", hour))
    named = record.partial_paths() if record is not None else set()
    names = {path.rsplit("/", 1)[-1] for path in named}
    collect_orphans(lake.store, lake.store.find(lake.layout.partials(hour)), names)
