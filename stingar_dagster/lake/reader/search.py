"""Search in published events: only objects of the range are read, only lines that may match parsed.

Not here: what is looked for (`query`), and how results are shown (`cli`).
"""

import contextlib
import io
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import polars as pl

from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.lines import joined, split
from stingar_dagster.lake.reader.candidates import candidates
from stingar_dagster.lake.reader.hours import PublishedSlice, published_slices, read_ahead
from stingar_dagster.lake.reader.presence import slices_with
from stingar_dagster.lake.reader.query import Query

_TOGETHER: Final = 8
"""Slices whose candidate lines are parsed together, unless they come to more than this:"""
_TOGETHER_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a slice, or of a few slices with few matches; most hours are one slice.

    Attributes:
        done, total: slices read so far, these included, and slices to read.
        events: their matches, by time.
    """

    done: int
    total: int
    events: pl.DataFrame


def search(
    lake: Lake, query: Query, columns: Sequence[str] | None = None
) -> Generator[Found, None, None]:
    """The events that match, by time, one or a few hours at a time.

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


def slices_to_read(lake: Lake, query: Query) -> tuple[list[PublishedSlice], list[PublishedSlice]]:
    """The published slices of the range, and those of them in which a match can stand."""
    published = published_slices(lake, query.since, query.until)
    if query.source is None:
        return published, published
    return published, slices_with(lake, published, query.source)


def matches(
    lake: Lake,
    slices: Sequence[PublishedSlice],
    query: Query,
    condition: pl.Expr,
    columns: Sequence[str],
) -> Generator[Found, None, None]:
    """The events of some slices that match, in order, one or a few slices at a time.

    Args:
        lake: what is read.
        slices: to be read.
        query: what to look for.
        condition: the query's, and whatever else must hold; it depends on nothing but its row.
        columns: which columns to return.

    Raises:
        UsageError: the condition fails over an hour's values.
    """
    of_source = [query.source_column] if query.source is not None else []
    asked = {*condition.meta.root_names(), *of_source}
    wanted = asked.union(columns)

    def found(done: int, lines: bytes) -> Found:
        events = read_events(lake, lines, wanted)
        return Found(done, len(slices), _filtered(events, query, condition, columns))

    waiting: list[bytes] = []
    done = 0
    try:
        with contextlib.closing(read_ahead(lake, slices)) as objects:
            for _, data in objects:
                lines = candidates(data, query)
                if data and lines is data:
                    # Nothing was told from the bytes: a look at few columns spares the others.
                    # An hour may be large, so it is not put together with others.
                    if waiting:
                        yield found(done, b"".join(waiting))
                        waiting = []
                    lines = _narrowed(lake, lines, query, condition, asked)
                    done += 1
                    yield found(done, lines)
                    continue
                done += 1
                waiting.append(lines)
                # Parsing so many columns costs the same for one line as for a thousand.
                if len(waiting) == _TOGETHER or sum(map(len, waiting)) > _TOGETHER_BYTES:
                    yield found(done, b"".join(waiting))
                    waiting = []
            if waiting:
                yield found(done, b"".join(waiting))
    except pl.exceptions.PolarsError as error:
        if query.where is None:
            raise
        raise query.refused(error) from None


def read_events(lake: Lake, lines: bytes, columns: Iterable[str]) -> pl.DataFrame:
    """Lines as columns of the stream's schema, in its order."""
    wanted = set(columns)
    schema = {name: dtype for name, dtype in lake.stream.schema.items() if name in wanted}
    return pl.read_ndjson(io.BytesIO(lines), schema=schema)


def _search(
    lake: Lake, query: Query, condition: pl.Expr, columns: list[str]
) -> Generator[Found, None, None]:
    _, slices = slices_to_read(lake, query)
    yield from matches(lake, slices, query, condition, columns)


def _filtered(
    events: pl.DataFrame, query: Query, condition: pl.Expr, columns: Sequence[str]
) -> pl.DataFrame:
    of_source = query.of_source(events[query.source_column]) if query.source is not None else None
    holds = condition if of_source is None else of_source & condition
    found = events.filter(holds)
    return found if found.columns == list(columns) else found.select(columns)


def _narrowed(
    lake: Lake, data: bytes, query: Query, condition: pl.Expr, columns: set[str]
) -> bytes:
    """The lines that match, told from the columns that decide it."""
    events = read_events(lake, data, columns).with_row_index("line")
    kept = _filtered(events, query, condition, ["line"])["line"]
    if len(kept) == len(events):
        return data
    return joined(split(data)[kept]) if len(kept) else b""
