"""A day's report in the lake: made after the day's tables, replaced whole, with its digest.

A report depends on its own day and, by their digests, on days before it. It is made again whenever
its day's tables change; a change of an older day alone, or a capture that brought nothing for this
day, does not ask for it. Not here: what it says
(`facts`) and how it looks (`page`).
"""

from collections.abc import Mapping
from datetime import datetime

from stingar_dagster.lake.daily import (
    REPORT,
    hour_records,
    ledgers_of,
    sources_of_report,
    table_records,
)
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.publication import Draft, Record, publish
from stingar_dagster.lake.quarantine import quarantine_reasons
from stingar_dagster.report.facts import Facts, facts_of
from stingar_dagster.report.history import Tables, digest_of, digests_before, encoded
from stingar_dagster.report.page import page
from stingar_dagster.report.tables import read_tables


def day_facts(lake: Lake, day: datetime) -> Facts:
    """What there is to say of a day, from what is published now.

    Raises:
        StoreUnavailable, StoreDenied: the lake can't be read.
    """
    return _facts(lake, day, read_tables(lake, day), hour_records(lake, day))


def publish_report(lake: Lake, day: datetime) -> Record:
    """Publish the report of a day whose tables are published, and keep the day's digest.

    Raises:
        Conflict: other processes kept publishing it.
        StoreUnavailable, StoreDenied: the lake can't be read or written.
    """
    layout, store = lake.layout, lake.store

    def make() -> Draft:
        digest_path = layout.digest(day)
        version = store.etag(digest_path)
        # Before the tables: the record must not claim more than the report shows.
        records, hours = table_records(lake, day), hour_records(lake, day)
        sources = sources_of_report(records, hours)
        if not sources:
            store.remove(digest_path)
            return Draft(Record(), None)
        tables = read_tables(lake, day)
        digest = encoded(digest_of(tables))
        if version is None or store.read(digest_path) != digest:
            store.write(digest_path, digest, expected=version)
        data = page(_facts(lake, day, tables, hours))
        return Draft(Record(made_from=sources, rows=1, size=len(data)), data)

    return publish(store, layout.report(day), layout.day_record(REPORT, day), make)[0]


def _facts(lake: Lake, day: datetime, tables: Tables, hours: Mapping[datetime, Record]) -> Facts:
    ledgers = ledgers_of(lake, day)
    return facts_of(
        lake.stream.name,
        lake.stream.title,
        day,
        tables,
        digests_before(lake, day),
        ledgers,
        hours,
        quarantine_reasons(lake, ledgers),
    )
