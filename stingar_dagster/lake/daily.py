"""Daily tables: merged exactly from the hours' partial aggregates; and the sources of a report.

Not here: what tables there are and how they merge (`streams`), and what a report says (`report`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Final

import msgspec
import polars as pl

from stingar_dagster.lake.hours import in_batches, read_slice, table_events, table_partials
from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.layout import day_of_path, hour_key, hour_of_path
from stingar_dagster.lake.ledger import Ledger, read_ledger
from stingar_dagster.lake.lines import json_lines
from stingar_dagster.lake.partials import partials_in
from stingar_dagster.lake.publication import Draft, Record, publish, read_record, versions
from stingar_dagster.lake.quarantine import quarantine_reasons
from stingar_dagster.lake.segments import decode_all
from stingar_dagster.streams.tables import DailyTable

REPORT: Final = "daily_report"
"""Stands beside the daily tables where a day's parts are named."""

REPORT_FORM: Final = "form 1"
"""Of what a report says and how: raised with every release that changes it, so that reports are
made again and none is held against bytes that an earlier release made."""

REACH: Final = {"numbers": timedelta(days=7), "seen": timedelta(days=30)}
"""How far a report looks back, by the part of a day's digest."""


def publish_daily(lake: Lake, day: datetime, tables: tuple[str, ...]) -> dict[str, Record]:
    """Publish a day's tables; a pure function of the day's hour records and ledgers."""
    layout, store = lake.layout, lake.store
    places = [(layout.daily(name, day), layout.day_record(name, day)) for name in tables]
    # Looked at before the hours, which are read once for all tables.
    seen = in_parallel(lambda place: versions(store, *place), places)
    shared = _Hours(lake, day)

    def roll(index: int) -> Record:
        table = lake.stream.table(tables[index])
        hours: list[_Hours] = [shared]

        def make() -> Draft:
            return (hours.pop() if hours else _Hours(lake, day)).draft(table)

        return publish(store, *places[index], make, seen[index])[0]

    return dict(zip(tables, in_parallel(roll, range(len(tables))), strict=True))


class _Hours:
    """A day's published hours and their partial aggregates, as they are at one moment."""

    def __init__(self, lake: Lake, day: datetime) -> None:
        self._lake = lake
        self._records = hour_records(lake, day)
        self._quarantined = quarantined_on(lake, day)
        self._no_events = table_events(lake, ())
        # In format 1 of records an object is one table's.
        self._tables = {
            path: table
            for record in self._records.values()
            if isinstance(record.partials, dict)
            for table, path in record.partials.items()
        }
        paths = set().union(*(record.partial_paths() for record in self._records.values()))
        read = in_parallel(lambda path: (path, self._members(path)), sorted(paths))
        self._members_of = {path: members for path, members in read if members is not None}

    def draft(self, table: DailyTable) -> Draft:
        quarantined = self._quarantined if table.quarantine_column else 0
        frame = table.merge(self._partials(table), quarantined)
        data = json_lines(frame) if len(frame) else None
        sources = sources_of_day(table, self._records, quarantined)
        return Draft(Record(made_from=sources, rows=len(frame), size=len(data or b"")), data)

    def _members(self, path: str) -> dict[str, list[bytes]] | None:
        """What an object holds; None where it is gone."""
        try:
            data = self._lake.store.read(path)
        except FileNotFoundError:
            return None
        table = self._tables.get(path)
        return partials_in(data, path) if table is None else {table: [data]}

    def _partials(self, table: DailyTable) -> pl.DataFrame:
        schema = dict(table.partials(self._no_events).schema)
        frames = [
            frame
            for hour, record in sorted(self._records.items())
            if record.rows
            for frame in self._of_hour(table, schema, hour, record)
        ]
        return pl.concat([pl.DataFrame(schema=schema), *frames])

    def _of_hour(
        self, table: DailyTable, schema: dict[str, pl.DataType], hour: datetime, record: Record
    ) -> Iterator[pl.DataFrame]:
        """An hour's partial aggregates, a frame for each of its slices."""
        path = record.partials_of(table.name)
        if path is not None and path in self._members_of:
            members = self._members_of[path].get(table.name)
            if members is not None:
                yield decode_all(members, schema, path)
                return
        elif path is not None:
            now = read_record(self._lake.store, self._lake.layout.hour_record("events", hour))
            if now != record:
                # The hour was published again meanwhile: start over.
                raise FileNotFoundError(path)
        # The partial was lost, or its table declared later: count the hour's events now.
        for piece in record.slices_held():
            staged = read_slice(self._lake, hour, record.made_from, piece)
            yield table_partials(self._lake, [table], in_batches(self._lake, staged))[table.name]


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
    hours = [hour_of_path(entry.path) for entry in entries]
    ledgers = in_parallel(lambda hour: read_ledger(lake.store, lake.layout, hour), hours)
    return dict(zip(hours, ledgers, strict=True))


def table_records(lake: Lake, day: datetime) -> dict[str, Record | None]:
    """The records of a day's tables; None where one was not published yet."""
    names = [table.name for table in lake.stream.tables]
    records = in_parallel(
        lambda name: read_record(lake.store, lake.layout.day_record(name, day)), names
    )
    return dict(zip(names, records, strict=True))


def kept_digests(lake: Lake) -> dict[tuple[str, datetime], str]:
    """The versions of what is kept of days for later reports, by part and day."""
    entries = lake.store.find(lake.layout.digests)
    return {
        (entry.path.split("/")[-2], day_of_path(entry.path)): entry.etag
        for entry in entries
        if entry.path.split("/")[-2] in REACH
    }


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
    """

    day: datetime
    tables: Mapping[str, Record | None]
    hours: Mapping[datetime, Record]
    ledgers: Mapping[datetime, Ledger]
    reasons: Mapping[str, int]
    digests: Mapping[tuple[str, datetime], str]

    @property
    def names(self) -> tuple[str, ...]:
        """What the report's record says it is made from; nothing where there is to be none.

        Of digests the versions count, not the bytes: a digest is written only where it differs,
        and one listing tells them all.
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
            (hour_key(hour), [ledger.lines[name] for name in sorted(ledger.lines)])
            for hour, ledger in sorted(self.ledgers.items())
        ]
        earlier = sorted(
            (part, hour_key(day), version)
            for (part, day), version in self.digests.items()
            if timedelta(0) < self.day - day <= REACH[part]
        )
        return (
            REPORT_FORM,
            f"tables {_short(made_from)}",
            f"hours {_short(hours)}",
            f"arrived {_short(arrived)}",
            f"reasons {_short(dict(self.reasons))}",
            f"earlier days {_short(earlier)}",
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
    )


def _short(value: Any) -> str:
    return blake2b(msgspec.json.encode(value, order="sorted"), digest_size=16).hexdigest()
