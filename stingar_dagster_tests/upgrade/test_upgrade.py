"""A landing folder, a lake and a Dagster instance of an earlier release, continued by this one."""

import json
import shutil
import subprocess
import sys
import tarfile
import warnings
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from stingar_dagster.errors import UnknownFormat
from stingar_dagster.lake import backlog
from stingar_dagster.lake.layout import parse_hour
from stingar_dagster.lake.ledger import read_ledger
from stingar_dagster.storage import open_store
from stingar_dagster.verify import verify
from stingar_dagster_tests.support import HOUR, Site, event

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
MIDNIGHT = datetime(2026, 11, 3, tzinfo=UTC)
EVENTS = 299  # in 296 messages, of which some hold several
CLEANED, QUARANTINED = 296, 11


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """The folder of the first release, as the working folder."""
    with tarfile.open(HERE / "formats-1.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    shutil.copy(REPOSITORY / "dagster.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("DAGSTER_HOME", "STINGAR_LANDING", "STINGAR_LAKE", "STINGAR_START"):
        monkeypatch.delenv(name, raising=False)
    return Site("data/landing", "data/lake")


def stingar(*args: str) -> str:
    command = [sys.executable, "-c", "from stingar_dagster.cli import main; main()", *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def partitions(name: str) -> set[str]:
    with warnings.catch_warnings(), dg.DagsterInstance.from_config(".") as instance:
        warnings.simplefilter("ignore")  # of libraries that Dagster uses
        return instance.get_materialized_partitions(dg.AssetKey(["stingar", name]))


def test_what_it_published_is_read_and_no_hour_asks_to_be_published_again(old: Site) -> None:
    lake = old.pipeline().lake
    landed = backlog.landed_hours(lake)
    assert len(landed) == 3
    assert backlog.unpublished_hours(lake, landed) == {}
    found = stingar("events", "--since", "2026-10-30", "--until", "2026-11-04", "--format", "json")
    assert len(found.splitlines()) == EVENTS
    assert len(stingar("quarantine", "list").splitlines()) >= QUARANTINED


def test_its_days_get_the_tables_and_the_reports_that_it_did_not_have(old: Site) -> None:
    pipeline = old.pipeline()
    days = backlog.published_days(pipeline.lake)
    assert [*backlog.unpublished_days(pipeline.lake, days)] == days
    old.run()
    assert backlog.unpublished_days(pipeline.lake, days) == {}
    assert len(old.objects("reports")) == len(days)
    assert sum(row["events"] for row in old.daily("daily_hours")) == EVENTS


def test_a_day_is_made_from_hours_of_both_releases(old: Site) -> None:
    pipeline = old.pipeline()
    before = rows(old, old.objects("daily"))
    pipeline.roll_day(MIDNIGHT)
    assert rows(old, before) == before
    now = old.tree("daily")
    pipeline.publish_hour(MIDNIGHT)  # in this release's format; the day's other hours are not
    pipeline.roll_day(MIDNIGHT)
    assert old.tree("daily") == now


def rows(site: Site, paths: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """The rows of tables, but for a column that this release has added."""
    store = site.lake_store
    read = {path: map(json.loads, store.read(path).splitlines()) for path in paths}
    return {
        path: [{k: v for k, v in row.items() if k != "first_sensor"} for row in found]
        for path, found in read.items()
    }


def test_it_is_continued_and_backfilled(old: Site) -> None:
    before = partitions("landed_events")
    assert len(before) == 3
    old.put([event(MIDNIGHT), b"{broken", event(MIDNIGHT + HOUR)], start=MIDNIGHT + HOUR)
    stingar("run")
    assert partitions("landed_events") == before | {"2026-11-03-01:00"}
    pipeline = old.pipeline()
    for hour in backlog.landed_hours(pipeline.lake):
        pipeline.land_hour(hour, again=True)
    stingar("run")
    proof = verify(pipeline, again=True)
    assert [p for p in proof.problems if p.kind != "gap"] == []
    assert proof.notes == []
    assert proof.total("cleaned") == CLEANED + 2
    assert proof.total("quarantined") == QUARANTINED + 1


def test_a_segment_of_a_format_to_come_is_refused_with_what_to_do(old: Site) -> None:
    name = "2026-11-02T22-00-0123456789abcdef.f2.parquet"
    hour = MIDNIGHT - 2 * HOUR
    pipeline = old.pipeline()
    ledger = read_ledger(pipeline.lake.store, pipeline.lake.layout, hour)
    store = open_store(old.lake, "STINGAR_LAKE")
    path = pipeline.lake.layout.ledger(hour)
    line = next(line for line in ledger.lines.values() if line.segments)
    text = store.read(path).replace(line.segments[0].encode(), name.encode())
    store.write(path, text)
    store.write(pipeline.lake.layout.segment(line.event_hours[0], name), b"to come")
    with pytest.raises(UnknownFormat, match="newer release; upgrade this one"):
        pipeline.publish_hour(parse_hour(line.event_hours[0]))
