"""The declaration of a stream.

Here: the types a declaration is made of, and the engine's own columns that every stream
publishes. Not here: any stream's content.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

import polars as pl

from stingar_dagster.streams.formats import TextFormat
from stingar_dagster.streams.joined import JoinedTable
from stingar_dagster.streams.norms import Norms, Origins
from stingar_dagster.streams.tables import DailyTable


class FieldKind(StrEnum):
    """What a field of a body may hold; anything else goes to `extra` as it was sent."""

    TEXT = "text"
    """A string. A number or boolean is published as its text, and kept in `extra` besides."""
    INTEGER = "integer"
    """A 64-bit integer, or its decimal digits as a string."""
    PORT = "port"
    """An integer from 0 to 65535, or its digits; 0 means that the sender did not know."""
    LIST = "list"
    """A list of strings; a single string counts as a list of one."""
    REAL = "real"
    """A finite number, or its decimal digits as a string; published as a 64-bit float. One that
    such a float can't stand for is kept in `extra` besides."""
    BOOLEAN = "boolean"
    """True or false, or one of the strings T, F, true and false."""
    REALS = "reals"
    """A list of finite numbers; a single number counts as a list of one."""
    PAIR = "pair"
    """A list of exactly two strings, either of which may be empty."""
    FREE = "free"
    """A value of changing shape: always kept in `extra`."""


PUBLISHED_TYPE: Final[dict[FieldKind, pl.DataType]] = {
    FieldKind.TEXT: pl.String(),
    FieldKind.INTEGER: pl.Int64(),
    FieldKind.PORT: pl.Int64(),
    FieldKind.REAL: pl.Float64(),
    FieldKind.BOOLEAN: pl.Boolean(),
    FieldKind.LIST: pl.List(pl.String()),
    FieldKind.REALS: pl.List(pl.Float64()),
    FieldKind.PAIR: pl.List(pl.String()),
}


class Compression(StrEnum):
    """Of published events."""

    NONE = "none"
    GZIP = "gzip"


@dataclass(frozen=True, slots=True)
class Field:
    """One field that bodies carry.

    Attributes:
        name: as published, and as bodies spell it.
        kind: what it may hold.
        meaning: one phrase for analysts.
        aliases: other spellings in bodies.
        separator: a string that is split into list items (LIST only).
        inside: where bodies send an object instead, the first of these members that is a string
            is taken, and the object is kept in `extra`.
        published: whether it is a column; if not, only the stream's steps see it.
    """

    name: str
    kind: FieldKind
    meaning: str
    aliases: tuple[str, ...] = ()
    separator: str | None = None
    inside: tuple[str, ...] = ()
    published: bool = True


@dataclass(frozen=True, slots=True)
class Column:
    """One published column, as readers see it.

    Attributes:
        name, dtype: as published.
        meaning: one phrase for analysts.
        values: all that it may hold; none: anything.
    """

    name: str
    dtype: pl.DataType
    meaning: str
    values: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Stream:
    """One kind of log.

    Attributes:
        name: prefix of its assets and folder in the lake.
        title: its name for people.
        hubs: patterns (`*`, `?`) of the Event Hubs that carry it.
        other_hubs: patterns of those that don't, though the former fit them.
        time_fields: the body's fields that may hold the event's own time, the preferred first.
        fields: the other fields bodies carry.
        formats: text formats that bodies may have besides JSON; which one it is, each line says.
        unwrap: objects whose members count as the body's own fields.
        derived: columns computed from the typed fields.
        steps: the column work, in order: each step's expressions replace or add columns. They see
            every declared field as a typed column, and must depend on nothing but their row.
        tables: the daily tables that are made from its events alone.
        joined: those that join it with another stream.
        slot_minutes: length of a landed slot; divides 60.
        slice_minutes: an event hour is published in slices of this length, each replaced alone;
            divides 60. 60: one object an hour.
        compression: of published events.
        code_version: raised when cleaning changes; landed hours that are run again are cleaned
            anew where theirs differs.
        source: the column with the address that a search for a source means; None: it has none.
        shown: columns that tell most of an event, for where there is room for few; none: all.
        origins: which columns tell who sent an event; None: nobody is missed when silent, and
            drift is told for the stream as a whole.
        norms: what checks count as usual.
    """

    name: str
    title: str
    hubs: tuple[str, ...]
    time_fields: tuple[str, ...]
    fields: tuple[Field, ...]
    derived: tuple[Column, ...]
    steps: tuple[tuple[pl.Expr, ...], ...]
    tables: tuple[DailyTable, ...]
    code_version: str
    other_hubs: tuple[str, ...] = ()
    formats: tuple[TextFormat, ...] = ()
    unwrap: tuple[str, ...] = ()
    slot_minutes: int = 30
    slice_minutes: int = 60
    compression: Compression = Compression.NONE
    source: str | None = None
    shown: tuple[str, ...] = ()
    origins: Origins | None = None
    norms: Norms = field(default_factory=Norms)
    joined: tuple[JoinedTable, ...] = ()
    _columns: tuple[Column, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_columns", tuple(self._declared_columns()))
        names = [column.name for column in self._columns]
        if len(set(names)) != len(names):
            raise ValueError(f"stream {self.name}: a column twice")
        for minutes in (self.slot_minutes, self.slice_minutes):
            if not 0 < minutes <= 60 or 60 % minutes:
                raise ValueError(
                    f"stream {self.name}: slots or slices of {minutes} minutes don't fill an hour"
                )

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every published column of an event, in the order it is written."""
        return self._columns

    @property
    def schema(self) -> dict[str, pl.DataType]:
        return {column.name: column.dtype for column in self._columns}

    @property
    def usual_in_extra(self) -> frozenset[str]:
        """Names that `extra` holds without anything to follow; see `usual_in_extra`."""
        return usual_in_extra(self.time_fields, self.fields)

    def carries(self, event_hub: str) -> bool:
        """Whether an Event Hub's captures belong to this stream."""
        fits = any(fnmatchcase(event_hub, pattern) for pattern in self.hubs)
        return fits and not any(fnmatchcase(event_hub, pattern) for pattern in self.other_hubs)

    @property
    def every_table(self) -> tuple[DailyTable | JoinedTable, ...]:
        """All that is published by the day, but for the report."""
        return (*self.tables, *self.joined)

    def table(self, name: str) -> DailyTable:
        return next(table for table in self.tables if table.name == name)

    def published_table(self, name: str) -> DailyTable | JoinedTable:
        """A table of either kind."""
        return next(table for table in self.every_table if table.name == name)

    def _declared_columns(self) -> Iterator[Column]:
        yield TIME_COLUMN
        derived = {column.name for column in self.derived}
        for item in self.fields:
            if item.published and item.kind is not FieldKind.FREE and item.name not in derived:
                yield Column(item.name, PUBLISHED_TYPE[item.kind], item.meaning)
        yield from self.derived
        yield from ENGINE_COLUMNS


def usual_in_extra(time_fields: Iterable[str], fields: Iterable[Field]) -> frozenset[str]:
    """The names that are no drift in `extra`: fields of changing shape, which always stand there,
    and times, which stand there as sent where that was in another form."""
    free = (item.name for item in fields if item.kind is FieldKind.FREE)
    return frozenset((*time_fields, *free))


TIME_COLUMN: Final = Column(
    "@timestamp",
    pl.String(),
    "When the event was logged: UTC, ISO 8601 with milliseconds and Z",
)

ENGINE_COLUMNS: Final = (
    Column(
        "event_id",
        pl.String(),
        "Identity: namespace/hub/partition/sequence, with .0, .1, ... where a body held several",
    ),
    Column("enqueued_at", pl.String(), "When Event Hubs received the event (UTC)"),
    Column(
        "time_source",
        pl.String(),
        "Absent when @timestamp is the event's own; else enqueued or landed, which stood in for it",
    ),
    Column(
        "extra",
        pl.String(),
        "A JSON object as text: fields that are not declared or did not fit their type, as sent",
    ),
)
