"""The daily table of sessions: every event in one row, whatever the order and the hours it came in.

Held against the recount of `stingar verify`, which takes one event after the other.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stingar_dagster import lake as readers
from stingar_dagster.lake.kept_rows import day_of, kept_rows
from stingar_dagster.lake.lines import json_lines
from stingar_dagster.streams import STINGAR, Stream
from stingar_dagster.streams.stingar_recount import RECOUNTS
from stingar_dagster.streams.stingar_sessions import DAILY_SESSIONS, MOST_BYTES, MOST_ITEMS
from stingar_dagster.streams.tables import DailyTable
from stingar_dagster.verify import verify
from stingar_dagster_tests.support import HOUR, MINUTE, SLICED, Site, event

DAY = datetime(2026, 11, 3, tzinfo=UTC)
LOGIN = "SSH login attempted on cowrie honeypot"
COMMAND = "command attempted on cowrie honeypot"
SCHEMA = {name: dtype for name, dtype in STINGAR.schema.items() if name != "event_id"}

Event = dict[str, Any]


def at(time: timedelta, **members: Any) -> Event:
    """A published event, so long into the day."""
    stamp = f"{DAY + time:%Y-%m-%dT%H:%M:%S}.{(DAY + time).microsecond // 1000:03}Z"
    return {"@timestamp": stamp, "src_ip": "203.0.113.1", "event_kind": "other"} | members


def frame_of(events: Sequence[Event]) -> pl.DataFrame:
    moment = pl.col("@timestamp").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us")
    frame = pl.DataFrame(list(events), schema=SCHEMA, strict=True)
    return frame.with_columns(
        moment.dt.epoch("us").alias("time_us"), pl.lit(None, pl.Int64).alias("enqueued_us")
    )


def rows(*stretches: Sequence[Event]) -> list[Event]:
    """The table from stretches of the day, merged at once."""
    partials = [DAILY_SESSIONS.partials(frame_of(events)) for events in ([], *stretches)]
    data = json_lines(DAILY_SESSIONS.merge(pl.concat(partials)))
    return [json.loads(line) for line in data.splitlines()]


def published(events: Sequence[Event], minutes: int = 60) -> list[Event]:
    """The table from the slices of the day, as it is published: it must be the same bytes.

    Args:
        events: in order of time.
        minutes: length of a slice.
    """
    length = timedelta(minutes=minutes)
    cut: dict[timedelta, list[Event]] = {}
    for item in events:
        into_day = datetime.fromisoformat(item["@timestamp"]) - DAY
        cut.setdefault(into_day // length * length, []).append(item)
    partials = {start: DAILY_SESSIONS.partials(frame_of(some)) for start, some in cut.items()}
    kept = [
        kept_rows(DAILY_SESSIONS, frame, DAY + start, DAY + start + length)
        for start, frame in partials.items()
    ]
    data, count = day_of(DAILY_SESSIONS, kept)
    merged = [DAILY_SESSIONS.merge(pl.concat(partials.values()))] if partials else []
    assert data == b"".join(map(json_lines, merged))
    assert count == sum(map(len, merged))
    return [json.loads(line) for line in data.splitlines()]


def recounted(events: Sequence[Event]) -> list[Event]:
    recount = RECOUNTS["daily_sessions"]()
    for item in events:
        recount.add({name: value for name, value in item.items() if value is not None})
    return recount.rows(0)


def canonical(found: list[Event]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in found)


CUT = pytest.mark.parametrize("stream", [STINGAR, SLICED], ids=["hours", "slices"])
SLICES = pytest.mark.parametrize("minutes", [60, 5, 1])
TEXT = st.sampled_from(["a", "", "ü", "x" * 30_000, None])
KIND = st.sampled_from(["connection", "login_attempt", "login_success", "command", None])
EVENT = st.fixed_dictionaries(
    {
        # Near to each other, and around borders of hours and the ten minutes.
        "at": st.integers(0, 150).map(lambda tens: timedelta(seconds=tens * 60))
        | st.integers(1430, 1439).map(lambda minute: minute * MINUTE)
        | st.sampled_from([timedelta(minutes=10, milliseconds=1), timedelta(minutes=20)]),
        "event_kind": KIND,
        "sensor": st.sampled_from(["s", None]),
        "src_ip": st.sampled_from(["203.0.113.1", None]),
        "src_port": st.sampled_from([1, None]),
        "signature": st.sampled_from([None, COMMAND, "Unknown command attempted on Honeypot"]),
        "app": st.sampled_from(["cowrie", None]),
        "username": TEXT,
        "password": TEXT,
        "command": TEXT,
        "urls": st.sampled_from([None, ["http://a/"], ["http://b/", "http://a/"]]),
        "hashes": st.sampled_from([None, ["d" * 32]]),
        "kex_hassh": st.sampled_from([None, "h"]),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    events=st.lists(EVENT, max_size=25),
    cuts=st.lists(st.integers(0, 25), max_size=4),
    minutes=st.sampled_from([60, 15, 5, 1]),
)
def test_a_day_merged_from_any_stretches_is_the_recount_of_its_events(
    events: list[Event], cuts: list[int], minutes: int
) -> None:
    moments = [(item.pop("at"), item) for item in [dict(item) for item in events]]
    ordered = [at(when, **item) for when, item in sorted(moments, key=lambda pair: pair[0])]
    whole = published(ordered, minutes)
    assert canonical(whole) == canonical(recounted(ordered))
    assert sum(row["events"] for row in whole) == len(ordered)
    edges = sorted({0, *(min(cut, len(ordered)) for cut in cuts), len(ordered)})
    assert rows(*(ordered[low:high] for low, high in pairwise(edges))) == whole


@SLICES
def test_a_session_that_crosses_an_hour_is_one(minutes: int) -> None:
    events = [at(minute * MINUTE, sensor="s") for minute in (55, 59, 62, 72)]
    (row,) = published(events, minutes)
    assert (row["start"][11:16], row["end"][11:16], row["events"]) == ("00:55", "01:12", 4)


def test_ten_minutes_are_the_longest_pause() -> None:
    moment = timedelta(milliseconds=1)
    (one,) = rows([at(HOUR), at(HOUR + 10 * MINUTE)])
    assert one["events"] == 2
    assert [row["events"] for row in rows([at(HOUR), at(HOUR + 10 * MINUTE + moment)])] == [1, 1]


@pytest.mark.parametrize(
    ("minutes", "cut"),
    [((10,), "start"), ((11,), None), ((1429,), None), ((1430,), "end"), ((5, 12), "start")],
)
def test_a_session_near_midnight_says_that_it_may_be_cut(
    minutes: tuple[int, ...], cut: str | None
) -> None:
    (row,) = rows([at(minute * MINUTE) for minute in minutes])
    assert row.get("may_be_cut") == cut


@SLICES
def test_a_session_of_all_day_may_be_cut_at_both_ends(minutes: int) -> None:
    (row,) = published([at(minute * MINUTE) for minute in range(0, 1440, 9)], minutes)
    assert (row["may_be_cut"], row["events"]) == ("both", 160)


@pytest.mark.parametrize(
    ("pause", "sessions"),
    [(10 * MINUTE, 1), (10 * MINUTE + timedelta(milliseconds=1), 2)],
)
@pytest.mark.parametrize("before", [timedelta(milliseconds=1), 5 * MINUTE, 10 * MINUTE])
def test_over_an_hours_border_the_pause_counts_to_the_millisecond(
    before: timedelta, pause: timedelta, sessions: int
) -> None:
    first = at(6 * HOUR - before)
    assert len(published([first, at(6 * HOUR - before + pause)])) == sessions


@SLICES
def test_a_session_stands_where_it_began_and_the_others_stay_as_they_are(minutes: int) -> None:
    others = [at(time * MINUTE, src_port=port) for port, time in enumerate((355, 358, 362, 370))]
    # By its port the second of them comes first.
    long = [at(time * MINUTE, src_port=9) for time in (356, 361, 369)]
    next_one = [at(time * MINUTE, src_port=5) for time in (357, 363)]
    ordered = sorted([*others, *long, *next_one], key=lambda item: item["@timestamp"])
    found = published(ordered, minutes)
    assert [(row["src_port"], row["events"]) for row in found] == [
        (0, 1), (9, 3), (5, 2), (1, 1), (2, 1), (3, 1),
    ]  # fmt: skip


def test_hours_of_many_megabytes_are_strung_together_whole() -> None:
    entered = {"event_kind": "command", "command": "x" * 60_000}
    events = [
        at(6 * HOUR + number * MINUTE, src_port=number % 30, **entered) for number in range(-5, 60)
    ]
    assert sum(row["events"] for row in published(events)) == 65


def test_a_day_without_events_has_no_sessions() -> None:
    assert published([]) == []


@pytest.mark.parametrize("count", [MOST_ITEMS, MOST_ITEMS + 1, 3 * MOST_ITEMS])
def test_of_long_lists_the_first_items_are_shown_and_the_others_counted(count: int) -> None:
    events = [
        at(HOUR, event_kind="login_attempt", username="root", password=f"{number}")
        for number in range(count)
    ] + [
        at(2 * HOUR, event_kind="command", command=f"{number}", urls=[f"http://{number}/"])
        for number in range(count)
    ]
    tried, entered = rows(events)
    assert tried["credentials"][-1] == ["root", "99"]
    assert tried["login_attempts"] == count
    left_out = count - MOST_ITEMS or None
    assert tried.get("credentials_left_out") == left_out
    assert (len(entered["commands"]), entered["commands"][-1]) == (MOST_ITEMS, "99")
    assert entered.get("commands_left_out") == entered.get("urls_left_out") == left_out


def test_a_hostile_session_makes_no_line_that_readers_refuse() -> None:
    huge = "x" * 1_000_000
    events = [
        at(HOUR, event_kind="command", command=text) for text in ("id", huge, "ls", *[huge] * 30)
    ]
    (row,) = rows(events)
    assert (row["commands"], row["commands_left_out"]) == (["id"], 32)
    (row,) = rows([at(HOUR, event_kind="command", command="ü" * (MOST_BYTES // 2))] * 2)
    assert (len(row["commands"]), row["commands_left_out"]) == (1, 1)
    # An only item that is too large.
    (row,) = rows([at(HOUR, event_kind="login_attempt", username=huge, password="1")])
    assert "credentials" not in row
    assert row["credentials_left_out"] == 1


def test_a_credential_without_a_password_is_not_one_with_an_empty_one() -> None:
    events = [
        at(HOUR, event_kind="login_attempt", username="git"),
        at(HOUR, event_kind="login_attempt", username="git", password=""),
        at(HOUR, event_kind="login_attempt"),
    ]
    (row,) = rows(events)
    assert row["credentials"] == [["git", None], ["git", ""]]
    assert row["login_attempts"] == 3


# ---- through the steps


def visit(start: datetime, *passwords: str) -> list[bytes]:
    """Stamped alike, so that only the order in which they were sent tells what came first."""
    return [
        event(start, signature=LOGIN, src_port=4000, ssh_username="root", ssh_password=password)
        for password in passwords
    ]


@CUT
def test_late_events_and_any_split_into_captures_come_to_the_same_bytes(
    stream: Stream, tmp_path: Path
) -> None:
    bodies = [*visit(DAY + 5.9 * HOUR, *"zyxw"), *visit(DAY + 6 * HOUR, *"dcba")]
    whole, split = Site.at(tmp_path / "whole"), Site.at(tmp_path / "split", stream)
    whole.put(bodies, start=DAY + 8 * HOUR)
    whole.run()
    # The later part first, in captures whose names sort against the order of sending.
    for start, first in ((9, 4), (8, 6), (10, 0), (11, 2)):
        split.put(bodies[first : first + 2], start=DAY + start * HOUR, first=first)
        split.run()
    (row,) = split.daily("daily_sessions")
    assert [password for _, password in row["credentials"]] == [*"zyxwdcba"]
    path = "stingar/daily/daily_sessions/date=2026-11-03/daily_sessions.json"
    assert split.objects("daily")[path] == whole.objects("daily")[path]
    split.check()


def test_a_session_over_midnight_has_a_row_in_either_day_and_is_one_to_a_search(
    tmp_path: Path,
) -> None:
    site = Site.at(tmp_path)
    site.put([*visit(DAY - 3 * MINUTE, "a"), *visit(DAY + 3 * MINUTE, "b")], start=DAY + 8 * HOUR)
    site.run()
    cut = readers.daily("daily_sessions", "2026-11-02", "2026-11-04", url=site.lake).collect()
    assert cut["may_be_cut"].to_list() == ["end", "start"]
    events = readers.events("2026-11-02", "2026-11-04", url=site.lake)
    (whole,) = readers.sessions(events).collect().to_dicts()
    assert [pair["password"] for pair in whole["credentials"]] == ["a", "b"]
    site.check()


@CUT
def test_a_late_event_joins_two_sessions_to_one(stream: Stream, tmp_path: Path) -> None:
    late, whole = Site.at(tmp_path / "late", stream), Site.at(tmp_path / "whole")
    early, between, after = (visit(DAY + time * MINUTE, "a") for time in (352, 359, 366))
    other = [event(DAY + 359 * MINUTE, src_port=1)]
    late.put([*early, *after, *other], start=DAY + 8 * HOUR)
    late.run()
    assert [row["events"] for row in late.daily("daily_sessions")] == [1, 1, 1]
    late.put(between, start=DAY + 9 * HOUR, first=3)
    work = late.run()
    assert (work.published, work.rolled) == ([DAY + 5 * HOUR], [DAY])
    assert [row["events"] for row in late.daily("daily_sessions")] == [3, 1]
    whole.put([*early, *between, *after, *other], start=DAY + 8 * HOUR)
    whole.run()
    folder = "daily/daily_sessions"
    assert late.objects(folder) == whole.objects(folder)
    late.check()


def test_a_day_without_events_has_no_object(tmp_path: Path) -> None:
    site = Site.at(tmp_path)
    site.pipeline().roll_day(DAY)
    assert site.objects("daily") == {}


@pytest.mark.parametrize(
    ("is_said", "stands"),
    [(b'["root","b"]', b'["root","c"]'), (b'{"sensor":"lab-1","src_ip":"192.0.2.7"', b"")],
    ids=["changed", "lost"],
)
def test_verify_finds_a_session_that_was(is_said: bytes, stands: bytes, tmp_path: Path) -> None:
    site = Site.at(tmp_path)
    site.put(visit(DAY + HOUR, "a", "b"), start=DAY + 8 * HOUR)
    site.run()
    path = "stingar/daily/daily_sessions/date=2026-11-03/daily_sessions.json"
    lines = site.lake_store.read(path).splitlines(keepends=True)
    assert any(is_said in line for line in lines)
    changed = [line.replace(is_said, stands) if stands else b"" for line in lines]
    site.lake_store.write(path, b"".join(changed))
    problems = verify(site.pipeline()).problems
    assert [problem.place for problem in problems] == ["daily_sessions 2026-11-03"]


WITHOUT_CREDENTIALS = tuple(item for item in DAILY_SESSIONS.columns if item.name != "credentials")
UPPER_CASE = (*DAILY_SESSIONS.finished, pl.col("sensor").str.to_uppercase())


@pytest.mark.parametrize(
    ("newer", "credentials", "sensor"),
    [
        (replace(DAILY_SESSIONS, columns=WITHOUT_CREDENTIALS), False, "lab-1"),
        (replace(DAILY_SESSIONS, finished=UPPER_CASE, revision=2), True, "LAB-1"),
    ],
    ids=["other columns", "the same columns made otherwise"],
)
def test_rows_that_hours_keep_in_an_earlier_form_are_made_anew(
    newer: DailyTable, credentials: bool, sensor: str, tmp_path: Path
) -> None:
    site = Site.at(tmp_path)
    site.put(visit(DAY + HOUR, "a", "b"), start=DAY + 8 * HOUR)
    site.run()
    tables = tuple(newer if table is DAILY_SESSIONS else table for table in STINGAR.tables)
    site.pipeline(replace(STINGAR, tables=tables)).roll_day(DAY)
    (row,) = site.daily("daily_sessions")
    assert ("credentials" in row) == credentials
    assert row["sensor"] == sensor
    assert row["login_attempts"] == 2


def test_an_hour_keeps_partials_only_of_sessions_that_may_go_on() -> None:
    events = [at(6 * HOUR + number * MINUTE, src_port=number) for number in range(60)]
    partials = DAILY_SESSIONS.partials(frame_of(events))
    kept = kept_rows(DAILY_SESSIONS, partials, DAY + 6 * HOUR, DAY + 7 * HOUR)
    assert kept.open["src_port"].to_list() == [*range(11), *range(50, 60)]


def test_an_hour_whose_partial_was_lost_is_counted_in_the_order_of_its_events(
    tmp_path: Path,
) -> None:
    site = Site.at(tmp_path)
    site.put(visit(DAY + HOUR, *"dc"), start=DAY + 9 * HOUR)
    site.put(visit(DAY + HOUR, *"ba"), start=DAY + 8 * HOUR, first=2)
    site.run()
    before = site.objects("daily")
    for path in site.objects("rollups"):
        site.lake_store.remove(path)
    for path in site.objects("daily"):
        site.lake_store.remove(path)
    site.pipeline().roll_day(DAY)
    assert site.objects("daily") == before


def test_an_hour_is_not_held_with_all_its_columns_for_the_sake_of_sessions() -> None:
    assert len(DAILY_SESSIONS.needs(STINGAR.schema)) < 20
