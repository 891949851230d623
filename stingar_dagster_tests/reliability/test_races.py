"""Several processes on the same landed hour, event hours and day, while captures arrive.

In each round every process lands a capture of its own, and does once the steps that bring it out.
So nothing may be pending when all are through: an update that one lost for another would show as
an hour or a day that does not hold what is staged.
"""

import os
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from stingar_dagster.streams import STINGAR, Stream
from stingar_dagster_tests.processes import FORK, Racer
from stingar_dagster_tests.support import HOUR, NOON, SLICED, SOAK, Site, pending

TWO_TABLES = replace(STINGAR, tables=STINGAR.tables[:2])
IN_SLICES = replace(SLICED, tables=STINGAR.tables[:2])
SECONDS_TO_MEET = 120


@pytest.mark.parametrize(
    ("processes", "stream"),
    [(2, TWO_TABLES), (8, TWO_TABLES), (4, IN_SLICES)],
    ids=["2", "8", "4 in slices"],
)
def test_on_disk_nothing_is_lost_or_doubled(tmp_path: Path, processes: int, stream: Stream) -> None:
    site = Site.at(tmp_path, stream)
    race(site, processes, rounds=55 if SOAK else 10)
    alone = site.with_lake(str(tmp_path / "alone"))
    alone.run()
    assert site.tree("events") == alone.tree("events")
    assert site.tree("daily") == alone.tree("daily")


def test_on_azure_nothing_is_lost_or_doubled(tmp_path: Path, container: str) -> None:
    site = Site(str(tmp_path / "landing"), f"az://{container}/lake", TWO_TABLES)
    race(site, processes=4, rounds=30 if SOAK else 4)


def race(site: Site, processes: int, rounds: int) -> None:
    together: Barrier = FORK.Barrier(processes + 1, timeout=SECONDS_TO_MEET)
    racers = [Racer(number, rounds, NOON, (NOON - HOUR, NOON)) for number in range(processes)]
    started = [
        FORK.Process(target=racer.run, args=(site, together, dict(os.environ))) for racer in racers
    ]
    for process in started:
        process.start()
    pipeline = site.pipeline()
    for _ in range(rounds):
        together.wait()
        together.wait()
        assert pending(pipeline) == ([], [], [])
    for process in started:
        process.join(SECONDS_TO_MEET)
        assert process.exitcode == 0
    site.take_stock()
    site.check(gaps=False)
    assert len(site.events()) == 2 * processes * rounds
    assert site.duplicates() == 0
