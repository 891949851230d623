"""A day's digest: its numbers and what was seen on it, as small as later days need it.

"Never seen before" means: not on the days that a report looks back, at most `REACH` of them. A day
keeps eight bytes for each value, and at most `MOST_VALUES` of a kind, the most frequent first; so
what a report reads is bounded, however much attackers invent. Not here: what reports make of it
(`facts`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final, TypeVar

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from stingar_dagster.lake.daily import REACH, report_record
from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.layout import day_of_path
from stingar_dagster.report.tables import read_tables

FORMAT: Final = 1
MOST_VALUES: Final = 200_000
MOST_SENSORS: Final = 5_000

KINDS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "credentials": ("daily_credentials", ("username", "password")),
    "commands": ("daily_commands", ("command",)),
    "downloads": ("daily_downloads", ("artifact",)),
    "ports": ("daily_ports", ("dest_port", "transport")),
    "domains": ("daily_names", ("registered_domain",)),
}
"""What is remembered: the table, and the columns that make a value."""

NUMBERS: Final[dict[str, tuple[str, str]]] = {
    "events": ("daily_summary", "Events"),
    "sources": ("daily_sources", "Source addresses"),
    "sensors": ("daily_sensors", "Sensors"),
    "credentials": ("daily_credentials", "Credentials tried"),
    "downloads": ("daily_downloads", "Links and files fetched"),
    "domains": ("daily_names", "Registered domains asked for"),
}
"""The day's numbers: the table that each is counted in, and its name for people."""

Tables = Mapping[str, pl.DataFrame]


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """A day as the reports of the next seven days remember it: any late event changes it.

    Attributes:
        format: version of this structure; another one is made again.
        numbers: as in `NUMBERS`; without those whose table the stream does not have.
        sensors: events of each sensor, the busiest `MOST_SENSORS`.
    """

    format: int = FORMAT
    numbers: dict[str, int]
    sensors: dict[str, int] = {}


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A day as the reports of the next 30 days remember it: only what was not seen yet changes it.

    Attributes:
        format: version of this structure; another one is made again.
        seen: the values of each kind, eight bytes each, ascending.
        cut: kinds of which not all values are there.
        has_events: whether the day counts as one that is known.
    """

    format: int = FORMAT
    has_events: bool
    seen: dict[str, bytes]
    cut: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Digest:
    """A day as later days remember it; without numbers where only what was seen is asked for."""

    counted: Numbers
    remembered: Seen

    @property
    def numbers(self) -> dict[str, int]:
        return self.counted.numbers

    @property
    def sensors(self) -> dict[str, int]:
        return self.counted.sensors

    @property
    def seen(self) -> dict[str, bytes]:
        return self.remembered.seen

    @property
    def cut(self) -> tuple[str, ...]:
        return self.remembered.cut

    def encoded(self) -> dict[str, bytes]:
        """The objects that are kept of it, by part."""
        return {"numbers": _encode(self.counted), "seen": _encode(self.remembered)}


Part = TypeVar("Part", Numbers, Seen)

_NO_NUMBERS: Final = Numbers(numbers={})
_decode_numbers: Final = msgspec.msgpack.Decoder(Numbers).decode
_decode_seen: Final = msgspec.msgpack.Decoder(Seen).decode
_encode: Final = msgspec.msgpack.Encoder(order="deterministic").encode


def digest_of(tables: Tables) -> Digest:
    """The digest of a day's tables."""
    values = {kind: values_of(tables, kind) for kind in KINDS if KINDS[kind][0] in tables}
    numbers = numbers_of(tables)
    remembered = Seen(
        has_events=any(numbers.values()),
        seen={
            kind: np.unique(hashes_of(frame[:MOST_VALUES], kind)).tobytes()
            for kind, frame in values.items()
        },
        cut=tuple(kind for kind, frame in values.items() if len(frame) > MOST_VALUES),
    )
    return Digest(Numbers(numbers=numbers, sensors=_sensors(tables)), remembered)


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
    times = next(name for name in ("attempts", "queries", "events") if name in frame.columns)
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


def digests_before(
    lake: Lake, day: datetime, kept_paths: Mapping[tuple[str, datetime], str]
) -> dict[datetime, Digest]:
    """The digests of the days that a report looks back, the oldest first; of days with events.

    Of days before the last week there may be no numbers. Where a digest was not kept, it is made
    from the day's tables.

    Args:
        lake: where.
        day: the report's, UTC midnight.
        kept_paths: where digests are kept, as `lake.daily.kept_digests`.
    """
    # Listed first: of a young lake, most of the days are not there.
    with_tables = _days_in(lake, lake.layout.day_records(lake.stream.tables[0].name))
    with_digests = {then for _, then in kept_paths}
    days = sorted(
        then for then in with_tables | with_digests if timedelta(0) < day - then <= REACH["seen"]
    )

    def read(then: datetime) -> Digest | None:
        seen = _kept(lake, kept_paths.get(("seen", then)), _decode_seen)
        numbers: Numbers | None = _NO_NUMBERS
        if day - then <= REACH["numbers"]:
            numbers = _kept(lake, kept_paths.get(("numbers", then)), _decode_numbers)
        return None if seen is None or numbers is None else Digest(numbers, seen)

    digests = {}
    for then, kept in zip(days, in_parallel(read, days), strict=True):
        digest = kept or digest_of(read_tables(lake, then))
        if digest.remembered.has_events:
            digests[then] = digest
    return digests


def kept_numbers(lake: Lake, day: datetime) -> dict[str, int]:
    """The numbers that were kept of a day; nothing where there are none of this release."""
    record = report_record(lake, day)
    path = record.partials_of("numbers") if record is not None else None
    kept = _kept(lake, path, _decode_numbers)
    return kept.numbers if kept is not None else {}


def _days_in(lake: Lake, folder: str) -> set[datetime]:
    return {day_of_path(entry.path) for entry in lake.store.find(folder)}


def _kept(lake: Lake, path: str | None, decode: Callable[[bytes], Part]) -> Part | None:
    if path is None:
        return None
    try:
        kept = decode(lake.store.read(path))
    except (FileNotFoundError, msgspec.DecodeError):
        return None
    return kept if kept.format == FORMAT else None


def _sensors(tables: Tables) -> dict[str, int]:
    if "daily_sensors" not in tables:
        return {}
    rows = tables["daily_sensors"].select("sensor", "events").rows()
    return dict(rows[:MOST_SENSORS])
