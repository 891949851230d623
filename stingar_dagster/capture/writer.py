"""Records in, a capture file out, byte for byte as Event Hubs Capture lays it down.

For `stingar capture`, `stingar land`, the demo and tests. Not here: which records, when and where
to (`kafka`, `packing`, `samples`).
"""

import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, Literal

from fastavro import parse_schema, schemaless_writer

from stingar_dagster.capture.container import SYNC_BYTES, block_parts, encode_block, encode_header
from stingar_dagster.capture.records import SCHEMA_2017

Property = int | float | str | bytes | None
"""A property of an event. Null stands in Properties only, and an integer fits in 64 bits."""


@dataclass(frozen=True, slots=True)
class CaptureRecord:
    """One captured event.

    Attributes:
        sequence_number: of the event in its partition.
        offset: of the event in its partition; text, of no promised form.
        enqueued: when the hub took the event; aware. Written in whole seconds.
        body: the event itself, uninterpreted.
        system_properties: set by the hub, such as `x-opt-enqueued-time` (epoch milliseconds).
        properties: set by the sender.
    """

    sequence_number: int
    offset: str
    enqueued: datetime
    body: bytes | None
    system_properties: Mapping[str, Property] = field(default_factory=dict)
    properties: Mapping[str, Property] = field(default_factory=dict)


def encode_capture(
    records: Iterable[CaptureRecord],
    *,
    codec: Literal["null", "deflate"] = "null",
    block_bytes: int | None = None,
) -> bytes:
    """Write a capture file with the schema of 2017.

    The same records give the same bytes: the sync marker, which Event Hubs draws at random, is a
    digest of them.

    Args:
        records: in the order in which they shall stand in the file. Without any, the file is what
            Capture writes for an empty window: one block of no records.
        codec: of the blocks. Capture writes null.
        block_bytes: a block ends with the record that brings it to so many bytes before they are
            deflated. None gives one block, as in every file of Event Hubs seen.

    Raises:
        ValueError: a record can't be written: a naive time, a number beyond 64 bits, a property
            of another type.
    """
    blocks = [
        (count, _deflate(payload) if codec == "deflate" else payload)
        for count, payload in _payloads(records, block_bytes)
    ]
    sync = _sync(payload for _, payload in blocks)
    framed = (encode_block(count, payload, sync) for count, payload in blocks)
    return b"".join((encode_header(codec, SCHEMA_2017, sync), *framed))


class GrowingCapture:
    """A capture file that grows record by record, encoded as it grows.

    Memory is that of the file, and once more while `encode` puts it together.
    """

    def __init__(self) -> None:
        self._payload = io.BytesIO()
        self.records = 0
        self.first: int | None = None
        self.last: int | None = None

    @property
    def size(self) -> int:
        """Bytes of the encoded records."""
        return self._payload.tell()

    def add(self, record: CaptureRecord) -> None:
        """Append a record.

        Raises:
            ValueError: it can't be written; the file is as it was.
        """
        before = self._payload.tell()
        try:
            _write_record(self._payload, record)
        except ValueError:
            self._payload.seek(before)
            self._payload.truncate()
            raise
        self.records += 1
        self.first = record.sequence_number if self.first is None else self.first
        self.last = record.sequence_number

    def encode(self) -> bytes:
        """The file so far: the same as `encode_capture` of the same records."""
        with self._payload.getbuffer() as payload:
            sync = _sync([payload])
            header = encode_header("null", SCHEMA_2017, sync)
            return b"".join((header, *block_parts(self.records, payload, sync)))


_PARSED_SCHEMA: Final = parse_schema(json.loads(SCHEMA_2017))


def _payloads(
    records: Iterable[CaptureRecord], block_bytes: int | None
) -> Iterator[tuple[int, bytes]]:
    """The encoded records of each block, and how many they are; at least one block."""
    payload = io.BytesIO()
    count = written = 0
    for record in records:
        _write_record(payload, record)
        count += 1
        if block_bytes is not None and payload.tell() >= block_bytes:
            yield count, payload.getvalue()
            payload = io.BytesIO()
            written, count = written + 1, 0
    if count or not written:
        yield count, payload.getvalue()


def _write_record(payload: io.BytesIO, record: CaptureRecord) -> None:
    fields = {
        "SequenceNumber": record.sequence_number,
        "Offset": record.offset,
        "EnqueuedTimeUtc": _us_time(record.enqueued.replace(microsecond=0)),
        "SystemProperties": record.system_properties,
        "Properties": record.properties,
        "Body": record.body,
    }
    try:
        _refuse_long_integers(record.system_properties)
        _refuse_long_integers(record.properties)
        schemaless_writer(payload, _PARSED_SCHEMA, fields)
    except (TypeError, ValueError, OverflowError) as error:
        detail = f"record {record.sequence_number} can't be written: {error}"
        raise ValueError(detail) from error


def _refuse_long_integers(properties: Mapping[str, Property]) -> None:
    """fastavro would write them as doubles, which are other numbers."""
    for name, value in properties.items():
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            raise OverflowError(f"the property {name!r} does not fit in 64 bits")


@lru_cache(maxsize=1024)
def _us_time(moment: datetime) -> str:
    """`M/d/yyyy h:mm:ss AM`, in which .NET prints a DateTime for the United States."""
    if moment.tzinfo is None:
        raise ValueError(f"the enqueued time {moment} has no time zone")
    moment = moment.astimezone(UTC)
    half = "AM" if moment.hour < 12 else "PM"
    return (
        f"{moment.month}/{moment.day}/{moment.year:04} "
        f"{moment.hour % 12 or 12}:{moment.minute:02}:{moment.second:02} {half}"
    )


def _deflate(payload: bytes) -> bytes:
    return zlib.compress(payload, wbits=-zlib.MAX_WBITS)


def _sync(payloads: Iterable[bytes | memoryview]) -> bytes:
    """A sync marker that the payloads determine and, being their digest, do not hold."""
    digest = hashlib.blake2b(digest_size=SYNC_BYTES)
    for payload in payloads:
        digest.update(payload)
    return digest.digest()
