"""The Avro decoder: any bytes, and payloads framed as a whole file so that they get far.

Promises: no exception, memory within the limits, decoding in step gives what decoding in order
does, and what fastavro reads of a file of Capture's own schema is what comes out, unless the
decoder reports damage, which then costs records but never changes or adds one.
"""

import io
import json
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

import fastavro

from stingar_dagster.capture import records as decoding
from stingar_dagster.capture.container import encode_block, encode_header, read_header, split_blocks
from stingar_dagster.capture.reader import Decoded, Limits, read_captures
from stingar_dagster.capture.records import SCHEMA_2016, SCHEMA_2017
from stingar_dagster.capture.writer import CaptureRecord, Property, encode_capture
from stingar_dagster.samples.traffic import traffic

LIMITS: Final = Limits(inflated_block_bytes=1 << 20, inflated_capture_bytes=1 << 21)
_SYNC: Final = bytes(range(16))
_START: Final = datetime(2026, 11, 3, 10, 59, 30, tzinfo=UTC)
_PROPERTIES: Final[tuple[Mapping[str, Property], ...]] = (
    {},
    {"x-opt-enqueued-time": 1_793_703_570_123},
    {"a": "é", "b": 1.5},
)
_FRAMED, _DEFLATE, _FIRST_SCHEMA, _TWICE = 1, 2, 4, 8
"""Bits of an input's first byte; the second is how many records a block says it has."""


def check(data: bytes) -> None:
    """Hold the decoder to its promises for one input."""
    blob = file_of(data)
    with _lanes(too_few=1 << 60, stride=1):
        exact = read_captures([blob, blob], limits=LIMITS)
    with _lanes(too_few=0, stride=1 + len(data) % 3):
        stepped = read_captures([blob, blob], limits=LIMITS)
    assert rows_of(stepped) == rows_of(exact), "in step and in order differ"
    assert stepped.damage == exact.damage, "damage differs between in step and in order"
    rows = rows_of(exact)
    first = [row[1:] for row in rows if row[0] == 0]
    assert first == [row[1:] for row in rows if row[0] == 1], "a file depends on its neighbour"
    known = _by_fastavro(blob)
    if known is None:
        return
    found = [(sequence, body) for sequence, _, body in first]
    if not exact.damage:
        assert found == known, "fastavro reads other records"
    else:
        assert not Counter(found) - Counter(known), "a record that fastavro does not read"


def file_of(data: bytes) -> bytes:
    """The file that an input stands for."""
    if len(data) < 2 or not data[0] & _FRAMED:
        return data[1:]
    codec = "deflate" if data[0] & _DEFLATE else "null"
    schema = SCHEMA_2016 if data[0] & _FIRST_SCHEMA else SCHEMA_2017
    payload = _deflated(data[2:]) if codec == "deflate" else data[2:]
    block = encode_block(data[1], payload, _SYNC)
    return encode_header(codec, schema, _SYNC) + block * (2 if data[0] & _TWICE else 1)


def _deflated(payload: bytes) -> bytes:
    return zlib.compress(payload, level=1, wbits=-zlib.MAX_WBITS)


def rows_of(decoded: Decoded) -> list[tuple[int, int, int, bytes | None]]:
    records = decoded.records
    return [
        (capture, sequence, time, None if size < 0 else records.buffer[start : start + size])
        for capture, sequence, time, start, size in zip(
            records.capture.tolist(),
            records.sequence.tolist(),
            records.enqueued_us.tolist(),
            records.body_start.tolist(),
            records.body_length.tolist(),
            strict=True,
        )
    ]


def _by_fastavro(blob: bytes) -> list[tuple[int, bytes | None]] | None:
    """What fastavro reads, None where it refuses or the schema is not Capture's own."""
    try:
        if read_header(blob).schema not in (SCHEMA_2016, SCHEMA_2017):
            return None
        rows: Iterator[Any] = iter(fastavro.reader(io.BytesIO(blob)))
        return [(row["SequenceNumber"], row["Body"]) for row in rows]
    except Exception:  # it raises whatever its code comes across
        return None


@contextmanager
def _lanes(too_few: int, stride: int) -> Iterator[None]:
    names = ("_TOO_FEW_RECORDS", "_ENOUGH_LANES", "_LONGEST_LANE", "_CHUNK_LANES")
    before = [getattr(decoding, name) for name in names]
    for name, value in zip(names, (too_few, 1, stride, 64), strict=True):
        setattr(decoding, name, value)
    try:
        yield
    finally:
        for name, value in zip(names, before, strict=True):
            setattr(decoding, name, value)


def seeds() -> Iterator[bytes]:
    """Whole files of sample traffic, and the payloads of such files, framed anew."""
    rng = Random(3)
    samples = traffic(_START, _START + timedelta(minutes=10), events_per_hour=600, seed=3)
    bodies: list[bytes | None] = [sample.body[:300] for sample in samples]
    for count in (1, 2, 5, 12):
        for properties in _PROPERTIES:
            numbered = [
                CaptureRecord(
                    number,
                    str(number * 512),
                    _START + timedelta(seconds=number),
                    rng.choice([body, None, b""]) if number % 4 == 3 else body,
                    system_properties=properties,
                    properties={"k": math.pi, "n": None, "l": -(2**63)} if number % 2 else {},
                )
                for number, body in enumerate(bodies[:count], 60)
            ]
            yield b"\x00" + encode_capture(numbered, codec="null", block_bytes=400)
            yield b"\x00" + encode_capture(numbered, codec="deflate", block_bytes=400)
            file = encode_capture(numbered, codec="null")
            (block,), _ = split_blocks(file, read_header(file), 0)
            payload = file[block.payload : block.payload_end]
            for flags in (_FRAMED, _FRAMED | _DEFLATE, _FRAMED | _TWICE, _FRAMED | _FIRST_SCHEMA):
                yield bytes([flags, count]) + payload
    other = json.loads(SCHEMA_2017)
    other["fields"].append({"name": "More", "type": ["null", "string"]})
    yield b"\x00" + encode_header("null", json.dumps(other).encode(), _SYNC)
    yield b"\x00"


def words() -> list[bytes]:
    """What the format is made of."""
    return [
        b"Obj\x01", b"avro.schema", b"avro.codec", b"null", b"deflate", _SYNC,
        b"x-opt-enqueued-time", b"11/3/2026 10:59:30 AM", b"2026-11-03T10:59:30Z",
        b"\xff" * 9 + b"\x01", b"\xfe" + b"\xff" * 8 + b"\x01", b"\x80", b"\x00", b"\x01", b"\x02",
        b'"type":"long"', b'"type":"string"', b'"type":["null","bytes"]', b"SequenceNumber",
        b"Body", b'"type":"record"', b'"array"', b'"map"', b'"fixed"', b'"enum"', b'"logicalType"',
    ]  # fmt: skip
