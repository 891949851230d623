"""Dagster's daemon in small: ticks sensors and does what they ask for, in this process.

Not here: the real daemon, which `test_on_postgres` starts.
"""

from datetime import datetime

import dagster as dg
from dagster._core.definitions.sensor_definition import SensorExecutionData
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from stingar_dagster.partitions import hour_key

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


class Daemon:
    """Ticks a stream's sensors, and starts the runs they ask for, in this process."""

    def __init__(
        self, defs: dg.Definitions, instance: dg.DagsterInstance, stream: str = "stingar"
    ) -> None:
        self.instance = instance
        self._stream = stream
        self._defs = defs
        self.cursors: dict[str, str | None] = {}

    def tick(self, sensor: str) -> SensorExecutionData:
        context = dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(sensor),
            definitions=self._defs,
            sensor_name=f"{self._stream}_{sensor}",
        )
        result = self._defs.resolve_sensor_def(f"{self._stream}_{sensor}").evaluate_tick(context)
        self.cursors[sensor] = result.cursor
        for happened in result.asset_events:
            assert isinstance(happened, dg.AssetMaterialization | dg.AssetCheckEvaluation)
            self.instance.report_runless_asset_event(happened)
        return result

    def run(self, step: str, result: SensorExecutionData) -> None:
        job = self._defs.resolve_job_def(f"{self._stream}_{step}")
        for request in result.run_requests or []:
            assert job.execute_in_process(
                instance=self.instance,
                run_config=QUIET,
                partition_key=None
                if ASSET_PARTITION_RANGE_START_TAG in request.tags
                else request.partition_key,
                tags={k: v for k, v in request.tags.items() if k != PARTITION_NAME_TAG},
            ).success

    def settle(self) -> None:
        """Tick and run until nothing is asked for."""
        for _ in range(6):
            asked = False
            for sensor, step in (
                ("new_captures", "land_and_publish"),
                ("changed_hours", "publish"),
                ("changed_days", "roll"),
            ):
                result = self.tick(sensor)
                self.run(step, result)
                asked = asked or bool(result.run_requests)
            if not asked:
                return
        raise AssertionError("the sensors never come to rest")

    def unfinished(
        self, job: str, tags: dict[str, str], status: dg.DagsterRunStatus
    ) -> dg.DagsterRun:
        repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("stingar"), "stingar")
        name = f"{self._stream}_{job}"
        origin = RemoteJobOrigin(repository, name)
        run = dg.DagsterRun(job_name=name, status=status, tags=tags, remote_job_origin=origin)
        return self.instance.add_run(run)


def asked(result: SensorExecutionData) -> list[str]:
    """Partitions asked for: a key, or `first...last`."""
    return [
        f"{request.tags[ASSET_PARTITION_RANGE_START_TAG]}..."
        f"{request.tags[ASSET_PARTITION_RANGE_END_TAG]}"
        if ASSET_PARTITION_RANGE_START_TAG in request.tags
        else str(request.partition_key)
        for request in result.run_requests or []
    ]


def keys(*hours: datetime) -> list[str]:
    return [hour_key(hour) for hour in hours]
