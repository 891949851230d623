"""Sessions over the events of a search, by the rule of the daily table (`streams`).

What is rebuilt of parts of a time and joined again is the same as if it had been rebuilt at once.
Unlike the daily table's, sessions go on over midnight, and their lists are whole. Not here: where
events come from (`search`).
"""

from typing import Final

import polars as pl

from stingar_dagster.streams.expressions import microseconds
from stingar_dagster.streams.stingar_sessions import SESSIONS
from stingar_dagster.streams.stream import Column

_CREDENTIAL: Final = pl.Struct({"username": pl.String(), "password": pl.String()})

COLUMNS: Final = tuple(
    Column("credentials", pl.List(_CREDENTIAL), "User names and passwords tried, in order")
    if column.name == "credentials"
    else Column(column.name, column.dtype, column.meaning)
    for column in SESSIONS.columns
)
"""What a session has, with meanings."""

SCHEMA: Final = {column.name: column.dtype for column in COLUMNS}

NEEDED: Final = (
    "sensor", "src_ip", "src_port", "dest_port", "@timestamp", "app", "protocol", "event_kind",
    "signature", "username", "password", "command", "urls", "hashes", "ssh_version", "kex_hassh",
)  # fmt: skip
"""The published columns that sessions are rebuilt from."""


def sessions(events: pl.LazyFrame) -> pl.LazyFrame:
    """The sessions that some events belong to, by start.

    Args:
        events: with the published columns in `NEEDED`; those that were stamped alike in the order
            in which they are published.
    """
    return events.select(NEEDED).map_batches(
        lambda frame: joined([parts(frame)]), schema=pl.Schema(SCHEMA)
    )


def parts(events: pl.DataFrame) -> pl.DataFrame:
    """Sessions of a stretch of time, to be joined with those of the stretches after it."""
    return SESSIONS.partials(events.with_columns(microseconds("@timestamp").alias("time_us")))


def joined(parts: list[pl.DataFrame]) -> pl.DataFrame:
    """Sessions as they are shown, by start, from their parts in order of time."""
    pair = pl.element().list
    named = pl.struct(pair.get(0).alias("username"), pair.get(1).alias("password"))
    return SESSIONS.merge(pl.concat(parts)).with_columns(
        pl.col("credentials").list.eval(named).cast(SCHEMA["credentials"])
    )
