"""`stingar run`: everything landed and not yet published, without the UI.

Runs the same jobs on the same instance as the UI, in this process, so runs and partitions show
there. Not here: what there is to do (`outstanding`) and what the steps do (`pipeline`).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from stingar_dagster import partitions
from stingar_dagster.assets import AUTOMATIC_TAG
from stingar_dagster.automation import ranges
from stingar_dagster.definitions import defs
from stingar_dagster.lake import backlog
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.layout import day_of
from stingar_dagster.lake.quarantine import read_quarantine
from stingar_dagster.outstanding import Outstanding
from stingar_dagster.pipeline import Pipeline

_HOURS_A_RUN: Final = 48
_DAYS_A_RUN: Final = 31

_QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

Progress = Callable[[str, int, int], None]


@dataclass(slots=True)
class Outcome:
    """What a run did.

    Attributes:
        landed, published, rolled: partitions of each step.
        failures: a line for each run that failed.
    """

    landed: int = 0
    published: int = 0
    rolled: int = 0
    failures: list[str] = field(default_factory=list)


def run(work: Outstanding, dagster: dg.DagsterInstance, progress: Progress) -> Outcome:
    """Bring what is outstanding up to date, and the hours and days it touches.

    Args:
        work: what there is to do.
        dagster: where runs are recorded.
        progress: called with a step's name, partitions done and in all.
    """
    runner = _Runner(work.pipeline, dagster, progress)
    runner.outcome.landed = runner.step("land", work.landed, partitions.HOUR, _HOURS_A_RUN)
    changed = work.hours()
    runner.outcome.published = runner.step("publish", changed, partitions.HOUR, _HOURS_A_RUN)
    pending = work.days((*work.landed, *changed))
    runner.outcome.rolled = runner.step("roll", pending, partitions.DAY, _DAYS_A_RUN)
    # What days look like now may change the reports of days that follow them; theirs change none.
    later = [] if runner.outcome.failures or not pending else work.days(())
    runner.outcome.rolled += runner.step("roll", later, partitions.DAY, _DAYS_A_RUN)
    return runner.outcome


@dataclass(slots=True)
class Replayed:
    """What a replay did: lines in quarantine before and after, and failed runs."""

    before: int = 0
    after: int = 0
    failures: list[str] = field(default_factory=list)


def replay(
    pipeline: Pipeline,
    dagster: dg.DagsterInstance,
    since: datetime | None,
    until: datetime | None,
    progress: Progress,
) -> Replayed:
    """Clean landed hours with quarantined events from scratch, and publish what changed."""
    lake = pipeline.lake
    hours = [
        hour for hour in backlog.landed_hours(lake, since, until) if _in_quarantine(lake, hour)
    ]
    result = Replayed(before=sum(_in_quarantine(lake, hour) for hour in hours))
    runner = _Runner(pipeline, dagster, progress, from_scratch=True)
    runner.step("land", hours, partitions.HOUR, _HOURS_A_RUN)
    changed = list(backlog.unpublished_hours(lake, hours))
    runner.step("publish", changed, partitions.HOUR, _HOURS_A_RUN)
    days = {day_of(hour) for hour in (*hours, *changed)}
    pending = list(backlog.unpublished_days(lake, days))
    runner.step("roll", pending, partitions.DAY, _DAYS_A_RUN)
    result.after = sum(_in_quarantine(lake, hour) for hour in hours)
    result.failures = runner.outcome.failures
    return result


def _in_quarantine(lake: Lake, hour: datetime) -> int:
    return sum(1 for _ in read_quarantine(lake, hour))


class _Runner:
    def __init__(
        self,
        pipeline: Pipeline,
        dagster: dg.DagsterInstance,
        progress: Progress,
        from_scratch: bool = False,
    ) -> None:
        self._stream = pipeline.stream.name
        self._dagster = dagster
        self._progress = progress
        self._tags = {} if from_scratch else {AUTOMATIC_TAG: "stingar run"}
        self.outcome = Outcome()

    def step(
        self, name: str, due: Iterable[datetime], step: timedelta, partitions_a_run: int
    ) -> int:
        """Run one job over partitions; returns how many were done."""
        due = list(due)
        if not due:
            return 0
        job = defs.resolve_job_def(f"{self._stream}_{name}")
        key = partitions.hour_key if step == partitions.HOUR else partitions.day_key
        done = 0
        self._progress(name, 0, len(due))
        # These runs come one after another: what shares its work is the hours of one run.
        for first, last in ranges(due, step, partitions_a_run, singles=0):
            result = job.execute_in_process(
                instance=self._dagster,
                run_config=_QUIET,
                tags={
                    **self._tags,
                    ASSET_PARTITION_RANGE_START_TAG: key(first),
                    ASSET_PARTITION_RANGE_END_TAG: key(last),
                },
                raise_on_error=False,
            )
            if result.success:
                done += int((last - first) / step) + 1
            else:
                self.outcome.failures.append(
                    f"{name} {key(first)} to {key(last)}: {_reason(result)}"
                )
            self._progress(name, done, len(due))
        return done


def _reason(result: dg.ExecuteInProcessResult) -> str:
    """Why a run failed, in one line."""
    for check in result.get_asset_check_evaluations():
        if not check.passed:
            return check.description or "a check failed"
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.user_failure_data is not None and failure.user_failure_data.description:
                return failure.user_failure_data.description
            error = failure.error
            while error is not None and error.cause is not None:
                error = error.cause
            if error is not None and error.message.strip():
                return error.message.strip().splitlines()[0]
    return "failed; the run's page in the UI says why"
