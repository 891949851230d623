"""One thing that goes wrong is told by one check, not by all of them."""

from collections.abc import Callable

import pytest

from stingar_dagster.health.freshness import latest_hour
from stingar_dagster.health.quarantine import quarantine_rate
from stingar_dagster.health.silence import silent_senders
from stingar_dagster.health.volume import volume
from stingar_dagster_tests.health.weeks import DAY, HOUR, NORMS, NOW, Weeks

SENSORS = [f"lab-{n}" for n in range(8)]


def told(weeks: Weeks) -> set[str]:
    landings, now = weeks.landings, weeks.now
    findings = {
        "latest hour": latest_hour(landings, [], NORMS, now),
        "volume": volume(landings, NORMS, now),
        "quarantine": quarantine_rate(landings, lambda _: {}, NORMS, now),
        "silence": silent_senders(weeks.activity, "sensor", NORMS, now),
    }
    return {name for name, finding in findings.items() if not finding.passed}


def refused(weeks: Weeks) -> Weeks:
    weeks.quarantined[NOW.replace(hour=11, minute=0)] = 300
    return weeks


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda weeks: weeks, set()),
        (lambda weeks: weeks.outage(NOW - 6 * HOUR), {"latest hour"}),
        (lambda weeks: weeks.outage(NOW - 30 * HOUR, NOW - 8 * HOUR), set()),
        (lambda weeks: weeks.outage(NOW - 9 * DAY, NOW - 5 * DAY), set()),
        (lambda weeks: weeks.silence("lab-3", NOW - 6 * HOUR), {"silence"}),
        (lambda weeks: weeks.times(2.2, NOW - DAY), {"volume"}),
        (refused, {"quarantine"}),
    ],
    ids=["all well", "outage", "after it", "long ago", "one sensor", "twice as much", "refused"],
)
def test_what_goes_wrong_is_told_by_the_check_it_is_for(
    change: Callable[[Weeks], Weeks], expected: set[str]
) -> None:
    assert told(change(Weeks.steady(sensors=SENSORS))) == expected


@pytest.mark.parametrize("hours", [0, 1, 2, 5, 12, 23, 30])
def test_nothing_is_told_in_the_first_hours_of_a_lake(hours: int) -> None:
    assert told(Weeks.steady(days=hours / 24, sensors=SENSORS)) == set()
