"""One partition: records in, captures in landing out, by the rules of `windows`.

Here: the order of steps that keeps the rules true through crashes, failing stores and other
instances. Not here: where records come from, and when another try is made (`capturing`).
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Protocol

from stingar_dagster.capture.discovery import Landing
from stingar_dagster.capture.writer import CaptureRecord, GrowingCapture, Property, encode_capture
from stingar_dagster.errors import Conflict, UsageError
from stingar_dagster.kafka.openings import Openings
from stingar_dagster.kafka.windows import (
    MOST_AHEAD,
    NO_CLOCK_IS_SO_WRONG,
    Limits,
    Opening,
    is_old,
    is_usable,
    next_start,
    seconds_open,
)
from stingar_dagster.resuming import Position

UNREADABLE: Final = "stingar-capture-unreadable"
"""The property of an event that says what of the message could not be read, or not be written."""

_NO_TIME: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What time it is."""

    def now(self) -> datetime:
        """UTC, by the machine's clock, which may be set."""

    def seconds(self) -> float:
        """Of a clock that only goes on."""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A partition of a topic, and of what namespace its captures claim to be."""

    namespace: str
    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.namespace}/{self.topic}/{self.partition}"


@dataclass(frozen=True, slots=True)
class Landed:
    """A capture that was written.

    Attributes:
        place: of which partition.
        path: in landing.
        events, size: of the file; bytes.
        first, last: sequence numbers.
        missing: numbers from the one after the capture before to `last` that no message had.
    """

    place: Place
    path: str
    events: int
    size: int
    first: int
    last: int
    missing: int


class Ahead(Exception):
    """Names have run ahead of the clock: no window can open for so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class Partition:
    """The captures of one partition. After a Conflict it must be `resumed`.

    Args:
        place: which partition.
        landing: where captures go.
        openings: what instances agree on.
        limits: when windows close.
        position: where landing goes on.
        clock: what time it is.
        landed: told of every capture that was written.

    Attributes:
        next: the sequence number to be read next.
        taken: how many messages were added to windows.
    """

    def __init__(
        self,
        place: Place,
        landing: Landing,
        openings: Openings,
        limits: Limits,
        position: Position,
        clock: Clock,
        landed: Callable[[Landed], None],
    ) -> None:
        self.place = place
        self._landing = landing
        self._openings = openings
        self._limits = limits
        self._clock = clock
        self._landed = landed
        self._behind = self._overrule = False
        self.taken = 0
        self._take_up(position)

    def resumed(self, position: Position) -> None:
        """Forget what is not in landing, and go on where it does.

        Args:
            position: read from landing after the Conflict.
        """
        behind = self._behind and position.next == self._after
        self._take_up(position)
        # Landing does not have what was agreed to come before the window that others opened: it
        # was taken out of there. Landing is the truth.
        self._overrule = behind

    def _take_up(self, position: Position) -> None:
        self._position = position
        self._after = self.next = position.next
        self._window: GrowingCapture | None = None
        self._opening: Opening | None = None
        self._closes = 0.0
        self._last: tuple[int, bytes | None] | None = None
        if position.has_last_body:
            self._last = position.next - 1, position.last_body
        self._behind = self._overrule = False

    @property
    def is_open(self) -> bool:
        return self._window is not None

    @property
    def size(self) -> int:
        """Bytes that the open window holds."""
        return 0 if self._window is None else self._window.size

    @property
    def read_from(self) -> int:
        """The offset to read from: the last message once more, to compare it."""
        return self.next if self._last is None else self._last[0]

    @property
    def closes(self) -> float | None:
        """When the open window closes, by `Clock.seconds`."""
        return None if self._window is None else self._closes

    def take(self, records: Iterable[CaptureRecord]) -> None:
        """Add messages in their order, and write what they fill up.

        After an exception, messages from `next` on have to be given again.

        Raises:
            UsageError: the last message is another one now, or names are in the future.
            Ahead: no window can open yet.
            Conflict: another instance wrote what was to be written; see `resumed`.
            StoreUnavailable, StoreDenied: a store can't be written; the window is kept.
        """
        # An instance that was stopped for long may wake up with a window that is over.
        self.close_if_due()
        for record in records:
            number = record.sequence_number
            if number < self.next:
                if self._last is not None and number == self._last[0]:
                    self._compare(*self._last, record.body)
                continue
            if self.size >= self._limits.size:
                self.close()
            if self._window is None:
                self._open()
            assert self._window is not None
            _add(self._window, record)
            self.next = number + 1
            self._last = number, record.body
            self.taken += 1
        if self._window is not None and self._window.size >= self._limits.size:
            self.close()

    def close_if_due(self) -> None:
        """Write the window whose time is over; raises what `take` does."""
        if self._window is None or self._opening is None:
            return
        if (
            self._window.size >= self._limits.size
            or self._clock.seconds() >= self._closes
            or is_old(self._opening, self._clock.now(), self._limits)
        ):
            self.close()

    def check_clock(self) -> None:
        """Raise Ahead while no window can open."""
        self._next_start(self._clock.now())

    def close(self) -> None:
        """Write the open window, if there is one; raises what `take` does."""
        window, opening = self._window, self._opening
        if window is None or opening is None or window.first is None or window.last is None:
            return
        if self._openings.read()[0] != opening:
            # Its name may be one that others don't know of, as after the object was removed.
            raise Conflict(f"{self.place}: another instance opened a window")
        path, data = self._path(opening), window.encode()
        self._landing.add(path, data)
        missing = window.last + 1 - self._after - window.records
        if self._after == 0:
            # Of a topic that is older than its captures, the first message need not be number 0.
            missing -= window.first
        body = None if self._last is None else self._last[1]
        self._take_up(Position(window.last + 1, opening.start, body, self._last is not None))
        self._landed(
            Landed(self.place, path, window.records, len(data), window.first, window.last, missing)
        )

    def _path(self, opening: Opening) -> str:
        place = self.place
        return self._landing.format.path(
            place.namespace, place.topic, place.partition, opening.start
        )

    def _open(self) -> None:
        now, last = self._clock.now(), self._position.last_start
        if last is not None and last > now + NO_CLOCK_IS_SO_WRONG:
            raise UsageError(
                f"{self.place}: its last capture is named {_second(last)} UTC, and this machine's "
                f"clock says {_second(now)}; set the clock, or move captures that a wrong clock "
                "named to the hour in which they came"
            )
        opening, version = self._openings.read()
        if opening is not None and opening.first > self._after and not self._overrule:
            self._behind = True
            raise Conflict(f"{self.place}: another instance is ahead")
        if opening is not None and opening.start > now + NO_CLOCK_IS_SO_WRONG:
            raise UsageError(
                f"{self.place}: the window that is open is named {_second(opening.start)} UTC, "
                f"and this machine's clock says {_second(now)}; set the clock, or, if it was "
                "another one that was wrong, end every `stingar capture` and remove "
                f"{self._openings.address}"
            )
        if opening is None or not is_usable(opening, self._after, last, now, self._limits):
            if opening is not None and (last is None or opening.start > last):
                self._close_empty(opening)
            opening = Opening(self._after, self._next_start(now))
            if not self._openings.replace(opening, version):
                raise Conflict(f"{self.place}: another instance opened a window")
        self._opening = opening
        self._window = GrowingCapture()
        self._closes = self._clock.seconds() + seconds_open(opening, now, self._limits)

    def _next_start(self, now: datetime) -> datetime:
        start = next_start(now, self._position.last_start)
        if start > now + MOST_AHEAD:
            raise Ahead((start - now - MOST_AHEAD).total_seconds())
        return start

    def _close_empty(self, opening: Opening) -> None:
        """Take the name of a window that nobody goes on with, before another one is agreed on.

        Whoever comes to this at the same time writes the same bytes.
        """
        self._landing.add(self._path(opening), encode_capture([]))
        self._position = replace(self._position, last_start=opening.start)

    def _compare(self, number: int, before: bytes | None, now: bytes | None) -> None:
        if now != before:
            raise UsageError(
                f"{self.place}: message {number} is not the one that was captured under this "
                "number; the topic was deleted and made again or is another one, or something "
                "else wrote the captures: capture it under another name "
                "(STINGAR_KAFKA_NAMESPACE), or into another STINGAR_LANDING"
            )


def _add(window: GrowingCapture, record: CaptureRecord) -> None:
    """Add a message; where it can't be written as it is, its number and its body."""
    try:
        window.add(record)
    except ValueError as error:
        left: dict[str, Property] = {UNREADABLE: f"time, key and headers: {error}"}
        window.add(replace(record, enqueued=_NO_TIME, system_properties={}, properties=left))


def _second(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"


class SystemClock:
    """The machine's."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def seconds(self) -> float:
        return time.monotonic()
