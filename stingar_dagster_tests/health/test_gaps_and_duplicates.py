"""Sequence numbers that are missing, and those that came twice."""

from typing import Any

import polars as pl
import pytest

from stingar_dagster.health import activity
from stingar_dagster.health.duplicates import duplicates
from stingar_dagster.health.findings import Finding
from stingar_dagster.health.gaps import sequence_gaps
from stingar_dagster.health.kept import KEYS
from stingar_dagster.health.landings import figures
from stingar_dagster.lake.ledger import LedgerLine
from stingar_dagster.lake.sequences import missing, runs_of
from stingar_dagster_tests.health.weeks import DAY, HOUR, NORMS, NOW, landed, landed_frame

TEN = NOW.replace(hour=10, minute=0)


def gaps(*rows: dict[str, Any]) -> Finding:
    return sequence_gaps(landed_frame(*rows), NORMS, NOW)


def run(first: int, last: int, **more: Any) -> dict[str, Any]:
    return {"first": first, "last": last, **more}


def test_runs_that_join_have_no_gap() -> None:
    assert gaps(landed(TEN - HOUR, [run(0, 9)]), landed(TEN, [run(10, 19)])).passed


def test_a_gap_between_hours_is_told_with_its_numbers_and_partition() -> None:
    finding = gaps(landed(TEN - HOUR, [run(0, 9)]), landed(TEN, [run(15, 19)]))
    assert not finding.passed
    assert "5 events were never captured, first of ns/hub/0 before 2026-11-18 10:00" in finding.text
    assert "sequence numbers 10 to 14" in finding.text
    assert finding.numbers["missing events"] == 5


def test_a_gap_inside_an_hour_is_told() -> None:
    finding = gaps(landed(TEN, [run(0, 9), run(20, 29)]))
    assert finding.numbers["missing events"] == 10


def test_partitions_are_counted_each_by_itself() -> None:
    other = {"source": "ns/hub/1"}
    assert gaps(
        landed(TEN - HOUR, [run(0, 9), run(500, 509, **other)]),
        landed(TEN, [run(10, 19), run(510, 519, **other)]),
    ).passed


def test_what_damage_explains_is_no_gap() -> None:
    finding = gaps(landed(TEN - HOUR, [run(0, 9)]), landed(TEN, [run(15, 19, damaged=True)]))
    assert finding.passed
    assert finding.numbers["missing in damaged captures"] == 5


def test_a_hub_that_was_made_again_counts_from_zero_and_misses_nothing() -> None:
    assert gaps(landed(TEN - HOUR, [run(90_000, 90_009)]), landed(TEN, [run(0, 19)])).passed
    assert not gaps(
        landed(TEN - HOUR, [run(90_000, 90_009)]), landed(TEN, [run(0, 19), run(30, 39)])
    ).passed


def test_a_hub_that_was_made_again_may_grow_past_the_old_one() -> None:
    old, new = landed(TEN - 3 * HOUR, [run(100, 199)]), landed(TEN - 2 * HOUR, [run(0, 89)])
    assert gaps(old, new, landed(TEN - HOUR, [run(90, 299)])).passed
    finding = gaps(old, new, landed(TEN - HOUR, [run(95, 299)]))
    assert finding.numbers["missing events"] == 5


def test_old_captures_put_back_under_new_names_make_no_gap_of_what_is_there() -> None:
    there = landed(TEN - 2 * HOUR, [run(1000, 1999)])
    back = landed(TEN - HOUR, [run(500, 600), run(700, 750)])
    assert gaps(there, back, landed(TEN, [run(2000, 2999)])).passed
    finding = gaps(there, back, landed(TEN, [run(2010, 2999)]))
    assert "sequence numbers 2000 to 2009" in finding.text
    assert finding.numbers["missing events"] == 10


def test_a_late_capture_that_fills_a_gap_mends_it() -> None:
    finding = gaps(landed(TEN - HOUR, [run(0, 9), run(20, 29)]), landed(TEN, [run(10, 19)]))
    assert finding.passed


def test_an_hour_that_may_still_be_landing_is_not_judged() -> None:
    twelve = NOW.replace(hour=12, minute=0)
    assert gaps(landed(TEN, [run(0, 9)]), landed(twelve, [run(15, 19)])).passed


@pytest.mark.parametrize(("days", "told"), [(6, True), (8, False)])
def test_a_gap_is_told_for_a_week_while_the_hub_may_have_the_events(days: int, told: bool) -> None:
    then = TEN - days * DAY
    finding = gaps(landed(then - HOUR, [run(0, 9)]), landed(then, [run(15, 19)]))
    assert finding.passed is not told


def test_nothing_landed_is_nothing_missing() -> None:
    assert gaps().passed


# ---- figures of a ledger


def line(capture: str, first: int | None, last: int | None, **more: Any) -> LedgerLine:
    count = 0 if first is None or last is None else last - first + 1
    known: dict[str, Any] = {
        "etag": "1", "size": 1, "namespace": "ns", "event_hub": "hub", "partition": 0, "slot": 0,
        "code_version": "2", "records": count, "events": count, "cleaned": count, "quarantined": 0,
    }  # fmt: skip
    return LedgerLine(capture=capture, first_sequence=first, last_sequence=last, **known | more)


def test_captures_that_follow_each_other_are_one_run() -> None:
    made = figures(TEN, [line("b", 10, 19), line("a", 0, 9), line("empty", None, None)])
    assert made["runs"] == [{"source": "ns/hub/0", "first": 0, "last": 19, "damaged": False}]
    assert made["repeats"] == []
    assert (made["captures"], made["events"]) == (3, 20)


def test_a_gap_inside_a_capture_parts_the_run() -> None:
    made = figures(TEN, [line("a", 0, 20, gaps=("5-7", "10-10"))])
    assert [(r["first"], r["last"]) for r in made["runs"]] == [(0, 4), (8, 9), (11, 20)]


def test_a_hub_that_was_made_again_within_an_hour_misses_nothing_in_it() -> None:
    old = line("a", 90_000, 90_009, first_enqueued_at="2026-11-18T10:05:00.000Z")
    new = line("b", 0, 9, first_enqueued_at="2026-11-18T10:30:00.000Z")
    more = line("c", 15, 19, first_enqueued_at="2026-11-18T10:45:00.000Z")
    runs, _ = runs_of(TEN, [new, old])
    assert [(run.first, run.last) for run in runs] == [(90_000, 90_009), (0, 9)]
    assert missing(runs) == []
    (gap,) = missing(runs_of(TEN, [more, new, old])[0])
    assert (gap.first, gap.last) == (10, 14)


def test_captures_that_share_numbers_are_named() -> None:
    made = figures(TEN, [line("a", 0, 9), line("copy/a", 0, 9), line("c", 8, 12)])
    assert [(r["first"], r["last"]) for r in made["runs"]] == [(0, 12)]
    first = made["repeats"][0]
    assert (first["events"], first["one"], first["other"]) == (10, "a", "copy/a")
    assert sum(repeat["events"] for repeat in made["repeats"]) == 12


# ---- duplicates


def hours(*counts: tuple[int, int]) -> pl.DataFrame:
    rows = [
        {"hour": TEN - n * HOUR, "etag": "1", "rows": rows, "duplicates": out, "heard": []}
        for n, (rows, out) in enumerate(counts)
    ]
    return pl.DataFrame(rows, schema=KEYS | activity.SCHEMA)


def test_no_duplicates_is_well() -> None:
    assert duplicates(hours((100, 0)), landed_frame(), NORMS, NOW).passed
    assert duplicates(hours(), landed_frame(), NORMS, NOW).passed


def test_many_duplicates_are_told_with_the_captures_that_share_them() -> None:
    repeat = {"source": "ns/hub/0", "events": 50, "one": "a.avro", "other": "copy/a.avro"}
    finding = duplicates(
        hours((1000, 50)), landed_frame(landed(TEN, [], repeats=[repeat])), NORMS, NOW
    )
    assert not finding.passed
    assert "50 events (4.8%) were captured twice since 2026-11-18 10:00 UTC" in finding.text
    assert "a.avro and copy/a.avro, which share 50" in finding.text
    assert "Each is published once" in finding.text


def test_a_few_are_what_event_hubs_does_and_are_only_counted() -> None:
    finding = duplicates(hours((100_000, 9)), landed_frame(), NORMS, NOW)
    assert finding.passed
    assert "9 events of the last day came twice" in finding.text
    assert duplicates(hours((1_000_000, 50)), landed_frame(), NORMS, NOW).passed


def test_duplicates_of_the_day_before_are_past() -> None:
    counts = [(1000, 0)] * 30 + [(1000, 500)]
    assert duplicates(hours(*counts), landed_frame(), NORMS, NOW).passed
