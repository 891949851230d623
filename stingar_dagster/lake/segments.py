"""Segments: cleaned events of one (event hour, landed slot), columnar, internal, rebuilt at will.

Where an event hour is published in slices, a segment holds one slice's events.

A segment's name ends with a digest of its content, so a segment is never changed, writing it twice
is harmless, and the ledger says which ones count. Parquet, because its bytes depend on nothing but
the values. Not here: how events become segments (`pipeline`).
"""

import functools
import io
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import IO, Final

import polars as pl

from stingar_dagster.errors import UnknownFormat
from stingar_dagster.lake.layout import hour_key
from stingar_dagster.lake.slices import WHOLE, Slice
from stingar_dagster.storage import Entry, Store
from stingar_dagster.streams import Stream

FORMAT = 1
"""What files of segments and partials hold; raised when it changes, and then part of their names,
such as `....f2.parquet`. A newer one is refused."""

_FORMAT_IN_NAME: Final = re.compile(r"\.f(\d{1,9})\.[a-z]+$")

ORPHAN_AGE = timedelta(hours=6)
"""Longer than any run takes from its first segment to its commit."""

ENGINE_SCHEMA: dict[str, pl.DataType] = {
    "capture": pl.String(),
    "source": pl.String(),
    "sequence": pl.Int64(),
    "sub": pl.Int32(),
    "time_us": pl.Int64(),
    "enqueued_us": pl.Int64(),
}
"""Columns that every segment has; `source` is namespace/hub/partition. Rows are sorted by capture,
sequence and sub, the order in the file deciding between equals."""

IDENTITY: Final = ("source", "sequence", "sub")
"""What tells an event from every other."""


def segment_schema(stream: Stream) -> dict[str, pl.DataType]:
    """Every column that a stream's segments may have."""
    computed = ("@timestamp", "event_id", "enqueued_at")
    return ENGINE_SCHEMA | {n: t for n, t in stream.schema.items() if n not in computed}


def encode(frame: pl.DataFrame) -> bytes:
    """A frame's bytes; columns without any value are left out, so one must have values."""
    # Series by series: a lazy query over a hundred columns costs more than a small segment.
    filled = [column for column in frame if column.null_count() < len(column)]
    buffer = io.BytesIO()
    # Without any column a file would not know how many rows it has.
    kept = filled or frame.get_columns()[:1]
    pl.DataFrame(kept).write_parquet(buffer, compression="lz4", statistics=False)
    return buffer.getvalue()


def decode(data: bytes, schema: dict[str, pl.DataType], name: str = "a segment") -> pl.DataFrame:
    """The columns of the schema, of a frame's bytes.

    Raises:
        UnknownFormat: a newer release wrote it, or it was made when a column had another type
            and its values don't fit.
    """
    return complete(read_frame(data, name, schema), schema, name)


def read_frame(data: bytes, name: str, columns: Iterable[str] | None = None) -> pl.DataFrame:
    """The columns that a frame's bytes hold, of those that are asked for.

    Raises:
        UnknownFormat: a newer release wrote it, or it can't be read.
    """
    _refuse_newer(name)
    try:
        source = io.BytesIO(data)
        if columns is None:
            return pl.read_parquet(source)
        wanted = set(columns)
        held = list(pl.read_parquet_schema(source))
        source.seek(0)
        # One column at least, to know how many rows there are.
        return pl.read_parquet(source, columns=[c for c in held if c in wanted] or held[:1])
    except pl.exceptions.PolarsError as error:
        raise UnknownFormat(
            f"{name} can't be read ({str(error).splitlines()[0]}); run its landed hour again"
        ) from error


def read_frames(
    pieces: Sequence[tuple[bytes, str]], schema: dict[str, pl.DataType]
) -> pl.DataFrame:
    """The columns of the schema, of the bytes of many frames one after the other, with names.

    Of many small ones at once it takes a quarter of the time that they take one by one.

    Raises:
        as `decode`.
    """
    for _, name in pieces:
        _refuse_newer(name)
    try:
        files: list[IO[bytes]] = [io.BytesIO(data) for data, _ in pieces]
        return pl.scan_parquet(
            files, schema=schema, missing_columns="insert", extra_columns="ignore"
        ).collect()
    except pl.exceptions.PolarsError:
        # None of them, or one is of other types, or damaged: by themselves it shows which.
        frames = (decode(data, schema, name) for data, name in pieces)
        return pl.concat([pl.DataFrame(schema=schema), *frames])


def complete(frame: pl.DataFrame, schema: dict[str, pl.DataType], name: str) -> pl.DataFrame:
    """The frame with the schema's columns and types, columns that it lacks being null.

    Raises:
        UnknownFormat: a column had another type, and its values don't fit.
    """
    present = {column.name: column for column in frame}
    columns = []
    for column_name, dtype in schema.items():
        column = present.get(column_name)
        if column is None:
            columns.append(_null(dtype).new_from_index(0, len(frame)).alias(column_name))
        elif column.dtype == dtype:
            columns.append(column)
        else:
            try:
                columns.append(column.cast(dtype))
            except pl.exceptions.PolarsError as error:
                raise UnknownFormat(
                    f"{name} was cleaned with other types of fields; run its landed hour again"
                ) from error
    return pl.DataFrame(columns)


@functools.cache
def _null(dtype: pl.DataType) -> pl.Series:
    """One null; making it anew for every column that is missing takes longer than all the rest."""
    return pl.Series([None], dtype=dtype)


def _refuse_newer(name: str) -> None:
    newer = _FORMAT_IN_NAME.search(name)
    if newer is not None and int(newer[1]) > FORMAT:
        raise UnknownFormat(f"{name} was written by a newer release; upgrade this one")


def segment_name(landed_hour: datetime, slot: int, data: bytes, piece: Slice = WHOLE) -> str:
    """Such as `2022-05-19T17-15-4f0c2b9e8d7a6153.parquet`: landed hour, slot, digest.

    With the minutes of a slice before the digest: `2022-05-19T17-15-05to10-4f0c....parquet`.
    """
    minutes = "" if piece == WHOLE else f"{piece}-"
    return f"{hour_key(landed_hour)}-{slot:02d}-{minutes}{digest(data)}.parquet"


def landed_hour_of(name: str) -> str:
    """The landed hour in a segment's name."""
    return name[:13]


def collect_orphans(store: Store, entries: list[Entry], named: set[str]) -> None:
    """Remove segments that no ledger names and that no run can be about to commit.

    Writing a segment again renews its age, so one that is old was left by a run that died, or was
    superseded.
    """
    cutoff = datetime.now(UTC) - ORPHAN_AGE
    for entry in entries:
        name = entry.path.rsplit("/", 1)[-1]
        old = entry.modified is not None and entry.modified < cutoff
        # Written again since it was listed, it is about to be named.
        if old and name not in named and store.etag(entry.path) == entry.etag:
            store.remove(entry.path)


def digest(data: bytes) -> str:
    return blake2b(data, digest_size=8).hexdigest()
