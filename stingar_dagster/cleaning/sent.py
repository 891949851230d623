"""What was found in bodies, by field: checked against the declaration, and as columns.

Not here: how members are found (`flat`), what a value of a kind is (`kinds`), and events as a
whole (`gate`).
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stingar_dagster.cleaning.exact import ExactRow
from stingar_dagster.cleaning.flat import Form, Members
from stingar_dagster.cleaning.interned import Interned
from stingar_dagster.cleaning.kinds import (
    NUMBER_KINDS,
    RAW_KINDS,
    are_ports,
    are_times,
    booleans,
    fits_raw,
    integers,
    raw_text,
    reals,
    unescaped,
)
from stingar_dagster.cleaning.spans import pick, texts
from stingar_dagster.cleaning.words import Keys
from stingar_dagster.streams.stream import PUBLISHED_TYPE, FieldKind

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(slots=True)
class Slow:
    """Events that took the exact way.

    Attributes:
        first: the row of the first of them.
        record, sub: as in `Rows`, of these events.
        values: by name, rows and values.
        extra, odd_times: as in `Rows`.
    """

    first: int
    record: list[int] = field(default_factory=list)
    sub: list[int] = field(default_factory=list)
    values: dict[str, tuple[list[int], list[Any]]] = field(default_factory=dict)
    extra: dict[int, dict[str, str]] = field(default_factory=dict)
    odd_times: dict[int, set[str]] = field(default_factory=dict)

    def add(self, record: int, sub: int, event: ExactRow) -> None:
        row = self.first + len(self.record)
        self.record.append(record)
        self.sub.append(sub)
        for name, value in (event.times | event.values).items():
            if value != "":
                rows, values = self.values.setdefault(name, ([], []))
                rows.append(row)
                values.append(value)
        if event.extra:
            self.extra[row] = event.extra
        if event.odd_times:
            self.odd_times[row] = event.odd_times


class _Raw(NamedTuple):
    """Raw values of a field: the distinct texts, and for each value the place of its text."""

    distinct: list[str]
    place: NDArray[np.int32]


class Sent:
    """The members that were found in bodies, by field.

    Args:
        kinds: of the declared fields.
        times: those that may hold the event's own time.
        keys: what members were found by.
        buffer: holds the bodies.
        members: found in them.
        passes: which bodies passed so far; those that don't after all are taken out.
    """

    def __init__(
        self,
        kinds: dict[str, FieldKind],
        times: Collection[str],
        keys: Keys,
        buffer: bytes,
        members: Members,
        passes: Bools,
    ) -> None:
        self._kinds = kinds
        self._unrecognised = keys.unrecognised
        self._buffer = buffer
        self._members = members
        self._passes = passes
        names = list(kinds)
        is_raw = np.ones(256, dtype=np.bool_)
        is_raw[: len(names)] = [kind in RAW_KINDS for kind in kinds.values()]
        is_text = np.zeros(256, dtype=np.bool_)
        is_text[: len(names)] = [kind is FieldKind.TEXT for kind in kinds.values()]

        form = members.form
        quoted = is_raw.take(members.field) & (form <= Form.ESCAPED)
        self._texts = texts(buffer, members.start - quoted, members.end + quoted)
        self._unescape(np.flatnonzero((form == Form.ESCAPED) & is_text.take(members.field)))
        is_time = np.zeros(256, dtype=np.bool_)
        is_time[: len(names)] = [name in times for name in names]
        bare = np.flatnonzero((form == Form.BARE) & is_time.take(members.field))
        self._time_numbers = bare[are_times(pick(self._texts, bare))]
        unfit = (form > Form.MISSING) & is_text.take(members.field)
        unfit[self._time_numbers] = False
        self._drop(np.flatnonzero(unfit))

        order = np.argsort(members.field, kind="stable")
        bounds = np.searchsorted(members.field.take(order), np.arange(len(names) + 1)).tolist()
        declared, unknown = order[: bounds[-1]], np.sort(order[bounds[-1] :])
        fields, rows = members.field.take(declared), members.row.take(declared)
        twice = (fields[1:] == fields[:-1]) & (rows[1:] == rows[:-1])
        self._drop(declared[:-1][twice])
        self._unknown, self._keys = self._check_undeclared(unknown)

        empty = (form == Form.MISSING) | ((form == Form.STRING) & (members.start == members.end))
        self._at: dict[str, Int64s] = {}
        for place, name in enumerate(names):
            at = declared[bounds[place] : bounds[place + 1]]
            says_nothing = empty.take(at)
            if says_nothing.any():
                at = at[~says_nothing]
            if at.size:
                self._at[name] = at
        self._numbers = self._check_numbers(self._places_of(NUMBER_KINDS))
        self._numbers |= self._check_others()
        self._raws = self._check_raws(self._places_of(RAW_KINDS))

    def _places_of(self, kinds: Collection[FieldKind]) -> dict[str, Int64s]:
        return {name: at for name, at in self._at.items() if self._kinds[name] in kinds}

    def _drop(self, members: Int64s) -> None:
        """Their bodies do not pass after all."""
        if members.size:
            self._passes[self._members.row[members]] = False

    def _unescape(self, escaped: Int64s) -> None:
        if escaped.size:
            read = [unescaped(text) for text in pick(self._texts, escaped)]
            self._drop(escaped[[text is None for text in read]])
            self._texts = self._texts.scatter(escaped, read)

    def _check_numbers(self, fields: dict[str, Int64s]) -> dict[str, pl.Series]:
        # All fields together: what polars takes for a call is more than for most fields' values.
        number, fits = integers(pick(self._texts, _together(fields)))
        found: dict[str, pl.Series] = {}
        for (name, at), here in zip(fields.items(), _parts(fields), strict=True):
            found[name], fine = number[here], fits[here]
            if self._kinds[name] is FieldKind.PORT:
                fine = fine & are_ports(found[name])
            if not fine.all():
                self._drop(at[~fine])
        return found

    def _check_others(self) -> dict[str, pl.Series]:
        """Reals and booleans."""
        found: dict[str, pl.Series] = {}
        for name, at in self._places_of((FieldKind.REAL, FieldKind.BOOLEAN)).items():
            sent = pick(self._texts, at)
            if self._kinds[name] is FieldKind.REAL:
                found[name], fits = reals(sent)
            else:
                found[name], fits = booleans(sent, self._members.form[at] == Form.STRING)
            self._drop(at[~fits])
        return found

    def _check_raws(self, fields: dict[str, Int64s]) -> dict[str, _Raw]:
        sent = pick(self._texts, _together(fields))
        distinct = sent.unique(maintain_order=True)
        if not len(distinct):
            return {}
        numbered = pl.Series(np.arange(len(distinct), dtype=np.int32))
        places = sent.replace_strict(distinct, numbered).to_numpy()
        every = distinct.to_list()
        found: dict[str, _Raw] = {}
        for (name, at), here in zip(fields.items(), _parts(fields), strict=True):
            used, place = np.unique(places[here], return_inverse=True)
            known = [every[index] for index in used.tolist()]
            kind = self._kinds[name]
            unfit = [index for index, text in enumerate(known) if not fits_raw(kind, text)]
            for index in unfit:
                known[index] = "null"
            if unfit:
                self._drop(at[np.isin(place, unfit)])
            found[name] = _Raw(known, place.astype(np.int32))
        return found

    def _check_undeclared(self, at: Int64s) -> tuple[Int64s, pl.Series]:
        """The members that go into `extra` as they are, and their keys."""
        row, field = self._members.row.take(at), self._members.field.take(at)
        unfit = field != Keys.UNKNOWN  # an alias, a wrapped object, an envelope
        self._drop(at[unfit])
        at, row = at[~unfit], row[~unfit]
        keys = texts(self._buffer, self._members.key_start, self._members.key_end)
        if at.size:
            unfit = keys.str.contains("\\", literal=True).to_numpy().copy()
            if self._unrecognised:
                unfit |= keys.is_in(self._unrecognised).to_numpy()
            unfit |= pl.DataFrame({"row": row, "key": keys}).is_duplicated().to_numpy()
            values = pick(self._texts, at)
            wrong = [text for text in values.unique() if not fits_raw(FieldKind.FREE, text)]
            if wrong:
                unfit |= values.is_in(wrong).to_numpy()
            self._drop(at[unfit])
        return at, keys

    def undeclared(self) -> list[tuple[int, str, str]]:
        """Row, key and JSON text of each member that is not declared, in the order they stand."""
        row = self._members.row.take(self._unknown)
        passes = np.flatnonzero(self._passes[row])
        keys = pick(self._keys, passes)
        at = self._unknown[passes]
        times = self._time_numbers[self._is_kept_apart()]
        if times.size:
            # In the order in which they stand among the others.
            names = pl.Series([list(self._kinds)[field] for field in self._members.field[times]])
            at = np.concatenate([at, times])
            order = np.argsort(at, kind="stable")
            at, keys = at[order], pick(pl.concat([keys, names]), order)
        place = (np.cumsum(self._passes) - 1)[self._members.row[at]]
        return list(zip(place.tolist(), keys, pick(self._texts, at), strict=True))

    def number_times(self) -> dict[str, Int64s]:
        """By name, the rows in which nothing but this time is kept as it was sent: a number."""
        rows = self._members.row[self._time_numbers]
        alone = self._passes[rows] & ~self._is_kept_apart()
        place = (np.cumsum(self._passes) - 1)[rows[alone]]
        fields = self._members.field[self._time_numbers[alone]]
        names = list(self._kinds)
        return {names[field]: place[fields == field] for field in np.unique(fields).tolist()}

    def _is_kept_apart(self) -> Bools:
        """Which times that are numbers stand in bodies that have more to be kept, in an order."""
        rows = self._members.row[self._time_numbers]
        kept = np.bincount(self._members.row[self._unknown], minlength=len(self._passes))
        times = np.bincount(rows, minlength=len(self._passes))
        apart: Bools = self._passes[rows] & ((kept[rows] > 0) | (times[rows] > 1))
        return apart

    def columns(self, slow: Slow) -> tuple[dict[str, pl.Series], dict[str, Interned]]:
        """Columns of what passed and, behind it, of what took the exact way."""
        total = slow.first + len(slow.record)
        values: dict[str, pl.Series] = {}
        raws: dict[str, Interned] = {}
        later: list[tuple[str, _Pool, Int64s, Int64s]] = []
        all_pass = slow.first == len(self._passes)
        place = np.cumsum(self._passes) - 1
        pool = _Pool(self._texts)
        for name, kind in self._kinds.items():
            at = self._at.get(name, _NOWHERE)
            row, kept = self._members.row.take(at), None
            if not all_pass:
                kept = np.flatnonzero(self._passes.take(row))
                row = place.take(row.take(kept))
            slow_rows, slow_values = slow.values.get(name, ([], []))
            if kind in RAW_KINDS:
                raws[name] = column = Interned(total)
                if at.size:
                    raw = self._raws[name]
                    column.add(row, raw.distinct, raw.place if kept is None else raw.place[kept])
                numbered = np.arange(len(slow_rows), dtype=np.int32)
                column.add(np.array(slow_rows, np.int64), [*map(raw_text, slow_values)], numbered)
                continue
            source, index = pool, at
            if kind is not FieldKind.TEXT:
                none = pl.Series([], dtype=PUBLISHED_TYPE[kind])
                source, index = _Pool(self._numbers.get(name, none)), np.arange(len(at))
            index = index if kept is None else index.take(kept)
            if slow_rows:
                index = np.concatenate([index, source.add(slow_values)])
                row = np.concatenate([row, slow_rows])
            later.append((name, source, row, index))
        for name, source, row, index in later:
            values[name] = source.column(name, row, index, total)
        return values, raws


_NOWHERE: Final = np.zeros(0, dtype=np.int64)


def _together(fields: dict[str, Int64s]) -> Int64s:
    return np.concatenate([_NOWHERE, *fields.values()])


def _parts(fields: dict[str, Int64s]) -> list[slice]:
    """Where each field's values are in those of all fields together."""
    ends = np.cumsum([0, *(len(at) for at in fields.values())]).tolist()
    return [slice(start, end) for start, end in pairwise(ends)]


class _Pool:
    """Values that columns are picked from.

    Args:
        values: those that are known at first.
    """

    def __init__(self, values: pl.Series) -> None:
        self._dtype = values.dtype
        self._first = values
        self._added: list[Any] = [None]
        self._all: pl.Series | None = None

    def add(self, values: list[Any]) -> Int64s:
        """Add values; returns where they are."""
        start = len(self._first) + len(self._added)
        self._added += values
        return np.arange(start, start + len(values))

    def column(self, name: str, row: Int64s, index: Int64s, length: int) -> pl.Series:
        """A column with the value at `index` in each `row`, null elsewhere; then nothing more
        can be added."""
        if not len(row):
            return pl.Series(name, [None], dtype=self._dtype).new_from_index(0, length)
        if self._all is None:
            added = pl.Series(self._added, dtype=self._dtype, strict=True)
            self._all = pl.concat([self._first, added], rechunk=True)
        places = np.full(length, len(self._first), dtype=np.uint32)
        places[row] = index
        return pick(self._all, places).alias(name)
