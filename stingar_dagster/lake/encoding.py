"""What is published of a slice: its lines and partial aggregates, and what was looked up.

From all of its segments; or, where it gained events since it was published, from what is published,
and only what is new is rendered and counted. Without that, each straggler of a busy stream costs
all of its slice again. Both come to the same bytes; the second is not done where an event that was
published is none any more, because another capture of it counts now, nor where it was published
under another declaration (`form_of`). Not here: which slices are to be published, and what of those
that are may be built upon (`publishing`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stingar_dagster.cleaning.clean import with_published_columns
from stingar_dagster.lake.hours import StagedSlice, count_events, in_batches
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.lines import joined, lines_of, split
from stingar_dagster.lake.looked_up import Digests, Gathering, columns_of
from stingar_dagster.lake.partials import SlicePartials, encoded_partials
from stingar_dagster.lake.segments import complete, digest, read_frame, segment_schema

_FORM: Final = "1"
"""Raised with every release that renders lines or counts partial aggregates otherwise."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A slice as it is published: lines by time, partial aggregates, and what was looked up."""

    lines: bytes
    partials: SlicePartials
    looked_up: Digests


@dataclass(frozen=True, slots=True)
class Standing:
    """What is published of a slice that was made from some of its segments.

    Attributes:
        made_from: names of those segments.
        rows: how many events it has.
        encoded: what is published of them.
    """

    made_from: frozenset[str]
    rows: int
    encoded: Encoded


def form_of(lake: Lake) -> str:
    """A digest of what a published slice depends on besides its segments.

    Of tables those parts of the declaration that tell how events are counted; where they change
    otherwise, `DailyTable.revision` is raised, or `_FORM`.
    """
    stream = lake.stream
    none = count_events(lake, stream.tables, ())
    columns = [f"{column.name} {column.dtype}" for column in stream.columns]
    tables = [
        f"{table.name} {table.form} {table.most} {table.in_any_order} {none[table.name].schema}"
        for table in stream.tables
    ]
    told = "\n".join([_FORM, stream.code_version, *columns, *tables, *columns_of(stream)])
    return digest(told.encode())


def encoded(lake: Lake, staged: StagedSlice, bounds: tuple[datetime, datetime]) -> Encoded:
    """A slice from all of its segments."""
    tables, rendering = lake.stream.tables, _Rendering(lake)
    counted = count_events(lake, tables, rendering.of(staged), staged.order)
    lines = joined(rendering.lines()[staged.order]) if len(staged) else b""
    partials = encoded_partials(tables, counted, bounds)
    return Encoded(lines, partials, rendering.looked_up.digests())


def encoded_from(
    lake: Lake, staged: StagedSlice, standing: Standing, bounds: tuple[datetime, datetime]
) -> Encoded | None:
    """A slice, from what is published of it and the events of its other segments.

    Args:
        lake: where it is.
        staged: all of the slice's segments.
        standing: what is published.
        bounds: of the slice.

    Returns:
        None where that would not be the slice as it is made from all of its segments.
    """
    is_old = [name in standing.made_from for name in staged.names]
    # Of each event, in the order of segments.
    stood = np.repeat(is_old, [len(rows) for rows in staged.rows])
    lines = split(standing.encoded.lines)
    if not standing.rows == len(lines) == np.count_nonzero(stood):
        return None
    added = _only(staged, [not old for old in is_old])
    tables = lake.stream.tables
    none = count_events(lake, tables, ())
    in_any_order = [table for table in tables if table.in_any_order]
    rendering = _Rendering(lake)
    new = count_events(lake, in_any_order, rendering.of(added))
    counted: dict[str, pl.DataFrame] = {}
    for table in in_any_order:
        before = _frame(standing.encoded.partials[table.name], none[table.name])
        parts = [before, new[table.name]]
        if all(map(table.holds_all, parts)):
            counted[table.name] = table.together(parts)
    again = [table for table in tables if table.name not in counted]
    if again:
        columns = segment_schema(lake.stream)
        needs = {"time_us", "enqueued_us"}.union(*(table.needs(columns) for table in again))
        events = in_batches(lake, staged, sorted(needs & columns.keys()))
        counted |= count_events(lake, again, events, staged.order)
    return Encoded(
        joined(_merged(lines, rendering.lines(), stood, staged.order)),
        encoded_partials(tables, counted, bounds),
        np.union1d(standing.encoded.looked_up, rendering.looked_up.digests()),
    )


class _Rendering:
    """Lines of events that go by, in batches, and what they looked up.

    Attributes:
        looked_up: gathered.
    """

    def __init__(self, lake: Lake) -> None:
        self._lake = lake
        self._lines: list[pl.Series] = []
        self.looked_up = Gathering(lake.stream)

    def of(self, staged: StagedSlice) -> Iterator[pl.DataFrame]:
        for batch in in_batches(self._lake, staged):
            self._lines.append(lines_of(with_published_columns(batch, self._lake.stream)))
            self.looked_up.add(batch)
            yield batch

    def lines(self) -> pl.Series:
        """In the order of segments."""
        return pl.concat([pl.Series([], dtype=pl.String), *self._lines]).rechunk()


def _only(staged: StagedSlice, chosen: list[bool]) -> StagedSlice:
    """Some of a slice's segments, events in their order."""
    places = [place for place, is_chosen in enumerate(chosen) if is_chosen]
    rows = [staged.rows[place] for place in places]
    return StagedSlice(
        tuple(staged.names[place] for place in places),
        [staged.objects[place] for place in places],
        rows,
        pl.int_range(sum(map(len, rows)), eager=True),
        0,
    )


def _frame(partials: bytes, none: pl.DataFrame) -> pl.DataFrame:
    place = "partial aggregates"
    return complete(read_frame(partials, place), dict(none.schema), place)


def _merged(
    old: pl.Series, new: pl.Series, stood: NDArray[np.bool_], order: pl.Series
) -> pl.Series:
    """Published lines, which stand by time, and those of new events, which do not, by time.

    Args:
        old, new: lines.
        stood: of each event, in the order of segments, whether its line is an old one.
        order: positions of events as they are published.
    """
    by_time = stood[order.to_numpy()]
    # The order among the old ones is the one in which they stand already.
    place = np.empty(len(by_time), dtype=np.int64)
    place[by_time] = np.arange(len(old))
    number = np.cumsum(~stood) - 1
    place[~by_time] = len(old) + number[order.to_numpy()[~by_time]]
    return pl.concat([old, new]).rechunk()[place]
