"""`from stingar_dagster import lake`: lazy frames over what is published, on every store."""

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stingar_dagster import lake
from stingar_dagster.errors import StingarError, UsageError
from stingar_dagster.lake.reader import frames
from stingar_dagster.streams import STINGAR
from stingar_dagster_tests.support import HOUR, RecordingStore, Site, event

FIVE = datetime(2026, 11, 3, 17, tzinfo=UTC)
RANGE = ("2026-11-03", "2026-11-05")


def bodies() -> list[bytes | None]:
    return [
        event(FIVE, username="root", password="ünicode", ssh_version="x"),
        event(FIVE + HOUR, dest_port=2222, signature="command", command="WGET \u202e"),
        event(FIVE + 2 * HOUR, dest_port=2222, src_ip="2001:db8::7"),
        event(FIVE + 24 * HOUR, src_ip="198.51.100.1"),
        b"not json",
    ]


@pytest.fixture
def filled(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    site.put(bodies(), start=FIVE + 26 * HOUR)
    site.run()
    monkeypatch.setenv("STINGAR_LAKE", site.lake)
    return site


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """On a local disk; tests only read it."""
    site = Site.at(tmp_path_factory.mktemp("known"))
    site.put(bodies(), start=FIVE + 26 * HOUR)
    site.run()
    return site


def rows(frame: pl.LazyFrame) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if v is not None} for row in frame.collect().to_dicts()]


def test_everything_that_is_published_is_there(filled: Site) -> None:
    events = lake.events(*RANGE)
    assert dict(events.collect_schema()) == STINGAR.schema
    assert rows(events) == sorted(filled.events(), key=lambda row: row["@timestamp"])
    summary = lake.daily("daily_summary", *RANGE)
    assert summary.collect_schema().names()[0] == "date"
    assert said(rows(summary.drop("date"))) == said(filled.daily("daily_summary"))
    assert summary.select("date").unique().collect()["date"].sort().to_list() == [
        date(2026, 11, 3),
        date(2026, 11, 4),
    ]
    rejected = lake.quarantine(*RANGE)
    assert rows(rejected.drop("landed_hour")) == filled.quarantined()
    assert rejected.collect()["landed_hour"].to_list() == [FIVE + 26 * HOUR]
    assert lake.ip("192.0.2.7").events == 2
    assert lake.ip("192.0.2.7", until="2026-11-03T18:00").events == 1


def said(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(str(sorted(row.items())) for row in rows)


@pytest.mark.parametrize(
    "bounds",
    [
        ("2026-11-03T17", "2026-11-03T18:30"),
        ("2026-11-03T19:00+02:00", "2026-11-03T20:30+02:00"),
        (FIVE, FIVE + timedelta(minutes=90)),
        (FIVE.replace(tzinfo=None), datetime(2026, 11, 3, 18, 30)),
    ],
)
def test_a_range_is_half_open_and_in_utc(known: Site, bounds: tuple[Any, Any]) -> None:
    assert len(rows(lake.events(*bounds, url=known.lake))) == 2
    assert len(rows(lake.events(bounds[0], FIVE + HOUR, url=known.lake))) == 1


def test_a_date_is_its_first_moment(known: Site) -> None:
    one_day = (date(2026, 11, 3), date(2026, 11, 4))
    assert len(rows(lake.events(*one_day, url=known.lake))) == 3
    days = lake.daily("daily_sources", *one_day, url=known.lake).collect()["date"]
    assert set(days) == {date(2026, 11, 3)}


@pytest.mark.parametrize(
    ("asked", "hits"),
    [
        ({"src_ip": "2001:DB8::7"}, 1),
        ({"network": "192.0.2.0/24"}, 2),
        ({"dest_port": 2222}, 2),
        ({"dest_port": [22, 2222]}, 4),
        ({"sensor": "lab-1", "event_kind": ["command", "download"]}, 1),
        ({"command": "wget"}, 1),
        ({"password": "ünicode"}, 1),
        ({"where": "dest_port > 22"}, 2),
        ({"app": "cowrie"}, 0),
    ],
)
def test_it_is_narrowed_by_arguments(known: Site, asked: dict[str, Any], hits: int) -> None:
    assert lake.events(*RANGE, url=known.lake, **asked).collect().height == hits


@pytest.mark.parametrize("engine", ["in-memory", "streaming"])
def test_queries_come_to_the_same_as_over_all_columns(known: Site, engine: Any) -> None:
    lazy = lake.events(*RANGE, url=known.lake)
    whole = lazy.collect()
    port = pl.col("dest_port")
    asked: list[Callable[[pl.LazyFrame], pl.LazyFrame]] = [
        lambda f: f.filter(port == 2222),
        lambda f: f.filter(port == 2222).select("src_ip"),
        lambda f: f.select("src_ip").head(2),
        lambda f: f.head(2).filter(port == 2222),
        lambda f: f.filter(port == 2222).head(1),
        lambda f: f.filter(pl.col("command").is_not_null() | (port < 23)).select(pl.len()),
        lambda f: f.select(pl.len()),
        lambda f: f.group_by("dest_port").len().sort("dest_port"),
        lambda f: f.filter(port > port.mean()).select("src_ip"),
        lambda f: f.tail(2),
    ]
    for ask in asked:
        assert ask(lazy).collect(engine=engine).equals(ask(whole.lazy()).collect())
    daily = lake.daily("daily_sources", *RANGE, url=known.lake)
    all_days = daily.collect()
    asked = [
        lambda f: f.filter(pl.col("date") == date(2026, 11, 4)),
        lambda f: f.filter(pl.col("src_ip") == "192.0.2.7").select("date", "events"),
        lambda f: f.select("date").head(3),
        lambda f: f.head(1).filter(pl.col("events") > 1),
    ]
    for ask in asked:
        expected = ask(all_days.lazy()).collect()
        assert ask(daily).collect(engine=engine).equals(expected)


def test_only_what_is_asked_for_is_parsed_and_read(
    known: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RecordingStore(Path(known.lake))
    parsed: list[list[str]] = []
    monkeypatch.setattr(frames, "open_store", lambda *_: store)
    monkeypatch.setattr("stingar_dagster.lake.reader.hours._AHEAD_BYTES", 1)
    read = pl.read_ndjson

    def reading(source: Any, schema: dict[str, Any]) -> pl.DataFrame:
        parsed.append(sorted(schema))
        return read(source, schema=schema)

    monkeypatch.setattr(pl, "read_ndjson", reading)
    lazy = lake.events(*RANGE)
    assert store.asked == []
    lazy.filter(pl.col("dest_port") == 22).select("sensor").collect()
    needed = {"@timestamp", "dest_port", "sensor"}
    assert all(needed.issuperset(columns) for columns in parsed)
    store.asked.clear()
    assert lazy.head(1).collect().height == 1
    assert len([path for path in store.asked if path.endswith("events.json")]) == 1
    store.asked.clear()
    lake.events("2026-11-04", "2026-11-05").collect()
    assert [path for path in store.asked if path.endswith("events.json")] == [
        "stingar/events/date=2026-11-04/hour=17/events.json"
    ]


def test_what_is_published_later_is_seen_by_the_same_frame(tmp_path: Path) -> None:
    site = Site.at(tmp_path)
    frame = lake.events(*RANGE, url=site.lake)
    assert rows(frame) == []
    site.put([event(FIVE)], start=FIVE)
    site.run()
    assert len(rows(frame)) == 1


def test_sessions_are_rebuilt_from_a_frame(known: Site) -> None:
    told = lake.sessions(lake.events(*RANGE, url=known.lake)).collect()
    assert told["events"].sum() == 4


def test_tables_are_told_with_what_a_row_means() -> None:
    assert list(lake.tables()) == [table.name for table in STINGAR.tables]
    assert "credential" in " ".join(lake.tables())


@pytest.mark.parametrize(
    "call",
    [
        lambda: lake.events("yesterday", "2026-11-05"),
        lambda: lake.events("2026-11-05", "2026-11-05"),
        lambda: lake.events(*RANGE, src_ip="300.1.1.1"),
        lambda: lake.events(*RANGE, where="nope = 1"),
        lambda: lake.events(*RANGE, where="dest_port = MAX(dest_port)"),
        lambda: lake.events(*RANGE, stream="dns2"),
        lambda: lake.daily("daily_nothing", *RANGE),
        lambda: lake.quarantine("2026-11-05", "2026-11-04"),
        lambda: lake.ip("nobody"),
        lambda: lake.events(*RANGE, url="nowhere://x"),
    ],
)
def test_what_can_not_be_asked_is_one_line_at_once(call: Any) -> None:
    with pytest.raises(StingarError) as refusal:
        call()
    assert "\n" not in str(refusal.value)


def test_a_condition_that_fails_over_values_is_one_line(known: Site) -> None:
    frame = lake.events(*RANGE, url=known.lake, where="CAST(sensor AS INTEGER) = 1")
    with pytest.raises(UsageError, match="--where") as refusal:
        frame.collect()
    assert "\n" not in str(refusal.value)


def test_the_functions_are_what_the_names_mean_whatever_was_imported_first() -> None:
    """Two of them bear the names of modules."""
    code = (
        "import stingar_dagster.pipeline, stingar_dagster.lake.quarantine;"
        "from stingar_dagster.lake.daily import publish_daily;"
        "from stingar_dagster import lake, lake as again; import sys;"
        "assert all(callable(getattr(lake, name)) for name in lake.__all__);"
        "assert not {'dagster', 'adlfs', 'azure'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_examples_in_the_documentation_run(
    known: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = Path(__file__).parents[2] / "docs/search.md"
    if not docs.is_file():
        pytest.skip("there is no docs/search.md")
    monkeypatch.setenv("STINGAR_LAKE", known.lake)
    examples = re.findall(r"```python\n(.*?)```", docs.read_text(), re.DOTALL)
    assert len(examples) == 2
    exec("".join(examples), {})
