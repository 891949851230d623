"""Capture files in, record columns and damage out.

`read_captures` takes a batch of files: decoded together, thousands of small ones cost little more
than their bytes. Here: which block is decoded how, and what becomes of damage. Not here: the
container (`container`), the decoding (`records`), where files come from, and what a body means.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from fastavro import parse_schema, schemaless_reader
from numpy.typing import NDArray

from stingar_dagster.capture.container import (
    SHORTEST_RECORD_BYTES,
    Block,
    Damage,
    DamageKind,
    Header,
    Limits,
    Malformed,
    inflate,
    plausible_count,
    read_header,
    split_blocks,
)
from stingar_dagster.capture.records import (
    ENQUEUED_TIME_KEY,
    NO_TIME,
    SCHEMA_2016,
    SCHEMA_2017,
    Columns,
    Records,
    Span,
    decode_spans,
    epoch_us,
    ms_to_us,
    parse_time,
)

__all__ = [
    "DEFAULT_LIMITS",
    "NO_TIME",
    "Damage",
    "DamageKind",
    "Decoded",
    "Limits",
    "Records",
    "read_captures",
]

DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a batch of capture files holds.

    Attributes:
        records: in the order of the files, and within a file in the order they stand there.
        damage: by file and position. What it covers gave no records, everything else did.
    """

    records: Records
    damage: tuple[Damage, ...]


def read_captures(blobs: Sequence[bytes], *, limits: Limits = DEFAULT_LIMITS) -> Decoded:
    """Decode a batch of whole capture files, each with the schema and codec it names itself.

    A block is decoded whole or not at all; the good blocks on both sides of a damaged one come
    out. No bytes whatever make this raise.

    Avro can't tell everything: a file cut between two blocks is a whole, shorter file (a gap in
    the sequence numbers shows it, once the next file is there), and flipped bits inside a body
    of codec null, which has no checksum, are read as they are.

    Args:
        blobs: the files. Memory peaks at about twice their inflated size besides them.
        limits: what compressed blocks may inflate to.
    """
    batch = _Batch(limits)
    header = None
    for capture, blob in enumerate(blobs):
        header = batch.add(capture, blob, header) or header
    return batch.decode()


@dataclass(frozen=True, slots=True)
class _Schema:
    """How to decode the records of a writer schema.

    Attributes:
        property_types: of how many types a value of Properties can be, in a schema of Capture.
        foreign: None, or another schema with the fields of Capture, as fastavro parsed it.
    """

    property_types: int
    foreign: Any = None


@dataclass(slots=True)
class _File:
    """A file whose blocks are being gathered.

    Attributes:
        laid: where the whole file starts in the buffer, once it is laid there.
        inflated: bytes its blocks have inflated to.
    """

    capture: int
    blob: bytes
    codec: str
    schema: _Schema
    laid: int | None = None
    inflated: int = 0


class _Placed(NamedTuple):
    """A block with rows: its file, its frame, and its first row."""

    file: _File
    block: Block
    row: int


class _ForeignRows(NamedTuple):
    """The decoded records of a block of a foreign schema; `bodies` is None where they are null."""

    sequence: list[int]
    enqueued_us: list[int]
    bodies: list[bytes | None]


class _Batch:
    """Blocks gathered from files, laid one behind another, then decoded all at once."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._damage: list[Damage] = []
        self._parts: list[bytes] = []
        self._size = 0
        self._rows = 0
        self._placed: list[_Placed] = []
        self._spans: dict[int, Span] = {}
        self._foreign: dict[int, tuple[int, _ForeignRows]] = {}

    def add(self, capture: int, blob: bytes, known: Header | None) -> Header | None:
        """Gather the blocks of a file; its header, where it can be read."""
        try:
            header = read_header(blob, known)
            schema = _schema(header.schema)
        except Malformed as error:
            self._damage.append(Damage(capture, error.kind, 0, len(blob), None, error.detail))
            return None
        file = _File(capture, blob, header.codec, schema)
        blocks, damage = split_blocks(blob, header, capture)
        self._damage += damage
        for block in blocks:
            try:
                self._place(file, block)
            except Malformed as error:
                self._spoil(file, block, error)
        return header

    def decode(self) -> Decoded:
        """Decode what was gathered. The batch can't be used afterwards."""
        buffer = b"".join(self._parts)
        self._parts.clear()
        columns = Columns(self._rows)
        for index, (start, rows) in self._foreign.items():
            _fill(columns, self._placed[index].row, start, rows)
        indices = list(self._spans)
        broken = decode_spans(buffer, list(self._spans.values()), columns)
        captures = self._captures()
        if broken:
            keep = np.ones(self._rows, np.bool_)
            for span, error in broken.items():
                placed = self._placed[indices[span]]
                keep[placed.row : placed.row + placed.block.records] = False
                self._spoil(placed.file, placed.block, error)
            columns.keep(keep)
            captures = captures[keep]
        columns.read_time_texts(buffer)
        records = Records(
            buffer,
            captures,
            columns.sequence,
            columns.enqueued_us,
            columns.body_start,
            columns.body_length,
        )
        damage = sorted(self._damage, key=lambda damage: (damage.capture, damage.start))
        return Decoded(records, tuple(damage))

    def _place(self, file: _File, block: Block) -> None:
        """Lay a block's bytes into the buffer and claim rows for its records.

        Raises:
            Malformed: the block can't be inflated, or its count is impossible.
        """
        if block.records == 0 and block.payload == block.payload_end:
            return  # how Capture records an empty window
        index = len(self._placed)
        if file.schema.foreign is not None:
            rows = _decode_foreign(self._payload(file, block), block.records, file.schema.foreign)
            start = self._lay(b"".join(body for body in rows.bodies if body is not None))
            self._foreign[index] = start, rows
        else:
            start, end = self._lay_payload(file, block)
            if not 0 <= block.records * SHORTEST_RECORD_BYTES <= end - start:
                detail = f"the block declares {block.records:,} records in {end - start:,} bytes"
                raise Malformed(DamageKind.BAD_COUNT, detail)
            types = file.schema.property_types
            self._spans[index] = Span(start, end, block.records, self._rows, types)
        self._placed.append(_Placed(file, block, self._rows))
        self._rows += block.records

    def _lay_payload(self, file: _File, block: Block) -> tuple[int, int]:
        """Lay the block, inflated, into the buffer; where it starts and ends there."""
        if file.codec == "null":  # the file is laid whole: alone in a batch it is never copied
            if file.laid is None:
                file.laid = self._lay(file.blob)
            return file.laid + block.payload, file.laid + block.payload_end
        start = self._lay(self._payload(file, block))
        return start, self._size

    def _payload(self, file: _File, block: Block) -> bytes:
        """The inflated bytes of a block."""
        if file.codec == "null":
            return file.blob[block.payload : block.payload_end]
        left = self._limits.inflated_capture_bytes - file.inflated
        stored = memoryview(file.blob)[block.payload : block.payload_end]
        payload = inflate(stored, min(self._limits.of_block(len(stored)), left))
        file.inflated += len(payload)
        return payload

    def _lay(self, part: bytes) -> int:
        """Append bytes to the buffer; where they start."""
        start = self._size
        self._parts.append(part)
        self._size += len(part)
        return start

    def _captures(self) -> NDArray[np.int32]:
        """The column `Records.capture`, before rows are dropped."""
        captures = np.array([placed.file.capture for placed in self._placed], np.int32)
        return np.repeat(captures, [placed.block.records for placed in self._placed])

    def _spoil(self, file: _File, block: Block, error: Malformed) -> None:
        """Note that a block gave no records."""
        size = block.payload_end - block.payload
        records = plausible_count(block.records, size, file.codec)
        self._damage.append(
            Damage(file.capture, error.kind, block.start, block.end, records, error.detail)
        )


# Schemas


_WIDTHS: Final = {
    "null": 0,
    "boolean": 1,
    "int": 1,
    "long": 1,
    "float": 4,
    "double": 8,
    "bytes": 1,
    "string": 1,
}
"""The least bytes of a value of each primitive type."""

_DEEPEST_SCHEMA: Final = 16


@lru_cache(maxsize=64)
def _schema(text: bytes) -> _Schema:
    """How to decode the records of the writer schema in a header.

    Raises:
        Malformed: with the kind BAD_HEADER.
    """
    try:
        schema = json.loads(text)
        fields = _field_types(schema)
    except (ValueError, LookupError, TypeError, RecursionError):
        raise _bad_schema("is not the JSON of a record") from None
    names = [name for name, _ in fields]
    for name, _ in _FIELDS_2017:
        if name not in names:
            raise _bad_schema(f"has no field {name}, so this is no file of Capture")
    if fields == _FIELDS_2017:
        return _Schema(property_types=5)
    if fields == _FIELDS_2016:
        return _Schema(property_types=4)
    return _Schema(property_types=0, foreign=_parse_foreign(schema))


def _field_types(schema: Any) -> list[tuple[str, Any]]:
    if schema["type"] != "record":
        raise TypeError
    return [(field["name"], field["type"]) for field in schema["fields"]]


_FIELDS_2016: Final = _field_types(json.loads(SCHEMA_2016))
_FIELDS_2017: Final = _field_types(json.loads(SCHEMA_2017))


def _parse_foreign(schema: Any) -> Any:
    """Parse a schema that Capture does not write, for fastavro.

    Raises:
        Malformed: fastavro can't read it, or not within bounds.
    """
    try:
        if _least_width(schema, 0) == 0:
            raise _bad_schema("has records that take no bytes")
        return parse_schema(schema)
    except Malformed:
        raise
    except Exception as error:  # it raises whatever its code comes across
        raise _bad_schema(f"can't be read: {_one_line(error)}") from None


def _least_width(schema: Any, depth: int) -> int:
    """The least bytes of a value.

    Schemas are refused whose values fastavro would decode without end: those that refer to
    themselves (by name, so no names are followed at all), and arrays whose items take no bytes.
    """
    if depth > _DEEPEST_SCHEMA:
        raise _bad_schema("is nested too deeply")
    if isinstance(schema, str):
        if schema not in _WIDTHS:
            raise _bad_schema(f"refers to a type by name: {schema[:40]!r}")
        return _WIDTHS[schema]
    if isinstance(schema, list):
        return 1 + min(_least_width(branch, depth + 1) for branch in schema)
    kind = schema["type"]
    if kind == "record":
        return sum(_least_width(field["type"], depth + 1) for field in schema["fields"])
    if kind == "array" and _least_width(schema["items"], depth + 1) == 0:
        raise _bad_schema("has an array whose items take no bytes")
    if kind == "map":
        _least_width(schema["values"], depth + 1)
    if kind in ("array", "map", "enum"):
        return 1
    if kind == "fixed":
        return max(int(schema["size"]), 0)
    return _least_width(kind, depth + 1)


def _bad_schema(reason: str) -> Malformed:
    return Malformed(DamageKind.BAD_HEADER, f"the writer schema {reason}")


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__} {error}".split())[:200]


# Records of foreign schemas


def _decode_foreign(payload: bytes, count: int, schema: Any) -> _ForeignRows:
    """Decode the records of a block with fastavro, one by one.

    Raises:
        Malformed: with the kind BAD_BLOCK or BAD_COUNT.
    """
    rows = _ForeignRows([], [], [])
    source = io.BytesIO(payload)
    for index in range(max(count, 0)):
        if source.tell() >= len(payload):
            break
        try:
            record = schemaless_reader(source, schema)
            _append_foreign(rows, record)
        except Exception as error:  # fastavro raises whatever its code comes across
            detail = f"record {index + 1:,} of {count:,} is unreadable: {_one_line(error)}"
            raise Malformed(DamageKind.BAD_BLOCK, detail) from None
    found = len(rows.sequence)
    left = len(payload) - source.tell()
    if found != count or left:
        detail = f"the block declares {count:,} records; after {found:,} it has {left:,} bytes left"
        raise Malformed(DamageKind.BAD_COUNT, detail)
    return rows


def _append_foreign(rows: _ForeignRows, record: Any) -> None:
    """Append a record as fastavro gives it.

    Raises:
        TypeError, OverflowError, AttributeError: a field is of a type that it can't be.
    """
    sequence, body = record["SequenceNumber"], record["Body"]
    if type(sequence) is not int or not isinstance(body, bytes | None):
        raise TypeError("SequenceNumber or Body is of another type than in Capture")
    rows.sequence.append(int(np.int64(sequence)))
    rows.enqueued_us.append(_foreign_time(record))
    rows.bodies.append(body)


def _foreign_time(record: Any) -> int:
    """The enqueued time of a record as fastavro gives it, in epoch microseconds."""
    properties = record["SystemProperties"] or {}
    finer = properties.get(ENQUEUED_TIME_KEY.decode())
    if type(finer) is int and (known := ms_to_us(finer)) != NO_TIME:  # True is no number here
        return known
    enqueued = record["EnqueuedTimeUtc"]
    if isinstance(enqueued, datetime):  # a logical type
        return epoch_us(enqueued) if enqueued.tzinfo else NO_TIME
    return parse_time(enqueued.encode()) if isinstance(enqueued, str) else NO_TIME


def _fill(columns: Columns, row: int, start: int, rows: _ForeignRows) -> None:
    """Put foreign records into their rows, their bodies standing one behind another at `start`."""
    into = slice(row, row + len(rows.sequence))
    lengths = np.array([-1 if body is None else len(body) for body in rows.bodies], np.int64)
    occupied = np.maximum(lengths, 0)
    columns.sequence[into] = rows.sequence
    columns.enqueued_us[into] = rows.enqueued_us
    columns.body_start[into] = start + np.cumsum(occupied) - occupied
    columns.body_length[into] = lengths
    columns.time_start[into] = 0
    columns.time_length[into] = 0  # `enqueued_us` is final
