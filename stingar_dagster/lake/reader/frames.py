"""What `from stingar_dagster import lake` offers analysts: lazy frames over what is published.

    from stingar_dagster import lake

    events = lake.events("2026-05-19", "2026-05-26", event_kind="command")
    events.group_by("command").len().sort("len", descending=True).collect()

Frames are lazy. Of a range only its objects are read, when a frame is collected, an hour at a time;
columns that nobody asks for are not parsed, `filter` is applied before the others are, and `head`
at the beginning of a query stops the reading. What is given as an argument, such as `src_ip`, is
faster than the same `filter`: whole hours are passed over by the daily tables, or by a look at
their bytes.

Columns and types are those of the declared schema, whatever the first lines hold. Where the lake
is comes from `STINGAR_LAKE`, in the environment or in `.env`, or from the argument `url`. Times are
UTC; ranges are half-open. Not here: how matches are found (`search`).
"""

import io
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Final

import polars as pl
from polars.io.plugins import register_io_source

from stingar_dagster.errors import UsageError
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.layout import hour_of_path, parse_hour
from stingar_dagster.lake.quarantine import SCHEMA as _QUARANTINE
from stingar_dagster.lake.reader import origins
from stingar_dagster.lake.reader.hours import DAY, HOUR, read_if_there
from stingar_dagster.lake.reader.query import SOURCE, Query, utc
from stingar_dagster.lake.reader.search import matches, slices_to_read
from stingar_dagster.settings import load_settings
from stingar_dagster.storage import open_store
from stingar_dagster.streams import STREAMS, Stream

if TYPE_CHECKING:
    from stingar_dagster.lake.reader.profile import Profile

Time = datetime | date | str
"""A moment: without a zone UTC; a date is its first moment; text is ISO 8601."""

Schema = dict[str, pl.DataType]

_STREAM: Final = "stingar"
_ORIGIN: Final = "origin of an address"
"""A column's name that no stream has."""


def events(
    since: Time,
    until: Time,
    *,
    src_ip: str | None = None,
    network: str | None = None,
    dest_port: int | Collection[int] = (),
    sensor: str | Collection[str] = (),
    app: str | Collection[str] = (),
    event_kind: str | Collection[str] = (),
    username: str | None = None,
    password: str | None = None,
    command: str | None = None,
    where: str | None = None,
    enrich: bool = False,
    url: str | None = None,
    stream: str = _STREAM,
) -> pl.LazyFrame:
    """Published events, by time, with the declared columns and types.

    Args:
        since, until: half-open range of the events' own time.
        src_ip: source address, or client's, IPv4 or IPv6, in any of its spellings.
        network: source addresses of a network, such as "203.0.113.0/24".
        dest_port, sensor, app, event_kind: one value, or several of which an event has one.
        username, password: of a login attempt, exactly.
        command: text that stands in the command line, upper or lower case of ASCII letters alike.
        where: condition in SQL over the columns.
        enrich: whether to add country and network operator of the source (see `enrich`).
        url: where the lake is; default: STINGAR_LAKE.
        stream: whose events.

    Returns:
        a frame that reads the lake as it is whenever it is collected.

    Raises:
        UsageError: an argument can't be used.
        SettingsError: the lake, or a database of origins, can't be found or read.
        StoreUnavailable, StoreDenied: the lake can't be read; raised when the frame is collected.
    """
    query = Query(
        moment(since), moment(until), src_ip, network,
        (dest_port,) if isinstance(dest_port, int) else tuple(dest_port), _several(sensor),
        _several(app), _several(event_kind), username, password, command, where,
    )  # fmt: skip
    lake = open_lake(url, stream)
    query = replace(query, source_column=lake.stream.source or query.source_column)
    condition = query.condition(lake.stream)

    def source(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        names = list(lake.stream.schema) if with_columns is None else with_columns
        _, slices = slices_to_read(lake, query)
        # Of a filter behind `head`, polars hands over both: rows count before they are filtered.
        later = predicate if n_rows is not None else None
        holds = condition if predicate is None or n_rows is not None else condition & predicate
        asked = _with_roots(names, later)
        read = (found.events for found in matches(lake, slices, query, holds, asked))
        return _narrowed(_head(read, n_rows), later, names)

    found = register_io_source(source, schema=lake.stream.schema, explain_name="events")
    return _with_origins(found, SOURCE) if enrich else found


def daily(
    table: str, since: Time, until: Time, *, url: str | None = None, stream: str = _STREAM
) -> pl.LazyFrame:
    """A daily table over several days, with the column `date` (pl.Date) before its own.

    Args:
        table: its name, such as "daily_credentials" (see `tables`).
        since, until: half-open range; a day counts if a part of it lies within.
        url: where the lake is; default: STINGAR_LAKE.
        stream: whose table.

    Raises:
        UsageError: there is no such table, or the range is none.
        SettingsError: the lake can't be found.
    """
    query = Query(moment(since), moment(until))
    lake = open_lake(url, stream)
    names = [known.name for known in lake.stream.every_table]
    if table not in names:
        raise UsageError(f"there is no daily table {table!r}; there are {', '.join(names)}")
    schema = lake.stream.published_table(table).schema

    def days() -> Iterator[tuple[pl.Expr, bytes]]:
        for entry in lake.store.find(lake.layout.all_of_daily(table)):
            day = parse_hour(f"{entry.path.rsplit('date=', 1)[1][:10]}T00")
            if day + DAY > query.since and day < query.until:
                yield pl.lit(day.date()).alias("date"), read_if_there(lake, entry)

    return _lines({"date": pl.Date()} | schema, schema, days, table)


def quarantine(
    since: Time, until: Time, *, url: str | None = None, stream: str = _STREAM
) -> pl.LazyFrame:
    """What could not become an event, by the hour it landed in.

    Args:
        since, until: half-open range; a landed hour counts if a part of it lies within.
        url: where the lake is; default: STINGAR_LAKE.
        stream: whose quarantine.

    Returns:
        a frame with the column `landed_hour` (pl.Datetime, UTC) before those of the published
        quarantine; `body` is base64 text.

    Raises:
        UsageError: the range is none.
        SettingsError: the lake can't be found.
    """
    query = Query(moment(since), moment(until))
    lake = open_lake(url, stream)
    hour_type = pl.Datetime("us", "UTC")

    def hours() -> Iterator[tuple[pl.Expr, bytes]]:
        for entry in lake.store.find(lake.layout.all_quarantine):
            hour = hour_of_path(entry.path)
            if hour + HOUR > query.since and hour < query.until:
                yield pl.lit(hour, dtype=hour_type).alias("landed_hour"), read_if_there(lake, entry)

    return _lines({"landed_hour": hour_type} | _QUARANTINE, _QUARANTINE, hours, "quarantine")


def ip(
    address: str,
    since: Time | None = None,
    until: Time | None = None,
    *,
    url: str | None = None,
    stream: str = _STREAM,
) -> "Profile":
    """Everything that is published of a source address or network; see `Profile`.

    Args:
        address: IPv4 or IPv6, an address or a network (CIDR).
        since, until: half-open range of the events' own time; default: everything published.
        url: where the lake is; default: STINGAR_LAKE.
        stream: whose events.

    Raises:
        UsageError: `address` is neither, or the range is none.
        SettingsError: the lake can't be found.
        StoreUnavailable, StoreDenied: the lake can't be read.
    """
    from stingar_dagster.lake.reader.profile import profile

    return profile(
        open_lake(url, stream),
        address,
        None if since is None else moment(since),
        None if until is None else moment(until),
        origins=origins.databases(load_settings().geo),
    )


def enrich(frame: pl.LazyFrame | pl.DataFrame, column: str = SOURCE) -> pl.LazyFrame:
    """A frame with where its addresses come from, by the MMDB files that STINGAR_GEO names.

    Columns `src_country`, `src_asn`, `src_as_org` and `geo_database` are added
    (`reader.origins.COLUMNS`), the last one with names and build dates of the databases that said
    so. They are worked out when the frame is collected, and only if they are asked for.

    Args:
        frame: of events, or a daily table such as `daily_sources` or `daily_sessions`.
        column: its column of addresses.

    Raises:
        UsageError: STINGAR_GEO is not set, or there is no such column.
        SettingsError: a file can't be read; also raised when the frame is collected.
    """
    return _with_origins(frame.lazy(), column)


def sessions(events: pl.LazyFrame | pl.DataFrame) -> pl.LazyFrame:
    """The sessions that some events belong to, by start; see `reader.sessions.COLUMNS`.

    Args:
        events: of `events`, with all columns, perhaps filtered by source, sensor or time.
    """
    from stingar_dagster.lake.reader import sessions as rebuilding

    return rebuilding.sessions(events.lazy())


def tables(*, stream: str = _STREAM) -> dict[str, str]:
    """The daily tables by name, with what a row of each means."""
    return {table.name: table.meaning for table in _stream(stream).every_table}


def open_lake(url: str | None = None, stream: str = _STREAM) -> Lake:
    """A stream's part of the lake at `url`, or of the one that the settings name.

    Raises:
        SettingsError: the address or its credentials can't be used.
        UsageError: there is no such stream.
    """
    place = load_settings().lake if url is None else url
    return Lake(open_store(place, "STINGAR_LAKE"), _stream(stream))


def moment(time: Time) -> datetime:
    """A time as a datetime in UTC.

    Raises:
        UsageError: it is none.
    """
    if isinstance(time, str):
        text = time
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            raise UsageError(
                f"{text[:60]!r} is not a time; write it like 2022-05-19 or 2022-05-19T17:00"
            ) from None
    if not isinstance(time, datetime):
        time = datetime(time.year, time.month, time.day)
    return utc(time)


def _with_origins(frame: pl.LazyFrame, column: str) -> pl.LazyFrame:
    known = origins.wanted(load_settings().geo)
    if column not in frame.collect_schema():
        raise UsageError(f"the frame has no column {column!r} of addresses to look up")
    found = pl.col(column).map_batches(
        known.of, return_dtype=pl.Struct(origins.SCHEMA), is_elementwise=True
    )
    columns = [pl.col(_ORIGIN).struct.field(name) for name in origins.SCHEMA]
    return frame.with_columns(found.alias(_ORIGIN)).with_columns(columns).drop(_ORIGIN)


def _stream(name: str) -> Stream:
    if name not in STREAMS:
        raise UsageError(f"there is no stream {name!r}; there are {', '.join(STREAMS)}")
    return STREAMS[name]


def _several(values: str | Collection[str]) -> tuple[str, ...]:
    return (values,) if isinstance(values, str) else tuple(values)


def _lines(
    schema: Schema,
    written: Schema,
    objects: Callable[[], Iterator[tuple[pl.Expr, bytes]]],
    name: str,
) -> pl.LazyFrame:
    """A lazy frame over objects of JSON lines, each with a value of its own before its columns.

    Args:
        schema: of the frame.
        written: of the lines.
        objects: each one's value and bytes.
        name: for query plans.
    """

    def source(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        names = list(schema) if with_columns is None else with_columns
        asked = _with_roots(names, predicate)
        # At least one: lines have to be counted.
        columns = [name for name in written if name in asked] or list(written)[:1]
        parsed = {name: written[name] for name in columns}
        frames = (
            pl.read_ndjson(io.BytesIO(data), schema=parsed).with_columns(value).select(asked)
            for value, data in objects()
        )
        return _narrowed(_head(frames, n_rows), predicate, names)

    return register_io_source(source, schema=schema, explain_name=name)


def _with_roots(names: list[str], predicate: pl.Expr | None) -> list[str]:
    """Columns, and those that a predicate looks at."""
    roots = [] if predicate is None else predicate.meta.root_names()
    return list(dict.fromkeys([*names, *roots]))


def _narrowed(
    frames: Iterable[pl.DataFrame], predicate: pl.Expr | None, names: list[str]
) -> Iterator[pl.DataFrame]:
    for frame in frames:
        yield (frame if predicate is None else frame.filter(predicate)).select(names)


def _head(frames: Iterable[pl.DataFrame], n_rows: int | None) -> Iterator[pl.DataFrame]:
    """Frames, up to so many rows; no more is asked for than that takes."""
    left = n_rows
    for frame in frames:
        if left is not None:
            frame = frame.head(left)
            left -= len(frame)
        yield frame
        if left == 0:
            return
