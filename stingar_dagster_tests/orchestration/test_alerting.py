"""The sensor of alerts: from Dagster's records to what a webhook gets, and no more than that."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
    WILL_RETRY_TAG,
)

from stingar_dagster_tests.alerts.sinks import WebSink, web_server
from stingar_dagster_tests.orchestration.daemon import QUIET
from stingar_dagster_tests.support import HOUR, Site, event

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    # Dagster's own use of pydantic.
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute:DeprecationWarning"),
]

LANDED = dg.AssetKey(["stingar", "landed_events"])
GAPS = dg.AssetCheckKey(LANDED, "no_sequence_gaps")
LEADS = {"stingar_land": LANDED}
MINUTE = 60.0
DAY = 86_400.0


class Clock:
    """Time as the sensor sees it: now, and later."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def time(self) -> float:
        return datetime.now(UTC).timestamp() + self.ahead


@pytest.fixture
def web() -> Iterator[WebSink]:
    with web_server() as sink:
        yield sink


class Watch:
    """The sensor and its cursor; ticks at a time of the test's choice."""

    def __init__(self, instance: dg.DagsterInstance, clock: Clock) -> None:
        from stingar_dagster.alerting import alert_sensor
        from stingar_dagster.alerts.settings import load_alert_settings

        sensor = alert_sensor(load_alert_settings(), [GAPS], LEADS)
        assert sensor is not None
        self._sensor, self._instance, self._clock = sensor, instance, clock
        self.cursor: str | None = None

    def tick(self, later: float = 0.0) -> str:
        """Tick so many seconds later; returns the reason that the tick shows."""
        self._clock.ahead += later
        context = dg.build_sensor_context(instance=self._instance, cursor=self.cursor)
        result = self._sensor.evaluate_tick(context)
        self.cursor = result.cursor
        return result.skip_message or ""


@pytest.fixture
def watch(
    instance: dg.DagsterInstance, web: WebSink, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Watch]:
    for name in ("EMAIL_TO", "SLACK", "TEAMS"):
        monkeypatch.delenv(f"STINGAR_ALERT_{name}", raising=False)
    monkeypatch.setenv("STINGAR_ALERT_WEBHOOK", web.url())
    monkeypatch.setenv("STINGAR_UI_URL", "https://dagster.example.edu")
    from stingar_dagster import alerting

    clock = Clock()
    monkeypatch.setattr(alerting, "time", _Time(clock))
    alerting._under_way.clear()
    yield Watch(instance, clock)
    alerting._under_way.clear()


class _Time:
    def __init__(self, clock: Clock) -> None:
        import time

        self.time = clock.time
        self.monotonic = time.monotonic


def told(web: WebSink) -> list[dict[str, Any]]:
    return [problem for _, sent in web.posted for problem in sent["problems"]]


def phases(web: WebSink) -> list[str]:
    return [problem["phase"] for problem in told(web)]


def check(instance: dg.DagsterInstance, passed: bool, text: str = "") -> None:
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=LANDED,
            check_name=GAPS.name,
            passed=passed,
            severity=dg.AssetCheckSeverity.WARN,
            description=text,
        )
    )


def run(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, partition: str, **tags: str
) -> None:
    from dagster._core.test_utils import create_run_for_test

    create_run_for_test(
        instance,
        job_name="stingar_land",
        status=status,
        tags={PARTITION_NAME_TAG: partition, **tags},
    )


def python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


FAILED, DONE = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS


def test_without_a_sink_there_is_no_sensor(defs: dg.Definitions) -> None:
    assert "alerts" not in {sensor.name for sensor in defs.sensors or ()}


def test_a_typo_in_a_setting_of_alerts_stops_no_pipeline_and_shows_in_the_tick(
    site: Site,
) -> None:
    made = python(
        "from stingar_dagster.definitions import defs\n"
        "import dagster as dg\n"
        "sensor = next(s for s in defs.sensors if s.name == 'alerts')\n"
        "with dg.DagsterInstance.ephemeral() as instance:\n"
        "    context = dg.build_sensor_context(instance=instance)\n"
        "    print(sensor.evaluate_tick(context).skip_message)\n",
        STINGAR_ALERT_SLACK="http://hooks.example.com/hidden-word",
    )
    line = "STINGAR_ALERT_SLACK must begin with https://: the address itself is the password"
    assert made.returncode == 0, made.stderr
    assert [said for said in made.stderr.splitlines() if "STINGAR" in said] == [line]
    assert made.stdout.strip() == f"{line}. no problem"


def test_a_failed_check_is_told_once_each_day_and_when_it_is_over(
    watch: Watch, web: WebSink, instance: dg.DagsterInstance
) -> None:
    assert watch.tick() == "no problem"
    check(instance, False, "10 events were never captured")
    for _ in range(6):
        watch.tick(MINUTE)
    assert phases(web) == ["started"]
    (problem,) = told(web)
    assert problem["title"] == "stingar/landed_events no_sequence_gaps"
    assert problem["text"] == "10 events were never captured"
    assert problem["link"] == (
        "https://dagster.example.edu/assets/stingar/landed_events"
        "?view=checks&checkDetail=no_sequence_gaps"
    )
    watch.tick(DAY)
    watch.tick(MINUTE)
    assert phases(web) == ["started", "lasting"]
    check(instance, True)
    watch._clock.ahead = 0  # results bear the true time
    watch.tick()
    watch.tick(HOUR.total_seconds())
    assert phases(web)[-1] == "over"
    watch.tick(DAY)
    assert len(web.posted) == 3


def test_a_restart_forgets_nothing_and_repeats_nothing(
    watch: Watch, web: WebSink, instance: dg.DagsterInstance
) -> None:
    check(instance, False, "bad")
    watch.tick()
    watch.tick(5 * MINUTE)
    again = Watch(instance, watch._clock)
    again.cursor = watch.cursor
    again.tick(MINUTE)
    assert phases(web) == ["started"]


def test_a_failed_run_is_told_with_its_reason_until_its_partition_is_done(
    watch: Watch,
    web: WebSink,
    site: Site,
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    key = now.strftime("%Y-%m-%d-%H:%M")
    site.put([event(now)], start=now)
    job = defs.resolve_job_def("stingar_land")
    with monkeypatch.context() as broken:
        broken.setenv("STINGAR_MAX_BODY_BYTES", "nonsense")
        assert not job.execute_in_process(
            instance=instance, run_config=QUIET, partition_key=key, raise_on_error=False
        ).success
        assert "STINGAR_MAX_BODY_BYTES" not in watch.tick()
    watch.tick(5 * MINUTE)
    (problem,) = told(web)
    assert problem["title"] == f"a run of stingar/landed_events failed ({key})"
    assert problem["text"].startswith("STINGAR_MAX_BODY_BYTES='nonsense' is not a whole number")
    assert problem["link"].startswith("https://dagster.example.edu/runs/")
    assert job.execute_in_process(instance=instance, run_config=QUIET, partition_key=key).success
    watch.tick(MINUTE)
    watch.tick(HOUR.total_seconds())
    assert phases(web) == ["started", "over"]


def test_counts_that_do_not_reconcile_fail_their_run_and_so_are_told(
    watch: Watch,
    web: WebSink,
    site: Site,
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from stingar_dagster import checks

    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    site.put([event(now)], start=now)
    monkeypatch.setattr(checks, "landed_problems", lambda *_: ["1 event of 2 is missing"])
    defs.resolve_job_def("stingar_land").execute_in_process(
        instance=instance,
        run_config=QUIET,
        partition_key=now.strftime("%Y-%m-%d-%H:%M"),
        raise_on_error=False,
    )
    watch.tick()
    watch.tick(5 * MINUTE)
    (problem,) = told(web)
    assert problem["title"].startswith("a run of stingar/landed_events failed")


def test_a_backfill_of_which_a_thousand_runs_fail_is_one_message_with_a_count(
    watch: Watch, web: WebSink, instance: dg.DagsterInstance
) -> None:
    for n in range(1000):
        run(instance, FAILED, f"2026-{1 + n // 672:02}-{1 + n // 24 % 28:02}-{n % 24:02}:00")
    for _ in range(10):
        watch.tick(MINUTE)
    (problem,) = told(web)
    assert problem["title"].startswith("1000 runs of stingar/landed_events failed (2026-01-01")
    assert problem["failed_runs"] == 1000
    assert len(watch.cursor or "") < 20_000 + 1000 * 60
    watch.tick(10 * MINUTE)
    assert len(web.posted) == 1


def test_a_run_that_is_tried_again_by_dagster_is_not_told(
    watch: Watch, web: WebSink, instance: dg.DagsterInstance
) -> None:
    run(instance, FAILED, "2026-11-18-10:00", **{WILL_RETRY_TAG: "true"})
    watch.tick()
    watch.tick(10 * MINUTE)
    assert web.posted == []


def test_a_failure_that_was_mended_within_two_minutes_is_not_told(
    watch: Watch, web: WebSink, instance: dg.DagsterInstance
) -> None:
    run(instance, FAILED, "2026-11-18-10:00")
    watch.tick()
    run(instance, DONE, "2026-11-18-10:00")
    watch.tick(MINUTE)
    watch.tick(HOUR.total_seconds())
    assert web.posted == []


def test_a_run_over_a_range_mends_what_is_in_it(
    watch: Watch, web: WebSink, instance: dg.DagsterInstance
) -> None:
    from dagster._core.test_utils import create_run_for_test

    for hour in (10, 11, 15):
        run(instance, FAILED, f"2026-11-18-{hour}:00")
    watch.tick()
    watch.tick(5 * MINUTE)
    create_run_for_test(
        instance,
        job_name="stingar_land",
        status=DONE,
        tags={
            ASSET_PARTITION_RANGE_START_TAG: "2026-11-18-09:00",
            ASSET_PARTITION_RANGE_END_TAG: "2026-11-18-12:00",
        },
    )
    watch.tick(MINUTE)
    watch.tick(HOUR.total_seconds())
    assert phases(web) == ["started"]
    run(instance, DONE, "2026-11-18-15:00")
    watch.tick(MINUTE)
    watch.tick(HOUR.total_seconds())
    assert phases(web) == ["started", "over"]


def test_a_run_from_the_ui_is_known_by_its_asset_as_the_jobs_runs_are(
    watch: Watch, web: WebSink, instance: dg.DagsterInstance
) -> None:
    from dagster._core.test_utils import create_run_for_test

    run(instance, FAILED, "2026-11-18-10:00")
    watch.tick()
    watch.tick(5 * MINUTE)
    create_run_for_test(
        instance,
        job_name="__ASSET_JOB",
        status=DONE,
        asset_selection=frozenset({LANDED, dg.AssetKey(["stingar", "quarantined_events"])}),
        tags={PARTITION_NAME_TAG: "2026-11-18-10:00"},
    )
    watch.tick(MINUTE)
    watch.tick(HOUR.total_seconds())
    assert phases(web) == ["started", "over"]


def test_a_sink_that_fails_shows_in_the_tick_without_its_address_and_gets_it_later(
    watch: Watch, web: WebSink, instance: dg.DagsterInstance
) -> None:
    check(instance, False, "bad")
    web.status = 500
    watch.tick()
    reason = watch.tick(5 * MINUTE)
    assert "webhook answered 500; check STINGAR_ALERT_WEBHOOK" in reason
    assert "secret-path" not in reason + (watch.cursor or "")
    web.status = 200
    watch.tick(MINUTE)
    assert phases(web) == ["started"]
    assert "webhook answered" not in watch.tick(MINUTE)


def test_a_sink_that_hangs_holds_up_no_tick_and_is_not_asked_twice(
    watch: Watch, web: WebSink, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stingar_dagster import alerting

    monkeypatch.setattr(alerting, "WAIT_SECONDS", 0.05)
    check(instance, False, "bad")
    web.hang = threading.Event()
    watch.tick()
    for _ in range(3):
        watch.tick(5 * MINUTE)
    assert web.posted == []
    web.hang.set()
    alerting._under_way["webhook"].is_done(20)
    watch.tick(MINUTE)
    assert phases(web) == ["started"]


@pytest.mark.parametrize("keys", [("eu",), ("2026-11-18-10:00", "latest"), ("2026|eu", "2027|us")])
def test_runs_of_other_code_on_the_instance_stop_no_alert(
    watch: Watch, web: WebSink, instance: dg.DagsterInstance, keys: tuple[str, ...]
) -> None:
    from dagster._core.test_utils import create_run_for_test

    tags = {ASSET_PARTITION_RANGE_START_TAG: keys[0], ASSET_PARTITION_RANGE_END_TAG: keys[-1]}
    if len(keys) == 1:
        tags = {PARTITION_NAME_TAG: keys[0]}
    create_run_for_test(instance, job_name="others", status=DONE, tags=tags)
    create_run_for_test(instance, job_name="theirs", status=FAILED, tags=tags)
    run(instance, FAILED, "2026-11-18-10:00")
    watch.tick()
    watch.tick(5 * MINUTE)
    titles = {problem["title"] for problem in told(web)}
    assert "a run of stingar/landed_events failed (2026-11-18-10:00)" in titles
    assert len(titles) == 2
    create_run_for_test(instance, job_name="theirs", status=DONE, tags=tags)
    watch.tick(MINUTE)
    watch.tick(HOUR.total_seconds())
    (over,) = [problem for problem in told(web) if problem["phase"] == "over"]
    assert over["title"].startswith("a run of theirs failed")


def test_a_check_that_is_not_declared_any_more_ends_its_problem(
    watch: Watch, web: WebSink, instance: dg.DagsterInstance
) -> None:
    from stingar_dagster.alerting import alert_sensor
    from stingar_dagster.alerts.settings import load_alert_settings

    check(instance, False, "10 events were never captured")
    watch.tick()
    watch.tick(5 * MINUTE)
    without = alert_sensor(load_alert_settings(), [], LEADS)
    assert without is not None
    watch._sensor = without
    watch.tick(MINUTE)
    watch.tick(HOUR.total_seconds())
    assert phases(web) == ["started", "over"]
    assert watch.tick(3 * DAY) == "no problem"
    assert len(web.posted) == 2


def test_a_clock_that_ran_ahead_for_a_while_hides_nothing_after_it(
    watch: Watch, web: WebSink, instance: dg.DagsterInstance
) -> None:
    run(instance, FAILED, "2026-11-18-10:00")
    watch.tick(3 * DAY)
    watch.tick(5 * MINUTE)  # three days ahead, as the run's end is not
    watch._clock.ahead = 0
    check(instance, False, "bad")
    run(instance, FAILED, "2026-11-18-11:00")
    watch.tick()
    watch.tick(5 * MINUTE)
    assert "check:stingar/landed_events:no_sequence_gaps" in {p["key"] for p in told(web)}
    assert "2 runs of stingar/landed_events failed" in watch.tick(MINUTE)


def test_a_run_that_ended_by_a_clock_that_ran_ahead_hides_none_that_ends_after_it(
    watch: Watch, web: WebSink, instance: dg.DagsterInstance
) -> None:
    from dagster._core.storage.runs import SqlRunStorage
    from dagster._core.storage.runs.schema import RunsTable

    watch.tick()
    run(instance, DONE, "2026-11-18-10:00")
    storage = instance.run_storage
    assert isinstance(storage, SqlRunStorage)
    ahead = (datetime.now(UTC) + 72 * HOUR).replace(tzinfo=None)
    with storage.connect() as connection:
        connection.execute(RunsTable.update().values(update_timestamp=ahead))
    run(instance, FAILED, "2026-11-18-11:00")
    watch.tick()
    run(instance, FAILED, "2026-11-18-12:00")
    for _ in range(5):
        watch.tick(MINUTE / 4)
    watch.tick(5 * MINUTE)
    (problem,) = told(web)
    assert problem["failed_runs"] == 2


def test_an_unreadable_cursor_counts_as_empty(
    watch: Watch, web: WebSink, instance: dg.DagsterInstance
) -> None:
    watch.cursor = "{nonsense"
    assert watch.tick() == "no problem"
