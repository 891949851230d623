"""A late event for a published hour: how long until its hour and its day are right again.

A day is published, then captures of one event each land, stamped in the hour. Measured is work:
the steps in a warm process, without the waits between them, which are the sensors' (`latency`).
"""

import json
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from benchmarks.captures import Shape, captures
from benchmarks.contenders import Disagreement, contend
from benchmarks.results import Late, taken
from benchmarks.scale import Scale
from stingar_dagster.capture.writer import CaptureRecord, encode_capture
from stingar_dagster.lake.layout import day_of
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.settings import Settings
from stingar_dagster.streams import STINGAR

_EVENTS: Final = 10
_PARTITION: Final = 999


def late(folder: Path, scale: Scale) -> Late:
    """Publish a day of hours of about that size, and let late events come, one after the other."""
    shape = Shape(megabytes=24 * scale.late_megabytes, files=24 * 48, first_hour=0, hours=24)
    place = captures(folder, shape)
    contend("engine", place, folder / "work")
    lake = folder / "work/lake"
    settings = Settings(landing=str(folder / "work/landing"), lake=str(lake))
    pipeline = Pipeline(settings, STINGAR)
    # The hour that is nearest to the size asked for; afternoons are busier.
    sizes = {path: path.stat().st_size for path in lake.glob("stingar/events/**/events.json")}
    path = min(sizes, key=lambda path: abs(sizes[path] - scale.late_megabytes * 1e6))
    date, hour = (part.partition("=")[2] for part in path.parts[-3:-1])
    event_hour = datetime.fromisoformat(f"{date}T{hour}:00+00:00")
    result = Late(
        taken=taken(), hour_megabytes=sizes[path] / 1e6, landing=[], hour=[], day=[], cpu=[]
    )
    rows = path.read_bytes().count(b"\n")
    # One more than is counted: the first also warms up.
    for number in range(_EVENTS + 1):
        landed_hour = shape.end + timedelta(hours=1 + number)
        _land(pipeline, landed_hour, number, event_hour + timedelta(minutes=number))
        start = time.perf_counter()
        pipeline.land_hour(landed_hour)
        landed, cpu = time.perf_counter(), time.process_time()
        record = pipeline.publish_hour(event_hour)
        published = time.perf_counter()
        pipeline.roll_day(day_of(event_hour))
        rolled = time.perf_counter()
        cpu = time.process_time() - cpu
        if record.rows != rows + number + 1:
            raise Disagreement(f"{record.rows:,} events in the hour after {number + 1} late ones")
        if number:
            result.landing.append(landed - start)
            result.hour.append(published - landed)
            result.day.append(rolled - published)
            result.cpu.append(cpu)
    return result


def _land(pipeline: Pipeline, landed_hour: datetime, number: int, logged: datetime) -> None:
    event = {
        "@timestamp": f"{logged:%Y-%m-%dT%H:%M:%S}.000Z",
        "type": "cowrie.sessions",
        "sensor": "sensor-01",
        "src_ip": "192.0.2.1",
        "dest_port": 2222,
    }
    record = CaptureRecord(number, str(number), landed_hour, json.dumps(event).encode())
    name = pipeline.landing.format.path("bench", "events", _PARTITION, landed_hour)
    pipeline.landing.store.write(name, encode_capture([record]))
