"""Quarantine against the stream's own baseline."""

from datetime import datetime

import pytest

from stingar_dagster.health.findings import Finding
from stingar_dagster.health.quarantine import quarantine_rate
from stingar_dagster_tests.health.weeks import DAY, HOUR, NORMS, NOW, Weeks

ELEVEN = NOW.replace(hour=11, minute=0)


def judge(weeks: Weeks, reasons: dict[str, int] | None = None) -> Finding:
    return quarantine_rate(weeks.landings, lambda _: reasons or {}, NORMS, weeks.now)


def refuse(weeks: Weeks, hour: datetime, count: int) -> Weeks:
    weeks.quarantined[hour] = count
    return weeks


def test_the_usual_rate_is_well() -> None:
    finding = judge(Weeks.steady())
    assert finding.passed
    assert not finding.learning
    assert "usually 0.50%" in finding.text


def test_a_burst_is_told_with_hour_reasons_and_what_to_do() -> None:
    weeks = refuse(Weeks.steady(), ELEVEN, 100)
    finding = judge(weeks, {"not_json": 90, "too_large": 10})
    assert not finding.passed
    assert "100 events were refused since 2026-11-18 11:00 UTC" in finding.text
    assert "not_json 90, too_large 10" in finding.text
    assert "stingar quarantine list" in finding.text


def test_a_stream_that_always_refuses_a_fifth_has_that_for_its_baseline() -> None:
    weeks = Weeks.steady()
    for hour in weeks.quarantined:
        weeks.quarantined[hour] = 150
    assert judge(weeks).passed
    assert not judge(refuse(weeks, ELEVEN, 1200)).passed


def test_hours_of_outage_and_past_bursts_do_not_move_the_baseline() -> None:
    weeks = Weeks.steady().outage(NOW - 3 * DAY, NOW - 2 * DAY)
    refuse(weeks, ELEVEN - 5 * DAY, 5000)
    assert judge(weeks).passed
    assert not judge(refuse(weeks, ELEVEN, 100)).passed


def test_a_burst_of_yesterday_is_past() -> None:
    assert judge(refuse(Weeks.steady(), ELEVEN - DAY, 5000)).passed


def test_an_hour_with_a_handful_of_events_has_no_rate() -> None:
    weeks = Weeks.steady().times(0.005, ELEVEN, ELEVEN + HOUR)
    assert judge(refuse(weeks, ELEVEN, 3)).passed


def test_a_fresh_lake_learns() -> None:
    finding = judge(Weeks.steady(days=1))
    assert finding.passed
    assert finding.learning
    assert "of 72 hours" in finding.text
    assert judge(Weeks()).learning


@pytest.mark.parametrize(("count", "told"), [(200, False), (900, True)])
def test_more_than_half_refused_is_told_without_history(count: int, told: bool) -> None:
    finding = judge(refuse(Weeks.steady(days=0.5), ELEVEN, count), {"not_json": count})
    assert finding.passed is not told
