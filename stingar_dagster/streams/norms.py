"""What a stream's checks count as usual, and where they see who sent an event.

Each number stands with its reason. Not here: the checks themselves (`health`).
"""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Origins:
    """Which columns tell where events come from.

    Attributes:
        sensor: the published column that names the sender.
        software: the published column that names what made the event.
        table: the daily table with a row for each sender; its hourly partials are read.
        arrived: columns of its partials: when the first and the last event of the hour was
            received (epoch microseconds).
        logged: the same by the events' own time, for events of which the former is not known.
        noun: what a sender is called in sentences.
    """

    sensor: str
    software: str
    table: str
    arrived: tuple[str, str]
    logged: tuple[str, str]
    noun: str = "sensor"


@dataclass(frozen=True, slots=True)
class Norms:
    """From when on something is worth telling.

    Attributes:
        history: how far back baselines look. Five weeks give five samples for an hour of the week,
            and three that stay when two are lost to an outage.
        grace: how long after its end an hour counts as complete. Event Hubs Capture closes a
            window after 15 minutes at most; the rest is for two runs and a queue.
        gaps_for: how long a gap is told. Event Hubs keeps events for up to seven days (Standard):
            until then what is missing can still be fetched from the hub.
        silence_hours: a sender is never missed before so many full hours.
        silence_factor: nor before so many times the silence that it falls into once a week.
        known_for: how long a sender must have been heard before it is missed. Three days hold
            three nights.
        known_hours: and in how many hours: fewer make no pattern.
        retired_after: a sender that is silent for longer was switched off, and is not told any
            more.
        weeks: volume is judged where so many of the weeks before have the hour. A median of fewer
            is the one odd week.
        band: half the width of the usual band of volume, in robust standard deviations of the
            logarithm. Honeypots' volume has heavy tails: at three, every scan would be told.
        spread: the least standard deviation of the logarithm. With 0.15 a stream as steady as a
            clock is told from 1.8 times its median on.
        volume_hours: volume is told after so many full hours in a row on one side of the band:
            one hour is a scan that came and went.
        quarantine_hours: how many landed hours are held against the baseline.
        quarantine_history: hours of history before a rate is judged: three days and nights.
        quarantine_events: an hour with fewer events has no rate worth the name, and fewer events
            than half of that in quarantine are no burst.
        quarantine_rate: a rate up to this is never told: single broken bodies.
        quarantine_always: a rate from this on is told without history: a wrong format.
        duplicates_rate: share of events that came twice from which on it is told. Event Hubs
            Capture itself repeats a batch now and then, after it failed over.
        duplicates_events: fewer are never told.
        drift_for: how long a new field is told.
        drift_learning: fields that a software sends in its first days are its own, not new.
    """

    history: timedelta = timedelta(weeks=5)
    grace: timedelta = timedelta(minutes=30)
    gaps_for: timedelta = timedelta(days=7)
    silence_hours: int = 2
    silence_factor: float = 1.5
    known_for: timedelta = timedelta(days=3)
    known_hours: int = 12
    retired_after: timedelta = timedelta(days=14)
    weeks: int = 3
    band: float = 4.0
    spread: float = 0.15
    volume_hours: int = 2
    quarantine_hours: int = 6
    quarantine_history: int = 72
    quarantine_events: int = 20
    quarantine_rate: float = 0.01
    quarantine_always: float = 0.5
    duplicates_rate: float = 0.001
    duplicates_events: int = 10
    drift_for: timedelta = timedelta(days=1)
    drift_learning: timedelta = timedelta(days=3)
