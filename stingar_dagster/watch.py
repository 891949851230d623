"""Where to look for new captures, so that each look is cheap and none is missed for long.

Every look lists the last hours; every few minutes from each source's own mark, for partitions that
lag; once an hour a week, for captures that landed after an outage under old names. A first look at
a filled landing folder goes a week at a time. Where notices come, the hours that they tell of are
listed at once, and the rest once a minute. Not here: what to do about captures (`sensors`).
"""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from stingar_dagster.capture.discovery import Capture, Landing, Listing

HOUR: Final = timedelta(hours=1)
LAGGING_EVERY: Final = timedelta(minutes=5)
LAGGING_REACH: Final = timedelta(days=2)
RECONCILE_EVERY: Final = timedelta(hours=1)
RECONCILE_REACH: Final = timedelta(days=7)
STRIDE: Final = timedelta(days=7)
LISTING_EVERY: Final = timedelta(minutes=1)
"""How long a lost notice can hide a capture of the last hours."""


class Marks(msgspec.Struct):
    """How far landing has been looked at.

    Attributes:
        looked_until: everything before it has been listed once; None: nothing yet.
        sources: newest landed hour seen of each namespace/hub/partition.
        looked_at, lagging_at, reconciled_at: when a look and the wider looks were last taken.
        open_hours: landed hours that are not done, listed again at every look.
    """

    looked_until: datetime | None = None
    sources: dict[str, datetime] = {}
    looked_at: datetime | None = None
    lagging_at: datetime | None = None
    reconciled_at: datetime | None = None
    open_hours: list[datetime] = []


def look(
    landing: Landing, marks: Marks, start: datetime, lookback: timedelta, now: datetime
) -> tuple[Listing, Marks]:
    """List what may be new.

    Args:
        landing: the folder.
        marks: of the last look.
        start: first hour that exists as a partition.
        lookback: how far behind the newest hour every look goes.
        now: UTC.

    Returns:
        the captures found, and the marks for the next look; the caller sets `open_hours`.
    """
    end = now.replace(minute=0, second=0, microsecond=0) + 2 * HOUR
    after = Marks(
        marks.looked_until, dict(marks.sources), now, marks.lagging_at, marks.reconciled_at
    )
    if marks.looked_until is None:
        first = landing.first_hour(start)
        if first is None:
            return Listing(), after
        since = looked = first
    else:
        looked = min(marks.looked_until, end - 2 * HOUR)
        since = max(start, looked - lookback)
    until = min(end, max(since, looked) + STRIDE)
    if until == end:
        since = _reach_back(after, since, start, lookback, now)
    after.looked_until = min(until, end - HOUR)
    found = landing.between(since, until)
    for hour in marks.open_hours:
        if not since <= hour < until:
            found.captures += landing.hour(hour)
    for capture in found.captures:
        _move_mark(after.sources, capture)
    return found, after


def look_where_told(landing: Landing, marks: Marks, now: datetime) -> tuple[Listing, Marks] | None:
    """List the open hours only, among them those that notices tell of, while that is enough.

    Returns:
        as `look` does, or None where a look at the last hours is due.
    """
    until = now.replace(minute=0, second=0, microsecond=0) + HOUR
    if marks.looked_until is None or marks.looked_until < until or marks.looked_at is None:
        return None
    if not timedelta(0) <= now - marks.looked_at < LISTING_EVERY:
        return None
    found, after = Listing(), msgspec.structs.replace(marks, sources=dict(marks.sources))
    for hour in marks.open_hours:
        found.captures += landing.hour(hour)
    for capture in found.captures:
        _move_mark(after.sources, capture)
    return found, after


def _reach_back(
    marks: Marks, since: datetime, start: datetime, lookback: timedelta, now: datetime
) -> datetime:
    """Begin earlier when a wider look is due."""
    if marks.lagging_at is None or now - marks.lagging_at >= LAGGING_EVERY:
        marks.lagging_at = now
        oldest = min(marks.sources.values(), default=since) - lookback
        since = min(since, max(oldest, _hour(now - LAGGING_REACH)))
    if marks.reconciled_at is None:
        marks.reconciled_at = now
    elif now - marks.reconciled_at >= RECONCILE_EVERY:
        marks.reconciled_at = now
        since = min(since, _hour(now - RECONCILE_REACH))
    return max(since, start)


def _move_mark(sources: dict[str, datetime], capture: Capture) -> None:
    name = capture.name
    newest = sources.get(name.source)
    if newest is None or name.landed_hour > newest:
        sources[name.source] = name.landed_hour


def _hour(time: datetime) -> datetime:
    return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
