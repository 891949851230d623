"""What another stream's daily tables name that may be looked up, with what they tell of it.

Read from what is published: the other stream's declaration is not needed, nor that it is there at
all. Not here: where it was looked up (`looked_up`, `joined`).
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import polars as pl

from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.layout import Layout, day_of_path
from stingar_dagster.lake.publication import Record, read_record
from stingar_dagster.lake.segments import digest
from stingar_dagster.streams.digests import digest as digest_of
from stingar_dagster.streams.joined import (
    LONGEST,
    MOST_SENSORS,
    TEXT,
    Indicators,
    JoinedTable,
)

DAY: Final = timedelta(days=1)
_FIRST_DAY: Final = datetime.min.replace(tzinfo=UTC)

_READ: Final = {
    "events": pl.Int64(),
    "sensors": pl.List(pl.String()),
    "first_seen": pl.String(),
    "last_seen": pl.String(),
}
"""Columns of the other stream's tables that are read besides that of the indicator."""


@dataclass(frozen=True, slots=True)
class OtherTables:
    """Which versions of other streams' tables there are, each looked at once.

    Args:
        lake: the stream's; the others stand beside it.
    """

    lake: Lake
    _listed: dict[tuple[str, str], set[datetime]] = field(default_factory=dict)
    _names: dict[tuple[str, str, datetime], str] = field(default_factory=dict)

    def names(self, table: JoinedTable, day: datetime) -> tuple[str, ...]:
        """What a day's record says of the other streams' tables that it was made from: of the day
        itself and the days before, as far as they are published."""
        wanted = [
            (*other, other_day)
            for other in table.others
            for other_day in days_of(table, day)
            if other_day in self._days(*other)
        ]
        missing = [key for key in wanted if key not in self._names]
        self._names.update(zip(missing, in_parallel(self._name, missing), strict=True))
        return tuple(name for key in wanted if (name := self._names[key]))

    def _days(self, stream: str, table: str) -> set[datetime]:
        if (stream, table) not in self._listed:
            entries = self.lake.store.find(Layout(stream).day_records(table))
            self._listed[stream, table] = {day_of_path(entry.path) for entry in entries}
        return self._listed[stream, table]

    def _name(self, key: tuple[str, str, datetime]) -> str:
        stream, table, day = key
        record = read_record(self.lake.store, Layout(stream).day_record(table, day)) or Record()
        if not record.rows:
            return ""
        made_from = digest(msgspec.json.encode([record.made_from, record.form]))
        return f"{stream}/{table}/{day:%Y-%m-%d} {made_from}"


def is_of_others(name: str) -> bool:
    """Whether a name in a record is one of `OtherTables.names`."""
    return "/" in name


def days_of(table: JoinedTable, day: datetime) -> list[datetime]:
    """The days of which other streams' tables are read, in order."""
    back = min(table.days_before, (day - _FIRST_DAY).days)
    return [day - number * DAY for number in range(back, -1, -1)]


def read_indicators(lake: Lake, table: JoinedTable, day: datetime) -> pl.DataFrame:
    """What is looked for on a day, the most telling first: at most `most_sought` rows.

    Returns:
        `indicator`, its `digest` (Int64), and the columns of the joined table that tell of the
        other stream.
    """
    schema = _schema(table)
    frames = [pl.DataFrame(schema=schema | {"example_seen": pl.String()})]
    frames += _of_days(lake, table, day)
    counted = [item.counted_as for item in table.indicators]
    found = (
        pl.concat(frames, how="diagonal")
        .lazy()
        .group_by("indicator")
        .agg(
            # Of what was not seen so, there is no number.
            *(pl.when(pl.col(n).count() > 0).then(pl.col(n).sum()).alias(n) for n in counted),
            pl.col("sensors").list.explode(empty_as_null=False).drop_nulls().unique().sort(),
            pl.col("first_seen").min(),
            pl.col("last_seen").max(),
            pl.col("example_seen").min(),
        )
        .with_columns(unique_sensors=pl.col("sensors").list.len().cast(pl.Int64))
        .sort(
            *(pl.col(name).is_null() for name in counted),
            -pl.col("unique_sensors"),
            -pl.sum_horizontal(counted),
            "indicator",
        )
        .head(table.most_sought)
        .collect()
    )
    seen_as = [
        pl.when(pl.col(item.counted_as).is_not_null()).then(pl.lit(item.seen_as))
        for item in table.indicators
    ]
    digests = pl.Series([digest_of(text) for text in found["indicator"]], dtype=pl.Int64())
    return found.with_columns(
        digests.alias("digest"),
        pl.concat_list(seen_as).list.drop_nulls().alias("seen_as"),
        pl.col("sensors").list.head(MOST_SENSORS).list.eval(pl.element().str.head(LONGEST)),
        pl.col("example_seen").str.head(LONGEST),
    ).select(list(schema))


def _schema(table: JoinedTable) -> dict[str, pl.DataType]:
    told = ("indicator", "seen_as", *(item.counted_as for item in table.indicators))
    told += ("unique_sensors", "sensors", "first_seen", "last_seen", "example_seen")
    return {name: table.schema[name] for name in told} | {"digest": pl.Int64()}


def _of_days(lake: Lake, table: JoinedTable, day: datetime) -> Iterator[pl.DataFrame]:
    """What each of the other streams' tables says of each indicator, one after the other."""
    for item in table.indicators:
        for other_day in days_of(table, day):
            yield _of_day(lake, item, other_day)


def _of_day(lake: Lake, item: Indicators, day: datetime) -> pl.DataFrame:
    schema = {item.column: pl.String(), **_READ}
    try:
        data = lake.store.read(Layout(item.stream).daily(item.table, day))
    except FileNotFoundError:
        data = b""
    frame = pl.read_ndjson(io.BytesIO(data), schema=schema) if data else pl.DataFrame(schema=schema)
    found = pl.Series([item.of(text) if text else None for text in frame[item.column]], dtype=TEXT)
    example = pl.col(item.column) if item.is_example else pl.lit(None, dtype=TEXT)
    return (
        frame.with_columns(found.alias("indicator"))
        .filter(pl.col("indicator").is_not_null())
        .select(
            "indicator",
            pl.col("events").alias(item.counted_as),
            "sensors",
            "first_seen",
            "last_seen",
            example.alias("example_seen"),
        )
    )
