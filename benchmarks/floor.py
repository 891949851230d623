"""The machine's own limits, for captures of a place: what no pipeline here can be faster than.

    python -m benchmarks.floor PLACE OUT

Two processes share the captures and work at the same time, each through all stages: read the files;
inflate blocks (of one MB, deflated for the purpose, since captures may
not be); validate every body as JSON without keeping anything of it; write the bodies, as files of
8 MB that are synced to disk as the store's are. Prints the seconds of each stage, of the slower
process. The floor is reading, validating and writing; start-up, and
splitting the files into bodies, is no part of it.
"""

import contextlib
import json
import multiprocessing
import os
import sys
import time
import zlib
from collections.abc import Iterator
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.peers import PROCESSES
from stingar_dagster.capture.reader import read_captures

STAGES: Final = ("read", "inflate", "validate", "write")
FLOOR: Final = ("read", "validate", "write")
_OBJECT_BYTES: Final = 8_000_000
_BLOCK_BYTES: Final = 1_000_000


class _Nothing(msgspec.Struct):
    """A struct without fields: every member is validated and skipped."""


def main(place: Path, out: Path) -> None:
    """Time every stage in all processes at once."""
    files = sorted((place / "landing").glob("**/*.avro"))
    # A fresh process each, none of which has the memory of this one.
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    results: Queue[dict[str, float]] = context.Queue()
    workers = [
        context.Process(
            target=_work, args=(files[n::PROCESSES], out / f"part-{n}", barrier, results)
        )
        for n in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    several = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    print(json.dumps({stage: max(result[stage] for result in several) for stage in STAGES}))


def _work(
    files: list[Path], out: Path, barrier: Barrier, results: "Queue[dict[str, float]]"
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    clock = _Clock()
    # A part of the files at a time, so that memory stays what a pipeline's is.
    portion = max(1, len(files) // 9)
    barrier.wait()
    for turn, first in enumerate(range(0, len(files), portion)):
        with clock.stage("read"):
            blobs = [file.read_bytes() for file in files[first : first + portion]]
        blocks = [
            zlib.compress(blob[at : at + _BLOCK_BYTES])
            for blob in blobs
            for at in range(0, len(blob), _BLOCK_BYTES)
        ]
        with clock.stage("inflate"):
            for block in blocks:
                zlib.decompress(block)
        bodies = _bodies(blobs)
        with clock.stage("validate"):
            _validate(bodies)
        with clock.stage("write"):
            _write(bodies, out / f"{turn}")
    results.put(clock.seconds)


class _Clock:
    """Seconds spent in each stage."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - start


def _bodies(blobs: list[bytes]) -> list[bytes]:
    records = read_captures(blobs).records
    spans = zip(records.body_start.tolist(), records.body_length.tolist(), strict=True)
    return [records.buffer[start : start + length] for start, length in spans if length > 0]


def _validate(bodies: list[bytes]) -> None:
    decode = msgspec.json.Decoder(_Nothing).decode
    for body in bodies:
        try:
            decode(body)
        except ValueError:
            continue  # damaged, or no object


def _write(bodies: list[bytes], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = b"\n".join(bodies)
    for number, at in enumerate(range(0, len(data), _OBJECT_BYTES)):
        with (folder / f"{number}").open("wb") as file:
            file.write(memoryview(data)[at : at + _OBJECT_BYTES])
            file.flush()
            os.fsync(file.fileno())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
