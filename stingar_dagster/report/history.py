"""A day's digest: its numbers and what was seen on it, as small as later days need it.

"Never seen before" means: not on the days that a report looks back, at most `REACH` of them. A day
keeps eight bytes for each value, and at most `MOST_VALUES` of a kind, the most frequent first; so
what a report reads is bounded, however much attackers invent. Not here: what reports make of it
(`facts`).
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.layout import day_of_path
from stingar_dagster.report.tables import read_tables

FORMAT: Final = 1
REACH: Final = timedelta(days=30)
MOST_VALUES: Final = 200_000
MOST_SENSORS: Final = 5_000

KINDS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "credentials": ("daily_credentials", ("username", "password")),
    "commands": ("daily_commands", ("command",)),
    "downloads": ("daily_downloads", ("artifact",)),
    "ports": ("daily_ports", ("dest_port", "transport")),
}
"""What is remembered: the table, and the columns that make a value."""

NUMBERS: Final[dict[str, tuple[str, str]]] = {
    "events": ("daily_summary", "Events"),
    "sources": ("daily_sources", "Source addresses"),
    "sensors": ("daily_sensors", "Sensors"),
    "credentials": ("daily_credentials", "Credentials tried"),
    "downloads": ("daily_downloads", "Links and files fetched"),
}
"""The day's numbers: the table that each is counted in, and its name for people."""

Tables = Mapping[str, pl.DataFrame]


class Digest(msgspec.Struct, frozen=True, kw_only=True):
    """A day as later days remember it.

    Attributes:
        format: version of this structure; another one is made again.
        numbers: as in `NUMBERS`; without those whose table the stream does not have.
        seen: the values of each kind, eight bytes each, ascending.
        cut: kinds of which not all values are there.
        sensors: events of each sensor, the busiest `MOST_SENSORS`.
    """

    format: int = FORMAT
    numbers: dict[str, int]
    seen: dict[str, bytes]
    cut: tuple[str, ...] = ()
    sensors: dict[str, int] = {}


_decode: Final = msgspec.msgpack.Decoder(Digest).decode
_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode


def digest_of(tables: Tables) -> Digest:
    """The digest of a day's tables."""
    values = {kind: values_of(tables, kind) for kind in KINDS if KINDS[kind][0] in tables}
    return Digest(
        numbers=numbers_of(tables),
        seen={
            kind: np.unique(hashes_of(frame[:MOST_VALUES], kind)).tobytes()
            for kind, frame in values.items()
        },
        cut=tuple(kind for kind, frame in values.items() if len(frame) > MOST_VALUES),
        sensors=_sensors(tables),
    )


def numbers_of(tables: Tables) -> dict[str, int]:
    """The day's numbers, as in `NUMBERS`."""
    numbers = {}
    for name, (table, _) in NUMBERS.items():
        if table not in tables:
            continue
        if name == "events":
            numbers[name] = int(tables[table]["events"].sum())
        elif name in KINDS:
            numbers[name] = len(values_of(tables, name))
        else:
            numbers[name] = len(tables[table])
    return numbers


def values_of(tables: Tables, kind: str) -> pl.DataFrame:
    """The distinct values of a kind, the most frequent first: one row each, with `times`."""
    table, columns = KINDS[kind]
    frame = tables[table]
    times = "attempts" if "attempts" in frame.columns else "events"
    others = [name for name in ("first_seen", "sensors") if name in frame.columns]
    return (
        frame.lazy()
        .filter(pl.any_horizontal(pl.col(name).is_not_null() for name in columns))
        .group_by(columns)
        .agg(pl.col(times).sum().alias("times"), *(pl.col(name).first() for name in others))
        .sort("times", *columns, descending=[True] + [False] * len(columns), nulls_last=True)
        .collect()
    )


def hashes_of(values: pl.DataFrame, kind: str) -> NDArray[np.uint64]:
    """Each value's eight bytes; the same in every release."""
    rows = values.select(KINDS[kind][1]).iter_rows()
    encode = msgspec.json.Encoder().encode
    made = b"".join(blake2b(encode(row), digest_size=8).digest() for row in rows)
    return np.frombuffer(made, dtype="<u8")


def encoded(digest: Digest) -> bytes:
    return _encode(digest)


def digests_before(lake: Lake, day: datetime) -> dict[datetime, Digest]:
    """The digests of the days that a report looks back, the oldest first; of days with tables.

    Where one was not kept, or by another release, it is made from the day's tables.
    """
    layout = lake.layout
    # Listed first: of a young lake, most of the days are not there.
    with_tables = _days_in(lake, layout.day_records(lake.stream.tables[0].name))
    days = sorted(earlier for earlier in with_tables if day - REACH <= earlier < day)
    kept = in_parallel(lambda earlier: kept_digest(lake, earlier), days)
    digests = {}
    for earlier, found in zip(days, kept, strict=True):
        digest = found or digest_of(read_tables(lake, earlier))
        if any(digest.numbers.values()):
            digests[earlier] = digest
    return digests


def _days_in(lake: Lake, folder: str) -> set[datetime]:
    return {day_of_path(entry.path) for entry in lake.store.find(folder)}


def kept_digest(lake: Lake, day: datetime) -> Digest | None:
    """The digest that was kept of a day; None where there is none of this release."""
    try:
        digest = _decode(lake.store.read(lake.layout.digest(day)))
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return digest if digest.format == FORMAT else None


def _sensors(tables: Tables) -> dict[str, int]:
    if "daily_sensors" not in tables:
        return {}
    rows = tables["daily_sensors"].select("sensor", "events").rows()
    return dict(rows[:MOST_SENSORS])
