"""DNS logs as they come, in four formats, to one set of fields; and what is no line of any."""

import json
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from stingar_dagster.capture.records import Records, epoch_us
from stingar_dagster.cleaning.clean import Cleaned, Cleaner, Rules
from stingar_dagster.cleaning.reasons import Reason, Rejected
from stingar_dagster.errors import SettingsError
from stingar_dagster.streams import DNS, STINGAR, declared_streams
from stingar_dagster.streams.formats import bind, zeek
from stingar_dagster.streams.names import compared, registered_domain

HOUR = datetime(2026, 11, 23, 12, tzinfo=UTC)
RULES = Rules(start=datetime(2010, 1, 1, tzinfo=UTC), max_body_bytes=100_000)
CLEANER = Cleaner(DNS, RULES)

FIELDS = (
    b"#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tdns\n"
    b"#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\ttrans_id\tquery\t"
    b"qclass\tqclass_name\tqtype\tqtype_name\trcode\trcode_name\tAA\tTC\tRD\tRA\tZ\tanswers\t"
    b"TTLs\trejected\n"
    b"#types\ttime\tstring\taddr\tport\taddr\tport\tenum\tcount\tstring\tcount\tstring\tcount\t"
    b"string\tcount\tstring\tbool\tbool\tbool\tbool\tcount\tvector[string]\tvector[interval]\tbool\n"
)
CELLS = [
    *("1795435201.631940", "CZGShC2znK1sV7jdI7", "192.0.2.10", "1030", "192.0.2.53", "53", "udp"),
    *("44949", "WWW.Example.Org", "1", "C_INTERNET", "1", "A", "0", "NOERROR", "F", "F", "T", "T"),
    *("0", "example.net,198.51.100.1", "36.000000,7.5", "F"),
]
COLUMNS = FIELDS.decode().split("\n")[5].split("\t")[1:]


def line(**cells: str) -> bytes:
    """A line of zeek's log, with other cells in some of its columns."""
    named = dict(zip(COLUMNS, CELLS, strict=True)) | {
        name.replace("__", "."): cell for name, cell in cells.items()
    }
    return "\t".join(named.values()).encode()


def captured(bodies: Sequence[bytes]) -> Records:
    lengths = np.array([len(body) for body in bodies], np.int64)
    return Records(
        b"".join(bodies),
        np.zeros(len(bodies), np.int32),
        np.arange(len(bodies), dtype=np.int64),
        np.full(len(bodies), epoch_us(HOUR), np.int64),
        np.cumsum(lengths) - lengths,
        lengths,
    )


def in_order(cleaned: Cleaned) -> tuple[pl.DataFrame, list[Rejected]]:
    rejected = sorted(cleaned.rejected, key=lambda item: (item.record, item.sub))
    return cleaned.events.sort("record", "sub"), rejected


def cleaned(
    *bodies: bytes, cleaner: Cleaner = CLEANER
) -> tuple[list[dict[str, Any]], list[Rejected]]:
    """Events without their empty fields, and what was rejected; the exact way agreeing."""
    records = captured(bodies)
    events, rejected = in_order(cleaner.clean(records, HOUR))
    rows = cleaner.decode(records, exactly=True)
    exact_events, exact_rejected = in_order(cleaner.clean_rows(rows, records, HOUR))
    assert_frame_equal(events, exact_events)
    assert rejected == exact_rejected
    assert {*events["record"], *(item.record for item in rejected)} == set(range(len(bodies)))
    known = [
        {name: value for name, value in row.items() if value is not None}
        for row in events.to_dicts()
    ]
    return known, rejected


def one(body: bytes) -> dict[str, Any]:
    events, rejected = cleaned(body)
    assert not rejected
    (event,) = events
    return event


def refused(body: bytes) -> Rejected:
    events, rejected = cleaned(body)
    assert not events
    (item,) = rejected
    assert item.body == body
    return item


# ------------------------------------------------------------------ the fields


def test_a_line_of_zeek_has_every_field_in_its_type() -> None:
    event = one(line())
    assert event["time_us"] == 1795435201_631940
    assert "time_source" not in event
    assert json.loads(event["extra"], parse_float=str) == {"ts": "1795435201.631940"}
    published = {
        "client_ip": "192.0.2.10", "client_port": 1030, "resolver_ip": "192.0.2.53",
        "resolver_port": 53, "transport": "udp", "query": "WWW.Example.Org", "qtype": "A",
        "qclass": "IN", "rcode": "NOERROR", "answers": ["example.net", "198.51.100.1"],
        "ttls": [36.0, 7.5], "rejected": False, "query_name": "www.example.org",
        "registered_domain": "example.org", "trans_id": 44949, "RD": True, "AA": False,
        "uid": "CZGShC2znK1sV7jdI7", "Z": 0, "TC": False, "RA": True,
    }  # fmt: skip
    assert {name: event[name] for name in published} == published
    assert not {"qtype_number", "qclass_number", "rcode_number", "rtt_ms"} & event.keys()


def test_json_of_zeek_says_the_same_as_its_lines() -> None:
    body = dict(zip(COLUMNS, CELLS, strict=True)) | {
        "answers": ["example.net", "198.51.100.1"], "TTLs": [36.0, 7.5], "rejected": False,
        "id.orig_p": 1030, "id.resp_p": 53, "trans_id": 44949, "qclass": 1, "qtype": 1, "rcode": 0,
        "AA": False, "TC": False, "RD": True, "RA": True, "Z": 0, "ts": 1795435201.63194,
    }  # fmt: skip
    of_json, of_line = one(json.dumps(body).encode()), one(line())
    assert json.loads(of_json.pop("extra")) == json.loads(of_line.pop("extra"))
    assert of_json == of_line


def test_bind_says_who_asked_whom_for_what() -> None:
    event = one(
        b"22-Nov-2026 12:00:00.123 queries: info: client @0x7f3c 192.0.2.1#5353 (Example.Org): "
        b"view campus: query: Example.Org IN TYPE65 +E(0)TK (192.0.2.53)"
    )
    published = {
        "client_ip": "192.0.2.1", "client_port": 5353, "resolver_ip": "192.0.2.53",
        "view": "campus", "query": "Example.Org", "query_name": "example.org",
        "qclass": "IN", "qtype": "TYPE65",
        "transport": "tcp", "RD": True, "query_flags": "+E(0)TK", "log_category": "queries",
        "client_object": "0x7f3c", "log_severity": "info",
    }  # fmt: skip
    assert {name: event[name] for name in published} == published
    assert event["time_us"] == epoch_us(datetime(2026, 11, 22, 12, tzinfo=UTC)) + 123_000
    assert "extra" not in event


@pytest.mark.parametrize(
    "text",
    [
        "client 192.0.2.1#5353 (example.org): query: example.org IN A +E (192.0.2.53)",
        "client 192.0.2.1#5353: query: example.org IN A +",
        "<30>Nov 22 12:00:00 ns1 named[1]: client @0x1 192.0.2.1#1 (a.test): query: a.test IN A -",
        "2026-11-22T12:00:00.123Z ns1 named: queries: info: client 2001:db8::1#1 (a.test): "
        "query: a.test CH TXT +T (2001:db8::53) [ECS 192.0.2.0/24/0]",
    ],
)
def test_bind_is_read_in_the_forms_of_its_releases_and_of_syslog(text: str) -> None:
    event = one(text.encode())
    assert event["client_ip"] in text
    assert event["query"] in text


def test_dnstap_says_the_same_fields_by_its_own_names() -> None:
    body = {
        "message": "CLIENT_QUERY", "s_family": "INET", "q_addr": "192.0.2.1", "q_port": 5353,
        "dt_query": "2026-11-22T12:00:00.123456Z", "q_name": "example.org.", "q_type": "AAAA",
        "r_code": "NOERROR",
    }  # fmt: skip
    event = one(json.dumps(body).encode())
    published = {
        "message": "CLIENT_QUERY", "socket_family": "INET", "client_ip": "192.0.2.1",
        "client_port": 5353, "query": "example.org.", "query_name": "example.org", "qtype": "AAAA",
        "rcode": "NOERROR", "time_us": epoch_us(datetime(2026, 11, 22, 12, tzinfo=UTC)) + 123_456,
    }  # fmt: skip
    assert {name: event[name] for name in published} == published


@pytest.mark.parametrize(
    ("number", "name", "published", "kept"),
    [
        ("28", "AAAA", "AAAA", None),
        ("28", "-", "AAAA", None),
        ("65534", "-", "TYPE65534", None),
        ("33", "NBSTAT", "NBSTAT", 33),
        ("255", "*", "*", None),
        ("-", "A", "A", None),
    ],
)
def test_a_type_goes_by_its_name_and_keeps_a_number_that_the_name_does_not_say(
    number: str, name: str, published: str, kept: int | None
) -> None:
    event = one(line(qtype=number, qtype_name=name))
    assert event["qtype"] == published
    assert event.get("qtype_number") == kept


# ------------------------------------------------------------------ kinds


@pytest.mark.parametrize(
    ("sent", "published", "in_extra"),
    [
        ("0.059601", 59.601, None),
        ("0.058879852294921878", 58.8798522949219, None),
        ('"0.5"', 500.0, None),
        ("1e-3", 1.0, None),
        ("0", 0.0, None),
        ("9007199254740993", 9007199254740990000.0, 9007199254740993),
        ("0.12345678901234567890123", 123.456789012346, 0.12345678901234568),
        ('"fast"', None, "fast"),
        ("true", None, True),
        ("[1]", None, [1]),
    ],
)
def test_a_real_is_published_and_kept_besides_where_no_float_stands_for_it(
    sent: str, published: float | None, in_extra: object
) -> None:
    event = one(b'{"query":"a.test","rtt":%s}' % sent.encode())
    assert event.get("rtt_ms") == published
    assert json.loads(event.get("extra", "{}")).get("rtt") == in_extra


@pytest.mark.parametrize(
    ("sent", "published"),
    [
        *(("true", True), ("false", False), ('"T"', True), ('"F"', False), ('"true"', True)),
        *(("T", "no JSON"), ("1", None), ('"yes"', None), ("null", "missing"), ('""', "missing")),
    ],
)
def test_a_boolean_is_one_or_its_usual_text(sent: str, published: object) -> None:
    body = b'{"query":"a.test","rejected":%s}' % sent.encode()
    if published == "no JSON":
        assert refused(body).reason is Reason.NOT_JSON
        return
    event = one(body)
    assert event.get("rejected") is (published if isinstance(published, bool) else None)
    assert ("extra" in event) == (published is None)


@pytest.mark.parametrize(
    ("sent", "published", "is_kept"),
    [
        *(("[36.0, 7]", [36.0, 7.0], False), ("36", [36.0], False), ("[]", None, False)),
        *(('["36"]', None, True), ("[1,null]", None, True), ("[1e999]", None, True)),
        *(("[9007199254740993]", [9007199254740992.0], True), ('"36"', None, True)),
        ("[1e-999]", [0.0], True),
    ],
)
def test_a_list_of_reals_holds_numbers_only(
    sent: str, published: list[float] | None, is_kept: bool
) -> None:
    event = one(b'{"query":"a.test","TTLs":%s}' % sent.encode())
    assert event.get("ttls") == published
    assert ("extra" in event) == is_kept


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["T", "F", "1.5", "true", "0.0"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)  # fmt: skip
_json_keys = st.sampled_from(
    ["ts", "time", "dt_query", "rtt", "TTLs", "ttls", "rejected", "AA", "id.orig_h", "id.orig_p",
     "client_ip", "q_addr", "query", "qtype", "q_type", "answers", "uid", "other", "host"]
)  # fmt: skip


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.dictionaries(_json_keys, _json_values, max_size=6), max_size=8))
@example([{"ts": 1.5, "other": 1, "time": 2.5}, {"time": 2.5, "ts": 1.5}, {"ts": 1.5, "host": "a"}])
def test_any_json_comes_out_the_same_both_ways(values: list[object]) -> None:
    cleaned(*(json.dumps(value).encode("utf-8", "surrogatepass") for value in values))


# ------------------------------------------------------------------ zeek's cells


def test_a_dash_is_no_value_and_empty_is_none_either() -> None:
    event = one(line(query="-", answers="(empty)", TTLs="(empty)", uid="(empty)", rejected="-"))
    assert not {"query", "answers", "ttls", "uid", "rejected", "query_name"} & event.keys()


def test_escapes_are_read_and_the_line_is_kept() -> None:
    sent = line(query=r"a\x09b\x2cc", answers=r"x\x2cy,z")
    event = one(sent)
    assert event["query"] == "a\tb,c"
    assert event["answers"] == ["x,y", "z"]
    assert json.loads(event["extra"])["original_body"] == sent.decode()


def test_escapes_of_bytes_that_are_no_text_stay_as_they_are() -> None:
    assert one(line(query=r"a\xffb"))["query"] == r"a\xffb"


def test_an_item_without_a_value_is_not_taken_for_a_dash() -> None:
    event = one(line(answers="a.test,-", TTLs="5.0,-"))
    assert not {"answers", "ttls"} & event.keys()
    assert json.loads(event["extra"])["answers"] == ["a.test", None]


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"id__orig_p": "http"}, "column id.orig_p is not of type port"),
        ({"AA": "yes"}, "column AA is not of type bool"),
        ({"ts": "yesterday"}, "column ts is not of type time"),
        ({"TTLs": "1.0,soon"}, "column TTLs is not of type interval"),
        ({"query": "a\tb"}, "24 columns"),
    ],
)
def test_a_line_whose_cells_do_not_fit_is_refused_never_put_into_other_columns(
    cells: dict[str, str], problem: str
) -> None:
    item = refused(line(**cells))
    assert item.reason is Reason.BAD_LINE
    # With a tab in its query a line has as many cells as those with the time of the round trip.
    assert problem in item.detail or "is not of type" in item.detail


def test_half_a_line_is_refused() -> None:
    whole = line()
    for end in range(1, len(whole) - 1):
        events, rejected = cleaned(whole[:end])
        assert not events
        assert rejected[0].reason in (Reason.BAD_LINE, Reason.UNKNOWN_FORMAT)


def test_lines_below_a_header_are_read_by_it_and_numbered() -> None:
    events, rejected = cleaned(FIELDS + line() + b"\n" + line(query="b.test") + b"\n#close\tnow\n")
    assert [event["query"] for event in events] == ["WWW.Example.Org", "b.test"]
    assert [event["sub"] for event in events] == [0, 1]
    assert not rejected


def test_a_header_that_changes_its_columns_counts_from_there_on() -> None:
    other = b"#fields\tquery\tts\tid.orig_h\tcolour\n#types\tstring\ttime\taddr\tstring\n"
    body = FIELDS + line() + b"\n" + other + b"b.test\t1795435201.5\t192.0.2.9\tred\n" + line()
    events, rejected = cleaned(body)
    assert [event["query"] for event in events] == ["WWW.Example.Org", "b.test"]
    assert json.loads(events[1]["extra"]) == {"ts": 1795435201.5, "colour": "red"}
    (item,) = rejected
    assert (item.reason, item.sub, item.body) == (Reason.BAD_LINE, 2, line())


def test_a_header_says_nothing_about_other_bodies() -> None:
    other = b"#fields\tquery\tts\tid.orig_h\n"
    events, rejected = cleaned(other, b"b.test\t1795435201.5\t192.0.2.9", line())
    assert [event["record"] for event in events] == [2]
    assert [item.reason for item in rejected] == [Reason.ONLY_HEADER, Reason.BAD_LINE]


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ("#fields\tts\tid.orig_h\tquery\tquery", "a column twice"),
        ("#fields\tts\tuid", "no column id.orig_h"),
        ("#separator \\x20\n#fields\tts\tid.orig_h\tquery", "other than a tab"),
        ("#fields\tts\tid.orig_h\tquery\n#types\ttime", "3 columns and 1 types"),
        ("#fields\t" + "\t".join(["ts", "id.orig_h", "query", "x" * 9000]), "8,192 characters"),
    ],
)
def test_a_header_that_is_none_spoils_the_lines_below_it(header: str, problem: str) -> None:
    events, rejected = cleaned(header.encode() + b"\n" + line())
    assert not events
    assert problem in rejected[0].detail


def test_columns_can_be_set_for_lines_without_a_header() -> None:
    columns = "query, ts, id.orig_h, colour"
    own = declared_streams({"STINGAR_DNS_COLUMNS": columns})["dns"]
    cleaner = Cleaner(own, RULES)
    events, _ = cleaned(b"b.test\t1795435201.5\t192.0.2.9\tred", cleaner=cleaner)
    assert events[0]["client_ip"] == "192.0.2.9"
    assert cleaned(line(), cleaner=cleaner)[1][0].reason is Reason.BAD_LINE
    assert own.code_version != DNS.code_version


@pytest.mark.parametrize("columns", ["ts,uid", "ts,ts,query,id.orig_h"])
def test_columns_that_are_none_are_refused_in_a_line(columns: str) -> None:
    with pytest.raises(SettingsError, match="STINGAR_DNS_COLUMNS"):
        declared_streams({"STINGAR_DNS_COLUMNS": columns})


@pytest.mark.parametrize("minutes", ["7", "0", "61", "-5", "five", "1.5", "\u0665", "1" * 5000])
def test_slices_that_do_not_make_an_hour_are_refused_in_one_line(minutes: str) -> None:
    with pytest.raises(SettingsError, match="STINGAR_DNS_SLICE_MINUTES") as refused:
        declared_streams({"STINGAR_DNS_SLICE_MINUTES": minutes})
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(("text", "minutes"), [("", 5), (" 1 ", 1), ("60", 60)])
def test_the_length_of_slices_is_a_setting(text: str, minutes: int) -> None:
    assert declared_streams({"STINGAR_DNS_SLICE_MINUTES": text})["dns"].slice_minutes == minutes


def test_an_event_hub_belongs_to_one_stream() -> None:
    for hub in ("dns", "dns-campus", "campus-dns", "stingar", "anything"):
        assert STINGAR.carries(hub) != DNS.carries(hub)


# ------------------------------------------------------------------ formats together


def test_formats_may_be_mixed_in_a_file_and_in_a_body() -> None:
    asked = b"client 192.0.2.1#5353: query: example.org IN A +"
    known = b'{"ts":1795435201.5,"query":"c.test"}'
    apart, _ = cleaned(line(), asked, known)
    together, rejected = cleaned(b"\r\n".join([line(), asked, b"", known, b"what is this"]))
    assert [item.reason for item in rejected] == [Reason.UNKNOWN_FORMAT]
    assert rejected[0].sub == 3
    queries = [event["query"] for event in together]
    assert queries == [event["query"] for event in apart]
    assert queries == ["WWW.Example.Org", "example.org", "c.test"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"what is this", Reason.UNKNOWN_FORMAT),
        (b"12", Reason.UNKNOWN_FORMAT),
        (b"#close\t2026-11-22", Reason.ONLY_HEADER),
        (b"client 192.0.2.1: query: example.org", Reason.BAD_LINE),
        (b"client caf\xe9", Reason.NOT_UTF8),
        (b"x" * 100_001, Reason.TOO_LARGE),
        (b"{" + b" " * 100_001, Reason.TOO_LARGE),
        (b" \n ", Reason.EMPTY_BODY),
        (b'{"query":', Reason.NOT_JSON),
        (b"[]", Reason.NO_EVENTS),
    ],
)
def test_what_no_format_takes_is_quarantined_with_its_reason(body: bytes, reason: Reason) -> None:
    assert refused(body).reason is reason


def test_one_line_that_is_not_utf8_does_not_spoil_its_body() -> None:
    events, rejected = cleaned(
        FIELDS + line(query="caf\xe9").replace(b"\xc3\xa9", b"\xe9") + b"\n" + line()
    )
    assert len(events) == 1
    assert [(item.reason, item.sub) for item in rejected] == [(Reason.NOT_UTF8, 0)]


_lines = st.text("#\t\n{}[]-ab1.\\x,", max_size=40).map(str.encode)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.binary(max_size=60) | st.text("#\t\n{}[]-ab1.\\x,", max_size=40).map(str.encode),
        max_size=8,
    )
)
def test_any_bytes_come_to_something(bodies: list[bytes]) -> None:
    cleaned(*bodies)


_cells = st.sampled_from(
    ["-", "(empty)", "1", "-1", "1.5", "T", "a.test", "192.0.2.1", "a,b", "1.0,2.0", ",", "", "\\",
     "\\\\", "\\x09", "\\xff", "\\x2", '"', "caf\u00e9", "\x01", "\x7f", "a,-", "-,-", "1,-", "1e5",
     "\u202e", "007"]
)  # fmt: skip


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(COLUMNS), _cells, max_size=5))
def test_the_fast_way_reads_cells_as_the_slow_one_does_and_loses_none(
    cells: dict[str, str],
) -> None:
    sent = "\t".join((dict(zip(COLUMNS, CELLS, strict=True)) | cells).values())
    of_zeek = DNS.formats[1]
    assert isinstance(of_zeek, zeek.ZeekTsv)
    columns = of_zeek._known[len(COLUMNS)]
    found = of_zeek.objects(pl.Series([sent]), ())
    if found.unfit:
        with pytest.raises(ValueError, match=re.escape(found.unfit[0])):
            zeek.read_line(sent, columns)
        return
    slow = json.loads(zeek.read_line(sent, columns))
    assert json.loads(found.json[0]) == slow
    for name, cell in zip(COLUMNS, sent.split("\t"), strict=True):
        if cell not in ("-", "(empty)"):
            assert name in slow
            assert "\\" not in cell or slow["original_body"] == sent


# ------------------------------------------------------------------ hostile lines, without clocks


@pytest.mark.parametrize("size", [10_000, 100_000])
@pytest.mark.parametrize(
    "text",
    [
        "client " * 3, "client 192.0.2.1#1 (" + "(" * 4, "client 192.0.2.1#1 (a): query: ",
        "<30>Nov 22 12:00:00 " + "a" * 5, "query: IN A + ", "client 1#1: view a: view ",
    ],
)  # fmt: skip
def test_bind_patterns_have_no_part_that_is_tried_again_within_another(
    text: str, size: int
) -> None:
    # A pattern that backtracks in proportion to the square of this would not come to an end.
    assert bind.read_line(text + text[-1] * size) is None
    assert bind.read_line(text * (size // len(text))) is None
    assert bind.read_line(text + ") " * (size // 2) + ": query: a IN A !") is None


@pytest.mark.parametrize("cell", ["\\", "\\x", "\\x4", ",", "-,", '"', "\\\\x"])
def test_zeek_cells_of_any_length_are_read(cell: str) -> None:
    sent = line(query=cell * 20_000).decode()
    of_zeek = DNS.formats[1]
    found = of_zeek.objects(pl.Series([sent]), ())
    assert not found.unfit
    assert json.loads(found.json[0])["query"]


# ------------------------------------------------------------------ names


@pytest.mark.parametrize(
    ("sent", "compared_as", "registered"),
    [
        ("WWW.Example.CO.UK.", "www.example.co.uk", "example.co.uk"),
        ("fu\u00df.example.de", "xn--fu-hia.example.de", "example.de"),
        ("XN--FU-HIA.example.de", "xn--fu-hia.example.de", "example.de"),
        (".", ".", None),
        ("com", "com", None),
        ("localhost", "localhost", None),
        ("a..example.org", "a..example.org", None),
        ("4.3.2.1.in-addr.arpa", "4.3.2.1.in-addr.arpa", "1.in-addr.arpa"),
        ("d1.cloudfront.net", "d1.cloudfront.net", "cloudfront.net"),
        ("a b\x01.example.org", "a b\x01.example.org", "example.org"),
        ("x" * 300 + ".example.org", "x" * 300 + ".example.org", None),
        ("\u0130" * 300, "\u0130".lower() * 300, None),
    ],
)
def test_names_are_compared_in_one_spelling(
    sent: str, compared_as: str, registered: str | None
) -> None:
    assert compared(sent) == compared_as
    assert registered_domain(compared_as) == registered


@pytest.mark.parametrize("time", ["0.000000", "99999999999999.0", "18446744073709551615"])
def test_an_absurd_time_is_kept_and_arrival_stands_in(time: str) -> None:
    events, rejected = cleaned(line(ts=time))
    if rejected:
        assert rejected[0].reason is Reason.BAD_LINE
    else:
        assert events[0]["time_source"] == "enqueued"
        assert time in events[0]["extra"]


# ------------------------------------------------------------------ real logs

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("STINGAR_SHARED_DATA", REPOSITORY.parent / "shared" / "data")) / "dns"
LOGS = sorted(FOLDER.glob("*.log"))


@pytest.mark.skipif(not LOGS, reason=f"no folder of real DNS logs: {FOLDER} (STINGAR_SHARED_DATA)")
def test_the_real_logs_come_out_complete() -> None:
    for path in LOGS:
        data = path.read_bytes()
        sent = [text for text in data.split(b"\n") if text and not text.startswith(b"#")]
        events, rejected = cleaned(data)
        assert len(events) == len(sent)
        assert not rejected
        assert all("time_source" not in event for event in events)
        for event, text in zip(events, sent, strict=True):
            if not text.startswith(b"{"):
                cells = text.decode().split("\t")
                assert (event["client_ip"], event.get("query", "-")) == (cells[2], cells[8])
