"""Event hours: segments to events without duplicates, and to partial aggregates.

Not here: what is published of them (`publishing`), and days (`daily`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.layout import hour_key, parse_hour
from stingar_dagster.lake.ledger import read_ledger
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
from stingar_dagster.lake.slices import WHOLE, Slice, span_of_segment
from stingar_dagster.streams.tables import DailyTable

_BATCH: Final = 32_768
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
class StagedSlice:
    """A slice's segments, and which of their rows are events and which are duplicates.

    Attributes:
        names: the segments.
        objects: their bytes, in that order.
        rows: of each, the positions of the slice's events, ascending.
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


def read_slice(
    lake: Lake, hour: datetime, names: tuple[str, ...], piece: Slice = WHOLE
) -> StagedSlice:
    """Read the segments of a slice, and tell duplicates.

    Two captures of one event agree on its time, or stand in different hours (`cleaning.clean`), so
    no duplicate is to be looked for in the hour's other slices.

    Args:
        lake: where they are.
        hour: the event hour.
        names: those of its segments that may hold events of the slice.
        piece: events of other minutes do not count: a segment may be cut otherwise.

    Raises:
        FileNotFoundError: a segment was replaced since it was listed.
    """
    objects = in_parallel(
        lambda name: lake.store.read(lake.layout.segment(hour_key(hour), name)), names
    )
    columns = ("time_us", *IDENTITY, "capture")
    schema = {name: ENGINE_SCHEMA[name] for name in columns}
    frames = [decode(data, schema, name) for data, name in zip(objects, names, strict=True)]
    staged = pl.concat([pl.DataFrame(schema=schema), *frames])
    mine = staged.lazy().select(
        *IDENTITY, "capture", "time_us", row=pl.int_range(pl.len(), dtype=pl.Int64)
    )
    if not all(piece.contains(span_of_segment(name)) for name in names):
        start, end = (int(moment.timestamp()) * 1_000_000 for moment in piece.bounds(hour))
        mine = mine.filter(pl.col("time_us").is_between(start, end, closed="left"))
    candidates = mine.select(*IDENTITY, "capture", "row").collect()
    # The sort makes the survivor of a duplicate a function of the events alone: not of how they
    # were split into captures and runs.
    survivors = (
        candidates.lazy()
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
    return StagedSlice(names, objects, rows, order, len(candidates) - len(events))


def in_batches(
    lake: Lake, staged: StagedSlice, columns: Iterable[str] | None = None
) -> Iterator[pl.DataFrame]:
    """The events of a slice in the order of its segments, a bounded number at a time.

    Args:
        lake, staged: whose.
        columns: of segments; default: all.
    """
    parts: list[pl.DataFrame] = []
    gathered = 0
    for part in _pieces(lake, staged, columns):
        parts.append(part)
        gathered += len(part)
        if gathered >= _BATCH:
            yield pl.concat(parts)
            parts, gathered = [], 0
    if parts:
        yield pl.concat(parts)


def _pieces(
    lake: Lake, staged: StagedSlice, columns: Iterable[str] | None
) -> Iterator[pl.DataFrame]:
    schema = segment_schema(lake.stream)
    if columns is not None:
        schema = {name: schema[name] for name in columns}
    for data, name, rows in zip(staged.objects, staged.names, staged.rows, strict=True):
        frame = read_frame(data, name, None if columns is None else schema)
        whole = len(rows) == len(frame)
        for start in range(0, len(rows), _BATCH):
            piece = frame[start : start + _BATCH] if whole else frame[rows[start : start + _BATCH]]
            yield complete(piece, schema, name)


def count_events(
    lake: Lake,
    tables: Sequence[DailyTable],
    events: Iterable[pl.DataFrame],
    order: pl.Series | None = None,
) -> dict[str, pl.DataFrame]:
    """An hour's partial aggregates by table, from its events a bounded number at a time.

    Held of the hour are the columns that tables need which look at all of its events at once;
    `extra`, which senders fill as they like, is not among them (`DailyTable.limit`).

    Args:
        lake: where.
        tables: which.
        events: in batches.
        order: the positions of those that are published first, second and so on; default: as they
            are.
    """
    none = table_frame(pl.DataFrame(schema=segment_schema(lake.stream)), lake)
    at_once = [table for table in tables if table.limit is None]
    # One column at least: a frame without any has no rows either.
    needs = sorted({"time_us"}.union(*(table.needs(none.columns) for table in at_once)))
    held = [none.select(needs)]
    counted = {table.name: table.partials(none) for table in tables if table.limit is not None}
    for batch in events:
        frame = table_frame(batch, lake)
        held.append(frame.select(needs))
        for table in tables:
            if table.limit is not None:
                so_far = counted[table.name]
                counted[table.name] = table.gathered([so_far, table.partials(frame)])
    whole = pl.concat(held)
    held.clear()  # while events are put in order, they are held twice, and not three times
    if order is not None:
        whole = whole[order]
    return counted | {table.name: table.partials(whole) for table in at_once}


def table_frame(events: pl.DataFrame, lake: Lake) -> pl.DataFrame:
    """Events as daily tables' expressions see them.

    Times are cut to milliseconds, as they are published, so that a day can be counted again from
    what readers see.
    """
    columns = [name for name in lake.stream.schema if name in events.columns]
    return events.select(pl.col("time_us", "enqueued_us") // 1000 * 1000, *columns)
