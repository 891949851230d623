"""Which hours are published in a range, and their objects, read ahead of whoever looks at them.

Listings are made by the day, requests several at once; what is held is bounded in bytes. Not here:
what is looked for in an hour (`candidates`).
"""

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.layout import hour_of_path
from stingar_dagster.storage import Entry

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)

_DAYS_LISTED: Final = 62
"""Above so many days one listing of everything is cheaper than one a day."""
_EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AHEAD: Final = 8
"""Objects that are read at once or wait to be looked at."""
_AHEAD_BYTES: Final = 64 << 20
"""What they may come to; a larger object is read alone."""


@dataclass(frozen=True, slots=True)
class PublishedHour:
    """One published event hour.

    Attributes:
        start: its first moment (UTC).
        object: the listing's entry of its events.
    """

    start: datetime
    object: Entry


def published_hours(
    lake: Lake, since: datetime | None = None, until: datetime | None = None
) -> list[PublishedHour]:
    """The published hours that overlap [since, until), in order; None: no bound."""
    if since is None or until is None or until - since > timedelta(days=_DAYS_LISTED):
        entries = lake.store.find(lake.layout.all_events)
    else:
        first = since.replace(hour=0, minute=0, second=0, microsecond=0)
        days = [first + DAY * number for number in range((until - first) // DAY + 1)]
        folders = [lake.layout.events_of(day) for day in days if day < until]
        entries = [entry for found in in_parallel(lake.store.find, folders) for entry in found]
    hours = (PublishedHour(hour_of_path(entry.path), entry) for entry in entries)
    return [
        hour
        for hour in hours
        if (since is None or hour.start + HOUR > since) and (until is None or hour.start < until)
    ]


def last_published_hour(lake: Lake) -> datetime | None:
    """The latest hour that has events; None where nothing is published."""
    days, _ = lake.store.children(lake.layout.all_events)
    for day in reversed(days):
        entries = lake.store.find(f"{lake.layout.all_events}/{day}")
        if entries:
            return hour_of_path(entries[-1].path)
    return None


def last_day(
    lake: Lake, since: datetime | None, until: datetime | None
) -> tuple[datetime, datetime] | None:
    """A range where a bound or both were left open.

    It ends with the last published hour and begins 24 hours before its end: before now if that
    is earlier, since a clock that goes ahead must not hide the last day.

    Returns:
        None where nothing is published.
    """
    if until is None:
        last = last_published_hour(lake)
        if last is None:
            return None
        until = last + HOUR
        if since is not None and since >= until:
            return since, datetime.max.replace(tzinfo=UTC)  # where nothing is published
    return since or max(min(until, datetime.now(UTC)), _EARLIEST) - DAY, until


def read_ahead(
    lake: Lake, hours: Sequence[PublishedHour]
) -> Generator[tuple[PublishedHour, bytes], None, None]:
    """The hours' objects, in order; one that went away meanwhile is empty.

    Later ones are being read while a caller looks at one. Closing the iterator ends that.
    """
    waiting: deque[tuple[PublishedHour, Future[bytes]]] = deque()
    held = 0
    rest = iter(hours)
    upcoming = next(rest, None)
    pool = ThreadPoolExecutor(_AHEAD)
    try:
        while waiting or upcoming is not None:
            while upcoming is not None and (
                not waiting
                or (len(waiting) < _AHEAD and held + upcoming.object.size <= _AHEAD_BYTES)
            ):
                waiting.append((upcoming, pool.submit(read_if_there, lake, upcoming.object)))
                held += upcoming.object.size
                upcoming = next(rest, None)
            hour, read = waiting.popleft()
            data = read.result()
            held -= hour.object.size
            yield hour, data
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def read_if_there(lake: Lake, entry: Entry) -> bytes:
    """An object's bytes; nothing where it went away since it was listed."""
    try:
        return lake.store.read(entry.path)
    except FileNotFoundError:
        return b""
