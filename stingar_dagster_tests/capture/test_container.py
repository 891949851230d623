"""The container format alone: numbers, headers, frames, inflating."""

import io
import tracemalloc
import zlib

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stingar_dagster.capture.container import (
    SYNC_BYTES,
    Damage,
    DamageKind,
    Header,
    Malformed,
    encode_block,
    encode_header,
    encode_long,
    inflate,
    plausible_count,
    read_header,
    read_long,
    split_blocks,
)

SYNC = bytes(range(SYNC_BYTES))
HEADER = encode_header("null", b'{"type":"string"}', SYNC)
INT64 = st.integers(-(2**63), 2**63 - 1)


def file_of(*payloads: bytes) -> bytes:
    """A file with a block of one record for each payload."""
    return HEADER + b"".join(encode_block(1, payload, SYNC) for payload in payloads)


def split(blob: bytes) -> tuple[list[bytes], list[Damage]]:
    """The payloads of the whole blocks, and the damage."""
    blocks, damage = split_blocks(blob, read_header(blob), capture=3)
    return [blob[block.payload : block.payload_end] for block in blocks], damage


def failure(blob: bytes) -> DamageKind:
    with pytest.raises(Malformed) as caught:
        read_header(blob)
    return caught.value.kind


@settings(deadline=None)
@given(INT64)
def test_numbers_are_encoded_as_fastavro_does(value: int) -> None:
    encoded = io.BytesIO()
    fastavro.schemaless_writer(encoded, "long", value)
    assert encode_long(value) == encoded.getvalue()
    assert read_long(b"\xff" + encoded.getvalue() + b"\xff", 1) == (value, 1 + encoded.tell())


@pytest.mark.parametrize("data", [b"\x80" * 10 + b"\x01", b"\xff" * 9 + b"\x02", b"\xff" * 30])
def test_numbers_over_64_bits_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed, match="64 bits"):
        read_long(data, 0)


def test_the_header_of_another_writer_is_read() -> None:
    file = io.BytesIO()
    fastavro.writer(file, {"type": "string"}, ["one"], codec="deflate", sync_marker=SYNC)
    header = read_header(file.getvalue())
    assert (header.codec, header.sync) == ("deflate", SYNC)
    assert b"string" in header.schema


def test_a_header_whose_map_gives_its_size_is_read() -> None:
    plain = read_header(HEADER)
    count = len(b"Obj\x01")
    sized = HEADER[:count] + encode_long(-2) + encode_long(999) + HEADER[count + 1 :]
    assert read_header(sized)[:2] == plain[:2]


def test_a_header_without_codec_means_null() -> None:
    schema = b'"string"'
    metadata = encode_long(11) + b"avro.schema" + encode_long(len(schema)) + schema
    blob = b"Obj\x01" + encode_long(1) + metadata + encode_long(0) + SYNC
    assert read_header(blob) == Header("null", schema, blob[:-SYNC_BYTES], SYNC)


def test_a_known_header_lends_everything_but_its_sync_marker() -> None:
    known = read_header(HEADER)
    other = HEADER[:-SYNC_BYTES] + SYNC[::-1]
    assert read_header(other, known) == read_header(other)
    assert read_header(other, known).sync == SYNC[::-1]


@pytest.mark.parametrize("known", [None, read_header(HEADER)])
def test_a_cut_header_is_truncated_at_every_byte(known: Header | None) -> None:
    for end in range(1, len(HEADER)):
        with pytest.raises(Malformed) as caught:
            read_header(HEADER[:end], known)
        assert caught.value.kind is DamageKind.TRUNCATED


def test_what_is_wrong_with_a_header_is_told_apart() -> None:
    assert failure(b"") is DamageKind.EMPTY_FILE
    assert failure(b"PAR1" + HEADER[4:]) is DamageKind.NOT_AVRO
    assert failure(HEADER.replace(b"null", b"zstd")) is DamageKind.BAD_HEADER
    assert failure(HEADER.replace(b"avro.schema", b"avro.sch\xffma")) is DamageKind.BAD_HEADER
    assert failure(b"Obj\x01\x02\x01" + bytes(99)) is DamageKind.BAD_HEADER  # a length of -1
    assert failure(b"Obj\x01\x02" + encode_long(2**40)) is DamageKind.BAD_HEADER
    assert failure(b"Obj\x01" + b"\xff" * 40) is DamageKind.BAD_HEADER


@pytest.mark.parametrize(
    ("kind", "end", "torn"),
    [
        (DamageKind.EMPTY_FILE, 0, True),
        (DamageKind.TRUNCATED, 9_999, True),
        (DamageKind.NOT_AVRO, 5, True),
        (DamageKind.NOT_AVRO, 500, False),
        (DamageKind.BAD_HEADER, 5, True),
        (DamageKind.BAD_HEADER, 500, False),
        (DamageKind.BAD_SYNC, 5, False),
        (DamageKind.BAD_COUNT, 5, False),
        (DamageKind.BAD_BLOCK, 5, False),
        (DamageKind.TOO_LARGE, 5, False),
    ],
)
def test_torn_is_what_may_still_be_written(kind: DamageKind, end: int, torn: bool) -> None:
    assert Damage(0, kind, 0, end, None, "").torn is torn


def test_whole_blocks_are_found() -> None:
    assert split(file_of(b"first..", b"", b"third..")) == ([b"first..", b"", b"third.."], [])


def test_a_header_without_blocks_is_truncated() -> None:
    payloads, [damage] = split(HEADER)
    assert payloads == []
    assert damage.kind is DamageKind.TRUNCATED
    assert damage.torn


def test_a_broken_sync_marker_costs_its_own_block_only() -> None:
    blob = bytearray(file_of(b"first..", b"second.", b"third.."))
    at = blob.index(b"second.") + len(b"second.")
    blob[at + 5] ^= 0x40
    payloads, [damage] = split(bytes(blob))
    assert payloads == [b"first..", b"third.."]
    assert (damage.kind, damage.capture, damage.records) == (DamageKind.BAD_SYNC, 3, 1)
    assert (damage.start, damage.end) == (at - 9, at + SYNC_BYTES)


def test_the_broken_sync_marker_of_the_last_block_is_no_truncation() -> None:
    blob = file_of(b"first..", b"second.")
    payloads, [damage] = split(blob[:-1] + b"\xee")
    assert payloads == [b"first.."]
    assert (damage.kind, damage.end) == (DamageKind.BAD_SYNC, len(blob))


@pytest.mark.parametrize("wrong", [0, 5, 9, 63])
def test_a_wrong_size_costs_its_own_block_only(wrong: int) -> None:
    blob = bytearray(file_of(b"first..", b"second.", b"third.."))
    at = blob.index(b"second.")
    blob[at - 1 : at] = encode_long(wrong)
    payloads, [damage] = split(bytes(blob))
    assert payloads == [b"first..", b"third.."]
    assert damage.kind is DamageKind.BAD_SYNC
    assert (damage.start, damage.end) == (at - 2, at + 7 + SYNC_BYTES)


def test_an_unreadable_frame_costs_its_own_block_only() -> None:
    first = file_of(b"first..")
    third = encode_block(1, b"third..", SYNC)
    for frame in (b"\xff" * 11, encode_long(1) + encode_long(-7)):
        payloads, [damage] = split(first + frame + b"second." + SYNC + third)
        assert payloads == [b"first..", b"third.."]
        assert (damage.kind, damage.records) == (DamageKind.BAD_BLOCK, None)


def test_every_cut_leaves_the_blocks_before_it() -> None:
    blob = file_of(b"first..", b"second.")
    boundary = len(file_of(b"first.."))
    for end in range(len(HEADER) + 1, len(blob)):
        payloads, damage = split(blob[:end])
        assert payloads == ([b"first.."] if end >= boundary else [])
        assert [found.kind for found in damage] == [DamageKind.TRUNCATED] * (end != boundary)


def test_a_count_is_plausible_where_its_records_fit() -> None:
    assert plausible_count(10, 60, "null") == 10
    assert plausible_count(11, 60, "null") is None
    assert plausible_count(-1, 60, "null") is None
    assert plausible_count(11, 60, "deflate") == 11


def deflated(data: bytes) -> bytes:
    return zlib.compress(data, wbits=-zlib.MAX_WBITS)


def test_inflating_stops_at_the_limit() -> None:
    assert inflate(deflated(bytes(1000)), 1000) == bytes(1000)
    with pytest.raises(Malformed) as caught:
        inflate(deflated(bytes(1000)), 999)
    assert caught.value.kind is DamageKind.TOO_LARGE
    with pytest.raises(Malformed) as caught:
        inflate(deflated(b"1"), -5)
    assert caught.value.kind is DamageKind.TOO_LARGE


def test_what_is_over_the_limit_is_never_allocated() -> None:
    bomb = deflated(bytes(64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(Malformed):
            inflate(bomb, 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_the_rest_of_a_zlib_checksum_is_no_damage() -> None:
    assert inflate(zlib.compress(b"as avro and fastavro do it")[2:-1], 1000)[:2] == b"as"


@pytest.mark.parametrize(
    "payload",
    [b"", b"\xff\xff", deflated(b"cut" * 99)[:-1], deflated(b"more") + b"bytes"],
    ids=["nothing", "garbage", "cut", "more behind"],
)
def test_a_deflate_stream_must_be_whole(payload: bytes) -> None:
    with pytest.raises(Malformed) as caught:
        inflate(payload, 1000)
    assert caught.value.kind is DamageKind.BAD_BLOCK
