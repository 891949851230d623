"""Damaged captures, from landing to published hours and quarantine.

Each damaged file stands under a partition of its own, so that one run takes all of them, and what
came out is told apart by identity. Not here: the decoder alone (`capture`), and damage on the way
between store and pipeline (`test_faults_over_the_wire`).
"""

import base64
import hashlib
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest
from azure.storage.blob import BlobServiceClient, ContentSettings

from stingar_dagster import checks
from stingar_dagster.capture.container import (
    SYNC_BYTES,
    Block,
    encode_block,
    encode_header,
    encode_long,
    read_header,
    split_blocks,
)
from stingar_dagster.capture.records import SCHEMA_2017
from stingar_dagster.capture.writer import CaptureRecord, encode_capture
from stingar_dagster.pipeline import Pipeline
from stingar_dagster_tests.support import HOUR, NOON, Site, event, pending

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("STINGAR_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
REAL = SHARED / "eventhubs-capture/metered-billing/p9--2022-12-09--16-50-12.avro"


@dataclass
class Came:
    """What one damaged file came to: events and quarantined bodies by number, damaged parts."""

    events: dict[int, dict[str, Any]] = field(default_factory=dict)
    rejected: list[int] = field(default_factory=list)
    damage: list[dict[str, Any]] = field(default_factory=list)
    ledger: dict[str, Any] = field(default_factory=dict)

    def bytes_in_quarantine(self) -> bytes:
        return b"".join(base64.b64decode(line["body"]) for line in self.damage)

    def covers(self, block: Block) -> bool:
        """Whether a damaged part holds the whole block."""
        places = (re.match(r"bytes ([\d,]+) to ([\d,]+):", line["detail"]) for line in self.damage)
        spans = [tuple(int(n.replace(",", "")) for n in p.groups()) for p in places if p]
        return any(start <= block.start and end >= block.end for start, end in spans)


def land(site: Site, blobs: list[bytes], *, old: bool = True) -> None:
    """Put every file into landing, as its own partition, without the waits of `Site.put`."""
    name_format = site.pipeline().landing.format
    for partition, blob in enumerate(blobs):
        path = Path(site.landing) / name_format.path("ns", "hub", partition, NOON)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(blob)
        if old:
            site.age(str(path.relative_to(site.landing)), HOUR)


def came_of(site: Site, count: int) -> list[Came]:
    """What each file came to; fails where an identity was published twice."""
    came = [Came() for _ in range(count)]
    for row in site.events():
        partition, number = map(int, row["event_id"].split("/")[2:])
        assert number not in came[partition].events, row["event_id"]
        came[partition].events[number] = row
    for line in site.quarantined():
        one = came[line["partition"]]
        if "sequence_number" in line:
            one.rejected.append(line["sequence_number"])
        else:
            one.damage.append(line)
    for line in site.ledger().values():
        came[line["partition"]].ledger = line
    return came


def several_blocks(codec: Literal["null", "deflate"] = "null") -> bytes:
    """Four blocks of two small events each."""
    records = [
        CaptureRecord(number, str(number * 512), NOON, event(NOON, src_port=number + 1))
        for number in range(8)
    ]
    return encode_capture(records, codec=codec, block_bytes=2 * 150)


def blocks_of(blob: bytes) -> list[Block]:
    blocks, damage = split_blocks(blob, read_header(blob), 0)
    assert not damage
    return blocks


def numbers_of(blob: bytes, tmp_path: Path) -> list[list[int]]:
    """The sequence numbers in each block of a whole file, as published."""
    site = Site.at(tmp_path / "whole")
    land(site, [blob])
    site.run()
    (came,) = came_of(site, 1)
    assert not came.damage
    numbers = sorted([*came.events, *came.rejected])
    taken = iter(numbers)
    return [[next(taken) for _ in range(block.records)] for block in blocks_of(blob)]


def real_capture() -> bytes:
    if not REAL.is_file():
        pytest.skip(f"no real capture files under {SHARED}")
    return REAL.read_bytes()


@pytest.mark.parametrize(
    "make",
    [real_capture, several_blocks, lambda: several_blocks("deflate")],
    ids=["real", "several blocks", "deflated"],
)
def test_a_capture_cut_at_any_byte_gives_its_whole_blocks_and_the_rest_to_quarantine(
    tmp_path: Path, make: Callable[[], bytes]
) -> None:
    blob = make()
    blocks, numbers = blocks_of(blob), numbers_of(blob, tmp_path)
    first_block = blocks[0].start
    site = Site.at(tmp_path)
    cuts = [blob[:length] for length in range(len(blob) + 1)]
    ends = {block.end for block in blocks}

    land(site, cuts, old=False)
    (landed,) = [site.pipeline().land_hour(hour) for hour in pending(site.pipeline())[0]]
    waiting = {int(item.name.partition) for item in landed.waiting}
    assert waiting == {length for length in range(len(cuts)) if length not in ends}
    assert site.quarantined() == []

    land(site, cuts)
    site.run()
    for length, came in enumerate(came_of(site, len(cuts))):
        whole = [n for block, n in zip(blocks, numbers, strict=True) if block.end <= length]
        expected = [number for block in whole for number in block]
        assert sorted([*came.events, *came.rejected]) == expected, length
        assert came.ledger["records"] == len(expected)
        rest = 0 if length < first_block else max({first_block, *ends} & {*range(length + 1)})
        if length in ends:
            assert came.damage == []
        else:
            (line,) = came.damage
            assert line["reason"] == ("truncated" if length else "empty_file"), length
            assert came.bytes_in_quarantine() == blob[rest:length], length
            assert len(came.ledger["damage"]) == 1
    assert pending(site.pipeline()) == ([], [], [])
    pipeline = site.pipeline()
    assert checks.landed_problems(pipeline.lake, {NOON: pipeline.land_hour(NOON)}) == []


def without_id(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "event_id": None}


@pytest.mark.parametrize("codec", ["null", "deflate"])
def test_a_bit_flipped_at_any_byte_costs_its_own_block_at_most(
    tmp_path: Path, codec: Literal["null", "deflate"]
) -> None:
    blob = several_blocks(codec)
    blocks, numbers = blocks_of(blob), numbers_of(blob, tmp_path)
    flipped = [
        blob[:place] + bytes([blob[place] ^ (1 << place * 5 % 8)]) + blob[place + 1 :]
        for place in range(len(blob))
    ]
    site = Site.at(tmp_path)
    land(site, [*flipped, blob])
    site.run()
    *came_out, whole = came_of(site, len(flipped) + 1)
    whole_events = {number: without_id(row) for number, row in whole.events.items()}
    assert len(whole_events) == 8
    for place, came in enumerate(came_out):
        identities = {*came.events, *came.rejected}
        if not came.damage:  # nobody can tell: no record may be missing
            assert came.ledger["records"] == 8, place
            assert came.ledger["cleaned"] + came.ledger["quarantined"] == came.ledger["events"]
        for block, inside in zip(blocks, numbers, strict=True):
            if block.start <= place < block.end:
                # Out, rejected one by one, under a number that was hit, or part of the damage.
                if not came.covers(block):
                    assert came.ledger["records"] == 8, place
            elif came.covers(block):
                assert place < blocks[0].start, place  # the header is what all blocks need
            else:
                changed = [n for n in inside if without_id(came.events[n]) != whole_events[n]]
                # A number that was hit may be another's: of the two one counts as the double.
                assert len(changed) <= came.ledger["records"] - len(identities), place
    assert pending(site.pipeline()) == ([], [], [])


def test_broken_sync_markers_cost_their_own_blocks(tmp_path: Path) -> None:
    blob = several_blocks()
    blocks, numbers = blocks_of(blob), numbers_of(blob, tmp_path)
    broken = []
    for mask in range(1 << len(blocks)):
        hurt = bytearray(blob)
        for index, block in enumerate(blocks):
            if mask >> index & 1:
                hurt[block.payload_end : block.end] = os.urandom(SYNC_BYTES)
        broken.append(bytes(hurt))
    site = Site.at(tmp_path)
    land(site, broken)
    site.run()
    for mask, came in enumerate(came_of(site, len(broken))):
        left = [index for index in range(len(blocks)) if not mask >> index & 1]
        # Behind two broken markers in a row, reading goes on after the next whole one.
        out = {index for index in left if set(numbers[index]) <= came.events.keys()}
        for index in range(len(blocks)):
            assert (index in out) != came.covers(blocks[index]), mask
        assert {0} & set(left) <= out
        assert {index for index in left if index and index - 1 in left} <= out, mask
        assert sorted(came.events) == [n for index in sorted(out) for n in numbers[index]]
        assert {line["reason"] for line in came.damage} <= {"bad_sync", "truncated"}


@pytest.mark.parametrize("what", ["count", "size", "both"])
def test_a_frame_that_claims_a_thousand_times_what_it_holds_costs_its_own_block(
    tmp_path: Path, what: str
) -> None:
    blob = several_blocks()
    header, blocks = read_header(blob), blocks_of(blob)
    numbers = numbers_of(blob, tmp_path)
    hurt = blob[: header.end]
    for index, block in enumerate(blocks):
        payload = blob[block.payload : block.payload_end]
        times = 1000 if index == 1 else 1
        hurt += encode_long(block.records * (times if what != "size" else 1))
        hurt += encode_long(len(payload) * (times if what != "count" else 1))
        hurt += payload + header.sync
    site = Site.at(tmp_path)
    land(site, [hurt])
    site.run()
    (came,) = came_of(site, 1)
    assert sorted(came.events) == [n for index in (0, 2, 3) for n in numbers[index]]
    (line,) = came.damage
    assert line["reason"] == ("bad_count" if what == "count" else "bad_sync")


# ---- bombs

_CHILD = """
import resource, sys
from dataclasses import replace
from pathlib import Path
from stingar_dagster.capture.reader import Limits
from stingar_dagster_tests.support import HOUR, NOON, Site, event

folder, guarded, room = Path(sys.argv[1]), sys.argv[2] == "guarded", int(sys.argv[3])
if not guarded:
    Limits.of_bodies = classmethod(lambda kind, most: kind(1 << 40, 1 << 40, 1 << 20, 1 << 40))
warm = Site.at(folder / "warm")
warm.put([event(NOON)])
warm.run()
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + room
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
Site.at(folder).run()
"""


def run_child(folder: Path, guard: str) -> subprocess.CompletedProcess[str]:
    """The pipeline over a folder, in 128 MiB more than it takes without work."""
    return subprocess.run(
        [sys.executable, "-c", _CHILD, str(folder), guard, str(128 << 20)],
        cwd=REPOSITORY,
        # One arena and one thread: reserved address space is no memory, and must not count.
        env={**os.environ, "MALLOC_ARENA_MAX": "1", "POLARS_MAX_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_deflate_bomb_is_refused_in_bounded_memory(tmp_path: Path) -> None:
    blob = several_blocks("deflate")
    header, (first, second, *_) = read_header(blob), blocks_of(blob)
    numbers = numbers_of(blob, tmp_path)
    inflater = zlib.compressobj(9, wbits=-15)
    record = encode_long(2) + encode_long(1) + b"2" + encode_long(0) * 3
    record += encode_long(1) + encode_long(200_000_000)
    bomb = inflater.compress(record) + inflater.compress(b"7" * 200_000_000) + inflater.flush()
    assert 150_000 < len(bomb) < 250_000
    blob = (
        encode_header("deflate", SCHEMA_2017, header.sync)
        + blob[first.start : first.end]
        + encode_block(1, bomb, header.sync)
        + blob[second.start : second.end]
    )
    site = Site.at(tmp_path)
    land(site, [blob])

    child = run_child(tmp_path, "unguarded")
    assert child.returncode != 0
    assert "memory" in child.stderr.lower()
    assert site.events() == []

    child = run_child(tmp_path, "guarded")
    assert child.returncode == 0, child.stderr
    (came,) = came_of(site, 1)
    assert sorted(came.events) == [*numbers[0], *numbers[1]]
    (line,) = came.damage
    assert line["reason"] == "too_large"
    assert "33,554,432 bytes" in line["detail"]
    assert bomb in came.bytes_in_quarantine()


def test_a_larger_limit_of_bodies_lets_larger_blocks_in(tmp_path: Path) -> None:
    body = event(NOON, payload="7" * 3_000_000)
    records = [CaptureRecord(n, str(n), NOON, body) for n in range(12)]
    site = Site.at(tmp_path)
    land(site, [encode_capture(records, codec="deflate")])
    site.run()
    (came,) = came_of(site, 1)
    assert [line["reason"] for line in came.damage] == ["too_large"]
    allowed = Pipeline(replace(site.settings, max_body_bytes=4 << 20), site.stream)
    allowed.land_hour(NOON, again=True)
    allowed.publish_hour(NOON)
    (came,) = came_of(site, 1)
    assert (len(came.events), came.damage) == (12, [])


# ---- checksums


@pytest.fixture
def on_azure(container: str) -> Site:
    return Site(f"az://{container}/landing", f"az://{container}/lake")


def set_md5(azurite: str, container: str, path: str, md5: bytes | None) -> None:
    """Make the store keep a checksum; the blob's bytes stay."""
    with BlobServiceClient.from_connection_string(azurite) as client:
        blob = client.get_blob_client(container, f"landing/{path}")
        blob.set_http_headers(ContentSettings(content_md5=bytearray(md5) if md5 else None))


def test_azure_lists_the_checksum_that_it_keeps(
    azurite: str, container: str, on_azure: Site
) -> None:
    path = on_azure.put([event(NOON)])
    md5 = hashlib.md5(on_azure.blobs[path]).digest()
    landing = on_azure.pipeline().landing
    assert [item.md5 for item in landing.hour(NOON)] == [md5]
    assert [entry.md5 for entry in landing.store.find("")] == [md5]
    folder = path.rsplit("/", 1)[0]
    assert [entry.md5 for entry in landing.store.children(folder)[1]] == [md5]
    set_md5(azurite, container, path, None)
    assert [item.md5 for item in landing.hour(NOON)] == [None]


def test_a_capture_that_is_not_what_the_store_took_a_checksum_of_is_told_and_decoded(
    azurite: str, container: str, on_azure: Site
) -> None:
    wrong = on_azure.put([event(NOON, src_port=1), event(NOON, src_port=2), b"nonsense"])
    right = on_azure.put([event(NOON, src_port=3)], partition=1)
    without = on_azure.put([event(NOON, src_port=4)], partition=2)
    set_md5(azurite, container, wrong, hashlib.md5(b"other bytes").digest())
    set_md5(azurite, container, without, None)
    on_azure.run()
    on_azure.check()
    assert sorted(row["src_port"] for row in on_azure.events()) == [1, 2, 3, 4]
    ledger = on_azure.ledger()
    (told,) = ledger[wrong]["damage"]
    assert told.startswith("bad_checksum at bytes 0 to ")
    assert hashlib.md5(b"other bytes").hexdigest() in told
    assert (ledger[wrong]["cleaned"], ledger[wrong]["quarantined"]) == (2, 1)
    assert not ledger[right].get("damage")
    assert not ledger[without].get("damage")
    body, checksum = sorted(on_azure.quarantined(), key=lambda line: line["reason"], reverse=True)
    assert (body["reason"], body["sequence_number"]) == ("not_json", 2)
    assert (checksum["reason"], checksum["capture"]) == ("bad_checksum", wrong)
    assert checksum["body"] == ""
    assert "event_id" not in checksum
    assert pending(on_azure.pipeline()) == ([], [], [])
    pipeline = on_azure.pipeline()
    assert checks.landed_problems(pipeline.lake, {NOON: pipeline.land_hour(NOON)}) == []


def test_a_checksum_that_is_set_right_takes_its_line_out_of_quarantine(
    azurite: str, container: str, on_azure: Site
) -> None:
    path = on_azure.put([event(NOON)])
    set_md5(azurite, container, path, hashlib.md5(b"other bytes").digest())
    on_azure.run()
    assert len(on_azure.quarantined()) == 1
    set_md5(azurite, container, path, hashlib.md5(on_azure.blobs[path]).digest())
    on_azure.run()
    on_azure.check()
    assert on_azure.quarantined() == []
    assert len(on_azure.events()) == 1


def test_a_capture_replaced_since_it_was_listed_has_no_wrong_checksum(
    on_azure: Site,
) -> None:
    path = on_azure.put([event(NOON, src_port=1)])
    pipeline = on_azure.pipeline()
    listed = pipeline.landing.hour(NOON)
    on_azure.put([event(NOON, src_port=2), event(NOON, src_port=3)])
    landed = pipeline.land_hour(NOON, captures=listed)
    (line,) = landed.ledger.lines.values()
    assert (line.capture, line.records, line.damage) == (path, 2, ())
    on_azure.run()
    assert on_azure.quarantined() == []
    assert {row["src_port"] for row in on_azure.events()} == {2, 3}
