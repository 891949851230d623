"""A day of generated traffic, worked up by runs, and Dagster's webserver and daemon over it.

The last hours are landed and not published, so that there is something to ask for by clicking.
Not here: the traffic itself (`stingar_dagster.samples`) and the browser (`opening`).
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import dagster as dg
import pytest
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from stingar_dagster.partitions import HOUR, day_key, hour_key
from stingar_dagster.samples.traffic import traffic
from stingar_dagster_tests.reliability.serving import ROOT, asked, served
from stingar_dagster_tests.support import Site, event

DAY: Final = datetime(2026, 11, 3, tzinfo=UTC)
FIRST: Final = DAY + 6 * HOUR
END: Final = DAY + 16 * HOUR
TO_ASK_FOR: Final = tuple(END - n * HOUR for n in (3, 2, 1))
"""Hours that are landed and not published."""
LATEST: Final = TO_ASK_FOR[0] - HOUR
"""The last published hour."""
HOSTILE: Final = (
    "<img src=x onerror=window.owned=1><script>window.owned=1</script>"
    "![x](http://192.0.2.66/seen.png) \x1b[31m\u202egnp.exe"
)
"""What an attacker typed at the beginning of each hour; the address is one for documentation."""
_SENSORS: Final = """{ repositoryOrError(repositorySelector: {
  repositoryName: "__repository__", repositoryLocationName: "stingar"}) { ... on Repository {
  sensors { name sensorState { id } } schedules { name scheduleState { id } } } } }"""


@dataclass(frozen=True, slots=True)
class Served:
    """An instance of Dagster.

    Attributes:
        address: of its webserver, without a slash at the end.
        folder: in which it stands, with landing and lake below `data`.
        site: landing and lake.
    """

    address: str
    folder: Path
    site: Site


@contextlib.contextmanager
def served_lake(folder: Path) -> Iterator[Served]:
    """Fill a folder with a day of traffic, and serve it. Nothing runs unless it is asked for."""
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, folder)
    with pytest.MonkeyPatch.context() as patch:
        for name in [*os.environ]:
            if name.startswith(("STINGAR_", "DAGSTER_", "AZURE_")):
                patch.delenv(name)
        patch.chdir(folder)
        site = Site.at(folder / "data")
        patch.setenv("DAGSTER_HOME", str(folder))
        patch.setenv("STINGAR_LANDING", site.landing)
        patch.setenv("STINGAR_LAKE", site.lake)
        patch.setenv("STINGAR_START", "2026-11-01")
        _land(site)
        _work(site)
        with served(folder, DAGSTER_HOME=str(folder)) as address:
            _leave_to_people(address)
            yield Served(address, folder, site)


@contextlib.contextmanager
def daemon(lake: Served) -> Iterator[None]:
    """Dagster's daemon, which starts what was asked for."""
    command = [sys.executable, "-m", "dagster._daemon", "run", "-w", "workspace.yaml"]
    with (
        (lake.folder / "daemon.log").open("wb") as log,
        subprocess.Popen(
            command,
            cwd=lake.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


def _land(site: Site) -> None:
    """A capture an hour, in each an attack on whoever reads it and something that is no event."""
    samples = [*traffic(FIRST, END, events_per_hour=120.0, seed=7, damage=0.0, late=0.0)]
    first, hour = 0, FIRST
    while hour < END:
        of_hour = [s.body for s in samples if hour <= s.arrived < hour + HOUR]
        attack = event(hour + timedelta(milliseconds=1), app="cowrie", command=HOSTILE)
        bodies = [attack, HOSTILE.encode(), *of_hour]
        site.put(bodies, start=hour, first=first, received=hour + HOUR - timedelta(seconds=1))
        first, hour = first + len(bodies), hour + HOUR


def _work(site: Site) -> None:
    from stingar_dagster.definitions import build_definitions
    from stingar_dagster.instance import open_instance

    defs = build_definitions(site.settings)
    dg.Definitions.validate_loadable(defs)
    with open_instance() as instance:
        for job, first, last in (
            ("land", hour_key(FIRST), hour_key(END - HOUR)),
            # One run for each of two ranges: a line over time needs two points.
            ("publish", hour_key(FIRST), hour_key(LATEST - HOUR)),
            ("publish", hour_key(LATEST), hour_key(LATEST)),
            ("roll", day_key(DAY), day_key(DAY)),
        ):
            result = defs.resolve_job_def(f"stingar_{job}").execute_in_process(
                instance=instance,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                tags={ASSET_PARTITION_RANGE_START_TAG: first, ASSET_PARTITION_RANGE_END_TAG: last},
            )
            assert result.success, job


def _leave_to_people(address: str) -> None:
    """Switch sensors and schedules off: what was not published is for the test to ask for."""
    found = asked(address, _SENSORS)["data"]["repositoryOrError"]
    for sensor in found["sensors"]:
        _change(address, "stopSensor(id: $id)", sensor["sensorState"]["id"])
    for schedule in found["schedules"]:
        _change(address, "stopRunningSchedule(id: $id)", schedule["scheduleState"]["id"])


def _change(address: str, mutation: str, identity: str) -> None:
    asked(address, f"mutation X($id: String) {{ {mutation} {{ __typename }} }}", id=identity)
