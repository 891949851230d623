"""An hour's partial aggregates: one object for all daily tables, a zip of one Parquet file a table.

One object, because a day is made from 24 of them: an object for each table would be eight times
as many requests. Not here: how partials are counted and merged (`streams.tables`).
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

_SUFFIX: Final = ".parquet"
_NO_TIME: Final = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold: bytes must depend on the values alone."""


def write_partials(lake: Lake, hour: datetime, partials: Mapping[str, pl.DataFrame]) -> str:
    """Keep an hour's partial aggregates of every table; returns the object's path.

    Args:
        lake: where it goes.
        hour: the event hour.
        partials: by table (`hours.count_events`).
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for table in lake.stream.tables:
            data = encode(partials[table.name])
            archive.writestr(zipfile.ZipInfo(table.name + _SUFFIX, _NO_TIME), data)
    data = buffer.getvalue()
    path = lake.layout.partials(hour, f"{digest(data)}.zip")
    lake.store.write(path, data)
    return path


def partials_in(data: bytes, place: str) -> dict[str, bytes]:
    """The Parquet bytes in an hour's object by table; tables declared later are not there.

    Raises:
        UnknownFormat: the object is not what `write_partials` writes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name.removesuffix(_SUFFIX): archive.read(name) for name in archive.namelist()}
    except zipfile.BadZipFile as error:
        raise UnknownFormat(f"{place} is no zip ({error}); remove it and run again") from error
