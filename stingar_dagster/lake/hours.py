"""Event hours: segments to published events, and the hour's partial aggregates.

Not here: days (`daily`), and when an hour is published (`pipeline`, `backlog`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stingar_dagster.cleaning.clean import with_published_columns
from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.layout import hour_key, parse_hour
from stingar_dagster.lake.ledger import read_ledger
from stingar_dagster.lake.lines import joined, lines_of
from stingar_dagster.lake.partials import write_partials
from stingar_dagster.lake.publication import Draft, Record, publish, read_record
from stingar_dagster.lake.reopened import marks
from stingar_dagster.lake.segments import (
    ENGINE_SCHEMA,
    IDENTITY,
    collect_orphans,
    complete,
    decode,
    landed_hour_of,
    read_frame,
    segment_schema,
)
from stingar_dagster.streams.tables import DailyTable

_SLICE: Final = 32_768
"""Events that are published at once: bounds memory, and what is given back serves the next ones."""


def staged_segments(lake: Lake, hour: datetime) -> tuple[str, ...]:
    """The segments of an event hour that their landed hours' ledgers name; others are removed."""
    entries = lake.store.find(lake.layout.segments(hour))
    landed = sorted({landed_hour_of(entry.path.rsplit("/", 1)[-1]) for entry in entries})
    ledgers = in_parallel(lambda key: read_ledger(lake.store, lake.layout, parse_hour(key)), landed)
    named: set[str] = set().union(
        *(ledger.segments().get(hour_key(hour), set()) for ledger in ledgers)
    )
    collect_orphans(lake.store, entries, named)
    return tuple(sorted(named))


@dataclass(frozen=True, slots=True)
class StagedHour:
    """An hour's segments, and which of their rows are events and which are duplicates.

    Attributes:
        names: the segments.
        objects: their bytes, in that order.
        rows: of each, the positions of its events, ascending.
        order: (events,) positions of events, counted through all segments, in the order in which
            they are published: by time, equal times by identity.
        duplicates: rows left out.
    """

    names: tuple[str, ...]
    objects: list[bytes]
    rows: list[NDArray[np.int64]]
    order: pl.Series
    duplicates: int

    def __len__(self) -> int:
        return len(self.order)


def read_hour(lake: Lake, hour: datetime, names: tuple[str, ...]) -> StagedHour:
    """Read an hour's segments, and tell duplicates.

    Raises:
        FileNotFoundError: a segment was replaced since it was listed.
    """
    objects = in_parallel(
        lambda name: lake.store.read(lake.layout.segment(hour_key(hour), name)), names
    )
    columns = ("time_us", *IDENTITY, "capture")
    schema = {name: ENGINE_SCHEMA[name] for name in columns}
    frames = [
        decode(data, schema, name).with_columns(segment=pl.lit(place, dtype=pl.Int32))
        for place, (data, name) in enumerate(zip(objects, names, strict=True))
    ]
    staged = pl.concat([pl.DataFrame(schema=schema | {"segment": pl.Int32()}), *frames])
    # The sort makes the survivor of a duplicate a function of the events alone: not of how they
    # were split into captures and runs.
    survivors = (
        staged.lazy()
        .select(*IDENTITY, "capture", row=pl.int_range(pl.len(), dtype=pl.Int64))
        .sort([*IDENTITY, "capture"], nulls_last=True, maintain_order=True)
        .unique(IDENTITY, keep="first", maintain_order=True)
        .sort("row")
        .collect()["row"]
    )
    events = staged if len(survivors) == len(staged) else staged[survivors]
    order = events.select(pl.arg_sort_by("time_us", *IDENTITY)).to_series()
    bounds = np.cumsum([0, *(len(frame) for frame in frames)])
    kept = survivors.to_numpy()
    cuts = np.searchsorted(kept, bounds)
    rows = [kept[cuts[place] : cuts[place + 1]] - bounds[place] for place in range(len(frames))]
    return StagedHour(names, objects, rows, order, len(staged) - len(events))


def slices_of(lake: Lake, staged: StagedHour) -> Iterator[pl.DataFrame]:
    """The events of an hour in the order of its segments, a bounded number at a time."""
    parts: list[pl.DataFrame] = []
    gathered = 0
    for part in _pieces(lake, staged):
        parts.append(part)
        gathered += len(part)
        if gathered >= _SLICE:
            yield pl.concat(parts)
            parts, gathered = [], 0
    if parts:
        yield pl.concat(parts)


def _pieces(lake: Lake, staged: StagedHour) -> Iterator[pl.DataFrame]:
    schema = segment_schema(lake.stream)
    for data, name, rows in zip(staged.objects, staged.names, staged.rows, strict=True):
        frame = read_frame(data, name)
        whole = len(rows) == len(frame)
        for start in range(0, len(rows), _SLICE):
            piece = frame[start : start + _SLICE] if whole else frame[rows[start : start + _SLICE]]
            yield complete(piece, schema, name)


def count_events(
    lake: Lake,
    tables: Sequence[DailyTable],
    slices: Iterable[pl.DataFrame],
    order: pl.Series | None = None,
) -> dict[str, pl.DataFrame]:
    """An hour's partial aggregates by table, from its events a bounded number at a time.

    Held of the hour are the columns that tables need which look at all of its events at once;
    `extra`, which senders fill as they like, is not among them (`DailyTable.combined`).

    Args:
        lake: where.
        tables: which.
        slices: the events.
        order: the positions of those that are published first, second and so on; default: as they
            are.
    """
    none = table_frame(pl.DataFrame(schema=segment_schema(lake.stream)), lake)
    at_once = [table for table in tables if not table.combined]
    # One column at least: a frame without any has no rows either.
    needs = sorted({"time_us"}.union(*(table.needs(none.columns) for table in at_once)))
    held = [none.select(needs)]
    counted = {table.name: table.partials(none) for table in tables if table.combined}
    for part in slices:
        events = table_frame(part, lake)
        held.append(events.select(needs))
        for table in tables:
            if table.combined:
                so_far = counted[table.name]
                counted[table.name] = table.gathered([so_far, table.partials(events)])
    whole = pl.concat(held)
    held.clear()  # while events are put in order, they are held twice, and not three times
    if order is not None:
        whole = whole[order]
    return counted | {table.name: table.partials(whole) for table in at_once}


def publish_events(lake: Lake, hour: datetime) -> Record:
    """Publish an event hour from its segments; a pure function of them."""
    layout, store = lake.layout, lake.store

    def make() -> Draft:
        _collect_partials(lake, hour)
        staged = read_hour(lake, hour, staged_segments(lake, hour))
        lines: list[pl.Series] = []

        def encoded() -> Iterator[pl.DataFrame]:
            for part in slices_of(lake, staged):
                lines.append(lines_of(with_published_columns(part, lake.stream)))
                yield part

        partials = count_events(lake, lake.stream.tables, encoded(), staged.order)
        data = joined(pl.concat(lines).rechunk()[staged.order]) if len(staged) else None
        record = Record(
            made_from=staged.names,
            rows=len(staged),
            duplicates=staged.duplicates,
            size=len(data or b""),
            partials=write_partials(lake, hour, partials) if len(staged) else "",
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
