"""A day's report in the lake: made after the day's tables, replaced whole, with its digest.

A report depends on its own day and, by their digests, on days before it; its record names all of
it (`lake.daily.report_sources`), so any change asks for it. A digest depends on its own day's
tables alone: however days are ordered, once each was made no digest changes any more, and reports
that are made after that are final. Not here: what it says (`facts`) and how it looks (`page`).
"""

from datetime import datetime

from stingar_dagster.lake.daily import (
    REACH,
    REPORT,
    ReportSources,
    report_record,
    report_sources,
)
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.publication import Draft, Record, publish
from stingar_dagster.lake.segments import collect_orphans, digest
from stingar_dagster.report.facts import Facts, facts_of
from stingar_dagster.report.history import Tables, digest_of, digests_before
from stingar_dagster.report.page import page
from stingar_dagster.report.tables import read_tables


def day_facts(lake: Lake, day: datetime) -> Facts:
    """What there is to say of a day, from what is published now.

    Raises:
        StoreUnavailable, StoreDenied: the lake can't be read.
    """
    return _facts(lake, report_sources(lake, day), read_tables(lake, day))


def publish_report(lake: Lake, day: datetime) -> Record:
    """Publish the report of a day whose tables are published, and keep the day's digest.

    Raises:
        Conflict: other processes kept publishing it.
        StoreUnavailable, StoreDenied: the lake can't be read or written.
    """
    layout, store = lake.layout, lake.store

    def make() -> Draft:
        _collect_digests(lake, day)
        # Before tables and digests: the record must not claim more than the report shows.
        sources = report_sources(lake, day)
        if not sources.names:
            return Draft(Record(), None)
        tables = read_tables(lake, day)
        paths = {}
        for part, data in digest_of(tables).encoded().items():
            paths[part] = layout.digest(part, day, f"{digest(data)}.msgpack")
            store.write(paths[part], data)
        data = page(_facts(lake, sources, tables))
        record = Record(made_from=sources.names, rows=1, size=len(data), partials=paths)
        return Draft(record, data)

    record, before = publish(store, layout.report(day), layout.day_record(REPORT, day), make)
    if before is not None:
        for path in before.partial_paths() - record.partial_paths():
            store.remove(path)
    return record


def _collect_digests(lake: Lake, day: datetime) -> None:
    """Remove digests of the day that its record does not name and that no run can be about to."""
    record = report_record(lake, day)
    named = {path.rsplit("/", 1)[-1] for path in record.partial_paths()} if record else set()
    for part in REACH:
        collect_orphans(lake.store, lake.store.find(lake.layout.digest(part, day)), named)


def _facts(lake: Lake, sources: ReportSources, tables: Tables) -> Facts:
    return facts_of(
        lake.stream.name,
        lake.stream.title,
        sources.day,
        tables,
        digests_before(lake, sources.day, sources.digests),
        sources.ledgers,
        sources.hours,
        sources.reasons,
        sources.around,
    )
