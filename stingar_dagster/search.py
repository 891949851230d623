"""Search in published events by time, address and condition.

Reads only the objects of the hours asked for, one at a time, so memory is an hour's. Not here:
how results are shown (`cli`).
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from stingar_dagster.errors import UsageError
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.layout import hour_of_path

HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Query:
    """What to look for.

    Attributes:
        since, until: half-open range of the events' own time (UTC).
        src_ip: exact source address.
        where: condition in SQL over the published columns.
    """

    since: datetime
    until: datetime
    src_ip: str | None = None
    where: str | None = None


def search(lake: Lake, query: Query) -> Iterator[tuple[int, int, pl.DataFrame]]:
    """The events that match, an hour at a time.

    Yields:
        hours read, hours in all, and the hour's matches with every published column, by time.

    Raises:
        UsageError: the condition is no SQL over these columns.
    """
    condition = _condition(lake, query)
    hours = _hours(lake, query)
    for done, hour in enumerate(hours, 1):
        try:
            data = lake.store.read(lake.layout.events(hour))
        except FileNotFoundError:
            continue
        if query.src_ip is not None and query.src_ip.encode() not in data:
            yield done, len(hours), pl.DataFrame(schema=lake.stream.schema)
            continue
        events = pl.read_ndjson(io.BytesIO(data), schema=lake.stream.schema)
        yield done, len(hours), events.filter(condition)


def _condition(lake: Lake, query: Query) -> pl.Expr:
    time = pl.col("@timestamp")
    # ISO 8601 with Z sorts like the times it stands for.
    condition = (time >= _text(query.since)) & (time < _text(query.until))
    if query.src_ip is not None:
        condition &= pl.col("src_ip") == query.src_ip
    if query.where is not None:
        try:
            expression = pl.sql_expr(query.where)
            probe = pl.DataFrame(schema=lake.stream.schema).select(expression)
        except pl.exceptions.PolarsError as error:
            reason = str(error).splitlines()[0].split("; valid columns")[0]
            raise UsageError(
                f"--where {query.where!r}: {reason}; write a SQL condition over the published "
                "columns, such as dest_port = 22 AND event_kind = 'command'"
            ) from None
        if probe.dtypes != [pl.Boolean]:
            raise UsageError(
                f"--where {query.where!r} is not a condition: it gives no true or false"
            )
        condition &= expression
    return condition


def _hours(lake: Lake, query: Query) -> list[datetime]:
    """Published hours of the range, found by listing its days."""
    hours: list[datetime] = []
    day = query.since.replace(hour=0, minute=0, second=0, microsecond=0)
    if query.until - day > timedelta(days=62):
        entries = lake.store.find(f"{lake.stream.name}/events")
        hours = [hour_of_path(entry.path) for entry in entries]
    else:
        while day < query.until:
            folder = lake.layout.events(day).rsplit("/", 2)[0]
            hours += [hour_of_path(entry.path) for entry in lake.store.find(folder)]
            day += timedelta(days=1)
    return [hour for hour in hours if hour + HOUR > query.since and hour < query.until]


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03d}Z"
