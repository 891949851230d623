"""Publishing an event hour: which of its slices are written, in which order, and their record.

Only slices whose segments changed are written again. What stands at every path, and the record, are
looked at before the segments are, and each is replaced only if it still is what was seen: of two
runs on one hour, whichever slices they are at, the one that comes second to the record starts over
from what is there. The record is written last, so it never claims more than the objects hold.

Not here: what a slice's events are (`hours`), and what names of objects mean (`slices`).
"""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Final

import msgspec
import numpy as np
import polars as pl

from stingar_dagster.errors import Conflict
from stingar_dagster.lake.combined import combined_path
from stingar_dagster.lake.encoding import Encoded, Standing, encoded, encoded_from, form_of
from stingar_dagster.lake.hours import (
    StagedSlice,
    read_slice,
    staged_segments,
)
from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.looked_up import (
    Digests,
    columns_of,
    forget_looked_up,
    keep_looked_up,
    kept_looked_up,
    of_slice,
)
from stingar_dagster.lake.partials import (
    SlicePartials,
    has_all,
    slices_in,
    write_partials,
)
from stingar_dagster.lake.publication import Record, SliceRecord, read_record
from stingar_dagster.lake.reopened import mark, marks
from stingar_dagster.lake.segments import collect_orphans
from stingar_dagster.lake.slices import Form, Slice, is_object, lines_in, overlapping, spans_of
from stingar_dagster.storage import Entry
from stingar_dagster.streams.stream import Compression

_FORMAT: Final = 3
"""Of records of hours that older releases can't read."""

_ATTEMPTS: Final = 20
_UNKNOWN: Final = -1
"""Size of an object that no listing tells."""


@dataclass(frozen=True, slots=True)
class Published:
    """What publishing an hour came to.

    Attributes:
        record: the hour's.
        written: names of the objects that were written or removed now.
    """

    record: Record
    written: tuple[str, ...]


def publish_events(lake: Lake, hour: datetime, *, again: bool = False) -> Published:
    """Publish an event hour from its segments; what stands there then is a function of them alone.

    Args:
        lake: where.
        hour: UTC.
        again: also write slices whose segments did not change. An hour that is one object is
            always written.

    Raises:
        Conflict: others kept replacing the hour's objects.
    """
    seen = marks(lake, hour).get(hour, [])
    for attempt in range(_ATTEMPTS):
        try:
            # A listing may be behind: after a conflict each object is asked for by itself.
            publishing = _Publishing(lake, hour, seen, trusts_listing=attempt == 0)
            published = publishing.run(again)
        except (Conflict, FileNotFoundError):
            # Another run was faster, or a segment was replaced: look again.
            continue
        for path in publishing.before.partial_paths() - published.record.partial_paths():
            lake.store.remove(path)
            if len(publishing.before.slices_held()) > 1:
                lake.store.remove(combined_path(path))
        forget_looked_up(lake, hour, published.record, publishing.before)
        for path in seen:
            lake.store.remove(path)
        return published
    place = lake.store.describe(lake.layout.events_in(hour))
    raise Conflict(f"{place} is being replaced by others; run it again")


class _Publishing:
    """An hour as it is at one moment, and one attempt to bring it up to date.

    Args:
        lake, hour: whose.
        marks: the hour's marks; one that is set here is added.
        trusts_listing: take versions of objects from a listing.

    Attributes:
        before: the record that was there.
    """

    def __init__(
        self, lake: Lake, hour: datetime, marks: list[str], *, trusts_listing: bool
    ) -> None:
        self._lake = lake
        self._hour = hour
        self._marks = marks
        self._form = Form.of(lake.stream)
        self._record_path = lake.layout.hour_record("events", hour)
        # In this order: what is replaced is looked at before what it is made from.
        self._version = lake.store.etag(self._record_path)
        self._found = read_record(lake.store, self._record_path)
        self.before = self._found or Record()
        entries = lake.store.find(lake.layout.events_in(hour))
        named = {entry.path.rsplit("/", 1)[-1]: entry for entry in entries}
        self._there = {name: entry for name, entry in named.items() if is_object(name)}
        if not trusts_listing:
            self._ask_versions()
        _collect_partials(lake, hour, self.before)
        self._segments = staged_segments(lake, hour)
        mine = {self._form.name(piece) for piece in self._form.slices()}
        spans = spans_of(self._there)
        self._strays = {name: span for name, span in spans.items() if name not in mine}
        """Objects of another form, with the minutes that they may hold."""
        self._looked_up: dict[Slice, Digests] = {}

    def run(self, again: bool) -> Published:
        """Replace what is to be replaced, and write the record.

        Raises:
            Conflict, FileNotFoundError: something changed since it was looked at.
        """
        if self._strays or self._is_cut_otherwise():
            # Until all is replaced the hour lacks events, and after a crash no ledger would tell.
            self._marks.append(mark(self._lake, self._hour))
        objects: dict[str, SliceRecord] = {}
        partials: dict[Slice, SlicePartials] = {}
        written: list[str] = []
        for piece in self._form.slices():
            name = self._form.name(piece)
            segments = overlapping(self._segments, piece)
            kept = None if again else self._unchanged(piece, segments)
            if kept is not None:
                objects[name], partials[piece] = kept
            elif segments or name in self._there:
                staged = read_slice(self._lake, self._hour, segments, piece)
                standing = None if again else self._standing(piece, segments)
                size, counted = self._replace(piece, staged, standing)
                written.append(name)
                if len(staged):
                    partials[piece] = counted
                    objects[name] = SliceRecord(
                        first=piece.first,
                        minutes=self._form.minutes,
                        rows=len(staged),
                        duplicates=staged.duplicates,
                        size=size,
                        form=self._made_as,
                    )
        written += self._strays
        self._remove(self._strays)
        if not written and self._segments == self.before.made_from:
            return Published(self.before, ())
        path = write_partials(self._lake, self._hour, partials) if partials else ""
        record = self._record(objects, path)
        keep_looked_up(self._lake, self._hour, record, self._kept_looked_up, self._looked_up)
        data = msgspec.json.encode(record, order="deterministic")
        self._lake.store.write(self._record_path, data, expected=self._version)
        return Published(record, tuple(written))

    def _ask_versions(self) -> None:
        names = [self._form.name(piece) for piece in self._form.slices()]
        paths = [self._lake.layout.events(self._hour, name) for name in names]
        etags = in_parallel(self._lake.store.etag, paths)
        for name, path, etag in zip(names, paths, etags, strict=True):
            listed = self._there.pop(name, None)
            if listed is not None and listed.etag == etag:
                self._there[name] = listed
            elif etag is not None:
                self._there[name] = Entry(path, etag, _UNKNOWN, None)

    def _is_cut_otherwise(self) -> bool:
        held = self.before.objects().values()
        return any(one.minutes != self._form.minutes for one in held)

    def _unchanged(
        self, piece: Slice, segments: tuple[str, ...]
    ) -> tuple[SliceRecord, SlicePartials] | None:
        """A slice's record and partial aggregates, if its object was made from just these segments
        and is there."""
        if overlapping(self.before.made_from, piece) != segments:
            return None
        return self._as_recorded(piece)

    def _as_recorded(self, piece: Slice) -> tuple[SliceRecord, SlicePartials] | None:
        """A slice's record and partial aggregates, if its object is there as it was recorded."""
        name = self._form.name(piece)
        held, entry = self.before.objects().get(name), self._there.get(name)
        if (
            not self._form.is_cut
            or held is None
            or entry is None
            or (held.slice, held.size) != (piece, entry.size)
        ):
            return None
        partials = self._partials.get(piece, {})
        return (held, partials) if has_all(self._lake.stream.tables, partials) else None

    def _standing(self, piece: Slice, segments: tuple[str, ...]) -> Standing | None:
        """What is published of a slice that only gained segments."""
        made_from = frozenset(overlapping(self.before.made_from, piece))
        if not self._made_as or not made_from < set(segments):
            return None
        recorded = self._as_recorded(piece)
        kept = self._kept_looked_up
        if recorded is None or (kept is None and columns_of(self._lake.stream)):
            return None
        held, partials = recorded
        if held.form != self._made_as:
            return None
        name = self._form.name(piece)
        data = self._lake.store.read(self._lake.layout.events(self._hour, name))
        try:
            lines = lines_in(name, data)
        except ValueError:
            return None
        looked_up = np.zeros(0, np.int64) if kept is None else of_slice(kept, piece)
        return Standing(made_from, held.rows, Encoded(lines, partials, looked_up))

    @cached_property
    def _made_as(self) -> str:
        """What slices are made as that may be built upon; empty where none may."""
        # Lines that are not compressed do not tell whether they are as they were written.
        may_be = self._form.is_cut and self._form.compression is Compression.GZIP
        return form_of(self._lake) if may_be else ""

    @cached_property
    def _kept_looked_up(self) -> pl.DataFrame | None:
        if not self._lake.stream.joined:
            return None
        return kept_looked_up(self._lake, self._hour, self.before)

    @cached_property
    def _partials(self) -> dict[Slice, dict[str, bytes]]:
        path = self.before.partials
        if not isinstance(path, str) or not path:
            return {}
        try:
            return slices_in(self._lake.store.read(path), path)
        except FileNotFoundError:
            return {}

    def _replace(
        self, piece: Slice, staged: StagedSlice, standing: Standing | None
    ) -> tuple[int, SlicePartials]:
        """Replace a slice's object; returns its size and the slice's partial aggregates."""
        store, name = self._lake.store, self._form.name(piece)
        bounds = piece.bounds(self._hour)
        made = None
        if standing is not None:
            made = encoded_from(self._lake, staged, standing, bounds)
        if made is None:
            made = encoded(self._lake, staged, bounds)
        if len(staged):
            self._looked_up[piece] = made.looked_up
        data = self._form.encode(made.lines)
        # Of a form that is given up, all that may hold the slice's events goes first: a reader
        # never sees an event twice.
        self._remove({n: span for n, span in self._strays.items() if span.overlaps(piece)})
        path = self._lake.layout.events(self._hour, name)
        entry = self._there.get(name)
        if len(staged):
            store.write(path, data, expected=None if entry is None else entry.etag)
        elif entry is not None:
            store.remove(path, expected=entry.etag)
        return len(data), made.partials

    def _remove(self, strays: dict[str, Slice]) -> None:
        for name in list(strays):
            path = self._lake.layout.events(self._hour, name)
            self._lake.store.remove(path, expected=self._there[name].etag)
            del self._strays[name]

    def _record(self, objects: dict[str, SliceRecord], partials: str) -> Record:
        record = Record(
            made_from=self._segments,
            rows=sum(one.rows for one in objects.values()),
            duplicates=sum(one.duplicates for one in objects.values()),
            size=sum(one.size for one in objects.values()),
            partials=partials,
        )
        if objects.keys() <= {"events.json"}:
            return record
        return msgspec.structs.replace(record, format=_FORMAT, slices=objects)


def _collect_partials(lake: Lake, hour: datetime, record: Record) -> None:
    """Remove partials that no record names and that no run can be about to name."""
    named = record.partial_paths()
    names = {path.rsplit("/", 1)[-1] for path in (*named, *map(combined_path, named))}
    collect_orphans(lake.store, lake.store.find(lake.layout.partials(hour)), names)
