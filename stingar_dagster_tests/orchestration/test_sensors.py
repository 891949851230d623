"""The sensors: each asks for what is due, once, and finds it again whatever it forgot."""

from datetime import UTC, datetime, timedelta

import dagster as dg
import msgspec
import pytest
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from stingar_dagster.partitions import day_key, hour_key
from stingar_dagster_tests.orchestration.daemon import Daemon, asked, keys
from stingar_dagster_tests.support import HOUR, MINUTE, Site, event

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

FIVE = datetime(2022, 5, 19, 17, tzinfo=UTC)
DAY = timedelta(days=1)


def recently() -> datetime:
    """The hour before this one: every look of the landing sensor goes as far back."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - HOUR


@pytest.fixture
def daemon(defs: dg.Definitions, instance: dg.DagsterInstance) -> Daemon:
    return Daemon(defs, instance)


# ---- new captures


def test_a_new_capture_asks_for_its_landed_hour(site: Site, daemon: Daemon) -> None:
    site.put([event(FIVE)], start=FIVE + 7 * MINUTE)
    site.put([event(FIVE)], start=FIVE + 9 * MINUTE, partition=1)
    result = daemon.tick("new_captures")
    (request,) = result.run_requests or []
    assert request.partition_key == "2022-05-19-17:00"
    assert request.tags["stingar/asked_by"] == "sensor"
    assert request.run_key is None
    (landed,) = result.asset_events
    assert isinstance(landed, dg.AssetMaterialization)
    assert landed.asset_key == dg.AssetKey(["stingar", "captures"])
    assert landed.partition == "2022-05-19-17:00"
    assert landed.metadata["captures"].value == 2
    daemon.run("land", result)
    assert len(site.ledger(FIVE)) == 2


def test_a_landed_hour_is_published_by_the_run_that_landed_it(
    site: Site, daemon: Daemon, defs: dg.Definitions
) -> None:
    late = event(FIVE - 3 * HOUR)
    site.put([event(FIVE), event(FIVE + MINUTE), late], start=FIVE)
    assert defs.resolve_sensor_def("stingar_new_captures").job_name == "stingar_land_and_publish"
    daemon.run("land_and_publish", daemon.tick("new_captures"))
    assert len(site.events(FIVE)) == 2
    # What arrived late is of another hour, which has a run of its own.
    assert asked(daemon.tick("changed_hours")) == keys(FIVE - 3 * HOUR)


@pytest.mark.parametrize("job", ["land", "land_and_publish"])
def test_an_hour_that_a_run_lands_is_not_asked_for_again(
    job: str, site: Site, daemon: Daemon
) -> None:
    site.put([event(FIVE)], start=FIVE)
    tags = {PARTITION_NAME_TAG: hour_key(FIVE)}
    run = daemon.unfinished(job, tags, dg.DagsterRunStatus.STARTED)
    assert asked(daemon.tick("new_captures")) == []
    daemon.instance.report_run_failed(run)
    assert asked(daemon.tick("new_captures")) == keys(FIVE)


@pytest.mark.parametrize("job", ["publish", "land_and_publish"])
def test_an_hour_that_a_run_publishes_is_not_asked_for_again(
    job: str, site: Site, daemon: Daemon
) -> None:
    site.put([event(FIVE)], start=FIVE)
    daemon.run("land", daemon.tick("new_captures"))
    tags = {PARTITION_NAME_TAG: hour_key(FIVE)}
    run = daemon.unfinished(job, tags, dg.DagsterRunStatus.STARTED)
    assert asked(daemon.tick("changed_hours")) == []
    # It landed the hour and could not publish it: that is asked for again by itself.
    daemon.instance.report_run_failed(run)
    assert asked(daemon.tick("changed_hours")) == keys(FIVE)


def test_nothing_new_is_a_skip_with_its_reason(site: Site, daemon: Daemon) -> None:
    for sensor in ("new_captures", "changed_hours", "changed_days"):
        result = daemon.tick(sensor)
        assert asked(result) == []
        assert (result.skip_message or "").endswith("are up to date")
    site.put([event(FIVE)], start=FIVE)
    daemon.settle()
    for sensor in ("new_captures", "changed_hours", "changed_days"):
        result = daemon.tick(sensor)
        assert asked(result) == []
        assert result.asset_events == []
        assert (result.skip_message or "").endswith("are up to date")


@pytest.mark.parametrize(
    "status",
    [
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
    ],
)
def test_while_a_run_of_the_hour_is_unfinished_it_is_not_asked_for(
    site: Site, daemon: Daemon, status: dg.DagsterRunStatus
) -> None:
    site.put([event(FIVE)], start=FIVE)
    site.put([event(FIVE)], start=FIVE + HOUR, partition=1)
    run = daemon.unfinished("land", {PARTITION_NAME_TAG: hour_key(FIVE)}, status)
    assert asked(daemon.tick("new_captures")) == keys(FIVE + HOUR)
    daemon.cursors.clear()
    between = {
        ASSET_PARTITION_RANGE_START_TAG: hour_key(FIVE - 2 * HOUR),
        ASSET_PARTITION_RANGE_END_TAG: hour_key(FIVE + HOUR),
    }
    other = daemon.unfinished("land", between, status)
    result = daemon.tick("new_captures")
    assert asked(result) == []
    assert "under way" in (result.skip_message or "")
    for finished in (run, other):
        daemon.instance.delete_run(finished.run_id)
    assert asked(daemon.tick("new_captures")) == keys(FIVE, FIVE + HOUR)


def test_a_run_of_another_step_holds_nothing_up(site: Site, daemon: Daemon) -> None:
    site.put([event(FIVE)], start=FIVE)
    daemon.unfinished("publish", {PARTITION_NAME_TAG: hour_key(FIVE)}, dg.DagsterRunStatus.STARTED)
    assert asked(daemon.tick("new_captures")) == keys(FIVE)


def test_what_was_asked_for_is_not_asked_for_again_at_once(site: Site, daemon: Daemon) -> None:
    site.put([event(FIVE)], start=FIVE)
    assert asked(daemon.tick("new_captures")) == keys(FIVE)
    result = daemon.tick("new_captures")
    assert asked(result) == []
    assert "wait for another try" in (result.skip_message or "")
    assert result.asset_events == []


def test_another_capture_of_the_hour_is_asked_for_at_once(site: Site, daemon: Daemon) -> None:
    hour = recently()
    site.put([event(hour)], start=hour)
    daemon.run("land", daemon.tick("new_captures"))
    assert asked(daemon.tick("new_captures")) == []
    site.put([event(hour)], start=hour + MINUTE, first=1)
    result = daemon.tick("new_captures")
    assert asked(result) == keys(hour)
    assert len(result.asset_events) == 1


def test_many_hours_are_asked_for_in_ranges_the_oldest_first(site: Site, daemon: Daemon) -> None:
    hours = [FIVE + number * HOUR for number in range(30) if number not in (3, 4)]
    for number, hour in enumerate(hours):
        site.put([event(hour)], start=hour, first=number)
    result = daemon.tick("new_captures")
    assert asked(result) == [
        "2022-05-19-17:00...2022-05-19-19:00",
        "2022-05-19-22:00...2022-05-20-21:00",
        "2022-05-20-22:00",
    ]
    assert len(result.asset_events) == 28
    daemon.run("land", result)
    assert len(site.rows("ledger")) == 28
    assert asked(daemon.tick("new_captures")) == []


def test_a_stranger_in_landing_is_named_and_holds_nothing_up(site: Site, daemon: Daemon) -> None:
    site.put([event(FIVE)], start=FIVE)
    site.pipeline().landing.store.write("ns/hub/0/2022/05/19/17/by-hand.avro", b"")
    assert asked(daemon.tick("new_captures")) == keys(FIVE)


# ---- changed hours and days


def test_a_late_event_opens_its_own_hour_and_day_and_no_other(site: Site, daemon: Daemon) -> None:
    hour = recently()
    site.put([event(hour), event(hour - 31 * DAY)], start=hour)
    # Not on a day after the late event's: a later report waits until all is compared again.
    site.put([event(hour - 30 * DAY - HOUR)], start=hour, partition=1)
    daemon.settle()
    before = site.versions("events", "daily")
    site.put([event(hour), event(hour - 30 * DAY)], start=hour + MINUTE, first=2)
    daemon.run("land", daemon.tick("new_captures"))

    hours = daemon.tick("changed_hours")
    assert asked(hours) == keys(hour - 30 * DAY, hour)
    daemon.run("publish", hours)
    days = daemon.tick("changed_days")
    assert asked(days) == [day_key(hour - 30 * DAY), day_key(hour)]
    daemon.run("roll", days)
    for sensor in ("new_captures", "changed_hours", "changed_days"):
        assert asked(daemon.tick(sensor)) == []
    after = site.versions("events", "daily")
    published = {path for path in after if after[path] != before.get(path) and "/events/" in path}
    assert published == {
        f"stingar/events/date={at:%Y-%m-%d}/hour={at:%H}/events.json"
        for at in (hour, hour - 30 * DAY)
    }
    rolled = {path.split("date=")[1][:10] for path in after if after[path] != before.get(path)}
    assert rolled == {day_key(hour), day_key(hour - 30 * DAY)}
    site.check()


def test_of_the_day_on_which_late_events_alone_arrived_the_report_is_made_and_no_table(
    site: Site, daemon: Daemon
) -> None:
    hour = recently()
    late = hour - 20 * DAY
    site.put([event(hour), event(late)], start=hour)
    daemon.settle()
    tables, reports = site.versions("daily"), site.versions("reports")
    site.put([event(late)], start=hour + MINUTE, first=2)
    daemon.run("land", daemon.tick("new_captures"))
    daemon.run("publish", daemon.tick("changed_hours"))
    days = daemon.tick("changed_days")
    assert asked(days) == [day_key(late), day_key(hour)]
    daemon.run("roll", days)
    assert asked(daemon.tick("changed_days")) == []

    def dates(before: dict[str, str], folder: str) -> set[str]:
        now = site.versions(folder)
        return {path.split("date=")[1][:10] for path in now if now[path] != before.get(path)}

    assert dates(tables, "daily") == {day_key(late)}
    assert dates(reports, "reports") == {day_key(late), day_key(hour)}


def test_quarantine_alone_opens_its_day(site: Site, daemon: Daemon) -> None:
    site.put([b"not json"], start=FIVE)
    daemon.run("land", daemon.tick("new_captures"))
    assert asked(daemon.tick("changed_hours")) == []
    days = daemon.tick("changed_days")
    assert asked(days) == ["2022-05-19"]
    daemon.run("roll", days)
    assert [row["quarantined"] for row in site.daily("daily_summary")] == [1]
    assert asked(daemon.tick("changed_days")) == []


def test_hours_and_days_with_an_unfinished_run_are_not_asked_for(
    site: Site, daemon: Daemon
) -> None:
    site.put([event(FIVE)], start=FIVE)
    daemon.run("land", daemon.tick("new_captures"))
    status = dg.DagsterRunStatus.STARTED
    publishing = daemon.unfinished("publish", {PARTITION_NAME_TAG: hour_key(FIVE)}, status)
    assert asked(daemon.tick("changed_hours")) == []
    daemon.instance.delete_run(publishing.run_id)
    daemon.run("publish", daemon.tick("changed_hours"))
    rolling = daemon.unfinished("roll", {PARTITION_NAME_TAG: day_key(FIVE)}, status)
    assert asked(daemon.tick("changed_days")) == []
    daemon.instance.delete_run(rolling.run_id)
    assert asked(daemon.tick("changed_days")) == ["2022-05-19"]


@pytest.mark.parametrize(
    ("took", "ago", "rests"), [(60, 440, True), (60, 460, False), (9, 0, False), (3600, 890, True)]
)
def test_a_day_that_took_long_is_left_alone_for_a_while(
    took: int, ago: int, rests: bool, site: Site, daemon: Daemon
) -> None:
    site.put([event(FIVE)], start=FIVE)
    daemon.run("land", daemon.tick("new_captures"))
    daemon.run("publish", daemon.tick("changed_hours"))
    status = dg.DagsterRunStatus.STARTED
    run = daemon.unfinished("roll", {PARTITION_NAME_TAG: day_key(FIVE)}, status)
    end = datetime.now(UTC) - timedelta(seconds=ago)
    for kind, moment in (
        (dg.DagsterEventType.PIPELINE_START, end - timedelta(seconds=took)),
        (dg.DagsterEventType.PIPELINE_SUCCESS, end),
    ):
        happened = dg.DagsterEvent(event_type_value=kind.value, job_name=run.job_name)
        daemon.instance.run_storage.handle_run_event(run.run_id, happened, moment)
    assert asked(daemon.tick("changed_days")) == ([] if rests else ["2022-05-19"])


def test_a_run_that_failed_is_asked_for_again_later(
    site: Site, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put([event(FIVE)], start=FIVE)
    daemon.run("land", daemon.tick("new_captures"))
    assert asked(daemon.tick("changed_hours")) == keys(FIVE)
    assert asked(daemon.tick("changed_hours")) == []
    cursor = msgspec.json.decode(daemon.cursors["changed_hours"] or "")
    for memory in cursor["asked"].values():
        memory["at"] -= 31
    daemon.cursors["changed_hours"] = msgspec.json.encode(cursor).decode()
    assert asked(daemon.tick("changed_hours")) == keys(FIVE)
    assert asked(daemon.tick("changed_hours")) == []


# ---- what sensors forget or never heard of


def lands_without_telling(site: Site, hour: datetime) -> None:
    """A process that commits a landed hour and dies before Dagster hears of it."""
    site.put([event(hour), b"not json"], start=hour)
    site.pipeline().land_hour(hour)


def test_an_hour_that_nobody_announced_is_found_by_comparing(site: Site, daemon: Daemon) -> None:
    hour = recently()
    lands_without_telling(site, hour)
    assert asked(daemon.tick("new_captures")) == []
    assert asked(daemon.tick("changed_hours")) == keys(hour)


def test_a_day_that_nobody_announced_is_found_by_comparing(site: Site, daemon: Daemon) -> None:
    hour = recently()
    lands_without_telling(site, hour)
    site.pipeline().publish_hour(hour)
    assert asked(daemon.tick("changed_hours")) == []
    assert asked(daemon.tick("changed_days")) == [day_key(hour)]


@pytest.mark.parametrize("text", [None, "", "{", "[]", "5", '{"asked": 3}', '{"after": "x"}', "ß"])
def test_an_empty_or_unreadable_cursor_gives_the_same(
    site: Site, daemon: Daemon, text: str | None
) -> None:
    hour = recently()
    site.put([event(hour)], start=hour)
    daemon.cursors = dict.fromkeys(("new_captures", "changed_hours", "changed_days"), text)
    landing = daemon.tick("new_captures")
    assert asked(landing) == keys(hour)
    site.pipeline().land_hour(hour)
    assert asked(daemon.tick("changed_hours")) == keys(hour)
    site.pipeline().publish_hour(hour)
    assert asked(daemon.tick("changed_days")) == [day_key(hour)]


def test_sensors_that_forget_everything_ask_for_nothing_that_is_done(
    site: Site, daemon: Daemon
) -> None:
    hour = recently()
    site.put([event(hour), b"not json"], start=hour)
    daemon.settle()
    versions = site.versions("events", "daily", "ledger")
    daemon.cursors.clear()
    for sensor in ("new_captures", "changed_hours", "changed_days"):
        assert asked(daemon.tick(sensor)) == []
    assert site.versions("events", "daily", "ledger") == versions


def test_they_bring_everything_out_and_come_to_rest(site: Site, daemon: Daemon) -> None:
    hour = recently()
    for number in range(6):
        site.put(
            [event(hour + number * MINUTE), event(hour - number * HOUR), b"{"],
            start=hour - (number % 2) * HOUR + number * MINUTE,
            first=3 * number,
        )
    daemon.settle()
    site.check()
    assert len(site.events()) == 12
    assert len(site.quarantined()) == 6


# ---- errors


@pytest.mark.parametrize("sensor", ["new_captures", "changed_hours", "changed_days"])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STINGAR_START", "tomorrow"),
        ("STINGAR_LAKE", "nowhere://x"),
        ("STINGAR_MAX_BODY_BYTES", "-1"),
        ("STINGAR_CAPTURE_FORMAT", "{Year}"),
    ],
)
def test_a_setting_that_can_not_be_used_is_a_skip_with_the_line(
    site: Site,
    daemon: Daemon,
    monkeypatch: pytest.MonkeyPatch,
    sensor: str,
    name: str,
    value: str,
) -> None:
    site.put([event(recently())], start=recently())
    monkeypatch.setenv(name, value)
    daemon.cursors[sensor] = '{"asked": {}}'
    result = daemon.tick(sensor)
    assert asked(result) == []
    assert (result.skip_message or "").startswith(f"{name}=")
    assert "\n" not in (result.skip_message or "")


def test_after_an_error_the_sensor_goes_on_where_it_was(
    site: Site, daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    hour = recently()
    site.put([event(hour)], start=hour)
    daemon.settle()
    kept = dict(daemon.cursors)
    with monkeypatch.context() as broken:
        broken.setenv("STINGAR_LAKE", "nowhere://x")
        for sensor in kept:
            daemon.tick(sensor)
    assert daemon.cursors == kept
    site.put([event(hour)], start=hour + MINUTE, first=1)
    assert asked(daemon.tick("new_captures")) == keys(hour)
