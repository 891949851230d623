"""Landing is listed by hour: everything of the hour is found, and nothing else is looked at."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stingar_dagster.capture.discovery import Landing
from stingar_dagster.capture.names import CaptureFormat
from stingar_dagster.errors import CaptureNameError
from stingar_dagster.settings import DEFAULT_CAPTURE_FORMAT
from stingar_dagster.storage.local import LocalStore
from stingar_dagster_tests.support import HOUR, MINUTE, NOON, RecordingStore

LAYOUTS = {
    "partition first": DEFAULT_CAPTURE_FORMAT,
    "date first": (
        "{Year}/{Month}/{Day}/{Hour}/{Namespace}/{EventHub}/{PartitionId}/{Minute}/{Second}"
    ),
    "hive": (
        "{Namespace}/{EventHub}/date={Year}-{Month}-{Day}/hour={Hour}/{PartitionId}-{Minute}-{Second}"
    ),
    "hour in the file name": (
        "{Namespace}/{EventHub}/{Year}/{Month}/{Day}/{PartitionId}_{Hour}{Minute}{Second}"
    ),
    "day first": (
        "raw/{Day}/{Month}/{Year}/{Namespace}-{EventHub}/{PartitionId}/{Hour}/{Minute}/{Second}"
    ),
    "all in the file name": (
        "{Namespace}.{EventHub}.{PartitionId}.{Year}{Month}{Day}T{Hour}{Minute}{Second}"
    ),
    "minute before hour": (
        "{Namespace}/{EventHub}/{Minute}/{Second}/{PartitionId}/{Year}/{Month}/{Day}/{Hour}"
    ),
}


@pytest.fixture(params=LAYOUTS.values(), ids=list(LAYOUTS))
def landing(request: pytest.FixtureRequest, tmp_path: Path) -> Landing:
    return Landing(RecordingStore(tmp_path), CaptureFormat(request.param))


@pytest.fixture
def usual(tmp_path: Path) -> Landing:
    return Landing(RecordingStore(tmp_path), CaptureFormat(DEFAULT_CAPTURE_FORMAT))


def put(landing: Landing, start: datetime, partition: int = 0, hub: str = "hub") -> str:
    path = landing.format.path("ns", hub, partition, start)
    landing.store.write(path, b"x")
    return path


def asked(landing: Landing) -> list[str]:
    """What the store was asked for since it was last told."""
    assert isinstance(landing.store, RecordingStore)
    folders, landing.store.asked = landing.store.asked, []
    return folders


def paths(landing: Landing, since: datetime, until: datetime) -> list[str]:
    return [capture.name.path for capture in landing.between(since, until).captures]


def test_an_hour_has_all_its_captures_and_no_others(landing: Landing) -> None:
    wanted = [
        put(landing, NOON + minute * MINUTE, partition, hub)
        for minute in (0, 17, 59)
        for partition in (0, 1, 11)
        for hub in ("hub", "other")
    ]
    wanted.append(put(landing, NOON + timedelta(minutes=59, seconds=59)))
    for elsewhere in (-1 * MINUTE, HOUR, 24 * HOUR, -24 * HOUR, timedelta(days=365)):
        put(landing, NOON + elsewhere)
    assert [capture.name.path for capture in landing.hour(NOON)] == sorted(wanted)


def test_listings_of_any_range_find_what_starts_in_it(landing: Landing) -> None:
    hours = (0, 1, 5, 26, 70, 100, 800, 9000, 40000)
    starts = [NOON + number * HOUR for number in hours]
    for start in starts:
        put(landing, start)
    for first in (0, 3, 6):
        for last in (4, 7, 9):
            since, until = starts[first], starts[last - 1] + HOUR
            found = [c.name.start for c in landing.between(since, until).captures]
            assert sorted(found) == starts[first:last]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    layout=st.sampled_from(sorted(LAYOUTS.values())),
    numbers=st.sets(st.integers(0, 3000), min_size=1, max_size=8),
    first=st.integers(0, 3000),
    length=st.integers(1, 2000),
)
def test_a_listing_equals_a_look_at_everything(
    tmp_path_factory: pytest.TempPathFactory,
    layout: str,
    numbers: set[int],
    first: int,
    length: int,
) -> None:
    folder = tmp_path_factory.mktemp("landing")
    landing = Landing(LocalStore(folder, str(folder)), CaptureFormat(layout))
    for number in numbers:
        put(landing, NOON + number * HOUR + number % 60 * MINUTE)
    since, until = NOON + first * HOUR, NOON + (first + length) * HOUR
    everything = [landing.format.parse(entry.path) for entry in landing.store.find("")]
    expected = sorted(name.path for name in everything if since <= name.start < until)
    assert paths(landing, since, until) == expected


def test_an_hours_listing_touches_that_hours_folders_only(usual: Landing) -> None:
    for hours in range(0, 20 * 24, 4):
        for partition in (0, 1):
            put(usual, NOON + hours * HOUR, partition)
    asked(usual)
    usual.hour(NOON + timedelta(days=7))
    hour = "2026/11/10/12"
    assert asked(usual) == ["", "ns", "ns/hub", f"ns/hub/0/{hour}", f"ns/hub/1/{hour}"]


def test_an_hours_listing_needs_one_request_where_the_date_comes_first(tmp_path: Path) -> None:
    landing = Landing(RecordingStore(tmp_path), CaptureFormat(LAYOUTS["date first"]))
    for hour in range(50):
        put(landing, NOON + hour * HOUR)
    asked(landing)
    landing.hour(NOON)
    assert asked(landing) == ["2026/11/03/12"]


def test_a_few_hours_over_midnight_touch_their_days_only(tmp_path: Path) -> None:
    landing = Landing(RecordingStore(tmp_path), CaptureFormat(LAYOUTS["date first"]))
    for hour in range(100):
        put(landing, NOON + hour * HOUR)
    asked(landing)
    midnight = datetime(2026, 11, 4, tzinfo=UTC)
    assert len(paths(landing, midnight - HOUR, midnight + HOUR)) == 2
    assert set(asked(landing)) == {"2026/11/03/23", "2026/11/04/00"}


def test_nothing_is_remembered_so_late_and_out_of_order_captures_are_found(
    usual: Landing,
) -> None:
    put(usual, NOON + 30 * MINUTE)
    assert len(usual.hour(NOON)) == 1
    put(usual, NOON + 10 * MINUTE)
    put(usual, NOON + 40 * MINUTE, partition=9)
    assert [capture.name.start.minute for capture in usual.hour(NOON)] == [10, 30, 40]


def test_a_replaced_capture_has_another_version(usual: Landing) -> None:
    path = put(usual, NOON)
    (before,) = usual.hour(NOON)
    usual.store.write(path, b"y")
    (after,) = usual.hour(NOON)
    assert (before.name, before.size) == (after.name, after.size)
    assert before.etag != after.etag


def test_other_files_are_passed_over_and_strangers_are_reported(usual: Landing) -> None:
    good = put(usual, NOON)
    for path in (
        "readme.txt",
        "ns/hub/0/2026/11/03/12/00/00.json",
        "ns/hub/0/2026/11/03/12/_SUCCESS",
    ):
        usual.store.write(path, b"")
    strangers = [
        "ns/hub/0/2026/11/03/12/00/extra/00.avro",
        "ns/hub/0/2026/11/03/12/copy.avro",
        "ns/hub/0/2026/11/03/12/77/00.avro",
        "ns/hub/copy.avro",
    ]
    for path in strangers:
        usual.store.write(path, b"")
    listing = usual.between(NOON, NOON + HOUR)
    assert [capture.name.path for capture in listing.captures] == [good]
    told = " ".join(map(str, listing.strangers))
    assert len(listing.strangers) == len(strangers)
    assert all(repr(path) in told for path in strangers)


def test_a_wrong_format_is_not_taken_for_no_traffic(tmp_path: Path) -> None:
    written = Landing(LocalStore(tmp_path, "x"), CaptureFormat(LAYOUTS["date first"]))
    put(written, NOON)
    read = Landing(LocalStore(tmp_path, "x"), CaptureFormat(DEFAULT_CAPTURE_FORMAT))
    with pytest.raises(CaptureNameError, match="set STINGAR_CAPTURE_FORMAT"):
        read.check_format()
    written.check_format()


def test_no_captures_at_all_is_no_wrong_format(usual: Landing) -> None:
    usual.check_format()
    usual.store.write("notes/readme.txt", b"")
    usual.check_format()


def test_the_first_hour_is_the_oldest_capture_that_counts(landing: Landing) -> None:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    old = datetime(2021, 12, 31, 23, tzinfo=UTC)
    assert landing.first_hour(datetime(2020, 1, 1, tzinfo=UTC)) is None
    for start in (now - HOUR, old + 30 * MINUTE, datetime(2022, 5, 19, 17, tzinfo=UTC)):
        put(landing, start)
    assert landing.first_hour(datetime(2020, 1, 1, tzinfo=UTC)) == old
    assert landing.first_hour(old) == old
    assert landing.first_hour(old + HOUR) == datetime(2022, 5, 19, 17, tzinfo=UTC)
    assert landing.first_hour(datetime(2022, 6, 1, tzinfo=UTC)) == now - HOUR


@pytest.mark.parametrize("year", ["9999", "0000"])
def test_a_folder_that_looks_like_a_year_stops_nothing(usual: Landing, year: str) -> None:
    put(usual, NOON)
    put(usual, NOON, partition=1)
    usual.store.write(f"ns/hub/0/{year}/12/31/23/59/59.avro", b"")
    assert usual.first_hour(datetime(2020, 1, 1, tzinfo=UTC)) in (NOON, None)
    since, until = datetime(1970, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)
    assert len(paths(usual, since, until)) == 2


def test_files_that_lie_about_do_not_slow_the_search_for_the_first_hour(usual: Landing) -> None:
    """Each stranger once led down every level, so that a dozen took for ever."""
    start = datetime(2022, 5, 19, 17, tzinfo=UTC)
    put(usual, start)
    for number in range(12):
        usual.store.write(f"ns/hub/0/2022/copy-{number}.avro", b"")
        usual.store.write(f"ns/hub/0/copy-{number}.avro", b"")
    asked(usual)
    assert usual.first_hour(datetime(2020, 1, 1, tzinfo=UTC)) == start
    assert len(asked(usual)) < 60
