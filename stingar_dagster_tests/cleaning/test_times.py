"""An event's own time in every form that senders write, and what stands in for it.

The column parser is held against `parse_time`, and that against a table written by hand.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from time import process_time
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stingar_dagster.capture.records import NO_TIME, Records, epoch_us
from stingar_dagster.cleaning.clean import Cleaner, Rules
from stingar_dagster.cleaning.times import parse_column, parse_time
from stingar_dagster.streams import STINGAR

START = datetime(2020, 1, 1, tzinfo=UTC)
HOUR = datetime(2022, 5, 19, 17, tzinfo=UTC)
ENQUEUED = datetime(2022, 5, 19, 17, 8, 30, 250_000, tzinfo=UTC)
CLEANER = Cleaner(STINGAR, Rules(start=START, max_body_bytes=1_000_000))


def at(text: str) -> int:
    """Microseconds of a time in Python's own reading."""
    return epoch_us(datetime.fromisoformat(text))


def clean(body: object, enqueued: datetime | int | None = ENQUEUED) -> dict[str, Any]:
    """The event of a body, without its nulls."""
    data = json.dumps(body).encode()
    received = epoch_us(enqueued) if isinstance(enqueued, datetime) else enqueued
    records = Records(
        buffer=data,
        capture=np.zeros(1, np.int32),
        sequence=np.zeros(1, np.int64),
        enqueued_us=np.array([NO_TIME if received is None else received], np.int64),
        body_start=np.zeros(1, np.int64),
        body_length=np.array([len(data)], np.int64),
    )
    outcome = CLEANER.clean(records, HOUR)
    assert outcome.rejected == []
    (row,) = outcome.events.to_dicts()
    return {key: value for key, value in row.items() if value is not None}


def extra(row: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(row.get("extra", "{}"))
    return kept


# The column parser and its slow twin


def _digits(width: int) -> st.SearchStrategy[str]:
    return st.text("0123456789", min_size=width, max_size=width)


def _whole(low: int, high: int, width: int) -> st.SearchStrategy[str]:
    return st.integers(low, high).map(lambda number: f"{number:0{width}}")


_dates = st.tuples(
    _whole(1, 9999, 4) | _whole(1969, 2040, 4) | _digits(4), _whole(0, 13, 2), _whole(0, 32, 2)
).map("-".join)
_clocks = st.tuples(_whole(0, 25, 2), _whole(0, 61, 2), _whole(0, 61, 2)).map(":".join)
_fractions = st.just("") | st.tuples(
    st.sampled_from([".", ".", ","]), st.text("0123456789", max_size=32)
).map("".join)
_zones = st.sampled_from(["", "Z", "z", "UTC", " GMT", "+00", "+0000", "-0330", " +02:00"]) | (
    st.tuples(st.sampled_from("+-"), _whole(0, 25, 2), st.sampled_from(["", ":"]), _whole(0, 61, 2))
).map("".join)
_iso = st.tuples(_dates, st.sampled_from("TTTt _"), _clocks, _fractions, _zones).map("".join)
_epochs = st.tuples(
    st.sampled_from(["", "", "-", "+"]),
    st.integers(0, 10**21).map(str)
    | st.integers(1_577_836_800, 1_900_000_000).map(str)
    | st.integers(1_577_836_800_000, 1_900_000_000_000).map(str),
    st.just("")
    | _digits(3).map(".{}".format)
    | st.text("0123456789", max_size=31).map(".".__add__),
).map("".join)
_junk = st.text(max_size=30) | st.sampled_from(["", " ", "not known", "1e9", "\u0662\u0660\u0662"])


_milliseconds = st.tuples(
    st.integers(0, 9999), st.integers(0, 13), st.integers(0, 32), st.integers(0, 25),
    st.integers(0, 61), st.integers(0, 61), st.integers(0, 999), st.sampled_from("ZZZZz+ "),
).map(lambda parts: "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}{}".format(*parts))  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.none() | _milliseconds | _iso | _epochs | _junk, max_size=40))
@example(["2022-05-19T17:08:21.19\u00e9", "2022-05-19T17:08:21.1990", "2022-05-19 17:08:21.199Z"])
@example(["2024-02-29T00:00:00.000Z", "2023-02-29T00:00:00.000Z", "2000-12-31T23:59:59.999Z"])
@example(["2022-05-19T17:08:21Z\n", "\uff12022-05-19T17:08:21Z", "2022-05-19T17:08:21.\u0661Z"])
@example(["0000-01-01T00:00:00Z", "0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59.9999999-00:01"])
@example(["1969-12-31T23:59:59.9999999Z", "2022-05-19T24:00:00Z", "2022-02-29T00:00:00Z"])
@example(["2022-05-19T17:00:00+24:00", "2022-05-19T17:00:00+23:60", "2022-05-19T17:08:60Z"])
def test_the_column_parser_reads_every_text_as_its_slow_twin(texts: list[str | None]) -> None:
    column = parse_column(pl.Series("time", texts, dtype=pl.String))
    assert column.us.to_list() == [None if text is None else parse_time(text) for text in texts]


@settings(max_examples=100, deadline=None)
@given(
    st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)),
    st.integers(-23 * 60 - 59, 23 * 60 + 59),
    st.integers(0, 6),
)
def test_iso_texts_are_read_as_python_reads_them(
    time: datetime, offset_minutes: int, digits: int
) -> None:
    fraction = f".{time.microsecond:06}"[: digits + 1] if digits else ""
    sign, offset = "-" if offset_minutes < 0 else "+", abs(offset_minutes)
    text = f"{time:%Y-%m-%dT%H:%M:%S}{fraction}{sign}{offset // 60:02}:{offset % 60:02}"
    assert parse_time(text) == parse_column(pl.Series([text])).us[0] == at(text)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2022-05-19T17:08:21.199Z", "2022-05-19T17:08:21.199Z"),
        ("2022-05-19T17:08:21Z", "2022-05-19T17:08:21Z"),
        ("2022-05-19T17:08:21", "2022-05-19T17:08:21Z"),
        ("2022-05-19T17:08:21.199123", "2022-05-19T17:08:21.199123Z"),
        ("2022-05-19T17:08:21.199123456Z", "2022-05-19T17:08:21.199123Z"),
        ("2022-05-19T17:08:21.1999999999999999Z", "2022-05-19T17:08:21.199999Z"),
        ("2022-05-19 17:08:21,199", "2022-05-19T17:08:21.199Z"),
        ("2022-05-19 17:08:21.199 UTC", "2022-05-19T17:08:21.199Z"),
        ("2022-05-19T17:08:21.199+0000", "2022-05-19T17:08:21.199Z"),
        ("2022-05-19T01:08:21.199+02:00", "2022-05-18T23:08:21.199Z"),
        ("2022-05-18T23:08:21-0330", "2022-05-19T02:38:21Z"),
        ("2022-05-19T17:59:60Z", "2022-05-19T17:59:59Z"),
        ("2022-05-19T17:59:60.250Z", "2022-05-19T17:59:59.250Z"),
        ("1652980101", "2022-05-19T17:08:21Z"),
        ("1652980101.199", "2022-05-19T17:08:21.199Z"),
        ("1652980101199", "2022-05-19T17:08:21.199Z"),
        ("1652980101199.5", "2022-05-19T17:08:21.199500Z"),
        ("1652980101199123", "2022-05-19T17:08:21.199123Z"),
        ("1652980101199123456", "2022-05-19T17:08:21.199123Z"),
        ("-0.5", "1969-12-31T23:59:59.500Z"),
    ],
)
def test_forms_of_time_stamps(text: str, utc: str) -> None:
    assert parse_time(text) == at(utc)


@pytest.mark.parametrize(
    "text",
    [
        *("", "soon", "2022-05-19", "17:08:21", "2022-13-19T17:08:21Z", "2022-02-29T00:00:00Z"),
        *("2022-05-19T24:00:00Z", "2022-05-19T17:60:00Z", "2022-05-19T17:08:61Z", "9" * 5_000),
        *("2022-05-19T17:08:21+24:00", "2022-05-19T17:08:21 CEST", "1e9", "\u0661\u0662"),
    ],
)
def test_what_is_no_time_stamp(text: str) -> None:
    assert parse_time(text) is None


# An event's own time


@pytest.mark.parametrize(
    ("sent", "utc"),
    [
        ("2022-05-19T17:08:21.199Z", "2022-05-19T17:08:21.199Z"),
        ("2022-05-19T01:30:00+02:00", "2022-05-18T23:30:00Z"),
        ("2022-05-18T20:30:00-05:00", "2022-05-19T01:30:00Z"),
        ("2022-05-19T17:08:21", "2022-05-19T17:08:21Z"),
        ("2022-05-19T16:59:60Z", "2022-05-19T16:59:59Z"),
        ("2022-05-19T17:08:21.123456789Z", "2022-05-19T17:08:21.123456Z"),
        (1652980101, "2022-05-19T17:08:21Z"),
        (1652980101.25, "2022-05-19T17:08:21.250Z"),
        (1652980101199, "2022-05-19T17:08:21.199Z"),
        ("1652980101199", "2022-05-19T17:08:21.199Z"),
        ({"$date": "2022-05-19T17:08:21.199+0000"}, "2022-05-19T17:08:21.199Z"),
        ({"$date": 1652980101199}, "2022-05-19T17:08:21.199Z"),
    ],
)
@pytest.mark.parametrize("field", STINGAR.time_fields)
def test_an_events_own_time_in_any_form_places_it(field: str, sent: object, utc: str) -> None:
    row = clean({field: sent})
    assert row["time_us"] == at(utc)
    assert "time_source" not in row


@pytest.mark.parametrize("missing", [None, "", []])
def test_the_next_time_field_counts_where_the_first_says_nothing(missing: object) -> None:
    row = clean({"@timestamp": missing, "timestamp": "2022-05-19T17:08:21.199Z"})
    assert row["time_us"] == at("2022-05-19T17:08:21.199Z")
    assert "time_source" not in row
    assert "extra" not in row


def test_of_two_times_the_preferred_counts_and_the_other_is_kept() -> None:
    row = clean({"timestamp": "2022-05-19T17:00:00Z", "@timestamp": "2022-05-19T17:08:21.199Z"})
    assert row["time_us"] == at("2022-05-19T17:08:21.199Z")
    assert extra(row) == {"timestamp": "2022-05-19T17:00:00Z"}


def test_an_absurd_preferred_time_gives_way_to_the_next_and_is_kept() -> None:
    row = clean({"@timestamp": "1970-01-01T00:00:00Z", "timestamp": "2022-05-19T17:00:00Z"})
    assert row["time_us"] == at("2022-05-19T17:00:00Z")
    assert "time_source" not in row
    assert extra(row) == {"@timestamp": "1970-01-01T00:00:00Z"}


# What stands in for it

ABSURD = [
    "1970-01-01T00:00:00.000Z",
    "2019-12-31T23:59:59.999Z",
    "2022-05-20T17:08:30.251Z",
    "2099-01-01T00:00:00Z",
    "not known",
    'a "quoted"\\text\n\u00e9\x00',
    0,
    -1.5,
    True,
    {"$date": "soon"},
    {"$date": {"$numberLong": "1652980101199"}},
    ["2022-05-19T17:08:21Z"],
]


@pytest.mark.parametrize("sent", ABSURD)
def test_an_absurd_time_gives_way_to_the_enqueued_time_and_is_kept(sent: object) -> None:
    row = clean({"@timestamp": sent})
    assert (row["time_us"], row["time_source"]) == (epoch_us(ENQUEUED), "enqueued")
    assert extra(row) == {"@timestamp": sent}


@pytest.mark.parametrize("sent", [value for value in ABSURD if value != ABSURD[2]])
def test_without_an_enqueued_time_the_landed_hour_stands_in(sent: object) -> None:
    row = clean({"@timestamp": sent}, enqueued=None)
    assert (row["time_us"], row["time_source"]) == (epoch_us(HOUR), "landed")
    assert "enqueued_us" not in row
    assert extra(row) == {"@timestamp": sent}


@pytest.mark.parametrize("body", [{}, {"@timestamp": None}, {"@timestamp": ""}, {"timestamp": []}])
def test_a_missing_time_leaves_nothing_in_extra(body: object) -> None:
    row = clean(body)
    assert (row["time_us"], row["time_source"]) == (epoch_us(ENQUEUED), "enqueued")
    assert "extra" not in row


@pytest.mark.parametrize(
    "enqueued",
    [
        START - timedelta(microseconds=1),
        datetime(1970, 1, 1, tzinfo=UTC),
        HOUR + timedelta(hours=2),
        datetime(9999, 1, 1, tzinfo=UTC),
    ],
)
def test_an_enqueued_time_that_cannot_be_places_no_event(enqueued: datetime) -> None:
    row = clean({}, enqueued)
    assert (row["time_us"], row["time_source"]) == (epoch_us(HOUR), "landed")
    far = clean({"@timestamp": "2022-05-20T18:00:00.001Z"}, enqueued)
    assert (far["time_us"], far["time_source"]) == (epoch_us(HOUR), "landed")
    near = clean({"@timestamp": "2022-05-20T18:00:00.000Z"}, enqueued)
    assert near["time_us"] == at("2022-05-20T18:00:00Z")
    assert "time_source" not in near


@pytest.mark.parametrize(
    "own", [ENQUEUED + timedelta(hours=24), START, ENQUEUED - timedelta(days=800)]
)
def test_the_limits_themselves_are_an_events_own_time(own: datetime) -> None:
    row = clean({"@timestamp": own.isoformat()})
    assert row["time_us"] == epoch_us(own)
    assert "time_source" not in row


@pytest.mark.parametrize("off", [timedelta(hours=24, microseconds=1), timedelta(hours=25)])
def test_just_beyond_a_day_ahead_is_absurd(off: timedelta) -> None:
    assert clean({"@timestamp": (ENQUEUED + off).isoformat()})["time_source"] == "enqueued"


# What of the text is kept


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("2022-05-19T17:08:21.199Z", False),
        ("2022-05-19T17:08:21Z", False),
        ("2022-05-19T17:08:21.199000000Z", False),
        ("2022-05-19T19:08:21.1+02:00", False),
        ("2022-05-19T17:08:21.1991Z", True),
        ("2022-05-19T17:08:21.199000001Z", True),
        ("2022-05-19T17:08:21.0000000000Z", True),
        ("2022-05-19 17:08:21", True),
        ("2022-05-19T16:59:60Z", True),
        ("1652980101199", True),
        (1652980101199, True),
        ({"$date": "2022-05-19T17:08:21.199Z"}, True),
    ],
)
def test_a_text_that_says_more_than_the_published_time_is_kept(sent: object, kept: bool) -> None:
    row = clean({"@timestamp": sent})
    assert "time_source" not in row
    assert extra(row) == ({"@timestamp": sent} if kept else {})


@settings(max_examples=60, deadline=None)
@given(_iso | _milliseconds)
def test_only_texts_that_can_be_told_from_the_milliseconds_are_dropped(text: str) -> None:
    (exact,) = parse_column(pl.Series([text])).exact
    time = parse_time(text)
    if exact and time is not None:
        assert time % 1_000 == 0


# Time and size


@pytest.mark.parametrize("unit", ["0", "2022-05-19T17:08:21.0", "-", "1.", ":", "\u0661"])
def test_reading_takes_time_in_proportion_to_the_text(unit: str) -> None:
    def seconds(size: int) -> float:
        texts = pl.Series([unit * (size // len(unit.encode()))])
        started = process_time()
        parse_column(texts)
        return process_time() - started

    baseline = min(seconds(50_000) for _ in range(3))
    assert min(seconds(1_000_000) for _ in range(3)) < 40 * max(baseline, 1e-3)
