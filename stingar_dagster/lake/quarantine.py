"""Quarantine: what could not become an event, with reason, place and raw bytes.

Internally a segment for each landed slot, like events; published as one object a landed hour. Not
here: why something is rejected (`cleaning.reasons`).
"""

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final

import msgspec
import polars as pl

from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.ledger import read_ledger
from stingar_dagster.lake.lines import json_lines
from stingar_dagster.lake.publication import Draft, Record, publish, read_record
from stingar_dagster.lake.segments import collect_orphans, decode
from stingar_dagster.streams.expressions import iso_time

REJECTED_SCHEMA: Final[dict[str, pl.DataType]] = {
    "capture": pl.String(),
    "source": pl.String(),
    "partition": pl.Int64(),
    "sequence": pl.Int64(),
    "sub": pl.Int32(),
    "enqueued_us": pl.Int64(),
    "reason": pl.String(),
    "detail": pl.String(),
    "body": pl.Binary(),
}
"""`sequence` is null for a damaged part of a capture, which holds no readable event."""

REJECTED_ORDER: Final = ["capture", "sequence", "sub", "detail"]

COLUMNS: Final[dict[str, str]] = {
    "event_id": "Identity, absent for a damaged part of a capture",
    "reason": "Short code of why it could not become an event",
    "detail": "Where in the body or capture, and what was found",
    "capture": "Path of the capture in landing",
    "partition": "Partition of the Event Hub",
    "sequence_number": "Of the event in its partition",
    "enqueued_at": "When Event Hubs received it (UTC)",
    "body": "The raw bytes, base64",
}
"""Published columns and their meanings."""

FIRST_BYTES: Final = 262_144
"""Read for a look at the first lines: bodies may be of a megabyte each."""

_NUMBERS: Final = ("partition", "sequence_number")

SCHEMA: Final[dict[str, pl.DataType]] = {
    name: pl.Int64() if name in _NUMBERS else pl.String() for name in COLUMNS
}
"""Published columns and their types."""


class QuarantineLine(msgspec.Struct, frozen=True):
    """One published line; see `COLUMNS`."""

    reason: str
    capture: str
    partition: int
    body: str
    event_id: str | None = None
    detail: str = ""
    sequence_number: int | None = None
    enqueued_at: str | None = None

    @property
    def raw(self) -> bytes:
        return base64.b64decode(self.body)


_decode_line: Final = msgspec.json.Decoder(QuarantineLine).decode


def publish_quarantine(lake: Lake, landed_hour: datetime) -> Record:
    """Publish a landed hour's quarantine from what its ledger names."""
    layout, store = lake.layout, lake.store

    def make() -> Draft:
        names = tuple(sorted(read_ledger(store, layout, landed_hour).rejected()))
        collect_orphans(store, store.find(layout.rejected(landed_hour, "")), set(names))
        frame = read_rejected(lake, landed_hour, names)
        data = json_lines(_published(frame)) if len(frame) else None
        record = Record(
            made_from=names,
            rows=len(frame),
            size=len(data or b""),
            reasons=dict(sorted(Counter(frame["reason"]).items())),
        )
        return Draft(record, data)

    record, _ = publish(
        store, layout.quarantine(landed_hour), layout.hour_record("quarantine", landed_hour), make
    )
    return record


def quarantine_reasons(lake: Lake, landed_hours: Iterable[datetime]) -> dict[str, int]:
    """How many lines of each reason landed hours have in quarantine."""

    def of_hour(hour: datetime) -> Mapping[str, int]:
        record = read_record(lake.store, lake.layout.hour_record("quarantine", hour))
        if record is None or not record.rows or record.reasons:
            return record.reasons if record is not None else {}
        return Counter(line.reason for line in read_quarantine(lake, hour))

    total: Counter[str] = Counter()
    for counts in in_parallel(of_hour, landed_hours):
        total.update(counts)
    return dict(sorted(total.items()))


def read_rejected(lake: Lake, landed_hour: datetime, names: tuple[str, ...]) -> pl.DataFrame:
    """What segments hold, sorted by capture and place."""
    frames = in_parallel(
        lambda name: decode(
            lake.store.read(lake.layout.rejected(landed_hour, name)), REJECTED_SCHEMA, name
        ),
        names,
    )
    return pl.concat([pl.DataFrame(schema=REJECTED_SCHEMA), *frames]).sort(
        REJECTED_ORDER, nulls_last=True, maintain_order=True
    )


def read_quarantine(lake: Lake, landed_hour: datetime) -> Iterator[QuarantineLine]:
    """The published lines of a landed hour."""
    try:
        data = lake.store.read(lake.layout.quarantine(landed_hour))
    except FileNotFoundError:
        return
    for line in data.splitlines():
        yield _decode_line(line)


def read_first(lake: Lake, landed_hour: datetime, most: int) -> list[QuarantineLine]:
    """The first published lines of a landed hour, for a look: of a large object only the lines
    that stand whole in its first `FIRST_BYTES`."""
    try:
        data = lake.store.read_start(lake.layout.quarantine(landed_hour), FIRST_BYTES)
    except FileNotFoundError:
        return []
    whole = data[: data.rfind(b"\n") + 1]
    return [_decode_line(line) for line in whole.split(b"\n", most)[:most] if line]


def _published(frame: pl.DataFrame) -> pl.DataFrame:
    number = pl.concat_str("source", pl.lit("/"), "sequence")
    event_id = (
        pl.when(pl.col("sub") >= 0)
        .then(pl.concat_str(number, pl.lit("."), "sub"))
        .otherwise(number)
    )
    return frame.select(
        event_id.alias("event_id"),
        "reason",
        "detail",
        "capture",
        "partition",
        pl.col("sequence").alias("sequence_number"),
        iso_time(pl.col("enqueued_us")).alias("enqueued_at"),
        pl.col("body").bin.encode("base64"),
    )
