"""Published objects read back as readers see them. Not here: what they are held against."""

import io
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final

import msgspec
import polars as pl

from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.layout import hour_key, parse_hour
from stingar_dagster.lake.quarantine import QuarantineLine, read_quarantine
from stingar_dagster.verify.proof import Problem, Proof

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

    def events(self, hour: datetime) -> Iterator[dict[str, Any]]:
        """An event hour's lines as plain JSON values."""
        for line in self._read(hour).splitlines():
            try:
                yield _decode_line(line)
            except msgspec.DecodeError as error:
                self._not_readable(self._lake.layout.events(hour), error)
                return

    def _read(self, hour: datetime) -> bytes:
        try:
            return self._lake.store.read(self._lake.layout.events(hour))
        except FileNotFoundError:
            return b""

    def _read_identities(self, key: str) -> pl.DataFrame:
        hour = parse_hour(key)
        try:
            data = self._read(hour)
            events = pl.read_ndjson(io.BytesIO(data), schema={"event_id": pl.String()})
        except pl.exceptions.PolarsError as error:
            self._not_readable(self._lake.layout.events(hour), error)
            return pl.DataFrame(schema=EVENT)
        frame = _split_ids(events["event_id"])
        doubled = frame.group_by(frame.columns).len().filter(pl.col("len") > 1)
        for source, number, sub, count in doubled.iter_rows():
            detail = f"{source}/{number} ({sub}) is published {count} times"
            self._proof.problems.append(Problem("doubled", hour_key(hour), detail))
        return frame

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
