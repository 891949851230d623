"""The checks of a whole stream that go by weeks, as asset checks, with their job and schedule.

One run of a few seconds each quarter of an hour evaluates all of them from one look (`health`); any
can be started by hand in the UI. They are about a stream as it is now, not about a partition: else
a backfill of a good old hour would turn a bad today green. Not here: how they judge (`health`), and
counts, which block (`checks`).
See https://docs.dagster.io/guides/test/asset-checks
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)

from stingar_dagster.assets import AUTOMATIC_TAG, StreamAssets
from stingar_dagster.errors import StingarError, Transient
from stingar_dagster.health.findings import MOST_ROWS, Finding
from stingar_dagster.health.looking import checks_of, findings
from stingar_dagster.resources import PipelineResource
from stingar_dagster.safe_text import visible
from stingar_dagster.streams import Stream

_RETRIES = dg.RetryPolicy(max_retries=2, delay=20)


@dataclass(frozen=True, slots=True)
class StreamHealth:
    """One stream's checks, the job that evaluates them and its schedule."""

    checks: dg.AssetChecksDefinition
    job: UnresolvedAssetJobDefinition
    schedule: dg.ScheduleDefinition


def stream_health(stream: Stream, assets: StreamAssets) -> StreamHealth:
    """Build them for one stream."""
    checks = _checks(stream, assets)
    job = dg.define_asset_job(
        f"{stream.name}_look",
        selection=dg.AssetSelection.checks(checks),
        description="Evaluate the checks that go by weeks: gaps, drift, silence, volume and more.",
        tags={"dagster/priority": "40"},
    )
    schedule = dg.ScheduleDefinition(
        name=f"{stream.name}_regular_look",
        job=job,
        # A few minutes after captures of full quarters of an hour have landed.
        cron_schedule="6,21,36,51 * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Evaluates the checks that go by weeks, each quarter of an hour.",
        tags={AUTOMATIC_TAG: "schedule"},
    )
    return StreamHealth(checks, job, schedule)


def _checks(stream: Stream, assets: StreamAssets) -> dg.AssetChecksDefinition:
    keys = {key.path[-1]: key for key in (assets.landed, assets.quarantined, assets.cleaned)}
    specs = [
        dg.AssetCheckSpec(check.name, asset=keys[check.of], description=check.meaning)
        for check in checks_of(stream).values()
    ]

    @dg.multi_asset_check(
        name=f"{stream.name}_health",
        specs=specs,
        can_subset=True,
        retry_policy=_RETRIES,
    )
    def health(
        context: dg.AssetCheckExecutionContext, pipeline: PipelineResource
    ) -> Iterator[dg.AssetCheckResult]:
        names = {key.name for key in context.selected_asset_check_keys}
        try:
            lake = pipeline.open(stream.name).lake
            for check, finding in findings(lake, names, now()):
                yield result(keys[check.of], check.name, finding)
        except StingarError as error:
            # Without its cause: texts of storage clients may quote requests with their signatures.
            raise dg.Failure(
                visible(str(error)), allow_retries=isinstance(error, Transient)
            ) from None

    return health


def result(asset: dg.AssetKey, name: str, finding: Finding) -> dg.AssetCheckResult:
    """A finding as Dagster shows it."""
    metadata: dict[str, dg.MetadataValue] = {
        label: _value(value) for label, value in finding.numbers.items()
    }
    if finding.learning:
        metadata["learning"] = dg.MetadataValue.bool(True)
    if finding.rows:
        shown = finding.rows[:MOST_ROWS]
        metadata["found"] = dg.MetadataValue.table([dg.TableRecord(row) for row in shown])
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=name,
        passed=finding.passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=visible(finding.text),
        metadata=metadata,
    )


def _value(value: str | int | float) -> dg.MetadataValue:
    if isinstance(value, str):
        return dg.MetadataValue.text(value)
    return dg.MetadataValue.int(value) if isinstance(value, int) else dg.MetadataValue.float(value)


def now() -> datetime:
    """The moment that checks are about."""
    return datetime.now(UTC)
