"""A heavy stream, landed and published minute by minute: what a minute costs, early and late.

    python -m benchmarks.scenarios.minutes FOLDER --events 400 --minutes 60

One capture a minute and partition is landed and published, and the cost of each minute is CPU of
this process, which must not grow with the hour. Three streams take the same captures in turn: one
object an hour (published every tenth minute only: that it grows is what slices are for), slices,
and slices compressed. Bodies are those of sample traffic, many times over, with stamps of their
own: arrival follows within seconds, one in two hundred comes up to two minutes late, one in ten
thousand up to two hours. Not here: waits between steps (`latency`), and other engines.
"""

import argparse
import json
import re
import resource
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

from stingar_dagster.capture.writer import CaptureRecord, encode_capture
from stingar_dagster.lake.layout import day_of
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.samples.traffic import traffic
from stingar_dagster.settings import Settings
from stingar_dagster.streams import STINGAR, Stream
from stingar_dagster.streams.stream import Compression

START: Final = datetime(2026, 5, 19, 12, tzinfo=UTC)
MINUTE: Final = timedelta(minutes=1)
PARTITIONS: Final = 4
_BODIES: Final = 20_000
_STAMP: Final = re.compile(rb'"@timestamp": ?"[^"]*"')

_MINUTELY: Final = replace(STINGAR, slot_minutes=1)
STREAMS: Final[dict[str, tuple[Stream, int]]] = {
    "hours": (_MINUTELY, 10),
    "slices": (replace(_MINUTELY, slice_minutes=5), 1),
    "slices, gzip": (
        replace(_MINUTELY, slice_minutes=5, compression=Compression.GZIP),
        1,
    ),
}
"""A stream of each form, and every how many minutes it is published."""


def measure(
    folder: Path, events: int, minutes: int, only: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """What each stream takes, with its name.

    Args:
        folder: for captures and lakes; emptied of both.
        events: a second.
        minutes: how many are landed, at most 60.
        only: names of streams; empty: all.
    """
    bodies = [
        sample.body
        for sample in traffic(START, START + 60 * MINUTE, events_per_hour=_BODIES, seed=5)
    ]
    # Of one event each: another would keep a stamp of its own.
    bodies = [body for body in bodies if len(_STAMP.findall(body)) == 1]
    for name, (stream, every) in STREAMS.items():
        if only and name not in only:
            continue
        place = folder / re.sub(r"\W+", "-", name)
        shutil.rmtree(place, ignore_errors=True)
        yield name, _run(place, stream, every, bodies, events, minutes)
        shutil.rmtree(place)


def _run(
    place: Path, stream: Stream, every: int, bodies: list[bytes], events: int, minutes: int
) -> dict[str, Any]:
    settings = Settings(landing=str(place / "landing"), lake=str(place / "lake"))
    pipeline = Pipeline(settings, stream)
    random = Random(9)
    rows = []
    first = [0] * PARTITIONS
    for minute in range(minutes):
        start = START + minute * MINUTE
        for partition in range(PARTITIONS):
            first[partition] += _land(
                pipeline, start, partition, first[partition], bodies, events // PARTITIONS, random
            )
        row: dict[str, Any] = {"minute": minute}
        before = time.process_time()
        landed = pipeline.land_hour(START)
        row["land"] = time.process_time() - before
        row["decoded"] = landed.decoded
        if (minute + 1) % every == 0 or minute + 1 == minutes:
            before = time.process_time()
            outcomes = [pipeline.publish_slices(hour) for hour in landed.changed_hours]
            row["publish"] = time.process_time() - before
            row["objects"] = sum(len(outcome.written) for outcome in outcomes)
        ledger = pipeline.lake.layout.ledger(START)
        row["ledger bytes"] = len(pipeline.lake.store.read(ledger))
        rows.append(row)
    for hour in landed.changed_hours:
        pipeline.publish_hour(hour)
    before = time.process_time()
    record = pipeline.publish_hour(START, again=True)
    whole = time.process_time() - before
    before = time.process_time()
    pipeline.roll_day(day_of(START), [table.name for table in stream.tables])
    rolled = time.process_time() - before
    entries = pipeline.lake.store.find(pipeline.lake.layout.segments(START))
    total = events // PARTITIONS * PARTITIONS * 60 * minutes
    published = [row["publish"] for row in rows if "publish" in row]
    return {
        "events": total,
        "rows of the hour": record.rows,
        "bytes of the hour": record.size,
        "segments of the hour": len(entries),
        "bytes of the hour's record": len(
            pipeline.lake.store.read(pipeline.lake.layout.hour_record("events", START))
        ),
        "land, us an event": 1e6 * sum(row["land"] for row in rows) / total,
        "publish every minute, us an event": 1e6
        * (sum(published) / len(published) * minutes)
        / total,
        "publish once, us an event": 1e6 * whole / record.rows,
        "roll day, s": rolled,
        "peak MB of the process so far": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "minutes": rows,
    }


def _land(
    pipeline: Pipeline,
    start: datetime,
    partition: int,
    first: int,
    bodies: list[bytes],
    events: int,
    random: Random,
) -> int:
    """One partition's capture of a minute; returns how many events it has."""
    records = [
        CaptureRecord(
            sequence_number=first + number,
            offset=str((first + number) * 512),
            enqueued=moment,
            body=_STAMP.sub(b'"@timestamp": "%s"' % _stamp(logged), random.choice(bodies), count=1),
        )
        for number, (moment, logged) in enumerate(_times(start, events * 60, random))
    ]
    path = pipeline.landing.format.path("ns", "hub", partition, start)
    pipeline.landing.store.write(path, encode_capture(records))
    return len(records)


def _times(start: datetime, count: int, random: Random) -> Iterator[tuple[datetime, datetime]]:
    """When events were received and logged, in order of arrival."""
    for number in range(count):
        moment = start + MINUTE * (number / count)
        chance = random.random()
        seconds = random.expovariate(0.5)
        if chance < 0.005:
            seconds = random.uniform(0, 120)
        if chance < 0.0001:
            seconds = random.uniform(0, 7200)
        yield moment, moment - timedelta(seconds=seconds)


def _stamp(moment: datetime) -> bytes:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--events", type=int, default=400, help="a second")
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--only", action="append", default=[], choices=list(STREAMS))
    args = parser.parse_args()
    for name, result in measure(args.folder, args.events, args.minutes, args.only):
        rows = result.pop("minutes")
        print(name, flush=True)
        for what, value in result.items():
            print(f"  {what}: {value:,.1f}" if isinstance(value, float) else f"  {what}: {value:,}")
        for row in rows:
            if (row["minute"] + 1) % 10 == 0 or row["minute"] < 2:
                print("  " + json.dumps({k: round(v, 2) for k, v in row.items()}), flush=True)


if __name__ == "__main__":
    main()
