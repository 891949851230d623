"""Search in published events: only objects of the range are read, only lines that may match parsed.

Not here: what is looked for (`query`), and how results are shown (`cli`).
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.lines import joined, split
from stingar_dagster.lake.reader.candidates import candidates
from stingar_dagster.lake.reader.hours import PublishedHour, published_hours, read_ahead
from stingar_dagster.lake.reader.presence import hours_with
from stingar_dagster.lake.reader.query import SOURCE, Query


@dataclass(frozen=True, slots=True)
class Found:
    """What came of one hour.

    Attributes:
        done, total: hours read so far, this one included, and hours to read.
        events: the hour's matches, by time.
    """

    done: int
    total: int
    events: pl.DataFrame


def search(lake: Lake, query: Query, columns: Sequence[str] | None = None) -> Iterator[Found]:
    """The events that match, an hour at a time, by time.

    What is held is a bounded number of objects (`hours.read_ahead`) and an hour's matches. A
    caller that has enough closes the iterator, and nothing more is read.

    Args:
        lake: what is read.
        query: what to look for.
        columns: which columns to return; default: every published one.

    Raises:
        UsageError: the query's condition is no SQL over these columns, or names one that the
            stream does not have; raised before anything is read, or where it fails over an hour's
            values.
    """
    condition = query.condition(lake.stream)
    names = list(lake.stream.schema) if columns is None else list(columns)
    return _search(lake, query, condition, names)


def hours_to_read(lake: Lake, query: Query) -> tuple[list[PublishedHour], list[PublishedHour]]:
    """The published hours of the range, and those of them in which a match can stand."""
    published = published_hours(lake, query.since, query.until)
    if query.source is None:
        return published, published
    return published, hours_with(lake, published, query.source)


def matches(
    lake: Lake, data: bytes, query: Query, condition: pl.Expr, columns: Sequence[str]
) -> pl.DataFrame:
    """An hour's events that match.

    Args:
        lake: whose stream they are of.
        data: the hour's object.
        query: what to look for.
        condition: the query's, and whatever else must hold; it depends on nothing but its row.
        columns: which columns to return.

    Raises:
        UsageError: the condition fails over these values.
    """
    asked = {*condition.meta.root_names(), *([SOURCE] if query.source is not None else [])}
    lines = candidates(data, query)
    try:
        if lines is data and lines:
            # Nothing was told from the bytes: a look at few columns spares the others.
            lines = _narrowed(lake, lines, query, condition, asked)
        events = read_events(lake, lines, asked.union(columns))
        return query.of_source(events).filter(condition).select(columns)
    except pl.exceptions.PolarsError as error:
        if query.where is None:
            raise
        raise query.refused(error) from None


def read_events(lake: Lake, lines: bytes, columns: Iterable[str]) -> pl.DataFrame:
    """Lines as columns of the stream's schema, in its order."""
    wanted = set(columns)
    schema = {name: dtype for name, dtype in lake.stream.schema.items() if name in wanted}
    return pl.read_ndjson(io.BytesIO(lines), schema=schema)


def _search(lake: Lake, query: Query, condition: pl.Expr, columns: list[str]) -> Iterator[Found]:
    _, hours = hours_to_read(lake, query)
    for done, (_, data) in enumerate(read_ahead(lake, hours), 1):
        yield Found(done, len(hours), matches(lake, data, query, condition, columns))


def _narrowed(
    lake: Lake, data: bytes, query: Query, condition: pl.Expr, columns: set[str]
) -> bytes:
    """The lines that match, told from the columns that decide it."""
    events = read_events(lake, data, columns).with_row_index("line")
    kept = query.of_source(events).filter(condition)["line"]
    if len(kept) == len(events):
        return data
    return joined(split(data)[kept]) if len(kept) else b""
