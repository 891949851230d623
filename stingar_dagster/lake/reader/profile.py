"""What is known of a source address or network: one page, from the published events.

Its counts are the daily tables' own declarations, taken over the source's events of the whole
range instead of everyone's of a day. Not here: which events those are (`search`), sessions
(`sessions`), and how the page looks (`page`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl

from stingar_dagster.errors import UsageError
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.reader import sessions
from stingar_dagster.lake.reader.origins import Databases
from stingar_dagster.lake.reader.query import SOURCE, TIME, Query, parse_source, stamp
from stingar_dagster.lake.reader.search import matches, slices_to_read
from stingar_dagster.safe_text import visible
from stingar_dagster.streams.expressions import microseconds
from stingar_dagster.streams.tables import DailyTable

_BATCH: Final = 32_768
"""Events that are counted at once."""

_MOST_BYTES: Final = 256 << 20
"""What counts and sessions may come to. They are what the page is made of, and of a wide network
there is about one session for every few events, so they can't be told without being held. Putting
them together takes some seven times as much."""

_COUNTED: Final = {"kinds": "event_kind", "apps": "app", "user_agents": "user_agent"}
"""What is counted by itself, since no daily table has it as a row."""

_EVER: Final = (datetime(1970, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC))


@dataclass(frozen=True)
class Coverage:
    """How sure a profile is: where was looked.

    Attributes:
        hours: published hours of the range; an hour without any event is not published.
        first, last: the first and the last of them; None where there is none.
        read: of how many the events were read.
        ruled_out: in how many the source can't be, by the daily tables made from them.
    """

    hours: int
    first: datetime | None
    last: datetime | None
    read: int

    @property
    def ruled_out(self) -> int:
        return self.hours - self.read


@dataclass(frozen=True)
class Profile:
    """What the published events say of a source.

    Frames have the columns of the daily tables of the same name (`schema/` in the lake has their
    meanings), counted over the whole range, so that `unique_sources` is 1 for an address.

    Attributes:
        source: the address or network, as it is usually written.
        since, until: half-open range of events that were looked at; None: everything published.
        coverage: where was looked.
        events: how many there are.
        first_seen, last_seen: of them (UTC); None where there is none.
        days: date, events, published_hours: every day from the first to the last on which it was
            seen, also those on which it was not.
        sources, sensors, ports, credentials, commands, downloads, fingerprints: as the daily
            tables.
        apps, kinds, user_agents: value and events, the most frequent first.
        sessions: rebuilt (`sessions.COLUMNS`), by start.
        origins: where each address comes from (`origins.COLUMNS`), for a single one also if it was
            never seen; None where no database is set.
    """

    source: str
    since: datetime | None
    until: datetime | None
    coverage: Coverage
    events: int
    first_seen: datetime | None
    last_seen: datetime | None
    days: pl.DataFrame = field(repr=False)
    sources: pl.DataFrame = field(repr=False)
    sensors: pl.DataFrame = field(repr=False)
    ports: pl.DataFrame = field(repr=False)
    credentials: pl.DataFrame = field(repr=False)
    commands: pl.DataFrame = field(repr=False)
    downloads: pl.DataFrame = field(repr=False)
    fingerprints: pl.DataFrame = field(repr=False)
    apps: pl.DataFrame = field(repr=False)
    kinds: pl.DataFrame = field(repr=False)
    user_agents: pl.DataFrame = field(repr=False)
    sessions: pl.DataFrame = field(repr=False)
    origins: pl.DataFrame | None = field(repr=False, default=None)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values; members without a value are left out."""
        coverage = {
            "published_hours": self.coverage.hours,
            "first_published_hour": _text(self.coverage.first),
            "last_published_hour": _text(self.coverage.last),
            "hours_read": self.coverage.read,
            "hours_ruled_out_by_daily_tables": self.coverage.ruled_out,
        }
        told = {
            "source": self.source,
            "since": _text(self.since),
            "until": _text(self.until),
            "coverage": _filled(coverage),
            "events": self.events,
            "first_seen": _text(self.first_seen),
            "last_seen": _text(self.last_seen),
        }
        frames = ("days", *_TABLES, *_COUNTED, "sessions")
        if self.origins is not None:
            frames = (*frames, "origins")
        return _filled(told) | {
            name: [_filled(row) for row in getattr(self, name).to_dicts()] for name in frames
        }


_TABLES: Final = (
    "sources", "sensors", "ports", "credentials", "commands", "downloads", "fingerprints",
)  # fmt: skip


def profile(
    lake: Lake,
    source: str,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    origins: Databases | None = None,
) -> Profile:
    """Everything that is published of an address or network.

    Args:
        lake: what is read.
        source: IPv4 or IPv6, an address or a network (CIDR).
        since, until: half-open range of the events' own time; None: everything published.
        progress: told of objects read and to be read.
        origins: what tells where addresses come from.

    Raises:
        UsageError: `source` is neither an address nor a network; or so much is known of it that
            its sessions can't be held.
        SettingsError: a database of origins is damaged.
    """
    network = parse_source(source)
    missing = {f"daily_{name}" for name in _TABLES} - {table.name for table in lake.stream.tables}
    if missing:
        raise UsageError(
            f"the stream {lake.stream.name} has no table {min(missing)}: a page on an address is "
            "made of the tables of attacks; search its events instead"
        )
    query = Query(since or _EVER[0], until or _EVER[1], network=str(network))
    published, slices = slices_to_read(lake, query)
    gathered = _Gathered(lake)
    condition = query.condition(lake.stream)
    for found in matches(lake, slices, query, condition, gathered.columns):
        gathered.add(found.events)
        progress(found.done, found.total)
        _check_size(source, gathered)
    gathered.flush()
    _check_size(source, gathered)
    hours = sorted({piece.hour for piece in published})
    coverage = Coverage(
        hours=len(hours),
        first=hours[0] if hours else None,
        last=hours[-1] if hours else None,
        read=len({piece.hour for piece in slices}),
    )
    is_one = network.prefixlen == network.max_prefixlen
    name = str(network.network_address if is_one else network)
    days = gathered.days()
    counted = {table: gathered.table(table) for table in _TABLES}
    addresses = pl.DataFrame({SOURCE: [name]}) if is_one else counted["sources"].select(SOURCE)
    return Profile(
        source=name,
        since=since,
        until=until,
        coverage=coverage,
        events=int(days["events"].sum()),
        first_seen=gathered.first,
        last_seen=gathered.last,
        days=_every_day(days, hours),
        sessions=gathered.sessions(),
        origins=None if origins is None else origins.enriched(addresses),
        **counted,
        **{name: gathered.counts(name) for name in _COUNTED},
    )


class _Gathered:
    """A source's events, counted a batch at a time."""

    def __init__(self, lake: Lake) -> None:
        self._tables: dict[str, DailyTable] = {
            name: lake.stream.table(f"daily_{name}") for name in _TABLES
        }
        needed = {TIME, "enqueued_at", *sessions.NEEDED, *_COUNTED.values()}
        for table in self._tables.values():
            needed |= table.needs(lake.stream.schema)
        self.columns = [name for name in lake.stream.schema if name in needed]
        self._schema = {name: lake.stream.schema[name] for name in self.columns}
        self._waiting: list[pl.DataFrame] = []
        self._partials: dict[str, list[pl.DataFrame]] = {name: [] for name in _TABLES}
        self._counts: dict[str, list[pl.DataFrame]] = {name: [] for name in _COUNTED}
        self._days: list[pl.DataFrame] = []
        self._sessions: list[pl.DataFrame] = []
        self.first: datetime | None = None
        self.last: datetime | None = None
        self.size = 0
        """Bytes held of counts and sessions."""

    def add(self, events: pl.DataFrame) -> None:
        """Events that follow those before in time."""
        if len(events):
            self._waiting.append(events)
            if sum(map(len, self._waiting)) >= _BATCH:
                self.flush()

    def flush(self) -> None:
        """Count what was added. The first call of all also gives what nothing comes to."""
        events = pl.concat([pl.DataFrame(schema=self._schema), *self._waiting])
        self._waiting = []
        if len(events):
            self.first = self.first or datetime.fromisoformat(events[TIME][0])
            self.last = datetime.fromisoformat(events[TIME][-1])
        elif self._days:
            return
        timed = events.with_columns(
            microseconds(TIME).alias("time_us"), microseconds("enqueued_at").alias("enqueued_us")
        )
        for name, table in self._tables.items():
            self._partials[name].append(self._held(table.partials(timed)))
        for name, column in _COUNTED.items():
            present = events.filter(pl.col(column).is_not_null())
            counted = present.group_by(column).agg(pl.len().cast(pl.Int64()).alias("events"))
            self._counts[name].append(self._held(counted))
        by_day = events.group_by(pl.col(TIME).str.head(10).alias("date"))
        self._days.append(by_day.agg(pl.len().cast(pl.Int64()).alias("events")))
        self._sessions.append(self._held(sessions.parts(events)))

    def _held(self, frame: pl.DataFrame) -> pl.DataFrame:
        self.size += int(frame.estimated_size())
        return frame

    def table(self, name: str) -> pl.DataFrame:
        return self._tables[name].merge(pl.concat(self._partials[name]))

    def counts(self, name: str) -> pl.DataFrame:
        column = _COUNTED[name]
        merged = pl.concat(self._counts[name]).group_by(column).agg(pl.col("events").sum())
        return merged.sort("events", column, descending=[True, False])

    def days(self) -> pl.DataFrame:
        return pl.concat(self._days).group_by("date").agg(pl.col("events").sum())

    def sessions(self) -> pl.DataFrame:
        return sessions.joined(self._sessions)


def _check_size(source: str, gathered: _Gathered) -> None:
    if gathered.size > _MOST_BYTES:
        raise UsageError(
            f"{visible(source, 60)}: too much is known of it for one page: what it did until "
            f"{gathered.last:%Y-%m-%dT%H:%M} comes to more than {_MOST_BYTES >> 20} MB of counts "
            "and sessions; ask for a smaller network, or for a range with --since and --until"
        )


def _every_day(days: pl.DataFrame, published: list[datetime]) -> pl.DataFrame:
    """The days from the first to the last, with how many hours of each are published."""
    hours = pl.DataFrame({"date": [hour.date() for hour in published]}, schema={"date": pl.Date()})
    counted = hours.group_by("date").agg(pl.len().cast(pl.Int64()).alias("published_hours"))
    seen = days.with_columns(pl.col("date").str.to_date("%Y-%m-%d"))
    first, last = seen["date"].min(), seen["date"].max()
    every = pl.Series("date", [], dtype=pl.Date())
    if first is not None and last is not None:
        every = pl.select(pl.date_range(pl.lit(first), pl.lit(last)).alias("date"))["date"]
    return (
        every.to_frame()
        .join(seen, on="date", how="left")
        .join(counted, on="date", how="left")
        .sort("date")
        .with_columns(
            pl.col("date").dt.strftime("%Y-%m-%d"),
            pl.col("events", "published_hours").fill_null(0),
        )
    )


def _text(time: datetime | None) -> str | None:
    return None if time is None else stamp(time)


def _filled(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
