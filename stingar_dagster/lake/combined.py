"""An hour's partial aggregates, combined from those of its slices and kept.

A day that goes on is rolled up again and again, and most of its hours are over: what their slices
hold need not be read each time. It stands beside the slices' object under the same name, which is
a digest: so it is never out of date. Not here: how partials are combined (`streams.tables`), and
when what nobody needs is removed (`publishing`).
"""

from collections.abc import Mapping, Sequence
from typing import Final

import polars as pl

from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.partials import partials_in, zipped
from stingar_dagster.lake.publication import Record
from stingar_dagster.lake.segments import encode, read_frames
from stingar_dagster.lake.slices import WHOLE

Members = dict[str, list[bytes]]
"""Parquet by name, as `partials_in` gives it."""

_SUFFIX: Final = ".zip"


def combined_path(path: str) -> str:
    """Where an hour's combined partials are kept.

    Args:
        path: of its slices'.
    """
    return f"{path.removesuffix(_SUFFIX)}.hour{_SUFFIX}"


def members_of(
    lake: Lake, records: Sequence[Record], schemas: Mapping[str, dict[str, pl.DataType]]
) -> dict[str, Members]:
    """Hours' partial aggregates by path, as a day needs them; those that are gone are left out.

    Args:
        lake: where.
        records: of the hours.
        schemas: of partial aggregates, by table.
    """
    can_be_combined = any(table.combined for table in lake.stream.tables)
    cut = {
        path
        for record in records
        if can_be_combined and len(record.slices_held()) > 1
        for path in record.partial_paths()
    }
    whole = sorted(set().union(*(record.partial_paths() for record in records)) - cut)
    paths = [*whole, *map(combined_path, cut)]
    read = dict(zip(paths, in_parallel(lambda path: _read(lake, path), paths), strict=True))
    # In format 1 of records an object is one table's.
    tables = {
        path: table
        for record in records
        if isinstance(record.partials, dict)
        for table, path in record.partials.items()
    }
    found = {
        path: {tables[path]: [data]} if path in tables else partials_in(data, path)
        for path in whole
        if (data := read[path]) is not None
    }
    # One after the other: those of many slices are large together.
    for path in sorted(cut):
        members = _of_hour(lake, path, read[combined_path(path)], schemas)
        if members is not None:
            found[path] = members
    return found


def _of_hour(
    lake: Lake, path: str, kept: bytes | None, schemas: Mapping[str, dict[str, pl.DataType]]
) -> Members | None:
    tables = lake.stream.tables
    held = {} if kept is None else partials_in(kept, combined_path(path))
    if all(table.name in held for table in tables):
        return held
    data = _read(lake, path)
    if data is None:
        return held or None
    slices = partials_in(data, path)
    if kept is None:
        combined = {}
        for table in tables:
            if table.combined and table.name in slices:
                pieces = [(piece, path) for piece in slices[table.name]]
                of_hour = table.of_hour(read_frames(pieces, schemas[table.name]))
                combined[table.name] = encode(of_hour)
        lake.store.write(combined_path(path), zipped({WHOLE: combined}))
        held = {name: [member] for name, member in combined.items()}
    return slices | held


def _read(lake: Lake, path: str) -> bytes | None:
    try:
        return lake.store.read(path)
    except FileNotFoundError:
        return None
