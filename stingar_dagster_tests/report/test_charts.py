"""Pictures: well-formed, as large as their values, and small enough for the UI."""

import base64
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from stingar_dagster.report import charts, pictures
from stingar_dagster.streams import STREAMS
from stingar_dagster.streams.tables import DailyTable
from stingar_dagster_tests.support import HOUR, Site, event

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '</svg><script>alert(1)</script>"&\u202e\x1b\x00' + "x" * 5000


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in parsed(svg).iter(f"{SVG}text")]


def test_bars_are_as_long_as_their_values() -> None:
    svg = charts.bars([("a", 100), ("b", 50), ("c", 0)], width=200)
    (path,) = parsed(svg).iter(f"{SVG}path")
    assert path.get("d") == "M0 15h200v4H0M0 37h100v4H0"
    assert texts(svg) == ["a: 100", "b: 50", "c: 0"]


def test_a_week_has_a_gap_where_a_day_is_not_known() -> None:
    svg = charts.sparkline([1, None, 2, 4], "Events", width=36, height=26)
    assert parsed(svg).findtext(f"{SVG}title") == "Events"
    (path,) = parsed(svg).iter(f"{SVG}path")
    assert path.get("d") == "M3 18M23 13L33 3"
    assert len([*parsed(svg).iter(f"{SVG}circle")]) == 3


def test_stacked_hours_stand_on_each_other_and_are_told_in_words() -> None:
    series = {"a": [2] + [0] * 23, "b": [2] + [0] * 22 + [4]}
    svg = charts.stacked_hours(series, "Events an hour")
    paths = [path.get("d") or "" for path in parsed(svg).iter(f"{SVG}path")]
    assert paths[0].count("M") == 1
    assert paths[1].count("M") == 2
    assert paths[0].split("V")[1].split("h")[0] == paths[1].split()[1].split("V")[0]
    told = parsed(svg).findtext(f"{SVG}desc") or ""
    assert told.startswith("00: 4; 01: 0; ")
    assert told.endswith("; 23: 4")


@pytest.mark.parametrize(
    "svg",
    [
        charts.bars([(HOSTILE, 1)] * 5),
        charts.hour_areas({HOSTILE: [1] * 24}),
        charts.stacked_hours({HOSTILE: [1] * 24}, HOSTILE),
        charts.sparkline([1, 2], HOSTILE),
    ],
)
def test_hostile_labels_are_letters(svg: str) -> None:
    tags = {element.tag.removeprefix(SVG) for element in parsed(svg).iter()}
    assert tags <= {"svg", "path", "text", "title", "desc", "circle"}
    assert not set(svg) & set("\u202e\x1b\x00")
    assert len(svg) < 2000


@pytest.mark.parametrize(
    "svg",
    [
        charts.bars([]),
        charts.hour_areas({}),
        charts.stacked_hours({}, ""),
        charts.sparkline([None], ""),
        charts.bar(0, 0),
        charts.hour_areas({"a": [0] * 24}),
    ],
)
def test_nothing_can_be_drawn_too(svg: str) -> None:
    assert parsed(svg).tag == f"{SVG}svg"


PICTURED = [
    pytest.param(table, id=f"{stream.name} {table.name}")
    for stream in STREAMS.values()
    for table in stream.tables
    if table.picture is not None or table.name == "daily_hours"
]


def in_markdown(svg: str) -> int:
    return len(base64.b64encode(svg.encode())) + len("![](data:image/svg+xml;base64,)") + 40


@pytest.mark.parametrize("table", PICTURED)
def test_a_tables_picture_is_shown_without_a_click(table: DailyTable) -> None:
    """Dagster's UI hides Markdown of a thousand characters and more behind a button."""
    long = {pl.String(): "w" * 300, pl.Int64(): 1_234_567, pl.Float64(): 1.0}
    row = {c.name: long.get(c.dtype, []) for c in table.columns}
    rows = [row] * 5
    if table.name == "daily_hours":
        rows = [
            {"hour": hour, "app": f"{app:04} honeypot", "events": 987_654 * (hour * 7 % 5 + 1)}
            for hour in range(24)
            for app in range(9)
        ]
    frame = pl.DataFrame(rows, schema=table.schema)
    (svg,) = pictures.of_table(table, frame).values()
    assert in_markdown(svg) < 1000


def test_an_hour_shows_its_software_and_how_late_events_came(tmp_path: Path) -> None:
    site = Site.at(tmp_path)
    hour = datetime(2026, 11, 3, 5, tzinfo=UTC)
    site.put(
        [event(hour, app="one"), event(hour, app="one"), event(hour + HOUR / 2, app="two")],
        start=hour + HOUR / 2,
    )
    site.run()
    lake = site.pipeline().lake
    record = site.pipeline().publish_hour(hour)
    drawn, numbers = pictures.of_hour(lake, record)
    assert texts(drawn["events by honeypot software"]) == ["one: 2", "two: 1"]
    assert texts(drawn["delay from logged to received"]) == [
        "below 10 s: 1", "10 to 60 s: 0", "1 to 10 min: 0", "10 to 60 min: 2", "an hour or more: 0",
    ]  # fmt: skip
    assert numbers == {"median delay in seconds": 1800.0, "longest delay in seconds": 1800.0}
    site.lake_store.remove(str(record.partials))
    assert pictures.of_hour(lake, record) == ({}, {})


def test_the_first_rows_of_lines_are_read_and_no_more() -> None:
    schema = {"a": pl.Int64(), "b": pl.String()}
    data = b'{"a":1}\n{"b":"x","c":2}\nnot JSON\n'
    assert pictures.first_rows(data, schema, 2).rows() == [(1, None), (None, "x")]
    assert pictures.first_rows(b"", schema, 2).is_empty()
    assert pictures.first_rows(b'{"a":1}\n', schema, 5).rows() == [(1, None)]
