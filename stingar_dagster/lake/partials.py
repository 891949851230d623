"""An hour's partial aggregates: one object for all daily tables, a zip of one Parquet file a table.

One object, because a day is made from 24 of them: an object for each table would be eight times
as many requests. A table with a gap has two files: the hour's rows as they are published, and the
partials of those that may go on in another hour. Not here: how partials are counted and merged
(`streams.tables`), and what a day makes of kept rows (`kept_rows`).
"""

import io
import zipfile
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import polars as pl

from stingar_dagster.errors import UnknownFormat
from stingar_dagster.lake.kept_rows import KeptRows, kept_rows, placed_schema
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.segments import complete, digest, encode, read_frame
from stingar_dagster.streams.tables import DailyTable

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
            for name, member in _members(table, partials[table.name], hour):
                archive.writestr(zipfile.ZipInfo(name + _SUFFIX, _NO_TIME), member)
    data = buffer.getvalue()
    path = lake.layout.partials(hour, f"{digest(data)}.zip")
    lake.store.write(path, data)
    return path


def _members(table: DailyTable, partials: pl.DataFrame, hour: datetime) -> list[tuple[str, bytes]]:
    if table.gap is None:
        return [(table.name, encode(partials))]
    kept = kept_rows(table, partials, hour)
    lines, open_rows = _names_of_kept(table)
    return [(lines, kept.lines), (open_rows, encode(kept.open))]


def _names_of_kept(table: DailyTable) -> tuple[str, str]:
    # Of another form they are not found, and the hour's events are counted again.
    return f"{table.name}.{table.form}.lines", f"{table.name}.{table.form}.open"


def kept_in(
    members: Mapping[str, bytes], table: DailyTable, schema: dict[str, pl.DataType], place: str
) -> KeptRows | None:
    """What an hour keeps of a table with a gap; None where it has nothing in this form.

    Args:
        members: as `partials_in` gives them.
        table: which.
        schema: of its partial aggregates.
        place: where members are from.
    """
    lines, open_rows = (members.get(name) for name in _names_of_kept(table))
    if lines is None or open_rows is None:
        return None
    return KeptRows(lines, complete(read_frame(open_rows, place), placed_schema(schema), place))


def partials_in(data: bytes, place: str) -> dict[str, bytes]:
    """The Parquet bytes in an hour's object by name; tables declared later are not there.

    Raises:
        UnknownFormat: the object is not what `write_partials` writes.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {name.removesuffix(_SUFFIX): archive.read(name) for name in archive.namelist()}
    except zipfile.BadZipFile as error:
        raise UnknownFormat(f"{place} is no zip ({error}); remove it and run again") from error
