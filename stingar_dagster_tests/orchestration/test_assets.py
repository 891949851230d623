"""Runs of the assets, as Dagster starts them: what they leave in the lake, and what they tell."""

import json
import os
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from stingar_dagster import checks
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.publication import Record
from stingar_dagster.partitions import DAY, HOUR, day_key, hour_key
from stingar_dagster.report.page import page
from stingar_dagster.report.publishing import day_facts
from stingar_dagster_tests.support import MINUTE, Site, capture, event, on_disk

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

FIVE = datetime(2022, 5, 19, 17, tzinfo=UTC)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
LEDGER = "stingar/ledger/date=2022-05-19/hour=17/ledger.json"
AUTOMATIC = {"stingar/asked_by": "sensor"}


@pytest.fixture
def filled(site: Site) -> Site:
    """Two landed hours: three hours of events over two days, one reject, one body of two."""
    both = b"[" + event(FIVE + MINUTE) + b"," + event(FIVE + 2 * MINUTE) + b"]"
    site.put([event(FIVE), b"not json", both, event(FIVE - 20 * HOUR)], start=FIVE)
    site.put([event(FIVE), event(FIVE + HOUR)], first=4, start=FIVE + HOUR)
    site.put([event(FIVE)], first=0, start=FIVE + HOUR + MINUTE)  # captured twice
    return site


class Dagster:
    """Runs jobs in this process."""

    def __init__(self, defs: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self._defs = defs
        self._instance = instance

    def run(
        self, step: str, partition: datetime, tags: dict[str, str] | None = None
    ) -> dg.ExecuteInProcessResult:
        key = day_key(partition) if step == "roll" else hour_key(partition)
        return self._run(step, partition_key=key, tags=tags)

    def run_range(
        self, step: str, first: datetime, last: datetime, tags: dict[str, str] | None = None
    ) -> dg.ExecuteInProcessResult:
        key = day_key if step == "roll" else hour_key
        between = {
            ASSET_PARTITION_RANGE_START_TAG: key(first),
            ASSET_PARTITION_RANGE_END_TAG: key(last),
        }
        return self._run(step, tags={**between, **(tags or {})})

    def _run(self, step: str, **arguments: Any) -> dg.ExecuteInProcessResult:
        job = self._defs.resolve_job_def(f"stingar_{step}")
        return job.execute_in_process(
            instance=self._instance, run_config=QUIET, raise_on_error=False, **arguments
        )

    def whole_way(self) -> None:
        """Everything that the filled site needs."""
        assert self.run_range("land", FIVE, FIVE + HOUR).success
        assert self.run("publish", FIVE - 20 * HOUR).success
        assert self.run_range("publish", FIVE, FIVE + HOUR).success
        assert self.run_range("roll", FIVE - DAY, FIVE).success


@pytest.fixture
def dagster(defs: dg.Definitions, instance: dg.DagsterInstance) -> Dagster:
    return Dagster(defs, instance)


def told(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, dict[str, Any]]:
    """An asset's metadata by partition."""
    return {
        str(item.partition): {name: value.value for name, value in item.metadata.items()}
        for item in materializations(result, asset)
    }


def materializations(
    result: dg.ExecuteInProcessResult, asset: str
) -> Iterable[dg.AssetMaterialization]:
    for happened in result.get_asset_materialization_events():
        if happened.asset_key == dg.AssetKey(["stingar", asset]):
            yield happened.materialization


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The description of a run's failure, as the UI shows it."""
    assert not result.success
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    assert failed.step_failure_data.user_failure_data is not None
    return failed.step_failure_data.user_failure_data.description or ""


def read(site: Site, place: str) -> bytes:
    """What is at an address in the lake, as a run shows it."""
    return site.lake_store.read(place.removeprefix(f"{site.lake}/"))


def retries(result: dg.ExecuteInProcessResult) -> int:
    return sum(event.is_step_up_for_retry for event in result.all_events)


# ---- the way


def test_single_partitions_go_the_whole_way(filled: Site, dagster: Dagster) -> None:
    for landed in (FIVE, FIVE + HOUR):
        assert dagster.run("land", landed, AUTOMATIC).success
    for hour in (FIVE - 20 * HOUR, FIVE, FIVE + HOUR):
        assert dagster.run("publish", hour, AUTOMATIC).success
    for day in (FIVE - DAY, FIVE):
        assert dagster.run("roll", day, AUTOMATIC).success
    filled.check()
    by_steps = Site(filled.landing, filled.lake + "-by-steps", blobs=filled.blobs)
    by_steps.run()
    assert filled.tree("events") == by_steps.tree("events")
    assert filled.tree("daily") == by_steps.tree("daily")


def test_each_partition_tells_its_counts(filled: Site, dagster: Dagster) -> None:
    landed = dagster.run_range("land", FIVE, FIVE + HOUR)
    first, second = told(landed, "landed_events").values()
    assert list(told(landed, "landed_events")) == ["2022-05-19-17:00", "2022-05-19-18:00"]
    assert (first["dagster/row_count"], first["events"], first["quarantined"]) == (4, 5, 1)
    assert (first["captures"], first["decoded now"], first["event hours changed"]) == (1, 1, 2)
    assert (second["dagster/row_count"], second["captures"]) == (3, 2)
    rejected = told(landed, "quarantined_events")
    assert rejected["2022-05-19-17:00"]["dagster/row_count"] == 1
    assert rejected["2022-05-19-17:00"]["reason not_json"] == 1
    assert rejected["2022-05-19-18:00"]["published"] == "no rows"

    published = told(dagster.run_range("publish", FIVE, FIVE + HOUR), "cleaned_events")
    assert published["2022-05-19-17:00"]["dagster/row_count"] == 4
    assert published["2022-05-19-17:00"]["duplicates left out"] == 1
    assert published["2022-05-19-18:00"]["dagster/row_count"] == 1
    place = published["2022-05-19-17:00"]["published"]
    assert len(read(filled, place).splitlines()) == 4

    summary = told(dagster.run("roll", FIVE), "daily_summary")["2022-05-19"]
    assert summary["dagster/row_count"] == len(read(filled, summary["published"]).splitlines())


def test_a_backfill_of_many_partitions_is_one_run(
    filled: Site, dagster: Dagster, instance: dg.DagsterInstance
) -> None:
    dagster.whole_way()
    assert instance.get_runs_count() == 4
    filled.check()
    assert len(filled.events()) == 6


def test_a_range_may_hold_partitions_without_anything(filled: Site, dagster: Dagster) -> None:
    landed = told(dagster.run_range("land", FIVE - 2 * HOUR, FIVE + HOUR), "landed_events")
    assert [data["dagster/row_count"] for data in landed.values()] == [0, 0, 4, 3]
    published = dagster.run_range("publish", FIVE - 2 * HOUR, FIVE)
    assert told(published, "cleaned_events")["2022-05-19-15:00"]["published"] == "no rows"
    rolled = told(dagster.run_range("roll", FIVE - 3 * DAY, FIVE - 2 * DAY), "daily_ports")
    assert [data["dagster/row_count"] for data in rolled.values()] == [0, 0]
    assert {path.split("/hour=")[1][:2] for path in filled.objects("events")} == {"17"}


def test_reports_of_a_range_are_made_once_the_days_before_them_are_there(
    filled: Site, dagster: Dagster
) -> None:
    dagster.whole_way()
    lake = filled.pipeline().lake
    for day in (FIVE - DAY, FIVE):
        midnight = day.replace(hour=0)
        published = lake.store.read(lake.layout.report(midnight))
        assert published == page(day_facts(lake, midnight))
    shown = told(dagster.run("roll", FIVE), "daily_report")["2022-05-19"]
    assert read(filled, shown["published"]) == published
    assert shown["events"] == 5


def test_each_asset_can_be_materialized_by_itself(
    filled: Site, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    graph = defs.resolve_asset_graph()

    def materialize(name: str, key: str) -> dg.ExecuteInProcessResult:
        asset = dg.AssetKey(["stingar", name])
        return dg.materialize(
            [graph.get(asset).assets_def],
            selection=[asset],
            partition_key=key,
            instance=instance,
            run_config=QUIET,
        )

    for hour in (FIVE, FIVE + HOUR):
        assert materialize("landed_events", hour_key(hour)).success
    for hour in (FIVE, FIVE + HOUR):
        assert materialize("cleaned_events", hour_key(hour)).success
    rolled = materialize("daily_ports", day_key(FIVE))
    assert rolled.success
    assert list(told(rolled, "daily_ports")) == ["2022-05-19"]
    assert [path.split("/")[2] for path in filled.objects("daily")] == ["daily_ports"]
    assert sum(row["events"] for row in filled.daily("daily_ports")) == 5


# ---- from scratch, or only what is new


def test_a_run_that_a_person_asked_for_decodes_everything_and_changes_no_byte(
    filled: Site, dagster: Dagster
) -> None:
    dagster.whole_way()
    tree = filled.tree()
    again = told(dagster.run("land", FIVE), "landed_events")["2022-05-19-17:00"]
    assert again["decoded now"] == 1
    dagster.whole_way()
    assert filled.tree() == tree


def test_a_run_that_a_sensor_asked_for_decodes_only_what_is_new(
    filled: Site, dagster: Dagster
) -> None:
    dagster.whole_way()
    asked = told(dagster.run("land", FIVE, AUTOMATIC), "landed_events")["2022-05-19-17:00"]
    assert asked["decoded now"] == 0
    assert asked["dagster/row_count"] == 4
    filled.put([event(FIVE)], first=6, start=FIVE + 40 * MINUTE)
    asked = told(dagster.run("land", FIVE, AUTOMATIC), "landed_events")["2022-05-19-17:00"]
    assert asked["decoded now"] == 1
    assert asked["dagster/row_count"] == 5


def test_a_capture_that_looks_half_written_waits(filled: Site, dagster: Dagster) -> None:
    whole = next(iter(filled.blobs.values()))
    filled.put_blob(whole[: len(whole) // 2], start=FIVE + 30 * MINUTE)
    landed = told(dagster.run("land", FIVE), "landed_events")["2022-05-19-17:00"]
    assert landed["waiting captures"] == 1
    assert landed["captures"] == 1


def test_no_text_of_an_event_becomes_a_path_or_metadata(site: Site, dagster: Dagster) -> None:
    hostile = "../../../etc/passwd\x00\u202e"
    site.put([event(FIVE, sensor=hostile, type=hostile, src_ip=hostile)], start=FIVE)
    for step in ("land", "publish", "roll"):
        result = dagster.run(step, FIVE)
        assert result.success
        for happened in result.get_asset_materialization_events():
            assert hostile not in str(happened.materialization.metadata)
    assert all("passwd" not in path for path in site.objects())
    assert site.events()[0]["sensor"] == hostile


# ---- checks


def evaluations(result: dg.ExecuteInProcessResult) -> list[tuple[bool, str]]:
    return [
        (check.passed, check.description or "") for check in result.get_asset_check_evaluations()
    ]


def test_checks_pass_over_good_data(filled: Site, dagster: Dagster) -> None:
    landed = dagster.run_range("land", FIVE, FIVE + HOUR)
    assert evaluations(landed) == [(True, "2 landed hours add up")]
    published = dagster.run_range("publish", FIVE, FIVE + HOUR)
    assert evaluations(published) == [(True, "2 event hours add up")]


def test_a_ledger_that_does_not_add_up_fails_the_run_and_what_comes_after(
    filled: Site, dagster: Dagster
) -> None:
    assert dagster.run("land", FIVE).success
    line = json.loads(filled.lake_store.read(LEDGER))
    text = json.dumps({**line, "cleaned": line["cleaned"] - 1}) + "\n"
    filled.lake_store.write(LEDGER, text.encode())
    result = dagster.run("land", FIVE, AUTOMATIC)
    assert not result.success
    ((passed, description),) = evaluations(result)
    assert not passed
    assert "records gave 3 cleaned and 1 quarantined" in description
    assert told(result, "quarantined_events") == {}


@pytest.fixture
def published(filled: Site) -> tuple[Lake, dict[datetime, Record]]:
    filled.run()
    pipeline = filled.pipeline()
    return pipeline.lake, {FIVE: pipeline.publish_hour(FIVE)}


@pytest.mark.parametrize("tampering", ["removed", "doubled", "gone", "unnamed"])
def test_a_published_object_that_was_tampered_with_is_found(
    published: tuple[Lake, dict[datetime, Record]], filled: Site, tampering: str
) -> None:
    assert checks.published_problems(*published) == []
    path = "stingar/events/date=2022-05-19/hour=17/events.json"
    store = filled.lake_store
    lines = store.read(path).splitlines(keepends=True)
    if tampering == "gone":
        store.remove(path)
    else:
        tampered = {
            "removed": lines[1:],
            "doubled": [*lines[1:], lines[1]],
            "unnamed": [b'{"app":"a"}\n', *lines[1:]],
        }
        store.write(path, b"".join(tampered[tampering]))
    (problem,) = checks.published_problems(*published)
    assert problem.startswith("2022-05-19T17: 4 events recorded, ")
    found = {
        "removed": "3 published",
        "doubled": "3 distinct",
        "gone": "0 published",
        "unnamed": "3 distinct",
    }
    assert found[tampering] in problem


@on_disk
def test_a_hub_with_quotes_in_its_name_adds_up(site: Site) -> None:
    pipeline = site.pipeline()
    path = pipeline.landing.format.path('name"\\space', "hub", 0, FIVE)
    pipeline.landing.store.write(path, capture([event(FIVE)] * 2, 0, FIVE))
    site.run()
    published = {FIVE: pipeline.publish_hour(FIVE)}
    assert published[FIVE].rows == 2
    assert checks.published_problems(pipeline.lake, published) == []


def test_a_quarantine_that_was_tampered_with_is_found(filled: Site) -> None:
    pipeline = filled.pipeline()
    landed = {FIVE: pipeline.land_hour(FIVE)}
    assert checks.landed_problems(pipeline.lake, landed) == []
    filled.lake_store.remove("stingar/quarantine/date=2022-05-19/hour=17/quarantine.json")
    assert checks.landed_problems(pipeline.lake, landed) == [
        "2022-05-19T17: 1 events quarantined, 0 published"
    ]


def test_an_hour_published_again_meanwhile_is_left_to_that_run(
    published: tuple[Lake, dict[datetime, Record]], filled: Site
) -> None:
    lake, records = published
    for entry in lake.store.find(lake.layout.segments(FIVE)):
        lake.store.remove(entry.path)
    assert checks.published_problems(lake, records) == []


@on_disk
def test_a_checks_description_stays_short(filled: Site) -> None:
    result = checks.result([f"problem {n}" for n in range(90)], 90, "event hours")
    assert not result.passed
    assert (result.description or "").count(";") == 4
    assert result.metadata["problems"].value == 90


# ---- errors


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("STINGAR_LANDING", "nowhere://x", "STINGAR_LANDING=nowhere://x"),
        ("STINGAR_CAPTURE_FORMAT", "{Year}/{Month}", "STINGAR_CAPTURE_FORMAT"),
        ("STINGAR_MAX_BODY_BYTES", "many", "STINGAR_MAX_BODY_BYTES"),
        ("STINGAR_LAKE", os.devnull, f"{os.devnull}/stingar"),
    ],
)
@on_disk
def test_what_a_second_try_would_not_mend_fails_at_once_in_one_line(
    filled: Site,
    dagster: Dagster,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    told: str,
) -> None:
    monkeypatch.setenv(name, value)
    for step in ("land", "publish", "roll"):
        result = dagster.run(step, FIVE)
        line = failure(result)
        assert told in line
        assert "\n" not in line
        assert "Error" not in line
        assert retries(result) == 0


def test_a_ledger_of_a_newer_release_fails_at_once(filled: Site, dagster: Dagster) -> None:
    filled.lake_store.write(LEDGER, b'{"format": 99}\n')
    result = dagster.run("land", FIVE)
    told = "was written by a newer release; upgrade this one"
    assert failure(result) == f"{filled.lake}/{LEDGER} {told}"
    assert retries(result) == 0


@on_disk
def test_what_a_second_try_may_mend_is_tried_again(filled: Site, dagster: Dagster) -> None:
    """The store answers with an error that is no refusal, and a moment later without."""
    folder = Path(filled.lake) / "stingar/segments/date=2022-05-19"
    folder.mkdir(parents=True)
    leads_to_itself = folder / "hour=17"
    leads_to_itself.symlink_to(leads_to_itself)
    mend = threading.Timer(2, leads_to_itself.unlink)
    mend.start()
    result = dagster.run("publish", FIVE)
    mend.join()
    assert result.success
    assert retries(result) == 1
