"""A day of honeypot events: the engine and `stingar run` against the per-event loop.

Generates captures (seeded; 288 a partition, 4 partitions, 345,000 events by default), then times,
in turn and in one run: the loop (json, strptime, fastavro) in one process, the three steps in one
process with one polars thread, and the whole `stingar run` as a command. Checks that the counts
agree before it prints a ratio. Whole processes, wall and CPU seconds, and peak memory; start-up
included everywhere.

    python -m benchmarks.day [--events N] [--rounds N] [--folder F]
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stingar_dagster.packing import Hub, Packer
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.samples.traffic import traffic
from stingar_dagster.settings import Settings
from stingar_dagster.streams import STINGAR

DAY = datetime(2026, 5, 19, tzinfo=UTC)
WINDOW = timedelta(minutes=5)
ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Timing:
    """One whole process."""

    wall: float
    cpu: float
    peak_mb: float


def generate(landing: Path, events: int) -> int:
    """Land a day's captures; returns the bytes of their bodies."""
    packer = Packer(Pipeline(Settings(landing=str(landing)), STINGAR).landing, Hub())
    size, window, bodies = 0, DAY + WINDOW, list[bytes]()
    with packer.exclusive():
        for sample in traffic(DAY, DAY + timedelta(days=1), events_per_hour=events / 24, seed=11):
            while sample.arrived >= window:
                packer.pack(bodies, window - WINDOW)
                bodies, window = [], window + WINDOW
            bodies.append(sample.body)
            size += len(sample.body)
        packer.pack(bodies, window - WINDOW)
    return size


def engine(landing: str, lake: str) -> None:
    """The three steps, as a user of the Python API calls them."""
    from stingar_dagster.lake import backlog

    pipeline = Pipeline(Settings(landing=landing, lake=lake), STINGAR)
    found = pipeline.landing.between(DAY, DAY + timedelta(days=2)).captures
    hours = backlog.unlanded(pipeline.lake, backlog.by_landed_hour(pipeline.lake, found))
    records = cleaned = quarantined = 0
    for hour in hours:
        landed = pipeline.land_hour(hour)
        records += landed.total("records")
        cleaned += landed.total("cleaned")
        quarantined += landed.total("quarantined")
    pending = backlog.unpublished_hours(pipeline.lake, list(hours))
    published = sum(pipeline.publish_hour(hour).rows for hour in pending)
    for day in backlog.unpublished_days(pipeline.lake, {hour.replace(hour=0) for hour in pending}):
        pipeline.roll_day(day)
    print(json.dumps([records, cleaned, quarantined, published]))


def timed(command: list[str], folder: Path, **environment: str) -> tuple[Timing, str]:
    """Run a command to its end; its cost and its last line of output."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )
    output, _ = process.communicate()
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    # ru_maxrss of children only ever grows: the figure is an upper bound for all but the largest.
    return Timing(wall, cpu, after.ru_maxrss / 1024), output.strip().splitlines()[-1]


def main() -> None:
    """Generate, time, check and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=345_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="Kept between calls; default: a temporary one.")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="stingar-day-"))
    landing = folder / "landing"
    if not landing.exists():
        size = generate(landing, arguments.events)
        print(f"{size / 1e6:.0f} MB of bodies in {sum(1 for _ in landing.rglob('*.avro'))} files")
    python, lake = sys.executable, folder / "lake"
    engine_code = "from benchmarks.day import engine; import sys; engine(*sys.argv[1:])"
    contenders: dict[str, tuple[list[str], dict[str, str]]] = {
        "per-event loop": (
            [python, "-m", "benchmarks.event_loop", str(landing), str(folder / "loop")],
            {},
        ),
        "engine, one thread": (
            [python, "-c", engine_code, str(landing), str(lake)],
            {"POLARS_MAX_THREADS": "1"},
        ),
        "stingar run": (
            [str(Path(python).with_name("stingar")), "run"],
            {
                "STINGAR_LANDING": str(landing),
                "STINGAR_LAKE": str(lake),
                "DAGSTER_HOME": str(folder / "dagster"),
            },
        ),
    }
    results: dict[str, list[Timing]] = {name: [] for name in contenders}
    for _ in range(arguments.rounds):
        for name, (command, environment) in contenders.items():
            for left in ("lake", "loop", "dagster"):
                shutil.rmtree(folder / left, ignore_errors=True)
            (folder / "dagster").mkdir()
            instance = (ROOT / "dagster.yaml").read_text()
            instance = instance.replace("data/dagster", str(folder / "dagster"))
            (folder / "dagster" / "dagster.yaml").write_text(instance)
            timing, last = timed(command, ROOT, **environment)
            results[name].append(timing)
            print(f"  {name}: {timing.wall:.1f} s  {last}")
    print(f"{'':<22}{'wall s':>8}{'cpu s':>8}{'ratio':>8}")
    loop = statistics.median(timing.wall for timing in results["per-event loop"])
    for name, timings in results.items():
        wall = statistics.median(timing.wall for timing in timings)
        cpu = statistics.median(timing.cpu for timing in timings)
        print(f"{name:<22}{wall:>8.1f}{cpu:>8.1f}{loop / wall:>7.1f}x")
    peak = max(timing.peak_mb for timings in results.values() for timing in timings)
    print(f"largest process: {peak:.0f} MB")
    if arguments.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
