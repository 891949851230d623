"""Sensors that fall silent, each against its own baseline."""

from datetime import timedelta

import polars as pl
import pytest

from stingar_dagster.health.findings import Finding
from stingar_dagster.health.silence import silent_senders
from stingar_dagster_tests.health.weeks import DAY, HOUR, NORMS, NOW, Weeks


def judge(weeks: Weeks) -> Finding:
    return silent_senders(weeks.activity, "sensor", NORMS, weeks.now)


def test_steady_sensors_are_heard() -> None:
    finding = judge(Weeks.steady())
    assert finding.passed
    assert not finding.learning
    assert finding.numbers["sensors judged"] == 3


def test_a_sensor_that_stops_is_told_with_when_it_was_last_heard_and_what_to_do() -> None:
    finding = judge(Weeks.steady().silence("lab-2", NOW - 6 * HOUR))
    assert not finding.passed
    assert "1 of 3 sensors fell silent: lab-2" in finding.text
    assert "last heard 2026-11-18 06:59 UTC" in finding.text
    assert "See whether the sensor and its shipper run" in finding.text
    (row,) = finding.rows
    assert (row["sensor"], row["hours missed"], row["usual silence"]) == ("lab-2", 5, 0)


@pytest.mark.parametrize(("hours", "told"), [(1, False), (2, False), (3, True)])
def test_a_sensor_that_is_always_heard_is_missed_after_two_full_hours(
    hours: int, told: bool
) -> None:
    # At 12:40 the hours 10 and 11 are full; the one that runs does not count.
    finding = judge(Weeks.steady().silence("lab-2", NOW - hours * HOUR))
    assert finding.passed is not told


def test_a_sensor_that_rests_every_night_is_not_missed_in_the_night() -> None:
    night = NOW.replace(hour=5)
    weeks = Weeks.steady(now=night)
    weeks.change(
        night - 40 * DAY,
        night + HOUR,
        lambda hour, heard: {k: n for k, n in heard.items() if k != "lab-2" or hour.hour >= 8},
    )
    assert judge(weeks).passed
    weeks.silence("lab-2", night - 30 * HOUR)
    assert not judge(weeks).passed


def test_a_sensor_that_speaks_once_a_day_is_not_missed_before_it_missed_its_day() -> None:
    weeks = Weeks.steady()
    weeks.change(
        NOW - 40 * DAY,
        NOW + HOUR,
        lambda hour, heard: {k: n for k, n in heard.items() if k != "lab-2" or hour.hour == 9},
    )
    assert judge(weeks).passed
    assert judge(weeks.silence("lab-2", NOW - 1 * DAY)).passed
    assert not judge(weeks.silence("lab-2", NOW - 3 * DAY)).passed


@pytest.mark.parametrize(("rests", "days"), [((5, 6), "Sat Sun"), ((6,), "Sunday")])
@pytest.mark.parametrize("weeks_known", [2, 3, 5])
def test_a_sensor_that_rests_every_weekend_is_not_missed_at_weekends(
    rests: tuple[int, ...], days: str, weeks_known: int
) -> None:
    monday = NOW.replace(hour=0, minute=0) - 2 * DAY
    for days_later in (4.9, 5.2, 6.0, 6.4, 6.99, 7.0):
        now = monday + days_later * DAY + timedelta(minutes=40)
        weeks = Weeks.steady(days=round(7 * weeks_known + days_later), now=now)
        weeks.change(
            now - 60 * DAY,
            now + HOUR,
            lambda hour, heard: {
                k: n for k, n in heard.items() if k != "lab-2" or hour.weekday() not in rests
            },
        )
        finding = judge(weeks)
        assert finding.passed, f"{days}, on {now:%A at %H:%M}: {finding.text}"


def test_a_sensor_that_rests_at_weekends_is_missed_when_it_stays_away_on_wednesday() -> None:
    weeks = Weeks.steady()
    weeks.change(
        NOW - 40 * DAY,
        NOW + HOUR,
        lambda hour, heard: {k: n for k, n in heard.items() if k != "lab-2" or hour.weekday() < 5},
    )
    assert judge(weeks).passed
    # From Friday evening on: a weekend and half a week.
    finding = judge(weeks.silence("lab-2", NOW - 5 * DAY))
    (row,) = finding.rows
    assert (row["sensor"], row["usual silence"]) == ("lab-2", 48)


def test_an_outage_of_everyone_blames_no_sensor() -> None:
    assert judge(Weeks.steady().outage(NOW - 10 * HOUR)).passed


def test_after_an_outage_of_everyone_only_who_stays_away_is_missed() -> None:
    weeks = Weeks.steady().outage(NOW - 30 * HOUR, NOW - 10 * HOUR)
    assert judge(weeks).passed
    finding = judge(weeks.silence("lab-3", NOW - 30 * HOUR))
    assert [row["sensor"] for row in finding.rows] == ["lab-3"]


def test_one_long_outage_of_a_sensor_does_not_make_it_one_that_rests_for_days() -> None:
    weeks = Weeks.steady().silence("lab-2", NOW - 20 * DAY, NOW - 15 * DAY)
    assert judge(weeks).passed
    assert not judge(weeks.silence("lab-2", NOW - 5 * HOUR)).passed


def test_most_sensors_gone_at_once_is_one_finding_that_points_to_what_they_share() -> None:
    weeks = Weeks.steady(sensors=[f"lab-{n}" for n in range(6)])
    for n in range(5):
        weeks.silence(f"lab-{n}", NOW - 8 * HOUR)
    finding = judge(weeks)
    assert "5 of 6 sensors fell silent" in finding.text
    assert "look first at what they share" in finding.text
    assert len(finding.rows) == 5


def test_a_fresh_lake_has_not_enough_history_and_says_how_much() -> None:
    finding = judge(Weeks.steady(days=1.3).silence("lab-2", NOW - 6 * HOUR))
    assert finding.passed
    assert finding.learning
    assert finding.text.startswith("Not enough history yet: no sensor is known for 3 days")


def test_an_empty_lake_says_so() -> None:
    finding = judge(Weeks())
    assert finding.passed
    assert finding.learning


def test_a_new_sensor_is_not_missed_and_counted_as_known_too_short() -> None:
    weeks = Weeks.steady().silence("lab-2", NOW - 40 * DAY, NOW - DAY)
    finding = judge(weeks.silence("lab-2", NOW - 5 * HOUR))
    assert finding.passed
    assert finding.numbers["sensors known too short"] == 1


def test_a_sensor_that_was_switched_off_is_given_up_after_two_weeks() -> None:
    weeks = Weeks.steady().silence("lab-2", NOW - 13 * DAY)
    assert not judge(weeks).passed
    finding = judge(weeks.silence("lab-2", NOW - 15 * DAY))
    assert finding.passed
    assert finding.numbers["sensors given up"] == 1


@pytest.mark.parametrize("wrong", [-20, 20])
def test_a_sensor_with_a_wrong_clock_is_judged_by_when_it_was_received(wrong: int) -> None:
    weeks = Weeks.steady(clocks={"lab-2": wrong * HOUR})
    assert judge(weeks).passed
    finding = judge(weeks.silence("lab-2", NOW - 6 * HOUR))
    assert "last heard 2026-11-18 06:59 UTC" in finding.text


def test_text_of_a_name_is_made_harmless() -> None:
    name = "lab\u202e-2\x1b[31m"
    weeks = Weeks.steady(sensors=("lab-1", name)).silence(name, NOW - 6 * HOUR)
    finding = judge(weeks)
    assert "\u202e" not in finding.text + str(finding.rows)
    assert "\\u202e" in finding.text


def test_hours_in_which_senders_were_left_out_are_said() -> None:
    activity = Weeks.steady().activity
    assert "busiest" not in silent_senders(activity, "sensor", NORMS, NOW).text
    cut = pl.when(pl.col("hour") > NOW - 3 * HOUR).then(15_000).otherwise(0)
    finding = silent_senders(activity.with_columns(left_out=cut), "sensor", NORMS, NOW)
    assert "3 hours named up to 20,000 sensors each, of which the 5,000 busiest" in finding.text
    assert finding.numbers["hours with too many sensors"] == 3
