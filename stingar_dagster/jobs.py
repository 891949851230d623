"""The jobs that sensors, schedules and `stingar run` start: one for each step of a stream.

A partition key, or a range of them, is a run's only input. New captures get a job that lands an
hour and publishes it: nearly all that lands was logged in that same hour, and a second run would
cost seconds of processor time before it does anything. Not here: backfills from the UI, which
Dagster builds from the assets themselves.
See https://docs.dagster.io/guides/build/jobs
"""

from collections.abc import Iterable
from dataclasses import dataclass

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from stingar_dagster import partitions
from stingar_dagster.assets import AUTOMATIC_TAG, StreamAssets
from stingar_dagster.streams import Stream


@dataclass(frozen=True, slots=True)
class StreamJobs:
    """One stream's jobs."""

    land: UnresolvedAssetJobDefinition
    land_and_publish: UnresolvedAssetJobDefinition
    publish: UnresolvedAssetJobDefinition
    roll: UnresolvedAssetJobDefinition
    known_by: tuple[dg.AssetKey, ...]

    @property
    def leads(self) -> dict[str, dg.AssetKey]:
        """By the name of a job, the asset that its runs are known by."""
        return {job.name: lead for job, lead in zip(self.all, self.known_by, strict=True)}

    @property
    def all(self) -> tuple[UnresolvedAssetJobDefinition, ...]:
        return self.land, self.land_and_publish, self.publish, self.roll

    @property
    def landing(self) -> tuple[UnresolvedAssetJobDefinition, ...]:
        """Those that land hours."""
        return self.land, self.land_and_publish

    @property
    def publishing(self) -> tuple[UnresolvedAssetJobDefinition, ...]:
        """Those that publish hours."""
        return self.land_and_publish, self.publish


def stream_jobs(
    stream: Stream, assets: StreamAssets, apart: Iterable[dg.AssetCheckKey] = ()
) -> StreamJobs:
    """The jobs of one stream.

    Args:
        stream: whose.
        assets: its assets.
        apart: checks of these assets that have a job of their own. A job over assets would take
            them in, and evaluate them with every hour that lands.
    """
    others = dg.AssetSelection.checks(*apart)

    def only(*keys: dg.AssetKey) -> dg.AssetSelection:
        return dg.AssetSelection.assets(*keys) - others

    return StreamJobs(
        land=dg.define_asset_job(
            f"{stream.name}_land",
            selection=only(assets.landed, assets.quarantined),
            description="Decode and clean landed hours.",
        ),
        land_and_publish=dg.define_asset_job(
            f"{stream.name}_land_and_publish",
            selection=only(assets.landed, assets.quarantined, assets.cleaned),
            description="Decode and clean landed hours, and publish the same hours. What landed of "
            f"other hours is left to {stream.name}_publish.",
        ),
        publish=dg.define_asset_job(
            f"{stream.name}_publish",
            selection=only(assets.cleaned),
            description="Publish event hours.",
        ),
        roll=dg.define_asset_job(
            f"{stream.name}_roll",
            selection=only(*assets.daily),
            description="Roll hours up into daily tables.",
        ),
        # A run that landed an hour and could not publish it is made good by one that publishes it.
        known_by=(assets.landed, assets.cleaned, assets.cleaned, min(assets.daily)),
    )


def daily_roll_up(stream: Stream, jobs: StreamJobs) -> dg.ScheduleDefinition:
    """Every night yesterday's tables, whatever sensors did: a day is final by then but for late
    events."""

    @dg.schedule(
        name=f"{stream.name}_daily_roll_up",
        job=jobs.roll,
        cron_schedule="20 0 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Yesterday's daily tables, once more after midnight (UTC).",
    )
    def roll_yesterday(context: dg.ScheduleEvaluationContext) -> dg.RunRequest:
        yesterday = context.scheduled_execution_time - partitions.DAY
        return dg.RunRequest(
            partition_key=partitions.day_key(yesterday),
            tags={AUTOMATIC_TAG: "schedule"},
        )

    return roll_yesterday
