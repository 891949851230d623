"""Captures to measure with: sample traffic with drift, damage, late events and duplicates, seeded.

Here: the files, and what is known of them. Not here: who reads them (`peers`, `bench`).
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from stingar_dagster.capture.names import CaptureFormat
from stingar_dagster.capture.writer import CaptureRecord, encode_capture
from stingar_dagster.samples.traffic import traffic
from stingar_dagster.settings import DEFAULT_CAPTURE_FORMAT

START: Final = datetime(2026, 5, 19, 3, tzinfo=UTC)
HOURS: Final = 9
"""From 3 to 12 UTC the sample traffic has its mean of the day."""

PARTITIONS: Final = 4
_BODY_BYTES: Final = 468
"""Mean of the sample traffic: how many events make a megabyte."""


@dataclass(frozen=True)
class Shape:
    """What to generate.

    Attributes:
        megabytes: of bodies, about.
        files: over all partitions and nine landed hours.
        codec: of the blocks.
        block_bytes: None: one block a file.
        seed: the same seed gives the same bytes.
    """

    megabytes: int = 1000
    files: int = 36
    codec: Literal["null", "deflate"] = "null"
    block_bytes: int | None = 16_384
    seed: int = 11

    @property
    def name(self) -> str:
        blocks = f"{self.block_bytes}" if self.block_bytes else "whole"
        return f"{self.megabytes}mb-{self.files}files-{self.codec}-{blocks}-{self.seed}"


@dataclass(frozen=True)
class Manifest:
    """What was generated.

    Attributes:
        files, records: in all.
        duplicates: records whose identity stands in an earlier capture.
        body_bytes, file_bytes: sizes.
        lines: bodies that are one JSON object on one line, in `bodies.ndjson`.
    """

    files: int
    records: int
    duplicates: int
    body_bytes: int
    file_bytes: int
    lines: int


def captures(folder: Path, shape: Shape) -> tuple[Path, Manifest]:
    """The landing folder of a shape below `folder`, generated if it is not there yet.

    Beside it stands `bodies.ndjson`, for engines that can't read Avro: the bodies that are one
    JSON object on one line.
    """
    place = folder / shape.name
    manifest = place / "manifest.json"
    if manifest.exists():
        return place, Manifest(**json.loads(manifest.read_text()))
    (place / "landing").mkdir(parents=True, exist_ok=True)
    made = _generate(place, shape)
    manifest.write_text(json.dumps(asdict(made)))
    return place, made


def _generate(place: Path, shape: Shape) -> Manifest:
    names = CaptureFormat(DEFAULT_CAPTURE_FORMAT)
    window = timedelta(hours=HOURS) * PARTITIONS / shape.files
    numbers = [0] * PARTITIONS
    last: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
    files = records = duplicates = body_bytes = file_bytes = lines = 0
    with (place / "bodies.ndjson").open("wb") as plain:
        for start, bodies in _windows(shape, window):
            for partition in range(PARTITIONS):
                mine = bodies[partition::PARTITIONS]
                # The last of the capture before come again, as after a failover.
                again = last[partition][-(len(mine) // 100) :] if mine else []
                blob = _capture(again + mine, numbers[partition] - len(again), start, shape)
                path = place / "landing" / names.path("bench", "events", partition, start)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(blob)
                numbers[partition] += len(mine)
                last[partition] = mine
                files += 1
                records += len(again) + len(mine)
                duplicates += len(again)
                body_bytes += sum(map(len, again)) + sum(map(len, mine))
                file_bytes += len(blob)
                whole = [body for body in (*again, *mine) if _is_line(body)]
                lines += len(whole)
                plain.writelines(body + b"\n" for body in whole)
    return Manifest(files, records, duplicates, body_bytes, file_bytes, lines)


def _windows(shape: Shape, window: timedelta) -> Iterator[tuple[datetime, list[bytes]]]:
    end = START + timedelta(hours=HOURS)
    rate = shape.megabytes * 1e6 / _BODY_BYTES / HOURS
    arriving = traffic(START, end, events_per_hour=rate, seed=shape.seed)
    start, bodies = START, list[bytes]()
    for sample in arriving:
        while sample.arrived >= start + window:
            yield start, bodies
            start, bodies = start + window, []
        bodies.append(sample.body)
    while start < end:
        yield start, bodies
        start, bodies = start + window, []


def _capture(bodies: list[bytes], first: int, received: datetime, shape: Shape) -> bytes:
    stamp = {"x-opt-enqueued-time": int(received.timestamp() * 1000)}
    records = (
        CaptureRecord(
            sequence_number=first + index,
            offset=str((first + index) * 512),
            enqueued=received,
            body=body,
            system_properties=stamp,
        )
        for index, body in enumerate(bodies)
    )
    return encode_capture(list(records), codec=shape.codec, block_bytes=shape.block_bytes)


def _is_line(body: bytes) -> bool:
    try:
        return b"\n" not in body and isinstance(json.loads(body), dict)
    except ValueError:
        return False
