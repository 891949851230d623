"""Dagster's Celery run launcher, with two things it lacks: which queue, and whether a worker lives.

Named in `deploy/celery/dagster.yaml`; `celery_app` makes the workers' application of the same
settings. Not here: what a run does (`assets`), how many run at once (Dagster's run queue), and what
becomes of a run that was lost (Dagster's run monitoring and retries).
See https://docs.dagster.io/guides/deploy/execution/run-launchers
"""

import time
from collections.abc import Mapping
from typing import Any, Final

import dagster as dg
from dagster._config import Field, IntSource, StringSource
from dagster._core.launcher import (
    CheckRunHealthResult,
    LaunchRunContext,
    ResumeRunContext,
    WorkerStatus,
)
from dagster._core.storage.tags import BACKFILL_ID_TAG
from dagster._serdes import ConfigurableClassData
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG, DAGSTER_CELERY_TASK_ID_TAG

LIVE_QUEUE: Final = "stingar-live"
BACKFILL_QUEUE: Final = "stingar-backfill"
LOST_AFTER_SECONDS: Final = 45
"""Longer than a worker needs to find its broker again: it tries every 30 seconds at the longest."""
_ANSWERS_WITHIN_SECONDS: Final = 3.0
_ASK_AGAIN_AFTER_SECONDS: Final = 5.0
_LOOKS_APART_SECONDS: Final = 60.0
"""Looks further apart than this say nothing about the time between them."""


class StingarCeleryLauncher(CeleryRunLauncher):
    """Runs of backfills into one queue, all others into another; a run without a worker is lost.

    The stock launcher asks Celery's result backend for a task's state. That says STARTED for ever
    when the machine of the worker is gone, so such a run would be believed alive until the longest
    run allowed is over. It says PENDING when the backend lost its memory, and Dagster then fails
    runs that are well. This one asks the workers themselves what they are at; results are not kept.
    """

    def __init__(
        self,
        live_queue: str = LIVE_QUEUE,
        backfill_queue: str = BACKFILL_QUEUE,
        lost_after_seconds: int = LOST_AFTER_SECONDS,
        inst_data: ConfigurableClassData | None = None,
        **config: Any,
    ) -> None:
        super().__init__(
            default_queue=live_queue,
            broker=config.get("broker"),
            # Nothing reads results: what became of a run is in Dagster's own storage.
            backend=None,
            config_source={**(config.get("config_source") or {}), "task_ignore_result": True},
            inst_data=inst_data,
        )
        # Without a list, it makes the queues that are asked for.
        self.celery.conf.task_queues = None
        self.live_queue = live_queue
        self.backfill_queue = backfill_queue
        self.lost_after_seconds = lost_after_seconds
        self._missing_since: dict[tuple[str, str], float] = {}
        self._at_work: frozenset[str] = frozenset()
        self._asked_at = float("-inf")

    @classmethod
    def config_type(cls) -> Any:
        """What dagster.yaml may say; the rest of Celery's settings go into `config_source`."""
        inherited: Any = super().config_type()
        return {
            "broker": inherited["broker"],
            "config_source": inherited["config_source"],
            "live_queue": Field(
                StringSource,
                is_required=False,
                default_value=LIVE_QUEUE,
                description="Celery queue of every run that is no backfill's.",
            ),
            "backfill_queue": Field(
                StringSource,
                is_required=False,
                default_value=BACKFILL_QUEUE,
                description="Celery queue of backfills' runs.",
            ),
            "lost_after_seconds": Field(
                IntSource,
                is_required=False,
                default_value=LOST_AFTER_SECONDS,
                description="A started run is lost when no worker is at it for so many seconds.",
            ),
        }

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]
    ) -> "StingarCeleryLauncher":
        return cls(inst_data=inst_data, **config_value)

    # ------------------------------------------------------------------ which queue

    def queue_of(self, run: dg.DagsterRun) -> str:
        """A tag on the run decides; else whether a backfill asked for it."""
        told = run.tags.get(DAGSTER_CELERY_QUEUE_TAG)
        return told or (self.backfill_queue if BACKFILL_ID_TAG in run.tags else self.live_queue)

    def launch_run(self, context: LaunchRunContext) -> None:
        super().launch_run(context._replace(dagster_run=self._with_queue(context.dagster_run)))

    def resume_run(self, context: ResumeRunContext) -> None:
        super().resume_run(context._replace(dagster_run=self._with_queue(context.dagster_run)))

    def _with_queue(self, run: dg.DagsterRun) -> dg.DagsterRun:
        return run.with_tags({**run.tags, DAGSTER_CELERY_QUEUE_TAG: self.queue_of(run)})

    def terminate(self, run_id: str) -> bool:
        """Ask the worker, if one is at it, to end a run; true unless it is over already.

        It is said first that it is to be cancelled. A run that ends otherwise, or waits in a queue,
        would look as if its worker had died, and be tried again.
        """
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        if run.status != dg.DagsterRunStatus.CANCELING:
            self._instance.report_run_canceling(run)
        if task := run.tags.get(DAGSTER_CELERY_TASK_ID_TAG):
            self.celery.control.revoke(task, terminate=True)
        return True

    # ------------------------------------------------------------------ whether a worker lives

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether a worker is at a started run.

        Raises:
            kombu.exceptions.OperationalError: the broker can't be asked. Dagster logs it and asks
                again; nothing is held against a run.
        """
        task = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG, "")
        at_work = self._tasks_at_work()
        now = self._asked_at
        if task in at_work:
            self._missing_since.pop((run.run_id, task), None)
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        # One silence proves nothing: a worker may be finding its broker again, and a run that has
        # just started does not have its task's name yet.
        since = self._missing_since.setdefault((run.run_id, task), now)
        if now - since < self.lost_after_seconds:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        del self._missing_since[run.run_id, task]
        return CheckRunHealthResult(
            WorkerStatus.FAILED, f"no worker has been at it for {now - since:.0f} seconds"
        )

    def get_run_worker_debug_info(
        self, run: dg.DagsterRun, include_container_logs: bool | None = True
    ) -> str | None:
        return f"Celery task {run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)}"

    def _tasks_at_work(self) -> frozenset[str]:
        """The tasks that workers say they are at; asked once for all runs of a look."""
        now = time.monotonic()
        if now - self._asked_at < _ASK_AGAIN_AFTER_SECONDS:
            return self._at_work
        if now - self._asked_at > _LOOKS_APART_SECONDS:
            self._missing_since.clear()
        try:
            answers = self.celery.control.inspect(timeout=_ANSWERS_WITHIN_SECONDS).active() or {}
        except Exception:
            # The time of the outage counts against nobody.
            self._missing_since.clear()
            raise
        self._at_work = frozenset(task["id"] for tasks in answers.values() for task in tasks)
        self._asked_at = time.monotonic()
        return self._at_work
