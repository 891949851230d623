"""Every partition of the topics, from a source of messages to landing, for as long as wanted.

Here: which partitions are read, when windows are looked at, and what becomes of errors: another
try is made of what it can mend, and a partition that waits is not read meanwhile. Memory is that of
the open windows, at most `Limits.size` and two messages a partition, one more file while one is
written, and what the source holds ready. Not here: the rules of windows (`windows`, `partition`),
Kafka (`client`), and what is printed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

from stingar_dagster.capture.discovery import Landing
from stingar_dagster.capture.writer import CaptureRecord
from stingar_dagster.errors import (
    BrokerDenied,
    BrokerUnavailable,
    Conflict,
    StoreUnavailable,
    UsageError,
)
from stingar_dagster.kafka.openings import Openings
from stingar_dagster.kafka.partition import Ahead, Clock, Landed, Partition, Place
from stingar_dagster.kafka.windows import Limits
from stingar_dagster.lake import backlog
from stingar_dagster.lake.lake import Lake
from stingar_dagster.resuming import Position, positions

_POLL_SECONDS: Final = 0.5
_REFRESH_SECONDS: Final = 60.0
"""So often new partitions are looked for."""
_WAITS: Final = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before each further try of what a store or the broker did not answer; the last repeats.
"""
_TOLD_SECONDS: Final = 60.0
"""A wait for the clock that is longer than this is told."""

TopicPartition = tuple[str, int]


@dataclass(slots=True)
class Polled:
    """What came of one look.

    Attributes:
        records: messages by partition, in order.
        ended: partitions that were read to their end.
        lost: partitions whose next offset the broker does not have.
        faults: what to say of partitions of which something could not be read. Records are of what
            comes before it.
        away: what to say where no broker can be reached.
    """

    records: dict[TopicPartition, list[CaptureRecord]] = field(default_factory=dict)
    ended: set[TopicPartition] = field(default_factory=set)
    lost: set[TopicPartition] = field(default_factory=set)
    faults: dict[TopicPartition, str] = field(default_factory=dict)
    away: str | None = None


class Source(Protocol):
    """Where messages come from. Every method raises BrokerUnavailable or BrokerDenied."""

    def partitions(self) -> Iterable[TopicPartition]:
        """Every partition of the topics."""

    def bounds(self, place: TopicPartition) -> tuple[int, int]:
        """The lowest offset that is there, and the one after the highest."""

    def read_from(self, place: TopicPartition, offset: int) -> None:
        """Read a partition from an offset on; nothing that was read before comes any more."""

    def stop(self, place: TopicPartition) -> None:
        """Read a partition no more; nothing of it comes any more."""

    def poll(self, seconds: float) -> Polled:
        """What came within so many seconds."""


class Report(Protocol):
    """Who is told."""

    def landed(self, capture: Landed) -> None:
        """A capture was written."""

    def note(self, line: str) -> None:
        """Something that an operator should know."""

    def status(self, read: int, windows: int, size: int) -> None:
        """So many events were read; so many windows are open and hold so many bytes."""


@dataclass(slots=True)
class _Reading:
    """How it stands with one partition.

    Attributes:
        tries: how often in a row a store or the broker did not answer.
        again_at: when it is tried again; None: it is being read.
        stale: whether landing has to be read first.
        early: whether it waits for the clock.
        at_end: whether it was read to its end.
    """

    partition: Partition
    tries: int = 0
    again_at: float | None = None
    stale: bool = False
    early: bool = False
    at_end: bool = False


class Capturer:
    """Captures topics.

    Args:
        source: of messages.
        landing: where captures go.
        lake: its ledgers know what landing does not have any more.
        namespace: that captures claim to be of.
        limits: when windows close.
        clock: what time it is.
        report: who is told.
    """

    def __init__(
        self,
        source: Source,
        landing: Landing,
        lake: Lake,
        namespace: str,
        limits: Limits,
        clock: Clock,
        report: Report,
    ) -> None:
        self._source = source
        self._landing = landing
        self._lake = lake
        self._namespace = namespace
        self._limits = limits
        self._clock = clock
        self._report = report
        self._readings: dict[TopicPartition, _Reading] = {}
        self._read = 0
        self._refresh_at = 0.0
        self._last_message = 0.0
        self._is_away = self._is_lost = False

    def start(self) -> None:
        """Find every partition, and where landing goes on.

        Raises:
            StingarError: the broker, a topic, landing or the lake can't be used.
        """
        for place in self._find_partitions():
            self._start_reading(place)
        self._last_message = self._clock.seconds()

    def run(
        self, until_idle: float | None = None, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        """Capture until it is stopped.

        What is not in landing by then is read again by the next instance, into the same windows.

        Args:
            until_idle: write what is there and return, once no message came for so many seconds.
            stopped: asked twice a second at least.

        Raises:
            BrokerDenied, StoreDenied, UsageError: going on is of no use.
        """
        try:
            while not stopped() and not self.step(until_idle):
                pass
        except (BrokerDenied, UsageError):
            # The broker may not have any more what the windows hold.
            for reading in self._readings.values():
                self._attempt(reading, reading.partition.close)
            raise

    def step(self, until_idle: float | None = None) -> bool:
        """One look at the source and at all windows; whether it is done."""
        polled = self._source.poll(self._patience())
        if polled.records or polled.ended:
            self._is_away = False
        elif polled.away is not None and not self._is_away:
            self._is_away = True
            self._report.note(f"{polled.away}; it is tried again until it works")
        for place, records in polled.records.items():
            self._take(self._readings[place], records)
        for place in polled.lost:
            self._attempt(self._readings[place], partial(self._start_reading, place))
        for place, fault in polled.faults.items():
            self._try_later(self._readings[place], BrokerUnavailable(fault))
        for place in polled.ended:
            self._end(self._readings[place])
        for place, reading in self._readings.items():
            self._look_at(place, reading)
        if self._clock.seconds() >= self._refresh_at:
            self._look_for_new_partitions()
        self._report.status(
            self._read,
            sum(reading.partition.is_open for reading in self._readings.values()),
            sum(reading.partition.size for reading in self._readings.values()),
        )
        return until_idle is not None and self._is_drained(until_idle)

    # ---- one partition

    def _take(self, reading: _Reading, records: list[CaptureRecord]) -> None:
        if reading.again_at is not None:
            return  # of a partition that waits; they come again
        reading.at_end = False
        self._last_message = self._clock.seconds()
        before = reading.partition.taken
        self._attempt(reading, lambda: reading.partition.take(records))
        self._read += reading.partition.taken - before
        if reading.partition.taken > before and reading.again_at is None:
            reading.tries = 0

    def _end(self, reading: _Reading) -> None:
        # What it waits with is read again.
        reading.at_end = reading.again_at is None
        if reading.at_end:
            reading.tries = 0

    def _look_at(self, place: TopicPartition, reading: _Reading) -> None:
        if reading.again_at is None:
            self._attempt(reading, reading.partition.close_if_due)
        elif self._clock.seconds() >= reading.again_at:
            reading.again_at = None
            self._attempt(reading, lambda: self._go_on(place, reading))

    def _go_on(self, place: TopicPartition, reading: _Reading) -> None:
        """Do what could not be done before, and read on."""
        if reading.stale:
            reading.partition.resumed(self._position(reading.partition.place))
            reading.stale = False
        reading.partition.close_if_due()
        if reading.early:
            reading.partition.check_clock()
            reading.early = False
        self._start_reading(place)

    def _attempt(self, reading: _Reading, action: Callable[[], None]) -> None:
        """Do something with a partition; where that can't be done now, let it wait."""
        place = reading.partition.place
        try:
            action()
        except Ahead as ahead:
            self._wait_for_the_clock(reading, ahead.seconds)
        except Conflict:
            self._report.note(
                f"{place}: another instance captures it, too, or the store's answer was lost; "
                "going on where landing ends"
            )
            reading.stale = True
            self._wait(reading, 0)
        except (StoreUnavailable, BrokerUnavailable) as error:
            self._try_later(reading, error)

    def _try_later(self, reading: _Reading, error: StoreUnavailable | BrokerUnavailable) -> None:
        if not reading.tries:
            self._report.note(
                f"{reading.partition.place}: {error}; it is tried again until it works"
            )
        self._wait(reading, _WAITS[min(reading.tries, len(_WAITS) - 1)])
        reading.tries += 1

    def _wait_for_the_clock(self, reading: _Reading, seconds: float) -> None:
        if seconds > _TOLD_SECONDS and not reading.tries:
            self._report.note(
                f"{reading.partition.place}: the clock was set back behind the name of the last "
                f"capture; reading goes on in {seconds:,.0f} seconds, or when it is set right"
            )
            reading.tries += 1
        reading.early = True
        # The clock may be set right before that.
        self._wait(reading, min(max(seconds, _WAITS[0]), _WAITS[-1]))

    def _wait(self, reading: _Reading, seconds: float) -> None:
        place = reading.partition.place
        self._source.stop((place.topic, place.partition))
        reading.at_end = False
        reading.again_at = self._clock.seconds() + seconds

    def _start_reading(self, place: TopicPartition) -> None:
        """Read a partition from where landing goes on.

        Raises:
            UsageError: the topic does not hold what was captured of it.
        """
        partition = self._readings[place].partition
        low, high = self._source.bounds(place)
        if high < partition.next:
            raise UsageError(
                f"{partition.place}: captured up to message {partition.next - 1}, but the topic "
                f"ends before message {high}; it was deleted and made again, is another one, or "
                "the broker lost messages: capture it under another name "
                "(STINGAR_KAFKA_NAMESPACE), or into another STINGAR_LANDING"
            )
        if low > partition.next > 0:
            self._report.note(
                f"{partition.place}: MESSAGES ARE LOST: {partition.next} to {low - 1} went out of "
                "the topic before they were captured; keep messages there for longer"
            )
        self._source.read_from(place, max(partition.read_from, low))

    # ---- all of them

    def _find_partitions(self) -> list[TopicPartition]:
        """Find where to go on with every partition that was not there before; which these are."""
        found_now = []
        new: dict[str, list[int]] = {}
        for topic, number in self._source.partitions():
            if (topic, number) not in self._readings:
                new.setdefault(topic, []).append(number)
        for topic, numbers in new.items():
            found = self._positions(topic, numbers)
            for number in numbers:
                place = Place(self._namespace, topic, number)
                path = self._lake.layout.opening(self._namespace, topic, number)
                self._readings[topic, number] = _Reading(
                    Partition(
                        place,
                        self._landing,
                        Openings(self._lake.store, path),
                        self._limits,
                        found.get(number, Position()),
                        self._clock,
                        self._landed,
                    )
                )
                found_now.append((topic, number))
        self._refresh_at = self._clock.seconds() + _REFRESH_SECONDS
        self._is_lost = False
        return found_now

    def _look_for_new_partitions(self) -> None:
        try:
            new = self._find_partitions()
        except (BrokerUnavailable, StoreUnavailable) as error:
            if not self._is_away and not self._is_lost:
                self._report.note(f"{error}; it is tried again until it works")
            self._is_lost = True
            self._refresh_at = self._clock.seconds() + _WAITS[-1]
            return
        for place in new:
            self._attempt(self._readings[place], partial(self._start_reading, place))

    def _positions(self, topic: str, partitions: list[int]) -> dict[int, Position]:
        return positions(
            self._landing,
            self._namespace,
            topic,
            lambda: backlog.lines_of_hub(self._lake, self._namespace, topic),
            partitions,
        )

    def _position(self, place: Place) -> Position:
        return self._positions(place.topic, [place.partition]).get(place.partition, Position())

    def _landed(self, capture: Landed) -> None:
        self._report.landed(capture)
        if capture.missing:
            self._report.note(
                f"{capture.place}: {capture.missing} numbers up to {capture.last} are missing: no "
                "message of the topic has them any more (retention, compaction), or ever had "
                "(transactions)"
            )

    def _patience(self) -> float:
        now = self._clock.seconds()
        # What waits closes no window before its next try.
        times = [
            reading.partition.closes if reading.again_at is None else reading.again_at
            for reading in self._readings.values()
        ]
        soonest = min((time for time in times if time is not None), default=now + 1)
        return min(max(soonest - now, 0.0), _POLL_SECONDS)

    def _is_drained(self, until_idle: float) -> bool:
        """Whether nothing more came; then what is there is written first."""
        if self._clock.seconds() - self._last_message < until_idle:
            return False
        if not all(reading.at_end for reading in self._readings.values()):
            return False
        for reading in self._readings.values():
            self._attempt(reading, reading.partition.close)
        return all(reading.again_at is None for reading in self._readings.values())
