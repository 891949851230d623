"""Which fields bodies were seen to carry besides the declared ones, and since when.

A bounded record of what stood in `extra`, by software, field and kind of value, filled from new
segments and replaced by compare-and-swap. It only grows and keeps the earliest, so looking at the
same segments again changes nothing. Not here: what is told of it (`drift`).
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Final

import msgspec
import polars as pl

from stingar_dagster.errors import Conflict
from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.layout import hour_key, hour_of_path, parse_hour
from stingar_dagster.lake.ledger import read_ledger
from stingar_dagster.lake.segments import decode
from stingar_dagster.safe_text import visible
from stingar_dagster.storage import Entry
from stingar_dagster.streams import Stream
from stingar_dagster.streams.expressions import kind_of

FORMAT: Final = 1
LOOK_BACK: Final = timedelta(hours=48)
"""Segments of so many landed hours are looked at; older ones were, or are too old for news."""
MOST_BYTES: Final = 64_000_000
"""Of segments that one look reads; the rest is for the next one."""
MOST_FIELDS: Final = 400
"""Of one software: more means that a field's name holds data."""
MOST_SOFTWARE: Final = 200
_EXAMPLE: Final = 80
_NAME: Final = 100
_ATTEMPTS: Final = 5
_PART: Final = 2_048
"""Events of a segment that are looked at together."""

_decode_extra = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Seen(msgspec.Struct, frozen=True):
    """One kind of value in one field of one software, as it was first seen.

    Attributes:
        software, field, kind: what it is; kinds are those of `kind_of`.
        landed: the landed hour.
        sensor: who sent it.
        example: the value, short and visible.
        noticed: the hour of the look that found it: later than `landed` where looks were missed.
            Empty in records of older releases.
    """

    software: str
    field: str
    kind: str
    landed: str
    sensor: str
    example: str
    noticed: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        return self.software, self.field, self.kind

    @property
    def told_from(self) -> str:
        """The hour from which on it is news."""
        return max(self.landed, self.noticed)


class FieldRecord(msgspec.Struct):
    """What is known of a stream's undeclared fields.

    Attributes:
        format: version of this structure; one of another version is made anew.
        seen: by software, field and kind.
        since: the landed hour of each software's first event in the record.
        full: the hour of the look that found more fields of a software than are kept.
        looked: the segments looked at, by landed hour of the last days.
        ledgers: the versions of the ledgers that named them.
    """

    format: int = FORMAT
    seen: list[Seen] = []
    since: dict[str, str] = {}
    full: dict[str, str] = {}
    looked: dict[str, list[str]] = {}
    ledgers: dict[str, str] = {}


def observe(lake: Lake, now: datetime) -> FieldRecord:
    """Look at the segments of the last days that were not looked at; returns what is known now."""
    path = lake.layout.health("fields.json")
    for _ in range(_ATTEMPTS):
        version = lake.store.etag(path)
        before = _read(lake, path)
        after = _observed(lake, before, now)
        if after == before:
            return after
        try:
            lake.store.write(path, msgspec.json.encode(after), expected=version)
        except Conflict:
            continue
        return after
    return after  # others look at the same: theirs is kept


def _read(lake: Lake, path: str) -> FieldRecord:
    try:
        record = msgspec.json.decode(lake.store.read(path), type=FieldRecord)
    except (FileNotFoundError, msgspec.DecodeError):
        return FieldRecord()
    if record.format != FORMAT:
        return FieldRecord()
    # Older releases called it text.
    record.seen = [
        msgspec.structs.replace(seen, kind="string") if seen.kind == "text" else seen
        for seen in record.seen
    ]
    return record


def _observed(lake: Lake, before: FieldRecord, now: datetime) -> FieldRecord:
    oldest = now - LOOK_BACK
    ledgers = {hour_key(hour_of_path(entry.path)): entry for entry in _ledgers(lake, oldest, now)}
    looked = {key: set(before.looked.get(key, ())) for key in ledgers}
    versions = {key: before.ledgers[key] for key in ledgers if key in before.ledgers}
    found = _Found(before, lake.stream, hour_key(now))
    budget = MOST_BYTES
    for key, entry in sorted(ledgers.items()):
        if versions.get(key) == entry.etag:
            continue
        named = read_ledger(lake.store, lake.layout, parse_hour(key)).segments()
        pairs = sorted((hour, name) for hour, names in named.items() for name in names)
        new = [pair for pair in pairs if _short(pair[1]) not in looked[key]]
        whole = True
        for start in range(0, len(new), 16):
            if budget <= 0:
                whole = False
                break
            batch = new[start : start + 16]
            for (_, name), data in zip(
                batch, in_parallel(lambda pair: _segment(lake, *pair), batch), strict=True
            ):
                if data is not None:
                    budget -= len(data)
                    found.look(data, name, key)
                    looked[key].add(_short(name))
        if whole:
            versions[key] = entry.etag
            # What the ledger does not name any more need not be remembered.
            looked[key] &= {_short(name) for _, name in pairs}
        if budget <= 0:
            break
    return FieldRecord(
        seen=sorted(found.seen.values(), key=lambda seen: seen.key),
        since=dict(sorted(found.since.items())),
        full=dict(sorted(found.full.items())),
        looked={key: sorted(names) for key, names in sorted(looked.items()) if names},
        ledgers=dict(sorted(versions.items())),
    )


class _Found:
    """What is known, and what new segments add to it."""

    def __init__(self, before: FieldRecord, stream: Stream, noticed: str) -> None:
        self._noticed = noticed
        self.seen = {seen.key: seen for seen in before.seen}
        self.since = dict(before.since)
        self.full = dict(before.full)
        self._fields: dict[str, set[str]] = {}
        for seen in before.seen:
            self._fields.setdefault(seen.software, set()).add(seen.field)
        origins = stream.origins
        self._columns = (origins.software, origins.sensor) if origins else ()
        self._usual = stream.usual_in_extra

    def look(self, data: bytes, name: str, landed: str) -> None:
        for software, sensor, extra in self._rows(data, name):
            if self.since.get(software, "~") > landed:
                if software not in self.since and len(self.since) >= MOST_SOFTWARE:
                    continue
                self.since[software] = landed
            if extra is None:
                continue
            for field, value in _decode_extra(extra).items():
                if field not in self._usual:
                    self._add(software, field, value, landed, sensor)

    def _rows(self, data: bytes, name: str) -> Iterator[tuple[str, str, str | None]]:
        columns: dict[str, pl.DataType] = {column: pl.String() for column in self._columns}
        whole = decode(data, {**columns, "extra": pl.String()}, name)
        # A part at a time: as Python's texts an hour's `extra` takes several times its size.
        for frame in whole.iter_slices(_PART):
            labels = [frame[column].fill_null("").to_list() for column in self._columns]
            software, sensor = labels or ([""] * len(frame), [""] * len(frame))
            yield from zip(software, sensor, frame["extra"], strict=True)

    def _add(self, software: str, field: str, value: msgspec.Raw, landed: str, sensor: str) -> None:
        kind = kind_of(bytes(value).lstrip())
        key = (software, field, kind)
        known = self.seen.get(key)
        if known is not None and known.landed <= landed:
            return
        fields = self._fields.setdefault(software, set())
        if field not in fields:
            if len(fields) >= MOST_FIELDS or len(field) > _NAME:
                self.full.setdefault(software, self._noticed)
                return
            fields.add(field)
        example = bytes(value)[: 4 * _EXAMPLE].decode("utf-8", errors="replace")
        self.seen[key] = Seen(
            *key,
            landed,
            visible(sensor, _NAME),
            visible(example, _EXAMPLE),
            known.noticed if known is not None else self._noticed,
        )


def _ledgers(lake: Lake, oldest: datetime, now: datetime) -> Iterable[Entry]:
    days = [oldest + timedelta(days=n) for n in range((now.date() - oldest.date()).days + 1)]
    listed = in_parallel(lambda day: lake.store.find(lake.layout.ledgers_of(day)), days)
    return (
        entry
        for entries in listed
        for entry in entries
        if oldest - timedelta(hours=1) < hour_of_path(entry.path) <= now
    )


def _segment(lake: Lake, hour: str, name: str) -> bytes | None:
    try:
        return lake.store.read(lake.layout.segment(hour, name))
    except FileNotFoundError:
        return None  # decoded again meanwhile: the ledger names another one


def _short(name: str) -> str:
    """What tells a landed hour's segments from each other: the digest in their names."""
    return name.rsplit("-", 1)[-1].split(".")[0]
