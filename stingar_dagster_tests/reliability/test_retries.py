"""Which failed runs are tried again: decided by the type of the error, a bounded number of times.

Run as `stingar run` runs them, which uses the jobs and assets that the sensors ask for. Not here:
tries inside a store (`test_storage_faults`, `test_faults_over_the_wire`).
"""

import warnings
from collections.abc import Iterator

import dagster as dg
import pytest

from stingar_dagster import assets
from stingar_dagster.outstanding import Outstanding
from stingar_dagster.storage.objects import ObjectStore
from stingar_dagster_tests.faulty_store import Fault, FaultyFileSystem, Kind, Plan
from stingar_dagster_tests.support import NOON, Site, event

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

FOREVER = 10**6
WAIT = 0.001


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    for name in ("STINGAR_START", "STINGAR_CAPTURE_FORMAT", "STINGAR_MAX_BODY_BYTES"):
        monkeypatch.delenv(name, raising=False)
    FaultyFileSystem.store.clear()
    FaultyFileSystem.follow(Plan())
    site = Site("faulty://bucket/landing", "faulty://bucket/lake")
    monkeypatch.setenv("STINGAR_LANDING", site.landing)
    monkeypatch.setenv("STINGAR_LAKE", site.lake)
    monkeypatch.setattr(ObjectStore, "waits", ())
    monkeypatch.setattr(assets, "_FIRST_WAIT_SECONDS", WAIT)
    site.put([event(NOON)])
    yield site
    FaultyFileSystem.store.clear()
    FaultyFileSystem.follow(Plan())


def run(site: Site, instance: dg.DagsterInstance) -> list[str]:
    """What `stingar run` does; the line of each run that failed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from stingar_dagster import runner

    outcome = runner.run(Outstanding(site.pipeline(), NOON, None), instance, lambda *progress: None)
    return outcome.failures


def waits(instance: dg.DagsterInstance) -> list[float]:
    """Seconds before each further try, in all runs."""
    return [
        float(entry.dagster_event.step_retry_data.seconds_to_wait or 0)
        for record in instance.get_run_records()
        for entry in instance.all_logs(record.dagster_run.run_id)
        if entry.dagster_event is not None and entry.dagster_event.is_step_up_for_retry
    ]


@pytest.mark.parametrize("fault", [Fault.FULL, Fault.TIMEOUT, Fault.RESET])
def test_what_another_try_may_mend_is_tried_four_times_and_told_in_one_line(
    site: Site, instance: dg.DagsterInstance, fault: Fault
) -> None:
    FaultyFileSystem.follow(Plan(Kind.WRITE, fault, 0, FOREVER))
    (failure,) = run(site, instance)
    assert failure.startswith("land 2026-11-03-12:00 to 2026-11-03-12:00: faulty://bucket/lake/")
    assert "\n" not in failure
    assert "run again" in failure
    assert waits(instance) == [WAIT, 2 * WAIT, 4 * WAIT]


@pytest.mark.parametrize("tries", [1, 3])
def test_what_another_try_mends_fails_no_run(
    site: Site, instance: dg.DagsterInstance, tries: int
) -> None:
    FaultyFileSystem.follow(Plan(Kind.WRITE, Fault.RESET, 0, tries))
    assert run(site, instance) == []
    assert len(waits(instance)) >= 1
    site.check()
    assert len(site.events()) == 1


def test_what_no_other_try_mends_is_tried_once(site: Site, instance: dg.DagsterInstance) -> None:
    FaultyFileSystem.follow(Plan(Kind.WRITE, Fault.DENIED, 0, FOREVER))
    (failure,) = run(site, instance)
    assert "refused (PermissionError); check" in failure
    assert "\n" not in failure
    assert waits(instance) == []
