"""Published daily tables, read back.

Not here: what is made of them (`facts`, `history`).
"""

import io
from datetime import datetime

import polars as pl

from stingar_dagster.lake.lake import Lake, in_parallel


def read_tables(lake: Lake, day: datetime) -> dict[str, pl.DataFrame]:
    """A day's tables by name, with every declared column; one that is not there has no rows.

    Not those of sessions: a hundred thousand rows are a second's work, and no report lists them.
    """
    tables = [table for table in lake.stream.every_table if table.gap is None]
    frames = in_parallel(lambda table: read_table(lake, table.name, day), tables)
    return {table.name: frame for table, frame in zip(tables, frames, strict=True)}


def read_table(lake: Lake, name: str, day: datetime) -> pl.DataFrame:
    """One table of a day."""
    schema = lake.stream.published_table(name).schema
    try:
        data = lake.store.read(lake.layout.daily(name, day))
    except FileNotFoundError:
        data = b""
    return pl.read_ndjson(io.BytesIO(data), schema=schema) if data else pl.DataFrame(schema=schema)
