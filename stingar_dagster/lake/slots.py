"""Landed slots: captures to segments, rejected segments and ledger lines.

Captures are decoded and cleaned in batches bounded in bytes, whatever their number and size. What
a slot comes to depends on its captures alone, not on how they were batched. Not here: which slots
are to be done, and committing them (`pipeline`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from stingar_dagster.capture.discovery import Capture, Fetched, Landing
from stingar_dagster.capture.reader import Damage, DamageKind, Limits, read_captures
from stingar_dagster.capture.records import Records
from stingar_dagster.cleaning.clean import Cleaned, Cleaner
from stingar_dagster.cleaning.spans import pick
from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.layout import hour_key
from stingar_dagster.lake.ledger import LedgerLine
from stingar_dagster.lake.quarantine import REJECTED_ORDER, REJECTED_SCHEMA
from stingar_dagster.lake.segments import decode, encode, segment_name, segment_schema
from stingar_dagster.lake.slices import Slice, span_of_segment
from stingar_dagster.streams import Stream

BATCH_BYTES: Final = 48 * 1024 * 1024
"""Captures of about so many bytes are decoded together; a larger capture goes alone."""

_MINUTE_US: Final = 60_000_000
_DAMAGE_BYTES: Final = 1024 * 1024
"""Of a damaged part so much goes into quarantine; the detail says where the rest stands."""


@dataclass(frozen=True, slots=True)
class Part:
    """Captures that make segments together: a landed slot, or a piece of one that is large."""

    slot: int
    captures: tuple[Capture, ...]

    @property
    def size(self) -> int:
        return sum(capture.size for capture in self.captures)


Batch = list[Part]
"""Parts of one landed hour that are decoded together."""


@dataclass(slots=True)
class Outcome:
    """What decoding captures came to.

    Attributes:
        lines: a ledger line for each capture.
        waiting: captures that look half-written and are young: to be tried again.
    """

    lines: dict[str, LedgerLine] = field(default_factory=dict)
    waiting: list[Capture] = field(default_factory=list)


def slot_of(start: datetime, slot_minutes: int) -> int:
    """First minute of the landed slot that a capture belongs to."""
    return start.minute // slot_minutes * slot_minutes


def parts_of(slot: int, captures: Iterable[Capture]) -> Iterator[Part]:
    """Cut a slot's captures into parts; a function of the captures alone."""
    part: list[Capture] = []
    size = 0
    for capture in sorted(captures, key=lambda capture: capture.name.path):
        if part and size + capture.size > BATCH_BYTES:
            yield Part(slot, tuple(part))
            part, size = [], 0
        part.append(capture)
        size += capture.size
    if part:
        yield Part(slot, tuple(part))


def batches_of(parts: Iterable[Part]) -> Iterator[Batch]:
    """Group parts, so that thousands of small captures cost a few batches."""
    batch: Batch = []
    for part in parts:
        if batch and sum(p.size for p in batch) + part.size > BATCH_BYTES:
            yield batch
            batch = []
        batch.append(part)
    if batch:
        yield batch


class SlotWriter:
    """Turns parts of one landed hour into segments.

    Args:
        lake: where segments go.
        landing: where captures are read.
        cleaner: of the lake's stream.
        landed_hour: whose captures these are.
        torn_after: how long a capture that looks half-written may still be being written.
        limits: what compressed blocks may inflate to.
    """

    def __init__(
        self,
        lake: Lake,
        landing: Landing,
        cleaner: Cleaner,
        landed_hour: datetime,
        torn_after: timedelta,
        limits: Limits,
    ) -> None:
        self._lake = lake
        self._landing = landing
        self._cleaner = cleaner
        self._hour = landed_hour
        self._torn_after = torn_after
        self._limits = limits
        self._slice_us = lake.stream.slice_minutes * _MINUTE_US

    def write(self, batch: Batch) -> Outcome:
        """Decode and clean a batch, and write its segments."""
        captures = [capture for part in batch for capture in part.captures]
        part_of = np.repeat(np.arange(len(batch)), [len(part.captures) for part in batch])
        fetched = in_parallel(self._landing.fetch, captures)
        blobs = [item.data for item in fetched]
        decoded = read_captures(blobs, limits=self._limits)
        waiting = self._waiting(captures, decoded.damage)
        records = _without(decoded.records, waiting)
        found = (*decoded.damage, *_bad_checksums(fetched))
        damage = [item for item in found if item.capture not in waiting]
        cleaned = self._cleaner.clean(records, self._hour)

        names = pl.Series("capture", [c.name.path for c in captures], dtype=pl.String)
        sources = pl.Series("source", [c.name.source for c in captures], dtype=pl.String)
        events = _with_places(cleaned.events, records, names, sources, part_of)
        rejected = _rejected(cleaned, records, damage, captures, blobs, part_of)
        segments = self._write_segments(batch, events)
        rejected_names = self._write_rejected(batch, rejected)
        lines = _Lines(self._lake.stream, captures, records, events, rejected, damage)
        outcome = Outcome(waiting=[captures[index] for index in sorted(waiting)])
        for index, capture in enumerate(captures):
            if index not in waiting:
                part = int(part_of[index])
                line = lines.line(index, batch[part].slot, segments[part], rejected_names[part])
                outcome.lines[capture.name.path] = line
        return outcome

    def keep(self, lines: list[LedgerLine]) -> dict[str, LedgerLine]:
        """Carry over lines of one slot whose captures can't be read again: their events stay.

        Returns:
            their lines, naming segments that hold nothing else.
        """
        gone = [line.capture for line in lines]
        slot = lines[0].slot
        moved: dict[tuple[str, str], str] = {}
        for hour, name in sorted({pair for line in lines for pair in line.segments_by_hour()}):
            data = self._lake.store.read(self._lake.layout.segment(hour, name))
            frame = decode(data, segment_schema(self._lake.stream), name)
            left = frame.filter(pl.col("capture").is_in(gone))
            moved[hour, name] = self._write_segment(hour, slot, left, span_of_segment(name))
        rejected: dict[str | None, str | None] = {None: None}
        for name in {line.rejected for line in lines if line.rejected is not None}:
            data = self._lake.store.read(self._lake.layout.rejected(self._hour, name))
            frame = decode(data, REJECTED_SCHEMA, name).filter(pl.col("capture").is_in(gone))
            rejected[name] = self._write_rejected_segment(slot, frame)
        return {
            line.capture: msgspec.structs.replace(
                line,
                segments=tuple(moved[pair] for pair in line.segments_by_hour()),
                rejected=rejected[line.rejected],
            )
            for line in lines
        }

    def _waiting(self, captures: list[Capture], damage: Iterable[Damage]) -> set[int]:
        youngest = datetime.now(UTC) - self._torn_after
        return {
            item.capture
            for item in damage
            if item.torn and (when := captures[item.capture].modified) and when > youngest
        }

    def _write_segments(self, batch: Batch, events: pl.DataFrame) -> list[dict[int, str]]:
        """Write each part's events of each slice; returns names by slice, for each part.

        Slices are numbered since the epoch.
        """
        named: list[dict[int, str]] = [{} for _ in batch]
        if events.is_empty():
            return named
        # In one order, whatever was found first: a segment's name is a digest of its bytes.
        known = [name for name in segment_schema(self._lake.stream) if name in events.columns]
        filled = [name for name in known if events[name].null_count() < len(events)]
        # One sort of the batch makes every segment a slice of it. A part's captures stand in the
        # order of their names, so their positions sort as the names do.
        piece = (events["time_us"] // self._slice_us).to_numpy()
        keys = [events[name].to_numpy() for name in ("record", "sub", "sequence", "index")]
        part = events["part"].to_numpy()
        order = np.lexsort((*keys, piece, part))
        ordered = events.select(filled)[order]
        part, piece = part[order], piece[order]
        starts = np.flatnonzero(np.diff(part, prepend=-1) | np.diff(piece, prepend=piece[0] - 1))
        lengths = np.diff(starts, append=len(order))
        groups = list(zip(part[starts].tolist(), piece[starts].tolist(), strict=True))

        def write(place: int) -> None:
            part, number = groups[place]
            hour, minutes = _slice_of(number, self._lake.stream)
            frame = ordered.slice(int(starts[place]), int(lengths[place]))
            named[part][number] = self._write_segment(hour, batch[part].slot, frame, minutes)

        in_parallel(write, range(len(groups)))
        return named

    def _write_segment(self, hour: str, slot: int, frame: pl.DataFrame, piece: Slice) -> str:
        data = encode(frame)
        name = segment_name(self._hour, slot, data, piece)
        self._lake.store.write(self._lake.layout.segment(hour, name), data)
        return name

    def _write_rejected(self, batch: Batch, rejected: pl.DataFrame) -> list[str | None]:
        names: list[str | None] = [None] * len(batch)
        for key, frame in rejected.partition_by("part", as_dict=True, include_key=False).items():
            names[key[0]] = self._write_rejected_segment(batch[key[0]].slot, frame)
        return names

    def _write_rejected_segment(self, slot: int, frame: pl.DataFrame) -> str:
        # Nothing of how captures were batched may get into the bytes.
        known = frame.select(list(REJECTED_SCHEMA))
        data = encode(known.sort(REJECTED_ORDER, nulls_last=True, maintain_order=True))
        name = segment_name(self._hour, slot, data)
        self._lake.store.write(self._lake.layout.rejected(self._hour, name), data)
        return name


class _Lines:
    """Ledger lines from what a batch came to."""

    def __init__(
        self,
        stream: Stream,
        captures: list[Capture],
        records: Records,
        events: pl.DataFrame,
        rejected: pl.DataFrame,
        damage: list[Damage],
    ) -> None:
        self._stream = stream
        self._captures = captures
        count = len(captures)
        self._start = np.searchsorted(records.capture, np.arange(count))
        self._stop = np.searchsorted(records.capture, np.arange(count), side="right")
        self._records = records
        self._damage: dict[int, list[str]] = {}
        for item in damage:
            place = f"{item.kind} at bytes {item.start:,} to {item.end:,}: {item.detail}"
            self._damage.setdefault(item.capture, []).append(place)
        slice_us = stream.slice_minutes * _MINUTE_US
        by_slice = events.group_by("index", pl.col("time_us") // slice_us).len()
        self._slices: dict[int, dict[int, int]] = {}
        for index, number, length in by_slice.sort("index", "time_us").iter_rows():
            self._slices.setdefault(index, {})[number] = length
        bodies = rejected.filter(pl.col("sequence").is_not_null())
        self._quarantined = dict(bodies.group_by("index").len().iter_rows())
        self._rejected = set(rejected["index"].to_list())

    def line(
        self, index: int, slot: int, segments: dict[int, str], rejected: str | None
    ) -> LedgerLine:
        capture = self._captures[index]
        rows = slice(int(self._start[index]), int(self._stop[index]))
        sequence = self._records.sequence[rows]
        slices = self._slices.get(index, {})
        cleaned = sum(slices.values())
        quarantined = self._quarantined.get(index, 0)
        first_enqueued, last_enqueued = _enqueued_range(self._records.enqueued_us[rows])
        return LedgerLine(
            capture=capture.name.path,
            etag=capture.etag,
            size=capture.size,
            namespace=capture.name.namespace,
            event_hub=capture.name.event_hub,
            partition=capture.name.partition,
            slot=slot,
            code_version=self._stream.code_version,
            records=len(sequence),
            events=cleaned + quarantined,
            cleaned=cleaned,
            quarantined=quarantined,
            first_sequence=int(sequence.min()) if len(sequence) else None,
            last_sequence=int(sequence.max()) if len(sequence) else None,
            first_enqueued_at=first_enqueued,
            last_enqueued_at=last_enqueued,
            event_hours=tuple(_slice_of(number, self._stream)[0] for number in slices),
            segments=tuple(segments[number] for number in slices),
            rejected=rejected if index in self._rejected else None,
            damage=tuple(self._damage.get(index, ())),
            gaps=_gaps(sequence),
        )


def _slice_of(number: int, stream: Stream) -> tuple[str, Slice]:
    """The key of the event hour and the minutes of a slice that is numbered since the epoch."""
    hour, place = divmod(number, 60 // stream.slice_minutes)
    first = place * stream.slice_minutes
    key = hour_key(datetime.fromtimestamp(hour * 3600, UTC))
    return key, Slice(first, first + stream.slice_minutes)


def _bad_checksums(fetched: Iterable[Fetched]) -> Iterator[Damage]:
    for index, item in enumerate(fetched):
        if item.wrong is not None:
            size = len(item.data)
            yield Damage(index, DamageKind.BAD_CHECKSUM, 0, size, None, item.wrong)


def _with_places(
    events: pl.DataFrame,
    records: Records,
    names: pl.Series,
    sources: pl.Series,
    part_of: NDArray[np.int64],
) -> pl.DataFrame:
    """Events with capture, source, sequence, and their capture's and part's position."""
    record = events["record"].to_numpy()
    index = records.capture[record]
    return events.with_columns(
        pl.Series("index", index, dtype=pl.Int32),
        pick(names, index),
        pick(sources, index),
        pl.Series("sequence", records.sequence[record]),
        pl.Series("part", part_of[index], dtype=pl.Int32),
    )


def _rejected(
    cleaned: Cleaned,
    records: Records,
    damage: list[Damage],
    captures: list[Capture],
    blobs: list[bytes],
    part_of: NDArray[np.int64],
) -> pl.DataFrame:
    """Bodies that could not become events, and damaged parts of captures."""
    rows: list[tuple[object, ...]] = []
    for item in cleaned.rejected:
        index = int(records.capture[item.record])
        sequence = int(records.sequence[item.record])
        enqueued = int(records.enqueued_us[item.record])
        place = (sequence, item.sub, enqueued if enqueued > 0 else None)
        rows.append((index, *place, str(item.reason), item.detail, item.body))
    for hurt in damage:
        detail = f"bytes {hurt.start:,} to {hurt.end:,}: {hurt.detail}"
        body = b""  # of a wrong checksum: what can't be decoded of the file has its own line
        if hurt.kind is not DamageKind.BAD_CHECKSUM:
            body = blobs[hurt.capture][hurt.start : min(hurt.end, hurt.start + _DAMAGE_BYTES)]
        rows.append((hurt.capture, None, None, None, str(hurt.kind), detail, body))
    schema = {name: REJECTED_SCHEMA[name] for name in ("sequence", "sub", "enqueued_us")}
    schema |= {name: REJECTED_SCHEMA[name] for name in ("reason", "detail", "body")}
    frame = pl.DataFrame(rows, schema={"index": pl.Int32(), **schema}, orient="row")
    index_of = frame["index"].to_list()
    return frame.with_columns(
        pl.Series("capture", [captures[i].name.path for i in index_of], dtype=pl.String),
        pl.Series("source", [captures[i].name.source for i in index_of], dtype=pl.String),
        pl.Series("partition", [captures[i].name.partition for i in index_of], dtype=pl.Int64),
        pl.Series("part", [int(part_of[i]) for i in index_of], dtype=pl.Int32),
    )


def _without(records: Records, captures: set[int]) -> Records:
    if not captures:
        return records
    kept = ~np.isin(records.capture, list(captures))
    return Records(
        records.buffer,
        records.capture[kept],
        records.sequence[kept],
        records.enqueued_us[kept],
        records.body_start[kept],
        records.body_length[kept],
    )


def _enqueued_range(enqueued_us: NDArray[np.int64]) -> tuple[str | None, str | None]:
    known = enqueued_us[enqueued_us > 0]
    if not len(known):
        return None, None
    first, last = (
        datetime.fromtimestamp(int(us) / 1_000_000, UTC).isoformat(timespec="milliseconds")
        for us in (known.min(), known.max())
    )
    return first.replace("+00:00", "Z"), last.replace("+00:00", "Z")


def _gaps(sequence: NDArray[np.int64]) -> tuple[str, ...]:
    """Numbers missing between the lowest and the highest; Event Hubs counts without gaps."""
    # Mostly they ascend already.
    present = sequence if (np.diff(sequence) > 0).all() else np.unique(sequence)
    breaks = np.flatnonzero(np.diff(present) > 1)
    return tuple(f"{present[at] + 1}-{present[at + 1] - 1}" for at in breaks.tolist())
