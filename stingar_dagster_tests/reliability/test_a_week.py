"""A week of traffic with everything that goes wrong, and a ledger difference of zero at its end.

Each simulated hour lands the sample traffic of four partitions, now and then twice, damaged, late
by hours or half-written; the pipeline runs most hours, in a process that is killed, over a store
that fails, or in peace. A few hours in the usual tests; with STINGAR_SOAK=1 the whole week, for
each of the fixed seeds.
"""

import contextlib
import os
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final

import pytest

from stingar_dagster.errors import Transient
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.samples.traffic import traffic
from stingar_dagster.storage import open_store
from stingar_dagster.verify import verify
from stingar_dagster_tests.faulty_store import FailingStore
from stingar_dagster_tests.processes import FORK, Death, run_until_killed
from stingar_dagster_tests.support import HOUR, MINUTE, SOAK, Site, capture

START: Final = datetime(2026, 11, 2, tzinfo=UTC)
PARTITIONS: Final = 4
HOURS: Final = 7 * 24 if SOAK else 12
SEEDS: Final = (1, 2, 3) if SOAK else (1,)
EVENTS_PER_HOUR: Final = 600 if SOAK else 120


class Week:
    """The outside world: what arrives, and what happens to the machine."""

    def __init__(self, site: Site, seed: int) -> None:
        self.site = site
        self.random = Random(seed)
        self.seed = seed
        self.numbers = [0] * PARTITIONS
        self.held_back: list[tuple[int, datetime, bytes]] = []
        self.captured = 0

    def land_hour(self, hour: datetime) -> None:
        for quarter in range(4):
            since = hour + quarter * 15 * MINUTE
            sent = traffic(
                since, since + 15 * MINUTE, events_per_hour=EVENTS_PER_HOUR, seed=self.seed,
                drift=0.05, damage=0.02, late=0.03,
            )  # fmt: skip
            bodies = [sample.body for sample in sent]
            for partition in range(PARTITIONS):
                self.land(partition, since, bodies[partition::PARTITIONS])
        for partition, start, blob in self.held_back:
            if self.random.random() < 0.5:
                self.site.put_blob(blob, partition, start)
                self.held_back.remove((partition, start, blob))

    def land(self, partition: int, start: datetime, bodies: list[bytes]) -> None:
        blob = capture(bodies, self.numbers[partition], start, block_bytes=4000)
        self.numbers[partition] += len(bodies)
        self.captured += len(bodies)
        fate = self.random.random()
        if fate < 0.04:
            self.held_back.append((partition, start, blob))
        elif fate < 0.08:
            path = self.site.put_blob(blob[: len(blob) // 2], partition, start)
            self.held_back.append((partition, start, blob))
            self.site.age(path, timedelta(hours=self.random.choice((0, 1))))
        else:
            self.site.put_blob(blob, partition, start)
            if fate < 0.12:
                self.site.put_blob(blob, partition, start + MINUTE)

    def run(self) -> None:
        fate = self.random.random()
        if fate < 0.2:
            return
        if fate < 0.5:
            death = Death(self.random.randrange(60), self.random.choice(("before", "after")))
            arguments = (self.site, death, (), dict(os.environ))
            process = FORK.Process(target=run_until_killed, args=arguments)
            process.start()
            process.join(120)
            assert process.exitcode in (0, -signal.SIGKILL)
        elif fate < 0.8:
            lake = open_store(self.site.lake, "STINGAR_LAKE")
            store = FailingStore(lake, self.random.random() * 0.02, self.random.randrange(10**6))
            with contextlib.suppress(Transient):  # the next run goes on
                self.site.run(Pipeline(self.site.settings, self.site.stream, lake_store=store))
        else:
            self.site.run()


@pytest.mark.parametrize("seed", SEEDS)
def test_every_event_of_a_week_comes_out_once(tmp_path: Path, seed: int) -> None:
    site = Site.at(tmp_path)
    week = Week(site, seed)
    for hour in range(HOURS):
        week.land_hour(START + hour * HOUR)
        week.run()
    while week.held_back:
        partition, start, blob = week.held_back.pop()
        site.put_blob(blob, partition, start)
    site.run()
    site.check(gaps=False)
    proof = verify(site.pipeline())
    assert proof.total("captured") - proof.total("duplicates") == week.captured
    assert proof.total("cleaned") + proof.total("quarantined") == week.captured
