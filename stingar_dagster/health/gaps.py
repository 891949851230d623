"""The check of sequence numbers: is a capture missing?

Not here: how missing numbers are found (`lake.sequences`), and proof (`verify`).
"""

from datetime import datetime, timedelta

import polars as pl

from stingar_dagster.health.findings import Finding, Value, at, listed, plural
from stingar_dagster.health.landings import runs_in
from stingar_dagster.lake.sequences import missing
from stingar_dagster.streams.norms import Norms


def sequence_gaps(landings: pl.DataFrame, norms: Norms, now: datetime) -> Finding:
    """Numbers missing between the captures of the last days."""
    since = now - norms.gaps_for
    # A partition's capture may land a little after that of the next window.
    complete = landings.filter(pl.col("hour") + timedelta(hours=1) + norms.grace <= now)
    recent = [gap for gap in missing(runs_in(complete)) if gap.hour >= since]
    gaps = [gap for gap in recent if not gap.damaged]
    damaged = sum(gap.events for gap in recent if gap.damaged)
    numbers: dict[str, Value] = {
        "missing events": sum(gap.events for gap in gaps),
        "gaps": len(gaps),
        "partitions with gaps": len({gap.source for gap in gaps}),
        "missing in damaged captures": damaged,
    }
    days = f"the last {norms.gaps_for.days} days"
    if not gaps:
        if complete.is_empty():
            return Finding(True, "No full hour has landed yet, so there is nothing to compare.")
        also = f" {plural(damaged, 'event')} lie in captures that came damaged." if damaged else ""
        return Finding(True, f"No sequence number is missing in {days}.{also}", numbers)
    gaps.sort(key=lambda gap: (gap.hour, gap.source, gap.first))
    first = gaps[0]
    text = (
        f"{plural(sum(gap.events for gap in gaps), 'event')} were never captured, first of "
        f"{first.source} before {at(first.hour)}: sequence numbers {first.first} to "
        f"{first.last}"
        + (f", and {plural(len(gaps) - 1, 'more gap')}" if len(gaps) > 1 else "")
        + ". Look for missing files in landing, then fetch the events from the Event Hub while it "
        "keeps them (docs/operations.md, A gap in sequence numbers)."
    )
    rows: list[dict[str, Value]] = [
        {
            "partition": gap.source,
            "before": at(gap.hour),
            "from": gap.first,
            "to": gap.last,
            "events": gap.events,
        }
        for gap in gaps
    ]
    numbers["partitions"] = listed(sorted({gap.source for gap in gaps}))
    return Finding(False, text, numbers, rows)
