"""When a problem is told, and that it is told no more often."""

import msgspec
import pytest

from stingar_dagster.alerts import problems
from stingar_dagster.alerts.problems import Alerts, Phase

MINUTE = 60.0
HOUR = 3600.0
DAY = 86_400.0
START = 1_790_000_000.0


class Teller:
    """Tells what is due to one sink, minute by minute, and keeps it."""

    def __init__(self, *sinks: str) -> None:
        self.alerts = Alerts()
        self.sinks = sinks or ("mail",)
        self.told: list[tuple[str, str, float]] = []
        self.broken: set[str] = set()

    def until(
        self, begin: float, end: float, bad: bool | None = None, step: float = MINUTE
    ) -> None:
        now = begin
        while now < end:
            if bad:
                problems.is_bad(self.alerts, "check:a", "a", "it is bad", "", now)
            else:
                problems.is_good(self.alerts, "check:a", now)
            self.tick(now)
            now += step

    def tick(self, now: float) -> None:
        # Through its bytes, as it is kept from tick to tick.
        self.alerts = msgspec.json.decode(msgspec.json.encode(self.alerts), type=Alerts)
        for sink in self.sinks:
            if now < problems.waits_until(self.alerts, sink):
                continue
            notices = problems.due(self.alerts, sink, now)
            if notices and sink in self.broken:
                problems.failed(self.alerts, sink, "can't be reached", now)
            elif notices:
                keys = [(notice.problem.key, notice.phase) for notice in notices]
                problems.delivered(self.alerts, sink, keys, now)
                self.told += [(sink, str(phase), now) for _, phase in keys]
        problems.forget(self.alerts, self.sinks, now)

    @property
    def phases(self) -> list[str]:
        return [phase for _, phase, _ in self.told]


def test_a_problem_is_told_once_again_each_day_and_once_when_it_is_over() -> None:
    teller = Teller()
    teller.until(START, START + 2.5 * DAY, bad=True, step=5 * MINUTE)
    assert teller.phases == ["started", "lasting", "lasting"]
    teller.until(START + 2.5 * DAY, START + 3 * DAY, bad=False, step=5 * MINUTE)
    assert teller.phases == ["started", "lasting", "lasting", "over"]
    assert teller.alerts.problems == {}


def test_what_mends_itself_within_two_minutes_is_not_told() -> None:
    teller = Teller()
    teller.until(START, START + 1.5 * MINUTE, bad=True)
    teller.until(START + 1.5 * MINUTE, START + HOUR, bad=False)
    assert teller.told == []
    assert teller.alerts.problems == {}


def test_what_comes_and_goes_is_one_problem() -> None:
    teller = Teller()
    for n in range(10):
        at = START + n * 20 * MINUTE
        teller.until(at, at + 10 * MINUTE, bad=True)
        teller.until(at + 10 * MINUTE, at + 20 * MINUTE, bad=False)
    assert teller.phases == ["started"]


def test_a_problem_that_comes_back_after_it_was_over_is_a_new_one() -> None:
    teller = Teller()
    teller.until(START, START + HOUR, bad=True)
    teller.until(START + HOUR, START + 2 * HOUR, bad=False)
    teller.until(START + 2 * HOUR, START + 3 * HOUR, bad=True)
    assert teller.phases == ["started", "over", "started"]


def test_a_sink_that_fails_is_tried_again_ever_more_seldom_and_told_in_the_end() -> None:
    teller = Teller()
    teller.broken = {"mail"}
    teller.until(START, START + HOUR, bad=True)
    assert teller.alerts.sinks["mail"].failure == "can't be reached"
    assert 4 <= teller.alerts.sinks["mail"].tries <= 7
    teller.broken = set()
    teller.until(START + HOUR, START + 2 * HOUR, bad=True)
    assert teller.phases == ["started"]
    assert teller.alerts.sinks == {}


def test_a_problem_that_is_over_before_the_sink_took_it_is_told_all_the_same() -> None:
    teller = Teller()
    teller.broken = {"mail"}
    teller.until(START, START + HOUR, bad=True)
    teller.until(START + HOUR, START + 3 * HOUR, bad=False)
    teller.broken = set()
    teller.until(START + 3 * HOUR, START + 4 * HOUR, bad=False)
    assert teller.phases == ["over"]
    assert teller.alerts.problems == {}


def test_a_sink_that_fails_holds_up_no_other_and_repeats_none() -> None:
    teller = Teller("mail", "chat")
    teller.broken = {"mail"}
    teller.until(START, START + 2 * HOUR, bad=True)
    assert [(sink, phase) for sink, phase, _ in teller.told] == [("chat", "started")]
    teller.until(START + 2 * HOUR, START + 3 * HOUR, bad=False)
    teller.broken = set()
    teller.until(START + 3 * HOUR, START + 4 * HOUR, bad=False)
    assert [(sink, phase) for sink, phase, _ in teller.told] == [
        ("chat", "started"),
        ("chat", "over"),
        ("mail", "over"),
    ]


def test_a_sink_that_is_set_later_hears_of_what_lasts() -> None:
    teller = Teller("mail")
    teller.until(START, START + HOUR, bad=True)
    teller.sinks = ("mail", "chat")
    teller.until(START + HOUR, START + 2 * HOUR, bad=True)
    assert [sink for sink, _, _ in teller.told] == ["mail", "chat"]
    teller.sinks = ("mail",)
    teller.until(START + 2 * HOUR, START + 3 * HOUR, bad=False)
    assert teller.alerts.problems == {}


# ---- runs


def fail(alerts: Alerts, *partitions: str, at: float = START) -> None:
    problem = problems.is_bad(alerts, "run:a", "a", "why", "", at)
    problems.run_failed(problem, partitions)


def test_runs_are_well_when_every_failed_partition_was_done() -> None:
    alerts = Alerts()
    fail(alerts, "1")
    fail(alerts, "2", "3")
    problems.run_succeeded(alerts, "run:a", ["1", "2"], START + 1)
    assert alerts.problems["run:a"].good_since == 0
    problems.run_succeeded(alerts, "run:a", ["3", "4"], START + 2)
    assert alerts.problems["run:a"].good_since == START + 2
    assert alerts.problems["run:a"].failed == 2


def test_a_thousand_failed_runs_are_one_problem_of_bounded_size() -> None:
    alerts = Alerts()
    for n in range(1000):
        fail(alerts, f"2026-01-{n:05}")
    (notice,) = problems.due(alerts, "mail", START + HOUR)
    assert notice.phase is Phase.STARTED
    assert notice.problem.failed == 1000
    assert notice.problem.many
    assert len(msgspec.json.encode(alerts)) < 10_000


def test_another_jobs_success_ends_nothing() -> None:
    alerts = Alerts()
    fail(alerts, "1")
    problems.run_succeeded(alerts, "run:b", ["1"], START)
    assert alerts.problems["run:a"].good_since == 0


@pytest.mark.parametrize(("tries", "seconds"), [(1, 60), (2, 120), (5, 960), (50, 1800)])
def test_waits_double_up_to_half_an_hour(tries: int, seconds: float) -> None:
    alerts = Alerts()
    for _ in range(tries):
        problems.failed(alerts, "mail", "no", START)
    assert problems.waits_until(alerts, "mail") == START + seconds
