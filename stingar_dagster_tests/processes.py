"""Processes that tests start: some are killed on the way, some race with each other.

Imported by those processes too, so nothing here may need pytest. Not here: stores that fail while
their process lives on (`faulty_store`).
"""

import itertools
import multiprocessing
import os
import signal
import time
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.synchronize import Barrier
from pathlib import Path
from random import Random
from typing import Any, Final, Literal

from stingar_dagster.lake.layout import day_of
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.storage import Store, local, open_store
from stingar_dagster_tests.faulty_store import PassingStore
from stingar_dagster_tests.support import MINUTE, Site, event

FORK: Final = multiprocessing.get_context("forkserver")
FORK.set_forkserver_preload(["stingar_dagster_tests.processes"])
"""Starts processes that have everything imported already. They have the environment of the first
one, so tests pass theirs on."""

When = Literal["before", "within", "after"]
"""Within: on a local disk, between a temporary file and the rename that makes it an object."""


@dataclass(frozen=True)
class Death:
    """When a process is to die: at which call, and whether reads count as calls."""

    at: int
    when: When
    reads: bool = False


class KillingStore(PassingStore):
    """Kills its process around the n-th call that matters, counted from 0."""

    def __init__(self, store: Store, death: Death) -> None:
        super().__init__(store)
        self._death = death
        # Calls come from several threads; next() on this is atomic.
        self._numbers = itertools.count()

    def _call(self, call: str, *rest: Any) -> Any:
        if not self._death.reads and call not in ("write", "remove"):
            return super()._call(call, *rest)
        now = next(self._numbers) == self._death.at and self._death.when != "within"
        if now and self._death.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = super()._call(call, *rest)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return result


def run_until_killed(
    site: Site, death: Death, again: tuple[datetime, ...], environ: dict[str, str]
) -> None:
    """In a process of its own: do `again` from scratch, then what is pending; die on the way."""
    os.environ.update(environ)
    if death.when == "within":
        _kill_within_writes(death.at)
    lake = KillingStore(open_store(site.lake, "STINGAR_LAKE"), death)
    pipeline = Pipeline(site.settings, site.stream, lake_store=lake)
    for hour in again:
        pipeline.land_hour(hour, again=True)
    site.run(pipeline)


def _kill_within_writes(at: int) -> None:
    rename = local._rename
    numbers = itertools.count()

    def kill_or_rename(temporary: Path, target: Path) -> None:
        if next(numbers) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(temporary, target)

    local._rename = kill_or_rename


class DawdlingStore(PassingStore):
    """Takes its time before it changes anything, so that others come in between."""

    def __init__(self, store: Store, seed: int) -> None:
        super().__init__(store)
        self._random = Random(seed)

    def _call(self, call: str, *rest: Any) -> Any:
        if call in ("write", "remove"):
            time.sleep(self._random.choice((0, 0, 0.005, 0.03)))
        return super()._call(call, *rest)


@dataclass(frozen=True)
class Racer:
    """One of several processes on the same hours and day.

    Attributes:
        number: which one; its captures are of the partition with this number.
        rounds: in each it lands a capture, and does the steps that bring it out, once.
        landed: the hour that captures land in.
        published: hours that its events belong to.
    """

    number: int
    rounds: int
    landed: datetime
    published: tuple[datetime, ...]

    def run(self, site: Site, together: Barrier, environ: dict[str, str]) -> None:
        os.environ.update(environ)
        store = DawdlingStore(open_store(site.lake, "STINGAR_LAKE"), self.number)
        pipeline = Pipeline(site.settings, site.stream, lake_store=store)
        for turn in range(self.rounds):
            together.wait()
            # In minutes of its own, which may be another slice of the hour.
            bodies = [event(hour + 7 * self.number * MINUTE) for hour in self.published]
            start = self.landed + turn * MINUTE
            first = turn * len(bodies)
            site.put(bodies, partition=self.number, first=first, start=start)
            pipeline.land_hour(self.landed, again=turn % 2 == 1)
            for hour in self.published:
                pipeline.publish_hour(hour)
            for day in sorted({day_of(hour) for hour in self.published}):
                pipeline.roll_day(day)
            together.wait()
