"""Hours published in slices: what is written when, what readers see meanwhile, what is proved.

Everything else that holds of hours is held of slices by the tests of hours, which run for both
(`test_pipeline`, `reliability`).
"""

import gzip
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from stingar_dagster import lake as analysts
from stingar_dagster import pipeline as pipelines
from stingar_dagster.errors import StingarError
from stingar_dagster.lake.reader.hours import published_slices
from stingar_dagster.lake.slices import WHOLE, Form, Slice, first_lines_in, lines_in, spans_of
from stingar_dagster.storage.base import ANY_VERSION, Expected, Version
from stingar_dagster.storage.local import LocalStore
from stingar_dagster.streams import STINGAR, Stream
from stingar_dagster.streams.stream import Compression
from stingar_dagster.verify import verify
from stingar_dagster_tests.support import (
    HOUR,
    MINUTE,
    NOON,
    SLICED,
    RecordingStore,
    Site,
    event,
    lines,
    pending,
)

ONE_TABLE = replace(SLICED, tables=STINGAR.tables[:1])
FORMS = [
    STINGAR,
    SLICED,
    replace(STINGAR, compression=Compression.GZIP),
    replace(STINGAR, slice_minutes=15),
    replace(SLICED, slice_minutes=10),
]
A_DAY = (NOON - 12 * HOUR, NOON + 12 * HOUR)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.at(tmp_path, SLICED)


def filled(site: Site) -> Site:
    """Events in six slices of the hour at noon, and one in the hour before."""
    minutes = (0, 4, 5, 14, 31, 59)
    site.put([event(NOON + minute * MINUTE, src_port=minute) for minute in minutes])
    site.put([event(NOON - 33 * MINUTE), event(NOON + 42 * MINUTE)], partition=1)
    site.run()
    return site


def names(site: Site, hour: datetime = NOON) -> list[str]:
    folder = f"events/date={hour:%Y-%m-%d}/hour={hour:%H}"
    return [path.rsplit("/", 1)[-1] for path in site.objects(folder)]


class ChangingStore(LocalStore):
    """A local store that remembers what was changed, and calls somebody before and after.

    Attributes:
        changed: paths that were written or removed.
        before, after: called with each path.
    """

    def __init__(self, site: Site) -> None:
        super().__init__(Path(site.lake), site.lake)
        self.changed: list[str] = []
        self.before: Callable[[str], None] = lambda path: None
        self.after: Callable[[str], None] = lambda path: None

    def write(self, path: str, data: bytes, expected: Expected = ANY_VERSION) -> None:
        self.before(path)
        super().write(path, data, expected)
        self.changed.append(path)
        self.after(path)

    def remove(self, path: str, expected: Version = ANY_VERSION) -> None:
        self.before(path)
        super().remove(path, expected)
        self.changed.append(path)
        self.after(path)


def over(site: Site, store: LocalStore, stream: Stream | None = None) -> pipelines.Pipeline:
    pipeline = pipelines.Pipeline(site.settings, stream or site.stream, lake_store=store)
    pipeline.publish_hour(NOON - 5 * HOUR)  # the schema is written once
    return pipeline


# ---- what is written


def test_an_hour_is_an_object_for_each_slice_that_has_events(site: Site) -> None:
    filled(site)
    assert names(site) == [f"events-{first:02d}.json.gz" for first in (0, 5, 10, 30, 40, 55)]
    assert names(site, NOON - HOUR) == ["events-25.json.gz"]
    site.check(gaps=False)


def test_a_late_event_rewrites_its_slice_and_no_other(site: Site) -> None:
    filled(site)
    before = site.versions("events")
    store = ChangingStore(site)
    pipeline = over(site, store)
    site.put([event(NOON + 33 * MINUTE)], first=6, start=NOON + 3 * HOUR)
    assert pipeline.land_hour(NOON + 3 * HOUR).changed_hours == [NOON]
    store.changed.clear()
    published = pipeline.publish_slices(NOON)
    folder = f"stingar/events/date={NOON:%Y-%m-%d}/hour=12"
    assert published.written == ("events-30.json.gz",)
    kinds = Counter("/".join(path.split("/")[1:2]) for path in store.changed)
    # The slice, the hour's partial aggregates, and its record; the aggregates of before, and what
    # was combined of them, are removed.
    assert kinds == {"events": 1, "rollups": 3, "state": 1}
    after = site.versions("events")
    assert {path for path in after if after[path] != before[path]} == {
        f"{folder}/events-30.json.gz"
    }
    assert published.record.rows == 8
    site.run()
    site.check(gaps=False)


def test_an_hour_that_is_up_to_date_is_left_alone_unless_it_is_asked_for_again(site: Site) -> None:
    filled(site)
    before = site.tree()
    store = ChangingStore(site)
    pipeline = over(site, store)
    store.changed.clear()
    assert pipeline.publish_slices(NOON).written == ()
    assert store.changed == []
    assert len(pipeline.publish_slices(NOON, again=True).written) == 6
    assert site.tree() == before


def test_a_slice_that_loses_its_last_event_disappears(site: Site) -> None:
    site.put([event(NOON), event(NOON + 7 * MINUTE)])
    site.run()
    site.put([event(NOON), event(NOON + 22 * MINUTE)])
    site.run()
    assert names(site) == ["events-00.json.gz", "events-20.json.gz"]
    site.check()


def test_a_slice_that_somebody_removed_or_cut_off_is_there_again_when_its_hour_is_published(
    site: Site,
) -> None:
    filled(site)
    before = site.tree("events")
    removed, cut = sorted(before)[1:3]
    store = site.lake_store
    store.remove(removed)
    store.write(cut, store.read(cut)[:-9])
    assert len(site.pipeline().publish_slices(NOON).written) == 2
    assert site.tree("events") == before


def test_landing_minute_by_minute_decodes_nothing_twice(site: Site) -> None:
    site.stream = replace(ONE_TABLE, slot_minutes=1)
    pipeline = site.pipeline()
    for minute in range(12):
        start = NOON + minute * MINUTE
        late = start - 6 * MINUTE
        site.put([event(start), event(late)], first=2 * minute, start=start)
        landed = pipeline.land_hour(NOON)
        assert landed.decoded == 1
        for hour in landed.changed_hours:
            # The minute that arrived, and the one that was late: never more.
            assert len(pipeline.publish_slices(hour).written) <= 2
    assert len(site.ledger()) == 12
    site.run()
    site.check()


# ---- another form


@pytest.mark.parametrize("after", FORMS, ids=lambda s: f"{s.slice_minutes} {s.compression}")
@pytest.mark.parametrize("before", FORMS, ids=lambda s: f"{s.slice_minutes} {s.compression}")
def test_an_hour_takes_the_form_that_is_declared_and_no_reader_ever_sees_an_event_twice(
    tmp_path: Path, before: Stream, after: Stream
) -> None:
    before, after = (replace(stream, tables=STINGAR.tables[:1]) for stream in (before, after))
    site = filled(Site.at(tmp_path / "one", before))
    expected = filled(Site.at(tmp_path / "other", after))
    daily = site.tree("daily")
    site.stream = after
    store = ChangingStore(site)
    pipeline = over(site, store)

    def look(path: str) -> None:
        seen = [json.loads(row)["event_id"] for data in site.objects("events").values()
                for row in lines(data)]  # fmt: skip
        assert len(seen) == len(set(seen)), path

    store.after = look
    # Nothing is asked for by itself; published again, an hour takes the new form.
    assert pending(pipeline) == ([], [], [])
    for hour in (NOON, NOON - HOUR):
        pipeline.publish_hour(hour)
    assert site.tree("events") == expected.tree("events")
    assert not site.objects("state/reopened")
    site.run()
    assert site.tree("daily") == daily
    site.check(gaps=False)


def test_an_hour_that_is_left_half_way_to_another_form_is_pending(site: Site) -> None:
    site.stream = replace(STINGAR, tables=STINGAR.tables[:1])
    filled(site)
    expected = filled(Site.at(Path(site.lake).parent / "other", ONE_TABLE))
    site.stream = ONE_TABLE
    store = ChangingStore(site)
    pipeline = over(site, store)

    def die(path: str) -> None:
        if path.endswith("events-10.json.gz"):
            raise ZeroDivisionError

    store.before = die
    with pytest.raises(ZeroDivisionError):
        pipeline.publish_hour(NOON)
    assert names(site) == ["events-00.json.gz", "events-05.json.gz"]
    assert pending(site.pipeline())[1] == [NOON]
    site.run()
    site.pipeline().publish_hour(NOON - HOUR)
    assert site.tree("events") == expected.tree("events")


def test_the_proof_holds_for_hours_of_an_earlier_form(site: Site) -> None:
    site.stream = STINGAR
    filled(site)
    proof = verify(site.pipeline(SLICED), again=True)
    assert not [problem for problem in proof.problems if problem.kind != "gap"]


# ---- two runs at once


@pytest.mark.parametrize("moment", ["events-30.json.gz", "state/events/date=2026-11-03/12.json"])
@pytest.mark.parametrize("second", [3, 33])
def test_of_two_runs_on_one_hour_neither_loses_what_the_other_published(
    site: Site, second: int, moment: str
) -> None:
    """One is overtaken, as it writes a slice or the record, by one at another slice or the same."""
    filled(site)
    store = ChangingStore(site)
    slow = over(site, store)
    site.put([event(NOON + 32 * MINUTE)], first=6, start=NOON + 20 * MINUTE)
    slow.land_hour(NOON)

    def overtake(path: str) -> None:
        if path.endswith(moment):
            store.before = lambda path: None
            site.put([event(NOON + second * MINUTE)], first=7, start=NOON + 40 * MINUTE)
            fast = site.pipeline()
            fast.land_hour(NOON)
            fast.publish_hour(NOON)

    store.before = overtake
    assert slow.publish_hour(NOON).rows == 9
    assert pending(site.pipeline())[1] == []
    site.run()
    site.check(gaps=False)


# ---- duplicates


def test_copies_of_an_event_without_a_time_of_its_own_fall_into_one_slice(site: Site) -> None:
    """The time of arrival stands in, which copies share, or the landed hour."""
    nameless = b'{"src_ip": "192.0.2.9", "sensor": "lab-1"}'
    unknown = datetime.fromisoformat("2019-01-01T00:00:00+00:00")
    for start in (NOON + 9 * MINUTE, NOON + 42 * MINUTE, NOON + HOUR + 3 * MINUTE):
        site.put([nameless], start=start, received=NOON + 8 * MINUTE)
    for start in (NOON + 9 * MINUTE, NOON + 42 * MINUTE):
        site.put([nameless], partition=1, start=start, received=unknown)
    site.run()
    assert [row["time_source"] for row in site.events()] == ["landed", "enqueued"]
    assert site.duplicates() == 3
    site.check()


# ---- readers


def test_readers_see_one_dataset(tmp_path: Path) -> None:
    hours, slices = (
        filled(Site.at(tmp_path / "a", STINGAR)),
        filled(Site.at(tmp_path / "b", SLICED)),
    )
    expected = sorted(hours.events(), key=lambda row: row["event_id"])
    schema = STINGAR.schema
    folder = f"{slices.lake}/stingar/events"
    # polars and DuckDB, as docs/search.md says
    frame = pl.scan_ndjson(f"{folder}/*/*/events*.json*", schema=schema).collect()
    columns = json.loads(Path(slices.lake, "stingar/schema/events.duckdb.json").read_text())
    found = duckdb.execute(
        "SELECT event_id, hour FROM read_json($1, format='newline_delimited', columns=$2, "
        "hive_partitioning=true)",
        [f"{folder}/*/*/events*.json*", columns],
    ).fetchall()
    ids = [row["event_id"] for row in expected]
    assert sorted(frame["event_id"]) == ids
    assert sorted(found) == [(row["event_id"], int(row["@timestamp"][11:13])) for row in expected]
    # the Python API
    mine, theirs = (analysts.events(*A_DAY, url=s.lake).collect() for s in (slices, hours))
    assert mine.equals(theirs)
    assert mine["@timestamp"].is_sorted()
    me, them = (analysts.ip("192.0.2.7", url=s.lake).to_dict() for s in (slices, hours))
    assert me == them


def test_a_reader_reads_only_the_slices_of_its_range(site: Site) -> None:
    filled(site)
    since, until = NOON + 12 * MINUTE, NOON + 31 * MINUTE
    lake = site.pipeline().lake
    store = RecordingStore(Path(site.lake))
    object.__setattr__(lake, "store", store)
    assert [piece.name for piece in published_slices(lake, since, until)] == [
        "events-10.json.gz",
        "events-30.json.gz",
    ]
    found = analysts.events(since, until, url=site.lake).collect()
    assert found["src_port"].to_list() == [14]


def test_slices_in_which_an_address_was_not_seen_are_not_read(site: Site) -> None:
    site.put([event(NOON + minute * MINUTE) for minute in range(0, 60, 10)])
    site.put([event(NOON + 23 * MINUTE, src_ip="203.0.113.9")], partition=1)
    site.run()
    told = analysts.ip("203.0.113.9", url=site.lake)
    assert (told.events, told.coverage.hours) == (1, 1)
    path = f"stingar/events/date={NOON:%Y-%m-%d}/hour=12/events-50.json.gz"
    data = site.lake_store.read(path)
    Path(site.lake, path).write_bytes(b"x" * len(data))  # whoever reads it fails
    assert analysts.ip("203.0.113.9", url=site.lake).events == 1
    with pytest.raises(StingarError, match=r"events-50\.json\.gz is no whole gzip file"):
        analysts.ip("192.0.2.7", url=site.lake)


# ---- the proof


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def put_stray(path: Path) -> None:
    path.with_name("events-45.json.gz").write_bytes(gzip.compress(b""))


def put_both_forms(path: Path) -> None:
    path.with_name("events.json").write_bytes(gzip.decompress(path.read_bytes()))


def swap(path: Path) -> None:
    path.rename(path.with_name("events-45.json.gz"))


@pytest.mark.parametrize(
    ("change", "kinds"),
    [
        (damage, {"unreadable", "lost", "daily"}),
        (Path.unlink, {"lost", "daily"}),
        (put_stray, {"invented"}),
        (put_both_forms, {"invented", "doubled", "daily"}),
        (swap, {"misplaced", "invented", "lost"}),
    ],
)
def test_the_proof_finds_a_damaged_missing_extra_or_misplaced_slice(
    site: Site, change: Callable[[Path], None], kinds: set[str]
) -> None:
    filled(site)
    site.check(gaps=False)
    change(Path(site.lake, f"stingar/events/date={NOON:%Y-%m-%d}/hour=12/events-30.json.gz"))
    assert {problem.kind for problem in verify(site.pipeline()).problems} == kinds


# ---- names and bytes


def test_names_say_where_a_slice_begins_and_no_reader_need_know_its_length() -> None:
    five = Form(5, Compression.GZIP)
    assert [five.name(piece) for piece in five.slices()][:2] == [
        "events-00.json.gz",
        "events-05.json.gz",
    ]
    assert Form(60, Compression.NONE).name(WHOLE) == "events.json"
    assert five.pattern == "events-*.json.gz"
    assert spans_of(["events-00.json.gz", "events-05.json.gz", "events-50.json", "notes.txt"]) == {
        "events-00.json.gz": Slice(0, 5),
        "events-05.json.gz": Slice(5, 10),
        "events-50.json": Slice(50, 60),
    }
    assert spans_of(["events.json"]) == {"events.json": WHOLE}


@pytest.mark.parametrize("minutes", [m for m in range(1, 60) if 60 % m == 0])
def test_however_few_slices_are_there_none_is_taken_for_shorter_than_it_is(minutes: int) -> None:
    form = Form(minutes, Compression.NONE)
    for piece in form.slices():
        assert spans_of([form.name(piece)])[form.name(piece)].contains(piece)
    assert list(spans_of(map(form.name, form.slices())).values()) == list(form.slices())


def test_compressed_bytes_depend_on_the_lines_alone() -> None:
    form = Form(5, Compression.GZIP)
    text = b"".join(b'{"event_id":"%d"}\n' % number for number in range(5000))
    data = form.encode(text)
    assert data == form.encode(text)
    assert data[:8] == bytes.fromhex("1f8b0800 00000000")  # no name and no time
    assert gzip.decompress(data) == lines_in("x.gz", data) == text
    assert first_lines_in("x.gz", data, 100) == b"".join(text.splitlines(True)[:5])


@pytest.mark.parametrize("minutes", [0, 7, 61, -5])
def test_a_length_that_does_not_fill_an_hour_is_refused(minutes: int) -> None:
    with pytest.raises(ValueError, match="don't fill an hour"):
        replace(STINGAR, slice_minutes=minutes)


def test_a_time_that_stands_in_never_tells_copies_apart(site: Site) -> None:
    """Copies of an event in one event hour have one time, whatever they were captured with."""
    own = (None, NOON + 5 * MINUTE, NOON + 26 * HOUR, NOON - 3000 * timedelta(days=1))
    arrived = (NOON + 6 * MINUTE, NOON + 3 * HOUR, NOON - 3000 * timedelta(days=1))
    number = 0
    for time in own:
        body = event(NOON) if time is None else event(time)
        body = b'{"sensor": "lab-1"}' if time is None else body
        for received in arrived:
            for hour in (0, 0, 2, 3):
                # No two captures have one name.
                start = NOON + hour * HOUR + (len(site.blobs) % 60) * MINUTE
                site.put([body], first=number, start=start, received=received)
            number += 1
    site.run()
    places = Counter((row["event_id"], row["@timestamp"][:13]) for row in site.events())
    assert len(places) >= number
    assert set(places.values()) == {1}
