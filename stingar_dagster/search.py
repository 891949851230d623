"""Search in published events by time, address and condition.

Reads only the objects of the hours asked for, one at a time, so memory is an hour's. Not here:
how results are shown (`cli`).
"""

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import polars as pl

from stingar_dagster.errors import UsageError
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.layout import hour_of_path

HOUR = timedelta(hours=1)
_MILLISECOND: Final = timedelta(milliseconds=1)
_PLAIN: Final = re.compile(r"[0-9A-Za-z.:%]+")
"""Text that stands in JSON as it is."""


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

    Returns:
        hours read, hours in all, and the hour's matches with every published column, by time.

    Raises:
        UsageError: the condition is no SQL over these columns; raised before anything is read,
            or where it fails over an hour's values.
    """
    return _matches(lake, query, _condition(lake, query))


def _matches(
    lake: Lake, query: Query, condition: pl.Expr
) -> Iterator[tuple[int, int, pl.DataFrame]]:
    hours = _hours(lake, query)
    address = query.src_ip if query.src_ip and _PLAIN.fullmatch(query.src_ip) else ""
    for done, hour in enumerate(hours, 1):
        try:
            data = lake.store.read(lake.layout.events(hour))
        except FileNotFoundError:
            continue
        if address.encode() not in data:
            yield done, len(hours), pl.DataFrame(schema=lake.stream.schema)
            continue
        events = pl.read_ndjson(io.BytesIO(data), schema=lake.stream.schema)
        try:
            found = events.filter(condition)
        except pl.exceptions.PolarsError as error:
            raise _not_usable(query, error) from None
        yield done, len(hours), found


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
            raise _not_usable(query, error) from None
        if probe.dtypes != [pl.Boolean]:
            raise UsageError(
                f"--where {query.where!r} is not a condition: it gives no true or false"
            )
        condition &= expression
    return condition


def _not_usable(query: Query, error: pl.exceptions.PolarsError) -> UsageError:
    reason = str(error).splitlines()[0].split("; valid columns")[0]
    return UsageError(
        f"--where {query.where!r}: {reason}; write a SQL condition over the published "
        "columns, such as dest_port = 22 AND event_kind = 'command'"
    )


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
    """As events are stamped; a part of a millisecond counts as the next one, which keeps the
    range half-open over stamps of whole milliseconds."""
    time = time.replace(tzinfo=None)
    rest = timedelta(microseconds=time.microsecond % 1000)
    if rest and time < datetime.max - _MILLISECOND:
        time += _MILLISECOND - rest
    return time.isoformat(timespec="milliseconds") + "Z"
