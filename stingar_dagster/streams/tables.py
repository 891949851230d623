"""The declaration of a daily table: hourly partial aggregates that merge exactly into a day.

A partial groups an hour's events by the table's keys and by what must be counted distinctly over
the day; a day is the partials of its hours, grouped again. Sums, minima, maxima and distinct
counts of grouped values come out exactly as if the day had been counted at once. A table whose
rows senders can invent has a `Limit`, which comes out exactly, too. Not here: where partials are
kept (`lake`), and which tables a stream has (the stream's module).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final, Protocol

import polars as pl

PART: Final = 2_048
"""Events of which the members are looked at together: bounds what `explode` makes of them."""

_MOST_WAITING: Final = 50_000
"""Rows of partials that wait to be combined: each time costs as much as thousands of rows."""


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
class Limit:
    """How many names that senders choose a table tells; the rest is one row without keys.

    A name's place depends on nothing but the name and who sent it, never on how often it came. So
    the names that are told of a whole are among those told of each of its parts: in whatever parts
    and order a day is counted, the same names come out, with all their events.

    Attributes:
        sender: the key that says who sent a name.
        name: the key that holds it; where it is null the row belongs to the rest.
        first: expressions of the keys that put names in order; those told stand first.
        most_of_one: names told of one sender, so that one can't crowd out the others.
        most: names told in all.
    """

    sender: str
    name: str
    first: tuple[pl.Expr, ...]
    most_of_one: int
    most: int

    def split(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The rows whose names are told, and the rest."""
        if len(rows) <= self.most_of_one and not rows[self.name].null_count():
            return rows, rows.clear()
        key = [self.sender, self.name]
        told = (
            rows.lazy()
            .filter(pl.col(self.name).is_not_null())
            .unique(key, keep="any")
            .sort(*self.first, self.name, self.sender, nulls_last=True)
            .filter(pl.int_range(pl.len()).over(self.sender) < self.most_of_one)
            .head(self.most)
            .select(key)
            .collect()
        )
        return (
            rows.join(told, on=key, how="semi", nulls_equal=True),
            rows.join(told, on=key, how="anti", nulls_equal=True),
        )


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
        partial: aggregates over an hour's events of one combination.
        merged: aggregates over the partials of one row; what is published besides the keys.
        columns: every published column, keys first, in order.
        where: which events count; None: all.
        explode: a list of which each item counts by itself, under the expression's name.
        descending: columns to sort by, largest first, before the keys.
        quarantine_column: where quarantined events of the day's landed hours are counted, in a
            row without keys.
        combined: aggregates over the partials of one combination of `keys` and `distinct` that give
            a partial again. With them events are counted a bounded number at a time, and nothing
            of them is held but the partials; without them, all at once.
        limit: how many names are told; needs `combined`, and no `distinct`.
        order_by: partials are sorted by this column before they are merged, for aggregates that
            look at neighbours.
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
    combined: tuple[pl.Expr, ...] = ()
    limit: Limit | None = None
    order_by: str | None = None
    recount: Callable[[], Recount] | None = None

    @property
    def schema(self) -> dict[str, pl.DataType]:
        return {column.name: column.dtype for column in self.columns}

    @property
    def form(self) -> str:
        """A digest of what readers are told of the columns: another one in a release that counts
        otherwise, and says so. Tables in an earlier form are made again when their day is."""
        told = "\n".join(f"{c.name} {c.dtype} {c.meaning}" for c in self.columns)
        return blake2b(told.encode(), digest_size=8).hexdigest()

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
        if not self.combined:
            return self._counted(events)
        starts = range(0, max(len(events), 1), PART)
        return self.gathered(self._counted(events[start : start + PART]) for start in starts)

    def gathered(self, parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
        """Partial aggregates of one stretch of time or several as those of all, for `merge`.

        Args:
            parts: in order of time; one at least.
        """
        if not self.combined:
            return pl.concat(parts)
        # A number of rows at a time, so that no more is held than that and what is told.
        waiting: list[pl.DataFrame] = []
        for part in parts:
            waiting.append(part)
            if sum(map(len, waiting)) > _MOST_WAITING:
                waiting = [self._combined(pl.concat(waiting))]
        return self._combined(pl.concat(waiting))

    def _counted(self, events: pl.DataFrame) -> pl.DataFrame:
        frame = events.lazy()
        if self.where is not None:
            frame = frame.filter(self.where)
        if self.explode is not None:
            name = self.explode.meta.output_name()
            frame = frame.with_columns(self.explode).explode(
                name, empty_as_null=False, keep_nulls=False
            )
        grouped = frame.group_by(*self.keys, *self.distinct).agg(*self.partial)
        return grouped.sort(self._partial_keys, nulls_last=True).collect()

    def _combined(self, partials: pl.DataFrame) -> pl.DataFrame:
        """Partials with one row for each combination, within the limit."""
        keys = self._partial_keys
        rows = partials.group_by(keys).agg(*self.combined)
        if self.limit is not None:
            rows, rest = self.limit.split(rows)
            if len(rest):
                one = rest.select(*self.combined)
                rows = pl.concat([rows, one], how="diagonal").select(rows.columns)
        return rows.sort(keys, nulls_last=True)

    @property
    def _partial_keys(self) -> list[str]:
        return [*self.key_names, *(item.meta.output_name() for item in self.distinct)]

    def merge(self, partials: pl.DataFrame, quarantined: int = 0) -> pl.DataFrame:
        """The day's table from the partials of all its hours.

        Args:
            partials: the hours' partials, concatenated in order of time.
            quarantined: quarantined events of the day's landed hours.
        """
        if self.limit is not None:
            partials = self._combined(partials)
        frame = partials.lazy()
        if self.order_by is not None:
            frame = frame.sort(self.order_by, maintain_order=True)
        rest_last = [] if self.limit is None else [pl.col(self.limit.name).is_null()]
        merged = (
            frame.group_by(self.key_names)
            .agg(*self.merged)
            .select([pl.col(name).cast(dtype) for name, dtype in self.schema.items()])
            .sort(
                [*rest_last, *self.descending, *self.key_names],
                descending=[
                    *(False for _ in rest_last),
                    *(True for _ in self.descending),
                    *(False for _ in self.key_names),
                ],
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
