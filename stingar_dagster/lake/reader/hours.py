"""Which slices are published in a range, and their objects, read ahead of whoever looks at them.

An hour that is published as one object is one slice.

Listings are made by the day, requests several at once; what is held is bounded in bytes. Not here:
what is looked for in a slice (`candidates`).
"""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from stingar_dagster.errors import UnknownFormat
from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.layout import hour_of_path
from stingar_dagster.lake.slices import lines_in, spans_of
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
class PublishedSlice:
    """One published object of an event hour.

    Attributes:
        hour: the event hour (UTC).
        start, end: it holds no event before `start`, and none from `end` on.
        object: the listing's entry of its events.
    """

    hour: datetime
    start: datetime
    end: datetime
    object: Entry

    @property
    def name(self) -> str:
        return self.object.path.rsplit("/", 1)[-1]


def published_slices(
    lake: Lake, since: datetime | None = None, until: datetime | None = None
) -> list[PublishedSlice]:
    """The published slices that overlap [since, until), in order; None: no bound."""
    if since is None or until is None or until - since > timedelta(days=_DAYS_LISTED):
        entries = lake.store.find(lake.layout.all_events)
    else:
        first = since.replace(hour=0, minute=0, second=0, microsecond=0)
        days = [first + DAY * number for number in range((until - first) // DAY + 1)]
        folders = [lake.layout.events_of(day) for day in days if day < until]
        entries = [entry for found in in_parallel(lake.store.find, folders) for entry in found]
    by_hour: dict[datetime, dict[str, Entry]] = {}
    for entry in entries:
        of_hour = by_hour.setdefault(hour_of_path(entry.path), {})
        of_hour[entry.path.rsplit("/", 1)[-1]] = entry
    return [
        piece
        for hour, of_hour in by_hour.items()
        for piece in _slices(hour, of_hour)
        if (since is None or piece.end > since) and (until is None or piece.start < until)
    ]


def published_in(lake: Lake, hour: datetime) -> list[PublishedSlice]:
    """The published slices of an event hour, in order."""
    entries = lake.store.find(lake.layout.events_in(hour))
    return list(_slices(hour, {entry.path.rsplit("/", 1)[-1]: entry for entry in entries}))


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
    lake: Lake, slices: Sequence[PublishedSlice]
) -> Generator[tuple[PublishedSlice, bytes], None, None]:
    """The slices' lines, in order; of an object that went away meanwhile there are none.

    Later ones are being read while a caller looks at one; compressed ones are inflated when it is
    their turn. Closing the iterator ends that.

    Raises:
        UnknownFormat: an object is damaged.
    """
    waiting: deque[tuple[PublishedSlice, Future[bytes]]] = deque()
    held = 0
    rest = iter(slices)
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
            piece, read = waiting.popleft()
            data = read.result()
            held -= piece.object.size
            yield piece, _lines(lake, piece, data)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def read_if_there(lake: Lake, entry: Entry) -> bytes:
    """An object's bytes; nothing where it went away since it was listed."""
    try:
        return lake.store.read(entry.path)
    except FileNotFoundError:
        return b""


def _slices(hour: datetime, of_hour: dict[str, Entry]) -> Iterator[PublishedSlice]:
    for name, span in sorted(spans_of(of_hour).items(), key=lambda item: item[1]):
        yield PublishedSlice(hour, *span.bounds(hour), of_hour[name])


def _lines(lake: Lake, piece: PublishedSlice, data: bytes) -> bytes:
    try:
        return lines_in(piece.name, data)
    except ValueError as error:
        place = lake.store.describe(piece.object.path)
        raise UnknownFormat(f"{place} {error}; run its hour by hand") from error
