"""Record columns, and the decoding of inflated blocks into them.

Blocks hold records one behind another, and where one ends is known only once it is decoded. A loop
over records in Python costs microseconds each, so blocks are cut into *lanes*, runs of a few
records, and all lanes are decoded in step: numpy decodes the first record of every lane, then the
second of every lane, and so on. A block of many records is cut at guessed places: sequence numbers
are nearly always contiguous, so the bytes of a number to come most likely stand where its record
starts. A guess costs nothing but time when it is wrong: a block counts as decoded only if every
lane ends exactly where the next one starts and the last ends with the block, and by induction that
is the decoding in order. Whatever else happens, the block is decoded again in order, one record
after another (`_in_order`): that decoder is the authority on what is damage, the lanes are only
its fast lane.

Here too: the two schemas whose records these are. Not here: containers and their damage
(`container`), files of other schemas (`reader`), and what a body means.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stingar_dagster.capture.container import (
    SHORTEST_RECORD_BYTES,
    DamageKind,
    Malformed,
    encode_long,
    read_long,
)

_SCHEMA: Final = (
    '{"type":"record","name":"EventData","namespace":"Microsoft.ServiceBus.Messaging","fields":['
    '{"name":"SequenceNumber","type":"long"},'
    '{"name":"Offset","type":"string"},'
    '{"name":"EnqueuedTimeUtc","type":"string"},'
    '{"name":"SystemProperties","type":{"type":"map","values":["long","double","string","bytes"]}},'
    '{"name":"Properties","type":{"type":"map","values":["long","double","string","bytes"%s]}},'
    '{"name":"Body","type":["null","bytes"]}]}'
)

SCHEMA_2016: Final = (_SCHEMA % "").encode()
"""The writer schema of the first Capture files, byte for byte."""

SCHEMA_2017: Final = (_SCHEMA % ',"null"').encode()
"""The writer schema of Capture files since 2017, byte for byte: a property may be null."""

NO_TIME: Final = int(np.iinfo(np.int64).min)
"""Stands in `Records.enqueued_us` where no time could be read."""

ENQUEUED_TIME_KEY: Final = b"x-opt-enqueued-time"
"""The system property that tells the enqueued time in epoch milliseconds."""

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Records:
    """Captured events as columns: row i of every column is one event. N rows.

    Attributes:
        buffer: holds every body. Bytes between bodies are of no meaning.
        capture: (N,) which of the files given, counted from 0.
        sequence: (N,) SequenceNumber, unique within a partition and contiguous there.
        enqueued_us: (N,) epoch microseconds UTC: `x-opt-enqueued-time` where the event has it
            (milliseconds), else EnqueuedTimeUtc (whole seconds), NO_TIME where neither is readable.
        body_start: (N,) where the body starts in `buffer`.
        body_length: (N,) bytes of the body, -1 for a null body.
    """

    buffer: bytes
    capture: NDArray[np.int32]
    sequence: Int64s
    enqueued_us: Int64s
    body_start: Int64s
    body_length: Int64s

    def __len__(self) -> int:
        return len(self.sequence)

    def slice(self, start: int, stop: int) -> "Records":
        """Rows [start, stop), sharing the buffer and the columns."""
        rows = slice(start, stop)
        return Records(
            self.buffer,
            self.capture[rows],
            self.sequence[rows],
            self.enqueued_us[rows],
            self.body_start[rows],
            self.body_length[rows],
        )


class Span(NamedTuple):
    """An inflated block, laid into the buffer.

    Attributes:
        start: its first byte in the buffer.
        end: the byte after its last.
        records: how many it declares, already checked to fit into its bytes.
        row: the row of its first record.
        property_types: of how many types a value of Properties can be: the schema of 2017 added
            null to the four of SystemProperties.
    """

    start: int
    end: int
    records: int
    row: int
    property_types: int


class Columns:
    """Columns that are being filled, and where each EnqueuedTimeUtc stands until it is read."""

    __slots__ = (
        "body_length",
        "body_start",
        "enqueued_us",
        "sequence",
        "time_length",
        "time_start",
    )

    def __init__(self, rows: int) -> None:
        self.sequence: Int64s = np.empty(rows, np.int64)
        self.enqueued_us: Int64s = np.empty(rows, np.int64)
        self.body_start: Int64s = np.empty(rows, np.int64)
        self.body_length: Int64s = np.empty(rows, np.int64)
        self.time_start: Int64s = np.empty(rows, np.int64)
        self.time_length: Int64s = np.empty(rows, np.int64)

    def keep(self, rows: Bools) -> None:
        """Drop the rows that are False."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name)[rows])

    def read_time_texts(self, buffer: bytes) -> None:
        """Read EnqueuedTimeUtc wherever `x-opt-enqueued-time` gave no time.

        Neighbours mostly share their second, so texts are compared with numpy and only the first
        of each run is looked up.
        """
        unread = np.flatnonzero(
            (self.enqueued_us == NO_TIME)
            & (self.time_length > 0)
            & (self.time_length <= _LONGEST_TIME)
        )
        lengths = self.time_length[unread]
        for length in np.unique(lengths).tolist():
            rows = unread[lengths == length]
            starts = self.time_start[rows]
            texts = _windows(buffer, length)[starts]
            first = np.flatnonzero(np.concatenate(([True], texts[1:] != texts[:-1])))
            times = [parse_time(buffer[at : at + length]) for at in starts[first].tolist()]
            runs = np.diff(np.append(first, len(rows)))
            self.enqueued_us[rows] = np.repeat(np.array(times, np.int64), runs)


def decode_spans(buffer: bytes, spans: Sequence[Span], columns: Columns) -> dict[int, Malformed]:
    """Decode blocks of either schema of Capture into their rows of `columns`.

    Returns:
        What is wrong with each block that can't be decoded, by its index in `spans`; its rows
        hold nothing of use. All other rows are filled, but for the times `read_time_texts` reads.
    """
    broken: dict[int, Malformed] = {}
    for index in _not_decoded_in_step(buffer, spans, columns):
        try:
            _in_order(buffer, spans[index], columns)
        except Malformed as error:
            broken[index] = error
    return broken


# Times


_LONGEST_TIME: Final = len("2026-11-22T22:10:00.1234567+00:00")
_US_TIME: Final = re.compile(rb"(\d\d?)/(\d\d?)/(\d{4}) (\d\d?):(\d\d):(\d\d) ([AP])M")
_ISO_TIME: Final = re.compile(
    rb"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,7}))?(?:Z|([+-])(\d\d):(\d\d))?"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_EARLIEST_MS: Final = -62_135_596_800_000  # 0001-01-01, as in Python's datetime
_LATEST_MS: Final = 253_402_300_799_999  # 9999-12-31 23:59:59.999


def parse_time(text: bytes) -> int:
    """Epoch microseconds of an EnqueuedTimeUtc, NO_TIME where it is not one.

    Capture writes `M/d/yyyy h:mm:ss AM` (or PM). ISO 8601 is read as well, since files rewritten
    by other tools hold it; without an offset it is UTC, as the field's name says.
    """
    return _parse_time(text) if len(text) <= _LONGEST_TIME else NO_TIME


@lru_cache(maxsize=1 << 16)
def _parse_time(text: bytes) -> int:
    try:
        if match := _US_TIME.fullmatch(text):
            month, day, year, hour, minute, second = map(int, match.groups()[:6])
            if not 1 <= hour <= 12:
                return NO_TIME
            hour = hour % 12 + (12 if match[7] == b"P" else 0)
            return epoch_us(datetime(year, month, day, hour, minute, second, tzinfo=UTC))
        if match := _ISO_TIME.fullmatch(text):
            year, month, day, hour, minute, second = map(int, match.groups()[:6])
            fraction = int((match[7] or b"0")[:6].ljust(6, b"0"))
            offset = timedelta(hours=int(match[9] or 0), minutes=int(match[10] or 0))
            zone = timezone(-offset if match[8] == b"-" else offset)
            moment = datetime(year, month, day, hour, minute, second, fraction, zone)
            return epoch_us(moment.astimezone(UTC))
    except (ValueError, OverflowError):  # digits in the right places that are no date
        pass
    return NO_TIME


def epoch_us(moment: datetime) -> int:
    """Epoch microseconds of an aware datetime."""
    return (moment - _EPOCH) // _MICROSECOND


def ms_to_us(milliseconds: int) -> int:
    """Epoch microseconds of epoch milliseconds, NO_TIME outside the years 1 to 9999."""
    return milliseconds * 1000 if _EARLIEST_MS <= milliseconds <= _LATEST_MS else NO_TIME


# In order, one record after another


_LONG, _DOUBLE, _STRING, _BYTES, _NULL = range(5)
"""The branches of a property's union, in the order of both schemas."""

_SYSTEM_PROPERTY_TYPES: Final = 4

_RECORDS_AT_ONCE: Final = 4096
"""Records held as Python objects, at many times their size in the columns."""


class _Record(NamedTuple):
    """One decoded record: values, and positions in the buffer."""

    sequence: int
    enqueued_us: int
    time_start: int
    time_length: int
    body_start: int
    body_length: int
    end: int


def _in_order(buffer: bytes, span: Span, columns: Columns) -> None:
    """Decode a block exactly, record after record.

    Raises:
        Malformed: with the kind BAD_BLOCK or BAD_COUNT.
    """
    records = _walk(buffer, span)
    row = span.row
    while batch := list(islice(records, _RECORDS_AT_ONCE)):
        rows = slice(row, row + len(batch))
        (
            columns.sequence[rows],
            columns.enqueued_us[rows],
            columns.time_start[rows],
            columns.time_length[rows],
            columns.body_start[rows],
            columns.body_length[rows],
            _,
        ) = np.array(batch, np.int64).T
        row += len(batch)


def _walk(buffer: bytes, span: Span) -> Iterator[_Record]:
    """The records of a block in order.

    Raises:
        Malformed: with the kind BAD_BLOCK or BAD_COUNT.
    """
    pos = span.start
    for index in range(span.records):
        if pos == span.end:
            detail = f"the block declares {span.records:,} records and holds {index:,}"
            raise Malformed(DamageKind.BAD_COUNT, detail)
        try:
            record = _read_record(buffer, pos, span.end, span.property_types)
        except (Malformed, IndexError) as error:
            reason = str(error) if isinstance(error, Malformed) else "it runs past the block"
            detail = f"record {index + 1:,} of the block's {span.records:,} is unreadable: {reason}"
            raise Malformed(DamageKind.BAD_BLOCK, detail) from None
        yield record
        pos = record.end
    if pos != span.end:
        left = span.end - pos
        detail = f"{left:,} bytes are left after the {span.records:,} records the block declares"
        raise Malformed(DamageKind.BAD_COUNT, detail)


def _read_record(buffer: bytes, pos: int, end: int, property_types: int) -> _Record:
    """Decode the record at `pos`, which must not reach beyond `end`.

    Raises:
        Malformed, IndexError: there is no record.
    """
    sequence, pos = read_long(buffer, pos)
    _, pos = _read_stretch(buffer, pos, end)
    time_start, pos = _read_stretch(buffer, pos, end)
    time_length = pos - time_start
    enqueued_us, pos = _read_properties(buffer, pos, end, _SYSTEM_PROPERTY_TYPES)
    _, pos = _read_properties(buffer, pos, end, property_types)
    branch, pos = read_long(buffer, pos)
    body_start, body_length = 0, -1
    if branch == 1:
        body_start, pos = _read_stretch(buffer, pos, end)
        body_length = pos - body_start
    elif branch != 0:
        raise Malformed(DamageKind.BAD_BLOCK, f"its body is of type {branch:,}")
    if pos > end:
        raise IndexError
    return _Record(sequence, enqueued_us, time_start, time_length, body_start, body_length, pos)


def _read_stretch(buffer: bytes, pos: int, end: int) -> tuple[int, int]:
    """Where a string or bytes value at `pos` starts and ends."""
    length, start = read_long(buffer, pos)
    if length < 0:
        raise Malformed(DamageKind.BAD_BLOCK, f"a length in it is {length:,}")
    if start + length > end:
        raise IndexError
    return start, start + length


def _read_properties(buffer: bytes, pos: int, end: int, types: int) -> tuple[int, int]:
    """The `x-opt-enqueued-time` of a property map in microseconds, and the map's end."""
    enqueued_us = NO_TIME
    while True:
        count, pos = read_long(buffer, pos)
        if count == 0:
            return enqueued_us, pos
        if count < 0:  # the form of a map block that also gives its size in bytes
            count = -count
            _, pos = read_long(buffer, pos)
        for _ in range(count):
            key, pos = _read_stretch(buffer, pos, end)
            is_time = buffer[key:pos] == ENQUEUED_TIME_KEY
            branch, pos = read_long(buffer, pos)
            value = None
            if not 0 <= branch < types:
                raise Malformed(DamageKind.BAD_BLOCK, f"a property is of type {branch:,}")
            if branch == _LONG:
                value, pos = read_long(buffer, pos)
            elif branch == _DOUBLE:
                pos += 8
            elif branch != _NULL:
                _, pos = _read_stretch(buffer, pos, end)
            if pos > end:
                raise IndexError
            if is_time:
                enqueued_us = NO_TIME if value is None else ms_to_us(value)


# Cutting blocks into lanes


_LONGEST_LANE: Final = 64
"""Records in a lane: more make fewer guesses, and more steps in which each must be right."""

_ENOUGH_LANES: Final = 512
"""Lanes that keep numpy busy: below this, shorter lanes are better."""

_TOO_FEW_RECORDS: Final = 256
"""Up to so many records, a loop over them is quicker than numpy."""

_SEARCHED_BYTES: Final = 1 << 16
"""A guess is searched for in so many bytes, and in more where the lane before was long."""


class _Lanes(NamedTuple):
    """Runs of records that are decoded in step: (L,) each, in the order of the buffer."""

    span: Int64s
    start: Int64s
    end: Int64s
    records: Int64s
    row: Int64s
    property_types: Int64s


def _cut(buffer: bytes, spans: Sequence[Span]) -> tuple[_Lanes, list[int]]:
    """Cut blocks into lanes; and the blocks, by index, in which no starts could be guessed."""
    records = sum(span.records for span in spans)
    stride = min(max(records // _ENOUGH_LANES, 1), _LONGEST_LANE)
    lanes: list[tuple[int, int, int, int, int, int]] = []
    uncut: list[int] = []
    for index, span in enumerate(spans):
        if span.records > stride:
            try:
                starts = _guess_starts(buffer, span, stride)
            except (Malformed, IndexError):
                uncut.append(index)
                continue
        else:
            starts = [span.start]
        row, left = span.row, span.records
        for start, end in zip(starts, (*starts[1:], span.end), strict=True):
            lanes.append((index, start, end, min(stride, left), row, span.property_types))
            row += stride
            left -= stride
    table = np.array(lanes, np.int64).reshape(-1, len(_Lanes._fields))
    return _Lanes(*np.ascontiguousarray(table.T)), uncut


def _guess_starts(buffer: bytes, span: Span, stride: int) -> list[int]:
    """Where every `stride`th record of a block probably starts, beginning with the first.

    Raises:
        Malformed, IndexError: the block is damaged, or a guess was wrong.
    """
    starts = [span.start]
    sequence, offset = read_long(buffer, span.start)
    lane_bytes = 0
    for _ in range(stride, span.records, stride):
        pos = starts[-1]
        sequence += stride
        # The number alone may well stand in a body. The length of the Offset behind it and its
        # leading digit are nearly always those of the record before, and make it unmistakable.
        pattern = encode_long(sequence) + buffer[offset : offset + 2]
        until = min(span.end, pos + 4 * lane_bytes + _SEARCHED_BYTES)
        found = buffer.find(pattern, pos + stride * SHORTEST_RECORD_BYTES, until)
        if found < 0:  # numbers are missing here, or the Offset gained a digit
            found = pos
            for _ in range(stride):
                found = _read_record(buffer, found, span.end, span.property_types).end
            sequence, offset = read_long(buffer, found)
        starts.append(found)
        lane_bytes = found - pos
    return starts


# In step, one record of every lane at a time


_CHUNK_LANES: Final = 4096
"""Lanes decoded together: their bytes and columns stay in the processor's cache."""

_MOST_PROPERTIES: Final = 64
"""Properties of one record beyond which its block is decoded in order instead."""

_MOST_MAP_BLOCKS: Final = 4
"""Avro may cut a map into blocks; Capture writes one."""

_BEYOND: Final = 1 << 60
"""A position no block reaches: what is found unreadable is moved there."""

_LONGEST_STRETCH: Final = 1 << 40
"""Lengths are cut to this, so that no sum of positions overflows."""


def _not_decoded_in_step(buffer: bytes, spans: Sequence[Span], columns: Columns) -> list[int]:
    """Decode what can be decoded in step; the other blocks by index."""
    if sum(span.records for span in spans) <= _TOO_FEW_RECORDS:
        return list(range(len(spans)))
    lanes, uncut = _cut(buffer, spans)
    exact = np.ones(len(spans), np.bool_)
    exact[uncut] = False
    decoder = _InStep(buffer, columns)
    for first in range(0, len(lanes.start), _CHUNK_LANES):
        chunk = _Lanes(*(column[first : first + _CHUNK_LANES] for column in lanes))
        exact[chunk.span[decoder.decode(chunk) != chunk.end]] = False
    return np.flatnonzero(~exact).tolist()


class _InStep:
    """Decodes one record of many lanes at a time. Positions are of the buffer, one a lane.

    Nothing here raises: reads are clipped to the buffer, and a lane that finds something it can't
    read moves beyond its end, where it is dropped.
    """

    def __init__(self, buffer: bytes, columns: Columns) -> None:
        self._bytes = np.frombuffer(buffer, np.uint8)
        self._keys = _windows(buffer, len(ENQUEUED_TIME_KEY))
        self._columns = columns

    def decode(self, lanes: _Lanes) -> Int64s:
        """Decode the lanes into their rows; where each of them ends, if it is a lane at all."""
        reached = np.empty(len(lanes.start), np.int64)
        running = np.arange(len(lanes.start))
        pos = lanes.start.copy()
        step = 0
        while True:
            going = (lanes.records[running] > step) & (pos <= lanes.end[running])
            if not going.all():
                reached[running[~going]] = pos[~going]
                running, pos = running[going], pos[going]
            if not running.size:
                return reached
            pos = self._record(pos, lanes.row[running] + step, lanes.property_types[running])
            step += 1

    def _record(self, pos: Int64s, rows: Int64s, property_types: Int64s) -> Int64s:
        """Decode the record at each position into its row; where it ends."""
        columns = self._columns
        columns.sequence[rows], pos = self._longs(pos)
        _, pos = self._stretches(pos)  # Offset, of which nothing is promised but that it is text
        starts, pos = self._stretches(pos)
        columns.time_start[rows] = starts
        columns.time_length[rows] = pos - starts
        times = np.full(len(pos), NO_TIME)
        pos = self._properties(pos, np.full(len(pos), _SYSTEM_PROPERTY_TYPES), times)
        columns.enqueued_us[rows] = times
        pos = self._properties(pos, property_types, None)
        branches, pos = self._longs(pos)
        starts, ends = self._stretches(pos)
        present = branches == 1
        columns.body_start[rows] = np.where(present, starts, 0)
        columns.body_length[rows] = np.where(present, ends - starts, -1)
        pos = np.where(present, ends, pos)
        pos[(branches < 0) | (branches > 1)] = _BEYOND
        return pos

    def _properties(self, pos: Int64s, types: Int64s, times: Int64s | None) -> Int64s:
        """Where the map at each position ends; sets `times` where `x-opt-enqueued-time` stands."""
        counts, pos = self._longs(pos)
        for _ in range(_MOST_MAP_BLOCKS):
            filled = np.flatnonzero(counts)
            if not filled.size:
                return pos
            at, left = self._map_block(pos[filled], counts[filled])
            for entry in range(int(left.max())):
                here = np.flatnonzero(left > entry)
                lanes = filled[here]
                at[here] = self._property(at[here], types[lanes], lanes, times)
            counts[filled], pos[filled] = self._longs(at)
        pos[counts != 0] = _BEYOND
        return pos

    def _map_block(self, pos: Int64s, counts: Int64s) -> tuple[Int64s, Int64s]:
        """Where the first property of each map block starts, and how many there are."""
        sized = np.flatnonzero(counts < 0)  # the form that also gives its size in bytes
        if sized.size:
            counts[sized] = -counts[sized]
            _, pos[sized] = self._longs(pos[sized])
        unread = (counts < 0) | (counts > _MOST_PROPERTIES)
        pos[unread] = _BEYOND
        counts[unread] = 0
        return pos, counts

    def _property(self, pos: Int64s, types: Int64s, lanes: Int64s, times: Int64s | None) -> Int64s:
        """Where the property at each position ends; `lanes` tells the places in `times`."""
        keys, pos = self._stretches(pos)
        named = None if times is None else self._are_time_keys(keys, pos)
        branches, pos = self._longs(pos)
        longs = np.flatnonzero(branches == _LONG)
        values, pos[longs] = self._longs(pos[longs])
        pos[branches == _DOUBLE] += 8
        texts = np.flatnonzero((branches == _STRING) | (branches == _BYTES))
        _, pos[texts] = self._stretches(pos[texts])
        pos[(branches < 0) | (branches >= types)] = _BEYOND
        if times is not None and named is not None:
            times[lanes[named]] = NO_TIME  # of two entries with one key the last one counts
            told = named[longs]
            times[lanes[longs[told]]] = _ms_to_us(values[told])
        return pos

    def _are_time_keys(self, starts: Int64s, ends: Int64s) -> Bools:
        """Which stretches are the key `x-opt-enqueued-time`."""
        if not self._keys.size:
            return np.zeros(len(starts), np.bool_)
        keys = self._keys[np.minimum(starts, self._keys.size - 1)]
        of_its_length = ends - starts == len(ENQUEUED_TIME_KEY)
        named: Bools = (keys == ENQUEUED_TIME_KEY) & of_its_length
        return named

    def _stretches(self, pos: Int64s) -> tuple[Int64s, Int64s]:
        """Where the string or bytes value at each position starts and ends."""
        lengths, starts = self._longs(pos)
        # Seen as unsigned, a negative length is a huge one.
        within = np.minimum(lengths.view(np.uint64), np.uint64(_LONGEST_STRETCH))
        return starts, starts + within.view(np.int64)

    def _longs(self, pos: Int64s) -> tuple[Int64s, Int64s]:
        """The zigzag varint at each position, and the position after it."""
        byte = self._bytes.take(pos, mode="clip")
        values = (byte & 0x7F).astype(np.uint64)
        pos = pos + 1
        longer: slice | Int64s = slice(None)
        for shift in range(7, 70, 7):
            more = byte > 0x7F
            if not more.any():
                break
            if not more.all():  # mostly, neighbours have numbers of one size
                longer = np.flatnonzero(more) if isinstance(longer, slice) else longer[more]
            byte = self._bytes.take(pos[longer], mode="clip")
            values[longer] |= (byte & 0x7F).astype(np.uint64) << np.uint64(shift)
            pos[longer] += 1
            if shift == 63:  # of 64 bits, one is left
                pos[longer] = np.where(byte > 1, _BEYOND, pos[longer])
        sign = (values & np.uint64(1)).view(np.int64)
        return (values >> np.uint64(1)).view(np.int64) ^ -sign, pos


def _ms_to_us(milliseconds: Int64s) -> Int64s:
    """`ms_to_us` of each."""
    within = (milliseconds >= _EARLIEST_MS) & (milliseconds <= _LATEST_MS)
    return np.where(within, milliseconds, 0) * 1000 + np.where(within, 0, NO_TIME)


def _windows(buffer: bytes, length: int) -> NDArray[np.bytes_]:
    """Every stretch of `length` bytes of the buffer, overlapping, without a copy."""
    count = max(len(buffer) - length + 1, 0)
    return np.ndarray((count,), f"S{length}", buffer, strides=(1,))
