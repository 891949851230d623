"""The checks of a whole stream in Dagster: they run, and their results are records."""

from datetime import UTC, datetime

import dagster as dg
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus

from stingar_dagster.health.findings import Finding
from stingar_dagster.health.looking import checks_of
from stingar_dagster.streams import STREAMS
from stingar_dagster_tests.orchestration.daemon import QUIET
from stingar_dagster_tests.support import HOUR, Site, event

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    # Dagster's own use of pydantic.
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute:DeprecationWarning"),
]

TEN = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - 3 * HOUR


def look(defs: dg.Definitions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    job = defs.resolve_job_def("stingar_look")
    return job.execute_in_process(instance=instance, run_config=QUIET, raise_on_error=False)


def test_every_stream_has_every_check_on_one_of_its_assets(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    for stream in STREAMS.values():
        names = {key.name for key in graph.asset_check_keys if key.asset_key.path[0] == stream.name}
        assert checks_of(stream).keys() <= names


def test_all_pass_on_an_empty_lake(
    site: Site, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    result = look(defs, instance)
    assert result.success
    evaluations = result.get_asset_check_evaluations()
    assert {e.check_name for e in evaluations} == set(checks_of(STREAMS["stingar"]))
    assert all(e.passed for e in evaluations)


def test_a_failed_check_is_a_warning_in_the_records_with_words_and_numbers(
    site: Site, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    site.put([event(TEN)], start=TEN - HOUR, first=0)
    site.put([event(TEN)], start=TEN, first=11)
    site.run()
    assert look(defs, instance).success
    key = dg.AssetCheckKey(dg.AssetKey(["stingar", "landed_events"]), "no_sequence_gaps")
    records = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])
    assert records[key].status is AssetCheckExecutionRecordStatus.FAILED
    evaluation = records[key].evaluation
    assert evaluation is not None
    assert evaluation.severity is dg.AssetCheckSeverity.WARN
    assert "10 events were never captured" in (evaluation.description or "")
    assert evaluation.metadata["missing events"].value == 10
    table = evaluation.metadata["found"]
    assert isinstance(table, dg.TableMetadataValue)
    assert table.records[0].data["from"] == 1


def test_no_run_of_a_step_evaluates_them(
    site: Site, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    apart = checks_of(STREAMS["stingar"]).keys()
    for name in ("land", "publish", "roll"):
        job = defs.resolve_job_def(f"stingar_{name}")
        assert not apart & {key.name for key in job.asset_layer.asset_graph.asset_check_keys}
    result = defs.resolve_job_def("stingar_land").execute_in_process(
        instance=instance, run_config=QUIET, partition_key=TEN.strftime("%Y-%m-%d-%H:%M")
    )
    assert [e.check_name for e in result.get_asset_check_evaluations()] == ["counts_reconcile"]


def test_one_check_can_be_started_by_itself(
    site: Site, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    key = dg.AssetCheckKey(dg.AssetKey(["stingar", "landed_events"]), "volume_is_usual")
    job = defs.resolve_implicit_global_asset_job_def().get_subset(
        asset_selection=set(), asset_check_selection={key}
    )
    result = job.execute_in_process(instance=instance, run_config=QUIET)
    assert [e.check_name for e in result.get_asset_check_evaluations()] == ["volume_is_usual"]


def test_a_lake_that_can_not_be_read_fails_the_run_in_one_line(
    site: Site,
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STINGAR_MAX_BODY_BYTES", "nonsense")
    result = look(defs, instance)
    assert not result.success
    (failure,) = [e for e in result.all_events if e.is_step_failure]
    data = failure.step_failure_data.user_failure_data
    assert data is not None
    assert (data.description or "").startswith("STINGAR_MAX_BODY_BYTES='nonsense' is not")


def test_the_checks_are_evaluated_each_quarter_of_an_hour(defs: dg.Definitions) -> None:
    schedule = defs.resolve_schedule_def("stingar_regular_look")
    assert schedule.job_name == "stingar_look"
    assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    assert schedule.cron_schedule == "6,21,36,51 * * * *"


def test_a_finding_without_history_says_that_it_learns() -> None:
    from stingar_dagster import health_checks  # not before warnings of Dagster's are let be

    finding = Finding(True, "Not enough history yet: 1 of 3.", {"weeks": 1}, learning=True)
    made = health_checks.result(dg.AssetKey("a"), "volume_is_usual", finding)
    assert made.passed
    assert made.metadata["learning"].value is True
