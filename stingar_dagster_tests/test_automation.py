"""What to ask for now: pending work once, failed work again with growing waits, never both."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from stingar_dagster.automation import (
    FIRST_WAIT_SECONDS,
    HOURS_A_RUN,
    LONGEST_WAIT_SECONDS,
    SINGLE_RUNS,
    Asked,
    due,
    ranges,
    wait_seconds,
)

HOUR = timedelta(hours=1)
NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)
MANY = 100


def test_what_is_pending_is_asked_for_oldest_first() -> None:
    pending = {NOON + HOUR: "b", NOON: "a"}
    assert due(pending, {}, [], 0, MANY).due == [NOON, NOON + HOUR]


def test_nothing_is_asked_for_while_it_is_under_way() -> None:
    first = due({NOON: "a"}, {}, [], 0, MANY)
    later = due({NOON: "a"}, first.asked, [NOON], 10**6, MANY)
    assert later.due == []
    assert later.asked == first.asked
    changed = due({NOON: "changed"}, later.asked, [NOON], 10**6, MANY)
    assert changed.due == []


def test_a_run_that_someone_else_started_is_waited_for() -> None:
    assert due({NOON: "a"}, {}, [NOON], 0, MANY).due == []


def test_what_stays_pending_is_asked_for_again_with_growing_waits() -> None:
    asked: dict[str, Asked] = {}
    times = []
    for second in range(0, 20_000, 5):
        requests = due({NOON: "a"}, asked, [], second, MANY)
        asked = requests.asked
        times += [second] * len(requests.due)
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits[:4] == [30, 60, 120, 240]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_WAIT_SECONDS


def test_waits_start_small_and_are_bounded() -> None:
    assert wait_seconds(1) == FIRST_WAIT_SECONDS
    assert wait_seconds(1000) == LONGEST_WAIT_SECONDS


def test_work_that_changes_is_asked_for_at_once_and_its_waits_start_anew() -> None:
    asked = {NOON.isoformat(): due({NOON: "a"}, {}, [], 0, MANY).asked[NOON.isoformat()]}
    asked[NOON.isoformat()].times = 9
    requests = due({NOON: "changed"}, asked, [], 1, MANY)
    assert requests.due == [NOON]
    assert requests.asked[NOON.isoformat()].times == 1


def test_what_is_done_is_forgotten() -> None:
    first = due({NOON: "a", NOON + HOUR: "b"}, {}, [], 0, MANY)
    second = due({NOON: "a"}, first.asked, [], 1, MANY)
    assert list(second.asked) == [NOON.isoformat()]
    again = due({NOON + HOUR: "b"}, second.asked, [], 2, MANY)
    assert again.due == [NOON + HOUR]


def test_no_more_than_the_limit_is_asked_for_and_the_rest_comes_next() -> None:
    pending = {NOON + number * HOUR: "a" for number in range(5)}
    first = due(pending, {}, [], 0, 2)
    assert first.due == [NOON, NOON + HOUR]
    second = due(pending, first.asked, [], 1, 2)
    assert second.due == [NOON + 2 * HOUR, NOON + 3 * HOUR]


def test_waits_go_on_growing_for_work_that_the_limit_left_out() -> None:
    failing = {NOON: "a", NOON + HOUR: "b"}
    asked = {
        hour.isoformat(): request
        for hour, request in zip(
            failing,
            (
                due({NOON: "a"}, {}, [], 0, MANY).asked[NOON.isoformat()],
                due({NOON + HOUR: "b"}, {}, [], 0, MANY).asked[(NOON + HOUR).isoformat()],
            ),
            strict=True,
        )
    }
    for request in asked.values():
        request.times = 3
    requests = due(failing, asked, [], 500, 1)
    assert requests.due == [NOON]
    assert requests.asked[(NOON + HOUR).isoformat()].times == 3
    assert due(failing, requests.asked, [], 500, 1).due == [NOON + HOUR]


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.integers(0, 9), st.text("ab", max_size=2)),
            st.sets(st.integers(0, 9)),
        ),
        max_size=20,
    ),
    st.integers(1, 10),
)
def test_whatever_happens_work_under_way_is_left_alone_and_memory_is_of_pending_work(
    turns: list[tuple[dict[int, str], set[int]]], limit: int
) -> None:
    asked: dict[str, Asked] = {}
    for second, (numbers, busy) in enumerate(turns):
        pending = {NOON + number * HOUR: state for number, state in numbers.items()}
        under_way = {NOON + number * HOUR for number in busy}
        requests = due(pending, asked, under_way, second * 20, limit)
        assert not under_way & set(requests.due)
        assert set(requests.due) <= pending.keys()
        assert requests.due == sorted(requests.due)
        assert len(requests.due) <= limit
        assert requests.asked.keys() <= {hour.isoformat() for hour in pending}
        asked = requests.asked


# ---- ranges


def hours(*numbers: int) -> list[datetime]:
    return [NOON + number * HOUR for number in numbers]


def test_a_few_hours_get_a_run_each() -> None:
    few = hours(*range(SINGLE_RUNS))
    assert ranges(few, HOUR) == [(hour, hour) for hour in few]


def test_neighbours_are_put_together_and_gaps_keep_them_apart() -> None:
    found = ranges(hours(0, 1, 2, 5, 6, 9), HOUR)
    assert found == [tuple(hours(0, 2)), tuple(hours(5, 6)), tuple(hours(9, 9))]


def test_a_run_is_never_longer_than_allowed() -> None:
    found = ranges(hours(*range(60)), HOUR)
    assert found[0] == tuple(hours(0, HOURS_A_RUN - 1))
    assert [(last - first) / HOUR + 1 for first, last in found] == [24, 24, 12]


@given(st.sets(st.integers(0, 200)))
def test_ranges_cover_what_is_due_and_nothing_else(numbers: set[int]) -> None:
    due_hours = hours(*sorted(numbers))
    covered = []
    for first, last in ranges(due_hours, HOUR):
        covered += [first + step * HOUR for step in range(int((last - first) / HOUR) + 1)]
    assert covered == due_hours


def test_nothing_due_gives_no_runs() -> None:
    assert ranges([], HOUR) == []
