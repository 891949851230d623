"""The fast way and the exact way give the same events, whatever a body holds.

What those events are is tested in the other files here: this one only holds the two ways against
each other, and both against "never raises, never loses a body".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import process_time

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from stingar_dagster.capture.records import NO_TIME, Records, epoch_us
from stingar_dagster.cleaning import flat
from stingar_dagster.cleaning.clean import Cleaned, Cleaner, Rules
from stingar_dagster.cleaning.reasons import Reason, Rejected
from stingar_dagster.samples.traffic import traffic
from stingar_dagster.streams import STINGAR
from stingar_dagster.streams.stream import Field, FieldKind

HOUR = datetime(2022, 5, 19, 17, tzinfo=UTC)
CLEANER = Cleaner(STINGAR, Rules(start=datetime(2020, 1, 1, tzinfo=UTC), max_body_bytes=50_000))


def examples(count: int) -> settings:
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def captured(bodies: Sequence[bytes | None]) -> Records:
    lengths = [-1 if body is None else len(body) for body in bodies]
    ends = np.cumsum([0, *(max(length, 0) for length in lengths)])
    enqueued = [NO_TIME if n % 3 == 2 else epoch_us(HOUR) + n for n in range(len(bodies))]
    return Records(
        buffer=b"".join(body or b"" for body in bodies),
        capture=np.zeros(len(bodies), np.int32),
        sequence=np.arange(len(bodies), dtype=np.int64),
        enqueued_us=np.array(enqueued, np.int64),
        body_start=ends[:-1].astype(np.int64),
        body_length=np.array(lengths, np.int64),
    )


def in_order(cleaned: Cleaned) -> tuple[pl.DataFrame, list[Rejected]]:
    rejected = sorted(cleaned.rejected, key=lambda item: (item.record, item.sub))
    return cleaned.events.sort("record", "sub"), rejected


def cleaned_both_ways(bodies: Sequence[bytes | None]) -> tuple[pl.DataFrame, list[Rejected]]:
    """What the bodies come to, both ways having agreed on it."""
    records = captured(bodies)
    events, rejected = in_order(CLEANER.clean(records, HOUR))
    exact = CLEANER.clean_rows(CLEANER.gate.decode_exactly(records), records, HOUR)
    exact_events, exact_rejected = in_order(exact)
    assert_frame_equal(events, exact_events)
    assert rejected == exact_rejected
    outcomes = {*events["record"], *(item.record for item in rejected)}
    assert outcomes == set(range(len(bodies)))
    return events, rejected


# Any bytes, any JSON


@examples(50)
@given(st.lists(st.none() | st.binary(max_size=80), max_size=20))
def test_any_bytes_come_out_the_same_both_ways(bodies: list[bytes | None]) -> None:
    cleaned_both_ways(bodies)


_names = [field.name for field in STINGAR.fields]
_aliases = [alias for field in STINGAR.fields for alias in field.aliases]
_common_keys = st.sampled_from(
    ["type", "app", "src_port", "tags", "loggedin", "host", "agent", "sensor", "@timestamp"]
)
_keys = _common_keys | st.sampled_from(
    [
        *(_names + _aliases + [*STINGAR.time_fields, *STINGAR.unwrap]),
        *("unknown", "event_id", "extra", "original_body", "records", "", "caf\u00e9", "a.b"),
    ]
)
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
_values = st.recursive(
    _scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(_keys | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@examples(60)
@given(st.lists(st.dictionaries(_keys, _values, max_size=6) | _values, max_size=10), st.booleans())
def test_any_json_value_comes_out_the_same_both_ways(values: list[object], ascii: bool) -> None:
    # What Python's json writes, lone surrogates (as escapes), NaN and Infinity included.
    bodies = [
        json.dumps(value, ensure_ascii=ascii).encode("utf-8", "surrogatepass") for value in values
    ]
    cleaned_both_ways(bodies)


_texts = st.sampled_from(
    [
        *("null", '""', "[]", "[ ]", "{}", "[null]", "true", "0", "-0", "22", "22.0", "2.2e1"),
        *("65535", "65536", "1e999", "-1e999", "9" * 30, "9" * 5000, "NaN", "-Infinity", "01"),
        *('"22"', '"0022"', '"-5"', '"65536"', '"9223372036854775808"', '"a"', '"A, b"'),
        *('"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\\\ud800"', '"\\u0000"'),
        *('"caf\u00e9"', '"say \\"a\\":1"', '"x :y"', '"a\\nb"', '"a\nb"', '"a\x00"', '"\\q"'),
        *('["a","b"]', '["a,b",""]', '["root",""]', '["a",1,true,2.50]', "[1e999]"),
        *('["\\ud800","b"]', '[{"a":"caf\u00e9"}]', '{"a":{"b":[1]}}', '{"a":1,"a":2}'),
        *('{"hostname":"h","uuid":"u"}', '{"hostname":"","uuid":"u"}', '{"type":"x","pot":1}'),
        *('"2022-05-19T17:08:21.199Z"', '"2022-05-19 17:08:21,199"', "1652980101199"),
        *('{"$date":"2022-05-19T17:08:21.199+0000"}', '{"$date":1}', '"1970-01-01T00:00:00Z"'),
        *("'single'", "", "[", "}", '"'),
    ]
)
_blanks = st.sampled_from(["", "", "", " ", "\n", "\t"])


@st.composite
def bodies_by_hand(draw: st.DrawFn) -> bytes:
    """Objects as careless hands write them: keys twice, blanks anywhere, values of no kind."""
    members = draw(st.lists(st.tuples(_keys, _blanks, _blanks, _texts), max_size=5))
    text = ",".join(f"{json.dumps(key)}{a}:{b}{value}" for key, a, b, value in members)
    body = f"{draw(_blanks)}{{{text}{draw(_blanks)}}}{draw(_blanks)}"
    shape = draw(
        st.sampled_from(["{}", "{}", "{}", "\ufeff{}", "[{}]", '{{"records":[{}]}}', "{}x"])
    )
    return shape.format(body).encode()


@examples(120)
@given(st.lists(bodies_by_hand(), min_size=1, max_size=12))
def test_carelessly_written_objects_come_out_the_same_both_ways(bodies: list[bytes]) -> None:
    cleaned_both_ways(bodies)


@examples(40)
@given(st.lists(bodies_by_hand(), min_size=2, max_size=4), st.sampled_from([b"\n", b"\r\n", b","]))
def test_several_objects_in_a_body_come_out_the_same_both_ways(
    objects: list[bytes], separator: bytes
) -> None:
    joined = separator.join(objects)
    cleaned_both_ways([joined, b"[" + joined + b"]", b'{"records": [' + joined + b"]}"])


@examples(60)
@given(st.data())
def test_events_with_bytes_changed_come_out_the_same_both_ways(data: st.DataObject) -> None:
    body = bytearray(
        b'{"type":"cowrie.sessions","src_port":"49686","tags":["a,b"],"loggedin":["root",""],'
        b'"host":{"name":"x","ip":["192.0.2.1"]},"command":"echo \\"a\\": \\u00e9",'
        b'"@timestamp":"2022-05-19T17:08:21.199Z","sensor":"s"}'
    )
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at] = data.draw(st.sampled_from(list(b'{}[]",:\\\x00\n 1eu\xff\xc3')))
    cleaned_both_ways([bytes(body), b'{"type":"p0f.events"}'])


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_drifting_and_damaged_traffic_comes_out_the_same_both_ways(seed: int) -> None:
    samples = traffic(
        HOUR, HOUR + timedelta(hours=1), events_per_hour=1_500, seed=seed, drift=0.5, damage=0.2
    )
    events, rejected = cleaned_both_ways([sample.body for sample in samples])
    assert len(events) > 1_000
    assert {Reason.NOT_JSON, Reason.NOT_UTF8, Reason.EMPTY_BODY} <= {r.reason for r in rejected}


# What once told them apart, or could


@pytest.mark.parametrize(
    "body",
    [
        b'{"app":"a","app":"b"}',
        b'{"app":null,"app":"b"}',
        b'{"app":"a","app":null}',
        b'{"app" :"a", "app" :"b"}',
        b'{"app" :"a","app":"b"}',
        b'{"app":"a","app"\n:"b"}',
        b'{"app":"x\\":","app":"b"}',
        b'{"host":{"a":1},"host":"b"}',
        b'{"host":"b","host":{"a":1}}',
        b'{"tags":["a\\":"],"tags":["b"]}',
        b'{"\\u0061pp":"a","app":"b"}',
    ],
)
def test_a_key_twice_is_refused_also_by_the_fast_way(body: bytes) -> None:
    events, rejected = cleaned_both_ways([body])
    assert events.is_empty()
    assert [(item.reason, item.body) for item in rejected] == [(Reason.DUPLICATE_KEY, body)]


@pytest.mark.parametrize(
    "body",
    [
        b'{"command":"echo \\"a\\":1"}',
        b'{"host":{"a":1,"b":{"c":2}},"app":"x"}',
        b'{"app":null,"command":"x"}',
        b'{"command" :"x"}',
        b'{"command":"x :y"}',
    ],
)
def test_what_only_looks_like_a_key_twice_is_an_event(body: bytes) -> None:
    events, rejected = cleaned_both_ways([body])
    assert (len(events), rejected) == (1, [])


@pytest.mark.parametrize(
    "poison",
    [b'{"host":"\xff"}', b'{"tags":["\xff"]}', b'{"tags":[1e999]}', b'{"loggedin":["a",1e999]}'],
)
def test_one_unreadable_value_leaves_its_neighbours_alone(poison: bytes) -> None:
    neighbour = b'{"host":{"name":"a"},"tags":["x"],"loggedin":["root","toor"]}'
    events, _ = cleaned_both_ways([neighbour, poison, neighbour])
    assert events.filter(pl.col("record") != 1)["extra"].to_list() == ['{"host":{"name":"a"}}'] * 2
    assert events.filter(pl.col("record") != 1)["tags"].to_list() == [["x"]] * 2


def test_a_body_that_is_too_large_is_refused_also_by_the_fast_way() -> None:
    body = b'{"command":"' + b"x" * (CLEANER.rules.max_body_bytes - 14) + b'"}'
    events, rejected = cleaned_both_ways([body, body + b" "])
    assert events["record"].to_list() == [0]
    assert [item.reason for item in rejected] == [Reason.TOO_LARGE]


def test_metadata_that_is_nested_too_deep_is_refused_also_by_the_fast_way() -> None:
    bodies = [b'{"host":' + b"[" * levels + b"1" + b"]" * levels + b"}" for levels in (99, 100)]
    events, rejected = cleaned_both_ways(bodies)
    assert events["record"].to_list() == [0]
    assert [item.reason for item in rejected] == [Reason.TOO_DEEP]


def test_metadata_is_kept_in_one_order_however_it_was_sent() -> None:
    sent = [b'{"agent":1,"host":2}', b'{"host":2,"agent":1}', b'{"agent":1,"new":3,"host":2}']
    events, _ = cleaned_both_ways(sent)
    alike, also, drifted = events["extra"]
    assert alike == also == '{"host":2,"agent":1}'
    assert drifted == '{"host":2,"agent":1,"new":3}'


def test_what_one_event_keeps_is_not_kept_for_another() -> None:
    exact, finer = "2022-05-19T17:08:21.199Z", "2022-05-19T17:08:21.1991Z"
    sent: list[dict[str, object]] = [
        {"@timestamp": exact, "new": 1},
        {"@timestamp": finer},
        {"@timestamp": exact, "timestamp": exact},
        {"@timestamp": exact, "timestamp": exact, "newer": "x"},
        {"@timestamp": exact},
    ]
    events, _ = cleaned_both_ways([json.dumps(event).encode() for event in sent])
    assert events["extra"].to_list() == [
        '{"new":1}',
        f'{{"@timestamp":"{finer}"}}',
        f'{{"timestamp":"{exact}"}}',
        f'{{"newer":"x","timestamp":"{exact}"}}',
        None,
    ]


def test_no_records_are_no_events() -> None:
    events, rejected = cleaned_both_ways([])
    assert (events.height, rejected) == (0, [])
    assert set(events.columns) >= {"record", "time_us", "extra", "event_kind"}


def test_usual_events_never_take_the_exact_way() -> None:
    usual = (
        b'{"type":"cowrie.sessions","src_port":49686,"dest_port":"22","tags":["a"],"url":null,'
        b'"loggedin":["root","caf\xc3\xa9"],"@timestamp":"2022-05-19T17:08:21.199Z","sensor":"s"}'
    )
    with_blanks = usual.replace(b",", b", ").replace(b":", b": ")
    escaped = b'{"command":"echo \\"a\\\\\\"","tags":["\\u00e9"],"url":"C:\\\\"}'
    shipped = b'{"host":{"name":"s"},"agent":{"type":"filebeat","n":[1,2.5,{}]},"@version":"1"}'
    drifted = b'{"new":1,"newer":{"a":["b"]},"app":"cowrie","src_port":65535}'
    cleaner = Cleaner(STINGAR, CLEANER.rules)
    del cleaner.gate._exact
    bodies = [usual, with_blanks, escaped, shipped, drifted]
    assert len(cleaner.clean(captured(bodies), HOUR).events) == len(bodies)
    with pytest.raises(AttributeError):
        cleaner.clean(captured([b'{"src_port":1.5}']), HOUR)


@pytest.mark.parametrize(
    "body",
    [
        b'{"app":"a" "sensor":"b"}',
        b'{"app":"a":"b"}',
        b'{"app","sensor":"b"}',
        b'{"app":"a",}',
        b'{"app":,"sensor":"b"}',
        b'{"app":"a"}}',
        b'{"app":"a"},{"app":"b"}',
        b'{"app":["a"}]',
        b'{"app":["a"]]}',
        b'{"tags":["a",]}',
        b'{"tags":["a"]"app":"b"}',
        b'{"tags":["a"] ,"app":"b"}',
        b'{"tags":[ "a" ] ,"app":"b" }',
        b'{"host":  {"a":"b"}  ,"app":"b"}',
        b'{"host":{"a":"b"},,"app":"b"}',
        b'{"new":{"a":"b"}"app":"b"}',
        b'{"new":{"a" "b"}}',
        b'{"new":01,"app":"b"}',
        b'{"new":1 2,"app":"b"}',
        b'{"new":1,2}',
        b'{"new":[1,"a"},"app":["b"]}',
        b'{"new":"]","newer":"[","newest":["}"]}',
        b'{"new":"\\ud800"}',
        b'{"new":["\\ud800"]}',
        b'{"new":"\\x"}',
        b'{"new":["\\x"]}',
        b'{"headers":{"a":"\\ud800"}}',
        b'{"headers":["\\x"]}',
        b'{"src_port"x1}',
        b'{"new"x1,"app":"b"}',
        b'{"src_port":1x"app":"b"}',
        b'{"new":1;"app":"b"}',
        b'{"ne\\u0077":1}',
        b'{"app":"a","\\u0061pp":"b"}',
        b'{"new":1,"new":1}',
        b'{"new":null,"new":null}',
        b'{"app":null,"app":null}',
        b'{"src_port":-1}',
        b'{"src_port":65536}',
        b'{"src_port":"065"}',
        b'{"ip_len":9223372036854775808}',
        b'{"ip_len":-0}',
        b'{"":"a"}',
        b"{}",
        b'{"records":[{"app":"a"}]}',
        b'{"hp_data":{"app":"a"}}',
        b'{"dst_ip":"192.0.2.1"}',
    ],
)
def test_what_is_hardly_or_hardly_not_an_object_comes_out_the_same_both_ways(body: bytes) -> None:
    cleaned_both_ways([b'{"app":"before"}', body, b'{"app":"behind"}'])


def test_bodies_are_looked_at_in_pieces_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [
        sample.body
        for sample in traffic(HOUR, HOUR + timedelta(hours=1), events_per_hour=400, seed=5)
    ]
    expected = cleaned_both_ways(bodies)
    for size in (1, 500, 5000):
        monkeypatch.setattr(flat, "_CHUNK_BYTES", size)
        events, rejected = cleaned_both_ways(bodies)
        assert_frame_equal(events, expected[0])
        assert rejected == expected[1]


@pytest.mark.parametrize(
    ("head", "unit", "tail"),
    [
        (b'{"command":"', b"\\\\", b'"}'),
        (b'{"command":"', b'\\"', b'"}'),
        (b'{"command":"', b"\xc3\xa9", b'"}'),
        (b'{"tags":[', b'"a",', b'"a"]}'),
        (b'{"new":[', b"1,", b"1]}"),
        (b'{"new":', b"1", b"}"),
        (b'{"new":[', b'{"a":[]},', b"1]}"),
        (b'{"new":', b"[", b"1}"),
        (b'{"new":"', b'","a":"', b'"}'),
        (b'{"app":"a"', b" ", b"}"),
        (b'{"app":"a"', b',"":""', b"}"),
    ],
)
def test_a_body_takes_time_in_proportion_to_its_size(head: bytes, unit: bytes, tail: bytes) -> None:
    cleaner = Cleaner(STINGAR, Rules(start=CLEANER.rules.start, max_body_bytes=2_000_000))

    def seconds(size: int) -> float:
        records = captured([head + unit * (size // len(unit)) + tail])
        started = process_time()
        cleaner.gate.decode(records)
        return process_time() - started

    baseline = min(seconds(50_000) for _ in range(3))
    assert min(seconds(1_000_000) for _ in range(3)) < 40 * max(baseline, 0.005)


def test_fields_whose_names_are_hard_to_tell_apart_are_read_all_the_same() -> None:
    alike = [f"long_name_{n}_tail" for n in range(3)]
    long = ["x" * 30, "x" * 31]
    fields = [Field(name, FieldKind.TEXT, "") for name in (*alike, *long, "a", "b")]
    stream = replace(STINGAR, fields=tuple(fields), derived=(), steps=(), tables=(), unwrap=())
    cleaner = Cleaner(stream, CLEANER.rules)
    body = json.dumps({field.name: f"value {n}" for n, field in enumerate(fields)}).encode()
    (row,) = cleaner.clean(captured([body]), HOUR).events.to_dicts()
    assert {name: row[name] for name in (*alike, *long, "a", "b")} == json.loads(body)
    assert row["extra"] is None
