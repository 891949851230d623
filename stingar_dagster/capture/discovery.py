"""Which captures are in landing, listed without reading more than the hours in question.

A folder that the time range determines is entered without listing its parent; the rest is listed
level by level and pruned by date. Captures appear late and out of order, and partitions land
independently, so nothing here remembers a global "last name": callers keep a mark for each source
(namespace, hub, partition) and list again over a look-back. Not here: reading captures (`reader`).
"""

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from stingar_dagster.capture.names import (
    SUFFIX,
    TIME_TOKENS,
    CaptureFormat,
    CaptureName,
    Level,
    time_tokens,
)
from stingar_dagster.errors import CaptureNameError, Conflict
from stingar_dagster.storage import Entry, Store

HOUR = timedelta(hours=1)
_MAX_DIRECT = 4
"""Up to so many candidate folders are entered unseen: cheaper than listing their parent."""


@dataclass(frozen=True, slots=True)
class Capture:
    """One capture file in landing.

    Attributes:
        name: what its path says.
        etag: its version; captures are immutable, so another etag is another file.
        size: in bytes.
        modified: when it was written, where the store tells.
        md5: of the bytes it should have, where the store keeps one.
    """

    name: CaptureName
    etag: str
    size: int
    modified: datetime | None
    md5: bytes | None = None


@dataclass(frozen=True, slots=True)
class Fetched:
    """A capture's bytes, and what tells that they are not those that were stored, if anything."""

    data: bytes
    wrong: str | None = None


@dataclass(slots=True)
class Listing:
    """What a listing found: captures by name, and `.avro` files whose names don't match."""

    captures: list[Capture] = field(default_factory=list)
    strangers: list[CaptureNameError] = field(default_factory=list)


class Landing:
    """The folder that captures land in. Only `stingar land` and `stingar capture` write there."""

    def __init__(self, store: Store, name_format: CaptureFormat) -> None:
        self.store = store
        self.format = name_format

    def between(self, since: datetime, until: datetime) -> Listing:
        """Captures whose window starts in [since, until), both whole hours (UTC)."""
        listing = Listing()
        for entry in self._walk("", 0, {}, since, until):
            if not entry.path.endswith(SUFFIX):
                continue
            try:
                name = self.format.parse(entry.path)
            except CaptureNameError as error:
                listing.strangers.append(error)
                continue
            if since <= name.start < until:
                listing.captures.append(
                    Capture(name, entry.etag, entry.size, entry.modified, entry.md5)
                )
        listing.captures.sort(key=lambda capture: capture.name.path)
        return listing

    def hour(self, hour: datetime) -> list[Capture]:
        """The captures of one landed hour, sorted by name."""
        return self.between(hour, hour + HOUR).captures

    def add(self, path: str, data: bytes) -> None:
        """Write a capture where there is none of that name.

        Raises:
            Conflict: there is another one.
        """
        try:
            self.store.write(path, data, expected=None)
        except Conflict:
            # A write whose answer was lost is sent again, and then finds itself.
            try:
                is_ours = self.store.read(path) == data
            except FileNotFoundError:
                is_ours = False
            if not is_ours:
                raise

    def read(self, capture: Capture) -> bytes:
        return self.store.read(capture.name.path)

    def fetch(self, capture: Capture) -> Fetched:
        """Read a capture, and once more where its bytes do not have the listed checksum."""
        data = self.read(capture)
        if _has_checksum(data, capture):
            return Fetched(data)
        data = self.read(capture)
        if _has_checksum(data, capture):
            return Fetched(data)
        if self.store.etag(capture.name.path) != capture.etag:
            return Fetched(data)  # replaced since it was listed, and landed again when that shows
        wanted, found = (capture.md5 or b"").hex(), _md5(data).hex()
        return Fetched(data, f"the store keeps the MD5 {wanted}, and the bytes read have {found}")

    def check_format(self) -> None:
        """Look at one capture of any age, so that a wrong format is not taken for no traffic.

        Raises:
            CaptureNameError: that capture's name does not match the format.
        """
        path = self._first_capture("", len(self.format.levels) + 4)
        if path is not None:
            self.format.parse(path)

    def first_hour(self, start: datetime) -> datetime | None:
        """The landed hour of the oldest capture not before `start`, None where there is none."""
        return self._first(start, datetime.now(UTC) + 2 * HOUR, 1)

    def _first(self, since: datetime, until: datetime, depth: int) -> datetime | None:
        """The oldest hour, by years (depth 1), their months, days and hours (depth 4)."""
        for time in sorted(set(self._dates("", 0, {}, since, until, depth))):
            if depth == 4:
                return time
            first = self._first(max(since, time), min(until, _next(time, depth)), depth + 1)
            if first is not None:
                return first
        return None

    def _dates(
        self,
        folder: str,
        index: int,
        known: dict[str, str],
        since: datetime,
        until: datetime,
        depth: int,
    ) -> Iterator[datetime]:
        wanted = TIME_TOKENS[:depth]
        if all(token in known for token in wanted):
            period = _period({token: known[token] for token in wanted})
            if period is not None:
                yield period[0]
            return
        if index == len(self.format.levels):
            return
        for name, tokens, _ in self._level(folder, index, known, since, until, direct=False):
            if not name:  # a stranger leads nowhere
                continue
            path = f"{folder}/{name}" if folder else name
            yield from self._dates(path, index + 1, known | tokens, since, until, depth)

    def _walk(
        self, folder: str, index: int, known: dict[str, str], since: datetime, until: datetime
    ) -> Iterator[Entry]:
        hour_known = all(token in known for token in TIME_TOKENS[:4])
        if hour_known or _lies_in(known, since, until):
            yield from self.store.find(folder)
            return
        for name, tokens, entry in self._level(folder, index, known, since, until, direct=True):
            path = f"{folder}/{name}" if folder else name
            if entry is not None:
                yield entry
            elif index + 1 < len(self.format.levels):
                yield from self._walk(path, index + 1, known | tokens, since, until)

    def _level(
        self,
        folder: str,
        index: int,
        known: dict[str, str],
        since: datetime,
        until: datetime,
        direct: bool,
    ) -> Iterator[tuple[str, dict[str, str], Entry | None]]:
        """The names at one level that can lead to captures of the range."""
        level = self.format.levels[index]
        if direct and index + 1 < len(self.format.levels):
            candidates = _candidates(level, known, since, until)
            if candidates is not None:
                for tokens in candidates:
                    yield level.fill(known | tokens), tokens, None
                return
        folders, entries = self.store.children(folder)
        for name in folders:
            tokens = level.match(name)  # type: ignore[assignment]
            if tokens is not None and _may_lie_in(known | tokens, since, until):
                yield name, tokens, None
        for entry in entries:
            tokens = level.match(entry.path.rsplit("/", 1)[-1])  # type: ignore[assignment]
            if tokens is None:
                if entry.path.endswith(SUFFIX):
                    yield "", {}, entry
            elif _may_lie_in(known | tokens, since, until):
                yield entry.path.rsplit("/", 1)[-1], tokens, entry

    def _first_capture(self, folder: str, depth: int) -> str | None:
        folders, entries = self.store.children(folder)
        for entry in entries:
            if entry.path.endswith(SUFFIX):
                return entry.path
        if depth:
            for name in folders:
                path = self._first_capture(f"{folder}/{name}" if folder else name, depth - 1)
                if path is not None:
                    return path
        return None


def _has_checksum(data: bytes, capture: Capture) -> bool:
    return capture.md5 is None or _md5(data) == capture.md5


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


def _candidates(
    level: Level, known: dict[str, str], since: datetime, until: datetime
) -> list[dict[str, str]] | None:
    """The few values that the level's tokens can have in the range; None: list the folder."""
    times = [token for token in level.tokens if token not in known]
    if any(token not in TIME_TOKENS[:4] for token in times):
        return None
    if not times:
        return [{}]
    if until - since > timedelta(days=3):
        years = range(since.year, (until - HOUR).year + 1)
        if times != ["Year"] or len(years) > _MAX_DIRECT:
            return None
        named = [{"Year": f"{year:04}"} for year in years]
        return [tokens for tokens in named if _may_lie_in(known | tokens, since, until)]
    found: list[dict[str, str]] = []
    hour = since
    while hour < until:
        values = time_tokens(hour)
        if all(values[token] == known[token] for token in TIME_TOKENS[:4] if token in known):
            tokens = {token: values[token] for token in times}
            if tokens not in found:
                found.append(tokens)
                if len(found) > _MAX_DIRECT:
                    return None
        hour += HOUR
    return found


def _may_lie_in(known: dict[str, str], since: datetime, until: datetime) -> bool:
    """Whether a window whose name holds these tokens can start in [since, until)."""
    period = _period(known)
    return period is None or (period[0] < until and period[1] > since)


def _lies_in(known: dict[str, str], since: datetime, until: datetime) -> bool:
    """Whether every window whose name holds these tokens starts in [since, until)."""
    period = _period(known)
    return period is not None and since <= period[0] and period[1] <= until


def _period(known: dict[str, str]) -> tuple[datetime, datetime] | None:
    """The year, month, day or hour that the tokens name, as far as they are known in that order."""
    values = [
        int(known[token]) for token in itertools.takewhile(known.__contains__, TIME_TOKENS[:4])
    ]
    try:
        start = datetime(*(values + [1, 1, 0][len(values) - 1 :])[:4], tzinfo=UTC)  # type: ignore[misc,arg-type]
        return start, _next(start, len(values))
    except (TypeError, ValueError, OverflowError):
        # No token yet, a date that does not exist, or one that nothing can follow.
        return None


def _next(time: datetime, depth: int) -> datetime:
    if depth == 1:
        return time.replace(year=time.year + 1)
    if depth == 2:
        return (time.replace(day=1) + timedelta(days=32)).replace(day=1)
    return time + (timedelta(days=1) if depth == 3 else HOUR)
