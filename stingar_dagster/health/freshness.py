"""The check that the latest full hour landed and is published.

Of the latest hour, not of the asset: a backfill of last year makes nothing fresh. When nothing at
all comes, this is the one check that tells it. Not here: one sender of many that is silent
(`silence`).
"""

import math
from collections.abc import Collection
from datetime import datetime, timedelta

import polars as pl

from stingar_dagster.health.findings import (
    Finding,
    Value,
    at,
    hour_number,
    lasting,
    not_enough,
    plural,
)
from stingar_dagster.health.pace import usual_silence
from stingar_dagster.streams.norms import Norms

_HOUR = timedelta(hours=1)


def due_hour(norms: Norms, now: datetime) -> datetime:
    """The latest hour that must be there by now."""
    return (now - norms.grace - _HOUR).replace(minute=0, second=0, microsecond=0)


def latest_hour(
    landings: pl.DataFrame, unpublished: Collection[datetime], norms: Norms, now: datetime
) -> Finding:
    """Whether the latest full hour is there.

    Args:
        landings: of the last weeks.
        unpublished: event hours that the latest full landed hours touch and whose published
            object does not show it.
        norms: the stream's.
        now: UTC.
    """
    with_events = landings.filter(pl.col("events") > 0)
    due = due_hour(norms, now)
    hours = [hour_number(hour) for hour in with_events["hour"]]
    if not hours:
        what = (
            f"{plural(int(landings['captures'].sum()), 'capture')} landed, none with an event"
            if len(landings)
            else "no capture has landed in the last weeks"
        )
        return not_enough(what)
    past = [hour for hour in hours if hour <= hour_number(due)]
    if not past:
        return not_enough("the first hour has not ended")
    usual = usual_silence(past, (past[-1] - past[0]) / 168)
    missing = hour_number(due) - hours[-1]
    last = with_events.row(-1, named=True)
    told = last["last_enqueued_at"]
    heard = datetime.fromisoformat(told) if told else last["hour"]
    numbers: dict[str, Value] = {
        "latest full hour": at(due),
        "last event received": at(heard),
        "hours missing": max(missing, 0),
        "usual silence in hours": usual,
        "hours not published": len(unpublished),
    }
    known_hours = hour_number(due) - past[0] + 1
    # Few hours make no pattern; but what stays away for days is told even so.
    young = len(past) < norms.known_hours and known_hours < norms.known_for.total_seconds() / 3600
    if missing > math.ceil(norms.silence_factor * usual) and not young:
        empty = int(landings.filter(pl.col("hour") > last["hour"])["captures"].sum())
        if empty:
            why = (
                f"{plural(empty, 'capture')} landed since, all empty: Event Hubs Capture works and "
                "nobody sends. Look at the shippers, and at what they share."
            )
        else:
            why = (
                "No capture landed since: see whether Event Hubs Capture is on and may write to "
                "landing, then whether anything sends to the Event Hub."
            )
        return Finding(
            False,
            f"Nothing has come in since {at(heard)}: the last {lasting(missing)} are missing, of "
            f"every sender. {why}",
            numbers,
        )
    if unpublished:
        first = min(unpublished)
        return Finding(
            False,
            f"{plural(len(unpublished), 'event hour')}, the first {at(first)}, are landed and not "
            f"published, {norms.grace.seconds // 60} minutes after the landed hour ended. Look for "
            "failed or queued runs of the publishing job, and whether Dagster's daemon runs.",
            numbers,
        )
    if young and missing > 0:
        return not_enough(
            f"{len(past)} of {norms.known_hours} hours with events, and nothing has come in since "
            f"{at(heard)}",
            **numbers,
        )
    if missing > 0:
        return Finding(
            True,
            f"Nothing has come in since {at(heard)}, for {lasting(missing)}: this stream is silent "
            f"for {lasting(usual)} about once a week.",
            numbers,
        )
    return Finding(True, f"The hour from {at(due)} landed and is published.", numbers)
