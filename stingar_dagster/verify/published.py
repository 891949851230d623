"""Published objects read back as readers see them, and whether each is where readers look for it.

Not here: what their events are held against.
"""

import io
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

import msgspec
import polars as pl

from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.layout import parse_hour
from stingar_dagster.lake.publication import Record, read_record
from stingar_dagster.lake.quarantine import QuarantineLine, read_quarantine
from stingar_dagster.lake.reader.hours import PublishedSlice, published_in, read_if_there
from stingar_dagster.lake.reader.query import stamp
from stingar_dagster.lake.slices import lines_in
from stingar_dagster.verify.proof import Problem, Proof

_READ: Final = {"event_id": pl.String(), "@timestamp": pl.String()}
IDENTITY: Final = {"source": pl.String, "sequence": pl.Int64}
EVENT: Final = {**IDENTITY, "sub": pl.Int64}
_CACHED_ROWS: Final = 4_000_000

_decode_line = msgspec.json.Decoder(dict[str, Any]).decode


class Published:
    """Reads one lake; an object that can't be read becomes a problem of the proof, once.

    Attributes:
        touched: keys of the event hours that were asked for.
    """

    def __init__(self, lake: Lake, proof: Proof) -> None:
        self._lake = lake
        self._proof = proof
        self._cache: dict[str, pl.DataFrame] = {}
        self._unreadable: set[str] = set()
        self.touched: set[str] = set()

    def identities(self, hours: Iterable[str]) -> pl.DataFrame:
        """source, sequence and sub (-1: the body was one event) of event hours' events."""
        frames = [pl.DataFrame(schema=EVENT)]
        for key in sorted(hours):
            self.touched.add(key)
            if key not in self._cache:
                if sum(len(frame) for frame in self._cache.values()) > _CACHED_ROWS:
                    self._cache.clear()
                self._cache[key] = self._read_identities(key)
            frames.append(self._cache[key])
        return pl.concat(frames)

    def quarantined(self, landed_hour: datetime) -> pl.DataFrame:
        """source, sequence and sub of what a landed hour's quarantine holds."""
        lines = self.quarantine_lines(landed_hour)
        names = [line.event_id for line in lines if line.event_id]
        return _split_ids(pl.Series("event_id", names, dtype=pl.String))

    def quarantine_lines(self, landed_hour: datetime) -> list[QuarantineLine]:
        try:
            return list(read_quarantine(self._lake, landed_hour))
        except msgspec.DecodeError as error:
            self._not_readable(self._lake.layout.quarantine(landed_hour), error)
            return []

    def events(self, hour: datetime) -> Iterator[Iterator[dict[str, Any]]]:
        """An event hour's lines as plain JSON values, by slice."""
        for piece, data in self._objects(hour):
            yield self._decoded(piece.object.path, data)

    def _decoded(self, path: str, data: bytes) -> Iterator[dict[str, Any]]:
        for line in data.splitlines():
            try:
                yield _decode_line(line)
            except msgspec.DecodeError as error:
                self._not_readable(path, error)
                return

    def strays(self, hours: Iterable[datetime]) -> list[Problem]:
        """Published objects that no record names, and those that one names and that are gone."""

        def of_hour(hour: datetime) -> list[Problem]:
            named = self._recorded(hour).objects().keys()
            folder = self._lake.layout.events_in(hour)
            there = {entry.path.rsplit("/", 1)[-1] for entry in self._lake.store.find(folder)}
            extra = (
                Problem("invented", f"{folder}/{name}", "no record names this object")
                for name in sorted(there - named)
            )
            missing = (
                Problem("lost", f"{folder}/{name}", "the hour's record names it; it is not there")
                for name in sorted(named - there)
            )
            return [*extra, *missing]

        return [problem for found in in_parallel(of_hour, hours) for problem in found]

    def _objects(self, hour: datetime) -> Iterator[tuple[PublishedSlice, bytes]]:
        """An event hour's objects with their lines; of one that can't be read there are none."""
        for piece in published_in(self._lake, hour):
            try:
                yield piece, lines_in(piece.name, read_if_there(self._lake, piece.object))
            except ValueError as error:
                self._not_readable(piece.object.path, error)

    def _read_identities(self, key: str) -> pl.DataFrame:
        frames = [pl.DataFrame(schema=EVENT)]
        hour = parse_hour(key)
        named = self._recorded(hour).objects()
        for piece, data in self._objects(hour):
            try:
                events = pl.read_ndjson(io.BytesIO(data), schema=_READ)
            except pl.exceptions.PolarsError as error:
                self._not_readable(piece.object.path, error)
                continue
            held = named.get(piece.name)
            bounds = (piece.start, piece.end) if held is None else held.slice.bounds(hour)
            self._prove_place(piece.object.path, bounds, events["@timestamp"])
            frames.append(_split_ids(events["event_id"]))
        frame = pl.concat(frames)
        doubled = frame.group_by(frame.columns).len().filter(pl.col("len") > 1)
        for source, number, sub, count in doubled.iter_rows():
            detail = f"{source}/{number} ({sub}) is published {count} times"
            self._proof.problems.append(Problem("doubled", key, detail))
        return frame

    def _recorded(self, hour: datetime) -> Record:
        path = self._lake.layout.hour_record("events", hour)
        return read_record(self._lake.store, path) or Record()

    def _prove_place(self, path: str, bounds: tuple[datetime, datetime], times: pl.Series) -> None:
        """Whoever looks for an event by its time must come upon it, and find it in order."""
        outside = times.is_null() | (times < stamp(bounds[0])) | (times >= stamp(bounds[1]))
        if count := int(outside.sum()):
            detail = f"{count} events belong to another hour or slice"
            self._proof.problems.append(Problem("misplaced", path, detail))
        elif not times.is_sorted():
            self._proof.problems.append(Problem("misplaced", path, "events are not in order"))

    def _not_readable(self, path: str, error: Exception) -> None:
        if path not in self._unreadable:
            self._unreadable.add(path)
            detail = str(error).splitlines()[0]
            self._proof.problems.append(Problem("unreadable", path, detail))


def _split_ids(names: pl.Series) -> pl.DataFrame:
    """`namespace/hub/partition/sequence.sub` to its parts; sub is -1 where there is none."""
    found = names.to_frame("id").select(
        parts=pl.col("id").str.extract_groups(r"^(?<source>.*)/(?<sequence>\d+)(?:\.(?<sub>\d+))?$")
    )
    return found.unnest("parts").select(
        "source", pl.col("sequence").cast(pl.Int64), pl.col("sub").cast(pl.Int64).fill_null(-1)
    )
