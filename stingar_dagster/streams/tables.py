"""The declaration of a daily table: hourly partial aggregates that merge exactly into a day.

A partial groups an hour's events by the table's keys and by what must be counted distinctly over
the day; a day is the partials of its hours, grouped again. Sums, minima, maxima and distinct
counts of grouped values come out exactly as if the day had been counted at once. Not here: where
partials are kept (`lake`), and which tables a stream has (the stream's module).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import polars as pl


class Recount(Protocol):
    """A day's table counted a second time, to hold the published one against."""

    def add(self, event: Mapping[str, Any]) -> None:
        """Count one published event: its line as plain JSON values."""

    def rows(self, quarantined: int) -> list[dict[str, Any]]:
        """The table's rows in any order, members without a value left out."""


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column of a daily table, as readers see it."""

    name: str
    dtype: pl.DataType
    meaning: str


@dataclass(frozen=True, slots=True)
class DailyTable:
    """One daily table.

    The expressions see an event's published columns, `time_us` and `enqueued_us` (Int64, epoch
    microseconds), and nothing else.

    Attributes:
        name: the asset's and the folder's name, `daily_...`.
        meaning: what a row is, in an analyst's words.
        keys: expressions that name a row; they become the first columns.
        distinct: expressions whose combinations are kept in the partials, to be counted exactly.
        partial: aggregates over an hour's events of one combination; the first of a table with
            `most` counts them.
        merged: aggregates over the partials of one row; what is published besides the keys.
        columns: every published column, keys first, in order.
        where: which events count; None: all.
        explode: a list of which each item counts by itself, under the expression's name.
        descending: columns to sort by, largest first, before the keys.
        quarantine_column: where quarantined events of the day's landed hours are counted, in a
            row without keys.
        order_by: partials are sorted by this column before they are merged, for aggregates that
            look at neighbours.
        most: rows that an hour and a day keep, those with most events; the events of all others
            are counted in a row without keys. A day's row misses what its key had in hours in
            which it was not among them. None: all are kept, where senders can't invent keys.
        recount: starts a count of the same table that shares nothing with this declaration;
            without one, `stingar verify` can only evaluate the declaration over the whole day.
    """

    name: str
    meaning: str
    keys: tuple[pl.Expr, ...]
    partial: tuple[pl.Expr, ...]
    merged: tuple[pl.Expr, ...]
    columns: tuple[TableColumn, ...]
    distinct: tuple[pl.Expr, ...] = ()
    where: pl.Expr | None = None
    explode: pl.Expr | None = None
    descending: tuple[str, ...] = ()
    quarantine_column: str | None = None
    order_by: str | None = None
    most: int | None = None
    recount: Callable[[], Recount] | None = None

    @property
    def schema(self) -> dict[str, pl.DataType]:
        return {column.name: column.dtype for column in self.columns}

    @property
    def key_names(self) -> list[str]:
        return [key.meta.output_name() for key in self.keys]

    def needs(self, columns: Iterable[str]) -> set[str]:
        """Those of an event's columns that the partial aggregates look at."""
        expressions = [*self.keys, *self.distinct, *self.partial, self.where, self.explode]
        asked = [e.meta for e in expressions if e is not None]
        named = {name for meta in asked for name in meta.root_names()}
        if any(meta.has_multiple_outputs() for meta in asked):
            return set(columns)  # a pattern of names, perhaps
        return named & set(columns)

    def partials(self, events: pl.DataFrame) -> pl.DataFrame:
        """An hour's partial aggregates, from its events with duplicates removed."""
        frame = events.lazy()
        if self.where is not None:
            frame = frame.filter(self.where)
        if self.explode is not None:
            name = self.explode.meta.output_name()
            frame = frame.with_columns(self.explode).explode(
                name, empty_as_null=False, keep_nulls=False
            )
        if self.most is not None:
            frame = frame.with_columns(self.keys)
            frame = self._with_most(frame, pl.len())
            named = [pl.col(name) for name in self.key_names]
            grouped = frame.group_by(*named, *self.distinct).agg(*self.partial)
        else:
            grouped = frame.group_by(*self.keys, *self.distinct).agg(*self.partial)
        names = [*self.key_names, *(item.meta.output_name() for item in self.distinct)]
        return grouped.sort(names, nulls_last=True).collect()

    def _with_most(self, frame: pl.LazyFrame, weight: pl.Expr) -> pl.LazyFrame:
        """The rows with the keys of the heaviest; null instead in all others."""
        names = self.key_names
        ranked = (
            frame.filter(pl.any_horizontal(pl.col(name).is_not_null() for name in names))
            .group_by(names)
            .agg(weight.alias("weight"))
            .sort(["weight", *names], descending=[True] + [False] * len(names), nulls_last=True)
            .head(self.most or 0)
            .select(*names, pl.lit(True).alias("is kept"))
        )
        kept = pl.when(pl.col("is kept")).then(pl.col(names))
        joined = frame.join(ranked, on=names, how="left", nulls_equal=True, maintain_order="left")
        return joined.with_columns(kept).drop("is kept")

    def merge(self, partials: pl.DataFrame, quarantined: int = 0) -> pl.DataFrame:
        """The day's table from the partials of all its hours.

        Args:
            partials: the hours' partials, concatenated in order of time.
            quarantined: quarantined events of the day's landed hours.
        """
        frame = partials.lazy()
        if self.most is not None:
            frame = self._with_most(frame, pl.col(self.partial[0].meta.output_name()).sum())
        if self.order_by is not None:
            frame = frame.sort(self.order_by, maintain_order=True)
        merged = (
            frame.group_by(self.key_names)
            .agg(*self.merged)
            .select([pl.col(name).cast(dtype) for name, dtype in self.schema.items()])
            .sort(
                [*self.descending, *self.key_names],
                descending=[True] * len(self.descending) + [False] * len(self.key_names),
                nulls_last=True,
            )
            .collect()
        )
        if self.quarantine_column is None or not quarantined:
            return merged
        row = pl.DataFrame(
            {self.quarantine_column: [quarantined]}, schema={self.quarantine_column: pl.Int64}
        )
        return pl.concat([merged, row], how="diagonal").select(list(self.schema))
