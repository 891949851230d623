"""When everything happens: visits paced over the day, and their events in order of arrival.

What a visit's events say is the honeypots' business (`honeypots`, `cowrie`), their faults that
of `drift` and `damage`. Packing bodies as capture files stands outside this package.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from random import Random
from typing import NamedTuple

import msgspec

from stingar_dagster.samples.damage import damage as damaged
from stingar_dagster.samples.drift import PACKED_SHARE, pack
from stingar_dagster.samples.drift import drift as drifted
from stingar_dagster.samples.honeypots import HONEYPOTS
from stingar_dagster.samples.population import Population, Sensor, populate
from stingar_dagster.samples.visits import Event, Visit, prune


@dataclass(frozen=True, slots=True)
class Sample:
    """One message as it reaches the hub; `arrived` is aware, in UTC."""

    arrived: datetime
    body: bytes
    sensor: str


# Moments and durations are whole microseconds here: exact, and the same on every platform.
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = 1_000
_SECOND = 1_000_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE

_SHIPPING = (1 * _SECOND, 20 * _SECOND)
_LATE = (2 * _MINUTE, 48 * _HOUR)
_LATE_LOG_MEDIAN = math.log(45 * _MINUTE)
_LATE_SPREAD = 1.4  # of the logarithm: one in nine is more than four hours late
_GAP = 40 * _MILLISECOND  # at most, between one visit's messages
_LONGEST_VISIT = 10 * _SECOND  # to arrive: visits that began before the start still reach into it

_NULLS_KEPT = 0.03  # of the visits: shippers that do not prune


def traffic(
    start: datetime,
    end: datetime,
    *,
    events_per_hour: float,
    seed: int,
    sensors: int = 6,
    drift: float = 0.01,
    damage: float = 0.002,
    late: float = 0.005,
    honeypots: Sequence[str] | None = None,
) -> Iterator[Sample]:
    """What arrives from `start` until before `end`, in order; the same for the same arguments.

    `events_per_hour` is the mean of a day: afternoons (UTC) are busier than nights. `drift`,
    `damage` and `late` are shares of the messages. A late event is stamped up to two days before
    it arrives, hence before `start` too: a range is a piece of traffic that was always running.
    Ranges that meet give the same attackers for the same `seed`, and fresh traffic of theirs.
    `honeypots` are names in `HONEYPOTS`; all by default, in the usual proportions.
    """
    if start.tzinfo is None or end.tzinfo is None:
        raise ValueError("start and end need a time zone")
    if events_per_hour <= 0 or sensors < 1:
        raise ValueError("events_per_hour and sensors must be positive")
    if not all(0 <= share <= 1 for share in (drift, damage, late)):
        raise ValueError("drift, damage and late are shares, from 0 to 1")
    if unknown := set(honeypots or ()) - set(HONEYPOTS):
        raise ValueError(f"no such honeypot: {', '.join(sorted(unknown))}")

    first, last = _microseconds(start), _microseconds(end)
    population = populate(seed, sensors)
    chosen = [name for name in HONEYPOTS if honeypots is None or name in honeypots]
    whole = sum(HONEYPOTS[name].share for name in chosen)
    flows = []
    for name in chosen:
        rng = Random(f"traffic {seed} {first} {name}")
        flows.append(
            _flow(
                rng,
                _Visits(rng, population, name),
                _Messages(rng, drift=drift, damage=damage, late=late),
                _Pace(first - _LONGEST_VISIT, events_per_hour * HONEYPOTS[name].share / whole),
            )
        )
    return _between(first, last, heapq.merge(*flows))


class _Arrival(NamedTuple):
    """Compares by time, and in one visit by emission: `number` counts a honeypot's messages."""

    at: int
    honeypot: str
    number: int
    body: bytes
    sensor: str


class _Visits:
    """Draws a honeypot's visits, and what it says of each."""

    def __init__(self, rng: Random, population: Population, honeypot: str) -> None:
        self._rng = rng
        self._population = population
        self._report = HONEYPOTS[honeypot].report
        self.honeypot = honeypot

    def next(self) -> tuple[Sensor, list[Event]]:
        rng = self._rng
        visit = Visit(
            rng=rng,
            source=self._population.sources.pick(rng),
            sensor=self._population.sensors.pick(rng),
            src_port=rng.randrange(1024, 65536),
        )
        events: Iterable[Event] = self._report(visit)
        if rng.random() >= _NULLS_KEPT:
            events = map(prune, events)
        return visit.sensor, list(events)


class _Messages:
    """Turns the events of a visit into the bodies that arrive, faults included."""

    def __init__(self, rng: Random, *, drift: float, damage: float, late: float) -> None:
        self._rng = rng
        self._drift = drift
        self._damage = damage
        self._late = late

    def of(self, events: list[Event], arrives: int) -> Iterator[bytes]:
        """All stamped when the visit ended, within milliseconds, in order of emission."""
        rng = self._rng
        stamp = arrives - self._delay()
        stamped = _datetime(stamp)
        text = _iso(stamped)
        waiting = iter(events)
        for event in waiting:
            if rng.random() < 0.15:
                stamp += _MILLISECOND
                stamped = _datetime(stamp)
                text = _iso(stamped)
            event["@timestamp"] = text
            chance = rng.random()
            if chance < self._damage:
                yield damaged(rng, msgspec.json.encode(event))
            elif chance >= self._damage + self._drift:
                yield msgspec.json.encode(event)
            elif rng.random() >= PACKED_SHARE:
                yield msgspec.json.encode(drifted(rng, event, stamped))
            else:
                packed = [event]
                for other in islice(waiting, rng.randrange(3)):
                    other["@timestamp"] = text
                    packed.append(other)
                yield pack(rng, packed)

    def _delay(self) -> int:
        rng = self._rng
        if rng.random() >= self._late:
            return rng.randrange(*_SHIPPING)
        shortest, longest = _LATE
        return min(
            max(shortest, round(rng.lognormvariate(_LATE_LOG_MEDIAN, _LATE_SPREAD))), longest
        )


class _Pace:
    """A clock that moves by events: as many minutes as that number of them takes."""

    def __init__(self, now: int, events_per_hour: float) -> None:
        self.now = now
        self._events_per_hour = events_per_hour

    def advance(self, events: float) -> int:
        """The time after so many events more; the rate changes by the minute."""
        while True:
            minute = self.now // _MINUTE
            rate = self._events_per_hour * _day_curve(minute % 1440 / 60) / _HOUR
            left = (minute + 1) * _MINUTE - self.now
            if events <= left * rate:
                self.now += int(events / rate)
                return self.now
            events -= left * rate
            self.now += left


def _day_curve(hour: float) -> float:
    """How busy that hour of the day is; 1 on average."""
    turn = math.tau / 24
    return 1 + 0.4 * math.cos(turn * (hour - 14)) + 0.15 * math.cos(2 * turn * (hour - 20))


def _flow(rng: Random, visits: _Visits, messages: _Messages, pace: _Pace) -> Iterator[_Arrival]:
    """A honeypot's arrivals in order, for ever.

    A visit takes as much of the clock as it has events, and begins anywhere in that: the volume
    keeps to the asked one however uneven the visits are.
    """
    pending: list[_Arrival] = []
    number = 0
    while True:
        opens = pace.now
        while pending and pending[0].at < opens:  # nothing earlier can come any more
            yield heapq.heappop(pending)
        sensor, events = visits.next()
        at = rng.randrange(opens, pace.advance(len(events)) + 1)
        for body in messages.of(events, at):
            heapq.heappush(pending, _Arrival(at, visits.honeypot, number, body, sensor.name))
            number += 1
            at += rng.randrange(_GAP)


def _between(first: int, last: int, arrivals: Iterable[_Arrival]) -> Iterator[Sample]:
    for arrival in arrivals:
        if arrival.at >= last:
            return
        if arrival.at >= first:
            yield Sample(_datetime(arrival.at), arrival.body, arrival.sensor)


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _datetime(microseconds: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds)


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
