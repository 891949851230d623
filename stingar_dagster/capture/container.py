"""The Avro object container: header, block framing, inflating, and finding the way after damage.

Bytes to checked, inflated blocks, and what was wrong with the rest; and the same framing for
writing. Not here: what the bytes of a block mean (`records`), nor any schema.

The format is that of the Avro 1.11 specification, "Object Container Files":
a header (magic, a map of metadata, a sync marker of 16 bytes), then blocks, each a count of
records, a size in bytes, the (possibly deflated) records, and the sync marker again.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

MAGIC: Final = b"Obj\x01"
SYNC_BYTES: Final = 16
CODECS: Final = ("null", "deflate")

SHORTEST_HEADER_BYTES: Final = len(MAGIC) + len("avro.schema") + SYNC_BYTES
"""No header is shorter, whatever its schema: a file below this may be one that just began."""

SHORTEST_RECORD_BYTES: Final = 6
"""A record of Capture has six fields, and each takes at least one byte."""

_MOST_EXPANSION: Final = {"null": 1, "deflate": 1032}
"""What a byte can inflate to at most (zlib's technical notes, "Maximum Compression Factor")."""

_BODIES_OF_A_SMALL_BLOCK: Final = 32

_LONGEST_HEADER_FIELD: Final = 1 << 20
"""A Capture header takes about 500 bytes: a length over this is a flipped bit, not a schema."""

_LONGEST_VARINT: Final = 10
"""Bytes in which 64 bits fit, seven a byte."""

_RAW_DEFLATE: Final = -zlib.MAX_WBITS
"""RFC 1951 without the zlib wrapper, which is what Avro calls `deflate`."""

_ZLIB_CHECKSUM_BYTES: Final = 4
"""The Python writers (avro, fastavro) leave most of zlib's checksum behind the deflate stream."""


class DamageKind(StrEnum):
    """What is wrong with a stretch of a capture file."""

    NOT_AVRO = "not_avro"
    """The file does not start like an Avro container."""
    BAD_HEADER = "bad_header"
    """Unreadable metadata or schema, a schema without the fields of Capture, an unknown codec."""
    EMPTY_FILE = "empty_file"
    """The file has no bytes."""
    TRUNCATED = "truncated"
    """The header or a block runs past the end of the file."""
    BAD_SYNC = "bad_sync"
    """A block does not end in the sync marker of the file."""
    BAD_COUNT = "bad_count"
    """A block declares another number of records than it holds."""
    BAD_BLOCK = "bad_block"
    """A block can't be inflated, or its records can't be decoded."""
    TOO_LARGE = "too_large"
    """A block inflates beyond the limit."""
    BAD_CHECKSUM = "bad_checksum"
    """The file is not the one whose checksum the store keeps; what can be decoded came out."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A stretch of a capture file that gave no records.

    Attributes:
        capture: which of the files given, counted from 0.
        kind: what is wrong with it.
        start: its first byte in the file.
        end: the byte after its last.
        records: how many records the damaged block declares, where that can be read and fits in
            the block's bytes, else None.
        detail: one line for a person.
    """

    capture: int
    kind: DamageKind
    start: int
    end: int
    records: int | None
    detail: str

    @property
    def torn(self) -> bool:
        """The file may still be growing, or was copied in part: worth reading again later."""
        if self.kind in (DamageKind.EMPTY_FILE, DamageKind.TRUNCATED):
            return True
        unreadable = self.kind in (DamageKind.NOT_AVRO, DamageKind.BAD_HEADER)
        return unreadable and self.end < SHORTEST_HEADER_BYTES


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what a compressed file may become in memory.

    A deflated block can hold a thousand times its size. Blocks of codec null are as large as they
    are in the file: the caller has already decided to hold them.

    Attributes:
        inflated_block_bytes: of any one block. Capture closes a window at 500 MB, and writes it
            as one block.
        inflated_capture_bytes: of all the blocks of one file together.
        expansion: a block may inflate to so many times its size; events in JSON reach a tenth.
        small_block_bytes: so many bytes a block may inflate to in any case: a few long runs of
            one byte are no bomb.
    """

    inflated_block_bytes: int = 640 << 20
    inflated_capture_bytes: int = 1 << 30
    expansion: int = 128
    small_block_bytes: int = 32 << 20

    @classmethod
    def of_bodies(cls, max_body_bytes: int) -> "Limits":
        """The limits where a body may have so many bytes: a few dozen of them are no bomb."""
        return cls(small_block_bytes=_BODIES_OF_A_SMALL_BLOCK * max_body_bytes)

    def of_block(self, stored: int) -> int:
        """What a block of so many stored bytes may inflate to."""
        return min(self.inflated_block_bytes, max(self.small_block_bytes, self.expansion * stored))


class Malformed(Exception):
    """Bytes that are not what they should be. Stays inside this package: readers give Damage."""

    def __init__(self, kind: DamageKind, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail


class Header(NamedTuple):
    """The header of a container file.

    Attributes:
        codec: of the blocks, `null` where the metadata does not say.
        schema: of the writer, as JSON.
        prefix: magic and metadata, everything before the sync marker.
        sync: the marker that ends the header and every block.
    """

    codec: str
    schema: bytes
    prefix: bytes
    sync: bytes

    @property
    def end(self) -> int:
        """Where the first block starts."""
        return len(self.prefix) + SYNC_BYTES


class Block(NamedTuple):
    """A block whose frame is whole: positions in its file, and how many records it declares.

    The block is [start, end), the records inside it, as stored, are [payload, payload_end).
    """

    start: int
    payload: int
    payload_end: int
    end: int
    records: int


def read_long(data: bytes, pos: int) -> tuple[int, int]:
    """Decode one zigzag varint ("Binary encoding: primitive types" of the specification).

    Returns:
        The value, and the position after it.

    Raises:
        IndexError: the data ends inside it.
        Malformed: it does not fit in 64 bits.
    """
    byte = data[pos]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), pos + 1
    value = byte & 0x7F
    for index in range(1, _LONGEST_VARINT):
        byte = data[pos + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            if value >> 64:
                break
            return (value >> 1) ^ -(value & 1), pos + index + 1
    raise Malformed(DamageKind.BAD_BLOCK, f"a number at byte {pos} does not fit in 64 bits")


def encode_long(value: int) -> bytes:
    """The zigzag varint of a number that fits in 64 bits."""
    rest = (value << 1) ^ (value >> 63)
    encoded = bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


def read_header(blob: bytes, known: Header | None = None) -> Header:
    """Read the header of a container file.

    Args:
        blob: the whole file.
        known: the header of another file. Files of one hub differ only in the sync marker, so
            most headers are recognised by comparison instead of being parsed.

    Raises:
        Malformed: with the kind EMPTY_FILE, NOT_AVRO, TRUNCATED or BAD_HEADER.
    """
    if known is not None and blob.startswith(known.prefix) and len(blob) >= known.end:
        sync = blob[len(known.prefix) : known.end]
        return Header(known.codec, known.schema, known.prefix, sync)
    if not blob:
        raise Malformed(DamageKind.EMPTY_FILE, "the file has no bytes")
    if not blob.startswith(MAGIC):
        if MAGIC.startswith(blob):
            raise Malformed(DamageKind.TRUNCATED, "the file ends inside the magic bytes")
        raise Malformed(DamageKind.NOT_AVRO, "the file does not start with Avro's magic bytes")
    try:
        metadata, pos = _read_metadata(blob, len(MAGIC))
    except IndexError:
        raise Malformed(DamageKind.TRUNCATED, "the file ends inside its header") from None
    if pos + SYNC_BYTES > len(blob):
        raise Malformed(DamageKind.TRUNCATED, "the file ends inside its header")
    return Header(
        codec=_codec(metadata),
        schema=_schema(metadata),
        prefix=blob[:pos],
        sync=blob[pos : pos + SYNC_BYTES],
    )


def encode_header(codec: str, schema: bytes, sync: bytes) -> bytes:
    """A header with the metadata in the order in which Event Hubs writes it."""
    metadata = {b"avro.codec": codec.encode(), b"avro.schema": schema}
    encoded = [MAGIC, encode_long(len(metadata))]
    for item in metadata.items():
        for value in item:
            encoded += (encode_long(len(value)), value)
    return b"".join((*encoded, encode_long(0), sync))


def encode_block(count: int, payload: bytes, sync: bytes) -> bytes:
    """A framed block of `count` records; `payload` is already deflated where the codec says so."""
    return b"".join(block_parts(count, payload, sync))


def block_parts(
    count: int, payload: bytes | memoryview, sync: bytes
) -> tuple[bytes, bytes, bytes | memoryview, bytes]:
    """What `encode_block` joins, for who joins it with more: a block may be most of memory."""
    return encode_long(count), encode_long(len(payload)), payload, sync


def split_blocks(blob: bytes, header: Header, capture: int) -> tuple[list[Block], list[Damage]]:
    """Find every whole block of a file, on both sides of any damage.

    A header without any block counts as TRUNCATED: the specification asks for one or more, and
    Capture writes an empty block even for an empty window.

    Args:
        blob: the whole file.
        header: its header.
        capture: its number, for the damage.
    """
    blocks: list[Block] = []
    damage: list[Damage] = []
    pos = header.end
    if pos == len(blob):
        detail = "the file ends after its header, before any block"
        return [], [Damage(capture, DamageKind.TRUNCATED, pos, pos, None, detail)]
    while pos < len(blob):
        frame = _read_frame(blob, pos)
        if isinstance(frame, Block) and blob.startswith(header.sync, frame.payload_end):
            blocks.append(frame)
            pos = frame.end
        else:
            broken = _broken_frame(blob, header, pos, frame, capture)
            damage.append(broken)
            pos = broken.end
    return blocks, damage


def plausible_count(count: int, size: int, codec: str) -> int | None:
    """The declared count where so many records can stand in a stored block, else None."""
    most = size * _MOST_EXPANSION[codec] // SHORTEST_RECORD_BYTES
    return count if 0 <= count <= most else None


def inflate(payload: bytes | memoryview, limit: int) -> bytes:
    """Inflate the payload of a deflated block, never beyond `limit` bytes.

    Raises:
        Malformed: with the kind TOO_LARGE or BAD_BLOCK.
    """
    inflater = zlib.decompressobj(_RAW_DEFLATE)
    try:
        # One byte more than allowed tells "too large" from "just fits".
        inflated = inflater.decompress(payload, max(limit, 0) + 1)
    except zlib.error as error:
        raise Malformed(DamageKind.BAD_BLOCK, f"the block can't be inflated: {error}") from None
    if len(inflated) > limit:
        raise Malformed(DamageKind.TOO_LARGE, f"the block inflates to more than {limit:,} bytes")
    if not inflater.eof:
        raise Malformed(DamageKind.BAD_BLOCK, "the block's deflate stream has no end")
    if len(inflater.unused_data) > _ZLIB_CHECKSUM_BYTES:
        raise Malformed(DamageKind.BAD_BLOCK, "bytes are left after the block's deflate stream")
    return inflated


def _read_metadata(blob: bytes, pos: int) -> tuple[dict[bytes, bytes], int]:
    """The header's map of bytes; IndexError where the file ends inside it."""
    metadata: dict[bytes, bytes] = {}
    while True:
        count, pos = _header_long(blob, pos)
        if count == 0:
            return metadata, pos
        if count < 0:  # the form of a map block that also gives its size in bytes
            count = -count
            _, pos = _header_long(blob, pos)
        for _ in range(count):
            key, pos = _header_field(blob, pos)
            metadata[key], pos = _header_field(blob, pos)


def _header_field(blob: bytes, pos: int) -> tuple[bytes, int]:
    length, pos = _header_long(blob, pos)
    if not 0 <= length <= _LONGEST_HEADER_FIELD:
        detail = f"a metadata field of the header claims {length:,} bytes"
        raise Malformed(DamageKind.BAD_HEADER, detail)
    if pos + length > len(blob):
        raise IndexError
    return blob[pos : pos + length], pos + length


def _header_long(blob: bytes, pos: int) -> tuple[int, int]:
    try:
        return read_long(blob, pos)
    except Malformed as error:
        raise Malformed(DamageKind.BAD_HEADER, f"in the header, {error.detail}") from None


def _schema(metadata: Mapping[bytes, bytes]) -> bytes:
    try:
        return metadata[b"avro.schema"]
    except KeyError:
        raise Malformed(DamageKind.BAD_HEADER, "the header has no avro.schema") from None


def _codec(metadata: Mapping[bytes, bytes]) -> str:
    codec = metadata.get(b"avro.codec", b"null").decode("utf-8", "backslashreplace")
    if codec not in CODECS:
        known = " and ".join(CODECS)
        detail = f"the codec {codec[:40]!r} is unknown: Capture writes {known}"
        raise Malformed(DamageKind.BAD_HEADER, detail)
    return codec


class _NoFrame(NamedTuple):
    """A place where a block should start, and no frame can be read, or none that fits the file.

    Attributes:
        past_end: it is the end of the file that stands in the way.
        records: how many it declares, as far as it can be read.
        size: how many bytes.
        detail: one line for a person.
    """

    past_end: bool
    records: int
    size: int
    detail: str


def _read_frame(blob: bytes, start: int) -> Block | _NoFrame:
    """Read the count and the size of the block at `start`; its sync marker is not looked at."""
    try:
        count, pos = read_long(blob, start)
        size, pos = read_long(blob, pos)
    except IndexError:
        return _NoFrame(True, -1, 0, "the file ends inside the frame of a block")
    except Malformed as error:
        return _NoFrame(False, -1, 0, f"in the frame of a block, {error.detail}")
    if size < 0:
        return _NoFrame(False, -1, 0, f"a block claims a size of {size:,} bytes")
    end = pos + size + SYNC_BYTES
    if end > len(blob):
        missing = end - len(blob)
        detail = f"a block of {size:,} bytes ends {missing:,} bytes after the end of the file"
        return _NoFrame(True, count, size, detail)
    return Block(start, pos, pos + size, end, count)


def _broken_frame(
    blob: bytes, header: Header, start: int, frame: Block | _NoFrame, capture: int
) -> Damage:
    """The damage that begins at `start` and reaches to where reading can go on."""
    resumes = _after_next_sync(blob, header.sync, start)
    if isinstance(frame, Block):
        kind = DamageKind.BAD_SYNC
        size = frame.payload_end - frame.payload
        detail = f"the block does not end in the file's sync marker at byte {frame.payload_end:,}"
        if _is_boundary(blob, header.sync, frame.end):  # nothing but the marker is broken
            resumes = frame.end
    else:
        size = frame.size
        detail = frame.detail
        if not frame.past_end:
            kind = DamageKind.BAD_BLOCK
        elif resumes < len(blob) or blob.endswith(header.sync):
            # A cut leaves no marker behind it: the size is wrong, and the file may be whole.
            kind = DamageKind.BAD_SYNC
        else:
            kind = DamageKind.TRUNCATED
    records = plausible_count(frame.records, size, header.codec)
    return Damage(capture, kind, start, resumes, records, detail)


def _is_boundary(blob: bytes, sync: bytes, pos: int) -> bool:
    """Whether the file ends at `pos`, or a whole block starts there."""
    if pos == len(blob):
        return True
    frame = _read_frame(blob, pos)
    return isinstance(frame, Block) and blob.startswith(sync, frame.payload_end)


def _after_next_sync(blob: bytes, sync: bytes, pos: int) -> int:
    """The position after the next sync marker, or the end of the file."""
    found = blob.find(sync, pos)
    return len(blob) if found < 0 else found + SYNC_BYTES
