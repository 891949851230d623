"""The check of sequence numbers: is a capture missing?

Event Hubs counts the events of a partition without gaps, so a number that is in no capture is an
event that was never captured, or a capture that is gone. Not here: proof (`verify`).
"""

from datetime import datetime, timedelta
from typing import Any

import polars as pl

from stingar_dagster.health.findings import Finding, Value, at, listed, plural
from stingar_dagster.streams.norms import Norms


def sequence_gaps(landings: pl.DataFrame, norms: Norms, now: datetime) -> Finding:
    """Numbers missing between the captures of the last days."""
    since = now - norms.gaps_for
    # A partition's capture may land a little after that of the next window.
    complete = landings.filter(pl.col("hour") + timedelta(hours=1) + norms.grace <= now)
    gaps: list[dict[str, Any]] = []
    damaged = 0
    for source, runs in _runs_by_source(complete).items():
        for gap in _gaps(source, runs):
            if gap["hour"] < since:
                continue
            if gap["damaged"]:
                damaged += gap["events"]
            else:
                gaps.append(gap)
    numbers: dict[str, Value] = {
        "missing events": sum(gap["events"] for gap in gaps),
        "gaps": len(gaps),
        "partitions with gaps": len({gap["source"] for gap in gaps}),
        "missing in damaged captures": damaged,
    }
    days = f"the last {norms.gaps_for.days} days"
    if not gaps:
        if complete.is_empty():
            return Finding(True, "No full hour has landed yet, so there is nothing to compare.")
        also = f" {plural(damaged, 'event')} lie in captures that came damaged." if damaged else ""
        return Finding(True, f"No sequence number is missing in {days}.{also}", numbers)
    gaps.sort(key=lambda gap: (gap["hour"], gap["source"], gap["first"]))
    first = gaps[0]
    text = (
        f"{plural(sum(gap['events'] for gap in gaps), 'event')} were never captured, first of "
        f"{first['source']} before {at(first['hour'])}: sequence numbers {first['first']} to "
        f"{first['last']}"
        + (f", and {plural(len(gaps) - 1, 'more gap')}" if len(gaps) > 1 else "")
        + ". Look for missing files in landing, then fetch the events from the Event Hub while it "
        "keeps them (docs/operations.md, A gap in sequence numbers)."
    )
    rows: list[dict[str, Value]] = [
        {
            "partition": gap["source"],
            "before": at(gap["hour"]),
            "from": gap["first"],
            "to": gap["last"],
            "events": gap["events"],
        }
        for gap in gaps
    ]
    numbers["partitions"] = listed(sorted({gap["source"] for gap in gaps}))
    return Finding(False, text, numbers, rows)


def _runs_by_source(landings: pl.DataFrame) -> dict[str, list[dict[str, Any]]]:
    runs: dict[str, list[dict[str, Any]]] = {}
    for hour, of_hour in landings.sort("hour").select("hour", "runs").iter_rows():
        for run in of_hour or ():
            runs.setdefault(run["source"], []).append({**run, "hour": hour})
    return runs


def _gaps(source: str, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Numbers between a partition's runs, each gap with the hour and damage of what follows it.

    A hub that was deleted and made again counts from 0: what lies below everything seen so far
    begins anew, and nothing is missing before it. Old captures that were put back lie there, too:
    after them the numbers go on where they were, and nothing is told of what is that old.
    """
    chains: list[list[dict[str, Any]]] = []
    lowest, highest = 0, 0
    for n, run in enumerate(runs):
        if not chains or run["last"] < lowest:
            if chains and not _begins_anew(runs[n:], lowest, highest):
                continue
            chains.append([])
            lowest, highest = run["first"], run["last"]
        chains[-1].append(run)
        lowest, highest = min(lowest, run["first"]), max(highest, run["last"])
    gaps = []
    for chain in chains:
        reached, damaged = None, False
        for run in sorted(chain, key=lambda run: (run["first"], run["last"])):
            if reached is not None and run["first"] > reached + 1:
                gaps.append(
                    {
                        "source": source,
                        "hour": run["hour"],
                        "first": reached + 1,
                        "last": run["first"] - 1,
                        "events": run["first"] - 1 - reached,
                        "damaged": damaged or run["damaged"],
                    }
                )
            if reached is None or run["last"] >= reached:
                reached, damaged = run["last"], run["damaged"]
    return gaps


def _begins_anew(runs: list[dict[str, Any]], lowest: int, highest: int) -> bool:
    """Whether runs, of which the first lies below all before it, stay there until they grew."""
    reached = -1
    for run in runs:
        if run["last"] >= lowest:
            # It came from below, or goes on above what was there.
            return bool(run["first"] <= max(highest, reached + 1))
        reached = max(reached, run["last"])
    return True
