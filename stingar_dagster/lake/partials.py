"""An hour's partial aggregates: one object for all daily tables, a zip of one Parquet file a table.

One object, because a day is made from 24 of them: an object for each table would be eight times
as many requests. Of an hour that is published in slices it has a file for each slice and table: so
a slice that is published again takes the others' as they are, and a day still reads 24 objects. A
table with a gap has two files: a slice's rows as they are published, and the partials of those that
may go on in another slice. Not here: how partials are counted and merged (`streams.tables`), and
what a day makes of kept rows (`kept_rows`).
"""

import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

import polars as pl

from stingar_dagster.errors import UnknownFormat
from stingar_dagster.lake.kept_rows import KeptRows, kept_rows, placed_schema
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.segments import complete, digest, encode, read_frame
from stingar_dagster.lake.slices import WHOLE, Slice
from stingar_dagster.streams.tables import DailyTable

_SUFFIX: Final = ".parquet"
_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold: bytes must depend on the values alone."""


SlicePartials = Mapping[str, bytes]
"""A slice's partial aggregates, Parquet by name: of a table, or of a part of it (`KeptRows`)."""


def encoded_partials(
    tables: Iterable[DailyTable],
    partials: Mapping[str, pl.DataFrame],
    bounds: tuple[datetime, datetime],
) -> SlicePartials:
    """A slice's partial aggregates as they are kept.

    Args:
        tables: whose.
        partials: by table (`hours.count_events`).
        bounds: of the slice (`Slice.bounds`).
    """
    encoded: dict[str, bytes] = {}
    for table in tables:
        frame = partials[table.name]
        if table.gap is None:
            members = [encode(frame)]
        else:
            kept = kept_rows(table, frame, *bounds)
            members = [kept.lines, encode(kept.open)]
        encoded |= zip(_names(table), members, strict=True)
    return encoded


def zipped(slices: Mapping[Slice, SlicePartials]) -> bytes:
    """The object that holds partial aggregates, by slice."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for piece, partials in sorted(slices.items()):
            folder = "" if piece == WHOLE else f"{piece}/"
            for name, member in partials.items():
                archive.writestr(zipfile.ZipInfo(f"{folder}{name}{_SUFFIX}", _NO_TIME), member)
    return buffer.getvalue()


def has_all(tables: Iterable[DailyTable], partials: SlicePartials) -> bool:
    """Whether a slice keeps something of each table: of one that was declared since, or that has
    another form since, it does not."""
    return all(name in partials for table in tables for name in _names(table))


def _names(table: DailyTable) -> tuple[str, ...]:
    if table.gap is None:
        return (table.name,)
    # Of another form they are not found, and events are counted again.
    return f"{table.name}.{table.form}.lines", f"{table.name}.{table.form}.open"


def write_partials(lake: Lake, hour: datetime, slices: Mapping[Slice, SlicePartials]) -> str:
    """Keep an hour's partial aggregates, by slice; returns the object's path."""
    names = [name for table in lake.stream.tables for name in _names(table)]
    data = zipped({piece: {name: held[name] for name in names} for piece, held in slices.items()})
    path = lake.layout.partials(hour, f"{digest(data)}.zip")
    lake.store.write(path, data)
    return path


def kept_in(
    members: Mapping[str, Sequence[bytes]],
    table: DailyTable,
    schema: dict[str, pl.DataType],
    place: str,
) -> list[KeptRows] | None:
    """What an hour keeps of a table with a gap, by slice; None where it has nothing in this form.

    Args:
        members: as `partials_in` gives them.
        table: which.
        schema: of its partial aggregates.
        place: where members are from.
    """
    lines, open_rows = (members.get(name) for name in _names(table))
    if lines is None or open_rows is None:
        return None
    placed = placed_schema(schema)
    return [
        KeptRows(kept, complete(read_frame(rows, place), placed, place))
        for kept, rows in zip(lines, open_rows, strict=True)
    ]


def partials_in(data: bytes, place: str) -> dict[str, list[bytes]]:
    """The Parquet files in an hour's object by name, in order of its slices.

    Tables declared later are not there.

    Raises:
        UnknownFormat: the object is not what `write_partials` writes.
    """
    tables: dict[str, list[bytes]] = {}
    for _, partials in sorted(slices_in(data, place).items()):
        for name, member in partials.items():
            tables.setdefault(name, []).append(member)
    return tables


def slices_in(data: bytes, place: str) -> dict[Slice, dict[str, bytes]]:
    """The same by slice, and by table.

    Raises:
        UnknownFormat: as `partials_in`.
    """
    slices: dict[Slice, dict[str, bytes]] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for path in archive.namelist():
                minutes, _, name = path.rpartition("/")
                first, _, end = minutes.partition("to")
                piece = Slice(int(first), int(end)) if minutes else WHOLE
                slices.setdefault(piece, {})[name.removesuffix(_SUFFIX)] = archive.read(path)
    except zipfile.BadZipFile as error:
        raise UnknownFormat(f"{place} is no zip ({error}); remove it and run again") from error
    return slices
