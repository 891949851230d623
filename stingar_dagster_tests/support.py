"""What tests of the whole way share: a landing folder and a lake, and an oracle beside them.

`Site` puts captures into landing, runs what is pending, and reads the lake back as a stranger
would, with plain `json`. Its oracle counts identities with fastavro and believes no record but
one: how many duplicates were removed. Not here: anything that the package itself could be asked.
"""

import gzip
import hashlib
import io
import json
import os
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import fastavro
import pytest

from stingar_dagster.capture.discovery import Capture
from stingar_dagster.capture.writer import CaptureRecord, encode_capture
from stingar_dagster.lake import backlog
from stingar_dagster.lake.layout import day_of
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.settings import Settings
from stingar_dagster.storage import Entry, Store, open_store
from stingar_dagster.storage.local import LocalStore
from stingar_dagster.streams import STINGAR, STREAMS, Stream
from stingar_dagster.streams.stream import Compression
from stingar_dagster.verify import verify

HOUR: Final = timedelta(hours=1)
MINUTE: Final = timedelta(minutes=1)
NOON: Final = datetime(2026, 11, 3, 12, tzinfo=UTC)
"""A landed hour to put captures in, unless a test says otherwise."""

SLICED: Final = replace(STINGAR, slice_minutes=5, compression=Compression.GZIP)
"""The same stream, published in twelve compressed slices an hour."""

TOO_MANY_ROUNDS: Final = 12
on_disk = pytest.mark.parametrize("site", ["disk"], indirect=True)
"""For a test that looks at files, which stands beside those that run on every store."""

SOAK: Final = os.environ.get("STINGAR_SOAK") == "1"
"""Whether tests are to try everything, however long it takes, instead of a sample."""


def stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def event(moment: datetime, **fields: object) -> bytes:
    """A body that becomes one event, logged at `moment`."""
    known = {"type": "cowrie.sessions", "src_ip": "192.0.2.7", "dest_port": 22, "sensor": "lab-1"}
    return json.dumps({"@timestamp": stamp(moment), **known, **fields}).encode()


def capture(
    bodies: Iterable[bytes | None],
    first: int = 0,
    received: datetime = NOON,
    block_bytes: int | None = None,
) -> bytes:
    """A capture file whose records are numbered from `first` on."""
    records = [
        CaptureRecord(
            sequence_number=first + index,
            offset=str((first + index) * 512),
            enqueued=received,
            body=body,
            system_properties={"x-opt-enqueued-time": int(received.timestamp() * 1000)},
        )
        for index, body in enumerate(bodies)
    ]
    return encode_capture(records, block_bytes=block_bytes)


@dataclass
class Work:
    """What a run of everything that was pending came to."""

    landed: list[datetime] = field(default_factory=list)
    published: list[datetime] = field(default_factory=list)
    rolled: list[datetime] = field(default_factory=list)


@dataclass
class Site:
    """A landing folder and a lake.

    Attributes:
        landing, lake: URLs or folders.
        stream: whose captures are processed.
        max_body_bytes: larger bodies are quarantined.
        hub: that captures come from.
        blobs: every capture put into landing, by path; a replaced one is forgotten.
    """

    landing: str
    lake: str
    stream: Stream = field(default=STINGAR, repr=False)
    max_body_bytes: int = Settings().max_body_bytes
    hub: str = "hub"
    blobs: dict[str, bytes] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        # Another process knows declared streams by name: their expressions may hold functions.
        declared = STREAMS.get(self.stream.name) is self.stream
        return vars(self) | ({"stream": self.stream.name} if declared else {})

    def __setstate__(self, state: dict[str, Any]) -> None:
        stream = state["stream"]
        vars(self).update(state, stream=STREAMS[stream] if isinstance(stream, str) else stream)

    @classmethod
    def at(cls, folder: Path, stream: Stream = STINGAR) -> "Site":
        return cls(str(folder / "landing"), str(folder / "lake"), stream)

    @property
    def settings(self) -> Settings:
        return Settings(landing=self.landing, lake=self.lake, max_body_bytes=self.max_body_bytes)

    def with_lake(self, lake: str) -> "Site":
        """The same landing folder, and another lake."""
        return replace(self, lake=lake)

    @property
    def lake_store(self) -> Store:
        return open_store(self.lake, "STINGAR_LAKE")

    def pipeline(self, stream: Stream | None = None) -> Pipeline:
        return Pipeline(self.settings, stream or self.stream)

    # ---- landing

    def put(
        self,
        bodies: Iterable[bytes | None],
        *,
        partition: int = 0,
        start: datetime = NOON,
        first: int = 0,
        received: datetime | None = None,
    ) -> str:
        """Land a capture; returns its path."""
        return self.put_blob(capture(bodies, first, received or start), partition, start)

    def put_blob(self, blob: bytes, partition: int = 0, start: datetime = NOON) -> str:
        pipeline = self.pipeline()
        path = pipeline.landing.format.path("ns", self.hub, partition, start)
        pipeline.landing.store.write(path, blob)
        self.blobs[path] = blob
        return path

    def age(self, path: str, by: timedelta) -> None:
        """Make a file in landing look as old as that."""
        when = (datetime.now(UTC) - by).timestamp()
        os.utime(Path(self.landing) / path, (when, when))

    def remove(self, path: str) -> None:
        """Take a capture out of landing, as retention does; what it held still counts."""
        self.pipeline().landing.store.remove(path)

    def take_stock(self) -> None:
        """Forget what was put into landing, and remember what is there."""
        store = self.pipeline().landing.store
        self.blobs = {entry.path: store.read(entry.path) for entry in store.find("")}

    # ---- running

    def run(self, pipeline: Pipeline | None = None) -> Work:
        """Do what is pending until nothing is; captures that have to wait are left waiting."""
        pipeline = pipeline or self.pipeline()
        done = Work()
        for _ in range(TOO_MANY_ROUNDS):
            unlanded, hours, days = pending(pipeline)
            landed = [pipeline.land_hour(hour) for hour in unlanded]
            for hour in hours:
                pipeline.publish_hour(hour)
            for day in days:
                pipeline.roll_day(day)
            only_waits = all(hour.waiting and not hour.changed_hours for hour in landed)
            if only_waits and not hours and not days:
                return done
            done.landed += unlanded
            done.published += hours
            done.rolled += days
        raise AssertionError("something stays pending, however often it is done")

    # ---- reading back

    def objects(self, folder: str = "") -> dict[str, bytes]:
        """Every object below a folder of the stream's part of the lake, by path."""
        store = self.lake_store
        root = f"{self.stream.name}/{folder}".rstrip("/")
        return {entry.path: store.read(entry.path) for entry in store.find(root)}

    def tree(self, folder: str = "") -> dict[str, str]:
        """A digest of every object below a folder, by path."""
        return {
            path: hashlib.sha256(data).hexdigest() for path, data in self.objects(folder).items()
        }

    def versions(self, *folders: str) -> dict[str, str]:
        """The etag of every object below folders: it changes with any write, even of the same."""
        store = self.lake_store
        return {
            entry.path: entry.etag
            for folder in folders
            for entry in store.find(f"{self.stream.name}/{folder}")
        }

    def rows(self, folder: str) -> list[dict[str, Any]]:
        """The JSON lines of every object below a folder."""
        return [json.loads(line) for data in self.objects(folder).values() for line in lines(data)]

    def events(self, hour: datetime | None = None) -> list[dict[str, Any]]:
        return self.rows("events" + (f"/date={hour:%Y-%m-%d}/hour={hour:%H}" if hour else ""))

    def quarantined(self) -> list[dict[str, Any]]:
        return self.rows("quarantine")

    def ledger(self, hour: datetime = NOON) -> dict[str, dict[str, Any]]:
        """The ledger's lines of a landed hour, by capture."""
        rows = self.rows(f"ledger/date={hour:%Y-%m-%d}/hour={hour:%H}")
        return {row["capture"]: row for row in rows}

    def daily(self, table: str) -> list[dict[str, Any]]:
        return self.rows(f"daily/{table}")

    def duplicates(self) -> int:
        """How many events were left out as duplicates, by the hours' records."""
        records = self.objects("state/events").values()
        return sum(json.loads(record)["duplicates"] for record in records)

    def check(self, gaps: bool = True, longest_slice: int | None = None) -> None:
        """The oracle: `verify`, every step again included, and identities counted from `blobs`.

        Args:
            gaps: whether sequence numbers may be missing, as in captures that a test makes up.
            longest_slice: minutes, where slices were declared otherwise before; default: as now.
        """
        proof = verify(self.pipeline(), again=True)
        problems = [p for p in proof.problems if not (gaps and p.kind == "gap")]
        if problems:
            raise AssertionError(problems)
        events = self.events()
        check_identities(self.blobs, events, self.quarantined(), self.duplicates())
        longest = longest_slice or self.stream.slice_minutes
        for path, data in self.objects("events").items():
            day, hour, name = path.split("date=")[1].split("/")
            times = [row["@timestamp"] for row in map(json.loads, lines(data))]
            assert times == sorted(times), path
            assert {time[:13] for time in times} == {f"{day}T{hour.removeprefix('hour=')}"}, path
            if longest < 60 or name.startswith("events-"):
                first = int(name.removeprefix("events-")[:2])
                assert {int(time[14:16]) for time in times} <= {*range(first, first + longest)}, (
                    path
                )


def site_for(request: pytest.FixtureRequest, folder: Path) -> Site:
    """What a `site` fixture with one of these parameters gives.

    `disk` and `azure` are stores; `sliced` is a stream in slices, on a disk.
    """
    if request.param == "azure":
        container = request.getfixturevalue("container")
        return Site(f"az://{container}/landing", f"az://{container}/lake")
    return Site.at(folder, SLICED if request.param == "sliced" else STINGAR)


def lines(data: bytes) -> list[bytes]:
    """The lines of a published object, which may be compressed."""
    data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    assert not data or data.endswith(b"\n"), "the last line is not whole"
    return data.split(b"\n")[:-1]


def pending(pipeline: Pipeline) -> tuple[list[datetime], list[datetime], list[datetime]]:
    """Landed hours, event hours and days that are not up to date."""
    lake = pipeline.lake
    unlanded = backlog.unlanded(lake, backlog.by_landed_hour(lake, captures(pipeline)))
    landed = backlog.landed_hours(lake)
    hours = backlog.unpublished_hours(lake, landed)
    days = {*backlog.published_days(lake), *(day_of(hour) for hour in (*landed, *hours))}
    return list(unlanded), list(hours), list(backlog.unpublished_days(lake, days))


def captures(pipeline: Pipeline) -> list[Capture]:
    """Everything in landing."""
    since, until = datetime(2020, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
    return pipeline.landing.between(since, until).captures


def readable(blob: bytes) -> list[int]:
    """The sequence numbers in a capture's whole blocks, up to the first that is not."""
    numbers = []
    try:
        # By blocks: the plain reader gives records of a block that is cut off, too.
        for block in fastavro.block_reader(io.BytesIO(blob)):
            for row in block:
                assert isinstance(row, dict)
                numbers.append(row["SequenceNumber"])
    except (EOFError, ValueError, struct.error):
        pass
    return numbers


def check_identities(
    blobs: dict[str, bytes],
    events: Sequence[dict[str, Any]],
    quarantined: Sequence[dict[str, Any]],
    duplicates: int,
) -> None:
    """Identities in captures = published + quarantined + duplicates, none published twice."""
    captured: Counter[str] = Counter()
    for path, blob in blobs.items():
        source = "/".join(path.split("/")[:3])
        for number in readable(blob):
            captured[f"{source}/{number}"] += 1
    twice = [name for name, count in Counter(e["event_id"] for e in events).items() if count > 1]
    assert not twice
    published = Counter(e["event_id"].split(".")[0] for e in events)
    rejected = Counter(q["event_id"].split(".")[0] for q in quarantined if "event_id" in q)
    assert published.keys() | rejected.keys() == captured.keys()
    assert sum(count * (captured[name] - 1) for name, count in published.items()) == duplicates
    alone = {e["event_id"] for e in events if "." not in e["event_id"].rsplit("/", 1)[-1]}
    assert not alone & rejected.keys()
    for name, count in captured.items():
        if name not in alone:
            assert not rejected[name] % count, name


class RecordingStore(LocalStore):
    """A local store that remembers which folders and objects it was asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, str(root))
        self.asked: list[str] = []

    def read(self, path: str) -> bytes:
        self.asked.append(path)
        return super().read(path)

    def etag(self, path: str) -> str | None:
        self.asked.append(path)
        return super().etag(path)

    def find(self, folder: str) -> list[Entry]:
        self.asked.append(folder)
        return super().find(folder)

    def children(self, folder: str) -> tuple[list[str], list[Entry]]:
        self.asked.append(folder)
        return super().children(folder)


# ---- what other processes do; they import this module


def count_up(store: Store, path: str, times: int) -> None:
    """Add one to the number in an object so many times, by compare-and-swap."""
    from stingar_dagster.errors import Conflict

    for _ in range(times):
        while True:
            version = store.etag(path)
            number = int(store.read(path)) if version is not None else 0
            try:
                store.write(path, b"%d" % (number + 1), expected=version)
            except Conflict:
                continue
            break


def count_up_at(url: str, path: str, times: int) -> None:
    count_up(open_store(url, "STINGAR_LAKE"), path, times)
