"""An hour's partial aggregates: one object for all daily tables, a zip of one Parquet file a table.

One object, because a day is made from 24 of them: an object for each table would be eight times
as many requests. Of an hour that is published in slices it has a file for each slice and table: so
a slice that is published again takes the others' as they are, and a day still reads 24 objects. Not
here: how partials are counted and merged (`streams.tables`).
"""

import io
import zipfile
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import polars as pl

from stingar_dagster.errors import UnknownFormat
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.segments import digest, encode
from stingar_dagster.lake.slices import WHOLE, Slice

_SUFFIX: Final = ".parquet"
_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold: bytes must depend on the values alone."""


SlicePartials = Mapping[str, bytes]
"""A slice's partial aggregates by table: Parquet."""


def encoded_partials(partials: Mapping[str, pl.DataFrame]) -> SlicePartials:
    """A slice's partial aggregates as they are kept."""
    return {name: encode(frame) for name, frame in partials.items()}


def write_partials(lake: Lake, hour: datetime, slices: Mapping[Slice, SlicePartials]) -> str:
    """Keep an hour's partial aggregates, by slice; returns the object's path."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for piece, partials in sorted(slices.items()):
            folder = "" if piece == WHOLE else f"{piece}/"
            for table in lake.stream.tables:
                info = zipfile.ZipInfo(f"{folder}{table.name}{_SUFFIX}", _NO_TIME)
                archive.writestr(info, partials[table.name])
    data = buffer.getvalue()
    path = lake.layout.partials(hour, f"{digest(data)}.zip")
    lake.store.write(path, data)
    return path


def partials_in(data: bytes, place: str) -> dict[str, list[bytes]]:
    """The Parquet files in an hour's object by table, in order of its slices.

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
