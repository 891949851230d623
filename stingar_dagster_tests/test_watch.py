"""Looks at landing are cheap, and nothing that lands is missed for long."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stingar_dagster.capture.discovery import Landing
from stingar_dagster.capture.names import CaptureFormat
from stingar_dagster.settings import DEFAULT_CAPTURE_FORMAT
from stingar_dagster.watch import (
    LAGGING_EVERY,
    LISTING_EVERY,
    RECONCILE_EVERY,
    STRIDE,
    Marks,
    look,
    look_where_told,
)
from stingar_dagster_tests.support import HOUR, MINUTE, RecordingStore

START = datetime(2020, 1, 1, tzinfo=UTC)
NOW = datetime.now(UTC).replace(minute=20, second=0, microsecond=0)
"""The present: the first hour in landing is only looked for up to it."""
THIS_HOUR = NOW.replace(minute=0)
LOOKBACK = 2 * HOUR


class Watcher:
    """Looks again and again, as a sensor does."""

    def __init__(self, folder: Path, lookback: timedelta = LOOKBACK) -> None:
        self.store = RecordingStore(folder)
        self.landing = Landing(self.store, CaptureFormat(DEFAULT_CAPTURE_FORMAT))
        self.marks = Marks()
        self.lookback = lookback

    def put(self, start: datetime, partition: int = 0) -> str:
        path = self.landing.format.path("ns", "hub", partition, start)
        self.store.write(path, b"x")
        return path

    def look(self, now: datetime = NOW) -> set[str]:
        self.store.asked = []
        found, self.marks = look(self.landing, self.marks, START, self.lookback, now)
        return {capture.name.path for capture in found.captures}

    def catch_up(self, now: datetime = NOW) -> int:
        """Look until the present is reached; returns how many looks it took."""
        for looks in range(1, 100):
            self.look(now)
            if self.marks.looked_until is not None and self.marks.looked_until >= THIS_HOUR:
                return looks
        raise AssertionError("the present is never reached")


@pytest.fixture
def watcher(tmp_path: Path) -> Watcher:
    return Watcher(tmp_path)


def test_an_empty_landing_folder_gives_nothing_until_something_lands(watcher: Watcher) -> None:
    assert watcher.look() == set()
    assert watcher.marks.looked_until is None
    path = watcher.put(NOW - 10 * MINUTE)
    assert watcher.look(NOW + MINUTE) == {path}


def test_what_lands_now_is_found_by_the_next_look(watcher: Watcher) -> None:
    watcher.put(NOW - HOUR)
    watcher.catch_up()
    for minute in range(5):
        path = watcher.put(NOW + minute * MINUTE, partition=minute)
        assert path in watcher.look(NOW + minute * MINUTE)


def test_a_capture_named_a_little_ahead_of_the_clock_is_found(watcher: Watcher) -> None:
    watcher.put(NOW)
    watcher.catch_up()
    path = watcher.put(THIS_HOUR + HOUR + MINUTE)
    assert path in watcher.look()


@pytest.mark.parametrize("lookback", [2 * HOUR, STRIDE, 3 * STRIDE])
def test_a_filled_folder_is_looked_at_in_strides_and_completely(
    tmp_path: Path, lookback: timedelta
) -> None:
    watcher = Watcher(tmp_path, lookback)
    expected = {watcher.put(NOW - timedelta(days=days, hours=days)) for days in range(40)}
    found: set[str] = set()
    looks = 0
    while watcher.marks.looked_until is None or watcher.marks.looked_until < THIS_HOUR:
        at_once = watcher.look()
        assert len(at_once) <= (STRIDE + lookback) / timedelta(days=1) + 1
        found |= at_once
        looks += 1
        assert looks < 12
    assert found == expected
    assert looks >= 40 * 25 / 24 // 7


def test_a_later_look_lists_the_last_hours_only(watcher: Watcher) -> None:
    for days in range(20):
        watcher.put(NOW - timedelta(days=days))
    watcher.catch_up()
    watcher.look(NOW + MINUTE)
    day = f"ns/hub/0/{NOW - timedelta(days=2):%Y/%m/%d}"
    assert not [folder for folder in watcher.store.asked if folder.startswith(day)]
    assert len(watcher.store.asked) < 12


def test_a_partition_that_lags_is_found_by_the_wider_look(watcher: Watcher) -> None:
    watcher.put(NOW, partition=0)
    watcher.put(NOW - 20 * HOUR, partition=1)
    watcher.catch_up()
    lagging = watcher.put(NOW - 19 * HOUR, partition=1)
    assert lagging not in watcher.look(NOW + MINUTE)
    assert lagging in watcher.look(NOW + LAGGING_EVERY)


def test_a_capture_that_lands_under_an_old_name_is_found_by_the_reconcile(
    watcher: Watcher,
) -> None:
    for partition in range(2):
        watcher.put(NOW, partition=partition)
    watcher.catch_up()
    late = watcher.put(NOW - timedelta(days=6))
    assert late not in watcher.look(NOW + LAGGING_EVERY)
    assert late in watcher.look(NOW + RECONCILE_EVERY)
    assert late not in watcher.look(NOW + RECONCILE_EVERY + MINUTE)


def test_nothing_before_the_first_partition_is_looked_at(tmp_path: Path) -> None:
    watcher = Watcher(tmp_path)
    old = watcher.put(NOW - timedelta(days=3))
    new = watcher.put(NOW)
    found, _ = look(watcher.landing, Marks(), THIS_HOUR - HOUR, LOOKBACK, NOW)
    assert {capture.name.path for capture in found.captures} == {new}
    assert old != new


def test_hours_that_are_not_done_are_looked_at_again_however_old(watcher: Watcher) -> None:
    open_hour = THIS_HOUR - timedelta(days=30)
    first = watcher.put(open_hour)
    watcher.put(NOW)
    watcher.catch_up()
    assert first not in watcher.look(NOW + MINUTE)
    watcher.marks.open_hours = [open_hour]
    assert first in watcher.look(NOW + 2 * MINUTE)


def test_marks_of_the_last_look_are_not_changed_by_the_next(watcher: Watcher) -> None:
    watcher.put(NOW)
    watcher.catch_up()
    before = watcher.marks
    sources = dict(before.sources)
    watcher.put(NOW, partition=7)
    watcher.look(NOW + MINUTE)
    assert before.sources == sources
    assert "ns/hub/7" in watcher.marks.sources


def test_after_a_long_pause_nothing_in_between_is_missed(watcher: Watcher) -> None:
    watcher.put(NOW - timedelta(days=30))
    found = watcher.look(NOW - timedelta(days=30))
    watcher.look(NOW - timedelta(days=30))
    missed = {watcher.put(NOW - timedelta(days=days)) for days in range(30)}
    for _ in range(8):
        found |= watcher.look()
    assert missed <= found


# ---- where notices come


def look_where_told_of(watcher: Watcher, now: datetime) -> set[str] | None:
    watcher.store.asked = []
    looked = look_where_told(watcher.landing, watcher.marks, now)
    if looked is None:
        return None
    found, watcher.marks = looked
    return {capture.name.path for capture in found.captures}


def test_only_open_hours_are_listed_for_a_minute_after_a_look(watcher: Watcher) -> None:
    watcher.put(NOW - 10 * MINUTE)
    watcher.catch_up()
    old = watcher.put(NOW - 200 * HOUR, partition=1)
    watcher.put(NOW, partition=2)
    assert look_where_told_of(watcher, NOW + timedelta(seconds=5)) == set()
    assert watcher.store.asked == []
    watcher.marks.open_hours = [(NOW - 200 * HOUR).replace(minute=0)]
    assert look_where_told_of(watcher, NOW + timedelta(seconds=59)) == {old}


@pytest.mark.parametrize("later", [LISTING_EVERY, HOUR, -MINUTE, -HOUR])
def test_a_look_is_due_after_a_minute_and_where_the_clock_was_set_back(
    watcher: Watcher, later: timedelta
) -> None:
    watcher.put(NOW - 10 * MINUTE)
    watcher.catch_up()
    assert look_where_told_of(watcher, NOW + later) is None


def test_a_look_is_due_at_a_new_hour_and_before_landing_was_seen_once(watcher: Watcher) -> None:
    assert look_where_told_of(watcher, NOW) is None
    watcher.put(NOW - 10 * MINUTE)
    end = THIS_HOUR + HOUR
    watcher.catch_up(end - timedelta(seconds=1))
    assert look_where_told_of(watcher, end - timedelta(seconds=1)) is not None
    assert look_where_told_of(watcher, end) is None
