"""Who was heard, by event hour: figures of the hours' records and partial aggregates.

Heard means received: by arrival, a sender whose clock is wrong or that delivers once a day has a
pattern as regular as any. Not here: how it is judged (`silence`, `duplicates`).
"""

from collections.abc import Iterable
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

HEARD: Final = pl.Struct(
    {
        "sensor": pl.String(),
        "events": pl.Int64(),
        "first_us": pl.Int64(),
        "last_us": pl.Int64(),
    }
)
SCHEMA: Final[dict[str, pl.DataType]] = {
    "rows": pl.Int64(),
    "duplicates": pl.Int64(),
    "heard": pl.List(HEARD),
}
"""Besides `KEYS`; `heard` has every sender of the hour's events, with the time its first and last
was received."""


def activity(lake: Lake, days: Iterable[datetime]) -> pl.DataFrame:
    """A row for each published event hour of some days."""
    folders = [lake.layout.hour_records("events", day) for day in days]

    def gather(hour: datetime) -> dict[str, Any] | None:
        record = read_record(lake.store, lake.layout.hour_record("events", hour))
        if record is None:
            return None
        heard: list[dict[str, Any]] = []
        origins = lake.stream.origins
        path = record.partials_of(origins.table) if origins is not None else None
        if origins is not None and path is not None:
            try:
                data = lake.store.read(path)
                one = isinstance(record.partials, str)  # in format 1 an object is one table's
                member = partials_in(data, path).get(origins.table) if one else data
                heard = _heard(member, origins, path) if member is not None else []
            except (FileNotFoundError, UnknownFormat):
                return None  # published again meanwhile
        return {"rows": record.rows, "duplicates": record.duplicates, "heard": heard}

    return kept(lake, "activity-1.parquet", SCHEMA, folders, gather)


def _heard(data: bytes, origins: Origins, path: str) -> list[dict[str, Any]]:
    columns = [origins.sensor, "events", *origins.arrived, *origins.logged]
    frame = read_frame(data, path, columns)
    frame = frame.with_columns(
        pl.lit(None, dtype=pl.Int64).alias(name) for name in columns if name not in frame.columns
    )
    first, last = (
        pl.coalesce(arrived, logged)
        for arrived, logged in zip(origins.arrived, origins.logged, strict=True)
    )
    return (
        frame.select(
            pl.col(origins.sensor).cast(pl.String).alias("sensor"),
            pl.col("events").cast(pl.Int64),
            first.alias("first_us"),
            last.alias("last_us"),
        )
        .filter(pl.col("sensor").is_not_null())
        .to_dicts()
    )
