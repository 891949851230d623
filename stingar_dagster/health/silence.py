"""The check of senders that fell silent, each against its own baseline.

Only hours in which somebody else was heard count: when nobody was, it is not the sensor
(`freshness` tells it), and a sensor is not blamed for an outage of everyone. Hours are those of
arrival (`activity`).
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from stingar_dagster.health.activity import MOST_SENDERS
from stingar_dagster.health.findings import (
    MOST_ROWS,
    Finding,
    Value,
    at,
    hour_number,
    lasting,
    listed,
    not_enough,
    plural,
)
from stingar_dagster.health.pace import usual_silence
from stingar_dagster.safe_text import visible
from stingar_dagster.streams.norms import Norms

_HOUR_US = 3_600_000_000


@dataclass(frozen=True, slots=True)
class _Sender:
    """One sender's pattern.

    Attributes:
        name: as events say it.
        hours: in which it was heard, ascending, hours since the epoch.
        last_us: when it was last heard.
        events: in all those hours.
    """

    name: str
    hours: list[int]
    last_us: int
    events: int


def silent_senders(activity: pl.DataFrame, noun: str, norms: Norms, now: datetime) -> Finding:
    """Senders that are silent for longer than is usual for them.

    Args:
        activity: of the last weeks.
        noun: what a sender is called.
        norms: the stream's.
        now: UTC.
    """
    senders = _senders(activity)
    if not senders:
        return not_enough(f"no {noun} has been heard")
    # An hour counts when anybody was heard.
    heard = sorted(set().union(*(sender.hours for sender in senders)))
    current = hour_number(now)
    known, young, silent, retired = 0, 0, [], 0
    for sender in senders:
        hours = sender.hours
        span = hours[-1] - hours[0] + 1
        long_enough = span >= norms.known_for.total_seconds() / 3600
        if not long_enough or len(hours) < norms.known_hours:
            young += 1
            continue
        known += 1
        missed = _between(heard, hours[-1], current)
        if (now.timestamp() * 1e6 - sender.last_us) > norms.retired_after.total_seconds() * 1e6:
            retired += 1
            continue
        # Ranks among the hours that count, so that an outage of everyone is no gap.
        ranks = [bisect_left(heard, hour) for hour in hours]
        usual = usual_silence(ranks, span / 168)
        limit = max(norms.silence_hours, math.ceil(norms.silence_factor * usual) + 1)
        if missed >= limit:
            silent.append((sender, missed, usual, limit))
    silent.sort(key=lambda found: (found[0].last_us, found[0].name))
    numbers: dict[str, Value] = {
        f"silent {noun}s": len(silent),
        f"{noun}s judged": known,
        f"{noun}s known too short": young,
        f"{noun}s given up": retired,
    }
    cut = activity.filter(pl.col("left_out") > 0)
    also = ""
    if len(cut):
        most = MOST_SENDERS + int(cut["left_out"].max())  # type: ignore[arg-type]
        numbers[f"hours with too many {noun}s"] = len(cut)
        also = (
            f" {plural(len(cut), 'hour')} named up to {most:,} {noun}s each, of which the "
            f"{MOST_SENDERS:,} busiest are judged: somebody invents names."
        )
    if not known:
        oldest = max(sender.hours[-1] - sender.hours[0] + 1 for sender in senders) / 24
        days = norms.known_for.days
        return not_enough(
            f"no {noun} is known for {days} days and {norms.known_hours} hours with events yet; "
            f"the longest known for {oldest:.1f} of {days} days"
            + (f".{also.rstrip('.')}" if also else ""),
            **numbers,
        )
    rows: list[dict[str, Value]] = [
        {
            noun: visible(sender.name, 100),
            "last heard": _when(sender.last_us),
            "hours missed": missed,
            "usual silence": usual,
            "told from": limit,
            "events an hour": round(sender.events / len(sender.hours), 1),
        }
        for sender, missed, usual, limit in silent
    ]
    if not silent:
        return Finding(
            True,
            f"All {known} {noun}s with enough history are heard as often as usual"
            + (f"; {plural(young, 'other')} are known too short to tell." if young else ".")
            + also,
            numbers,
        )
    first = silent[0][0]
    names = listed(found[0].name for found in silent)
    numbers["names"] = listed((found[0].name for found in silent), MOST_ROWS)
    subject = f"{len(silent)} of {known} {noun}s" if known > 1 else f"The only {noun}"
    text = (
        f"{subject} fell silent: {names}; the first was last heard {_when(first.last_us)}, "
        f"{lasting(silent[0][1])} ago, and usually rests for {lasting(silent[0][2])} at most. "
    )
    if len(silent) >= 3 and 2 * len(silent) > known:
        text += "Most are gone at once: look first at what they share, the shipper and its network."
    else:
        text += f"See whether the {noun} and its shipper run, and tell its partner."
    return Finding(False, text + also, numbers, rows)


def _senders(activity: pl.DataFrame) -> list[_Sender]:
    flat: Iterable[Any] = (
        activity.select(pl.col("heard").list.drop_nulls())
        .explode("heard")
        .drop_nulls()
        .unnest("heard")
        .drop_nulls(["sensor", "first_us", "last_us"])
        .group_by("sensor")
        .agg(
            pl.col("first_us", "last_us") // _HOUR_US,
            pl.col("last_us").max().alias("last"),
            pl.col("events").sum(),
        )
        .sort("sensor")
        .select("sensor", "first_us", "last_us", "last", "events")
        .iter_rows()
    )
    return [
        _Sender(name, sorted({*first, *last}), latest, events)
        for name, first, last, latest, events in flat
    ]


def _between(hours: list[int], after: int, before: int) -> int:
    """How many of some ascending hours lie between two, both left out."""
    return max(bisect_left(hours, before) - bisect_right(hours, after), 0)


def _when(us: int) -> str:
    return at(datetime.fromtimestamp(us / 1e6, UTC))
