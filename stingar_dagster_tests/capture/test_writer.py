"""Capture files written: the bytes of Event Hubs, the same for the same records."""

import io
import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Literal

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stingar_dagster.capture.container import read_header, split_blocks
from stingar_dagster.capture.reader import read_captures
from stingar_dagster.capture.writer import CaptureRecord, GrowingCapture, encode_capture

NOON = datetime(2026, 11, 3, 12, 0, 5, tzinfo=UTC)

SINCE_2017 = (
    b'{"type":"record","name":"EventData","namespace":"Microsoft.ServiceBus.Messaging","fields":['
    b'{"name":"SequenceNumber","type":"long"},{"name":"Offset","type":"string"},'
    b'{"name":"EnqueuedTimeUtc","type":"string"},{"name":"SystemProperties","type":'
    b'{"type":"map","values":["long","double","string","bytes"]}},{"name":"Properties","type":'
    b'{"type":"map","values":["long","double","string","bytes","null"]}},'
    b'{"name":"Body","type":["null","bytes"]}]}'
)


def record(number: int, **fields: Any) -> CaptureRecord:
    body = b'{"n": %d}' % number
    return CaptureRecord(number, str(number * 512), **{"enqueued": NOON, "body": body, **fields})


def read_back(blob: bytes) -> list[dict[str, Any]]:
    return [row for row in fastavro.reader(io.BytesIO(blob)) if isinstance(row, dict)]


def blocks_of(blob: bytes) -> list[int]:
    """How many records each block declares."""
    blocks, damage = split_blocks(blob, read_header(blob), 0)
    assert not damage
    return [block.records for block in blocks]


VALUES = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text() | st.binary()


@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            CaptureRecord,
            st.integers(-(2**63), 2**63 - 1),
            st.text(),
            st.datetimes(timezones=st.just(UTC)),
            st.none() | st.binary(),
            st.dictionaries(st.text(), VALUES),
            st.dictionaries(st.text(), VALUES | st.none()),
        )
    ),
    st.sampled_from(["null", "deflate"]),
    st.none() | st.integers(1, 200),
)
def test_fastavro_reads_back_every_field(
    records: list[CaptureRecord], codec: Literal["null", "deflate"], block_bytes: int | None
) -> None:
    blob = encode_capture(records, codec=codec, block_bytes=block_bytes)
    rows = read_back(blob)
    assert [(row["SequenceNumber"], row["Offset"], row["Body"]) for row in rows] == [
        (record.sequence_number, record.offset, record.body) for record in records
    ]
    assert [(row["SystemProperties"], row["Properties"]) for row in rows] == [
        (record.system_properties, record.properties) for record in records
    ]
    assert encode_capture(iter(records), codec=codec, block_bytes=block_bytes) == blob
    assert len(read_captures([blob]).records) == len(records)


def test_the_header_is_that_of_event_hubs() -> None:
    header = read_header(encode_capture([record(1)]))
    assert header.schema == SINCE_2017
    assert header.prefix.startswith(b"Obj\x01\x04\x14avro.codec\x08null\x16avro.schema")


def test_an_empty_window_is_one_block_of_no_records() -> None:
    blob = encode_capture([])
    assert len(blob) == 508  # as Event Hubs writes it
    assert blob[474:490] == blob[492:]
    assert blob[490:492] == b"\x00\x00"
    assert read_captures([blob]).damage == ()


def test_an_empty_window_can_be_deflated() -> None:
    blob = encode_capture([], codec="deflate")
    assert blocks_of(blob) == [0]
    assert read_captures([blob]).damage == ()


def test_all_records_stand_in_one_block_unless_asked_otherwise() -> None:
    records = [record(number, body=bytes(10_000)) for number in range(40)]
    assert blocks_of(encode_capture(records)) == [40]
    assert blocks_of(encode_capture(records, block_bytes=25_000)) == [3] * 13 + [1]
    assert blocks_of(encode_capture(records, block_bytes=1)) == [1] * 40


def test_blocks_that_come_out_even_leave_no_empty_one_behind() -> None:
    assert blocks_of(encode_capture([record(1), record(2)], block_bytes=1)) == [1, 1]


def test_other_records_give_another_sync_marker() -> None:
    one, two = encode_capture([record(1)]), encode_capture([record(2)])
    assert one[-16:] != two[-16:]


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 1, 2, 0, 3, 4, tzinfo=UTC), "1/2/2026 12:03:04 AM"),
        (datetime(2026, 11, 30, 1, 0, 0, 999_999, tzinfo=UTC), "11/30/2026 1:00:00 AM"),
        (datetime(2026, 12, 31, 12, 0, 0, tzinfo=UTC), "12/31/2026 12:00:00 PM"),
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), "12/31/2026 11:59:59 PM"),
        (datetime(987, 1, 1, tzinfo=UTC), "1/1/0987 12:00:00 AM"),
        (datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=2))), "12/31/2025 10:00:00 PM"),
    ],
)
def test_times_are_written_as_in_the_united_states(moment: datetime, text: str) -> None:
    [row] = read_back(encode_capture([record(1, enqueued=moment)]))
    assert row["EnqueuedTimeUtc"] == text


@pytest.mark.parametrize(
    "fields",
    [
        {"enqueued": NOON.replace(tzinfo=None)},
        {"system_properties": {"x-opt-publisher": None}},
        {"properties": {"list": [1]}},
        {"properties": {"huge": 2**63}},
        {"properties": {"flag": True}},
        {"body": "text"},
        {"sequence_number": 2**63},
    ],
)
def test_what_can_not_be_written_is_refused(fields: Mapping[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        encode_capture([replace(record(1), **fields)])


def test_a_capture_that_grows_is_the_same_as_one_written_at_once() -> None:
    records = [record(number, properties={"n": number}) for number in range(7, 12)]
    growing = GrowingCapture()
    for index, one in enumerate(records):
        growing.add(one)
        assert growing.encode() == encode_capture(records[: index + 1])
    assert (growing.first, growing.last, growing.records) == (7, 11, 5)


def test_a_growing_capture_is_put_together_in_the_memory_of_one_more() -> None:
    growing = GrowingCapture()
    while growing.size < 8_000_000:
        growing.add(record(growing.records, body=b"x" * 4000))
    tracemalloc.start()
    try:
        size = len(growing.encode())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.1 * size


def test_a_record_that_can_not_be_written_leaves_a_growing_capture_as_it_was() -> None:
    growing = GrowingCapture()
    growing.add(record(0))
    with pytest.raises(ValueError, match="record 1 can't be written"):
        growing.add(record(1, properties={"n": 2**80}))
    growing.add(record(1))
    assert growing.encode() == encode_capture([record(0), record(1)])
