"""What Dagster is given: it loads, everything says what it is, and the instance is as declared."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph
from dagster._core.definitions.partitions.context import partition_loading_context
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.run_coordinator import QueuedRunCoordinator
from dagster_shared.yaml_utils import load_yaml_from_path

from stingar_dagster.partitions import day_key, hour_key, parse_day_key, parse_hour_key
from stingar_dagster.streams import STREAMS

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

LOADED_STRICTLY = """
import warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", message="The `__fields__` attribute")  # Dagster's use of pydantic
from stingar_dagster.definitions import defs
defs.resolve_all_job_defs()
print(len(list(defs.assets)))
"""


@pytest.fixture
def graph(defs: dg.Definitions) -> AssetGraph:
    return defs.resolve_asset_graph()


@pytest.fixture
def declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The instance that the project's dagster.yaml makes, in a folder of its own."""
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    from stingar_dagster.instance import open_instance

    with open_instance() as instance:
        yield instance


# ---- definitions


def test_they_load_in_a_process_of_their_own_without_a_warning() -> None:
    command = [sys.executable, "-c", LOADED_STRICTLY]
    loaded = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert loaded.returncode == 0, loaded.stderr
    assert int(loaded.stdout) == 5 * len(STREAMS)
    assert loaded.stderr == ""


def test_every_asset_says_what_it_is_whose_and_by_which_partitions(graph: AssetGraph) -> None:
    assert len(graph.get_all_asset_keys()) == sum(5 + len(s.every_table) for s in STREAMS.values())
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert len(node.description or "") > 40, key
        assert node.owners == ["team:stingar"], key
        assert node.kinds, key
        assert node.group_name == key.path[0], key
        assert node.partitions_def is not None, key


def test_every_key_stands_under_its_streams_name(graph: AssetGraph) -> None:
    for stream in STREAMS.values():
        expected = {"captures", "landed_events", "quarantined_events", "cleaned_events"}
        expected |= {"daily_report"}
        expected |= {table.name for table in stream.every_table}
        found = {key.path[1] for key in graph.get_all_asset_keys() if key.path[0] == stream.name}
        assert found == expected
    assert {key.path[0] for key in graph.get_all_asset_keys()} == set(STREAMS)


def test_every_published_column_has_a_type_and_a_meaning(graph: AssetGraph) -> None:
    types = {"VARCHAR", "BIGINT", "DOUBLE", "BOOLEAN"}
    for stream in STREAMS.values():
        for name in ("cleaned_events", "quarantined_events", *(t.name for t in stream.every_table)):
            columns = column_schema(graph, stream.name, name)
            assert columns, name
            for column in columns:
                assert column.type.rstrip("[]") in types
                assert len(column.description or "") > 3, (name, column.name)
        cleaned = column_schema(graph, stream.name, "cleaned_events")
        assert [column.name for column in cleaned] == [c.name for c in stream.columns]


def column_schema(graph: AssetGraph, stream: str, name: str) -> list[dg.TableColumn]:
    schema = graph.get(dg.AssetKey([stream, name])).metadata["dagster/column_schema"]
    assert isinstance(schema, dg.TableSchema)
    return list(schema.columns)


def test_every_published_column_tells_which_columns_it_is_made_from(graph: AssetGraph) -> None:
    def lineage(name: str, of: str = "stingar") -> dict[str, set[tuple[str, str]]]:
        found = graph.get(dg.AssetKey([of, name])).metadata["dagster/column_lineage"]
        assert isinstance(found, dg.TableColumnLineage)
        return {
            column: {(dep.asset_key.path[-1], dep.column_name) for dep in deps}
            for column, deps in found.deps_by_column.items()
        }

    for stream in STREAMS.values():
        columns = {column.name for column in stream.columns}
        assert lineage("cleaned_events", stream.name).keys() == columns
        for table in stream.every_table:
            found = lineage(table.name, stream.name)
            assert found.keys() == {column.name for column in table.columns}
            of_events = {n for deps in found.values() for asset, n in deps if asset[0] == "c"}
            assert of_events <= columns, table.name
            assert all(found.values()), table.name
    cleaned = lineage("cleaned_events")
    assert cleaned["dest_ip"] == {("captures", "Body.dest_ip"), ("captures", "Body.dst_ip")}
    assert ("captures", "Body.loggedin") in cleaned["password"]
    assert ("captures", "Body.type") in cleaned["event_kind"]
    assert cleaned["event_id"] == {("captures", "SequenceNumber")}
    assert lineage("daily_summary")["late"] == {
        ("cleaned_events", "@timestamp"),
        ("cleaned_events", "enqueued_at"),
    }
    assert lineage("daily_summary")["quarantined"] == {("quarantined_events", "event_id")}
    exposures = lineage("daily_exposures", "dns")
    assert exposures["client_ip"] == {("cleaned_events", "client_ip")}
    assert exposures["indicator"] == {("daily_downloads", "artifact"), ("daily_sources", "src_ip")}
    assert exposures["downloads"] == {("daily_downloads", "events")}
    assert lineage("daily_downloads")["artifact"] == {
        ("cleaned_events", "urls"),
        ("cleaned_events", "hashes"),
    }


def test_what_depends_on_what_is_as_the_flow_says(graph: AssetGraph) -> None:
    def parents(name: str) -> set[str]:
        return {key.path[-1] for key in graph.get(dg.AssetKey(["stingar", name])).parent_keys}

    assert parents("landed_events") == {"captures"}
    assert parents("quarantined_events") == {"landed_events"}
    assert parents("cleaned_events") == {"landed_events"}
    assert parents("daily_summary") == {"cleaned_events", "quarantined_events"}
    assert parents("daily_ports") == {"cleaned_events"}
    assert parents("daily_report") == {table.name for table in STREAMS["stingar"].tables}


def test_the_table_between_the_streams_depends_on_both_and_on_the_week_before(
    graph: AssetGraph,
) -> None:
    node = graph.get(dg.AssetKey(["dns", "daily_exposures"]))
    assert {key.to_user_string() for key in node.parent_keys} == {
        "dns/cleaned_events",
        "stingar/daily_downloads",
        "stingar/daily_sources",
    }
    parents = graph.get_parent_partition_keys_for_child(
        "2022-05-09", dg.AssetKey(["stingar", "daily_sources"]), node.key
    )
    days = parents.partitions_subset.get_partition_keys()
    assert sorted(days) == [f"2022-05-{day:02}" for day in range(2, 10)]


def test_counts_are_checked_and_block(graph: AssetGraph) -> None:
    counts = {key for key in graph.asset_check_keys if key.name == "counts_reconcile"}
    assert {key.asset_key.path[-1] for key in counts} == {"landed_events", "cleaned_events"}
    for key in graph.asset_check_keys:
        # The others are about the stream as it is now: nothing waits for them.
        assert graph.get_check_spec(key).blocking is (key in counts)


def test_sensors_look_as_often_as_the_handbook_says(defs: dg.Definitions) -> None:
    # The daemon looks every five seconds, so a sensor is due at the next multiple of that.
    interval = {s.name: s.minimum_interval_seconds or 0 for s in defs.sensors or ()}
    assert {name: -(-seconds // 5) * 5 for name, seconds in interval.items()} == {
        f"{stream}_{what}": seconds
        for stream in STREAMS
        for what, seconds in {"new_captures": 5, "changed_hours": 5, "changed_days": 15}.items()
    }
    told = " ".join((ROOT / "docs" / "operations.md").read_text().split())
    assert (
        "`stingar_new_captures` and `stingar_changed_hours` look every five seconds, "
        "`stingar_changed_days` every fifteen"
    ) in told


def test_sensors_and_schedules_run_by_default(defs: dg.Definitions) -> None:
    sensors = {sensor.name for sensor in defs.sensors or ()}
    assert sensors == {
        f"{name}_{what}"
        for name in STREAMS
        for what in ("new_captures", "changed_hours", "changed_days")
    }
    for name in sensors:
        sensor = defs.resolve_sensor_def(name)
        assert sensor.default_status is dg.DefaultSensorStatus.RUNNING
        # One less than the daemon's five seconds, or each look would miss every other one.
        assert sensor.minimum_interval_seconds in (4, 14)
        assert sensor.description
    for item in defs.schedules or ():
        schedule = defs.resolve_schedule_def(item.name)
        assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
        assert schedule.execution_timezone == "UTC"


def test_the_nightly_schedule_asks_for_yesterday(defs: dg.Definitions) -> None:
    at = datetime(2022, 5, 20, 0, 20, tzinfo=UTC)
    context = dg.build_schedule_context(
        scheduled_execution_time=at, repository_def=defs.get_repository_def()
    )
    schedule = defs.resolve_schedule_def("stingar_daily_roll_up")
    (request,) = schedule.evaluate_tick(context).run_requests or []
    assert request.partition_key == "2022-05-19"
    assert request.tags["stingar/asked_by"] == "schedule"


def test_partitions_reach_from_the_start_to_a_day_ahead(defs: dg.Definitions) -> None:
    graph = defs.resolve_asset_graph()
    now = datetime(2026, 11, 3, 12, 30, tzinfo=UTC)
    last = {"captures": "2026-11-03-12:00", "landed_events": "2026-11-04-14:00",
            "cleaned_events": "2026-11-04-14:00", "daily_summary": "2026-11-05"}  # fmt: skip
    first = {"captures": "2020-01-01-00:00", "landed_events": "2020-01-01-00:00",
             "cleaned_events": "2020-01-01-00:00", "daily_summary": "2020-01-01"}  # fmt: skip
    for name, key in last.items():
        definition = graph.get(dg.AssetKey(["stingar", name])).partitions_def
        assert isinstance(definition, dg.TimeWindowPartitionsDefinition)
        with partition_loading_context(effective_dt=now):
            assert definition.get_last_partition_key() == key
            assert definition.get_first_partition_key() == first[name]


def test_keys_and_times_are_each_others_inverse() -> None:
    hour = datetime(2022, 5, 19, 17, tzinfo=UTC)
    assert hour_key(hour) == "2022-05-19-17:00"
    assert parse_hour_key(hour_key(hour)) == hour
    assert parse_day_key(day_key(hour)) == hour.replace(hour=0)


# ---- the instance


def test_the_instance_is_quiet_quick_and_keeps_little(declared: dg.DagsterInstance) -> None:
    assert not declared.telemetry_enabled
    assert not declared.nux_enabled
    assert declared.run_monitoring_enabled
    assert declared.run_retries_enabled
    queue = declared.get_concurrency_config().run_queue_config
    assert queue is not None
    assert queue.max_concurrent_runs == 4
    assert isinstance(declared.run_coordinator, QueuedRunCoordinator)
    assert declared.run_coordinator.dequeue_interval_seconds == 1
    kept = declared.get_tick_retention_settings(InstigatorType.SENSOR)
    days = {status.value: days for status, days in kept.items()}
    assert (days["SKIPPED"], days["SUCCESS"], days["FAILURE"]) == (1, 14, 14)
    assert declared.python_log_level == "WARNING"


def test_the_instance_keeps_everything_in_its_folder(
    declared: dg.DagsterInstance, tmp_path: Path
) -> None:
    assert declared.get_runs() == []
    assert list((tmp_path / "data" / "dagster").rglob("*.db"))


def test_the_workspace_names_the_module() -> None:
    workspace: Any = load_yaml_from_path(str(ROOT / "workspace.yaml"))
    (place,) = workspace["load_from"]
    assert place["python_module"]["module_name"] == "stingar_dagster.definitions"
