"""Weeks of figures, made up: what a stream's checks see, without a lake.

A story begins as steady traffic of some sensors up to `NOW`, and is then changed: a sensor falls
silent, volume doubles, nothing lands. Not here: how figures come from a lake (`test_looking`).
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from stingar_dagster.health import activity, landings
from stingar_dagster.health.kept import KEYS
from stingar_dagster.streams.norms import Norms

NOW = datetime(2026, 11, 18, 12, 40, tzinfo=UTC)
"""A Wednesday; the latest full hour is the one from 11:00."""
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NORMS = Norms()
HOURS_A_WEEK = 168


@dataclass
class Weeks:
    """Events an hour of each sensor, and what landed.

    Attributes:
        counts: by hour, by sensor.
        quarantined: by hour.
        captures_in_silence: whether empty captures land where nothing comes.
        clocks: how wrong sensors' clocks are: their events stand in hours that far off.
        now: when the checks look.
    """

    now: datetime = NOW
    counts: dict[datetime, dict[str, int]] = field(default_factory=dict)
    quarantined: dict[datetime, int] = field(default_factory=dict)
    captures_in_silence: bool = False
    clocks: dict[str, timedelta] = field(default_factory=dict)

    @classmethod
    def steady(
        cls,
        days: float = 35,
        sensors: Iterable[str] = ("lab-1", "lab-2", "lab-3"),
        events: int = 200,
        now: datetime = NOW,
        clocks: dict[str, timedelta] | None = None,
    ) -> "Weeks":
        """Traffic that scatters a little, and refuses one event in two hundred."""
        made, chance = cls(now, clocks=clocks or {}), random.Random(7)
        names = list(sensors)
        hour = now.replace(minute=0) - HOUR * round(days * 24)
        while hour <= now:
            made.counts[hour] = {name: round(events * chance.uniform(0.9, 1.1)) for name in names}
            made.quarantined[hour] = len(names) * events // 200
            hour += HOUR
        return made

    def change(
        self,
        since: datetime,
        until: datetime,
        change: Callable[[datetime, dict[str, int]], dict[str, int]],
    ) -> "Weeks":
        """Change the hours in [since, until)."""
        for hour in self.counts:
            if since <= hour < until:
                self.counts[hour] = change(hour, self.counts[hour])
        return self

    def silence(self, sensor: str, since: datetime, until: datetime | None = None) -> "Weeks":
        return self.change(
            since,
            until or self.now + HOUR,
            lambda _, heard: {name: n for name, n in heard.items() if name != sensor},
        )

    def outage(self, since: datetime, until: datetime | None = None) -> "Weeks":
        """Nothing of anyone."""
        return self.change(since, until or self.now + HOUR, lambda *_: {})

    def times(self, factor: float, since: datetime, until: datetime | None = None) -> "Weeks":
        return self.change(
            since,
            until or self.now + HOUR,
            lambda _, heard: {name: round(n * factor) for name, n in heard.items()},
        )

    @property
    def landings(self) -> pl.DataFrame:
        rows = []
        for hour, heard in self.counts.items():
            cleaned = sum(heard.values())
            out = self.quarantined[hour] if heard else 0
            if not heard and not self.captures_in_silence:
                continue
            last = min(hour + HOUR - timedelta(seconds=1), self.now)
            rows.append(
                {
                    "hour": hour,
                    "etag": "1",
                    "captures": 4,
                    "events": cleaned + out,
                    "cleaned": cleaned,
                    "quarantined": out,
                    "last_enqueued_at": last.isoformat() if heard else None,
                    "runs": [],
                    "repeats": [],
                }
            )
        return pl.DataFrame(rows, schema=KEYS | landings.SCHEMA)

    @property
    def activity(self) -> pl.DataFrame:
        hours: dict[datetime, list[dict[str, Any]]] = {}
        for hour, heard in self.counts.items():
            for sensor, events in heard.items():
                entry = {
                    "sensor": sensor,
                    "events": events,
                    "first_us": _us(hour + timedelta(seconds=5)),
                    "last_us": _us(min(hour + HOUR - timedelta(seconds=5), self.now)),
                }
                logged = hour + self.clocks.get(sensor, timedelta())
                hours.setdefault(logged, []).append(entry)
        rows = [
            {
                "hour": hour,
                "etag": "1",
                "rows": sum(entry["events"] for entry in heard),
                "duplicates": 0,
                "heard": heard,
                "left_out": 0,
            }
            for hour, heard in sorted(hours.items())
        ]
        return pl.DataFrame(rows, schema=KEYS | activity.SCHEMA)


def landed(hour: datetime, runs: list[dict[str, Any]], **figures: Any) -> dict[str, Any]:
    """A row of a landed hour with runs of sequence numbers."""
    return {
        "hour": hour,
        "etag": "1",
        "captures": 1,
        "events": 10,
        "cleaned": 10,
        "quarantined": 0,
        "last_enqueued_at": None,
        "runs": [{"damaged": False, "source": "ns/hub/0", **run} for run in runs],
        "repeats": [],
        **figures,
    }


def landed_frame(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=KEYS | landings.SCHEMA)


def _us(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6)
