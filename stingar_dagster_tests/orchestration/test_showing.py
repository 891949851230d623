"""What Dagster's UI shows beside a partition: first rows, pictures, numbers; small and harmless."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._serdes import serialize_value

from stingar_dagster import showing
from stingar_dagster.lake.daily import REPORT
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.quarantine import read_first, read_quarantine
from stingar_dagster.streams import STINGAR
from stingar_dagster_tests.reliability.hostile import CANARY, cases
from stingar_dagster_tests.support import RecordingStore, Site, event

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

HOUR = datetime(2026, 11, 3, 5, tzinfo=UTC)
DAY = HOUR.replace(hour=0)
UNSEEN = set("\x00\x1b\x07\u202e\u200b\u2066\ufeff")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.at(tmp_path)


def of_day(site: Site) -> dict[str, dict[str, Any]]:
    """What is shown of a day's tables."""
    pipeline = site.pipeline()
    records = pipeline.roll_day(DAY)
    paths = {name: pipeline.lake.layout.daily(name, DAY) for name in records if name != REPORT}
    return showing.of_tables(
        pipeline.lake, {n: (paths[n], records[n]) for n in paths}, with_rows=True
    )


def table(metadata: dict[str, Any]) -> list[dict[str, Any]]:
    value = metadata["first rows"]
    assert isinstance(value, dg.TableMetadataValue)
    return [dict(record.data) for record in value.records]


def test_first_rows_are_those_of_the_table(site: Site) -> None:
    tries = {"signature": "SSH login attempted", "ssh_username": "root"}
    bodies = [event(HOUR, **tries, ssh_password=f"p{place}") for place in range(9)]
    site.put([*bodies, *bodies[:1]], start=HOUR)
    site.run()
    metadata = of_day(site)["daily_credentials"]
    shown, published = table(metadata), site.daily("daily_credentials")
    assert len(shown) == showing.PREVIEW_ROWS
    for row, whole in zip(shown, published, strict=False):
        assert {k: v for k, v in row.items() if v != ""} == whole
    assert isinstance(metadata["top credentials"], dg.MarkdownMetadataValue)


def test_of_a_large_quarantine_the_beginning_alone_is_read(site: Site) -> None:
    site.put([b"x" * 60_000] * 20, start=HOUR)
    site.run()
    store = RecordingStore(Path(site.lake))
    lake = Lake(store, STINGAR)
    assert store.etag(lake.layout.quarantine(HOUR))
    store.asked.clear()
    # A line holds its body as base64, so three stand whole in what is read.
    lines = read_first(lake, HOUR, showing.PREVIEW_ROWS)
    assert [line.sequence_number for line in lines] == [0, 1, 2]
    assert len(read_first(lake, HOUR, 2)) == 2
    assert store.asked == []
    assert read_first(lake, HOUR + timedelta(hours=1), 2) == []
    shown = showing.of_quarantine({"not_json": 20}, lines)
    assert [row["sequence_number"] for row in table(shown)] == [0, 1, 2]


def test_the_columns_of_quarantine_are_those_of_its_lines(site: Site) -> None:
    site.put([b"nonsense"], start=HOUR)
    site.run()
    declared = {column.name: column.type for column in showing.quarantine_schema().columns}
    (line,) = site.quarantined()
    kinds = {int: "BIGINT", str: "VARCHAR"}
    assert {name: kinds[type(value)] for name, value in line.items()} == declared


def test_an_hour_shows_first_rows_and_numbers(site: Site) -> None:
    site.put([event(HOUR, app="cowrie", command="ls")] * 7, start=HOUR)
    site.run()
    lake, record = site.pipeline().lake, site.pipeline().publish_hour(HOUR)
    metadata = showing.of_event_hour(lake, HOUR, record, with_rows=True)
    assert [row["command"] for row in table(metadata)] == ["ls"] * showing.PREVIEW_ROWS
    assert metadata["median delay in seconds"] == 0
    now = showing.of_event_hour(lake, HOUR, record, with_rows=False)
    assert now.keys() == metadata.keys() - {"first rows"}
    assert showing.of_event_hour(lake, HOUR, type(record)(), with_rows=True) == {}


def test_a_report_shows_its_numbers(site: Site) -> None:
    site.put([event(HOUR)] * 3, start=HOUR)
    site.run()
    numbers = showing.of_report(site.pipeline().lake, DAY)
    assert (numbers["events"], numbers["source addresses"], numbers["sensors"]) == (3, 1, 1)
    assert list(numbers)[:3] == ["events", "source addresses", "sensors"]  # the report's order
    assert showing.of_report(site.pipeline().lake, HOUR.replace(year=2020)) == {}


def test_a_day_shows_how_busy_its_busiest_hour_was(site: Site) -> None:
    later = HOUR + timedelta(hours=1)
    site.put([event(HOUR), event(later, app="cowrie"), event(later, app="dionaea")], start=HOUR)
    site.run()
    assert of_day(site)["daily_hours"]["events in the busiest hour"] == 2


def test_of_a_list_the_first_rows_show_the_first_and_how_many_more(site: Site) -> None:
    seen_by = [event(HOUR, sensor=f"lab-{n}") for n in range(3)]
    site.put([*seen_by, event(HOUR, src_ip="192.0.2.8", sensor="lab-9")], start=HOUR)
    site.run()
    rows = table(of_day(site)["daily_sources"])
    shown = {row["src_ip"]: row["sensors"] for row in rows}
    assert shown == {"192.0.2.7": "lab-0 +2", "192.0.2.8": "lab-9"}


def test_hostile_text_is_shown_as_text_and_only_in_tables_and_pictures(site: Site) -> None:
    site.put([case.body for case in cases(HOUR)], start=HOUR)
    site.run()
    lake = site.pipeline().lake
    record = site.pipeline().publish_hour(HOUR)
    shown = {
        **of_day(site),
        "hour": showing.of_event_hour(lake, HOUR, record, with_rows=True),
        "quarantine": showing.of_quarantine({"not_json": 1}, read_quarantine(lake, HOUR)),
    }
    seen = ""
    for name, metadata in shown.items():
        for title, value in metadata.items():
            assert CANARY not in title
            if isinstance(value, dg.MarkdownMetadataValue):
                head, data = str(value.md_str).removesuffix(")").split("base64,")
                assert CANARY not in head, name
                svg = base64.b64decode(data).decode()
                assert not UNSEEN & set(svg)
                assert svg.count("<") == svg.count(">")
            elif isinstance(value, dg.TableMetadataValue):
                text = json.dumps(table(metadata), ensure_ascii=False)
                assert not UNSEEN & set(text)
                seen += text
                assert max(len(str(v)) for row in table(metadata) for v in row.values()) <= 240
            else:
                assert isinstance(value, int | float)
    assert CANARY in seen


def test_what_is_kept_with_each_materialization_is_small(site: Site) -> None:
    long = {"command": "w" * 9000, "url": "http://192.0.2.1/" + "v" * 9000, "geo": "g" * 9000}
    bodies = [
        event(HOUR, **long, ssh_version=f"{n}" + "b" * 999, app=f"{n}" * 99) for n in range(9)
    ]
    site.put(bodies, start=HOUR)
    site.run()
    lake, record = site.pipeline().lake, site.pipeline().publish_hour(HOUR)
    shown = of_day(site) | {"hour": showing.of_event_hour(lake, HOUR, record, with_rows=True)}
    for name, metadata in shown.items():
        asset = dg.AssetMaterialization(["stingar", name], metadata=metadata)
        assert len(serialize_value(asset)) < 8000, name


def test_code_is_linked_in_a_checkout_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = showing.code("lake.hours")["dagster/code_references"]
    (reference,) = value.code_references
    assert Path(reference.file_path).is_file()
    monkeypatch.setattr(showing, "__file__", str(tmp_path / "site-packages/stingar/showing.py"))
    assert showing.code("lake.hours") == {}
