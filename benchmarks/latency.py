"""From a capture being visible to its hours being published and its days rolled up.

Run it in the folder where `make demo` or `stingar demo` runs. It watches landing, takes the next
captures as they come, and looks four times a second whether what they hold can be read.

    python -m benchmarks.latency [--captures N]
"""

import argparse
import statistics
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from stingar_dagster.capture.discovery import Capture
from stingar_dagster.lake import backlog
from stingar_dagster.lake.layout import day_of, parse_hour
from stingar_dagster.lake.ledger import LedgerLine, read_ledger
from stingar_dagster.lake.publication import read_record
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.settings import load_settings
from stingar_dagster.streams import STINGAR

LIMIT_SECONDS = 300.0


@dataclass
class Timed:
    """One capture: when it was seen, and seconds until its hours and its days were there."""

    capture: Capture
    seen: float
    hours: float | None = None
    days: float | None = None


def main() -> None:
    """Time captures and print the distribution."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captures", type=int, default=20)
    wanted = parser.parse_args().captures
    pipeline = Pipeline(load_settings(), STINGAR)
    known = {capture.name.path for capture in recent(pipeline)}
    timed: list[Timed] = []
    end = time.monotonic() + LIMIT_SECONDS + 30 * wanted
    while time.monotonic() < end:
        if len(timed) < wanted:
            for capture in recent(pipeline):
                if capture.name.path not in known and len(timed) < wanted:
                    known.add(capture.name.path)
                    timed.append(Timed(capture, time.monotonic()))
        for item in timed:
            if item.days is None:
                look(pipeline, item)
        if len(timed) == wanted and all(item.days is not None for item in timed):
            break
        time.sleep(0.25)
    report("hours published", [item.hours for item in timed])
    report("days rolled up", [item.days for item in timed])


def recent(pipeline: Pipeline) -> list[Capture]:
    """The captures of this hour and the one before."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    found = pipeline.landing.between(now - timedelta(hours=1), now + timedelta(hours=1))
    return found.captures


def look(pipeline: Pipeline, item: Timed) -> None:
    """Note what has become readable of a capture."""
    lake, landed_hour = pipeline.lake, item.capture.name.landed_hour
    line = read_ledger(lake.store, lake.layout, landed_hour).lines.get(item.capture.name.path)
    if line is None:
        return
    if item.hours is None and not unpublished(pipeline, line):
        item.hours = time.monotonic() - item.seen
    if item.hours is not None:
        days = {day_of(parse_hour(key)) for key in line.event_hours}
        if not backlog.unpublished_days(lake, days):
            item.days = time.monotonic() - item.seen


def unpublished(pipeline: Pipeline, line: LedgerLine) -> bool:
    """Whether a segment of the capture is in no published hour yet."""
    lake = pipeline.lake
    for key, name in line.segments_by_hour():
        record = read_record(lake.store, lake.layout.hour_record("events", parse_hour(key)))
        if record is None or name not in record.made_from:
            return True
    return False


def report(what: str, seconds: list[float | None]) -> None:
    """Half, 95% and the longest, in seconds."""
    done = sorted(value for value in seconds if value is not None)
    if len(done) < 2:
        print(f"{what}: {len(done)} of {len(seconds)}; does the demo run in this folder?")
        return
    late = done[min(len(done) - 1, round(0.95 * len(done)) - 1)]
    print(
        f"{what}: {len(done)} of {len(seconds)} captures; half within "
        f"{statistics.median(done):.1f} s, 95% within {late:.1f} s, all within {done[-1]:.1f} s"
    )


if __name__ == "__main__":
    main()
