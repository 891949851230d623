"""Capture files read: equal to fastavro on whatever is whole, and never a quiet loss."""

import io
import json
import os
import tracemalloc
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stingar_dagster.capture import records as decoding
from stingar_dagster.capture.container import (
    encode_block,
    encode_header,
    encode_long,
    read_header,
    split_blocks,
)
from stingar_dagster.capture.reader import (
    NO_TIME,
    DamageKind,
    Decoded,
    Limits,
    Records,
    read_captures,
)
from stingar_dagster.capture.records import SCHEMA_2016, SCHEMA_2017, parse_time
from stingar_dagster.capture.writer import CaptureRecord, encode_capture

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("STINGAR_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
REAL_FILES = sorted((SHARED / "eventhubs-capture").glob("**/*.avro"))

EXAMPLES = int(os.environ.get("STINGAR_TEST_EXAMPLES", "50"))
"""More find more: a change to the decoder deserves thousands."""

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
START = datetime(2026, 11, 3, 10, 59, 30, tzinfo=UTC)
SYNC = bytes(range(16))
YEAR_1_MS, YEAR_10000_MS = -62_135_596_800_000, 253_402_300_800_000

Row = tuple[int, int, int, bytes | None]
"""File, sequence number, epoch microseconds, body."""


# What fastavro, and a slower look at the clock, make of a file


def microseconds(row: dict[str, Any]) -> int:
    finer = row["SystemProperties"].get("x-opt-enqueued-time")
    if isinstance(finer, int) and YEAR_1_MS <= finer < YEAR_10000_MS:
        return finer * 1000
    moment = datetime.strptime(row["EnqueuedTimeUtc"] + " +0000", "%m/%d/%Y %I:%M:%S %p %z")
    return (moment - EPOCH) // timedelta(microseconds=1)


def expected(blobs: Sequence[bytes]) -> list[Row]:
    return [
        (capture, row["SequenceNumber"], microseconds(row), row["Body"])
        for capture, blob in enumerate(blobs)
        for row in fastavro.reader(io.BytesIO(blob))
        if isinstance(row, dict)
    ]


def rows_of(records: Records) -> list[Row]:
    columns = (
        records.capture,
        records.sequence,
        records.enqueued_us,
        records.body_start,
        records.body_length,
    )
    return [
        (capture, sequence, time, None if length < 0 else records.buffer[start : start + length])
        for capture, sequence, time, start, length in zip(
            *(c.tolist() for c in columns), strict=True
        )
    ]


def sequences(decoded: Decoded) -> list[int]:
    numbers: list[int] = decoded.records.sequence.tolist()
    return numbers


@contextmanager
def in_step(stride: int) -> Iterator[None]:
    """However few the records: in lanes of `stride` records, a few lanes at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_TOO_FEW_RECORDS", 0)
        patch.setattr(decoding, "_ENOUGH_LANES", 1)
        patch.setattr(decoding, "_LONGEST_LANE", stride)
        patch.setattr(decoding, "_CHUNK_LANES", 5)
        yield


@contextmanager
def in_order() -> Iterator[None]:
    """However many the records: one after another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_TOO_FEW_RECORDS", 1 << 60)
        yield


@contextmanager
def never_in_order() -> Iterator[None]:
    """No Python call for a record."""

    def refuse(*_: object) -> None:
        raise AssertionError("a record was decoded on its own")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_read_record", refuse)
        yield


# Files


def capture_record(number: int, body: bytes | None = None) -> CaptureRecord:
    enqueued = START + timedelta(milliseconds=40 * number)
    if body is None:
        body = json.dumps({"number": number, "text": "x" * (number % 97)}).encode()
    return CaptureRecord(number, str(70_000 + number * 520), enqueued, body)


def capture_file(first: int, count: int, **options: Any) -> bytes:
    return encode_capture(map(capture_record, range(first, first + count)), **options)


def field_bytes(value: bytes) -> bytes:
    return encode_long(len(value)) + value


def record_bytes(
    number: int,
    *,
    time: bytes = b"11/3/2026 10:59:30 AM",
    system: bytes = b"\0",
    properties: bytes = b"\0",
    body: bytes = b"\x02\x04{}",
) -> bytes:
    """A record of a schema of Capture, its parts already encoded."""
    head = encode_long(number) + field_bytes(b"%d" % (number * 512)) + field_bytes(time)
    return head + system + properties + body


def file_of_payloads(
    *payloads: tuple[int, bytes], schema: bytes = SCHEMA_2017, codec: str = "null"
) -> bytes:
    """A file of blocks whose counts may lie."""
    framed = (encode_block(count, payload, SYNC) for count, payload in payloads)
    return encode_header(codec, schema, SYNC) + b"".join(framed)


def boundaries(blob: bytes) -> list[tuple[int, int]]:
    """Where each block ends, and how many records stand before that."""
    ends = [(read_header(blob).end, 0)]
    for block in split_blocks(blob, read_header(blob), 0)[0]:
        ends.append((block.end, ends[-1][1] + block.records))
    return ends


INT64 = st.integers(-(2**63), 2**63 - 1)
MILLISECONDS = st.integers(YEAR_1_MS - 2, YEAR_10000_MS + 2)
SYSTEM_VALUES = INT64 | st.floats() | st.text(max_size=80) | st.binary(max_size=80)
VALUES = SYSTEM_VALUES | st.none()
KEYS = st.sampled_from(["x-opt-enqueued-time", "x-opt-publisher", "X-OPT-ENQUEUED-TIME", ""])


@st.composite
def avro_rows(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> list[dict[str, Any]]:
    """Rows as fastavro writes them, most of them with contiguous numbers."""
    number = draw(st.integers(-200, 200) | st.integers(-(2**62), 2**62))
    second = draw(st.integers(0, 10**9))
    rows = []
    for _ in range(draw(st.integers(0, 25))):
        number += draw(st.sampled_from([1, 1, 1, 1, 1, 1, 2, 64, 10**6, -3]))
        second += draw(st.sampled_from([0, 0, 0, 1, 3601]))
        moment = EPOCH + timedelta(seconds=second)
        offset = draw(st.sampled_from([str(number * 64), "", "0:1:é", "9" * 70]))
        nearby = b"".join(
            encode_long(number + step) + encode_long(len(offset)) + offset[:1].encode()
            for step in range(1, draw(st.integers(1, 4)))
        )
        system = draw(st.dictionaries(KEYS | st.text(max_size=3), SYSTEM_VALUES, max_size=3))
        if draw(st.booleans()):
            system["x-opt-enqueued-time"] = draw(MILLISECONDS)
        rows.append(
            {
                "SequenceNumber": number,
                "Offset": offset,
                "EnqueuedTimeUtc": f"{moment.month}/{moment.day}/{moment:%Y %I:%M:%S %p}",
                "SystemProperties": system,
                "Properties": draw(st.dictionaries(st.text(max_size=3), values, max_size=3)),
                "Body": draw(st.none() | st.binary(max_size=150) | st.just(nearby)),
            }
        )
    return rows


@st.composite
def avro_files(draw: st.DrawFn) -> bytes:
    """A file of fastavro's, of either schema and codec, in blocks of some size."""
    schema, values = draw(st.sampled_from([(SCHEMA_2016, SYSTEM_VALUES), (SCHEMA_2017, VALUES)]))
    rows = draw(avro_rows(values))
    codec: Literal["null", "deflate"] = draw(st.sampled_from(["null", "deflate"]))
    if not rows:
        return encode_capture([], codec=codec)
    file = io.BytesIO()
    size = draw(st.integers(1, 3000))
    fastavro.writer(file, json.loads(schema), rows, codec=codec, sync_interval=size)
    return file.getvalue()


# Whole files


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(avro_files(), max_size=4), st.integers(1, 7))
def test_whole_files_are_read_as_by_fastavro(blobs: list[bytes], stride: int) -> None:
    rows = expected(blobs)
    for decoded in (read_captures(blobs), read_in_step(blobs, stride)):
        assert decoded.damage == ()
        assert rows_of(decoded.records) == rows


def read_in_step(blobs: Sequence[bytes], stride: int) -> Decoded:
    with in_step(stride):
        return read_captures(blobs)


@pytest.mark.skipif(not REAL_FILES, reason=f"no real capture files under {SHARED}")
def test_real_files_are_read_as_by_fastavro() -> None:
    blobs = [path.read_bytes() for path in REAL_FILES]
    rows = expected(blobs)
    for decoded in (read_captures(blobs), read_in_step(blobs, 3)):
        assert decoded.damage == ()
        assert rows_of(decoded.records) == rows
    for capture, blob in enumerate(blobs):
        alone = [(0, *row[1:]) for row in rows if row[0] == capture]
        assert rows_of(read_captures([blob]).records) == alone


@pytest.mark.parametrize("codec", ["null", "deflate"])
@pytest.mark.parametrize("block_bytes", [None, 4096, 1])
@pytest.mark.parametrize("files", [1, 40])
def test_regular_files_take_no_python_call_a_record(
    codec: Literal["null", "deflate"], block_bytes: int | None, files: int
) -> None:
    each = 4000 // files
    # Numbers that gain no digit on the way: their Offsets keep their length and first digit.
    blobs = [
        capture_file(2_000_000 + n * each, each, codec=codec, block_bytes=block_bytes)
        for n in range(files)
    ]
    with never_in_order():
        decoded = read_captures(blobs)
    assert rows_of(decoded.records) == expected(blobs)
    assert decoded.damage == ()


def test_a_gap_or_a_longer_offset_takes_few_python_calls() -> None:
    numbers = [*range(3000), *range(3100, 6000)]  # Offsets from 70,000 to over three million
    blob = encode_capture(map(capture_record, numbers))
    with counted_calls() as calls:
        decoded = read_captures([blob])
    assert rows_of(decoded.records) == expected([blob])
    assert len(calls) < 300


@contextmanager
def counted_calls() -> Iterator[list[int]]:
    """Where records were decoded on their own."""
    calls: list[int] = []
    original = decoding._read_record

    def count(buffer: bytes, pos: int, end: int, types: int) -> Any:
        calls.append(pos)
        return original(buffer, pos, end, types)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "_read_record", count)
        yield calls


@pytest.mark.parametrize("stride", [1, 2, 5, 64])
def test_a_body_may_hold_what_the_next_record_starts_with(stride: int) -> None:
    def start(number: int) -> bytes:
        return record_bytes(number)[: len(encode_long(number)) + 4]

    lures = [b"".join(start(number + step) for step in range(1, 9)) for number in range(300)]
    blob = encode_capture(
        CaptureRecord(number, str(number * 512), START, lure) for number, lure in enumerate(lures)
    )
    assert rows_of(read_in_step([blob], stride).records) == expected([blob])


def test_numbers_with_gaps_are_read() -> None:
    numbers = [number * number for number in range(500)]
    blob = encode_capture(map(capture_record, numbers))
    decoded = read_captures([blob])
    assert (sequences(decoded), decoded.damage) == (numbers, ())


def test_the_buffer_of_a_file_alone_is_the_file() -> None:
    blob = capture_file(0, 3)
    assert read_captures([blob]).records.buffer is blob


def test_no_files_give_no_records() -> None:
    decoded = read_captures([])
    assert (len(decoded.records), decoded.damage) == (0, ())


def test_a_slice_shares_the_buffer() -> None:
    records = read_captures([capture_file(0, 10), capture_file(10, 10)]).records
    part = records.slice(7, 12)
    assert part.buffer is records.buffer
    assert np.shares_memory(part.sequence, records.sequence)
    assert (len(part), rows_of(part)) == (5, rows_of(records)[7:12])


def test_columns_have_the_promised_types() -> None:
    records = read_captures([capture_file(0, 5)]).records
    assert records.capture.dtype == np.int32
    for column in (
        records.sequence, records.enqueued_us, records.body_start, records.body_length
    ):  # fmt: skip
        assert column.dtype == np.int64


# Properties


def entry(key: bytes, branch: int, value: bytes) -> bytes:
    return field_bytes(key) + encode_long(branch) + value


TIME = entry(b"x-opt-enqueued-time", 0, encode_long(1_762_167_600_123))
TIME_US = 1_762_167_600_123_000
TEXT = entry(b"some", 2, field_bytes(b"text"))
TEXT_US = parse_time(b"11/3/2026 10:59:30 AM")


@pytest.mark.parametrize(
    ("system", "time"),
    [
        (b"\x00", TEXT_US),
        (b"\x02" + TIME + b"\x00", TIME_US),
        (b"\x04" + TEXT + TIME + b"\x00", TIME_US),
        (b"\x02" + TEXT + b"\x02" + TIME + b"\x00", TIME_US),
        (encode_long(-2) + encode_long(len(TEXT + TIME)) + TEXT + TIME + b"\x00", TIME_US),
        (encode_long(99) + TEXT * 98 + TIME + b"\x00", TIME_US),
        ((b"\x02" + TEXT) * 9 + b"\x02" + TIME + b"\x00", TIME_US),
        (b"\x02" + entry(b"x-opt-enqueued-timf", 0, b"\x02") + b"\x00", TEXT_US),
        (b"\x02" + entry(b"x-opt-enqueued-times", 0, b"\x02") + b"\x00", TEXT_US),
        (b"\x02" + entry(b"x-opt-enqueued-time", 2, field_bytes(b"1")) + b"\x00", TEXT_US),
        (b"\x04" + TIME + entry(b"x-opt-enqueued-time", 3, b"\x00") + b"\x00", TEXT_US),
        (b"\x02" + entry(b"x-opt-enqueued-time", 0, encode_long(2**62)) + b"\x00", TEXT_US),
    ],
    ids=[
        "none", "alone", "second", "second block", "block with its size", "very many",
        "very many blocks", "another key", "a longer key", "as text", "overwritten", "out of range",
    ],
)  # fmt: skip
@pytest.mark.parametrize("read", [read_captures, lambda blobs: read_in_step(blobs, 4)])
def test_the_finer_time_is_found_in_the_system_properties(
    system: bytes, time: int, read: Callable[[list[bytes]], Decoded]
) -> None:
    payload = b"".join(record_bytes(number, system=system) for number in range(10))
    decoded = read([file_of_payloads((10, payload))])
    assert decoded.damage == ()
    assert decoded.records.enqueued_us.tolist() == [time] * 10


@pytest.mark.parametrize("read", [read_captures, lambda blobs: read_in_step(blobs, 4)])
def test_null_is_no_property_of_the_first_schema(
    read: Callable[[list[bytes]], Decoded],
) -> None:
    null = b"\x02" + entry(b"key", 4, b"") + b"\x00"
    payload = b"".join(record_bytes(number, properties=null) for number in range(10))
    assert len(read([file_of_payloads((10, payload))]).records) == 10
    old = read([file_of_payloads((10, payload), schema=SCHEMA_2016)])
    assert [damage.kind for damage in old.damage] == [DamageKind.BAD_BLOCK]
    both = [file_of_payloads((10, payload), schema=schema) for schema in (SCHEMA_2016, SCHEMA_2017)]
    assert read(both).records.capture.tolist() == [1] * 10


def test_a_map_cut_into_many_blocks_is_never_misread() -> None:
    # After its fifth block starts, what is left reads as an empty map and a body just as well.
    double = b"\x14" + bytes(7)
    system = (b"\x02" + TEXT) * 4 + b"\x02" + entry(b"", 1, double) + b"\x00"
    payload = b"".join(record_bytes(number, system=system, body=b"\x00") for number in range(300))
    decoded = read_captures([file_of_payloads((300, payload))])
    assert decoded.damage == ()
    assert set(decoded.records.body_length.tolist()) == {-1}


# Times


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("10/28/2021 3:15:38 AM", "2021-10-28T03:15:38+00:00"),
        ("1/2/2026 12:00:00 AM", "2026-01-02T00:00:00+00:00"),
        ("1/2/2026 12:00:00 PM", "2026-01-02T12:00:00+00:00"),
        ("1/2/2026 11:59:59 PM", "2026-01-02T23:59:59+00:00"),
        ("1/1/1969 1:00:00 AM", "1969-01-01T01:00:00+00:00"),
        ("2026-11-03T10:59:30Z", "2026-11-03T10:59:30+00:00"),
        ("2026-11-03 10:59:30", "2026-11-03T10:59:30+00:00"),
        ("2026-11-03T10:59:30.1234567Z", "2026-11-03T10:59:30.123456+00:00"),
        ("2026-11-03T10:59:30.5-02:30", "2026-11-03T10:59:30.500000-02:30"),
    ],
)
def test_times_are_read(text: str, iso: str) -> None:
    micro = (datetime.fromisoformat(iso) - EPOCH) // timedelta(microseconds=1)
    assert parse_time(text.encode()) == micro


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "now", "13/1/2026 1:00:00 AM", "2/29/2026 1:00:00 AM", "1/1/2026 0:00:00 AM",
        "1/1/2026 13:00:00 PM", "1/1/2026 1:00:60 AM", "1/1/2026 1:00:00", "1/1/26 1:00:00 AM",
        "1/1/2026 1:00:00 AM\n", " 1/1/2026 1:00:00 AM", "1/1/2026 1:00:00 am", "1/1/2026",
        "1/1/2026 1:00:00 AM\0", "2026-13-03T10:59:30Z", "2026-11-03T10:59:30+99:00", "20261103",
        "0001-01-01T00:00:00+05:00", "1/1/2026 1:00:00 AM" + " " * 40, "٣/1/2026 1:00:00 AM",
    ],
)  # fmt: skip
def test_what_is_no_time_gives_none(text: str) -> None:
    payload = record_bytes(1, time=text.encode()) + record_bytes(2)
    decoded = read_captures([file_of_payloads((2, payload))])
    assert decoded.damage == ()
    assert decoded.records.enqueued_us.tolist() == [NO_TIME, TEXT_US]


# Damage


def test_damage_of_whole_files_is_told_by_file() -> None:
    good = capture_file(0, 3)
    blobs = [good, b"", good, b"PAR1" * 99, good[:300], b"Ob", good.replace(b"Body", b"Bodi")]
    decoded = read_captures(blobs)
    assert decoded.records.capture.tolist() == [0] * 3 + [2] * 3
    assert [(damage.capture, damage.kind, damage.torn) for damage in decoded.damage] == [
        (1, DamageKind.EMPTY_FILE, True),
        (3, DamageKind.NOT_AVRO, False),
        (4, DamageKind.TRUNCATED, True),
        (5, DamageKind.TRUNCATED, True),
        (6, DamageKind.BAD_HEADER, False),
    ]
    assert "Body" in decoded.damage[-1].detail


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_every_cut_is_told_or_leaves_whole_blocks(codec: Literal["null", "deflate"]) -> None:
    blob = capture_file(100, 12, codec=codec, block_bytes=300)
    ends = boundaries(blob)
    assert len(ends) > 3
    for cut in range(len(blob)):
        decoded = read_captures([blob[:cut]])
        whole = max((records for end, records in ends if end <= cut), default=0)
        assert sequences(decoded) == list(range(100, 100 + whole))
        if cut in [end for end, _ in ends[1:]]:
            assert decoded.damage == ()
        else:
            [damage] = decoded.damage
            assert damage.torn
            assert damage.end == cut


@pytest.mark.parametrize("codec", ["null", "deflate"])
@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFE])
def test_flipped_bits_never_raise_nor_shorten_a_file_quietly(
    codec: Literal["null", "deflate"], flip: int
) -> None:
    blob = capture_file(100, 8, codec=codec, block_bytes=300)
    for at in range(len(blob)):
        broken = blob[:at] + bytes([blob[at] ^ flip]) + blob[at + 1 :]
        decoded = read_captures([broken])
        assert decoded.damage or len(decoded.records) == 8
        with in_step(3):
            assert same(read_captures([broken]), decoded)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.data(), avro_files(), st.integers(1, 7))
def test_in_step_and_in_order_agree_on_anything(
    data: st.DataObject, blob: bytes, stride: int
) -> None:
    mangled = bytearray(blob)
    first = data.draw(st.sampled_from([0, min(470, len(blob) - 1)]))
    for _ in range(data.draw(st.integers(0, 4))):
        at = data.draw(st.integers(first, len(mangled) - 1))
        mangled[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=3))
        first = min(first, len(mangled) - 1)
    blobs = [bytes(mangled), blob]
    with in_order():
        exact = read_captures(blobs)
    assert same(read_in_step(blobs, stride), exact)
    intact = [row for row in rows_of(exact.records) if row[0] == 1]
    assert intact == [(1, *row[1:]) for row in expected([blob])]


def same(one: Decoded, other: Decoded) -> bool:
    return one.damage == other.damage and rows_of(one.records) == rows_of(other.records)


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=3), st.booleans())
def test_arbitrary_bytes_never_raise(payloads: list[bytes], framed: bool) -> None:
    if framed:
        counted = [(len(payload) // 6, payload) for payload in payloads]
        payloads = [file_of_payloads(*counted), *payloads]
    with in_order():
        exact = read_captures(payloads)
    assert same(read_in_step(payloads, 2), exact)


GOOD = record_bytes(1) + record_bytes(2)
OVER_64_BITS = b"\xff" * 9 + b"\x02"


@pytest.mark.parametrize(
    ("kind", "count", "payload"),
    [
        (DamageKind.BAD_COUNT, 1, GOOD),
        (DamageKind.BAD_COUNT, 3, GOOD),
        (DamageKind.BAD_COUNT, 0, GOOD),
        (DamageKind.BAD_COUNT, -2, GOOD),
        (DamageKind.BAD_COUNT, 10**9, GOOD),
        (DamageKind.BAD_COUNT, 2**62, GOOD),
        (DamageKind.BAD_BLOCK, 2, GOOD[:-1]),
        (DamageKind.BAD_BLOCK, 3, GOOD + b"\xff" * 40),
        (DamageKind.BAD_BLOCK, 2, record_bytes(1, body=b"\x04") + record_bytes(2)),
        (DamageKind.BAD_BLOCK, 2, record_bytes(1, body=b"\x02\x01") + record_bytes(2)),
        (DamageKind.BAD_BLOCK, 2, record_bytes(1, system=b"\x02\x01") + record_bytes(2)),
        (DamageKind.BAD_BLOCK, 2, record_bytes(1, system=encode_long(2**62)) + record_bytes(2)),
        (DamageKind.BAD_BLOCK, 2, record_bytes(1, system=encode_long(-(2**63))) + GOOD),
        (DamageKind.BAD_BLOCK, 2, b"\x02" + encode_long(2**62) + GOOD),
        (DamageKind.BAD_BLOCK, 2, record_bytes(1) + record_bytes(2, body=b"")),
        (DamageKind.BAD_BLOCK, 2, record_bytes(1) + OVER_64_BITS + record_bytes(2)[1:]),
    ],
)
@pytest.mark.parametrize("read", [read_captures, lambda blobs: read_in_step(blobs, 2)])
@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_a_block_is_decoded_whole_or_not_at_all(
    kind: DamageKind,
    count: int,
    payload: bytes,
    read: Callable[[list[bytes]], Decoded],
    codec: str,
) -> None:
    def stored(data: bytes) -> bytes:
        return zlib.compress(data, wbits=-15) if codec == "deflate" else data

    before, after = record_bytes(0), record_bytes(7) + record_bytes(8)
    blob = file_of_payloads(
        (1, stored(before)), (count, stored(payload)), (2, stored(after)), codec=codec
    )
    decoded = read([blob])
    assert sequences(decoded) == [0, 7, 8]
    [damage] = decoded.damage
    ends = [end for end, _ in boundaries(blob)]
    assert (damage.kind, damage.start, damage.end) == (kind, ends[1], ends[2])
    assert damage.records == (count if 0 <= count < 4 else None)
    assert "\n" not in damage.detail


def test_a_broken_sync_marker_leaves_its_neighbours() -> None:
    blob = capture_file(0, 30, block_bytes=500)
    ends = boundaries(blob)
    (start, before), (end, after) = ends[2:4]
    decoded = read_captures([blob[: end - 3] + b"???" + blob[end:]])
    assert sequences(decoded) == [*range(before), *range(after, 30)]
    [damage] = decoded.damage
    assert (damage.kind, damage.start, damage.end) == (DamageKind.BAD_SYNC, start, end)
    assert damage.records == after - before


def test_absurd_counts_are_refused_without_room_for_them() -> None:
    blob = file_of_payloads((10**9, bytes(100)), (2**62, bytes(100)))
    assert peak_of(lambda: read_captures([blob])) < 1 << 20


def test_an_inflating_block_is_refused_without_room_for_it() -> None:
    bomb = zlib.compress(bytes(64 << 20), wbits=-15)
    blob = file_of_payloads((1, bomb), (1, zlib.compress(record_bytes(5), wbits=-15)),
                            codec="deflate")  # fmt: skip
    limits = Limits(inflated_block_bytes=1 << 20)
    decoded = read_captures([blob], limits=limits)
    assert [damage.kind for damage in decoded.damage] == [DamageKind.TOO_LARGE]
    assert sequences(decoded) == [5]
    assert peak_of(lambda: read_captures([blob], limits=limits)) < 8 << 20


def test_a_file_of_many_inflating_blocks_is_refused() -> None:
    blob = capture_file(0, 300, codec="deflate", block_bytes=2000)
    decoded = read_captures([blob, blob], limits=Limits(inflated_capture_bytes=9000))
    assert {damage.kind for damage in decoded.damage} == {DamageKind.TOO_LARGE}
    assert {damage.capture for damage in decoded.damage} == {0, 1}
    assert 0 < len(decoded.records) < 300


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_a_batch_takes_little_more_than_its_bytes(codec: Literal["null", "deflate"]) -> None:
    records = [capture_record(number, body=os.urandom(470)) for number in range(2000)]
    blobs = [encode_capture(records, codec=codec) for _ in range(8)]
    size = sum(map(len, blobs))
    assert peak_of(lambda: read_captures(blobs)) < 2.4 * size


def peak_of(action: Callable[[], object]) -> int:
    action()  # what is cached or imported once is not what is measured
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Other writer schemas


def schema_with(*changes: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(SCHEMA_2017)
    for change in changes:
        change(schema)
    return schema


def reordered(schema: dict[str, Any]) -> None:
    schema["fields"].reverse()


def extended(schema: dict[str, Any]) -> None:
    nested = {"type": "record", "name": "Nested", "fields": [{"name": "a", "type": "double"}]}
    schema["fields"].insert(2, {"name": "Tags", "type": {"type": "array", "items": "string"}})
    schema["fields"].insert(0, {"name": "Nested", "type": ["null", nested]})


def other_unions(schema: dict[str, Any]) -> None:
    for field in schema["fields"][3:5]:
        field["type"]["values"] = ["null", "bytes", "string", "double", "long", "boolean"]
    schema["fields"][5]["type"] = ["bytes", "null"]


def documented(schema: dict[str, Any]) -> None:
    schema["doc"] = "As some tool copied it."
    schema["fields"][0]["doc"] = "A number."


def wrapped(schema: dict[str, Any]) -> None:
    schema["fields"][0]["type"] = {"type": "long"}


CHANGES = [
    [reordered],
    [extended],
    [other_unions],
    [documented],
    [wrapped],
    [other_unions, extended, reordered],
]


def names_of(changes: list[Callable[[dict[str, Any]], None]]) -> str:
    return ",".join(change.__name__ for change in changes)


@pytest.mark.parametrize("changes", CHANGES, ids=names_of)
@pytest.mark.parametrize("codec", ["null", "deflate"])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_other_schemas_with_the_fields_are_read(
    changes: list[Callable[[dict[str, Any]], None]], codec: str, data: st.DataObject
) -> None:
    rows = data.draw(avro_rows(VALUES).filter(bool))
    extra = {"Nested": {"a": 1.0}, "Tags": ["x", "y"]} if extended in changes else {}
    file = io.BytesIO()
    fastavro.writer(
        file,
        schema_with(*changes),
        [row | extra for row in rows],
        codec=codec,
        sync_interval=data.draw(st.integers(1, 2000)),
    )
    blobs = [capture_file(5, 3), file.getvalue(), capture_file(8, 3)]
    decoded = read_captures(blobs)
    assert decoded.damage == ()
    assert rows_of(decoded.records) == expected(blobs)


def other_file(*payloads: tuple[int, bytes]) -> bytes:
    """A file of another schema, whose records are encoded as those of Capture."""
    schema = json.dumps(schema_with(wrapped)).encode()
    return file_of_payloads(*payloads, schema=schema)


@pytest.mark.parametrize(
    ("kind", "count", "payload"),
    [
        (DamageKind.BAD_COUNT, 1, GOOD),
        (DamageKind.BAD_COUNT, 3, GOOD),
        (DamageKind.BAD_COUNT, -2, GOOD),
        (DamageKind.BAD_COUNT, 10**12, GOOD),
        (DamageKind.BAD_BLOCK, 2, GOOD[:-1]),
        (DamageKind.BAD_BLOCK, 3, GOOD + b"\xff" * 40),
        (DamageKind.BAD_BLOCK, 2, record_bytes(1, system=encode_long(2**62)) + GOOD),
    ],
)
def test_their_blocks_are_decoded_whole_or_not_at_all(
    kind: DamageKind, count: int, payload: bytes
) -> None:
    blob = other_file((1, record_bytes(0)), (count, payload), (1, record_bytes(7)))
    decoded = read_captures([blob])
    assert sequences(decoded) == [0, 7]
    assert [damage.kind for damage in decoded.damage] == [kind]


def file_with_field(index: int, type_of: Any, value: Any) -> bytes:
    """A file of one record, one of whose fields is of another type than in Capture."""
    schema = schema_with()
    schema["fields"][index]["type"] = type_of
    row = {
        "SequenceNumber": 1, "Offset": "1", "EnqueuedTimeUtc": "now", "SystemProperties": {},
        "Properties": {}, "Body": b"{}", schema["fields"][index]["name"]: value,
    }  # fmt: skip
    file = io.BytesIO()
    fastavro.writer(file, schema, [row])
    return file.getvalue()


def test_a_time_that_is_no_text_is_read() -> None:
    blob = file_with_field(2, {"type": "long", "logicalType": "timestamp-millis"}, START)
    [(_, _, time, _)] = rows_of(read_captures([blob]).records)
    assert time == (START - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("index", "type_of", "value"),
    [
        (0, "double", 1.5),
        (0, "boolean", True),
        (0, "string", "1"),
        (3, "string", "{}"),
        (5, "string", "{}"),
        (5, ["null", "long"], 7),
    ],
)
def test_a_field_of_another_meaning_is_damage(index: int, type_of: Any, value: Any) -> None:
    decoded = read_captures([file_with_field(index, type_of, value)])
    assert [damage.kind for damage in decoded.damage] == [DamageKind.BAD_BLOCK]
    assert len(decoded.records) == 0


def field(type_of: Any) -> Callable[[dict[str, Any]], None]:
    return lambda schema: schema["fields"].append({"name": "Extra", "type": type_of})


def nested(levels: int) -> Any:
    return {"type": "array", "items": nested(levels - 1)} if levels else "long"


@pytest.mark.parametrize(
    "schema",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        b'"string"',
        b'["null"]',
        b'{"type":"record","name":"E","fields":7}',
        b'{"type":"record","name":"E","fields":[{"name":[],"type":"long"}]}',
        SCHEMA_2017.replace(b"record", b"enum"),
        SCHEMA_2017.replace(b"SequenceNumber", b"SequenceNumbers"),
        SCHEMA_2017.replace(b'"bytes","null"]', b'"bytes","nil"]'),
        json.dumps(schema_with(field({"type": "record", "fields": []}))).encode(),
        json.dumps(schema_with(field({"type": "array", "items": "null"}))).encode(),
        json.dumps(schema_with(field("EventData"))).encode(),
        json.dumps(
            schema_with(field(["null", "Microsoft.ServiceBus.Messaging.EventData"]))
        ).encode(),
        json.dumps(schema_with(field(nested(30)))).encode(),
        json.dumps(schema_with(field([]))).encode(),
        json.dumps(schema_with(field(None))).encode(),
        json.dumps(schema_with(field({"type": "fixed", "name": "F", "size": "big"}))).encode(),
    ],
)
def test_schemas_that_can_not_be_decoded_are_damage(schema: bytes) -> None:
    decoded = read_captures([file_of_payloads((2, GOOD), schema=schema), capture_file(0, 2)])
    [damage] = decoded.damage
    assert (damage.capture, damage.kind, damage.torn) == (0, DamageKind.BAD_HEADER, False)
    assert "\n" not in damage.detail
    assert sequences(decoded) == [0, 1]
