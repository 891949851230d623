"""A batch of captured records to typed events and rejected bodies.

The column work: own time or what stands in for it, the stream's steps, and `extra`. A pure
function of the records, the stream and the rules. Not here: decoding of bodies (`gate`, `exact`),
duplicates, hours and files (`lake`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

import msgspec
import numpy as np
import polars as pl

from stingar_dagster.capture.records import NO_TIME, Records
from stingar_dagster.cleaning.columns import list_column
from stingar_dagster.cleaning.exact import json_object
from stingar_dagster.cleaning.gate import Gate, Rows
from stingar_dagster.cleaning.lines import LineReader
from stingar_dagster.cleaning.reasons import Rejected
from stingar_dagster.cleaning.times import USUAL, parse_column
from stingar_dagster.streams.expressions import iso_time
from stingar_dagster.streams.stream import FieldKind, Stream

_SLICE: Final = 32_768
"""Records that are cleaned at once: their columns stay in the processor's cache, and memory does
not grow with a capture."""

_AHEAD_US: Final = 24 * 3_600_000_000
"""An event's own time may lie so far after it was received; clocks are wrong, not events."""


_SLICE_BYTES: Final = 32 * 1024 * 1024
"""Bodies may hold many events."""

_ANY_LENGTH: Final = 2**62


@dataclass(frozen=True, slots=True)
class Rules:
    """What an operator sets about cleaning.

    Attributes:
        start: times before it are absurd (UTC).
        max_body_bytes: a larger body is rejected.
    """

    start: datetime
    max_body_bytes: int


@dataclass(frozen=True, slots=True)
class Cleaned:
    """The outcome for one batch.

    Attributes:
        events: a row an event: `record` (UInt32, position in the batch), `sub` (Int32, -1 where
            the body is one event), `time_us` and `enqueued_us` (Int64, epoch microseconds; the
            latter null where not known), `time_source`, `extra` (String) and the stream's fields.
        rejected: what could not become an event.
    """

    events: pl.DataFrame
    rejected: list[Rejected]


class Cleaner:
    """Cleans batches of one stream."""

    def __init__(self, stream: Stream, rules: Rules) -> None:
        self.stream = stream
        self.rules = rules
        # Lines are looked at as they were sent, and objects made of them may be longer.
        longest = _ANY_LENGTH if stream.formats else rules.max_body_bytes
        self.gate = Gate(stream, longest)
        self._reader = LineReader(stream.formats, rules.max_body_bytes) if stream.formats else None

    def clean(self, records: Records, landed_hour: datetime) -> Cleaned:
        """Clean the records of captures of one landed hour."""
        parts = [
            self._clean_slice(records, start, stop, landed_hour) for start, stop in _slices(records)
        ]
        return Cleaned(
            pl.concat([part.events for part in parts]),
            [item for part in parts for item in part.rejected],
        )

    def _clean_slice(
        self, records: Records, start: int, stop: int, landed_hour: datetime
    ) -> Cleaned:
        rows = records.slice(start, stop)
        cleaned = self.clean_rows(self.decode(rows), rows, landed_hour)
        if start == 0:
            return cleaned
        return Cleaned(
            cleaned.events.with_columns(pl.col("record") + start),
            [replace(item, record=item.record + start) for item in cleaned.rejected],
        )

    def decode(self, records: Records, *, exactly: bool = False) -> Rows:
        """The events of a batch's bodies.

        Args:
            records: any.
            exactly: take the exact way with every body; it comes to the same.
        """
        decode = self.gate.decode_exactly if exactly else self.gate.decode
        if self._reader is None:
            return decode(records)
        translated = self._reader.read(records)
        rows = decode(translated.records)
        sub = translated.sub[rows.record]
        rows.sub = np.where(sub < 0, rows.sub, sub)
        first = len(translated.record) - len(translated.lines)
        rows.rejected = [
            replace(
                item,
                record=int(translated.record[item.record]),
                sub=item.sub if item.record < first else int(translated.sub[item.record]),
                body=item.body if item.record < first else translated.lines[item.record - first],
            )
            for item in rows.rejected
        ]
        rows.record = translated.record[rows.record]
        rows.rejected += translated.rejected
        return rows

    def clean_rows(self, rows: Rows, records: Records, landed_hour: datetime) -> Cleaned:
        """The column work on decoded rows."""
        frame = self._typed(rows, records)
        frame = self._timed(frame, rows, landed_hour)
        for step in self.stream.steps:
            frame = frame.with_columns(*step)
        columns = [
            name for name in self.stream.schema if name in frame.columns and name != "@timestamp"
        ]
        events = frame.select("record", "sub", "time_us", "enqueued_us", *columns)
        return Cleaned(events, rows.rejected)

    def _typed(self, rows: Rows, records: Records) -> pl.DataFrame:
        enqueued = pl.Series("enqueued_us", records.enqueued_us[rows.record])
        return pl.DataFrame(
            [
                pl.Series("record", rows.record).cast(pl.UInt32),
                pl.Series("sub", rows.sub, dtype=pl.Int32),
                enqueued.replace(NO_TIME, None),
                *(
                    list_column(item, rows.raws[item.name])
                    if item.name in rows.raws
                    else rows.values[item.name]
                    for item in self.stream.fields
                    if item.kind is not FieldKind.FREE
                ),
            ]
        )

    def _timed(self, frame: pl.DataFrame, rows: Rows, landed_hour: datetime) -> pl.DataFrame:
        """Add `time_us`, `time_source` and `extra`; an enqueued time that can't be true counts
        for none of them."""
        start, landed = _microseconds(self.rules.start), _microseconds(landed_hour)
        # A window closes within 15 minutes of its start, so nothing in it was received later
        # than in the hour after; a capture that says otherwise does not place events.
        received = pl.col("enqueued_us").is_between(start, landed + 2 * 3_600_000_000 - 1)
        latest = pl.when(received).then("enqueued_us").otherwise(landed + 3_600_000_000) + _AHEAD_US
        present = [
            name
            for name in self.stream.time_fields
            if rows.values[name].null_count() < len(rows.values[name])
        ]
        texts = {name: rows.values[name] for name in present}
        times = {name: parse_column(text) for name, text in texts.items()}
        own = [times[name].us.alias(f"own {n}") for n, name in enumerate(present)]
        candidates = [
            pl.when(pl.col(f"own {n}").is_between(start, latest)).then(f"own {n}")
            for n in range(len(present))
        ]
        timed = frame.with_columns(own).with_columns(
            pl.coalesce(*candidates, None).alias("own"),
            pl.coalesce(
                *(pl.when(c.is_not_null()).then(n) for n, c in enumerate(candidates)), -1
            ).alias("chosen"),
        )
        timed = timed.with_columns(
            pl.coalesce("own", pl.when(received).then("enqueued_us"), landed).alias("time_us"),
            pl.when(pl.col("own").is_null())
            .then(pl.when(received).then(pl.lit("enqueued")).otherwise(pl.lit("landed")))
            .alias("time_source"),
        )
        exact = {name: time.exact for name, time in times.items()}
        extra = _extra(timed["chosen"], texts, exact, rows)
        return timed.drop([series.name for series in own], "own", "chosen").with_columns(extra)


def _slices(records: Records) -> Iterator[tuple[int, int]]:
    """Where to cut a batch; at least one slice."""
    end = np.cumsum(np.maximum(records.body_length, 0))
    start = 0
    while True:
        before = int(end[start - 1]) if start else 0
        fits = int(np.searchsorted(end, before + _SLICE_BYTES, side="right"))
        stop = min(start + _SLICE, max(fits, start + 1))
        yield start, stop
        if stop >= len(records):
            return
        start = stop


def _extra(
    chosen: pl.Series, texts: dict[str, pl.Series], exact: dict[str, pl.Series], rows: Rows
) -> pl.Series:
    """The JSON object of each event that has something to keep."""
    nothing = pl.Series([None], dtype=pl.String).new_from_index(0, len(chosen))
    pieces: list[pl.Series] = []
    if rows.extra:
        members = [json_object(kept)[1:-1] for kept in rows.extra.values()]
        # `scatter` changes the column it is called on.
        pieces.append(nothing.clone().scatter(list(rows.extra), members).alias("kept"))
    numbers = rows.number_times
    for name, at in numbers.items():
        key = msgspec.json.encode(name).decode()
        sent = key + ":" + texts[name].gather(at)
        pieces.append(nothing.clone().scatter(at, sent).alias(f"{name} as number"))
    for place, (name, text) in enumerate(texts.items()):
        kept = text.is_not_null() & ~((chosen == place) & exact[name])
        odd = [index for index, names in rows.odd_times.items() if name in names]
        if odd:
            kept = kept.scatter(odd, False)
        if name in numbers:
            kept = kept.scatter(numbers[name], False)
        if kept.any():
            key = msgspec.json.encode(name).decode()
            quoted = key + ":" + _json_texts(text.filter(kept))
            pieces.append(nothing.clone().scatter(kept.arg_true(), quoted).alias(name))
    if not pieces:
        return nothing.alias("extra")
    joined = pl.concat_str([pl.col(p.name) for p in pieces], separator=",", ignore_nulls=True)
    return (
        pl.DataFrame(pieces)
        .select(pl.when(joined != "").then(pl.concat_str(pl.lit("{"), joined, pl.lit("}"))))
        .to_series()
        .alias("extra")
    )


def _json_texts(text: pl.Series) -> pl.Series:
    """Texts as JSON strings; those of the usual form need no escaping."""
    unusual = text.filter(~text.str.contains(USUAL).fill_null(True)).unique()
    quoted = '"' + text + '"'
    if not unusual.len():
        return quoted
    escaped = {value: msgspec.json.encode(value).decode() for value in unusual}
    return text.replace_strict(list(escaped), list(escaped.values()), default=quoted)


def _microseconds(time: datetime) -> int:
    return (time - datetime(1970, 1, 1, tzinfo=time.tzinfo)) // timedelta(microseconds=1)


def count_before(bodies: Iterable[bytes], stream: Stream, start: datetime) -> int:
    """How many events in bodies bear a time of their own that lies before `start`."""
    listed = list(bodies)
    length = np.array([len(body) for body in listed], dtype=np.int64)
    records = Records(
        b"".join(listed),
        np.zeros(len(listed), np.int32),
        np.zeros(len(listed), np.int64),
        np.full(len(listed), NO_TIME),
        np.cumsum(length) - length,
        length,
    )
    rows = Cleaner(stream, Rules(start, _ANY_LENGTH)).decode(records)
    times = [parse_column(rows.values[name]).us for name in stream.time_fields]
    return sum(int((us < _microseconds(start)).sum()) for us in times)


def with_published_columns(events: pl.DataFrame, stream: Stream) -> pl.DataFrame:
    """Events as readers see them, from columns `time_us`, `enqueued_us`, `source`, `sequence`
    and `sub` and the stream's own.

    Returns:
        the stream's columns in the order they are written.
    """
    number = pl.concat_str(pl.col("source"), pl.lit("/"), pl.col("sequence"))
    event_id = (
        pl.when(pl.col("sub") >= 0)
        .then(pl.concat_str(number, pl.lit("."), "sub"))
        .otherwise(number)
    )
    return events.with_columns(
        iso_time(pl.col("time_us")).alias("@timestamp"),
        iso_time(pl.col("enqueued_us")).alias("enqueued_at"),
        event_id.alias("event_id"),
    ).select(list(stream.schema))
