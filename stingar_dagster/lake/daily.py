"""Daily tables: merged exactly from the hours' partial aggregates; and the sources of a report.

Not here: what tables there are and how they merge (`streams`), and what a report says (`report`).
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Final

import msgspec
import polars as pl

from stingar_dagster.lake.around import Around, around
from stingar_dagster.lake.combined import members_of
from stingar_dagster.lake.hours import count_events, in_batches, read_slice
from stingar_dagster.lake.kept_rows import KeptRows, day_of, kept_rows
from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.layout import day_of_path, hour_key, hour_of_path
from stingar_dagster.lake.ledger import Ledger, LedgerLine, read_listed
from stingar_dagster.lake.lines import json_lines
from stingar_dagster.lake.partials import kept_in
from stingar_dagster.lake.publication import Draft, Record, publish, read_record, versions
from stingar_dagster.lake.quarantine import quarantine_reasons
from stingar_dagster.lake.segments import read_frames
from stingar_dagster.lake.slices import Slice
from stingar_dagster.streams.tables import DailyTable

REPORT: Final = "daily_report"
"""Stands beside the daily tables where a day's parts are named."""

REPORT_FORM: Final = "form 2"
"""Of what a report says and how: raised with every release that changes it, so that reports are
made again and none is held against bytes that an earlier release made."""

REACH: Final = {"numbers": timedelta(days=7), "seen": timedelta(days=30)}
"""How far a report looks back, by the part of a day's digest."""


def publish_daily(
    lake: Lake, day: datetime, tables: tuple[str, ...], *, again: bool = False
) -> dict[str, Record]:
    """Publish a day's tables; a pure function of the day's hour records and ledgers.

    Args:
        lake: where.
        day: UTC midnight.
        tables: names.
        again: make also what its record says is made from just that, in the form of this
            release: to repair it, and to prove that the same bytes come out.
    """
    layout, store = lake.layout, lake.store
    places = [(layout.daily(name, day), layout.day_record(name, day)) for name in tables]
    # Looked at before the hours, which are read once for all tables.
    seen = in_parallel(lambda place: versions(store, *place), places)
    sources = _Sources.of(lake, day)
    kept: dict[str, Record] = {}
    if not again:
        records = in_parallel(lambda place: read_record(store, place[1]), places)
        for name, version, record in zip(tables, seen, records, strict=True):
            if record is not None and (version.published is not None) == bool(record.rows):
                table = lake.stream.table(name)
                expected = sources.of_table(table)
                if (record.made_from, record.form) == (expected, table.form if expected else ""):
                    kept[name] = record
    stale = [index for index, name in enumerate(tables) if name not in kept]
    shared = [_Hours(lake, sources)] if stale else []

    def roll(index: int) -> Record:
        table = lake.stream.table(tables[index])
        hours = list(shared)

        def make() -> Draft:
            read = hours.pop() if hours else _Hours(lake, _Sources.of(lake, day))
            return read.draft(table)

        return publish(store, *places[index], make, seen[index])[0]

    made = dict(zip(stale, in_parallel(roll, stale), strict=True))
    return {name: made[index] if index in made else kept[name] for index, name in enumerate(tables)}


@dataclass(frozen=True, slots=True)
class _Sources:
    """What a day's tables are to be made from: the records of its hours, and what they refused."""

    records: dict[datetime, Record]
    quarantined: int

    @classmethod
    def of(cls, lake: Lake, day: datetime) -> "_Sources":
        return cls(hour_records(lake, day), quarantined_on(lake, day))

    def of_table(self, table: DailyTable) -> tuple[str, ...]:
        """What the record of a table made from them says."""
        quarantined = self.quarantined if table.quarantine_column else 0
        return sources_of_day(table, self.records, quarantined)


class _Hours:
    """A day's published hours and their partial aggregates, as they are at one moment."""

    def __init__(self, lake: Lake, sources: _Sources) -> None:
        self._lake = lake
        self._sources = sources
        self._records = sources.records
        self._no_events = count_events(lake, lake.stream.tables, ())
        schemas = {name: dict(frame.schema) for name, frame in self._no_events.items()}
        self._members_of = members_of(lake, list(self._records.values()), schemas)

    def draft(self, table: DailyTable) -> Draft:
        if table.gap is None:
            quarantined = self._sources.quarantined if table.quarantine_column else 0
            frame = table.merge(self._partials(table), quarantined)
            data, rows = json_lines(frame), len(frame)
        else:
            kept = itertools.chain.from_iterable(
                self._kept(table, *hour) for hour in self._with_events()
            )
            data, rows = day_of(table, list(kept))
        sources = self._sources.of_table(table)
        record = Record(
            made_from=sources, rows=rows, size=len(data), form=table.form if sources else ""
        )
        return Draft(record, data or None)

    def _with_events(self) -> list[tuple[datetime, Record]]:
        return [(hour, record) for hour, record in sorted(self._records.items()) if record.rows]

    def _partials(self, table: DailyTable) -> pl.DataFrame:
        none = self._no_events[table.name]
        schema = dict(none.schema)
        hours = self._with_events()
        if table.limit is None:
            held = [self._held(table, record) for _, record in hours]
            there = [pieces for pieces in held if pieces is not None]
            if len(there) == len(hours):
                return read_frames([piece for pieces in there for piece in pieces], schema)
        frames = (
            frame for hour, record in hours for frame in self._of_hour(table, schema, hour, record)
        )
        return table.gathered(itertools.chain([none], frames))

    def _held(self, table: DailyTable, record: Record) -> list[tuple[bytes, str]] | None:
        """An hour's partials as they are kept, of all of it or by slice, and their place; None
        where there is none."""
        path, members = self._stored(table, record)
        pieces = members.get(table.name)
        return None if pieces is None else [(data, path) for data in pieces]

    def _stored(self, table: DailyTable, record: Record) -> tuple[str, dict[str, list[bytes]]]:
        """The place of an hour's partial aggregates, and what it holds; nothing if it was lost."""
        path = record.partials_of(table.name) or ""
        return path, self._members_of.get(path, {})

    def _of_hour(
        self, table: DailyTable, schema: dict[str, pl.DataType], hour: datetime, record: Record
    ) -> Iterator[pl.DataFrame]:
        """An hour's partial aggregates, a frame for each of its slices."""
        held = self._held(table, record)
        if held is not None:
            yield read_frames(held, schema)
            return
        for _, counted in self._counted(table, hour, record):
            yield counted

    def _kept(self, table: DailyTable, hour: datetime, record: Record) -> list[KeptRows]:
        """What an hour keeps of a table with a gap, by slice."""
        path, members = self._stored(table, record)
        kept = kept_in(members, table, dict(self._no_events[table.name].schema), path)
        if kept is not None:
            return kept
        counted = self._counted(table, hour, record)
        return [kept_rows(table, partials, *piece.bounds(hour)) for piece, partials in counted]

    def _counted(
        self, table: DailyTable, hour: datetime, record: Record
    ) -> Iterator[tuple[Slice, pl.DataFrame]]:
        """The events of each of an hour's slices counted now: its partial was lost or of another
        form, or the table declared later.

        Raises:
            FileNotFoundError: the hour was published again meanwhile: start over.
        """
        path = record.partials_of(table.name)
        if path is not None and path not in self._members_of:
            now = read_record(self._lake.store, self._lake.layout.hour_record("events", hour))
            if now != record:
                raise FileNotFoundError(path)
        for piece in record.slices_held():
            staged = read_slice(self._lake, hour, record.made_from, piece)
            events = in_batches(self._lake, staged)
            yield piece, count_events(self._lake, [table], events, staged.order)[table.name]


def sources_of_day(
    table: DailyTable, hours: dict[datetime, Record], quarantined: int
) -> tuple[str, ...]:
    """What a day's table is made from: each hour's partial, and the count of quarantined."""
    partials = (
        record.partials_of(table.name) or f"{hour_key(hour)} {'+'.join(record.made_from)}"
        for hour, record in sorted(hours.items())
        if record.rows
    )
    return (*partials, *([f"quarantined {quarantined}"] if quarantined else []))


def hour_records(lake: Lake, day: datetime) -> dict[datetime, Record]:
    """The records of a day's published hours."""
    entries = lake.store.find(lake.layout.hour_records("events", day))
    records = in_parallel(lambda entry: read_record(lake.store, entry.path), entries)
    return {
        hour_of_path(entry.path): record
        for entry, record in zip(entries, records, strict=True)
        if record is not None
    }


def quarantined_on(lake: Lake, day: datetime) -> int:
    """How many events of the day's landed hours were quarantined."""
    return quarantined_in(ledgers_of(lake, day))


def quarantined_in(ledgers: Mapping[datetime, Ledger]) -> int:
    return sum(line.quarantined for ledger in ledgers.values() for line in ledger.lines.values())


def ledgers_of(lake: Lake, day: datetime) -> dict[datetime, Ledger]:
    """The ledgers of a day's landed hours."""
    # Listed first: most of the 24 may not be there.
    entries = lake.store.find(lake.layout.ledgers_of(day))
    ledgers = in_parallel(lambda entry: read_listed(lake.store, entry), entries)
    hours = (hour_of_path(entry.path) for entry in entries)
    return dict(zip(hours, ledgers, strict=True))


def table_records(lake: Lake, day: datetime) -> dict[str, Record | None]:
    """The records of a day's tables; None where one was not published yet."""
    names = [table.name for table in lake.stream.every_table]
    records = in_parallel(
        lambda name: read_record(lake.store, lake.layout.day_record(name, day)), names
    )
    return dict(zip(names, records, strict=True))


def kept_digests(lake: Lake) -> dict[tuple[str, datetime], str]:
    """What is kept of days for later reports: the path of each day's parts, which changes with
    their content."""
    found: dict[tuple[str, datetime], set[str]] = {}
    for entry in lake.store.find(lake.layout.digests):
        part = entry.path.split("/")[-3]
        if part in REACH:
            found.setdefault((part, day_of_path(entry.path)), set()).add(entry.path)
    several = sorted({day for (_, day), paths in found.items() if len(paths) > 1})
    records = in_parallel(lambda day: report_record(lake, day), several)
    named = {path for record in records if record is not None for path in record.partial_paths()}
    # One that no record names was left by a process that died, or is about to be named.
    return {key: min(paths & named or paths) for key, paths in found.items()}


def report_record(lake: Lake, day: datetime) -> Record | None:
    """The record of a day's report; None where there is none yet."""
    return read_record(lake.store, lake.layout.day_record(REPORT, day))


@dataclass(frozen=True, slots=True)
class ReportSources:
    """All that a day's report depends on, but for the bytes of tables and digests.

    Attributes:
        day: UTC midnight.
        tables: the records of its tables.
        hours: the records of its event hours.
        ledgers: of its landed hours.
        reasons: how many of them were quarantined, by reason.
        digests: as `kept_digests`; of any days.
        around: what landed just before and after it.
    """

    day: datetime
    tables: Mapping[str, Record | None]
    hours: Mapping[datetime, Record]
    ledgers: Mapping[datetime, Ledger]
    reasons: Mapping[str, int]
    digests: Mapping[tuple[str, datetime], str]
    around: Around

    @property
    def names(self) -> tuple[str, ...]:
        """What the report's record says it is made from; nothing where there is to be none.

        Of digests their names count, which one listing tells. Versions of captures do not: the
        same events in another store make the same report.
        """
        made_from = {name: item.made_from for name, item in self.tables.items() if item is not None}
        if not any(made_from.values()):
            return ()
        hours = {
            hour_key(hour): (record.rows, record.duplicates)
            for hour, record in self.hours.items()
            if record.rows or record.duplicates
        }
        arrived = [
            (hour_key(hour), [_as_told(ledger.lines[name]) for name in sorted(ledger.lines)])
            for hour, ledger in sorted(self.ledgers.items())
        ]
        around = {
            "over": self.around.is_over,
            "hubs": [sorted(self.around.before), sorted(self.around.after)],
            "empties": sorted(self.around.empties),
            "reached": sorted((run.source, run.last, run.damaged) for run in self.around.reached),
        }
        earlier = sorted(
            (part, hour_key(day), path.rsplit("/", 1)[-1])
            for (part, day), path in self.digests.items()
            if timedelta(0) < self.day - day <= REACH[part]
        )
        return (
            REPORT_FORM,
            f"tables {_short(made_from)}",
            f"hours {_short(hours)}",
            f"arrived {_short(arrived)}",
            f"reasons {_short(dict(self.reasons))}",
            f"earlier days {_short(earlier)}",
            f"around {_short(around)}",
        )


def report_sources(
    lake: Lake,
    day: datetime,
    hours: Mapping[datetime, Record] | None = None,
    ledgers: Mapping[datetime, Ledger] | None = None,
    digests: Mapping[tuple[str, datetime], str] | None = None,
) -> ReportSources:
    """What a day's report is to be made from now.

    Args:
        lake: where.
        day: UTC midnight.
        hours, ledgers, digests: where they were just read.
    """
    ledgers = ledgers_of(lake, day) if ledgers is None else ledgers
    rejecting = [hour for hour, ledger in ledgers.items() if ledger.rejected()]
    return ReportSources(
        day=day,
        tables=table_records(lake, day),
        hours=hour_records(lake, day) if hours is None else hours,
        ledgers=ledgers,
        reasons=quarantine_reasons(lake, rejecting),
        digests=kept_digests(lake) if digests is None else digests,
        around=around(lake, day, ledgers),
    )


def _as_told(line: LedgerLine) -> LedgerLine:
    return msgspec.structs.replace(line, etag="")


def _short(value: Any) -> str:
    return blake2b(msgspec.json.encode(value, order="sorted"), digest_size=16).hexdigest()
