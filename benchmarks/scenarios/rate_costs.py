"""DNS queries at several rates, minute by minute in one process: what a minute takes and holds.

    python -m benchmarks.scenarios.rate_costs FOLDER --rates 400 3600 14400 --minutes 4

Each minute four captures are landed, and what they changed is published; at the end the day is
rolled up. Each rate has a process of its own, so that its memory is known, and folders of its own.
Seconds are of processor time, and the first minute is left out, in which everything is done for the
first time. Not here: what waits between the steps, and Dagster (`rate`).
"""

import argparse
import json
import resource
import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final, TypeVar

from benchmarks.queries import MINUTE
from benchmarks.scenarios.rate import Network
from stingar_dagster.capture.names import CaptureFormat
from stingar_dagster.lake.layout import day_of
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.settings import Settings
from stingar_dagster.streams import DNS

START: Final = datetime(2026, 5, 19, 12, tzinfo=UTC)

R = TypeVar("R")


def make(network: Network, minutes: int) -> None:
    """Make the captures of all minutes."""
    for number in range(minutes):
        network.make(START + number * MINUTE)


def work(network: Network, lake: Path, minutes: int) -> dict[str, float]:
    """Land and publish minute by minute, then roll up the day."""
    settings = Settings(landing=str(network.landing), lake=str(lake), processes=1)
    pipeline = Pipeline(settings, replace(DNS, slice_minutes=1))
    spent: dict[str, list[float]] = defaultdict(list)

    def timed(step: str, function: Callable[[], R]) -> R:
        before = time.process_time()
        result = function()
        spent[step].append(time.process_time() - before)
        return result

    def publish(hours: Iterable[datetime]) -> None:
        for hour in hours:
            pipeline.publish_hour(hour)

    for number in range(minutes):
        network.land(START + number * MINUTE)
        landed = timed("land", lambda: pipeline.land_hour(START))
        # Now and then one before, too: of queries that come late.
        timed("publish", partial(publish, landed.changed_hours))
    timed("roll", lambda: pipeline.roll_day(day_of(START)))
    published = sum(path.stat().st_size for path in lake.rglob("events*.json.gz"))
    return {
        "landing a minute, s": statistics.median(spent["land"][1:]),
        "publishing a minute, s": statistics.median(spent["publish"][1:]),
        "rolling up the day once, s": spent["roll"][0],
        "peak of the process, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "published a minute, MB": published / minutes / 1e6,
    }


def in_a_process(function: Callable[..., R], *arguments: object) -> R:
    """Call it in a process that ends then."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rates", type=int, nargs="+", default=[400, 3600, 14_400])
    parser.add_argument("--minutes", type=int, default=4, help="at least 2")
    args = parser.parse_args()
    for rate in args.rates:
        folder: Path = args.folder.resolve() / str(rate)
        shutil.rmtree(folder, ignore_errors=True)
        names = CaptureFormat(Settings().capture_format)
        network = Network(folder / "landing", names, folder / "staged", rate)
        in_a_process(make, network, args.minutes)
        size = sum(path.stat().st_size for path in network.staged.rglob("*.avro"))
        figures = {
            "queries a second": rate,
            "captured a minute, MB": size / args.minutes / 1e6,
            **in_a_process(work, network, folder / "lake", args.minutes),
        }
        print(json.dumps(figures, indent=1), flush=True)
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
