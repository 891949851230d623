"""Volume by hour of the week."""

from datetime import UTC, datetime

import pytest

from stingar_dagster.health.findings import Finding
from stingar_dagster.health.volume import volume
from stingar_dagster_tests.health.weeks import DAY, HOUR, NORMS, NOW, Weeks


def judge(weeks: Weeks) -> Finding:
    return volume(weeks.landings, NORMS, weeks.now)


def test_steady_volume_is_usual() -> None:
    finding = judge(Weeks.steady())
    assert finding.passed
    assert finding.text.startswith("Volume is as usual: ")
    assert finding.numbers["weeks"] == 5


def test_a_day_of_doubled_volume_is_told_since_it_began() -> None:
    finding = judge(Weeks.steady().times(2, NOW.replace(hour=0, minute=0)))
    assert not finding.passed
    assert "above its usual band since 2026-11-18 00:00 UTC, for 12 hours" in finding.text
    assert len(finding.rows) == 12


def test_a_volume_that_fell_by_half_is_told() -> None:
    finding = judge(Weeks.steady().times(0.45, NOW - 5 * HOUR))
    assert not finding.passed
    assert "below its usual band" in finding.text


def test_one_hour_outside_is_a_scan_that_came_and_went() -> None:
    eleven = NOW.replace(hour=11, minute=0)
    finding = judge(Weeks.steady().times(5, eleven, eleven + HOUR))
    assert finding.passed
    assert finding.text.startswith("Outside its band for one hour: ")


def test_the_hour_that_runs_is_not_judged() -> None:
    assert judge(Weeks.steady().times(0.1, NOW.replace(minute=0))).passed


def test_every_hour_of_the_week_has_its_own_band() -> None:
    # A stream that is busy on weekdays at noon: the same volume at night would be told.
    def daily(hour: datetime, heard: dict[str, int]) -> dict[str, int]:
        return {name: n * 10 if 9 <= hour.hour < 17 else n for name, n in heard.items()}

    weeks = Weeks.steady().change(NOW - 40 * DAY, NOW + HOUR, daily)
    assert judge(weeks).passed
    night = Weeks.steady(now=NOW.replace(hour=4))
    night.change(NOW - 40 * DAY, NOW - 1 * DAY, daily).times(10, night.now - 4 * HOUR)
    assert not judge(night).passed


def test_a_change_of_clocks_moves_no_hour_out_of_its_band() -> None:
    # People come an hour later by UTC since the last Sunday of October.
    change = datetime(2026, 10, 25, 1, tzinfo=UTC)

    def office(hour: datetime, heard: dict[str, int]) -> dict[str, int]:
        local = (hour.hour + (2 if hour < change else 1)) % 24
        return {name: n * 10 if 9 <= local < 17 else n for name, n in heard.items()}

    for at in range(6, 18):
        now = datetime(2026, 10, 27, at, 40, tzinfo=UTC)
        assert judge(Weeks.steady(now=now).change(now - 40 * DAY, now + HOUR, office)).passed, at


@pytest.mark.parametrize(("days", "weeks"), [(0.1, 0), (5, 0), (8, 1), (15, 2)])
def test_without_three_weeks_it_says_how_many_there_are(days: float, weeks: int) -> None:
    finding = judge(Weeks.steady(days=days).times(4, NOW - 3 * HOUR))
    assert finding.passed
    assert finding.learning
    assert f"{weeks} of 3 weeks hold this hour" in finding.text


def test_three_weeks_are_enough() -> None:
    assert not judge(Weeks.steady(days=22).times(4, NOW - 3 * HOUR)).passed


def test_an_outage_in_the_weeks_before_does_not_widen_the_band() -> None:
    before = NOW - 7 * DAY
    weeks = Weeks.steady().outage(before - DAY, before + DAY)
    assert judge(weeks).passed
    finding = judge(weeks.times(2, NOW - 6 * HOUR))
    assert not finding.passed
    assert finding.numbers["weeks"] == 4


def test_an_outage_is_for_the_check_of_the_latest_hour_to_tell() -> None:
    finding = judge(Weeks.steady().outage(NOW - 5 * HOUR))
    assert finding.passed
    assert "latest_hour_is_there" in finding.text


def test_an_empty_lake_has_no_volume_to_judge() -> None:
    assert judge(Weeks()).learning
