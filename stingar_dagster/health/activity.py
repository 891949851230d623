"""Who was heard, by event hour: figures of the hours' records and partial aggregates.

Heard means received: by arrival, a sender whose clock is wrong by less than the weeks that are
looked at, or that delivers once a day, has a pattern as regular as any. One whose clock is wrong by
more stands in hours that nobody looks at, and is not heard. Not here: how it is judged (`silence`,
`duplicates`).
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

import polars as pl

from stingar_dagster.errors import UnknownFormat
from stingar_dagster.health.kept import kept
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.partials import partials_in
from stingar_dagster.lake.publication import read_record
from stingar_dagster.lake.segments import read_frame
from stingar_dagster.streams.norms import Origins

_SENDERS: Final = {
    "sensor": pl.String(),
    "events": pl.Int64(),
    "first_us": pl.Int64(),
    "last_us": pl.Int64(),
}
HEARD: Final = pl.Struct(_SENDERS)
SCHEMA: Final[dict[str, pl.DataType]] = {
    "rows": pl.Int64(),
    "duplicates": pl.Int64(),
    "heard": pl.List(HEARD),
    "left_out": pl.Int64(),
}
"""Besides `KEYS`; `heard` has the senders of the hour's events, with the time each one's first and
last was received, and `left_out` counts those beyond `MOST_SENDERS`."""
MOST_SENDERS: Final = 5000
"""Of an hour that are kept, the busiest: names of senders stand in events, and may be invented."""


def activity(lake: Lake, days: Iterable[datetime]) -> pl.DataFrame:
    """A row for each published event hour of some days."""
    folders = [lake.layout.hour_records("events", day) for day in days]

    def gather(hour: datetime) -> dict[str, Any] | None:
        record = read_record(lake.store, lake.layout.hour_record("events", hour))
        if record is None:
            return None
        heard: list[dict[str, Any]] = []
        left_out = 0
        origins = lake.stream.origins
        path = record.partials_of(origins.table) if origins is not None else None
        if origins is not None and path is not None:
            try:
                data = lake.store.read(path)
                one = isinstance(record.partials, str)  # in format 1 an object is one table's
                members = partials_in(data, path).get(origins.table, []) if one else [data]
                heard, left_out = _heard(members, origins, path)
            except (FileNotFoundError, UnknownFormat):
                return None  # published again meanwhile
        return {
            "rows": record.rows,
            "duplicates": record.duplicates,
            "heard": heard,
            "left_out": left_out,
        }

    return kept(lake, "activity-2.parquet", SCHEMA, folders, gather)


def _heard(
    members: Iterable[bytes], origins: Origins, path: str
) -> tuple[list[dict[str, Any]], int]:
    """An hour's senders, and how many more there were.

    Args:
        members: the partial aggregates of the hour's slices.
        origins: which columns tell who sent an event.
        path: where they were read.
    """
    senders = pl.concat([pl.DataFrame(schema=_SENDERS), *_senders(members, origins, path)])
    if senders["sensor"].is_duplicated().any():  # in several slices
        senders = senders.group_by("sensor", maintain_order=True).agg(
            pl.col("events").sum(), pl.col("first_us").min(), pl.col("last_us").max()
        )
    if len(senders) <= MOST_SENDERS:
        return senders.to_dicts(), 0
    busiest = senders.sort("events", "sensor", descending=[True, False]).head(MOST_SENDERS)
    return busiest.to_dicts(), len(senders) - MOST_SENDERS


def _senders(members: Iterable[bytes], origins: Origins, path: str) -> Iterator[pl.DataFrame]:
    columns = [origins.sensor, "events", *origins.arrived, *origins.logged]
    first, last = (
        pl.coalesce(arrived, logged)
        for arrived, logged in zip(origins.arrived, origins.logged, strict=True)
    )
    for data in members:
        frame = read_frame(data, path, columns)
        frame = frame.with_columns(
            pl.lit(None, dtype=pl.Int64).alias(name)
            for name in columns
            if name not in frame.columns
        )
        yield frame.select(
            pl.col(origins.sensor).cast(pl.String).alias("sensor"),
            pl.col("events").cast(pl.Int64),
            first.alias("first_us"),
            last.alias("last_us"),
        ).filter(pl.col("sensor").is_not_null())
