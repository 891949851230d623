"""Windows: whatever happens, each sequence number is in one capture, and no name comes twice.

The log, the clock and the crashes are made up; the stores are real folders.
"""

import io
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stingar_dagster.capture.discovery import Landing
from stingar_dagster.capture.names import CaptureFormat
from stingar_dagster.capture.writer import CaptureRecord
from stingar_dagster.errors import (
    BrokerUnavailable,
    StoreUnavailable,
    UnknownFormat,
    UsageError,
)
from stingar_dagster.kafka.capturing import Capturer, Polled, TopicPartition
from stingar_dagster.kafka.openings import Openings
from stingar_dagster.kafka.partition import UNREADABLE, Landed
from stingar_dagster.kafka.windows import (
    Limits,
    Opening,
    is_usable,
    next_start,
    seconds_open,
)
from stingar_dagster.lake.lake import Lake
from stingar_dagster.resuming import positions
from stingar_dagster.settings import DEFAULT_CAPTURE_FORMAT
from stingar_dagster.storage import Store
from stingar_dagster.storage.local import LocalStore
from stingar_dagster.storage.overlay import OverlayStore
from stingar_dagster.streams import STINGAR
from stingar_dagster_tests.faulty_store import (
    DyingStore,
    FailingStore,
    ForgetfulStore,
    PassingStore,
    Stopped,
)
from stingar_dagster_tests.support import SOAK

NOW = datetime(2026, 11, 3, 12, 0, 0, tzinfo=UTC)
TOPIC = "stingar"
LIMITS = Limits(seconds=60, size=600)
SECOND = timedelta(seconds=1)


@dataclass
class FakeClock:
    """Both clocks of a machine; only the first one can be set."""

    time: datetime = NOW
    elapsed: float = 1000.0

    def now(self) -> datetime:
        return self.time

    def seconds(self) -> float:
        return self.elapsed

    def advance(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.elapsed += seconds

    def set(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@dataclass
class Log:
    """A topic: each partition's messages, of which the first may be gone."""

    messages: dict[int, list[CaptureRecord]] = field(default_factory=lambda: {0: []})
    low: dict[int, int] = field(default_factory=dict)

    def send(self, partition: int, milliseconds: int, body: bytes = b"x" * 40) -> None:
        log = self.messages.setdefault(partition, [])
        number = log[-1].sequence_number + 1 if log else 0
        log.append(
            CaptureRecord(
                number, str(number), NOW, b"%d %s" % (number, body),
                {"x-opt-enqueued-time": milliseconds},
            )
        )  # fmt: skip


class LogSource:
    """Reads a log as the client would, a few messages at a time."""

    def __init__(self, log: Log, most: int) -> None:
        self._log = log
        self._offsets: dict[int, int] = {}
        self.most = most

    def partitions(self) -> list[TopicPartition]:
        return [(TOPIC, number) for number in sorted(self._log.messages)]

    def bounds(self, place: TopicPartition) -> tuple[int, int]:
        log = self._log.messages[place[1]]
        return self._log.low.get(place[1], 0), log[-1].sequence_number + 1 if log else 0

    def read_from(self, place: TopicPartition, offset: int) -> None:
        self._offsets[place[1]] = offset

    def stop(self, place: TopicPartition) -> None:
        self._offsets.pop(place[1], None)

    def poll(self, seconds: float) -> Polled:
        polled = Polled()
        for partition, offset in self._offsets.items():
            low = self._log.low.get(partition, 0)
            log = [m for m in self._log.messages[partition] if m.sequence_number >= low]
            records = [m for m in log if m.sequence_number >= offset][: self.most]
            if records:
                polled.records[TOPIC, partition] = records
                self._offsets[partition] = records[-1].sequence_number + 1
            if not records or records[-1] is log[-1]:
                polled.ended.add((TOPIC, partition))
        return polled


@dataclass
class Notes:
    """What an operator was told."""

    lines: list[str] = field(default_factory=list)
    captures: list[Landed] = field(default_factory=list)

    def landed(self, capture: Landed) -> None:
        self.captures.append(capture)

    def note(self, line: str) -> None:
        self.lines.append(line)

    def status(self, read: int, windows: int, size: int) -> None:
        pass


@dataclass
class Place:
    """A landing folder, a lake, a log and a clock.

    Attributes:
        folder: of the first two; where `in_memory`, nothing is written there.
    """

    folder: Path
    in_memory: bool = False
    log: Log = field(default_factory=Log)
    clock: FakeClock = field(default_factory=FakeClock)
    notes: Notes = field(default_factory=Notes)
    limits: Limits = LIMITS

    def __post_init__(self) -> None:
        stores: list[Store] = []
        for name in ("landing", "lake"):
            local = LocalStore(self.folder / name, str(self.folder / name))
            stores.append(OverlayStore(local) if self.in_memory else local)
        self._landing, self._lake = stores

    @property
    def landing(self) -> Landing:
        return Landing(self._landing, CaptureFormat(DEFAULT_CAPTURE_FORMAT))

    def instance(
        self, store: Store | None = None, most: int = 3, lake_store: Store | None = None
    ) -> Capturer:
        """Another process that captures, just started; it reads so many messages at a time."""
        landing = self.landing
        if store is not None:
            landing.store = store
        lake = Lake(lake_store or self._lake, STINGAR)
        capturer = Capturer(
            LogSource(self.log, most), landing, lake, "local", self.limits, self.clock, self.notes
        )
        capturer.start()
        return capturer

    def drain(self) -> None:
        """A last instance captures what is there, and ends."""
        last = self.instance()
        for _ in range(2000):
            self.clock.advance(1)
            if last.step(until_idle=5):
                return
        raise AssertionError("it does not come to an end")

    def captured(self) -> dict[str, list[tuple[int, bytes]]]:
        """Number and body of every event, by capture."""
        found = {}
        for entry in self.landing.store.find(""):
            rows: Any = fastavro.reader(io.BytesIO(self.landing.store.read(entry.path)))
            found[entry.path] = [(row["SequenceNumber"], row["Body"]) for row in rows]
        return found

    def check(self, empty: bool = False) -> None:
        """Every message is in one capture, and captures are in the order of their names.

        Args:
            empty: whether there may be captures without events.
        """
        captured = self.captured()
        for partition, messages in self.log.messages.items():
            folder = f"local/{TOPIC}/{partition}/"
            found = [
                e for path in sorted(captured) if path.startswith(folder) for e in captured[path]
            ]
            assert found == [(m.sequence_number, m.body) for m in messages], partition
        assert empty or all(captured.values()), "a capture without events"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# ---- the rules


def test_a_window_is_named_by_the_clock_and_after_the_one_before() -> None:
    assert next_start(NOW + timedelta(milliseconds=900), None) == NOW
    assert next_start(NOW, NOW) == NOW + SECOND
    assert next_start(NOW, NOW + 5 * SECOND) == NOW + 6 * SECOND
    assert next_start(NOW, NOW - 5 * SECOND) == NOW


def test_an_opening_counts_for_its_own_first_message_only() -> None:
    opening = Opening(7, NOW)
    assert is_usable(opening, 7, NOW - SECOND, NOW, LIMITS)
    assert not is_usable(opening, 8, NOW - SECOND, NOW, LIMITS)
    assert not is_usable(opening, 7, NOW, NOW, LIMITS), "a capture of that name is there"


def test_an_opening_counts_until_five_minutes_after_its_time_was_over() -> None:
    opening = Opening(7, NOW)
    assert is_usable(opening, 7, None, NOW + 359 * SECOND, Limits(seconds=60))
    assert not is_usable(opening, 7, None, NOW + 360 * SECOND, Limits(seconds=60))


def test_of_two_who_open_a_window_at_once_one_does(tmp_path: Path) -> None:
    openings = Openings(LocalStore(tmp_path, str(tmp_path)), "one.json")
    _, before = openings.read()
    assert openings.replace(Opening(0, NOW), before)
    assert not openings.replace(Opening(0, NOW + SECOND), before)
    opening, version = openings.read()
    assert opening == Opening(0, NOW)
    assert openings.replace(Opening(5, NOW + SECOND), version)
    assert not openings.replace(Opening(6, NOW + SECOND), version)


def test_an_opening_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('{"format": 2, "first": 0, "start": 0}')
    with pytest.raises(UnknownFormat, match=r"one\.json was written by a newer release"):
        Openings(LocalStore(tmp_path, str(tmp_path)), "one.json").read()
    (tmp_path / "one.json").write_text("{}")
    with pytest.raises(UnknownFormat, match=r"one\.json is not what `stingar capture` writes"):
        Openings(LocalStore(tmp_path, str(tmp_path)), "one.json").read()


def test_a_window_taken_up_again_ends_when_it_would_have_or_a_little_later() -> None:
    assert seconds_open(Opening(0, NOW), NOW + 20 * SECOND, Limits(seconds=300)) == 280
    assert seconds_open(Opening(0, NOW), NOW + 900 * SECOND, Limits(seconds=300)) == 10
    assert seconds_open(Opening(0, NOW), NOW + 900 * SECOND, Limits(seconds=3)) == 3
    set_back = seconds_open(Opening(0, NOW), NOW - 3000 * SECOND, Limits(seconds=300))
    assert set_back == 300


# ---- what must hold

absurd = st.sampled_from([0, -(10**15), 4_102_444_800_000, 10**18, 1_700_000_000_000])
steps = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 1), absurd | st.integers(0, 2 * 10**12)),
    st.tuples(st.just("step"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("crash"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("sleep"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("wake"), st.integers(0, 1), st.just(0)),
    st.tuples(st.just("advance"), st.just(0), st.sampled_from([0, 1, 7, 61, 400])),
    st.tuples(st.just("set"), st.just(0), st.sampled_from([-40, -1, 30])),
)


@settings(
    max_examples=1000 if SOAK else 60, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(story=st.lists(steps, min_size=10, max_size=60), seed=st.integers(0, 99))
def test_each_message_is_in_one_capture_whatever_happens_to_two_instances(
    tmp_path_factory: pytest.TempPathFactory, story: list[tuple[str, int, int]], seed: int
) -> None:
    place = Place(tmp_path_factory.getbasetemp() / "nowhere", in_memory=True)
    place.log.messages[1] = []
    instances = [place.instance(most=1), place.instance(most=5)]
    asleep: list[Capturer] = []
    for turn, (what, which, number) in enumerate(story):
        if what == "send":
            for _ in range(4):
                place.log.send(which, number)
        elif what == "step":
            instances[which].step()
        elif what == "wake":
            for sleeper in asleep:
                sleeper.step()
        elif what in ("crash", "sleep"):
            if what == "sleep":
                asleep.append(instances[which])
            instances[which] = place.instance(_failing(place, seed + turn), most=1 + 4 * which)
        elif what == "advance":
            place.clock.advance(number)
        else:
            place.clock.set(number)
    place.drain()
    for sleeper in asleep:
        place.clock.advance(61)
        sleeper.step()
    place.check(empty=True)
    starts = [place.landing.format.parse(path).start for path in place.captured()]
    assert all(NOW - timedelta(hours=1) < start < NOW + timedelta(days=1) for start in starts)


def _failing(place: Place, seed: int) -> Store:
    """Landing that can't be reached now and then, also after the write was done."""
    return FailingWrites(place.landing.store, 0.3, seed)


class FailingWrites(FailingStore):
    """Only writes fail: an instance that can't read landing does not start."""

    def _call(self, call: str, *rest: object) -> object:
        if call != "write":
            return getattr(self._store, call)(*rest)
        return super()._call(call, *rest)


def test_a_restart_in_a_window_leads_to_the_same_captures(tmp_path: Path) -> None:
    told = []
    for name, crashes in (("one", False), ("two", True)):
        place = Place(tmp_path / name)
        instance = place.instance()
        for second in range(200):
            place.log.send(0, 0)
            instance.step()
            instance.step()
            place.clock.advance(1)
            if crashes and second in (3, 30, 31, 90):
                instance = place.instance()
                instance.step()
                instance.step()
        place.drain()
        place.check()
        told.append(place.captured())
    assert told[0] == told[1]


def test_two_instances_at_once_write_what_one_would(place: Place) -> None:
    both = [place.instance(), place.instance()]
    for turn in range(300):
        place.log.send(0, 0)
        both[turn % 2].step()
        both[turn % 2].step()
        place.clock.advance(0.5)
    place.drain()
    place.check()


def test_who_comes_second_with_a_window_goes_on_behind_the_first(place: Place) -> None:
    slow, fast = place.instance(most=2), place.instance(most=6)
    for _ in range(6):
        place.log.send(0, 0)
    fast.step()
    slow.step()
    place.clock.advance(60)
    # Its window is over with two messages in it, and the other's with six.
    slow._readings[TOPIC, 0].partition.close_if_due()
    for _ in range(3):
        fast.step()
    place.clock.advance(60)
    fast.step()
    assert [len(events) for _, events in sorted(place.captured().items())] == [2, 4]
    place.check()
    assert [line for line in place.notes.lines if "another instance captures it, too" in line]


def test_who_comes_too_late_for_a_window_opens_none(place: Place) -> None:
    late, first = place.instance(most=9), place.instance()
    for _ in range(3):
        place.log.send(0, 0)
    first.step()
    place.clock.advance(60)
    first.step()
    place.log.send(0, 0)
    first.step()
    assert not late.step(until_idle=0), "it has to read landing, and on from there"
    for _ in range(6):
        late.step()
        place.clock.advance(20)
        late.step()
    place.drain()
    place.check()


def test_where_landing_lost_its_last_captures_they_are_captured_again(place: Place) -> None:
    for _ in range(2):
        place.log.send(0, 0)
        place.drain()
    place.log.send(0, 0)
    place.instance().step()
    place.landing.store.remove(sorted(place.captured())[-1])
    place.drain()
    # The window that was open is closed empty: somebody may still hold it.
    place.check(empty=True)


# ---- a window that was open for too long


def test_a_window_that_is_too_old_is_closed_empty_and_its_events_come_under_a_name_of_now(
    place: Place,
) -> None:
    place.log.send(0, 0)
    place.instance().step()
    place.clock.advance(2 * 86_400)
    place.log.send(0, 0)
    place.drain()
    place.check(empty=True)
    old, new = sorted(place.captured())
    assert place.landing.format.parse(old).start == NOW
    assert place.captured()[old] == []
    assert place.landing.format.parse(new).start == NOW + timedelta(days=2, seconds=1)
    assert place.notes.lines == [], "no number is missing"


def test_who_held_a_window_while_it_became_too_old_can_not_write_it(place: Place) -> None:
    sleeper = place.instance(most=9)
    place.log.send(0, 0)
    sleeper.step()
    # Its machine is paused: of its two clocks only one goes on.
    place.clock.set(2 * 86_400)
    for _ in range(3):
        place.log.send(0, 0)
    other = place.instance(most=9)
    other.step()
    sleeper.step()
    place.clock.advance(61)
    sleeper.step()
    other.step()
    for _ in range(3):
        place.clock.advance(61)
        sleeper.step()
        other.step()
    place.check(empty=True)


def test_who_wakes_up_with_an_old_window_adds_nothing_to_it(place: Place) -> None:
    instance = place.instance(most=9)
    place.log.send(0, 0)
    instance.step()
    place.clock.set(2 * 86_400)
    place.log.send(0, 0)
    instance.step()
    place.clock.advance(61)
    instance.step()
    place.check()
    (_, first), (_, second) = sorted(place.captured().items())
    assert (len(first), len(second)) == (1, 1)


@pytest.mark.parametrize("changes", range(4))
@pytest.mark.parametrize("dying", ["landing", "lake"])
def test_killed_between_any_two_steps_of_replacing_an_old_window(
    place: Place, changes: int, dying: str
) -> None:
    for _ in range(3):
        place.log.send(0, 0)
    sleeper = place.instance(most=2)
    sleeper.step()
    place.clock.advance(2 * 86_400)
    store = DyingStore(place.folder / dying, changes)
    doomed = place.instance(store) if dying == "landing" else place.instance(lake_store=store)
    try:
        for _ in range(3):
            doomed.step()
            place.clock.advance(61)
    except Stopped:
        pass
    else:
        assert changes > 0, "it was not killed"
    both = [sleeper, place.instance()]
    for turn in range(8):
        both[turn % 2].step()
        place.clock.advance(31)
    place.drain()
    place.check(empty=True)
    empty = [events for events in place.captured().values() if not events]
    # Killed before it changed anything, it leaves the name to who holds the window.
    assert len(empty) == (0 if (dying, changes) == ("landing", 0) else 1)


def test_two_that_replace_an_old_window_at_once_do_it_once(place: Place) -> None:
    place.log.send(0, 0)
    place.instance().step()
    place.clock.advance(2 * 86_400)
    other = place.instance()
    store = Interrupting(place.landing.store, other.step)
    one = place.instance(store)
    for _ in range(4):
        one.step()
        other.step()
        place.clock.advance(31)
    place.drain()
    place.check(empty=True)
    assert len(place.captured()) == 2


class Interrupting(PassingStore):
    """Something else is done just before the first write."""

    def __init__(self, store: Store, meanwhile: Callable[[], object]) -> None:
        super().__init__(store)
        self._meanwhile: Callable[[], object] | None = meanwhile

    def _call(self, call: str, *rest: Any) -> Any:
        meanwhile = self._meanwhile
        if call == "write" and meanwhile is not None:
            self._meanwhile = None
            meanwhile()
        return super()._call(call, *rest)


# ---- clocks


def test_a_window_of_a_clock_that_was_ahead_is_refused_with_a_line(place: Place) -> None:
    place.clock.set(7200)
    place.log.send(0, 0)
    ahead = place.instance(most=9)
    ahead.step()
    place.clock.set(-7200)
    with pytest.raises(
        UsageError, match=r"local/stingar/0: the window that is open is named .*14:00:00 UTC, and "
    ) as refused:
        place.instance().step()
    # What the line says does no harm, also where it is done while one is still at work.
    Path(str(refused.value).split()[-1]).unlink()
    right = place.instance(most=9)
    for _ in range(4):
        right.step()
        place.clock.advance(61)
        ahead.step()
    place.check()


def test_a_clock_that_is_set_back_is_told_once_and_waited_for(place: Place) -> None:
    place.log.send(0, 0)
    place.drain()
    place.log.send(0, 0)
    place.clock.set(-3000)
    instance = place.instance()
    source = Counting(place.log, 3)
    instance._source = source
    for _ in range(100):
        instance.step()
        place.clock.advance(20)
    (told,) = place.notes.lines
    assert "the clock was set back behind the name of the last capture" in told
    assert source.reads == 0, "it reads again and again"
    place.clock.set(1000)
    for _ in range(5):
        instance.step()
        place.clock.advance(61)
    place.check()


class Counting(LogSource):
    """Counts how often reading is started.

    Attributes:
        reads: so often.
    """

    def __init__(self, log: Log, most: int) -> None:
        super().__init__(log, most)
        self._offsets = {0: 0}
        self.reads = 0

    def read_from(self, place: TopicPartition, offset: int) -> None:
        self.reads += 1
        super().read_from(place, offset)


def test_an_idle_partition_is_written_when_its_time_is_over(place: Place) -> None:
    instance = place.instance()
    place.log.send(0, 0)
    instance.step()
    place.clock.advance(59)
    instance.step()
    assert not place.captured()
    place.clock.advance(1)
    instance.step()
    assert [len(events) for events in place.captured().values()] == [1]
    for _ in range(10):
        place.clock.advance(60)
        instance.step()
    assert len(place.captured()) == 1, "an empty window was written"


def test_a_window_is_written_when_it_is_full(place: Place) -> None:
    instance = place.instance()
    for _ in range(50):
        place.log.send(0, 0)
    for _ in range(40):
        instance.step()
    assert len(place.captured()) > 5
    assert {capture.size < 2 * LIMITS.size for capture in place.notes.captures} == {True}
    assert {len(events) for events in place.captured().values()} == {
        len(next(iter(place.captured().values())))
    }


def test_names_wait_for_the_clock_instead_of_running_into_the_future(place: Place) -> None:
    instance = place.instance()
    for _ in range(800):
        place.log.send(0, 0)
    for _ in range(400):
        instance.step()
    newest = max(place.landing.format.parse(path).start for path in place.captured())
    assert newest <= NOW + timedelta(minutes=1)
    assert newest > NOW + timedelta(seconds=30), "nothing to wait for"
    place.drain()
    place.check()


def test_a_capture_named_by_a_clock_that_was_wrong_is_refused_with_a_line(place: Place) -> None:
    place.clock.set(400 * 86_400)
    place.log.send(0, 0)
    place.drain()
    place.clock.set(-400 * 86_400)
    place.log.send(0, 0)
    with pytest.raises(
        UsageError, match=r"local/stingar/0: its last capture is named 2027-12-08.*set the clock"
    ):
        place.drain()


def test_a_message_that_can_not_be_written_as_it_is_keeps_its_number_and_its_body(
    place: Place,
) -> None:
    place.log.send(0, 1 << 70)
    place.log.send(0, 0)
    place.drain()
    place.check()
    (path,) = place.captured()
    rows: Any = list(fastavro.reader(io.BytesIO(place.landing.store.read(path))))
    assert [list(row["Properties"]) for row in rows] == [[UNREADABLE], []]
    assert "does not fit in 64 bits" in rows[0]["Properties"][UNREADABLE]


# ---- where to go on


def test_without_the_lake_landing_tells_where_to_go_on(place: Place) -> None:
    for _ in range(3):
        place.log.send(0, 0)
        place.drain()
        for path in (place.folder / "lake").rglob("*.json"):
            path.unlink()
    place.check()


def test_a_topic_that_was_made_again_is_refused_also_when_it_has_grown_longer(
    place: Place,
) -> None:
    for _ in range(5):
        place.log.send(0, 0, b"old")
    place.drain()
    before = place.captured()
    place.log.messages[0] = []
    place.log.send(0, 0, b"new")
    with pytest.raises(UsageError, match="captured up to message 4, but the topic ends before"):
        place.drain()
    for _ in range(20):
        place.log.send(0, 0, b"new")
    with pytest.raises(UsageError, match="message 4 is not the one that was captured"):
        place.drain()
    assert place.captured() == before


def test_messages_that_went_before_they_were_captured_are_told_in_one_line(place: Place) -> None:
    for _ in range(5):
        place.log.send(0, 0)
    place.drain()
    for _ in range(10):
        place.log.send(0, 0)
    place.log.low[0] = 9
    place.drain()
    (loud,) = [line for line in place.notes.lines if "LOST" in line]
    assert "local/stingar/0: MESSAGES ARE LOST: 5 to 8 went out of the topic" in loud
    numbers = [number for events in place.captured().values() for number, _ in events]
    assert sorted(numbers) == [*range(5), *range(9, 15)]


def test_numbers_that_no_message_has_are_counted(place: Place) -> None:
    for _ in range(10):
        place.log.send(0, 0)
    del place.log.messages[0][3:6]
    place.drain()
    assert [line for line in place.notes.lines if "3 numbers up to 9 are missing" in line]


def test_the_first_capture_of_an_old_topic_misses_nothing(place: Place) -> None:
    for _ in range(10):
        place.log.send(0, 0)
    place.log.low[0] = 4
    place.drain()
    assert place.notes.lines == []


def test_a_new_partition_is_read_while_running(place: Place) -> None:
    instance = place.instance()
    place.log.send(1, 0)
    for _ in range(5):
        place.clock.advance(60)
        instance.step()
    place.check()
    assert Counter(path.split("/")[2] for path in place.captured()) == {"1": 1}


# ---- landing is away


class AwayStore(FailingStore):
    """Can't be written while it is away."""

    away = False

    def _call(self, call: str, *rest: object) -> object:
        if self.away and call == "write":
            raise StoreUnavailable("landing is away")
        return getattr(self._store, call)(*rest)


def test_while_landing_is_away_no_more_is_held_than_the_open_windows(place: Place) -> None:
    store = AwayStore(place.landing.store, 0, 0)
    instance = place.instance(store)
    store.away = True
    for _ in range(500):
        place.log.send(0, 0)
    for _ in range(200):
        place.clock.advance(1)
        instance.step()
    assert instance._patience() > 0, "it looks without a pause"
    (reading,) = instance._readings.values()
    assert reading.partition.size < LIMITS.size + 200
    assert len(place.notes.lines) == 1, "an outage is told once"
    assert "landing is away" in place.notes.lines[0]
    store.away = False
    place.drain()
    place.check()


@pytest.mark.parametrize("retried", [False, True])
def test_a_capture_whose_answer_was_lost_is_known_as_ours(place: Place, retried: bool) -> None:
    for _ in range(3):
        place.log.send(0, 0)
    del place.log.messages[0][1]
    store = ForgetfulStore(place.folder / "landing", 0, retried)
    instance = place.instance(store)
    for _ in range(4):
        instance.step()
        place.clock.advance(61)
    assert store.left < 0, "nothing was written"
    place.check()
    assert [capture.events for capture in place.notes.captures] == [2]
    assert [line for line in place.notes.lines if "1 numbers up to 2 are missing" in line]
    assert not [line for line in place.notes.lines if "another instance" in line]


# ---- the broker is not well


class Hiccup(LogSource):
    """Fails once for each of some partitions, and cuts out what can't be read.

    Attributes:
        unanswered: partitions whose bounds are not told the next time.
        hidden: the topic is not shown.
        unreadable: offsets that can't be read, and what comes after them in the same look can.
    """

    def __init__(self, log: Log, most: int) -> None:
        super().__init__(log, most)
        self.unanswered: set[int] = set()
        self.hidden = False
        self.unreadable: set[int] = set()

    def partitions(self) -> list[TopicPartition]:
        if self.hidden:
            raise BrokerUnavailable("no such topic")
        return super().partitions()

    def bounds(self, place: TopicPartition) -> tuple[int, int]:
        if place[1] in self.unanswered:
            self.unanswered.remove(place[1])
            raise BrokerUnavailable("a hiccup")
        return super().bounds(place)

    def poll(self, seconds: float) -> Polled:
        polled = super().poll(seconds)
        for place, records in polled.records.items():
            bad = [at for at, r in enumerate(records) if r.sequence_number in self.unreadable]
            if bad:
                polled.records[place] = records[: bad[0]]
                polled.faults[place] = "a message can't be read"
                polled.ended.discard(place)
        return polled


def test_a_partition_that_is_added_while_the_broker_hiccups_is_read(place: Place) -> None:
    instance = place.instance()
    source = Hiccup(place.log, 3)
    instance._source = source
    place.log.send(1, 0)
    source.unanswered = {1}
    for _ in range(10):
        place.clock.advance(30)
        instance.step()
    place.check()
    assert not source.unanswered
    assert [line for line in place.notes.lines if "local/stingar/1: a hiccup" in line]


def test_a_topic_that_is_missing_for_a_while_is_told_once(place: Place) -> None:
    instance = place.instance()
    source = Hiccup(place.log, 3)
    instance._source = source
    source.read_from((TOPIC, 0), 0)
    source.hidden = True
    for _ in range(10):
        place.log.send(0, 0)
        place.clock.advance(30)
        instance.step()
    assert place.notes.lines == ["no such topic; it is tried again until it works"]
    source.hidden = False
    place.log.send(1, 0)
    for _ in range(10):
        place.clock.advance(30)
        instance.step()
    place.check()


def test_what_can_not_be_read_is_told_once_and_never_passed_over(place: Place) -> None:
    instance = place.instance()
    source = Hiccup(place.log, 3)
    instance._source = source
    source.unreadable = {4}
    source.read_from((TOPIC, 0), 0)
    for _ in range(8):
        place.log.send(0, 0)
    for _ in range(20):
        place.clock.advance(5)
        instance.step()
    numbers = [number for events in place.captured().values() for number, _ in events]
    assert sorted(numbers) == [0, 1, 2, 3]
    assert place.notes.lines == [
        "local/stingar/0: a message can't be read; it is tried again until it works"
    ]
    source.unreadable = set()
    for _ in range(10):
        place.clock.advance(30)
        instance.step()
    place.check()


def test_a_topic_that_was_made_again_while_it_is_captured_is_refused(place: Place) -> None:
    for _ in range(2):
        place.log.send(0, 0, b"old")
    instance = place.instance(most=9)
    instance.step()
    place.log.messages[0] = []
    for _ in range(20):
        place.log.send(0, 0, b"new")
    instance._start_reading((TOPIC, 0))
    with pytest.raises(UsageError, match="message 1 is not the one that was captured"):
        instance.step()


def test_landing_is_read_for_the_partition_that_is_asked_for_alone(place: Place) -> None:
    for partition in range(4):
        place.log.send(partition, 0)
    place.drain()
    read: list[str] = []
    landing = place.landing
    landing.store = Reads(landing.store, read)
    found = positions(landing, "local", TOPIC, list, [2])
    assert {number: position.next for number, position in found.items()} == {2: 1}
    assert [path.split("/")[2] for path in read] == ["2"]


class Reads(PassingStore):
    """Keeps what was read."""

    def __init__(self, store: Store, read: list[str]) -> None:
        super().__init__(store)
        self._read = read

    def _call(self, call: str, *rest: Any) -> Any:
        if call == "read":
            self._read.append(rest[0])
        return super()._call(call, *rest)
