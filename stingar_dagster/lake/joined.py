"""Days of joined tables: who looked up what another stream has seen.

A day is made without reading its events: what each hour looked up is kept as digests (`looked_up`),
and only slices in which one of what is looked for stands are read, of them only a few columns. What
a slice came to is kept, under a name that tells its segments and what was looked for in it, so a
day that is made every few minutes reads no slice twice for the same.

Of those who looked up one indicator, rows are told of the ones with the least digests, however
often they asked: so those of a day are among those of each of its slices, and a day's rows come out
exactly, in whatever order slices are looked at. Not here: what is looked for (`indicators`), and
the tables of one stream (`daily`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
import numpy as np
import polars as pl

from stingar_dagster.errors import UnknownFormat
from stingar_dagster.lake.daily import hour_records
from stingar_dagster.lake.hours import in_batches, read_slice, table_frame
from stingar_dagster.lake.indicators import OtherTables, read_indicators
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.layout import hour_key, parse_hour
from stingar_dagster.lake.lines import json_lines
from stingar_dagster.lake.looked_up import Digests, found_in_slices, hour_name, slice_name
from stingar_dagster.lake.publication import Draft, Record, publish, read_record, versions
from stingar_dagster.lake.segments import decode, digest, encode
from stingar_dagster.lake.slices import Slice, overlapping
from stingar_dagster.streams.digests import count_of, least_digests, least_of
from stingar_dagster.streams.digests import digest as digest_of
from stingar_dagster.streams.expressions import iso_time
from stingar_dagster.streams.joined import LONGEST, JoinedTable
from stingar_dagster.streams.lookups import looked_up
from stingar_dagster.streams.names import of_each_number

_FORM: Final = "found 1"
"""Of what a slice comes to; raised where it is counted otherwise."""

_FOUND: Final[dict[str, pl.DataType]] = {
    "indicator": pl.String(),
    "who": pl.String(),
    "queries": pl.Int64(),
    "first_us": pl.Int64(),
    "last_us": pl.Int64(),
    "asked": pl.Boolean(),
    "answered": pl.Boolean(),
    "name": pl.String(),
    "answer": pl.String(),
    "resolvers": pl.List(pl.Int64()),
    "clients": pl.List(pl.Int64()),
}
"""A row for each indicator and one who looked it up; and one without the latter for each indicator,
with all its queries and the least digests of who asked."""

_PLACES: Final[dict[str, pl.DataType]] = {
    "hour": pl.String(),
    "first": pl.Int64(),
    "end": pl.Int64(),
    "digests": pl.List(pl.Int64()),
}
"""A row for each slice in which something stands, with the digests of what does."""

_MOST_WAITING: Final = 50_000
"""Rows that wait to be put together."""


def publish_joined(lake: Lake, day: datetime, name: str, *, again: bool = False) -> Record:
    """Publish a day of a joined table; a pure function of the day's events and of what the other
    streams' tables say.

    Args:
        lake: where.
        day: UTC midnight.
        name: the table's.
        again: make it also where its record says that it is made from just that, and read slices
            again of which it is known what they come to.

    Raises:
        Conflict: others kept publishing it.
    """
    layout, store = lake.layout, lake.store
    table = next(table for table in lake.stream.joined if table.name == name)
    path, record_path = layout.daily(name, day), layout.day_record(name, day)
    seen = versions(store, path, record_path)
    record = read_record(store, record_path)
    if not again and record is not None and (seen.published is not None) == bool(record.rows):
        expected = joined_sources(lake, table, day)
        if (record.made_from, record.form) == (expected, table.form if expected else ""):
            return record

    def make() -> Draft:
        # Before the tables: the record must not claim more than the rows show.
        hours = {hour: held for hour, held in hour_records(lake, day).items() if held.rows}
        sources = joined_sources(lake, table, day, hours)
        if not sources:
            return Draft(Record(), None)
        rows = _Day(lake, table, day, again).rows(hours)
        data = json_lines(rows)
        record = Record(made_from=sources, rows=len(rows), size=len(data), form=table.form)
        return Draft(record, data or None)

    return publish(store, path, record_path, make, seen)[0]


def joined_sources(
    lake: Lake,
    table: JoinedTable,
    day: datetime,
    hours: Mapping[datetime, Record] | None = None,
    others: OtherTables | None = None,
) -> tuple[str, ...]:
    """What a day's record is to say that it was made from; nothing where the day has no events.

    Args:
        lake, table, day: which.
        hours: the records of the day's hours, where they were just read.
        others: of other streams, where some were looked at for other days.
    """
    mine = own_sources(lake, hour_records(lake, day) if hours is None else hours)
    return (*mine, *(others or OtherTables(lake)).names(table, day)) if mine else ()


def own_sources(lake: Lake, hours: Mapping[datetime, Record]) -> tuple[str, ...]:
    """The same without other streams."""
    return tuple(hour_name(lake, hour, held) for hour, held in sorted(hours.items()) if held.rows)


@dataclass(frozen=True, slots=True)
class _Place:
    """A slice in which something stands."""

    hour: datetime
    record: Record
    piece: Slice
    digests: Digests


class _Day:
    """A day of a joined table, as it is at one moment."""

    def __init__(self, lake: Lake, table: JoinedTable, day: datetime, again: bool) -> None:
        self._lake = lake
        self._table = table
        self._day = day
        self._again = again
        self._sought = read_indicators(lake, table, day)
        self._texts = dict(zip(self._sought["digest"], self._sought["indicator"], strict=True))
        entries = lake.store.find(lake.layout.found(table.name, day))
        self._kept = {entry.path for entry in entries}
        self._used: set[str] = set()

    def rows(self, hours: Mapping[datetime, Record]) -> pl.DataFrame:
        """The table."""
        places, not_looked_into = self._places(hours)
        found = self._put_together(map(self._of_slice, places))
        for path in self._kept - self._used:
            # Of other segments, or of what else was looked for: whoever needs it makes it again.
            self._lake.store.remove(path)
        return self._told(found, not_looked_into)

    def _places(self, hours: Mapping[datetime, Record]) -> tuple[list[_Place], int]:
        """The slices to be looked into, and how many of what stands in them is not looked for: the
        least telling of very many."""
        if self._sought.is_empty():
            return [], 0
        places = self._hits(hours)
        there = np.unique(np.concatenate([np.zeros(0, np.int64), *(p.digests for p in places)]))
        most = self._table.most_found
        if len(there) <= most:
            return places, 0
        by_rank = self._sought["digest"].to_numpy()
        chosen = by_rank[np.isin(by_rank, there)][:most]
        fewer = (
            _Place(p.hour, p.record, p.piece, p.digests[np.isin(p.digests, chosen)]) for p in places
        )
        return [place for place in fewer if len(place.digests)], len(there) - most

    def _hits(self, hours: Mapping[datetime, Record]) -> list[_Place]:
        """Where what is looked for stands: as it is kept, or compared now.

        Kept, because days that are over are mostly made again for more of what is known already.
        """
        sought = np.sort(self._sought["digest"].to_numpy())
        parts = [*own_sources(self._lake, hours), digest(sought.tobytes())]
        path = self._path("places", parts)
        kept = self._read_kept(path, _PLACES)
        if kept is None:
            rows = [
                (hour_key(hour), piece.first, piece.end, digests.tolist())
                for hour, record in sorted(hours.items())
                for piece, digests in found_in_slices(self._lake, hour, record, sought).items()
            ]
            kept = pl.DataFrame(rows, schema=_PLACES, orient="row")
            self._lake.store.write(path, encode(kept))
        return [
            _Place(
                parse_hour(key),
                hours[parse_hour(key)],
                Slice(first, end),
                np.array(digests, np.int64),
            )
            for key, first, end, digests in kept.iter_rows()
        ]

    def _of_slice(self, place: _Place) -> pl.DataFrame:
        """What a slice comes to: as it is kept, or read now."""
        bounds = f"{self._table.most_of_one} {self._table.revision}"
        parts = [bounds, slice_name(place.record, place.piece), *map(str, place.digests)]
        path = self._path(f"{place.hour:%H}-{place.piece}", parts)
        kept = self._read_kept(path, _FOUND)
        if kept is None:
            kept = self._read(place)
            self._lake.store.write(path, encode(kept))
        return kept

    def _path(self, what: str, parts: list[str]) -> str:
        """Where something is kept that depends on nothing but some texts."""
        name = f"{what}-{digest(msgspec.json.encode([_FORM, *parts]))}.parquet"
        path = self._lake.layout.found(self._table.name, self._day, name)
        self._used.add(path)
        return path

    def _read_kept(self, path: str, schema: dict[str, pl.DataType]) -> pl.DataFrame | None:
        if self._again or path not in self._kept:
            return None
        try:
            return decode(self._lake.store.read(path), schema, path)
        except (FileNotFoundError, UnknownFormat):
            return None

    def _read(self, place: _Place) -> pl.DataFrame:
        """What a slice comes to, from its events.

        Segments are read, not published lines: they are never changed, so what is found is of the
        very events that the hour's record names, also while the hour is published again.
        """
        texts = {self._texts[number] for number in place.digests}
        table = self._table
        names = overlapping(place.record.made_from, place.piece)
        staged = read_slice(self._lake, place.hour, names, place.piece)
        columns = {table.who, table.asked, table.answered, table.through}
        batches = in_batches(self._lake, staged, ("time_us", "enqueued_us", *sorted(columns)))
        return self._put_together(
            self._counted(table_frame(batch, self._lake), texts) for batch in batches
        )

    def _counted(self, events: pl.DataFrame, texts: set[str]) -> pl.DataFrame:
        """What some events come to, not yet put together."""
        table = self._table
        events = events.with_row_index("event")
        asked = events.select(
            "event",
            indicator=_indicator(events[table.asked], texts),
            answer=pl.lit(None, pl.String),
        ).with_columns(asked=True, answered=False)
        answers = events.select("event", answer=table.answered).explode(
            "answer", empty_as_null=False, keep_nulls=False
        )
        answered = (
            answers.with_columns(indicator=_indicator(answers["answer"], texts))
            .filter(pl.col("indicator").is_not_null())
            .select("event", "indicator", "answer", asked=False, answered=True)
        )
        first_answer = pl.col(table.answered).list.first()
        return (
            pl.concat([asked.filter(pl.col("indicator").is_not_null()), answered])
            .group_by("event", "indicator")
            .agg(pl.col("answer").drop_nulls().first(), pl.col("asked", "answered").any())
            .join(events, on="event")
            .filter(pl.col(table.who).is_not_null())
            .select(
                "indicator",
                pl.col(table.who).alias("who"),
                pl.col("time_us"),
                "asked",
                "answered",
                pl.col(table.asked).str.head(LONGEST).alias("name"),
                pl.coalesce("answer", first_answer).str.head(LONGEST).alias("answer"),
                pl.col(table.through).alias("resolver"),
            )
            .pipe(_grouped)
        )

    def _put_together(self, frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
        """What several parts come to: a row for each who is told, and one for each indicator."""
        waiting = [pl.DataFrame(schema=_FOUND)]
        for frame in frames:
            waiting.append(frame)
            if sum(map(len, waiting)) > _MOST_WAITING:
                waiting = [self._merged(pl.concat(waiting))]
        return self._merged(pl.concat(waiting))

    def _merged(self, found: pl.DataFrame) -> pl.DataFrame:
        place = pl.int_range(pl.len()).over("indicator") < self._table.most_of_one
        rows = (
            found.lazy()
            .sort("first_us", "name", "answer", nulls_last=False, maintain_order=True)
            .group_by("indicator", "who")
            .agg(
                pl.col("queries").sum(),
                pl.col("first_us").min(),
                pl.col("last_us").max(),
                pl.col("asked", "answered").any(),
                pl.col("name", "answer").first(),
                *(
                    least_of(pl.col(name).list.explode(empty_as_null=False)).alias(name)
                    for name in ("resolvers", "clients")
                ),
            )
            .with_columns(rank=of_each_number("who", digest_of))
            .sort("indicator", "rank", "who", nulls_last=True)
            .collect()
        )
        told = rows.filter(pl.col("who").is_not_null()).filter(place)
        whole = rows.filter(pl.col("who").is_null())
        return (
            pl.concat([told, whole]).sort("indicator", "who", nulls_last=True).select(list(_FOUND))
        )

    def _told(self, found: pl.DataFrame, not_looked_into: int) -> pl.DataFrame:
        """The table's rows, in order, and within its bounds."""
        table = self._table
        schema = table.schema
        whole = found.filter(pl.col("who").is_null())
        clients = whole.group_by("indicator").agg(
            count_of("clients").alias("unique_clients"), pl.col("queries").sum().alias("all")
        )
        rows = found.filter(pl.col("who").is_not_null())
        told = rows.group_by("indicator").agg(
            pl.col("queries").sum().alias("of those told"), pl.len().alias("told")
        )
        # Of who was not told, that they asked, and how often.
        others = (
            clients.join(told, on="indicator")
            .filter(pl.col("all") > pl.col("of those told"))
            .select("indicator", queries=pl.col("all") - pl.col("of those told"))
        )
        places = [
            pl.when(pl.col(flag)).then(pl.lit(name))
            for flag, name in (("asked", table.asked), ("answered", table.answered))
        ]
        resolvers = rows.group_by("indicator", "who").agg(
            count_of("resolvers").alias("unique_resolvers")
        )
        named = rows.join(resolvers, on=["indicator", "who"]).select(
            "indicator",
            "queries",
            pl.col("who").alias(table.who),
            pl.concat_list(places).list.drop_nulls().alias("found_in"),
            iso_time(pl.col("first_us")).alias("first_query"),
            iso_time(pl.col("last_us")).alias("last_query"),
            pl.col("name").alias("example_name"),
            pl.col("answer").alias("example_answer"),
            "unique_resolvers",
        )
        counted = [item.counted_as for item in table.indicators]
        every = (
            pl.concat([named, others], how="diagonal")
            .join(clients.select("indicator", "unique_clients"), on="indicator")
            .join(self._sought.drop("digest"), on="indicator")
            .sort(
                *(pl.col(name).is_null() for name in counted),
                "unique_clients",
                -pl.col("unique_sensors"),
                pl.col(table.who).is_null(),
                -pl.col("queries"),
                "indicator",
                table.who,
                nulls_last=True,
            )
        )
        kept, beyond = every[: table.most], every[table.most :]
        frames = [pl.DataFrame(schema=schema), kept]
        if not_looked_into or len(beyond):
            not_told = beyond.join(kept, on="indicator", how="anti")["indicator"].n_unique()
            rest = {"queries": beyond["queries"].sum(), "indicators": not_looked_into + not_told}
            frames.append(pl.DataFrame([rest], schema={name: schema[name] for name in rest}))
        return pl.concat(frames, how="diagonal").select(list(schema))


def _grouped(hits: pl.DataFrame) -> pl.DataFrame:
    """Events that hit, by indicator and who asked, and by indicator: rows as in `_FOUND`."""
    ordered = hits.lazy().sort("time_us", "name", "answer", nulls_last=False, maintain_order=True)
    counted = (
        pl.len().cast(pl.Int64).alias("queries"),
        pl.col("time_us").min().alias("first_us"),
        pl.col("time_us").max().alias("last_us"),
        pl.col("asked", "answered").any(),
        pl.col("name", "answer").first(),
    )
    none = pl.lit(None, pl.List(pl.Int64))
    by_who = ordered.group_by("indicator", "who").agg(
        *counted, least_digests("resolver", "resolvers")
    )
    whole = ordered.group_by("indicator").agg(*counted, least_digests("who", "clients"))
    parts = [
        by_who.with_columns(clients=none).select(list(_FOUND)),
        whole.with_columns(who=pl.lit(None, pl.String), resolvers=none).select(list(_FOUND)),
    ]
    return pl.concat(parts).collect()


def _indicator(texts: pl.Series, wanted: set[str]) -> pl.Series:
    """For each text the one of those wanted that it stands for."""
    found = {
        text: value
        for text in texts.drop_nulls().unique()
        if (value := looked_up(text)) in wanted and value is not None
    }
    if not found:
        return pl.Series([None], dtype=pl.String()).new_from_index(0, len(texts))
    return texts.replace_strict(
        list(found), list(found.values()), default=None, return_dtype=pl.String()
    )
