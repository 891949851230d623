"""Nothing of a body is lost: it stands in its typed field, or in `extra` as it was sent, or the
body is refused with a reason and kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import process_time
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stingar_dagster.capture.records import Records, epoch_us
from stingar_dagster.cleaning.clean import Cleaner, Rules, with_published_columns
from stingar_dagster.cleaning.exact import (
    MAX_DEPTH,
    ExactDecoder,
    ExactRow,
    depth_exceeds,
    replace_lone_surrogates,
)
from stingar_dagster.cleaning.reasons import Reason, Rejected
from stingar_dagster.streams import STINGAR
from stingar_dagster.streams.formats import ORIGINAL_BODY
from stingar_dagster.streams.stream import Field, FieldKind

HOUR = datetime(2022, 5, 19, 17, tzinfo=UTC)
MAX_BYTES = 60_000
CLEANER = Cleaner(STINGAR, Rules(start=datetime(2020, 1, 1, tzinfo=UTC), max_body_bytes=MAX_BYTES))

Row = dict[str, Any]


def cleaned(*bodies: bytes | None) -> tuple[list[Row], list[Rejected]]:
    """The events without their nulls, and what was rejected, both in order."""
    lengths = [-1 if body is None else len(body) for body in bodies]
    ends = np.cumsum([0, *(max(length, 0) for length in lengths)])
    records = Records(
        buffer=b"".join(body or b"" for body in bodies),
        capture=np.zeros(len(bodies), np.int32),
        sequence=np.arange(len(bodies), dtype=np.int64),
        enqueued_us=np.full(len(bodies), epoch_us(HOUR), np.int64),
        body_start=ends[:-1].astype(np.int64),
        body_length=np.array(lengths, np.int64),
    )
    outcome = CLEANER.clean(records, HOUR)
    rows = outcome.events.sort("record", "sub").to_dicts()
    rejected = sorted(outcome.rejected, key=lambda item: (item.record, item.sub))
    return [
        {key: value for key, value in row.items() if value is not None} for row in rows
    ], rejected


def event(body: bytes | Row) -> Row:
    """The one event of a body."""
    rows, rejected = cleaned(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert rejected == []
    (row,) = rows
    return row


def extra(row: Row) -> Row:
    kept = json.loads(row.get("extra", "{}"))
    assert isinstance(kept, dict)
    return kept


def refusal(body: bytes | None) -> Rejected:
    """Why a body is refused as a whole."""
    rows, rejected = cleaned(body)
    assert rows == []
    (item,) = rejected
    assert item.sub == -1
    assert item.body == (body or b"")
    return item


# Nothing is lost


@dataclass(frozen=True)
class Number:
    """A number as it was written: 1.0 and 1.00 are two."""

    text: str


def read(text: str) -> Any:
    return json.loads(text, parse_int=Number, parse_float=Number)


def says_nothing(value: Any) -> bool:
    return value is None or value == "" or value == []


def is_published(row: Row, name: str, value: Any) -> bool:
    """Whether a typed field says all that was sent, by the words of the declaration alone."""
    kind = {item.name: item.kind for item in STINGAR.fields}.get(name)
    published = row.get(name)
    match kind, value:
        case FieldKind.TEXT, str() if name in ("transport", "protocol", "severity"):
            return bool(published == value.lower())
        case FieldKind.TEXT, str():
            return bool(published == value)
        case ((FieldKind.INTEGER | FieldKind.PORT), (Number(digits) | str(digits))):
            return published is not None and str(published) == digits.replace("-0", "0")
        case FieldKind.LIST, list() | str():
            parts = [value] if isinstance(value, str) else value
            if not all(isinstance(part, str) for part in parts):
                return False
            if name == "tags":
                parts = [piece.strip() for part in parts for piece in part.split(",")]
            return (published or []) == [part for part in parts if part]
        case FieldKind.PAIR, list():
            return bool(published == value)
    return False


def is_time(row: Row, name: str, value: Any) -> bool:
    """Whether the event's time says all that was sent."""
    if name not in STINGAR.time_fields or "time_source" in row or not isinstance(value, str):
        return False
    return datetime.fromisoformat(value) == datetime.fromtimestamp(row["time_us"] / 1e6, UTC)


def lost(row: Row, members: Row, kept: Row) -> list[str]:
    """Members that stand nowhere."""
    aliases = {alias: item.name for item in STINGAR.fields for alias in item.aliases}
    return [
        name
        for name, value in members.items()
        if not (
            says_nothing(value)
            or (name in kept and kept[name] == value)
            or is_published(row, name, value)
            or (name in aliases and is_published(row, aliases[name], value))
            or is_time(row, name, value)
            or (
                name in STINGAR.unwrap
                and isinstance(value, dict)
                and value != {}
                and not lost(row, value, kept.get(name, {}))
            )
        )
    ]


_declared = st.sampled_from([item.name for item in STINGAR.fields])
_often = st.sampled_from(
    ["src_port", "tags", "loggedin", "sensor", "dest_ip", "dst_ip", "dest_port", "dst_port"]
)
_special = st.sampled_from(
    [
        *STINGAR.time_fields,
        *STINGAR.unwrap,
        *("event_id", "enqueued_at", "extra", "time_source", "event_kind", "urls", "hashes"),
    ]
)
_unknown = st.sampled_from(["session", "caf\u00e9", "", 'quote"d', "a.b", "\u0000"])
_names = _often | _declared | _special | _unknown
# No character that JSON can't carry, and none that a normalising step looks for.
_words = st.text(st.characters(codec="utf-8", exclude_characters="b:"), max_size=5)
_numbers = (
    st.integers(-3, 70_000) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
_times = st.sampled_from(
    ["2022-05-19T17:08:21.199Z", "2022-05-19T17:08:21.1991Z", "2022-05-19T19:08:21+02:00", "soon"]
)
_leaves = st.none() | st.booleans() | _numbers | _numbers.map(str) | _words | _times
_lists = st.lists(_words, max_size=3) | st.lists(_leaves, max_size=3)
_flat = st.dictionaries(_names, _leaves | _lists, max_size=4)
_values = _leaves | _lists | _flat | st.dictionaries(_names, _flat, max_size=2)
_objects = st.dictionaries(_names, _values, max_size=6) | st.fixed_dictionaries(
    {"hp_data": _flat, "dst_ip": _words}, optional={"dest_ip": _words, "username": _leaves}
)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_objects, min_size=1, max_size=12), st.booleans())
def test_every_member_of_an_object_stands_in_its_field_or_in_extra(
    objects: list[Row], ascii: bool
) -> None:
    bodies = [json.dumps(value, ensure_ascii=ascii) for value in objects]
    rows, rejected = cleaned(*(body.encode() for body in bodies))
    refused = {item.record for item in rejected}
    for index in refused:  # an envelope is no event
        assert list(objects[index]) == ["records"]
    events = {row["record"]: row for row in rows}
    for index, body in enumerate(bodies):
        if index not in refused:
            row = events[index]
            assert lost(row, read(body), read(row.get("extra", "{}"))) == []


@pytest.mark.parametrize(
    "text", ["1.00", "1e5", "-0.0", "1e999", "9" * 400, "9" * 5_000, "0.1000000000000000055"]
)
def test_numbers_are_kept_digit_by_digit(text: str) -> None:
    for key in ("new", "sensor", "src_port", "tags", "host", "@timestamp"):
        assert event(f'{{"{key}":{text}}}'.encode())["extra"] == f'{{"{key}":{text}}}'
    assert event(f'{{"tags":["a",{text}]}}'.encode())["extra"] == f'{{"tags":["a",{text}]}}'


def test_nested_values_are_kept_character_by_character() -> None:
    sent = b'{ "a" : [1,\t{"k":1, "k":2}], "caf\\u00e9": "\\u00e9" }'
    assert event(b'{"new": ' + sent + b"}")["extra"] == '{"new":' + sent.decode() + "}"


@pytest.mark.parametrize(
    "name",
    ["event_id", "enqueued_at", "extra", "time_source", "event_kind", "urls", "hashes"],
)
def test_a_body_cannot_speak_for_the_engine(name: str) -> None:
    plain = event(b'{"command":"ls"}')
    row = event({"command": "ls", name: "x"})
    assert extra(row) == {name: "x"}
    assert {**row, "extra": None} == {**plain, "extra": None}


@pytest.mark.parametrize(
    ("name", "value", "published"),
    [
        ("sensor", 7, "7"),
        ("sensor", True, "true"),
        ("sensor", {"uuid": "u", "hostname": "h"}, "h"),
        ("sensor", {"uuid": "u", "hostname": ""}, "u"),
        ("tags", [1, "a", True], ["1", "a", "true"]),
    ],
)
def test_what_can_be_read_is_published_and_kept_as_sent_besides(
    name: str, value: object, published: object
) -> None:
    row = event({name: value})
    assert row[name] == published
    assert extra(row) == {name: value}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sensor", ["a"]),
        ("sensor", {"name": "a"}),
        ("command", ["uname", "-a"]),
        ("src_port", 22.0),
        ("src_port", -1),
        ("src_port", True),
        ("src_port", {"number": 22}),
        ("bytes", 2**63),
        ("tags", {"added": []}),
        ("tags", ["a", None]),
        ("tags", 5),
        ("loggedin", ["root"]),
        ("loggedin", ["root", "a", "b"]),
        ("loggedin", ["root", 1]),
        ("loggedin", {"user": "root"}),
        ("host", {"name": "a"}),
        ("hp_data", "text"),
        ("hp_data", {}),
    ],
)
def test_what_does_not_fit_its_field_is_kept_as_sent(name: str, value: object) -> None:
    row = event({name: value})
    assert name not in row
    assert extra(row) == {name: value}


# Aliases and wrapped fields


def test_the_nested_form_of_the_second_version_comes_out_flat() -> None:
    sensor = {"uuid": "5f0a", "hostname": "campus-1", "tags": ["edge"], "asn": 64496}
    row = event(
        {
            "type": "cowrie.sessions",
            "sensor": sensor,
            "start_time": "2022-05-19T17:08:20.000Z",
            "end_time": "2022-05-19T17:08:21.000Z",
            "src_ip": "203.0.113.7",
            "dst_ip": "198.51.100.9",
            "dst_port": "2222",
            "hp_data": {"command": "uname", "loggedin": ["root", "x"], "session": "a1", "md5": 5},
        }
    )
    assert row["time_us"] == epoch_us(datetime(2022, 5, 19, 17, 8, 20, tzinfo=UTC))
    assert "time_source" not in row
    assert (row["sensor"], row["dest_ip"], row["dest_port"]) == ("campus-1", "198.51.100.9", 2222)
    assert (row["command"], row["loggedin"]) == ("uname", ["root", "x"])
    assert extra(row) == {
        "sensor": sensor,
        "end_time": "2022-05-19T17:08:21.000Z",
        "hp_data": {"session": "a1", "md5": 5},
    }


def test_a_field_under_both_its_names_keeps_both_values() -> None:
    row = event({"dst_ip": "192.0.2.1", "dest_ip": "192.0.2.2"})
    assert row["dest_ip"] == "192.0.2.2"
    assert extra(row) == {"dst_ip": "192.0.2.1"}


@pytest.mark.parametrize("missing", [None, "", []])
def test_an_alias_counts_where_the_field_itself_says_nothing(missing: object) -> None:
    row = event({"dest_ip": missing, "dst_ip": "192.0.2.1"})
    assert row["dest_ip"] == "192.0.2.1"
    assert "extra" not in row


@pytest.mark.parametrize("outer", ["dest_ip", "dst_ip"])
def test_a_wrapped_field_never_replaces_the_bodys_own(outer: str) -> None:
    row = event({outer: "192.0.2.1", "hp_data": {"dest_ip": "192.0.2.2"}})
    assert row["dest_ip"] == "192.0.2.1"
    assert extra(row) == {"hp_data": {"dest_ip": "192.0.2.2"}}


def test_a_wrapped_field_does_not_stand_in_for_one_that_does_not_fit() -> None:
    sent = {"dest_ip": ["192.0.2.1"], "hp_data": {"dest_ip": "192.0.2.2"}}
    row = event(sent)
    assert "dest_ip" not in row
    assert extra(row) == sent


def test_of_two_aliases_of_a_field_the_first_sent_counts_and_the_other_is_kept() -> None:
    fields = (Field("dest_ip", FieldKind.TEXT, "Address", aliases=("dst_ip", "to")),)
    decoder = ExactDecoder(replace(STINGAR, fields=fields), MAX_BYTES)
    ((_, row),) = decoder.decode(b'{"to":"192.0.2.1","dst_ip":"192.0.2.2"}')
    assert isinstance(row, ExactRow)
    assert (row.values, row.extra) == ({"dest_ip": "192.0.2.1"}, {"dst_ip": '"192.0.2.2"'})


def test_a_wrapped_field_counts_where_the_bodys_own_says_nothing() -> None:
    row = event({"command": None, "hp_data": {"command": "ls"}})
    assert row["command"] == "ls"
    assert "extra" not in row


def test_a_wrapped_object_with_a_key_twice_is_kept_whole() -> None:
    row = event(b'{"hp_data":{"command":"a","command":"b"}}')
    assert "command" not in row
    assert row["extra"] == '{"hp_data":{"command":"a","command":"b"}}'


# Lone surrogates


def test_a_body_with_escapes_that_stand_for_no_character_is_kept_as_sent_besides() -> None:
    body = b'{"command":"cat \\udc80\\ud83d\\ude00","new":"\\ud800"}'
    row = event(body)
    assert row["command"] == "cat \ufffd\U0001f600"
    assert extra(row) == {"new": "\ufffd", ORIGINAL_BODY: body.decode()}


def test_an_escaped_backslash_is_no_escape() -> None:
    row = event(b'{"command":"\\\\ud800"}')
    assert row["command"] == "\\ud800"
    assert "extra" not in row


def test_of_several_events_each_keeps_only_its_own_original() -> None:
    bad, good, wrong = b'{"app":"\\ud800"}', b'{"app":"b"}', b'{"app":"\\udfff","app":1}'
    for body in (
        b"[" + b" , ".join((bad, good, wrong, bad)) + b"]",
        b'{"records" : [' + b",".join((bad, good, wrong, bad)) + b"]}",
        b"\r\n".join((bad, good, wrong, bad)),
    ):
        rows, rejected = cleaned(body)
        assert [row["sub"] for row in rows] == [0, 1, 3]
        assert [extra(row).get(ORIGINAL_BODY) for row in rows] == [bad.decode(), None, bad.decode()]
        assert [(item.sub, item.body) for item in rejected] == [(2, wrong)]


@given(st.lists(st.sampled_from(["\\ud800", "\\udc00", "\\uD83D", "\\uDE00", "\\\\", "a", "ud8"])))
@settings(max_examples=300, deadline=None)
def test_exactly_the_lone_surrogates_are_replaced(parts: list[str]) -> None:
    text = '"' + "".join(parts) + '"'
    sent: str = json.loads(text)
    expected = "".join("\ufffd" if 0xD800 <= ord(letter) < 0xE000 else letter for letter in sent)
    assert json.loads(replace_lone_surrogates(text.encode())) == expected


# Bodies of several events


ONE, TWO = b'{"app":"one"}', b'{"app":"two"}'


@pytest.mark.parametrize(
    "body",
    [
        b"[" + ONE + b"," + TWO + b"]",
        b'{"records":[' + ONE + b"," + TWO + b"]}",
        ONE + b"\n" + TWO + b"\n",
        b"\xef\xbb\xbf" + ONE + b"\r\n\r\n  " + TWO,
        b'[\n  {\n    "app": "one"\n  },\n  {\n    "app": "two"\n  }\n]',
    ],
)
def test_events_of_one_body_are_numbered_from_nought(body: bytes) -> None:
    rows, rejected = cleaned(body)
    assert [(row["sub"], row["app"]) for row in rows] == [(0, "one"), (1, "two")]
    assert rejected == []


def test_a_pretty_printed_event_is_one_event() -> None:
    row = event(b'{\n  "app": "one",\n  "new": {\n    "a": []\n  }\n}\n')
    assert (row["sub"], row["app"]) == (-1, "one")
    assert extra(row) == {"new": {"a": []}}


def test_a_list_of_one_is_numbered_all_the_same() -> None:
    (row,), _ = cleaned(b"[" + ONE + b"]")
    assert row["sub"] == 0


@pytest.mark.parametrize(
    ("lines", "reasons"),
    [
        ([ONE, b"no json", TWO], {1: Reason.NOT_JSON}),
        ([ONE, b'{"app":"tw'], {1: Reason.NOT_JSON}),
        ([b"5", ONE], {0: Reason.NOT_AN_OBJECT}),
        ([b"2022-05-19 started", ONE], {0: Reason.NOT_JSON}),
        ([b'"said', ONE], {0: Reason.NOT_JSON}),
        ([ONE, b"[1]", b'{"app":1,"app":2}'], {1: Reason.NOT_AN_OBJECT, 2: Reason.DUPLICATE_KEY}),
        ([b'{"app":"x', b'{"new":' + b"[" * 101 + b"]" * 101 + b',"a":1}', ONE],
         {0: Reason.NOT_JSON, 1: Reason.TOO_DEEP}),
        ([b'{"app":"x', b'{"new":' + b"[" * 9_999 + b"]" * 9_999 + b',"a":1}', ONE],
         {0: Reason.NOT_JSON, 1: Reason.TOO_DEEP}),
    ],
)  # fmt: skip
def test_a_bad_line_is_refused_and_the_others_are_events(
    lines: list[bytes], reasons: dict[int, Reason]
) -> None:
    rows, rejected = cleaned(b"\n".join(lines))
    assert {item.sub: item.reason for item in rejected} == reasons
    assert [item.body for item in rejected] == [lines[sub] for sub in sorted(reasons)]
    assert sorted([*reasons, *(row["sub"] for row in rows)]) == list(range(len(lines)))


_pieces = st.sampled_from(
    [ONE, TWO, b"{}", b'{"new":[1,{"a":"]"}]}', b"5", b"null", b'"x"', b"[]", b'{"a":1,"a":2}']
)


def numbers(rows: Iterable[Row], rejected: Iterable[Rejected]) -> list[int]:
    return sorted([*(row["sub"] for row in rows), *(item.sub for item in rejected)])


@settings(max_examples=60, deadline=None)
@given(st.lists(_pieces, min_size=1, max_size=8), st.sampled_from([b",", b" ,\n"]))
def test_positions_in_a_list_are_complete_and_without_gaps(
    pieces: list[bytes], separator: bytes
) -> None:
    text = b"[" + separator.join(pieces) + b"]"
    for body in (text, b'{"records":' + text + b"}"):
        rows, rejected = cleaned(body)
        assert numbers(rows, rejected) == list(range(len(pieces)))
        assert all(item.body == pieces[item.sub] for item in rejected)


@settings(max_examples=60, deadline=None)
@given(st.lists(_pieces | st.just(b"junk"), min_size=1, max_size=7))
def test_positions_of_lines_are_complete_and_without_gaps(lines: list[bytes]) -> None:
    lines = [ONE, *lines]
    rows, rejected = cleaned(b"\n".join(lines))
    assert numbers(rows, rejected) == list(range(len(lines)))


def test_an_envelope_with_more_than_records_is_an_event() -> None:
    assert extra(event({"records": [{"app": "a"}], "app": "b"})) == {"records": [{"app": "a"}]}


def test_an_envelope_twice_is_refused_so_that_neither_list_is_lost() -> None:
    item = refusal(b'{"records":[{"app":"a"}],"records":[{"app":"b"}]}')
    assert item.reason is Reason.DUPLICATE_KEY


def test_positions_stand_in_the_identity() -> None:
    frame = pl.DataFrame(
        {"source": ["ns/hub/0"] * 3, "sequence": [7, 8, 8], "sub": [-1, 0, 1]},
        schema_overrides={"sub": pl.Int32},
    ).with_columns(
        pl.lit(0, dtype=pl.Int64).alias("time_us"),
        pl.lit(None, dtype=pl.Int64).alias("enqueued_us"),
        *(
            pl.lit(None, dtype=dtype).alias(name)
            for name, dtype in STINGAR.schema.items()
            if name not in ("@timestamp", "event_id", "enqueued_at")
        ),
    )
    published = with_published_columns(frame, STINGAR)
    assert published["event_id"].to_list() == ["ns/hub/0/7", "ns/hub/0/8.0", "ns/hub/0/8.1"]
    assert published["@timestamp"][0] == "1970-01-01T00:00:00.000Z"
    assert published.columns == [column.name for column in STINGAR.columns]


# Reasons


def nested(levels: int) -> bytes:
    """An object with so many levels, itself counted."""
    return b'{"new":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (None, Reason.NULL_BODY),
        (b"", Reason.EMPTY_BODY),
        (b" \r\n\t", Reason.EMPTY_BODY),
        (b"\xef\xbb\xbf", Reason.EMPTY_BODY),
        (b'{"a":"' + b"x" * MAX_BYTES + b'"}', Reason.TOO_LARGE),
        (b'{"app":"caf\xe9"}', Reason.NOT_UTF8),
        (b'{"app":"\xed\xa0\x80"}', Reason.NOT_UTF8),
        (b'{"new":"\xc3"}', Reason.NOT_UTF8),
        (b"<134>shipper: lost", Reason.NOT_JSON),
        (b'{"app":"x"', Reason.NOT_JSON),
        (b'{"app":"x"} {"app":"y"}', Reason.NOT_JSON),
        (b'{"app":NaN}', Reason.NOT_JSON),
        (b'{"app":"a\x00b"}', Reason.NOT_JSON),
        (b"{'app':1}", Reason.NOT_JSON),
        (b"22 tcp", Reason.NOT_JSON),
        (b"junk\njunk", Reason.NOT_JSON),
        (b"5", Reason.NOT_AN_OBJECT),
        (b'"text"', Reason.NOT_AN_OBJECT),
        (b"null", Reason.NOT_AN_OBJECT),
        (nested(MAX_DEPTH + 1), Reason.TOO_DEEP),
        (nested(20_000), Reason.TOO_DEEP),
        (b"[" * 20_000, Reason.TOO_DEEP),
        (b'{"host":' + b"[" * 100 + b"]" * 100 + b"}", Reason.TOO_DEEP),
        (b'{"new":1,"new":1}', Reason.DUPLICATE_KEY),
        (b'{"new":1,"n\\u0065w":2}', Reason.DUPLICATE_KEY),
        (b"[]", Reason.NO_EVENTS),
        (b'{"records": []}', Reason.NO_EVENTS),
    ],
)
def test_what_is_no_event_is_refused_with_its_reason(body: bytes | None, reason: Reason) -> None:
    assert refusal(body).reason is reason


def test_the_limits_themselves_are_allowed() -> None:
    assert extra(event(nested(MAX_DEPTH)))["new"] != []
    assert extra(event(b'{"host":' + nested(MAX_DEPTH - 1) + b"}"))["host"]
    brackets = b"[" * 200
    assert event(b'{"command":"' + brackets + b'"}')["command"] == brackets.decode()
    full = b'{"command":"' + b"x" * (MAX_BYTES - 14) + b'"}'
    assert len(full) == MAX_BYTES
    assert len(event(full)["command"]) == MAX_BYTES - 14


def test_details_tell_where_and_never_quote_the_text() -> None:
    assert refusal(b'{"app":"caf\xe9"}').detail == "at byte 11"
    assert refusal(b'{"app":1,"app":2}').detail == "the key 'app'"
    assert "secret" not in refusal(b'{"app":"secret').detail
    assert "secret" not in refusal(b"secret").detail


def test_every_reason_has_a_meaning_and_a_code_that_never_changes() -> None:
    assert [str(reason) for reason in Reason] == [
        *("null_body", "empty_body", "too_large", "not_utf8", "not_json", "not_an_object"),
        *("too_deep", "duplicate_key", "no_events", "unknown_format", "bad_line", "only_header"),
    ]
    assert all(reason.meaning for reason in Reason)


# Time and size


def seconds(work: Any, argument: bytes) -> float:
    started = process_time()
    work(argument)
    return process_time() - started


@pytest.mark.parametrize(
    ("unit", "before"),
    [(b'\\"', b"{" * 101), (b'"', b"{" * 101), (b'"\\', b"{" * 101), (b"{", b""), (b'"{"', b"")],
)
def test_measuring_depth_takes_time_in_proportion_to_the_text(unit: bytes, before: bytes) -> None:
    def measure(text: bytes) -> None:
        depth_exceeds(text, MAX_DEPTH)

    short, long = before + unit * 1_000, before + unit * 20_000
    baseline = min(seconds(measure, short) for _ in range(5))
    assert min(seconds(measure, long) for _ in range(3)) < 100 * max(baseline, 1e-4)


@pytest.mark.parametrize("unit", [b"\\ud800", b"\\\\ud800", b"\\ud83d\\ude00", b"\\"])
def test_replacing_surrogates_takes_time_in_proportion_to_the_text(unit: bytes) -> None:
    short, long = b"\\ud800" + unit * 1_000, b"\\ud800" + unit * 20_000
    baseline = min(seconds(replace_lone_surrogates, short) for _ in range(5))
    took = min(seconds(replace_lone_surrogates, long) for _ in range(3))
    assert took < 100 * max(baseline, 1e-4)


def test_many_events_in_one_body_do_not_multiply_its_size() -> None:
    body = b"[" + b",".join([b'{"app":"\\ud800"}', b"1", b'{"a":1,"a":2}'] * 1_000) + b"]"
    rows, rejected = cleaned(body)
    assert (len(rows), len(rejected)) == (1_000, 2_000)
    kept = sum(len(row["extra"]) for row in rows) + sum(len(item.body) for item in rejected)
    assert kept < 4 * len(body)
