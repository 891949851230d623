"""The check of volume: is what arrives within its usual band for the hour of the week?

By landed hour, whose volume is final when it ends; late events change event hours for days. In
UTC; the hours next to it count too, so that a change of clocks moves nothing out of its band.
"""

from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise

import polars as pl

from stingar_dagster.health.findings import (
    Finding,
    Value,
    at_hour,
    hour_number,
    lasting,
    not_enough,
)
from stingar_dagster.health.freshness import due_hour
from stingar_dagster.health.pace import usual_band, usual_silence
from stingar_dagster.streams.norms import Norms

_WEEK = 168
_MOST_HOURS = 72


def volume(landings: pl.DataFrame, norms: Norms, now: datetime) -> Finding:
    """Events of the latest full hours against the same hours of the weeks before."""
    counts = {
        hour_number(hour): events
        for hour, events in landings.select("hour", "events").iter_rows()
        if events
    }
    due = hour_number(due_hour(norms, now))
    weeks_needed = norms.weeks
    if not counts or min(counts) > due:
        return not_enough(f"0 of {weeks_needed} weeks")
    if due not in counts:
        return Finding(
            True,
            f"Nothing landed in the hour from {at_hour(due)}; whether that is usual is for "
            "latest_hour_is_there to say.",
            {"events": 0},
        )
    baseline = _Baseline(counts, norms)
    weeks = baseline.weeks(due)
    if weeks < weeks_needed:
        return not_enough(
            f"{weeks} of {weeks_needed} weeks hold this hour of the week", weeks=weeks
        )
    low, usual, high = baseline.band(due)
    numbers: dict[str, Value] = {
        "hour": at_hour(due),
        "events": counts[due],
        "usual": round(usual),
        "from": round(low),
        "to": round(high),
        "weeks": weeks,
    }
    side = _side(counts[due], low, high)
    streak = _streak(counts, baseline, due, side, weeks_needed) if side else []
    numbers["hours outside"] = len(streak)
    figures = (
        f"{counts[due]:,} events in the hour from {at_hour(due)}, usually {usual:,.0f} "
        f"({low:,.0f} to {high:,.0f})"
    )
    if len(streak) < norms.volume_hours:
        return Finding(
            True,
            f"Outside its band for one hour: {figures}."
            if streak
            else f"Volume is as usual: {figures}.",
            numbers,
        )
    rows: list[dict[str, Value]] = []
    for hour in streak:
        band = baseline.band(hour)
        rows.append(
            {
                "hour": at_hour(hour),
                "events": counts.get(hour, 0),
                "usual": round(band[1]),
                "from": round(band[0]),
                "to": round(band[2]),
            }
        )
    todo = (
        "Look at the day's sources and sensors: a scan, a new sensor, or a shipper that sends "
        "everything twice."
        if side > 0
        else "See sensors_are_heard: senders may be missing, or a shipper drops events."
    )
    return Finding(
        False,
        f"Volume is {'above' if side > 0 else 'below'} its usual band since "
        f"{at_hour(streak[-1])}, for {lasting(len(streak))}: {figures}. {todo}",
        numbers,
        rows,
    )


class _Baseline:
    """What an hour of the week usually holds; outages do not count."""

    def __init__(self, counts: Mapping[int, int], norms: Norms) -> None:
        self._counts, self._norms = counts, norms
        hours = sorted(counts)
        self._first = hours[0]
        usual = usual_silence(hours, (hours[-1] - hours[0]) / _WEEK)
        self._outage: set[int] = set()
        for before, after in pairwise(hours):
            if after - before - 1 > usual:
                self._outage.update(range(before + 1, after))

    def weeks(self, hour: int) -> int:
        return sum(bool(self._samples_of(hour, week)) for week in self._weeks())

    def band(self, hour: int) -> tuple[float, float, float]:
        samples = [value for week in self._weeks() for value in self._samples_of(hour, week)]
        return usual_band(samples or [0], self._norms.band, self._norms.spread)

    def _weeks(self) -> range:
        return range(1, self._norms.history.days // 7 + 1)

    def _samples_of(self, hour: int, week: int) -> list[int]:
        then = hour - week * _WEEK
        return [
            self._counts.get(near, 0)
            for near in (then - 1, then, then + 1)
            if near >= self._first and near not in self._outage
        ]


def _side(events: int, low: float, high: float) -> int:
    return (events > high) - (events < low)


def _streak(
    counts: Mapping[int, int], baseline: _Baseline, due: int, side: int, weeks: int
) -> list[int]:
    """Hours in a row up to the latest that lie on one side of their bands, the latest first."""
    streak = []
    for hour in range(due, due - _MOST_HOURS, -1):
        events = counts.get(hour)
        if not events or baseline.weeks(hour) < weeks:
            break
        low, _, high = baseline.band(hour)
        if _side(events, low, high) != side:
            break
        streak.append(hour)
    return streak
