"""What is staged and not yet published, told by comparing state, never by remembering events.

Each function compares what should be with what is, so it gives the same answer after a crash, a
lost message or a restart. Not here: who acts on it (`pipeline`, Dagster's sensors).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from stingar_dagster.capture.discovery import Capture
from stingar_dagster.lake.daily import (
    REACH,
    hour_records,
    kept_digests,
    ledgers_of,
    quarantined_in,
    report_record,
    report_sources,
    sources_of_day,
    table_records,
)
from stingar_dagster.lake.indicators import OtherTables, is_of_others
from stingar_dagster.lake.joined import joined_sources, own_sources
from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.layout import day_of, hour_key, hour_of_path, parse_hour
from stingar_dagster.lake.ledger import Ledger, LedgerLine, read_ledger
from stingar_dagster.lake.publication import Record, read_record
from stingar_dagster.lake.reopened import marks
from stingar_dagster.lake.segments import landed_hour_of


def by_landed_hour(lake: Lake, captures: Iterable[Capture]) -> dict[datetime, list[Capture]]:
    """The stream's captures by landed hour, in order."""
    hours: dict[datetime, list[Capture]] = {}
    for capture in captures:
        if lake.stream.carries(capture.name.event_hub):
            hours.setdefault(capture.name.landed_hour, []).append(capture)
    return dict(sorted(hours.items()))


def unlanded(lake: Lake, captures: dict[datetime, list[Capture]]) -> dict[datetime, list[Capture]]:
    """Landed hours with captures that the ledger does not have, with those captures.

    An hour whose quarantine is not published yet is there too, with no captures.
    """
    ledgers = in_parallel(lambda hour: read_ledger(lake.store, lake.layout, hour), captures)
    missing: dict[datetime, list[Capture]] = {}
    for (hour, listed), ledger in zip(captures.items(), ledgers, strict=True):
        new = [capture for capture in listed if not is_landed(ledger, capture)]
        if new or not _quarantine_is_published(lake, hour, ledger):
            missing[hour] = new
    return missing


def is_landed(ledger: Ledger, capture: Capture) -> bool:
    line = ledger.lines.get(capture.name.path)
    return line is not None and line.etag == capture.etag


def unpublished_hours(lake: Lake, landed_hours: Iterable[datetime]) -> dict[datetime, str]:
    """Event hours that the given landed hours touch and whose publication does not show it.

    Returns:
        a text for each hour that changes with what is staged for it.
    """
    staged: dict[datetime, dict[str, set[str]]] = {}
    hours = list(landed_hours)
    ledgers = in_parallel(lambda hour: read_ledger(lake.store, lake.layout, hour), hours)
    for landed, ledger in zip(hours, ledgers, strict=True):
        for key, names in ledger.segments().items():
            staged.setdefault(parse_hour(key), {})[hour_key(landed)] = names
    records = in_parallel(
        lambda hour: read_record(lake.store, lake.layout.hour_record("events", hour)), staged
    )
    pending = {}
    for (hour, by_landed), record in zip(staged.items(), records, strict=True):
        published = _by_landed_hour(record)
        changed = {
            key: names for key, names in by_landed.items() if published.get(key, set()) != names
        }
        if changed:
            pending[hour] = " ".join(sorted(set().union(*changed.values())))
    for hour, paths in marks(lake).items():
        pending.setdefault(hour, f"reopened {' '.join(paths)}")
    return dict(sorted(pending.items()))


def landed_behind(pending: dict[datetime, str]) -> set[datetime]:
    """The landed hours whose segments make event hours unpublished."""
    names = (name for text in pending.values() for name in text.split())
    return {parse_hour(landed_hour_of(name)) for name in names if name.endswith(".parquet")}


def unpublished_days(
    lake: Lake, days: Iterable[datetime], *, others: bool = True
) -> dict[datetime, str]:
    """Days of which a daily table or the report does not show the published hours.

    A report is held against all that it depends on, the digests of days before it included; so a
    change of one day can make later days pending, of which nothing but the report then changes.

    Args:
        lake: where.
        days: which are looked at.
        others: whether joined tables are held against other streams' tables, too. Those of today
            change all the time.

    Returns:
        a text for each day that changes with what its tables should be made from.
    """
    pending = {}
    listed = sorted(set(days))
    digests = kept_digests(lake) if listed else {}
    other_tables = OtherTables(lake)
    for day in listed:
        hours, ledgers = hour_records(lake, day), ledgers_of(lake, day)
        quarantined = quarantined_in(ledgers)
        records = table_records(lake, day)
        for table in lake.stream.tables:
            expected = sources_of_day(table, hours, quarantined if table.quarantine_column else 0)
            record = records[table.name]
            if (record.made_from if record else ()) != expected:
                pending[day] = " ".join(expected)
                break
        else:
            if stale := _stale_joined(lake, day, hours, records, other_tables, others):
                pending[day] = stale
                continue
            expected = report_sources(lake, day, hours, ledgers, digests).names
            record = report_record(lake, day) or Record()
            kept = {digests.get((part, day)) for part in REACH}
            lost = not record.partial_paths() <= kept
            if record.made_from != expected or lost:
                pending[day] = " ".join(expected)
    return pending


def _stale_joined(
    lake: Lake,
    day: datetime,
    hours: Mapping[datetime, Record],
    records: Mapping[str, Record | None],
    other_tables: OtherTables,
    others: bool,
) -> str:
    """What a joined table of a day should be made from, if it was made from something else."""
    for table in lake.stream.joined:
        made_from = (records[table.name] or Record()).made_from
        if others:
            expected = joined_sources(lake, table, day, hours, other_tables)
        else:
            expected = own_sources(lake, hours)
            made_from = tuple(name for name in made_from if not is_of_others(name))
        if made_from != expected:
            return " ".join(expected)
    return ""


def landed_hours(
    lake: Lake, since: datetime | None = None, until: datetime | None = None
) -> list[datetime]:
    """Landed hours in [since, until) that have a ledger."""
    found = (hour_of_path(entry.path) for entry in lake.store.find(lake.layout.ledgers))
    return [
        hour
        for hour in found
        if (since is None or hour >= since) and (until is None or hour < until)
    ]


def lines_of_hub(lake: Lake, namespace: str, event_hub: str) -> list[LedgerLine]:
    """The ledgers' lines of one hub, of every landed hour."""
    hours = landed_hours(lake)
    ledgers = in_parallel(lambda hour: read_ledger(lake.store, lake.layout, hour), hours)
    return [
        line
        for ledger in ledgers
        for line in ledger.lines.values()
        if (line.namespace, line.event_hub) == (namespace, event_hub)
    ]


def published_days(lake: Lake) -> list[datetime]:
    """Days that have a published hour."""
    found = lake.store.find(lake.layout.hour_records("events"))
    return sorted({day_of(hour_of_path(entry.path)) for entry in found})


def _by_landed_hour(record: Record | None) -> dict[str, set[str]]:
    names: dict[str, set[str]] = {}
    for name in record.made_from if record is not None else ():
        names.setdefault(landed_hour_of(name), set()).add(name)
    return names


def _quarantine_is_published(lake: Lake, hour: datetime, ledger: Ledger) -> bool:
    record = read_record(lake.store, lake.layout.hour_record("quarantine", hour))
    return set(record.made_from if record else ()) == ledger.rejected()
