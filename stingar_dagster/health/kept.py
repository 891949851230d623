"""Figures of hours, gathered once from objects and kept, so that a look at five weeks reads little.

One object of a row an hour, each with the etag of what it was made from: an hour whose object
changed is gathered again, nothing else. It can be lost or damaged at any time: it is only made
again. Not here: which figures (`landings`, `activity`).
"""

import contextlib
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import polars as pl

from stingar_dagster.errors import Conflict, UnknownFormat
from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.layout import hour_of_path
from stingar_dagster.lake.segments import decode, encode
from stingar_dagster.storage import Entry

KEYS: dict[str, pl.DataType] = {"hour": pl.Datetime("us", "UTC"), "etag": pl.String()}


def kept(
    lake: Lake,
    name: str,
    schema: dict[str, pl.DataType],
    folders: Iterable[str],
    gather: Callable[[datetime], dict[str, Any] | None],
) -> pl.DataFrame:
    """The figures of every hour that has an object in `folders`, oldest first.

    Args:
        lake: whose.
        name: of the object that keeps them; another name for another meaning.
        schema: of the figures, without `KEYS`.
        folders: where the hours' objects stand.
        gather: an hour's figures; None where they can't be had now, and are tried next time.
    """
    path, schema = lake.layout.health(name), KEYS | schema
    listed = in_parallel(lake.store.find, folders)
    now = {hour_of_path(entry.path): entry for entries in listed for entry in entries}
    version = lake.store.etag(path)
    before = _read(lake, path, schema)
    good = [_is(now, hour, etag) for hour, etag in zip(before["hour"], before["etag"], strict=True)]
    before_kept = before.filter(pl.Series(good, dtype=pl.Boolean))
    missing = sorted(now.keys() - set(before_kept["hour"]))
    if not missing and len(before_kept) == len(before):
        return before
    rows = [
        {"hour": hour, "etag": now[hour].etag, **figures}
        for hour, figures in zip(missing, in_parallel(gather, missing), strict=True)
        if figures is not None
    ]
    new = pl.DataFrame(rows, schema=schema)
    after = pl.concat([before_kept, new]).sort("hour")
    # Another look may have been faster, and keeps as much.
    with contextlib.suppress(Conflict):
        lake.store.write(path, encode(after), expected=version)
    return after


def _is(now: dict[datetime, Entry], hour: datetime, etag: str) -> bool:
    return hour in now and now[hour].etag == etag


def _read(lake: Lake, path: str, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    try:
        return decode(lake.store.read(path), schema, path)
    except (FileNotFoundError, UnknownFormat):
        return pl.DataFrame(schema=schema)
