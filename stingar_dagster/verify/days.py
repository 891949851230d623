"""Daily tables held against a second count of the day's published events.

Not here: the counts themselves, which each stream declares beside its tables.
"""

import json
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import polars as pl

from stingar_dagster.lake.hours import table_frame
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.lines import json_lines
from stingar_dagster.streams.joined import JoinedTable
from stingar_dagster.streams.tables import DailyTable, Recount
from stingar_dagster.verify.joined import other_rows, waits_for_others
from stingar_dagster.verify.proof import Problem
from stingar_dagster.verify.published import Published

HOUR: Final = timedelta(hours=1)


def day_problems(lake: Lake, published: Published, day: datetime) -> list[Problem] | None:
    """A problem for each table that says something else; None where the day holds nothing.

    A joined table that waits to be made again, since other streams' tables changed, is passed over.
    """
    counts: dict[str, Recount] = {
        table.name: table.recount() if table.recount is not None else _Declared(lake, table)
        for table in lake.stream.tables
    }
    problems = []
    for joined in lake.stream.joined:
        try:
            counts[joined.name] = joined.recount(other_rows(lake, joined, day))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            detail = f"a row of another stream can't be counted: {error!r}"
            problems.append(Problem("daily", f"{joined.name} {day:%Y-%m-%d}", detail))
    declared = [count for count in counts.values() if isinstance(count, _Declared)]
    events = 0
    for hour in (day + hour * HOUR for hour in range(24)):
        for piece in published.events(hour):
            for event in piece:
                events += 1
                try:
                    for recount in counts.values():
                        recount.add(event)
                except (KeyError, TypeError, ValueError, AttributeError) as error:
                    detail = f"an event can't be counted: {error!r}"
                    problems.append(Problem("daily", f"{day:%Y-%m-%d}T{hour:%H}", detail))
                    return problems
            for recount in declared:
                recount.end_slice()
        for recount in declared:
            recount.end_hour()
    quarantined = sum(
        sum(1 for line in published.quarantine_lines(day + hour * HOUR) if line.event_id)
        for hour in range(24)
    )
    if not events and not quarantined:
        return None
    for table in lake.stream.every_table:
        if table.name not in counts:
            continue
        try:
            data = lake.store.read(lake.layout.daily(table.name, day))
        except FileNotFoundError:
            data = b""
        try:
            found = Counter(_canonical(json.loads(line)) for line in data.splitlines())
        except ValueError:
            problems.append(Problem("daily", f"{table.name} {day:%Y-%m-%d}", "is not JSON lines"))
            continue
        counted = counts[table.name].rows(quarantined if table.quarantine_column else 0)
        expected = Counter(map(_canonical, counted))
        if found != expected:
            if isinstance(table, JoinedTable) and waits_for_others(lake, table, day):
                continue
            wrong, missing = (found - expected).total(), (expected - found).total()
            detail = f"{wrong} rows that a recount does not have, {missing} that it has"
            problems.append(Problem("daily", f"{table.name} {day:%Y-%m-%d}", detail))
    return problems


class _Declared:
    """A table's own declaration over the day's slices: proves merging, not its expressions."""

    def __init__(self, lake: Lake, table: DailyTable) -> None:
        self._lake = lake
        self._table = table
        self._events: list[Mapping[str, Any]] = []
        self._partials: list[pl.DataFrame] = []
        self._slices: list[pl.DataFrame] = []
        # So that a day without events has the columns.
        self.end_slice()
        self.end_hour()

    def add(self, event: Mapping[str, Any]) -> None:
        self._events.append(event)

    def rows(self, quarantined: int) -> list[dict[str, Any]]:
        merged = self._table.merge(pl.concat(self._partials), quarantined)
        return [json.loads(line) for line in json_lines(merged).splitlines()]

    def end_slice(self) -> None:
        """Count a slice's events, which need not be held any longer: what it keeps is bounded."""
        events = pl.DataFrame(self._events, schema=self._lake.stream.schema).with_columns(
            time_us=_epoch_us("@timestamp"), enqueued_us=_epoch_us("enqueued_at")
        )
        self._slices.append(self._table.partials(table_frame(events, self._lake)))
        self._events = []

    def end_hour(self) -> None:
        """Combine the hour's slices, as it is done for a day (`lake.combined`)."""
        if self._slices:
            of_hour = pl.concat(self._slices)
            self._partials.append(self._table.of_hour(of_hour) if self._table.combined else of_hour)
        self._slices = []


def _canonical(row: Mapping[str, Any]) -> str:
    return json.dumps(row, sort_keys=True)


def _epoch_us(name: str) -> pl.Expr:
    time = pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", strict=False)
    return time.dt.epoch("us")
