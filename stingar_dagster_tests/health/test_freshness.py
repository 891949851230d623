"""The latest full hour."""

import pytest

from stingar_dagster.health.findings import Finding
from stingar_dagster.health.freshness import latest_hour
from stingar_dagster_tests.health.weeks import DAY, HOUR, NORMS, NOW, Weeks


def judge(weeks: Weeks) -> Finding:
    return latest_hour(weeks.landings, [], NORMS, weeks.now)


def test_the_latest_full_hour_is_there() -> None:
    finding = judge(Weeks.steady())
    assert finding.passed
    assert finding.text == "The hour from 2026-11-18 11:00 UTC landed and is published."


def test_an_outage_of_landing_says_since_when_and_where_to_look() -> None:
    finding = judge(Weeks.steady().outage(NOW.replace(hour=9, minute=0)))
    assert not finding.passed
    assert "Nothing has come in since 2026-11-18 08:59 UTC: the last 3 hours are" in finding.text
    assert "No capture landed since" in finding.text


def test_empty_captures_mean_that_nobody_sends() -> None:
    weeks = Weeks.steady().outage(NOW.replace(hour=9, minute=0))
    weeks.captures_in_silence = True
    assert "all empty: Event Hubs Capture works and nobody sends" in judge(weeks).text


@pytest.mark.parametrize(("minute", "told"), [(20, False), (40, True)])
def test_an_hour_that_just_ended_has_half_an_hour_to_come(minute: int, told: bool) -> None:
    weeks = Weeks.steady().outage(NOW.replace(hour=11, minute=0))
    weeks.now = NOW.replace(minute=minute)
    assert judge(weeks).passed is not told


def test_a_backfill_of_an_old_hour_makes_nothing_fresh() -> None:
    weeks = Weeks.steady().outage(NOW - 5 * HOUR)
    weeks.counts[NOW.replace(minute=0) - 200 * DAY] = {"lab-1": 500}
    weeks.quarantined[NOW.replace(minute=0) - 200 * DAY] = 0
    weeks.counts = dict(sorted(weeks.counts.items()))
    assert not judge(weeks).passed


def test_a_stream_that_rests_at_night_is_not_told_at_night() -> None:
    night = NOW.replace(hour=5)
    weeks = Weeks.steady(now=night)
    weeks.change(night - 40 * DAY, night + HOUR, lambda h, heard: heard if h.hour >= 8 else {})
    finding = judge(weeks)
    assert finding.passed
    assert "this stream is silent for 8 hours about once a week" in finding.text
    assert not judge(weeks.outage(night - 30 * HOUR)).passed


def test_a_stream_that_rests_at_weekends_is_not_told_at_weekends() -> None:
    saturday = NOW.replace(hour=5) - 4 * DAY
    for now in (saturday, saturday + 24 * HOUR, saturday + 42 * HOUR):
        weeks = Weeks.steady(now=now)
        weeks.change(now - 40 * DAY, now + HOUR, lambda h, heard: heard if h.weekday() < 5 else {})
        finding = judge(weeks)
        assert finding.passed, finding.text
        assert "this stream is silent for 2 days about once a week" in finding.text
    wednesday = NOW
    weeks = Weeks.steady(now=wednesday)
    weeks.change(NOW - 40 * DAY, NOW + HOUR, lambda h, heard: heard if h.weekday() < 5 else {})
    assert not judge(weeks.outage(NOW - 5 * DAY)).passed


def test_two_outages_in_five_weeks_make_no_stream_that_rests() -> None:
    weeks = Weeks.steady().outage(NOW - 20 * DAY, NOW - 15 * DAY)
    weeks.outage(NOW - 10 * DAY, NOW - 8 * DAY)
    assert not judge(weeks.outage(NOW - 5 * HOUR)).passed


def test_what_landed_and_is_not_published_is_told() -> None:
    hours = [NOW.replace(hour=10, minute=0), NOW.replace(hour=11, minute=0)]
    finding = latest_hour(Weeks.steady().landings, hours, NORMS, NOW)
    assert not finding.passed
    assert "2 event hours, the first 2026-11-18 10:00 UTC, are landed and not" in finding.text


def test_a_fresh_lake_is_not_late() -> None:
    assert judge(Weeks()).learning
    assert judge(Weeks()).passed
    just_now = Weeks.steady(days=0)
    assert judge(just_now).learning
    first_hours = Weeks.steady(days=0.1)
    assert judge(first_hours).passed


def test_a_stream_of_a_few_hours_is_not_late_before_three_days_have_passed() -> None:
    first = NOW.replace(minute=0)
    weeks = Weeks.steady(days=2 / 24)
    weeks.outage(first - HOUR)
    finding = judge(weeks)
    assert finding.passed
    assert finding.learning
    assert finding.text.startswith("Not enough history yet: 1 of 12 hours with events, and nothing")
    weeks.now = NOW + 3 * DAY
    assert not judge(weeks).passed


def test_of_a_young_stream_what_landed_and_is_not_published_is_told() -> None:
    weeks = Weeks.steady(days=2 / 24)
    assert not latest_hour(weeks.landings, [NOW.replace(minute=0) - HOUR], NORMS, NOW).passed
