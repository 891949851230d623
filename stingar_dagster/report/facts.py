"""What a day's report says, as numbers and texts: a pure function of published data.

Of the day: its daily tables, its landed hours' ledgers, its event hours' records. Of the days
before it: their digests (`history`). Of the landed hours beside it: what shows that it is complete
(`lake.around`). No clock: a day that is not over is told by what has arrived.
Texts are as attackers wrote them. Not here: HTML (`page`) and pictures (`charts`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Final

import numpy as np
import polars as pl

from stingar_dagster.lake.around import Around, hub_of, writing_empties
from stingar_dagster.lake.ledger import Ledger
from stingar_dagster.lake.publication import Record
from stingar_dagster.lake.sequences import Run, missing, runs_of
from stingar_dagster.report.history import (
    KINDS,
    NUMBERS,
    Digest,
    Tables,
    hashes_of,
    numbers_of,
    values_of,
)

WEEK: Final = 7
TOP: Final = 10
MOST_ROWS: Final = 15
MOST_APPS: Final = 5
DAY: Final = timedelta(days=1)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Number:
    """One number of the day and the seven days before it.

    Attributes:
        title: for people.
        value: of the day.
        earlier: of the seven days before, the oldest first; None where nothing is known.
    """

    title: str
    value: int
    earlier: tuple[int | None, ...]

    @property
    def known(self) -> list[int]:
        return [value for value in self.earlier if value is not None]

    @property
    def comparison(self) -> str:
        """Where the value lies among the days before, in words that claim no more than that."""
        known = self.known
        if not known:
            return "no earlier day to compare with"
        least, most = min(known), max(known)
        if len(known) == 1:
            side = "as" if self.value == most else "more than" if self.value > most else "less than"
            return f"{side} on the only earlier day of the week ({most:,})"
        days = f"the {WEEK} days" if len(known) == WEEK else f"the {len(known)} known days"
        if self.value > most:
            return f"more than on any of {days} before (at most {most:,})"
        if self.value < least:
            return f"less than on any of {days} before (at least {least:,})"
        return f"as on {days} before: {least:,} to {most:,}, median {median(known):,.0f}"


@dataclass(frozen=True, slots=True)
class Hour:
    """One hour of the day.

    Attributes:
        hour: 0 to 23.
        events: published, that were logged in it.
        is_open: captures of this hour or later ones may still land.
        is_missing: no capture of this hour landed, of a hub that was captured before and after,
            and it is not known that nothing was sent.
    """

    hour: int
    events: int
    is_open: bool
    is_missing: bool


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of what to know before the day is believed."""

    is_well: bool
    text: str


@dataclass(frozen=True, slots=True)
class Silent:
    """A sensor that sent nothing on the day, and what it sent in the seven days before."""

    sensor: str
    last_day: datetime
    events: int


@dataclass(frozen=True, slots=True)
class Trust:
    """The balance of what arrived on the day, and of what was logged on it.

    Attributes:
        captures, captured, cleaned, quarantined: what arrived, by the ledgers.
        published, duplicates, late: what was logged on the day, whenever it arrived.
        gaps: missing sequence numbers between and inside the day's captures, and from the hour
            before it, a text each; without those that damage explains.
        damaged: captures with damage.
        last_arrival: when the last event arrived (UTC, ISO 8601), by the day's ledgers.
        is_over: whether all captures of the day have landed, by what landed after it.
        hours: the 24 event hours.
        silent: sensors of the last seven days that sent nothing.
    """

    captures: int
    captured: int
    cleaned: int
    quarantined: int
    published: int
    duplicates: int
    late: int
    gaps: tuple[str, ...]
    damaged: int
    last_arrival: str | None
    is_over: bool
    hours: tuple[Hour, ...]
    silent: tuple[Silent, ...]

    @property
    def empty_hours(self) -> list[int]:
        """Hours without an event, of which no capture is missing."""
        empty = (hour for hour in self.hours if not hour.events and not hour.is_open)
        return [hour.hour for hour in empty if not hour.is_missing]

    @property
    def missing_hours(self) -> list[int]:
        return [hour.hour for hour in self.hours if hour.is_missing]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is well and what is not."""
        found = [self._balance(), self._gaps(), self._hours(), self._sensors()]
        if self.damaged:
            found.append(Finding(False, f"{self.damaged:,} captures are damaged"))
        return tuple(found)

    @property
    def is_well(self) -> bool:
        return all(finding.is_well for finding in self.findings)

    @property
    def verdict(self) -> str:
        """The findings in a few words."""
        if not self.captures and not self.published:
            return "Nothing is known of this day."
        if not self.is_well:
            return "Not everything adds up: look at what is marked."
        return "Yes, everything adds up." if self.is_over else "So far everything adds up."

    def _balance(self) -> Finding:
        holds = self.captured == self.cleaned + self.quarantined
        sums = (
            f"arrived {self.captured:,} {'=' if holds else 'but'} cleaned {self.cleaned:,} + "
            f"quarantined {self.quarantined:,}, from {self.captures:,} captures"
        )
        elsewhere = "no capture arrived on this day"
        if self.published:
            elsewhere += f": its {self.published:,} events arrived on others"
        return Finding(holds, sums if self.captures else elsewhere)

    def _gaps(self) -> Finding:
        if not self.gaps:
            return Finding(True, "no sequence number is missing between the first and the last")
        shown = ", ".join(self.gaps[:3])
        more = f" and {len(self.gaps) - 3:,} more" if len(self.gaps) > 3 else ""
        return Finding(False, f"sequence numbers are missing: {shown}{more}")

    def _hours(self) -> Finding:
        parts = []
        if not self.is_over:
            still_open = sum(hour.is_open for hour in self.hours)
            parts.append(
                f"nothing that landed shows that the day is over: {_count(still_open, 'hour')} "
                f"{'is' if still_open == 1 else 'are'} open"
            )
        if self.missing_hours:
            parts.append(f"no capture landed in {_named(self.missing_hours)}, but before and after")
        if self.empty_hours:
            parts.append(
                f"no event was logged in {_named(self.empty_hours)}, and no capture is missing"
            )
        return Finding(not self.missing_hours, "; ".join(parts) or "every hour has events")

    def _sensors(self) -> Finding:
        if not self.silent:
            return Finding(True, "every sensor of the last seven days sent something")
        so_far = "" if self.is_over else " so far"
        # A day that is not over may still bring them.
        return Finding(
            not self.is_over, f"{_count(len(self.silent), 'sensor')} sent nothing{so_far}"
        )


@dataclass(frozen=True, slots=True)
class Novelty:
    """Values of a kind that no earlier day had.

    Attributes:
        kind: as in `history.KINDS`.
        count: how many; None where no earlier day is known.
        rows: the most frequent of them, with `times`.
        is_cut: an earlier day had more values than are kept, so some may not be new.
    """

    kind: str
    count: int | None
    rows: tuple[Row, ...]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a report says of one day."""

    stream: str
    title: str
    day: datetime
    trust: Trust
    numbers: tuple[Number, ...]
    looked_back: int
    new: tuple[Novelty, ...]
    hours_by_app: Mapping[str, tuple[int, ...]]
    shared_count: int
    shared: tuple[Row, ...]
    sources: tuple[Row, ...]
    credentials: tuple[Row, ...]
    ports: tuple[Row, ...]
    commands: tuple[Row, ...]
    sensors: tuple[Row, ...]
    reasons: Mapping[str, int]
    drift_count: int
    drift: tuple[Row, ...]
    drift_not_named: int
    exposed_clients: int | None
    """Clients that looked up what honeypots saw; None where the stream has no clients."""
    exposures: tuple[Row, ...]


def facts_of(
    stream: str,
    title: str,
    day: datetime,
    tables: Tables,
    earlier: Mapping[datetime, Digest],
    ledgers: Mapping[datetime, Ledger],
    hours: Mapping[datetime, Record],
    reasons: Mapping[str, int],
    around: Around,
) -> Facts:
    """What there is to say of a day.

    Args:
        stream, title: the stream's names.
        day: UTC midnight.
        tables: the day's tables; sections whose table the stream does not have stay empty.
        earlier: digests of the days before it.
        ledgers: of the day's landed hours.
        hours: the records of the day's event hours.
        reasons: how many of the day's landed hours were quarantined, by reason.
        around: what landed just before and after the day.
    """
    shared = _shared(tables)
    drift = tables.get(
        "daily_drift", pl.DataFrame(schema={"field": pl.String(), "events": pl.Int64()})
    )
    named = drift.filter(pl.col("field").is_not_null())
    exposures = tables.get("daily_exposures")
    exposed = None if exposures is None else exposures.filter(pl.col("client_ip").is_not_null())
    return Facts(
        stream=stream,
        title=title,
        day=day,
        trust=_trust(day, tables, earlier, ledgers, hours, around),
        numbers=_numbers(day, tables, earlier),
        looked_back=len(earlier),
        new=tuple(_new(tables, kind, earlier.values()) for kind in KINDS if _has(tables, kind)),
        hours_by_app=hours_by_app(tables),
        shared_count=0 if shared is None else len(shared),
        shared=_rows(shared, MOST_ROWS),
        sources=_rows(tables.get("daily_sources"), TOP),
        credentials=_rows(_values(tables, "credentials"), TOP),
        ports=_rows(tables.get("daily_ports"), TOP),
        commands=_rows(tables.get("daily_commands"), TOP),
        sensors=_rows(tables.get("daily_sensors"), MOST_ROWS),
        reasons=dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
        drift_count=len(named),
        drift=_rows(named, MOST_ROWS),
        drift_not_named=int(drift["events"].sum()) - int(named["events"].sum()),
        exposed_clients=None if exposed is None else exposed["client_ip"].n_unique(),
        exposures=_rows(exposed, MOST_ROWS),
    )


def hours_by_app(tables: Tables) -> dict[str, tuple[int, ...]]:
    """Events of each of the 24 hours by honeypot software, the busiest first, the rest together."""
    frame = tables.get("daily_hours")
    if frame is None or frame.is_empty():
        return {}
    by_app: dict[str, list[int]] = {}
    for hour, app, events in frame.select("hour", "app", "events").iter_rows():
        by_app.setdefault(app or "not named", [0] * 24)[hour] += events
    ranked = sorted(by_app, key=lambda app: (-sum(by_app[app]), app))
    few = ranked if len(ranked) <= MOST_APPS + 1 else ranked[:MOST_APPS]
    found = {app: tuple(by_app[app]) for app in few}
    rest = [by_app[app] for app in ranked if app not in found]
    if rest:
        others = tuple(map(sum, zip(*rest, strict=True)))
        found[f"{len(rest)} others"] = others
    return found


def gaps_in(ledgers: Mapping[datetime, Ledger], reached: Iterable[Run] = ()) -> list[str]:
    """Missing sequence numbers that damage does not explain, such as `hub/0 17-20`.

    Args:
        ledgers: of a day's landed hours.
        reached: the last numbers of partitions before the day.
    """
    runs = [
        run
        for hour, ledger in sorted(ledgers.items())
        for run in runs_of(hour, ledger.lines.values())[0]
    ]
    return [
        f"{gap.source.split('/', 1)[1]} {gap.first}" + (f"-{gap.last}" if gap.events > 1 else "")
        for gap in missing((*reached, *runs))
        if not gap.damaged
    ]


def _trust(
    day: datetime,
    tables: Tables,
    earlier: Mapping[datetime, Digest],
    ledgers: Mapping[datetime, Ledger],
    hours: Mapping[datetime, Record],
    around: Around,
) -> Trust:
    lines = [line for ledger in ledgers.values() for line in ledger.lines.values()]
    landed = max((hour.hour for hour, ledger in ledgers.items() if ledger.lines), default=0)
    first_open = 24 if around.is_over else landed
    gaps = tuple(gaps_in(ledgers, around.reached))
    missed = _missed_hours(ledgers, around, bool(gaps))
    rows = {hour.hour: record.rows for hour, record in hours.items()}
    arrivals = [line.last_enqueued_at for line in lines if line.last_enqueued_at]
    summary = tables.get("daily_summary")
    return Trust(
        captures=len(lines),
        captured=sum(line.events for line in lines),
        cleaned=sum(line.cleaned for line in lines),
        quarantined=sum(line.quarantined for line in lines),
        published=sum(rows.values()),
        duplicates=sum(record.duplicates for record in hours.values()),
        late=int(summary["late"].sum()) if summary is not None and "late" in summary else 0,
        gaps=gaps,
        damaged=sum(bool(line.damage) for line in lines),
        last_arrival=max(arrivals, default=None),
        is_over=around.is_over,
        hours=tuple(
            Hour(hour, rows.get(hour, 0), hour >= first_open, hour in missed and hour < first_open)
            for hour in range(24)
        ),
        silent=_silent(day, tables, earlier),
    )


def _missed_hours(ledgers: Mapping[datetime, Ledger], around: Around, has_gaps: bool) -> set[int]:
    """Landed hours without a capture of a hub that was captured before and after them.

    A hub may be set to write no empty captures: then an hour without any is one in which nothing
    was sent, provided that the numbers go on.
    """
    captured: dict[str, set[int]] = {}
    for hour, ledger in ledgers.items():
        for line in ledger.lines.values():
            captured.setdefault(hub_of(line), set()).add(hour.hour)
    empties = around.empties | writing_empties(
        [line for ledger in ledgers.values() for line in ledger.lines.values()]
    )
    missed: set[int] = set()
    for hub in captured.keys() | (around.before & around.after):
        hours = captured.get(hub, set())
        first = 0 if hub in around.before else min(hours)
        last = 23 if hub in around.after else max(hours)
        if has_gaps or hub in empties:
            missed |= set(range(first, last + 1)) - hours
    return missed


def _silent(
    day: datetime, tables: Tables, earlier: Mapping[datetime, Digest]
) -> tuple[Silent, ...]:
    frame = tables.get("daily_sensors")
    heard = set() if frame is None else set(frame["sensor"])
    week = {before: digest for before, digest in earlier.items() if day - before <= WEEK * DAY}
    events: dict[str, int] = {}
    last: dict[str, datetime] = {}
    for before, digest in sorted(week.items()):
        for sensor, count in digest.sensors.items():
            if sensor not in heard:
                events[sensor] = events.get(sensor, 0) + count
                last[sensor] = before
    silent = (Silent(sensor, last[sensor], count) for sensor, count in events.items())
    return tuple(sorted(silent, key=lambda item: (-item.events, item.sensor)))


def _numbers(
    day: datetime, tables: Tables, earlier: Mapping[datetime, Digest]
) -> tuple[Number, ...]:
    # Counted from the other end: before the year 1 there is no day.
    by_age = {(day - before).days: digest for before, digest in earlier.items()}
    week = [by_age.get(back) for back in range(WEEK, 0, -1)]
    return tuple(
        Number(
            NUMBERS[name][1],
            value,
            tuple(None if digest is None else digest.numbers.get(name) for digest in week),
        )
        for name, value in numbers_of(tables).items()
    )


def _new(tables: Tables, kind: str, earlier: Iterable[Digest]) -> Novelty:
    digests = [digest for digest in earlier if kind in digest.seen]
    if not digests:
        return Novelty(kind, None, (), False)
    values = values_of(tables, kind)
    seen = np.concatenate([np.frombuffer(digest.seen[kind], dtype="<u8") for digest in digests])
    is_new = ~np.isin(hashes_of(values, kind), seen)
    new = values.filter(pl.Series(is_new, dtype=pl.Boolean))
    return Novelty(kind, len(new), _rows(new, TOP), any(kind in digest.cut for digest in digests))


def _shared(tables: Tables) -> pl.DataFrame | None:
    """Sources that two sensors or more saw, those with the most sensors first."""
    sources = tables.get("daily_sources")
    if sources is None or not {"sensors", "first_sensor"} <= set(sources.columns):
        return None
    return (
        sources.lazy()
        .with_columns(pl.col("sensors").list.len().alias("sensor_count"))
        .filter(pl.col("sensor_count") >= 2)
        .sort("sensor_count", "events", "src_ip", descending=[True, True, False])
        .collect()
    )


def _rows(frame: pl.DataFrame | None, most: int) -> tuple[Row, ...]:
    return () if frame is None else tuple(frame[:most].to_dicts())


def _values(tables: Tables, kind: str) -> pl.DataFrame | None:
    return values_of(tables, kind) if _has(tables, kind) else None


def _has(tables: Tables, kind: str) -> bool:
    return KINDS[kind][0] in tables


def _named(hours: list[int]) -> str:
    named = ", ".join(f"{hour:02}" for hour in hours[:6])
    more = f" and {len(hours) - 6} more" if len(hours) > 6 else ""
    return f"{_count(len(hours), 'hour')} ({named}{more})"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
