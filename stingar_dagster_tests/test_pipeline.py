"""From captures to published hours and days: every event once, and the same bytes again."""

import base64
import os
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stingar_dagster.capture.container import read_header, split_blocks
from stingar_dagster.capture.writer import CaptureRecord, encode_capture
from stingar_dagster.lake import backlog, hours
from stingar_dagster.lake.layout import day_of
from stingar_dagster.lake.quarantine import read_quarantine
from stingar_dagster.lake.slices import Form, Slice
from stingar_dagster.samples.traffic import traffic
from stingar_dagster.storage.base import ANY_VERSION, Expected
from stingar_dagster.storage.local import LocalStore
from stingar_dagster.streams import STINGAR, Stream
from stingar_dagster_tests.support import (
    HOUR,
    MINUTE,
    NOON,
    Site,
    Work,
    capture,
    event,
    on_disk,
    pending,
    site_for,
)

TWO_TABLES = replace(STINGAR, tables=STINGAR.tables[:2])
"""Enough to see that days follow, where a test runs everything many times."""

SLOW_OR_SHARED = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


@pytest.fixture(params=["disk", "azure", "sliced"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    return site_for(request, tmp_path)


@pytest.fixture(params=[TWO_TABLES, replace(TWO_TABLES, slice_minutes=5)], ids=["hours", "slices"])
def stream(request: pytest.FixtureRequest) -> Stream:
    """Of either form, for tests on a local disk."""
    stream: Stream = request.param
    return stream


def three_hours(site: Site) -> None:
    """Events of three hours and two days, one of them late, one no event, one body of two."""
    day_before = NOON - 13 * HOUR
    site.put([event(NOON + 2 * MINUTE), event(NOON + MINUTE), b"not json"])
    site.put([event(day_before), event(NOON - MINUTE)], first=3, start=NOON + 20 * MINUTE)
    both = b"[" + event(NOON + 3 * MINUTE) + b"," + event(NOON - 2 * MINUTE) + b"]"
    site.put([both, event(NOON + 62 * MINUTE)], partition=1, start=NOON + HOUR)


def with_traffic(site: Site, hours: int, each: int = 400) -> None:
    """Sample traffic, captured every five minutes in two partitions."""
    numbers = Counter[int]()
    for window in range(hours * 12):
        start = NOON + window * 5 * MINUTE
        end = start + 5 * MINUTE
        arrived = list(traffic(start, end, events_per_hour=each, seed=7, damage=0.02, late=0.002))
        for partition in (0, 1):
            bodies = [sample.body for sample in arrived[partition::2]]
            site.put(bodies, partition=partition, start=start, first=numbers[partition])
            numbers[partition] += len(bodies)


# ---- counts


def test_every_captured_event_is_published_or_quarantined_once(site: Site) -> None:
    with_traffic(site, hours=2)
    site.run()
    site.check()
    assert len(site.events()) > 600
    assert site.quarantined()


def test_the_ledger_counts_what_each_capture_came_to(site: Site) -> None:
    with_traffic(site, hours=1)
    site.run()
    lines = site.ledger().values()
    assert {line["capture"] for line in lines} == set(site.blobs)
    assert sum(line["cleaned"] for line in lines) == len(site.events()) + site.duplicates()
    assert sum(line["quarantined"] for line in lines) == len(site.quarantined())
    for line in lines:
        assert line["events"] == line["cleaned"] + line["quarantined"]
        assert line["last_sequence"] - line["first_sequence"] + 1 == line["records"]


def test_ports_of_a_day_are_what_a_recount_of_its_events_says(site: Site) -> None:
    with_traffic(site, hours=1)
    site.run()
    day = f"{NOON:%Y-%m-%d}"
    attacked = [
        ((row["dest_port"], row.get("transport")), row.get("src_ip"))
        for row in site.events()
        if "dest_port" in row and row["@timestamp"].startswith(day)
    ]
    sources: dict[tuple[int, str | None], set[str]] = {}
    for key, source in attacked:
        sources.setdefault(key, set()).update([source] if source else [])
    told = {
        (row["dest_port"], row.get("transport")): (row["events"], row["unique_sources"])
        for row in site.rows(f"daily/daily_ports/date={day}")
    }
    events = Counter(key for key, _ in attacked)
    assert told == {key: (events[key], len(found)) for key, found in sources.items()}


@on_disk
def test_nothing_but_published_objects_stands_where_readers_glob(site: Site) -> None:
    three_hours(site)
    site.run()
    for folder, name in (("events", "events.json"), ("quarantine", "quarantine.json")):
        assert {path.rsplit("/", 1)[-1] for path in site.objects(folder)} == {name}
    for path in site.objects("daily"):
        table = path.split("/")[2]
        assert path.endswith(f"/{table}.json")
    on_disk = {
        str(path.relative_to(site.lake)) for path in Path(site.lake).rglob("*") if path.is_file()
    }
    assert {path for path in on_disk if not path.startswith(".stingar/")} == set(site.objects())


# ---- again, in any order, split in any way


@settings(max_examples=8, deadline=None, suppress_health_check=SLOW_OR_SHARED)
@given(seed=st.integers(0, 10**6))
def test_any_step_again_in_any_order_leaves_every_byte(
    tmp_path_factory: pytest.TempPathFactory, stream: Stream, seed: int
) -> None:
    site = Site.at(tmp_path_factory.mktemp("again"), stream)
    three_hours(site)
    steps = all_steps(site)
    random = Random(seed)
    for step in random.choices(steps, k=len(steps)):
        step()
    site.run()
    tree = site.tree()
    site.check()
    random.shuffle(steps)
    for step in steps:
        step()
    assert site.tree() == tree
    assert pending(site.pipeline()) == ([], [], [])


def all_steps(site: Site) -> list[Callable[[], object]]:
    pipeline = site.pipeline()
    landed = [NOON, NOON + HOUR, NOON + 2 * HOUR]
    events = [NOON - 13 * HOUR, NOON - HOUR, NOON, NOON + HOUR]
    steps: list[Callable[[], object]] = []
    for hour in landed:
        steps.append(lambda hour=hour: pipeline.land_hour(hour))  # type: ignore[misc]
        steps.append(lambda hour=hour: pipeline.land_hour(hour, again=True))  # type: ignore[misc]
    steps += [lambda hour=hour: pipeline.publish_hour(hour) for hour in events]  # type: ignore[misc]
    days = {day_of(hour) for hour in events}
    steps += [lambda day=day: pipeline.roll_day(day) for day in days]  # type: ignore[misc]
    return steps


EVENTS_TO_SPLIT = [
    event(NOON + timedelta(seconds=437 * number % 5000 - 1500), src_port=number)
    for number in range(14)
] + [b"{broken", b"[" + event(NOON) + b"," + event(NOON + 59 * MINUTE) + b"]"]


@settings(max_examples=10, deadline=None, suppress_health_check=SLOW_OR_SHARED)
@given(data=st.data())
def test_any_split_into_captures_slots_and_runs_publishes_the_same_bytes(
    tmp_path_factory: pytest.TempPathFactory, stream: Stream, data: st.DataObject
) -> None:
    whole = Site.at(tmp_path_factory.mktemp("whole"), stream)
    whole.put(EVENTS_TO_SPLIT)
    whole.run()

    length = data.draw(st.sampled_from([1, 5, 15, 60]), label="slot minutes")
    split = Site.at(tmp_path_factory.mktemp("split"), replace(stream, slot_minutes=length))
    cuts = data.draw(st.lists(st.integers(1, len(EVENTS_TO_SPLIT) - 1), unique=True), label="cuts")
    edges = [0, *sorted(cuts), len(EVENTS_TO_SPLIT)]
    pieces = data.draw(st.permutations(list(pairwise(edges))), label="order")
    for minute, (first, end) in enumerate(pieces):
        start = NOON + 7 * minute * MINUTE
        split.put(EVENTS_TO_SPLIT[first:end], first=first, start=start, received=NOON)
        if data.draw(st.booleans(), label="run in between"):
            split.run()
    split.run()
    assert split.tree("events") == whole.tree("events")
    assert split.tree("daily") == whole.tree("daily")
    split.check()


def test_slots_of_another_length_lose_and_double_nothing(site: Site) -> None:
    for minute in (2, 7, 12, 40):
        site.put([event(NOON)], first=minute, start=NOON + minute * MINUTE)
    site.run()
    before = site.tree("events")
    shorter = replace(site.stream, slot_minutes=5)
    pipeline = site.pipeline(shorter)
    assert pending(pipeline) == ([], [], [])
    site.put([event(NOON)], first=6, start=NOON + 6 * MINUTE)
    site.run(pipeline)
    site.check()
    assert site.duplicates() == 0
    assert site.tree("events") != before


# ---- duplicates, late events, replaced and removed captures


def test_the_same_capture_under_another_name_is_published_once(site: Site) -> None:
    blob = capture([event(NOON), event(NOON + MINUTE), b"nonsense"])
    paths = [site.put_blob(blob), site.put_blob(blob, start=NOON + 33 * MINUTE)]
    site.run()
    site.check()
    assert len(site.events()) == site.duplicates() == 2
    assert {path: site.ledger()[path]["cleaned"] for path in paths} == dict.fromkeys(paths, 2)
    assert len(site.quarantined()) == 2
    (row,) = (row for row in site.daily("daily_summary") if "sensor" in row)
    assert row["events"] == 2


def test_an_hour_is_published_alike_however_much_of_it_is_worked_on_at_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_traffic(site, 2)
    blob = capture([event(NOON), event(NOON + MINUTE)])
    for minute in (31, 32):
        site.put_blob(blob, start=NOON + minute * MINUTE)
    site.run()
    before = site.tree("events"), site.tree("rollups"), site.tree("daily")
    assert site.duplicates() >= 2
    monkeypatch.setattr(hours, "_BATCH", 7)
    for path in (*site.tree("state/events"), *site.tree("state/daily")):
        site.pipeline().lake.store.remove(path)
    site.run()
    assert (site.tree("events"), site.tree("rollups"), site.tree("daily")) == before


def test_equal_bodies_are_different_events(site: Site) -> None:
    site.put([event(NOON)] * 5)
    site.run()
    assert len(site.events()) == 5
    assert site.duplicates() == 0


@pytest.mark.parametrize("odd_one_first", [True, False])
def test_of_two_records_with_one_number_the_first_of_the_file_is_published(
    site: Site, odd_one_first: bool
) -> None:
    # A port that is no number sends its body the exact way.
    bodies = [event(NOON, app="odd", dest_port="ssh"), event(NOON, app="usual")]
    bodies = bodies if odd_one_first else bodies[::-1]
    records = [
        CaptureRecord(sequence_number=7, offset="0", enqueued=NOON, body=body) for body in bodies
    ]
    site.put_blob(encode_capture(records))
    site.run()
    assert [row["app"] for row in site.events()] == ["odd" if odd_one_first else "usual"]
    assert site.duplicates() == 1


def test_a_late_event_changes_its_hour_and_day_and_no_other_events_or_tables(site: Site) -> None:
    three_hours(site)
    site.run()
    before, reports = site.versions("events", "daily"), site.tree("reports")
    late = NOON - 13 * HOUR
    site.put([event(late + MINUTE)], first=5, start=NOON + 2 * HOUR)
    work = site.run()
    after = site.versions("events", "daily")
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert work.landed == [NOON + 2 * HOUR]
    assert work.published == [late]
    # Of the day on which it arrived the report tells of it; its tables are not even written again.
    assert {*work.rolled} == {day_of(late), day_of(NOON)}
    assert {path for path, text in site.tree("reports").items() if text != reports.get(path)} == {
        f"stingar/reports/date={day:%Y-%m-%d}/report.html" for day in (late, NOON)
    }
    assert all(f"/date={late:%Y-%m-%d}/" in path for path in changed)
    name = Form.of(site.stream).name(Slice(0, site.stream.slice_minutes))
    assert {path for path in changed if "/events/" in path} == {
        f"stingar/events/date={late:%Y-%m-%d}/hour={late:%H}/{name}"
    }
    site.check()


def test_a_replaced_capture_replaces_its_events(site: Site) -> None:
    site.put([event(NOON, src_ip="192.0.2.1")])
    kept = site.put([event(NOON, src_ip="192.0.2.2")], first=1, start=NOON + MINUTE)
    site.run()
    site.put([event(NOON, src_ip="192.0.2.3"), event(NOON, src_ip="192.0.2.4")])
    del site.blobs[kept]
    site.put([event(NOON, src_ip="192.0.2.5")], first=2, start=NOON + MINUTE)
    site.run()
    site.check()
    assert [row["src_ip"] for row in site.events()] == ["192.0.2.3", "192.0.2.4", "192.0.2.5"]


def test_an_hour_that_loses_all_its_events_loses_its_object_and_its_row_of_the_day(
    site: Site,
) -> None:
    site.put([event(NOON - HOUR)])
    site.put([event(NOON)], first=1, start=NOON + MINUTE)
    site.run()
    assert len(site.events(NOON - HOUR)) == 1
    site.put([event(NOON)])
    work = site.run()
    site.check()
    assert work.published == [NOON - HOUR, NOON]
    assert site.events(NOON - HOUR) == []
    assert not site.objects(f"events/date={NOON:%Y-%m-%d}/hour=11")
    (row,) = site.daily("daily_summary")
    assert row["events"] == 2
    assert not site.objects("state/reopened")


def test_a_day_that_loses_all_its_events_loses_its_tables(site: Site) -> None:
    site.put([event(NOON - 24 * HOUR)])
    site.run()
    assert site.daily("daily_summary")
    site.put([event(NOON)])
    site.run()
    site.check()
    assert all(f"/date={NOON:%Y-%m-%d}/" in path for path in site.objects("daily"))


@on_disk
def test_a_mark_that_is_set_while_its_hour_is_published_stays(site: Site) -> None:
    """A publisher that looked at what is staged before it was lost must not take the mark away."""
    site.put([event(NOON - HOUR)])
    site.run()
    pipeline = site.pipeline()

    class Overtaken(LocalStore):
        """Just before the hour is published, the events it was made from move away."""

        def write(self, path: str, data: bytes, expected: Expected = ANY_VERSION) -> None:
            if path.endswith("hour=11/events.json"):
                site.put([event(NOON)])
                pipeline.land_hour(NOON)
            super().write(path, data, expected)

    overtaken = site.pipeline()
    object.__setattr__(overtaken.lake, "store", Overtaken(Path(site.lake), ""))
    overtaken.publish_hour(NOON - HOUR)
    assert len(site.events(NOON - HOUR)) == 1
    site.run()
    site.check()
    assert site.events(NOON - HOUR) == []


@on_disk
def test_an_hour_that_is_published_just_before_its_events_are_lost_is_published_again(
    site: Site,
) -> None:
    site.put([event(NOON - HOUR)])
    site.run()
    publisher, lander = site.pipeline(), site.pipeline()

    class Overtaken(LocalStore):
        """Just before the loss is committed, the hour is published once more."""

        def write(self, path: str, data: bytes, expected: Expected = ANY_VERSION) -> None:
            if path.endswith("ledger.json"):
                publisher.publish_hour(NOON - HOUR)
            super().write(path, data, expected)

    object.__setattr__(lander.lake, "store", Overtaken(Path(site.lake), ""))
    site.put([event(NOON)])
    lander.land_hour(NOON)
    site.run()
    site.check()
    assert site.events(NOON - HOUR) == []


def test_events_outlive_their_capture_when_another_arrives_in_its_slot(site: Site) -> None:
    old = site.put([event(NOON), event(NOON - HOUR), b"nonsense"])
    site.put([event(NOON), b"nonsense"], partition=1, start=NOON + MINUTE)
    site.run()
    site.remove(old)
    site.put([event(NOON + MINUTE)], first=3, start=NOON + 2 * MINUTE)
    site.run()
    site.check()
    assert (len(site.events()), site.duplicates()) == (4, 0)
    assert len(site.quarantined()) == 2
    site.pipeline().land_hour(NOON, again=True)
    site.run()
    site.check()


# ---- damage


@on_disk
def test_a_torn_capture_waits_while_young_and_is_quarantined_when_old(site: Site) -> None:
    whole = capture([event(NOON)], first=1)
    torn = site.put_blob(whole[:-30], start=NOON + MINUTE)
    site.put([event(NOON)])
    site.run()
    assert len(site.events()) == 1
    assert site.quarantined() == []
    assert pending(site.pipeline()) == ([NOON], [], [])
    site.age(torn, 20 * MINUTE)
    site.run()
    assert pending(site.pipeline()) == ([], [], [])
    (line,) = site.quarantined()
    assert (line["reason"], line["capture"]) == ("truncated", torn)
    assert "event_id" not in line
    assert len(site.events()) == 1


def test_a_torn_capture_that_becomes_whole_is_landed(site: Site) -> None:
    whole = capture([event(NOON)], first=1)
    site.put_blob(whole[:-30])
    site.run()
    site.put_blob(whole)
    site.run()
    site.check()
    assert len(site.events()) == 1


def test_a_capture_that_is_being_replaced_keeps_its_events_until_the_new_one_is_whole(
    site: Site,
) -> None:
    whole = capture([event(NOON), event(NOON)])
    site.put_blob(whole)
    site.run()
    site.put_blob(whole[:-30])
    site.run()
    assert len(site.events()) == 2
    assert pending(site.pipeline()) == ([NOON], [], [])
    site.put_blob(whole)
    site.run()
    site.check()


@on_disk
def test_good_blocks_of_a_damaged_capture_come_out_and_the_rest_is_accounted_for(
    site: Site,
) -> None:
    bodies = [event(NOON, src_port=number) for number in range(9)]
    blob = bytearray(capture(bodies, block_bytes=3 * len(bodies[0])))
    blocks, _ = split_blocks(bytes(blob), read_header(bytes(blob)), 0)
    assert len(blocks) > 2
    hurt = blocks[1]
    blob[hurt.payload_end] ^= 0xFF
    path = site.put_blob(bytes(blob))
    site.age(path, HOUR)
    site.run()
    assert len(site.events()) == 9 - hurt.records
    (line,) = site.quarantined()
    assert (line["reason"], line["capture"]) == ("bad_sync", path)
    assert f"bytes {hurt.start:,} to {hurt.end:,}" in line["detail"]
    assert base64.b64decode(line["body"]) == bytes(blob[hurt.start : hurt.end])
    told = site.ledger()[path]
    assert told["damage"]
    assert f"bytes {hurt.start:,} to {hurt.end:,}" in told["damage"][0]
    first = sum(block.records for block in blocks[:1])
    assert told["gaps"] == [f"{first}-{first + hurt.records - 1}"]
    assert (told["records"], told["quarantined"]) == (9 - hurt.records, 0)


def test_a_capture_of_an_empty_window_is_in_the_ledger_and_gives_nothing(site: Site) -> None:
    path = site.put([])
    work = site.run()
    assert work == Work(landed=[NOON])
    assert site.ledger()[path]["records"] == 0
    assert not site.objects("events")


# ---- other code


def test_a_new_code_version_asks_for_nothing_and_cleans_anew_when_the_hour_is_run(
    site: Site,
) -> None:
    three_hours(site)
    site.run()
    upgraded = site.pipeline(replace(site.stream, code_version="next"))
    assert pending(upgraded) == ([], [], [])
    assert upgraded.land_hour(NOON).decoded == 2
    assert {line["code_version"] for line in site.ledger().values()} == {"next"}
    assert {line["code_version"] for line in site.ledger(NOON + HOUR).values()} == {
        STINGAR.code_version
    }
    assert upgraded.land_hour(NOON).decoded == 0
    site.run(upgraded)
    site.check()


def test_a_field_that_changed_its_type_is_read_from_older_segments_too(site: Site) -> None:
    site.put([event(NOON, ip_ttl=64)])
    site.run()
    fields = tuple(
        replace(item, kind=type(item.kind).TEXT) if item.name == "ip_ttl" else item
        for item in STINGAR.fields
    )
    site.put([event(NOON, ip_ttl="low")], first=1, start=NOON + HOUR)
    site.run(site.pipeline(replace(site.stream, fields=fields, code_version="next")))
    assert [row["ip_ttl"] for row in site.events()] == ["64", "low"]


def test_a_table_declared_later_is_counted_from_the_segments(tmp_path: Path) -> None:
    late, early = Site.at(tmp_path / "late", TWO_TABLES), Site.at(tmp_path / "early")
    for each in (late, early):
        three_hours(each)
        each.run()
    assert late.tree("daily") != early.tree("daily")
    pipeline = late.pipeline(STINGAR)
    assert pending(pipeline)[:2] == ([], [])
    assert pending(pipeline)[2]
    late.run(pipeline)
    assert late.tree("daily") == early.tree("daily")


def test_lost_partial_aggregates_are_counted_again(site: Site) -> None:
    three_hours(site)
    site.run()
    daily = site.tree("daily")
    for path in (*site.objects("rollups"), *site.objects("daily")):
        site.lake_store.remove(path)
    for day in (day_of(NOON), day_of(NOON - 13 * HOUR)):
        site.pipeline().roll_day(day)
    assert site.tree("daily") == daily


# ---- segments that do not count


@on_disk
def test_segments_that_no_ledger_names_are_ignored_and_removed_when_old(site: Site) -> None:
    site.put([event(NOON)])
    site.run()
    tree = site.tree("events")
    (segment,) = Path(site.lake, "stingar", "segments").rglob("*.parquet")
    young, old = (segment.with_name(segment.name.replace("-00-", f"-{m}-")) for m in (15, 30))
    for orphan in (young, old):
        shutil.copy(segment, orphan)
    then = (datetime.now() - timedelta(hours=7)).timestamp()
    os.utime(old, (then, then))
    os.utime(segment, (then, then))
    site.pipeline().publish_hour(NOON)
    assert site.tree("events") == tree
    assert site.duplicates() == 0
    assert segment.exists()
    assert young.exists()
    assert not old.exists()


# ---- what the steps hand back


def test_landing_says_what_it_did(site: Site) -> None:
    three_hours(site)
    pipeline = site.pipeline()
    landed = pipeline.land_hour(NOON)
    assert (landed.decoded, landed.total("records"), landed.total("quarantined")) == (2, 5, 1)
    assert landed.changed_hours == [NOON - 13 * HOUR, NOON - HOUR, NOON]
    assert pipeline.land_hour(NOON).changed_hours == []
    assert [line.reason for line in read_quarantine(pipeline.lake, NOON)] == ["not_json"]


def test_only_captures_of_the_streams_hubs_are_landed(site: Site) -> None:
    site.put([event(NOON)])
    other = site.pipeline(replace(site.stream, hubs=("dns-*",)))
    listed = other.landing.hour(NOON)
    assert backlog.by_landed_hour(other.lake, listed) == {}
    assert other.land_hour(NOON, captures=listed).ledger.lines == {}
