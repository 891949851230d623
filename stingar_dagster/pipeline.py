"""The three steps: land_hour, publish_hour, roll_day.

Each is a pure function of what stands before it, commits by one atomic write, and can be run
again in any order, at any time, by any number of processes. Not here: Dagster, and the formats of
the files that the steps read and write (`lake`).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from stingar_dagster.capture.discovery import Capture, Landing
from stingar_dagster.capture.names import CaptureFormat
from stingar_dagster.capture.reader import Limits
from stingar_dagster.cleaning.clean import Cleaner, Rules
from stingar_dagster.errors import Conflict
from stingar_dagster.lake.daily import REPORT, publish_daily
from stingar_dagster.lake.joined import publish_joined
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.layout import parse_hour
from stingar_dagster.lake.ledger import Ledger, LedgerLine, read_ledger, write_ledger
from stingar_dagster.lake.publication import Record
from stingar_dagster.lake.publishing import Published, publish_events
from stingar_dagster.lake.quarantine import publish_quarantine
from stingar_dagster.lake.reopened import mark
from stingar_dagster.lake.schema import publish_schema
from stingar_dagster.lake.slots import Batch, Outcome, SlotWriter, batches_of, parts_of, slot_of
from stingar_dagster.report.publishing import publish_report
from stingar_dagster.settings import Settings
from stingar_dagster.storage import Store, open_store
from stingar_dagster.streams import STREAMS, Stream

_ATTEMPTS: Final = 20

WriteBatches = Callable[[datetime, list[Batch]], Iterable[Outcome]]
"""Writes batches of a landed hour's captures; what each comes to, in any order."""


@dataclass(frozen=True, slots=True)
class Landed:
    """What land_hour did.

    Attributes:
        ledger: the hour's ledger, as committed.
        decoded: captures that were decoded; 0 where the ledger was up to date.
        waiting: captures that look half-written and will be tried again.
        quarantine: what was published of the hour's quarantine.
        changed_hours: event hours for which other segments count now.
    """

    ledger: Ledger
    decoded: int
    waiting: list[Capture]
    quarantine: Record
    changed_hours: list[datetime] = field(default_factory=list)

    def total(self, name: str) -> int:
        """A sum over the captures: records, events, cleaned, quarantined or size."""
        return sum(getattr(line, name) for line in self.ledger.lines.values())


class Pipeline:
    """One stream's steps over one landing folder and one lake.

    Args:
        settings: where things are, and the rules of cleaning.
        stream: whose captures are processed.
        lake_store: instead of the one that the settings name.

    Attributes:
        is_as_set: whether another process comes to the same with the settings and the stream's
            name alone.
    """

    def __init__(self, settings: Settings, stream: Stream, lake_store: Store | None = None) -> None:
        self.settings = settings
        self.stream = stream
        self.landing = Landing(
            open_store(settings.landing, "STINGAR_LANDING"), CaptureFormat(settings.capture_format)
        )
        self.lake = Lake(lake_store or open_store(settings.lake, "STINGAR_LAKE"), stream)
        in_memory = any(url.startswith("memory:") for url in (settings.landing, settings.lake))
        self.is_as_set = lake_store is None and STREAMS.get(stream.name) is stream and not in_memory
        self._schema_is_published = False
        self._cleaner = Cleaner(stream, Rules(settings.start, settings.max_body_bytes))

    def land_hour(
        self,
        landed_hour: datetime,
        *,
        again: bool = False,
        captures: list[Capture] | None = None,
        write: WriteBatches | None = None,
    ) -> Landed:
        """Bring one landed hour's segments, quarantine and ledger up to date.

        Args:
            landed_hour: UTC, whole hour.
            again: decode every capture that is still in landing, also those that the ledger has.
            captures: the hour's captures, where the caller has just listed them.
            write: what writes batches, if not this process one after another.

        Raises:
            Conflict: other processes kept committing this hour.
            StoreUnavailable, StoreDenied: landing or the lake can't be read or written.
        """
        for _ in range(_ATTEMPTS):
            listed = self._carried(self.landing.hour(landed_hour) if captures is None else captures)
            captures = None
            before = read_ledger(self.lake.store, self.lake.layout, landed_hour)
            try:
                outcome, decoded = self._land(landed_hour, listed, before, again, write)
                after = Ledger(outcome.lines, before.version)
                changed = _changed_hours(before, after)
                if after.lines != before.lines:
                    self._mark_reopened(before, after)
                    try:
                        write_ledger(self.lake.store, self.lake.layout, landed_hour, after)
                    finally:
                        # Also where it fails: the ledger may have been replaced all the same.
                        self._mark_reopened(before, after)
            except (Conflict, FileNotFoundError):
                # Another run committed, or a capture or segment went away: look again.
                continue
            record = publish_quarantine(self.lake, landed_hour)
            return Landed(after, decoded, outcome.waiting, record, changed)
        raise Conflict(f"landed hour {landed_hour:%Y-%m-%d %H}:00 keeps changing; run it again")

    def publish_hour(self, event_hour: datetime, *, again: bool = False) -> Record:
        """`publish_slices`, for those who want to know no more than the hour's record."""
        return self.publish_slices(event_hour, again=again).record

    def publish_slices(self, event_hour: datetime, *, again: bool = False) -> Published:
        """Publish those slices of an event hour whose segments changed.

        Args:
            event_hour: UTC, whole hour.
            again: publish all of them, also those that are up to date.

        Raises:
            Conflict: other processes kept publishing this hour.
            StoreUnavailable, StoreDenied: the lake can't be read or written.
        """
        if not self._schema_is_published:
            publish_schema(self.lake)
            self._schema_is_published = True
        return publish_events(self.lake, event_hour, again=again)

    def roll_day(
        self, day: datetime, tables: Iterable[str] | None = None, *, again: bool = False
    ) -> dict[str, Record]:
        """Publish one day's tables from its hours' partial aggregates, those that join it with
        other streams, and its report from all of them.

        Args:
            day: UTC midnight.
            tables: names of tables, and `daily_report`; default: all.
            again: make also tables that are made from what is there now.

        Raises:
            Conflict: other processes kept publishing this day.
            StoreUnavailable, StoreDenied: the lake can't be read or written.
        """
        wanted = None if tables is None else set(tables)
        names = [t.name for t in self.stream.tables if wanted is None or t.name in wanted]
        records = publish_daily(self.lake, day, tuple(names), again=again) if names else {}
        for joined in self.stream.joined:
            if wanted is None or joined.name in wanted:
                records[joined.name] = publish_joined(self.lake, day, joined.name, again=again)
        if wanted is None or REPORT in wanted:
            records[REPORT] = publish_report(self.lake, day)
        return records

    def undone_bytes(self, landed_hour: datetime, *, again: bool = False) -> int:
        """How many bytes of captures `land_hour` would decode now."""
        ledger = read_ledger(self.lake.store, self.lake.layout, landed_hour)
        listed = self._carried(self.landing.hour(landed_hour))
        stale = self._stale(ledger, listed, again or self._is_resliced(ledger, listed))
        return sum(capture.size for captures in stale.values() for capture in captures)

    def write_batch(self, landed_hour: datetime, batch: Batch) -> Outcome:
        """Decode and clean captures, and write their segments: nothing counts until `land_hour`
        has committed it."""
        return self._writer(landed_hour).write(batch)

    def write_batches(self, landed_hour: datetime, batches: list[Batch]) -> Iterator[Outcome]:
        """`write_batch` of one after another."""
        return (self.write_batch(landed_hour, batch) for batch in batches)

    def _writer(self, landed_hour: datetime) -> SlotWriter:
        return SlotWriter(
            self.lake,
            self.landing,
            self._cleaner,
            landed_hour,
            self.settings.torn_after,
            Limits.of_bodies(self.settings.max_body_bytes),
        )

    def _carried(self, listed: list[Capture]) -> list[Capture]:
        return [item for item in listed if self.stream.carries(item.name.event_hub)]

    def _is_resliced(self, ledger: Ledger, listed: list[Capture]) -> bool:
        """Whether the ledger has slots of another length: they share segments with several."""
        return any(
            line.slot != slot_of(start, self.stream.slot_minutes)
            for line, start in _lines_and_starts(ledger, listed)
        )

    def _stale(
        self, ledger: Ledger, listed: list[Capture], every: bool
    ) -> dict[int, list[Capture]]:
        """The captures of slots that have to be done, by slot.

        Args:
            every: do all slots, also those of which the ledger has every capture.
        """
        slots: dict[int, list[Capture]] = {}
        for capture in listed:
            slot = slot_of(capture.name.start, self.stream.slot_minutes)
            slots.setdefault(slot, []).append(capture)
        return {
            slot: captures
            for slot, captures in slots.items()
            if every or not all(self._is_up_to_date(ledger, capture) for capture in captures)
        }

    def _land(
        self,
        landed_hour: datetime,
        listed: list[Capture],
        ledger: Ledger,
        again: bool,
        write: WriteBatches | None,
    ) -> tuple[Outcome, int]:
        """Redo the slots that need it; returns all the hour's lines, and how many were decoded."""
        resliced = self._is_resliced(ledger, listed)
        stale = self._stale(ledger, listed, again or resliced)
        outcome = Outcome(
            {
                name: line
                for name, line in ledger.lines.items()
                if line.slot not in stale and not resliced
            }
        )
        parts = [part for slot in sorted(stale) for part in parts_of(slot, stale[slot])]
        decoded = 0
        for done in (write or self.write_batches)(landed_hour, list(batches_of(parts))):
            decoded += len(done.lines)
            outcome.lines |= done.lines
            outcome.waiting += done.waiting
        # Not in landing any more, or being replaced by a file that is not whole yet.
        writer = self._writer(landed_hour)
        left: dict[int, list[LedgerLine]] = {}
        for name, line in sorted(ledger.lines.items()):
            if name not in outcome.lines:
                left.setdefault(line.slot, []).append(line)
        for lines in left.values():
            outcome.lines |= writer.keep(lines)
        return outcome, decoded

    def _is_up_to_date(self, ledger: Ledger, capture: Capture) -> bool:
        line = ledger.lines.get(capture.name.path)
        return (
            line is not None
            and line.etag == capture.etag
            and line.code_version == self.stream.code_version
        )

    def _mark_reopened(self, before: Ledger, after: Ledger) -> None:
        """Remember hours that only lose segments: no ledger leads to them any more.

        Marked before the commit, so that a crash after it can't lose them, and after it, because
        an hour published in between takes the mark away.
        """
        for key in sorted(before.segments().keys() - after.segments().keys()):
            mark(self.lake, parse_hour(key))


def _lines_and_starts(
    ledger: Ledger, captures: list[Capture]
) -> Iterator[tuple[LedgerLine, datetime]]:
    for capture in captures:
        line = ledger.lines.get(capture.name.path)
        if line is not None:
            yield line, capture.name.start


def _changed_hours(before: Ledger, after: Ledger) -> list[datetime]:
    old, new = before.segments(), after.segments()
    changed = (key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    return sorted(map(parse_hour, changed))
