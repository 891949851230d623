"""How a published object is replaced, and the record of what it was made from.

The object's version is read first, then what it is made from, and it is replaced only if its
version is still that one. So of two writers the one that saw less starts again, and a record never
claims more than its object holds. Not here: what objects hold (`hours`, `daily`, `quarantine`), and
how the several objects of an event hour are replaced (`hours`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import UNSET, UnsetType

from stingar_dagster.errors import Conflict, UnknownFormat
from stingar_dagster.lake.slices import Slice
from stingar_dagster.storage import Store

FORMAT: Final = 3
"""Raised when a member's meaning changes; a newer one is refused. 1: an object of partial
aggregates for each daily table; 2: one for all; 3: of an hour that is published otherwise than as
`events.json`. Whatever can be is written as 2, so that an older release reads it."""

_ATTEMPTS: Final = 20


class SliceRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One of the objects of an event hour.

    Attributes:
        first, minutes: first minute and length of the slice that it holds.
        rows, duplicates, size: as in `Record`.
        form: what it depends on besides its segments (`encoding.form_of`), where it may be built
            upon; else, and in older records, empty.
    """

    first: int
    minutes: int
    rows: int
    duplicates: int
    size: int
    form: str = ""

    @property
    def slice(self) -> Slice:
        return Slice(self.first, self.first + self.minutes)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a published object was made from, and what it holds.

    Attributes:
        format: version of this structure.
        made_from: names of the sources, sorted.
        rows: events or rows in the object; where there are none, there is no object.
        duplicates: events left out because their identity was there already.
        size: of the object, in bytes.
        reasons: for quarantine, how many rows of each reason; empty in older records.
        partials: for an event hour, the path of its partial aggregates; in format 1, a path for
            each daily table. For a day's report, the path of each part of the day's digest.
        form: of a daily table, its `DailyTable.form` when it was made; empty in older records.
        slices: for an event hour that is published otherwise than as `events.json`, its objects
            by name; `rows`, `duplicates` and `size` are then their sums.
    """

    format: int = 2
    made_from: tuple[str, ...] = ()
    rows: int = 0
    duplicates: int = 0
    size: int = 0
    partials: str | dict[str, str] = ""
    reasons: dict[str, int] = {}
    form: str = ""
    slices: dict[str, SliceRecord] | UnsetType = UNSET

    def objects(self) -> dict[str, SliceRecord]:
        """An event hour's objects by name."""
        if self.slices is not UNSET:
            return self.slices
        if not self.rows:
            return {}
        whole = SliceRecord(
            first=0, minutes=60, rows=self.rows, duplicates=self.duplicates, size=self.size
        )
        return {"events.json": whole}

    def slices_held(self) -> list[Slice]:
        """The slices in which an event hour is published, in order."""
        return sorted(held.slice for held in self.objects().values())

    def partials_of(self, table: str) -> str | None:
        """The path of the object with a table's partial aggregates; None where there is none."""
        path = self.partials if isinstance(self.partials, str) else self.partials.get(table)
        return path or None

    def partial_paths(self) -> set[str]:
        """The paths of all its partial aggregates."""
        if isinstance(self.partials, dict):
            return set(self.partials.values())
        return {self.partials} - {""}


@dataclass(frozen=True, slots=True)
class Draft:
    """An object about to be published: its record, and its bytes (None: no rows, no object)."""

    record: Record
    data: bytes | None


class _Versioned(msgspec.Struct):
    format: int = 1


_decode = msgspec.json.Decoder(Record).decode
_decode_format = msgspec.json.Decoder(_Versioned).decode


def read_record(store: Store, path: str) -> Record | None:
    """The record at `path`, None where nothing was published yet.

    Raises:
        UnknownFormat: a newer release wrote it.
    """
    try:
        data = store.read(path)
        if _decode_format(data).format > FORMAT:
            raise UnknownFormat(
                f"{store.describe(path)} was written by a newer release; upgrade this one"
            )
        return _decode(data)
    except FileNotFoundError:
        return None
    except msgspec.DecodeError as error:
        raise UnknownFormat(
            f"{store.describe(path)} is not a record ({error}); remove it and run again"
        ) from error


@dataclass(frozen=True, slots=True)
class Versions:
    """What stood at an object's and its record's path, None being nothing."""

    published: str | None
    record: str | None


def versions(store: Store, path: str, record_path: str) -> Versions:
    """Look at an object before its sources are read."""
    return Versions(store.etag(path), store.etag(record_path))


def publish(
    store: Store,
    path: str,
    record_path: str,
    make: Callable[[], Draft],
    seen: Versions | None = None,
) -> tuple[Record, Record | None]:
    """Replace the object at `path` by what `make` gives, then its record.

    Args:
        store: where both stand.
        path: of the published object.
        record_path: of its record.
        make: reads the sources and builds the object; called again where another process
            replaced the object, or removed a source, in between.
        seen: for a first `make` that gives what was read earlier: what stood here before that.

    Returns:
        the new record, and the one before it.

    Raises:
        Conflict: others kept replacing the object.
    """
    for _ in range(_ATTEMPTS):
        before_make, seen = seen or versions(store, path, record_path), None
        version, record_version = before_make.published, before_make.record
        try:
            before = read_record(store, record_path)
            draft = make()
            if before is None and version is None and draft.record == Record():
                return draft.record, None  # nothing was there, and nothing is to be there
            if draft.data is not None:
                store.write(path, draft.data, expected=version)
            elif version is not None:
                store.remove(path, expected=version)
            encoded = msgspec.json.encode(draft.record, order="deterministic")
            store.write(record_path, encoded, expected=record_version)
        except (Conflict, FileNotFoundError):
            continue
        return draft.record, before
    raise Conflict(f"{store.describe(path)} is being replaced by others; run it again")
