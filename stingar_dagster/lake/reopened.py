"""Marks of event hours that are to be published again though no ledger leads to it.

An hour that only lost segments is one; and one whose objects are being replaced by slices of
another length. Every mark is an object of its own, with a name that is
never used again: so a publisher removes the marks that it saw before it looked at what is staged,
and never one that was set since. Not here: when an hour is marked (`pipeline`, `hours`).
"""

import secrets
from datetime import datetime

from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.layout import parse_hour


def mark(lake: Lake, event_hour: datetime) -> str:
    """Set a mark; returns its path."""
    path = f"{lake.layout.reopened(event_hour)}/{secrets.token_hex(8)}"
    lake.store.write(path, b"")
    return path


def marks(lake: Lake, event_hour: datetime | None = None) -> dict[datetime, list[str]]:
    """The paths of an event hour's marks, or of all hours', by event hour."""
    found: dict[datetime, list[str]] = {}
    for entry in lake.store.find(lake.layout.reopened(event_hour)):
        found.setdefault(parse_hour(entry.path.split("/")[-2]), []).append(entry.path)
    return found
