"""The check of duplicates: how many events were captured twice, and by which captures.

They are removed whatever this says; many of them mean that something copies captures, or that two
Event Hubs Captures write to one folder. Not here: how they are removed (`lake.hours`).
"""

from datetime import datetime, timedelta

import polars as pl

from stingar_dagster.health.findings import Finding, Value, at, plural
from stingar_dagster.safe_text import visible
from stingar_dagster.streams.norms import Norms

_DAY = timedelta(days=1)


def duplicates(
    activity: pl.DataFrame, landings: pl.DataFrame, norms: Norms, now: datetime
) -> Finding:
    """Events of the last day that came twice, as published hours left them out."""
    recent = activity.filter(pl.col("hour") > now - _DAY)
    out, rows = int(recent["duplicates"].sum()), int(recent["rows"].sum())
    repeats = [
        {**repeat, "hour": hour}
        for hour, of_hour in landings.filter(pl.col("hour") > now - _DAY)
        .select("hour", "repeats")
        .iter_rows()
        for repeat in of_hour or ()
    ]
    # Captures of today may repeat events of long ago, whose hours are not among the recent ones.
    found = max(out, sum(repeat["events"] for repeat in repeats))
    share = found / max(rows + out, found, 1)
    numbers: dict[str, Value] = {
        "left out": out,
        "published": rows,
        "rate": round(share, 6),
        "told from rate": norms.duplicates_rate,
    }
    if found < norms.duplicates_events or share < norms.duplicates_rate:
        return Finding(
            True,
            f"{plural(found, 'event')} of the last day came twice; each is published once."
            if found
            else "No event of the last day came twice.",
            numbers,
        )
    hours = [repeat["hour"] for repeat in repeats] or [
        hour for hour, count in recent.select("hour", "duplicates").iter_rows() if count
    ]
    where = ""
    if repeats:
        most = max(repeats, key=lambda repeat: repeat["events"])
        where = (
            f", most in {visible(most['one'], 120)} and {visible(most['other'], 120)}, "
            f"which share {most['events']:,}"
        )
    return Finding(
        False,
        f"{plural(found, 'event')} ({share:.1%}) were captured twice since {at(min(hours))}"
        f"{where}. Each is published once, so nothing is wrong with the results; see whether files "
        "were copied in landing, or two Event Hubs Captures write there.",
        numbers,
        [
            {
                "landed": at(repeat["hour"]),
                "partition": visible(repeat["source"], 120),
                "events": repeat["events"],
                "capture": visible(repeat["one"], 200),
                "and": visible(repeat["other"], 200),
            }
            for repeat in repeats
        ],
    )
