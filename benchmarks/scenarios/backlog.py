"""A backlog of tiny captures, found and worked off through the sensors of the real definitions.

The sensors are ticked, and the runs that they ask for executed, in one process, as Dagster's
daemon does in several: a tick that takes longer than Dagster waits for one shows here, and so does
an hour that is asked for before an older one.

    python -m benchmarks.scenarios.backlog    (settings and DAGSTER_HOME in the environment)
"""

import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import Any, Final

from benchmarks.captures import Shape, captures
from benchmarks.contenders import Disagreement, environment, identities
from benchmarks.measuring import measured
from benchmarks.results import Backlog, amount, taken
from benchmarks.scale import Scale

_WINDOWS_AN_HOUR: Final = 60
"""Event Hubs' shortest window is a minute; four partitions."""
_BYTES_A_CAPTURE: Final = 1400
_IDLE_TICKS: Final = 30
"""A first look at landing takes a week at a time; half a year of looks may find nothing."""
_STEPS: Final = {"new_captures": "land", "changed_hours": "publish", "changed_days": "roll"}


def backlog(folder: Path, scale: Scale) -> Backlog:
    """About three events a capture, a capture a minute and partition."""
    shape = Shape(
        megabytes=scale.backlog_files * _BYTES_A_CAPTURE / 1e6,
        files=scale.backlog_files,
        hours=ceil(scale.backlog_files / 4 / _WINDOWS_AN_HOUR),
    )
    place = captures(folder, shape)
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    started = taken()
    environ = {**os.environ, **environment(place, work)}
    command = [sys.executable, "-m", "benchmarks.scenarios.backlog"]
    cost, output = measured(command, environ)
    seen = json.loads(output.strip().splitlines()[-1])
    landed = sum(
        path.read_bytes().count(b"\n") for path in work.glob("lake/stingar/ledger/**/*.json")
    )
    if landed != place.manifest.files:
        raise Disagreement(f"{landed:,} captures in ledgers of {place.manifest.files:,}")
    found = identities(work / "lake")
    if found != place.manifest.identities:
        raise Disagreement(f"{found:,} different events of {place.manifest.identities:,} captured")
    return Backlog(
        taken=started,
        amount=amount(place.manifest, "a capture a minute and partition"),
        cost=cost,
        landed=landed,
        **seen,
    )


def _work_off() -> dict[str, Any]:
    """Tick and run until nothing has been asked for in a while."""
    import dagster as dg
    from dagster._core.storage.tags import (
        ASSET_PARTITION_RANGE_END_TAG,
        ASSET_PARTITION_RANGE_START_TAG,
        PARTITION_NAME_TAG,
    )

    from stingar_dagster.definitions import defs

    warnings.simplefilter("ignore")
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    cursors: dict[str, str | None] = {}
    ticks: dict[str, list[float]] = {sensor: [] for sensor in _STEPS}
    asked: list[str] = []
    runs = idle = 0
    with dg.DagsterInstance.get() as instance:
        while idle < _IDLE_TICKS:
            idle += 1
            for sensor, step in _STEPS.items():
                name = f"stingar_{sensor}"
                context = dg.build_sensor_context(
                    instance=instance,
                    cursor=cursors.get(sensor),
                    definitions=defs,
                    sensor_name=name,
                )
                start = time.perf_counter()
                result = defs.resolve_sensor_def(name).evaluate_tick(context)
                ticks[sensor].append(time.perf_counter() - start)
                cursors[sensor] = result.cursor
                for happened in result.asset_events:
                    assert isinstance(happened, dg.AssetMaterialization)
                    instance.report_runless_asset_event(happened)
                for request in result.run_requests or []:
                    idle = 0
                    runs += 1
                    first = request.tags.get(ASSET_PARTITION_RANGE_START_TAG)
                    last = request.tags.get(ASSET_PARTITION_RANGE_END_TAG)
                    if step == "land":
                        asked += [str(first or request.partition_key)]
                        asked += [str(last or request.partition_key)]
                    done = defs.resolve_job_def(f"stingar_{step}").execute_in_process(
                        instance=instance,
                        run_config=quiet,
                        partition_key=None if first else request.partition_key,
                        tags={k: v for k, v in request.tags.items() if k != PARTITION_NAME_TAG},
                    )
                    assert done.success
    return {"ticks": ticks, "runs": runs, "in_order": _in_order(asked)}


def _in_order(hours: Sequence[str]) -> bool:
    """Keys of hours sort as their times do."""
    return list(hours) == sorted(hours)


if __name__ == "__main__":
    print(json.dumps(_work_off()))
