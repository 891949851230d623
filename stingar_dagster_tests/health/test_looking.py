"""A look at a lake: the figures are right, read once, and follow what changes."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from stingar_dagster.health.activity import MOST_SENDERS, _heard
from stingar_dagster.health.looking import Look, checks_of, findings
from stingar_dagster.lake.lake import Lake
from stingar_dagster.streams import STINGAR
from stingar_dagster_tests.support import HOUR, MINUTE, RecordingStore, Site, event, on_disk

NOW = datetime.now(UTC).replace(minute=40, second=0, microsecond=0) + HOUR
"""Later than everything that a test writes."""
TEN = NOW.replace(minute=0) - 3 * HOUR


def look(site: Site, now: datetime = NOW) -> Look:
    return Look(site.pipeline().lake, now)


def test_figures_are_those_of_the_ledgers_and_hours(site: Site) -> None:
    site.put([event(TEN), event(TEN, sensor="lab-2"), b"no json"], start=TEN)
    site.put([event(TEN - HOUR)], start=TEN, partition=1, first=5)
    site.put([event(TEN - HOUR)], start=TEN + MINUTE, partition=1, first=5)
    site.run()
    seen = look(site)
    (row,) = seen.landings.to_dicts()
    assert (row["captures"], row["events"], row["cleaned"], row["quarantined"]) == (3, 5, 4, 1)
    assert [(r["source"], r["first"], r["last"]) for r in row["runs"]] == [
        ("ns/hub/0", 0, 2),
        ("ns/hub/1", 5, 5),
    ]
    assert [repeat["events"] for repeat in row["repeats"]] == [1]
    hours = {row["hour"]: row for row in seen.activity.to_dicts()}
    assert {hour: (r["rows"], r["duplicates"]) for hour, r in hours.items()} == {
        TEN: (2, 0),
        TEN - HOUR: (1, 1),
    }
    heard = {entry["sensor"]: entry for entry in hours[TEN - HOUR]["heard"]}
    # Logged an hour before, received now.
    assert heard["lab-1"]["last_us"] >= TEN.timestamp() * 1e6


def test_a_second_look_reads_what_was_kept_and_writes_nothing(site: Site) -> None:
    site.put([event(TEN)], start=TEN)
    site.run()
    list(findings(site.pipeline().lake, checks_of(STINGAR), NOW))
    before = site.versions("state/health")
    list(findings(site.pipeline().lake, checks_of(STINGAR), NOW))
    assert site.versions("state/health") == before


@on_disk
def test_a_second_look_opens_no_hour_again(site: Site) -> None:
    for n in range(3):
        site.put([event(TEN - n * HOUR)], start=TEN - n * HOUR, first=n)
    site.run()
    list(findings(site.pipeline().lake, checks_of(STINGAR), NOW))
    store = RecordingStore(Path(site.lake))
    lake = Lake(store, STINGAR)
    seen = Look(lake, NOW)
    assert len(seen.landings) == len(seen.activity) == 3
    _ = seen.fields
    opened = [path for path in store.asked if path.endswith((".json", ".zip", ".parquet"))]
    assert {path.split("/")[2] for path in opened} == {"health"}


def test_a_late_event_changes_its_hour_and_no_other(site: Site) -> None:
    site.put([event(TEN)], start=TEN)
    site.put([event(TEN - HOUR)], start=TEN - HOUR, first=7)
    site.run()
    _ = look(site).activity
    site.put([event(TEN - HOUR, sensor="late")], start=TEN + 5 * MINUTE, first=1)
    site.run()
    hours = {row["hour"]: row for row in look(site).activity.to_dicts()}
    assert {entry["sensor"] for entry in hours[TEN - HOUR]["heard"]} == {"lab-1", "late"}
    assert hours[TEN]["rows"] == 1


def test_figures_that_are_lost_or_damaged_are_gathered_again(site: Site) -> None:
    site.put([event(TEN)], start=TEN)
    site.run()
    lake = site.pipeline().lake
    first = look(site).landings
    lake.store.write(lake.layout.health("landings-2.parquet"), b"nonsense")
    assert look(site).landings.equals(first)
    lake.store.remove(lake.layout.health("landings-2.parquet"))
    assert look(site).landings.equals(first)


def test_partial_aggregates_of_before_tell_when_events_were_logged(site: Site) -> None:
    assert STINGAR.origins is not None
    old = pl.DataFrame({"sensor": ["lab-1"], "events": [3], "first_us": [5], "last_us": [9]})
    buffer = io.BytesIO()
    old.write_parquet(buffer)
    (entry,), left_out = _heard([buffer.getvalue()], STINGAR.origins, "old.parquet")
    assert (entry["first_us"], entry["last_us"], left_out) == (5, 9, 0)


def test_of_an_hour_with_invented_names_the_busiest_senders_are_kept_and_the_rest_counted() -> None:
    assert STINGAR.origins is not None
    invented = 3 * MOST_SENDERS
    names = [*(f"invented-{n}" for n in range(invented)), "lab-1"]
    many = pl.DataFrame(
        {"sensor": names, "events": [1] * invented + [50], "first_us": 5, "last_us": 9}
    )
    buffer = io.BytesIO()
    many.write_parquet(buffer)
    heard, left_out = _heard([buffer.getvalue()], STINGAR.origins, "many.parquet")
    assert (len(heard), left_out) == (MOST_SENDERS, invented + 1 - MOST_SENDERS)
    assert heard[0]["sensor"] == "lab-1"


def test_what_landed_an_hour_ago_and_was_never_published_is_seen(site: Site) -> None:
    site.put([event(TEN)], start=TEN)
    site.pipeline().land_hour(TEN)
    assert list(look(site).unpublished) == [TEN]
    # A ledger written just now has its run ahead.
    assert list(look(site, datetime.now(UTC) + timedelta(minutes=1)).unpublished) == []
    site.run()
    assert list(look(site).unpublished) == []


def test_every_check_passes_on_an_empty_and_on_a_fresh_lake(site: Site) -> None:
    empty = dict(_outcomes(site))
    assert set(empty) == set(checks_of(STINGAR))
    assert all(empty.values()), empty
    now = datetime.now(UTC)
    for n in range(30):
        site.put([event(now - n * HOUR, sensor=f"lab-{n % 3}")], start=now - n * HOUR, first=30 - n)
    site.run()
    assert all(dict(_outcomes(site, now)).values())


def _outcomes(site: Site, now: datetime = NOW) -> list[tuple[str, bool]]:
    lake = site.pipeline().lake
    outcomes = findings(lake, checks_of(STINGAR), now)
    return [(check.name, finding.passed) for check, finding in outcomes]
