"""An hour's slices combined once for its day: what is read, what is kept, what comes out."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stingar_dagster.lake.combined import combined_path
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.streams import DNS
from stingar_dagster_tests.support import HOUR, MINUTE, NOON, RecordingStore, Site

STREAM = replace(DNS, hubs=("hub",))
DAY = datetime(NOON.year, NOON.month, NOON.day, tzinfo=UTC)


def query(moment: datetime, client: int, name: str = "www.example.org") -> bytes:
    sent = {"ts": moment.timestamp(), "id.orig_h": f"192.0.2.{client}", "query": name}
    return json.dumps(sent).encode()


def put(site: Site, hour: datetime, first: int = 0, start: datetime = NOON) -> None:
    """Events in four slices of an hour."""
    times = (hour + minute * MINUTE for minute in (1, 7, 31, 59))
    site.put([query(time, n + first) for n, time in enumerate(times)], start=start, first=first)


def combined_objects(site: Site) -> set[str]:
    return {path for path in site.objects("rollups") if path.endswith(".hour.zip")}


def slices_objects(site: Site) -> set[str]:
    zips = {path for path in site.objects("rollups") if path.endswith(".zip")}
    return zips - combined_objects(site)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    site = Site.at(tmp_path, STREAM)
    put(site, NOON - HOUR)
    put(site, NOON, first=4, start=NOON + HOUR)
    site.run()
    return site


def test_of_hours_that_did_not_change_no_slice_is_read_again(site: Site) -> None:
    (unchanged,) = (path for path in slices_objects(site) if "hour=11" in path)
    put(site, NOON, first=8, start=NOON + 2 * HOUR)
    pipeline = site.pipeline()
    pipeline.land_hour(NOON + 2 * HOUR)
    pipeline.publish_hour(NOON)
    store = RecordingStore(Path(site.lake))
    Pipeline(site.settings, STREAM, lake_store=store).roll_day(DAY)
    assert combined_path(unchanged) in store.asked
    assert unchanged not in store.asked
    site.check()


def test_what_is_combined_goes_with_the_slices_it_was_made_from(site: Site) -> None:
    before = slices_objects(site)
    assert combined_objects(site) == set(map(combined_path, before))
    put(site, NOON, first=8, start=NOON + 2 * HOUR)
    site.run()
    assert slices_objects(site) != before
    assert combined_objects(site) == set(map(combined_path, slices_objects(site)))


@pytest.mark.parametrize("lost", [combined_objects, slices_objects], ids=["combined", "slices"])
def test_a_day_comes_to_the_same_whichever_of_both_is_lost(site: Site, lost: object) -> None:
    before = site.objects("daily")
    assert callable(lost)
    for path in lost(site):
        site.lake_store.remove(path)
    for path in before:
        site.lake_store.remove(path)
    site.pipeline().roll_day(DAY)
    assert site.objects("daily") == before


def test_a_day_comes_to_the_same_however_its_hours_are_cut(site: Site, tmp_path: Path) -> None:
    for minutes in (1, 15, 60):
        other = Site.at(tmp_path / f"{minutes}", replace(STREAM, slice_minutes=minutes))
        put(other, NOON - HOUR)
        put(other, NOON, first=4, start=NOON + HOUR)
        other.run()
        assert other.objects("daily") == site.objects("daily")


def test_only_the_busiest_of_an_hour_reach_its_day_and_the_proof_knows(tmp_path: Path) -> None:
    tables = tuple(replace(table, most=2) for table in DNS.tables if table.name == "daily_clients")
    site = Site.at(tmp_path, replace(STREAM, tables=tables))
    # In each slice 1 and another client are the busiest: 1 and 2 in the hour.
    busy = {2: (2, 2, 2), 8: (2, 2), 14: (3, 3), 20: (4, 4)}
    site.put(
        [
            query(NOON + minute * MINUTE, client)
            for minute, clients in busy.items()
            for client in (*clients, 1, 1, 1, 5)
        ]
    )
    site.run()
    site.check()
    rows = {row.get("client_ip"): row["queries"] for row in site.daily("daily_clients")}
    assert rows == {"192.0.2.1": 12, "192.0.2.2": 5, None: 8}
