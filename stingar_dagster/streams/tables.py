"""The declaration of a daily table: hourly partial aggregates that merge exactly into a day.

A partial groups an hour's events by the table's keys and by what must be counted distinctly over
the day; a day is the partials of its hours, grouped again. Sums, minima, maxima and distinct
counts of grouped values come out exactly as if the day had been counted at once. A table whose
rows senders can invent has a `Limit`, which comes out exactly, too. Not here: where partials are
kept (`lake`), and which tables a stream has (the stream's module).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import blake2b
from typing import Any, Final, Protocol

import polars as pl

_RUN, _ROW = "run of rows", "row of partials"
"""Columns' names that no stream has."""

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
class Picture:
    """Bars of a table's first rows.

    Attributes:
        title: what is drawn.
        labels: columns that name a bar.
        numbers: the column that gives its length, by which rows are sorted.
    """

    title: str
    labels: tuple[str, ...]
    numbers: str


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
    microseconds), and nothing else; events stand in the order in which they are published.

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
        gap: events of the same keys that are further apart in time are rows of their own, as
            sessions are. Keys are then columns' names, partials and merged rows have the same
            columns, `first_us` and `last_us` among them, a partial is what it would be merged by
            itself, and rows stand by `first_us` and then by the keys. None: rows are told by their
            keys alone.
        finished: with a gap, expressions over one merged row, which replace or add columns before
            it is published.
        descending: columns to sort by, largest first, before the keys.
        quarantine_column: where quarantined events of the day's landed hours are counted, in a
            row without keys.
        combined: aggregates over the partials of one combination of `keys` and `distinct` that give
            a partial again. With them an hour that is published in slices is combined once, and a
            day reads no more of it. None with a gap.
        in_any_order: whether partials are the same in whatever order events stand, and `combined`
            those of any parts of them. Then the partials of a slice that gains events are combined
            with those of the new ones; otherwise all of its events are counted again.
        limit: how many names are told; needs `combined`, and no `distinct`. Events are then counted
            a bounded number at a time, and nothing of them is held but the partials.
        order_by: partials are sorted by this column before they are merged, for aggregates that
            look at neighbours.
        most: rows that a slice, an hour and a day keep, those with most events; the events of all
            others are counted in a row without keys. A day's row misses what its key had in slices
            and hours in which it was not among them. None: all are kept, where senders can't invent
            keys.
        picture: what is drawn of it; None: nothing.
        recount: starts a count of the same table that shares nothing with this declaration;
            without one, `stingar verify` can only evaluate the declaration over the whole day.
        revision: raised with every release that makes rows otherwise though their columns are told
            in the same words.
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
    gap: timedelta | None = None
    finished: tuple[pl.Expr, ...] = ()
    descending: tuple[str, ...] = ()
    quarantine_column: str | None = None
    combined: tuple[pl.Expr, ...] = ()
    in_any_order: bool = False
    limit: Limit | None = None
    order_by: str | None = None
    most: int | None = None
    picture: Picture | None = None
    recount: Callable[[], Recount] | None = None
    revision: int = 1

    @property
    def schema(self) -> dict[str, pl.DataType]:
        return {column.name: column.dtype for column in self.columns}

    @property
    def form(self) -> str:
        """A digest of what readers are told of the columns, and the revision: another one in a
        release that makes other rows. Tables in an earlier form are made again when their day is,
        and rows that hours keep of a table with a gap are used in this form only."""
        told = [f"{c.name} {c.dtype} {c.meaning}" for c in self.columns]
        text = "\n".join([*told, f"revision {self.revision}"])
        return blake2b(text.encode(), digest_size=8).hexdigest()

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
        """An hour's partial aggregates, from its events with duplicates removed.

        Args:
            events: in the order in which they are published; with a limit, in any.
        """
        if self.limit is None:
            return self._counted(events)
        starts = range(0, max(len(events), 1), PART)
        return self.gathered(self._counted(events[start : start + PART]) for start in starts)

    def gathered(self, parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
        """Partial aggregates of one stretch of time or several as those of all, for `merge`.

        Args:
            parts: in order of time; one at least.
        """
        if self.limit is None:
            return pl.concat(parts)
        # A number of rows at a time, so that no more is held than that and what is told.
        waiting: list[pl.DataFrame] = []
        for part in parts:
            waiting.append(part)
            if sum(map(len, waiting)) > _MOST_WAITING:
                waiting = [self.of_hour(pl.concat(waiting))]
        return self.of_hour(pl.concat(waiting))

    def holds_all(self, partials: pl.DataFrame) -> bool:
        """Whether partials tell every key of their events."""
        return self.most is None or len(partials) < self.most

    def together(self, parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
        """Partials as if the events of all parts had been counted at once.

        Args:
            parts: of a table `in_any_order`, each of which `holds_all`; one at least.
        """
        return self.of_hour(pl.concat(parts)).select(parts[0].columns)

    def _counted(self, events: pl.DataFrame) -> pl.DataFrame:
        frame = events.lazy()
        if self.where is not None:
            frame = frame.filter(self.where)
        if self.explode is not None:
            name = self.explode.meta.output_name()
            frame = frame.with_columns(self.explode).explode(
                name, empty_as_null=False, keep_nulls=False
            )
        if self.gap is not None:
            runs = self._runs(frame, "time_us", "time_us", self.partial)
            return runs.sort("first_us", *self.key_names, nulls_last=True).collect()
        keys = list(self.keys)
        if self.most is not None:
            frame = self._with_most(frame.with_columns(keys), pl.len())
            keys = [pl.col(name) for name in self.key_names]
        grouped = frame.group_by(*keys, *self.distinct).agg(*self.partial)
        return grouped.sort(self._partial_keys, nulls_last=True).collect()

    def of_hour(self, partials: pl.DataFrame) -> pl.DataFrame:
        """Partials with one row for each combination, within the limit or `most`.

        Args:
            partials: of an hour's slices or of parts of them, concatenated.
        """
        keys = self._partial_keys
        frame = partials.lazy()
        if self.most is not None:
            frame = self._with_most(frame, self._weight)
        rows = frame.group_by(keys).agg(*self.combined).collect()
        if self.limit is not None:
            rows, rest = self.limit.split(rows)
            if len(rest):
                one = rest.select(*self.combined)
                rows = pl.concat([rows, one], how="diagonal").select(rows.columns)
        return rows.sort(keys, nulls_last=True)

    @property
    def _partial_keys(self) -> list[str]:
        return [*self.key_names, *(item.meta.output_name() for item in self.distinct)]

    @property
    def _weight(self) -> pl.Expr:
        """Of partials: how many events they count."""
        return pl.col(self.partial[0].meta.output_name()).sum()

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
        if self.gap is not None:
            return self.finish(self.join(partials))
        if self.limit is not None:
            partials = self.of_hour(partials)
        frame = partials.lazy()
        if self.most is not None:
            frame = self._with_most(frame, self._weight)
        if self.order_by is not None:
            frame = frame.sort(self.order_by, maintain_order=True)
        rest_last = [] if self.limit is None else [pl.col(self.limit.name).is_null()]
        merged = (
            frame.group_by(self.key_names)
            .agg(*self.merged)
            .select(self._published)
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

    def join(self, partials: pl.DataFrame) -> pl.DataFrame:
        """Partials of a table with a gap, those put together between which there is none.

        Args:
            partials: concatenated in order of time.
        """
        # Few rows have a neighbour, and putting rows together costs more than all the rest.
        near = self.have_neighbours(partials)
        rows = pl.concat([partials.filter(~near), self.joined(partials.filter(near))])
        return rows.sort("first_us", *self.key_names, nulls_last=True)

    def have_neighbours(self, partials: pl.DataFrame) -> pl.Series:
        """Which partials are to be put together with others.

        Args:
            partials: concatenated in order of time.
        """
        keys = self.key_names
        marks = partials.select(*keys, "first_us", "last_us").with_row_index(_ROW)
        recurring = marks.filter(marks.select(keys).to_struct().is_duplicated())
        runs = self._numbered(recurring.lazy(), "first_us", "last_us").select(_ROW, _RUN).collect()
        near = runs.filter(runs[_RUN].is_duplicated())[_ROW]
        return marks.select(pl.col(_ROW).is_in(near.implode())).to_series()

    def joined(self, partials: pl.DataFrame, *besides: pl.Expr) -> pl.DataFrame:
        """Partials that have neighbours put together.

        Args:
            partials: concatenated in order of time.
            besides: more aggregates over the partials of one row, in order of time.
        """
        runs = self._runs(partials.lazy(), "first_us", "last_us", (*self.merged, *besides))
        return runs.select(partials.columns).collect()

    def finish(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Merged rows of a table with a gap as they are published."""
        return rows.lazy().with_columns(*self.finished).select(self._published).collect()

    @property
    def _published(self) -> list[pl.Expr]:
        return [pl.col(name).cast(dtype) for name, dtype in self.schema.items()]

    def _runs(
        self, frame: pl.LazyFrame, first: str, last: str, aggregates: tuple[pl.Expr, ...]
    ) -> pl.LazyFrame:
        """Rows of the same keys put together, as far as no gap lies between them.

        Args:
            frame: rows that begin and end at two moments; of those with the same keys none begins
                before an earlier one ends.
            first, last: the columns with these moments, in epoch microseconds.
            aggregates: over the rows that are put together, which stand in order of time.
        """
        keys = [pl.col(key).first() for key in self.key_names]
        runs = self._numbered(frame, first, last).group_by(_RUN, maintain_order=True)
        return runs.agg(*keys, *aggregates).drop(_RUN)

    def _numbered(self, frame: pl.LazyFrame, first: str, last: str) -> pl.LazyFrame:
        """The rows of a frame, as for `_runs`, in order of keys and time, each with its run."""
        keys = self.key_names
        gap_us = self.gap // timedelta(microseconds=1) if self.gap is not None else 0
        ordered = frame.sort([*keys, first], nulls_last=True, maintain_order=True)
        same = pl.all_horizontal(pl.col(key).eq_missing(pl.col(key).shift(1)) for key in keys)
        near = pl.col(first) - pl.col(last).shift(1) <= gap_us
        opens = ~(same & near).fill_null(False)
        return ordered.with_columns(opens.cast(pl.UInt32).cum_sum().alias(_RUN))
