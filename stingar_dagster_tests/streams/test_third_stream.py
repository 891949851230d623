"""The stream that docs/streams.md builds from scratch has all that the others have."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

from stingar_dagster import streams
from stingar_dagster.cli import main
from stingar_dagster.definitions import build_definitions
from stingar_dagster.lake.reader.query import Query
from stingar_dagster.lake.reader.search import search
from stingar_dagster.settings import Settings
from stingar_dagster.streams import Stream
from stingar_dagster_tests.support import HOUR, NOON, Site

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "streams.md"


def told() -> Stream:
    """The stream, by running the page's blocks."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(block, names)
    stream = names["ACCESS"]
    assert isinstance(stream, Stream)
    return stream


ACCESS = told()
LINE = '203.0.113.9 - alice [03/Nov/2026:12:08:21 +0000] "GET /login HTTP/1.1" 401 532'


@pytest.fixture
def landed(tmp_path: Path) -> Site:
    site = Site.at(tmp_path, replace(ACCESS, hubs=("hub",)))
    other = (
        LINE.replace("203.0.113.9", "198.51.100.1").replace("/login", "/a").replace("401", "200")
    )
    as_json = {"remote_addr": "192.0.2.1", "time": "2026-11-03T11:00:00Z", "status": "200"}
    bodies = [LINE, other, other, json.dumps(as_json), "nonsense", LINE[:30], f"{LINE}\n{other}"]
    site.put([body.encode() for body in bodies])
    site.run()
    return site


def test_its_lines_come_out_once_and_the_proof_holds(landed: Site) -> None:
    landed.check()
    events = landed.events()
    assert len(events) == 6
    assert {event["event_id"].split("/")[-1] for event in events} == {
        "0",
        "1",
        "2",
        "3",
        "6.0",
        "6.1",
    }
    first = next(event for event in events if event["event_id"].endswith("/0"))
    assert first["@timestamp"] == "2026-11-03T12:08:21.000Z"
    assert (first["client_ip"], first["user"], first["status"]) == ("203.0.113.9", "alice", 401)
    assert first["failed"] is True
    reasons = {row["event_id"].split("/")[-1]: row["reason"] for row in landed.quarantined()}
    assert reasons == {"4": "unknown_format", "5": "unknown_format"}


def test_its_table_counts_its_paths(landed: Site) -> None:
    assert [(row["path"], row["requests"]) for row in landed.daily("daily_paths")] == [
        *(("/a", 3), ("/login", 2)),
    ]


def test_its_schema_is_published_for_readers(landed: Site) -> None:
    (duckdb,) = landed.objects("schema/events.duckdb.json").values() or (
        landed.lake_store.read("access/schema/events.duckdb.json"),
    )
    assert json.loads(duckdb)["failed"] == "BOOLEAN"


def test_its_events_are_found_by_source_and_by_condition(landed: Site) -> None:
    lake = landed.pipeline().lake
    since, until = NOON - HOUR, NOON + HOUR
    for query in (
        Query(since, until, src_ip="203.0.113.9", source_column="client_ip"),
        Query(since, until, where="failed AND status = 401"),
    ):
        found = [hour.events for hour in search(lake, query, ["client_ip", "path"])]
        assert [row for frame in found for row in frame.rows()] == [("203.0.113.9", "/login")] * 2


def test_it_has_assets_sensors_and_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(streams.STREAMS, "access", ACCESS)
    repository = build_definitions(Settings()).get_repository_def()
    keys = {key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()}
    assert {"access/captures", "access/cleaned_events", "access/daily_paths"} <= keys
    sensors = {sensor.name for sensor in repository.sensor_defs}
    of_others = {
        name.replace("stingar", "access", 1) for name in sensors if name.startswith("stingar_")
    }
    assert of_others <= sensors
    checks = {
        key.name
        for key in repository.asset_graph.asset_check_keys
        if key.asset_key == dg.AssetKey(["access", "cleaned_events"])
    }
    assert checks


def test_the_command_line_knows_it(
    landed: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(streams.STREAMS, "access", landed.stream)
    monkeypatch.chdir(tmp_path)
    for name in ("landing", "lake"):
        monkeypatch.setenv(f"STINGAR_{name.upper()}", getattr(landed, name))
    words = ["events", "--stream", "access", "--since", "2026-11-03", "--until", "2026-11-04"]
    shown = CliRunner().invoke(main, words, catch_exceptions=False)
    assert "/login" in shown.stdout
    proved = CliRunner().invoke(main, ["verify", "--stream", "access"], catch_exceptions=False)
    assert "It holds." in proved.stdout
    unknown = CliRunner().invoke(main, ["events", "--stream", "acces"])
    assert unknown.exit_code == 2
    assert "access" in unknown.output
