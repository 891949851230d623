"""The ledger: for each landed hour, a line a capture. Writing it commits a landed hour.

A capture that is in the ledger has been decoded, and the segments that its line names hold its
events. Segments that no ledger names do not count. Not here: what segments hold (`segments`).
"""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from stingar_dagster.errors import UnknownFormat
from stingar_dagster.lake.layout import Layout
from stingar_dagster.storage import Entry, Store

FORMAT = 1
"""Raised when the meaning of a line changes; a newer one is refused."""


class LedgerLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one capture.

    Attributes:
        format: version of this structure.
        capture: its path in landing.
        etag: its version there.
        size: in bytes.
        namespace, event_hub, partition: where its events were captured.
        slot: first minute of the landed slot.
        code_version: of the stream's cleaning.
        records: events as Event Hubs counts them.
        events: events in them; more than `records` where bodies hold several.
        cleaned, quarantined: what became of `events`; they add up.
        first_sequence, last_sequence: lowest and highest sequence number.
        first_enqueued_at, last_enqueued_at: UTC, ISO 8601.
        event_hours: hours that its events belong to, such as `2022-05-19T17`; one that is
            published in slices comes once for each slice.
        segments: names of the segments that hold them, in the order of `event_hours`.
        rejected: name of the segment that holds what was quarantined.
        damage: a line for each damaged part of the file.
        gaps: missing ranges of sequence numbers inside the file, such as `17-20`.
    """

    format: int = FORMAT
    capture: str
    etag: str
    size: int
    namespace: str
    event_hub: str
    partition: int
    slot: int
    code_version: str
    records: int
    events: int
    cleaned: int
    quarantined: int
    first_sequence: int | None = None
    last_sequence: int | None = None
    first_enqueued_at: str | None = None
    last_enqueued_at: str | None = None
    event_hours: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    rejected: str | None = None
    damage: tuple[str, ...] = ()
    gaps: tuple[str, ...] = ()

    def segments_by_hour(self) -> list[tuple[str, str]]:
        """(event hour, segment name) pairs."""
        return list(zip(self.event_hours, self.segments, strict=True))


class _Versioned(msgspec.Struct):
    format: int = 1


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(LedgerLine).decode
_decode_format = msgspec.json.Decoder(_Versioned).decode


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger of one landed hour, and the version it was read at (None: not there yet)."""

    lines: dict[str, LedgerLine]
    version: str | None

    def segments(self) -> dict[str, set[str]]:
        """The names of the segments that count, by event hour."""
        named: dict[str, set[str]] = {}
        for line in self.lines.values():
            for hour, name in line.segments_by_hour():
                named.setdefault(hour, set()).add(name)
        return named

    def rejected(self) -> set[str]:
        return {line.rejected for line in self.lines.values() if line.rejected is not None}


def read_ledger(store: Store, layout: Layout, landed_hour: datetime) -> Ledger:
    """The ledger of a landed hour; without lines where there is none.

    Raises:
        UnknownFormat: a newer release wrote it.
    """
    path = layout.ledger(landed_hour)
    version = store.etag(path)
    return Ledger({}, None) if version is None else _read(store, path, version)


def read_listed(store: Store, entry: Entry) -> Ledger:
    """The ledger that a listing named, in one request: to be looked at, not to be committed.

    Raises:
        UnknownFormat: a newer release wrote it.
    """
    return _read(store, entry.path, entry.etag)


def write_ledger(store: Store, layout: Layout, landed_hour: datetime, ledger: Ledger) -> None:
    """Commit: replace the ledger if it is still the one that was read.

    Raises:
        Conflict: another process committed in between.
    """
    lines = (_encode(ledger.lines[name]) + b"\n" for name in sorted(ledger.lines))
    store.write(layout.ledger(landed_hour), b"".join(lines), expected=ledger.version)


def _read(store: Store, path: str, version: str) -> Ledger:
    try:
        data = store.read(path)
    except FileNotFoundError:
        return Ledger({}, None)
    place = store.describe(path)
    lines = [_line(text, place) for text in data.splitlines()]
    return Ledger({line.capture: line for line in lines}, version)


def _line(text: bytes, place: str) -> LedgerLine:
    try:
        if _decode_format(text).format > FORMAT:
            raise UnknownFormat(f"{place} was written by a newer release; upgrade this one")
        return _decode(text)
    except msgspec.DecodeError as error:
        raise UnknownFormat(
            f"{place} is not a ledger ({error}); move it away and run the hour again"
        ) from error
