"""The launcher by itself: which queue a run goes to, and when a run counts as lost."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import dagster as dg
import pytest
from dagster._core.launcher import WorkerStatus
from dagster._core.test_utils import create_run_for_test
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG, DAGSTER_CELERY_TASK_ID_TAG

from stingar_dagster.celery_launcher import StingarCeleryLauncher


@dataclass
class Workers:
    """What workers would answer, and a clock that does not wait."""

    now: float = 1000.0
    at_work: dict[str, list[dict[str, str]]] | None = field(default_factory=dict)
    is_gone: bool = False
    asked: int = 0

    def active(self) -> dict[str, list[dict[str, str]]] | None:
        self.asked += 1
        if self.is_gone:
            raise ConnectionError("the broker is away")
        return self.at_work


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Workers:
    workers = Workers()
    monkeypatch.setattr(time, "monotonic", lambda: workers.now)
    return workers


@pytest.fixture
def launcher(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> StingarCeleryLauncher:
    launcher = StingarCeleryLauncher(broker="memory://", lost_after_seconds=45)
    monkeypatch.setattr(launcher.celery.control, "inspect", lambda timeout: workers)
    return launcher


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def run_of(instance: dg.DagsterInstance, **tags: str) -> dg.DagsterRun:
    run: dg.DagsterRun = create_run_for_test(instance, "stingar_land", tags=tags)
    return run


def with_task(instance: dg.DagsterInstance, task: str) -> dg.DagsterRun:
    return run_of(instance, **{DAGSTER_CELERY_TASK_ID_TAG: task})


@pytest.mark.parametrize(
    ("tags", "queue"),
    [
        ({}, "stingar-live"),
        ({"stingar/asked_by": "sensor"}, "stingar-live"),
        ({"dagster/backfill": "abcdefgh"}, "stingar-backfill"),
        ({"dagster/backfill": "abcdefgh", DAGSTER_CELERY_QUEUE_TAG: "mine"}, "mine"),
    ],
)
def test_backfills_have_a_queue_of_their_own(
    launcher: StingarCeleryLauncher,
    instance: dg.DagsterInstance,
    tags: dict[str, str],
    queue: str,
) -> None:
    assert launcher.queue_of(run_of(instance, **tags)) == queue


def test_a_run_that_a_worker_is_at_is_well(
    launcher: StingarCeleryLauncher, workers: Workers, instance: dg.DagsterInstance
) -> None:
    workers.at_work = {"a": [{"id": "other"}], "b": [{"id": "task"}]}
    for _ in range(20):
        health = launcher.check_run_worker_health(with_task(instance, "task"))
        assert health.status == WorkerStatus.RUNNING
        workers.now += 10


def test_a_run_that_no_worker_is_at_for_long_enough_is_lost(
    launcher: StingarCeleryLauncher, workers: Workers, instance: dg.DagsterInstance
) -> None:
    run = with_task(instance, "task")
    found = []
    for _ in range(6):
        found.append(launcher.check_run_worker_health(run).status)
        workers.now += 10
    assert found == [WorkerStatus.RUNNING] * 5 + [WorkerStatus.FAILED]


def test_a_worker_that_answers_again_in_time_has_lost_nothing(
    launcher: StingarCeleryLauncher, workers: Workers, instance: dg.DagsterInstance
) -> None:
    run = with_task(instance, "task")
    for turn in range(20):
        workers.at_work = {"a": [{"id": "task"}]} if turn % 4 == 3 else None
        assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
        workers.now += 10


def test_the_time_that_the_broker_was_away_counts_against_nobody(
    launcher: StingarCeleryLauncher, workers: Workers, instance: dg.DagsterInstance
) -> None:
    run = with_task(instance, "task")
    launcher.check_run_worker_health(run)
    workers.is_gone = True
    for _ in range(4):
        workers.now += 10
        with pytest.raises(ConnectionError):
            launcher.check_run_worker_health(run)
    workers.is_gone = False
    workers.now += 10
    assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING


def test_nor_does_time_in_which_nobody_looked(
    launcher: StingarCeleryLauncher, workers: Workers, instance: dg.DagsterInstance
) -> None:
    run = with_task(instance, "task")
    launcher.check_run_worker_health(run)
    workers.now += 3600
    assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING


def test_workers_are_asked_once_for_all_runs_of_a_look(
    launcher: StingarCeleryLauncher, workers: Workers, instance: dg.DagsterInstance
) -> None:
    for number in range(8):
        launcher.check_run_worker_health(with_task(instance, f"task-{number}"))
    assert workers.asked == 1


def test_a_run_tried_again_is_not_lost_for_what_it_was_before(
    launcher: StingarCeleryLauncher, workers: Workers, instance: dg.DagsterInstance
) -> None:
    # Dagster copies the tags of a run that it tries again, the name of the old task too.
    run = with_task(instance, "old")
    for _ in range(3):
        launcher.check_run_worker_health(run)
        workers.now += 10
    assert launcher.check_run_worker_health(with_task(instance, "old")).status == (
        WorkerStatus.RUNNING
    )


def test_a_run_that_waits_is_cancelled_and_not_taken_for_lost(
    launcher: StingarCeleryLauncher, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoked: list[str] = []
    monkeypatch.setattr(
        launcher.celery.control, "revoke", lambda task, terminate: revoked.append(task)
    )
    launcher.register_instance(instance)
    for run in (with_task(instance, "task"), run_of(instance)):
        assert launcher.terminate(run.run_id)
        now = instance.get_run_by_id(run.run_id)
        assert now is not None
        assert now.status == dg.DagsterRunStatus.CANCELING
    assert revoked == ["task"]
    over = create_run_for_test(instance, "stingar_land", status=dg.DagsterRunStatus.SUCCESS)
    assert not launcher.terminate(over.run_id)
