"""The fast way from bodies to rows: one strict decode checks, types and extracts.

A body that has only declared fields of their usual types, and no key twice, passes. Everything
else goes through `exact`, which accepts the same bodies and gives the same events for them. Not
here: column work (`columns`, `clean`).
"""

import contextlib
import gc
import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from stingar_dagster.capture.records import Records
from stingar_dagster.cleaning.columns import integer_series, text_series
from stingar_dagster.cleaning.exact import (
    MAX_DEPTH,
    ExactDecoder,
    ExactRow,
    depth_exceeds,
    is_missing,
)
from stingar_dagster.cleaning.interned import NOT_SENT, Interned
from stingar_dagster.cleaning.reasons import Rejected
from stingar_dagster.streams.stream import FieldKind, Stream

_INT64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_DIGITS = Annotated[str, msgspec.Meta(pattern=r"^(?:0|-?[1-9][0-9]{0,17})?\Z")]
_PORT = Annotated[int, msgspec.Meta(ge=0, le=65535)]
_PORT_DIGITS = Annotated[str, msgspec.Meta(pattern=r"^(?:0|[1-9][0-9]{0,3}|[1-5][0-9]{4})?\Z")]
_PAIR = Annotated[list[str], msgspec.Meta(min_length=2, max_length=2)]
_RAW_KINDS: Final = (FieldKind.LIST, FieldKind.PAIR, FieldKind.FREE)

_TYPES: Final[dict[FieldKind, Any]] = {
    FieldKind.TEXT: str | None,
    FieldKind.INTEGER: _INT64 | _DIGITS | None,
    FieldKind.PORT: _PORT | _PORT_DIGITS | None,
    **dict.fromkeys(_RAW_KINDS, msgspec.Raw),
}
_decode_list = msgspec.json.Decoder(list[str] | str | None).decode
_decode_pair = msgspec.json.Decoder(_PAIR | None).decode
_MISSING: Final = (b"null", b'""', b"[]")
_CHUNK: Final = 1024


@dataclass(slots=True)
class Rows:
    """Decoded events of a batch, by column.

    Attributes:
        record: position in the batch's records, for each event.
        sub: position in the body, -1 where the body is one event.
        values: a column for each scalar field and time field, "" not yet taken for null.
        raws: a column for each field that holds a list or an object.
        extra: members of `extra`, by position of the event.
        odd_times: time fields that `extra` keeps already, by position of the event.
        rejected: what is no event.
    """

    record: NDArray[np.int64]
    sub: NDArray[np.int32]
    values: dict[str, pl.Series]
    raws: dict[str, Interned]
    extra: dict[int, dict[str, str]]
    odd_times: dict[int, set[str]]
    rejected: list[Rejected]


class Gate:
    """Decodes batches of bodies of one stream.

    Args:
        stream: whose fields are looked for.
        max_body_bytes: a larger body is refused.
    """

    def __init__(self, stream: Stream, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._exact = ExactDecoder(stream, max_body_bytes)
        # An alias or a wrapped object is an unknown field here, and so takes the exact way.
        types: dict[str, Any] = dict.fromkeys(stream.time_fields, str | None)
        types |= {item.name: _TYPES[item.kind] for item in stream.fields}
        self.names = tuple(types)
        numbers = (FieldKind.INTEGER, FieldKind.PORT)
        self._integers = frozenset(i.name for i in stream.fields if i.kind in numbers)
        self._raw_kinds = {i.name: i.kind for i in stream.fields if i.kind in _RAW_KINDS}
        attributes = {name: f"f{index}" for index, name in enumerate(self.names)}
        rename = {attribute: name for name, attribute in attributes.items()}
        self._row = msgspec.defstruct(
            "Row",
            [(attributes[n], t, NOT_SENT if t is msgspec.Raw else None) for n, t in types.items()],
            rename=rename,
            forbid_unknown_fields=True,
            gc=False,
        )
        counting = msgspec.defstruct(
            "CountingRow",
            [
                (attributes[n], t if t is msgspec.Raw else t | msgspec.UnsetType, msgspec.UNSET)
                for n, t in types.items()
            ],
            rename=rename,
            forbid_unknown_fields=True,
            gc=False,
        )
        self._decode = msgspec.json.Decoder(self._row).decode
        self._decode_counting = msgspec.json.Decoder(counting).decode
        self._attributes = attributes

    def decode(self, records: Records) -> Rows:
        """Decode every body of a batch. Never raises for what a body holds."""
        bodies = _bodies(records)
        with _paused_collector():
            passed, values = self._pass(bodies, records)
            columns, raws = self._columns(values)
            unfit = self._unfit(raws) | self._ambiguous(passed, columns, raws, bodies, records)
            if unfit:
                kept = [row for row in range(len(passed)) if row not in unfit]
                passed = [passed[row] for row in kept]
                rows = pl.Series(kept, dtype=pl.UInt32)
                columns = {name: column.gather(rows) for name, column in columns.items()}
                for raw in raws.values():
                    raw.keep(kept)
            return self._with_exact(passed, columns, raws, bodies)

    def decode_exactly(self, records: Records) -> Rows:
        """The same, with every body taking the exact way: the gate's slow twin."""
        return self._with_exact([], *self._columns(self._transposed([])), _bodies(records))

    def _pass(
        self, bodies: list[bytes | None], records: Records
    ) -> tuple[list[int], list[list[Any]]]:
        """The positions of the bodies that decode strictly, and their values by column."""
        decode = self._decode
        candidates = np.flatnonzero(
            (records.body_length > 0) & (records.body_length <= self._max_body_bytes)
        ).tolist()
        passed: list[int] = []
        columns: list[list[Any]] = [[] for _ in self.names]
        # In pieces that stay in the processor's cache: rows are wide and mostly empty.
        for start in range(0, len(candidates), _CHUNK):
            structs = []
            for index in candidates[start : start + _CHUNK]:
                try:
                    structs.append(decode(bodies[index]))  # type: ignore[arg-type]
                except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                    continue
                passed.append(index)
            for column, values in zip(columns, self._transposed(structs), strict=True):
                column += values
        return passed, columns

    def _transposed(self, structs: list[Any]) -> list[list[Any]] | list[tuple[Any, ...]]:
        """Rows to columns, in the gate's order of names."""
        if not structs:
            return [[] for _ in self.names]
        return list(zip(*map(msgspec.structs.astuple, structs), strict=True))

    def _columns(
        self, values: Sequence[Sequence[Any]]
    ) -> tuple[dict[str, pl.Series], dict[str, Interned]]:
        """Typed columns of scalars, interned columns of lists and objects."""
        columns: dict[str, pl.Series] = {}
        raws: dict[str, Interned] = {}
        for name, column in zip(self.names, values, strict=True):
            if name in self._raw_kinds:
                raws[name] = Interned(column)
            elif name in self._integers:
                columns[name] = integer_series(name, column)
            else:
                columns[name] = text_series(name, column)
        return columns, raws

    def _unfit(self, raws: dict[str, Interned]) -> set[int]:
        """Rows with a list or object that is not as declared; the decoder skipped it unread."""
        unfit: set[int] = set()
        for name, kind in self._raw_kinds.items():
            bad = [not _fits(kind, text) for text in raws[name].distinct]
            if any(bad):
                unfit.update(np.flatnonzero(raws[name].spread(bad, False)).tolist())
        return unfit

    def _ambiguous(
        self,
        passed: list[int],
        columns: dict[str, pl.Series],
        raws: dict[str, Interned],
        bodies: list[bytes | None],
        records: Records,
    ) -> set[int]:
        """Rows whose body may have a key twice, of which the decoder kept the last.

        An object without nested objects has as many `":` after a name as it has keys: more of
        them than fields decoded means a closer look.
        """
        keys, doubtful = _count_keys(records)
        positions = np.array(passed, dtype=np.int64)
        keys, doubtful = keys[positions], doubtful[positions]
        present = _count_present(columns, raws, len(passed))
        unsure = np.flatnonzero((keys != present) | doubtful)
        return {
            row
            for row in unsure.tolist()
            if doubtful[row] or keys[row] != self._count_keys_decoded(bodies[passed[row]])
        }

    def _count_keys_decoded(self, body: bytes | None) -> int:
        row = self._decode_counting(body)  # type: ignore[arg-type]
        values = [value for value in msgspec.structs.astuple(row) if value is not msgspec.UNSET]
        nested = (_count_nested(bytes(v)) for v in values if isinstance(v, msgspec.Raw))
        return len(values) + sum(nested)

    def _with_exact(
        self,
        passed: list[int],
        columns: dict[str, pl.Series],
        raws: dict[str, Interned],
        bodies: list[bytes | None],
    ) -> Rows:
        """What passed, and after it everything else by the exact way."""
        extra = self._free_members(raws)
        odd_times: dict[int, set[str]] = {}
        rejected: list[Rejected] = []
        record, sub, slow = list(passed), [-1] * len(passed), []
        for index in _complement(passed, len(bodies)):
            body = bodies[index]
            for position, event in self._exact.decode(body):
                if isinstance(event, ExactRow):
                    if event.extra:
                        extra[len(record)] = self._free_first(event.extra)
                    if event.odd_times:
                        odd_times[len(record)] = event.odd_times
                    record.append(index)
                    sub.append(position)
                    slow.append(self._struct(event))
                else:
                    rejected.append(
                        Rejected(index, position, event.reason, event.detail, event.body)
                    )
        rest, raw_rest = self._columns(self._transposed(slow))
        for name, column in raws.items():
            column.extend_from(raw_rest[name])
        return Rows(
            np.array(record, dtype=np.int64),
            np.array(sub, dtype=np.int32),
            {name: column.append(rest[name]) for name, column in columns.items()},
            raws,
            extra,
            odd_times,
            rejected,
        )

    def _free_members(self, raws: dict[str, Interned]) -> dict[int, dict[str, str]]:
        extra: dict[int, dict[str, str]] = {}
        for name, kind in self._raw_kinds.items():
            if kind is not FieldKind.FREE:
                continue
            texts = [text.decode() for text in raws[name].distinct]
            kept = [not is_missing(text) for text in texts]
            if any(kept):
                for row, place in raws[name].sent():
                    if kept[place]:
                        extra.setdefault(row, {})[name] = texts[place]
        return extra

    def _free_first(self, extra: dict[str, str]) -> dict[str, str]:
        """Members of `extra` in the order that the fast way gives them."""
        free = (name for name, kind in self._raw_kinds.items() if kind is FieldKind.FREE)
        return {name: extra[name] for name in free if name in extra} | extra

    def _struct(self, event: ExactRow) -> Any:
        named: dict[str, Any] = {self._attributes[name]: t for name, t in event.times.items()}
        for name, value in event.values.items():
            if name in self._raw_kinds:
                value = msgspec.Raw(msgspec.json.encode(value))
            named[self._attributes[name]] = value
        return self._row(**named)


def _fits(kind: FieldKind, text: bytes) -> bool:
    if kind is FieldKind.FREE:
        return text.isascii() and not depth_exceeds(text, MAX_DEPTH - 1)
    try:
        _decode_pair(text) if kind is FieldKind.PAIR else _decode_list(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return kind is FieldKind.PAIR and text in _MISSING
    return True


def _count_present(
    columns: dict[str, pl.Series], raws: dict[str, Interned], length: int
) -> NDArray[np.int64]:
    """How many `":` each row's fields account for, explicit nulls left out."""
    present = np.zeros(length, dtype=np.int64)
    for column in columns.values():
        missing = column.null_count()
        if missing == 0:
            present += 1
        elif missing < length:
            present += column.is_not_null().to_numpy()
    for raw in raws.values():
        if raw.distinct:
            present += raw.spread([1 + _count_nested(text) for text in raw.distinct], 0)
    return present


def _bodies(records: Records) -> list[bytes | None]:
    buffer = records.buffer
    ends = records.body_start + records.body_length
    return [
        buffer[start:end] if end >= start else None
        for start, end in zip(records.body_start.tolist(), ends.tolist(), strict=True)
    ]


def _count_keys(records: Records) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """For each body, how many keys it may have, and whether a blank stands before a colon.

    Counted are `":` after a character that declared names end with; a quote that begins a string,
    or is escaped in one, comes after another.
    """
    buffer = np.frombuffer(records.buffer, dtype=np.uint8)
    colons = np.flatnonzero(buffer == ord(":"))
    before = buffer[np.maximum(colons - 1, 0)]
    start, end = records.body_start, records.body_start + np.maximum(records.body_length, 0)
    closing = colons[before == ord('"')]
    keys = closing[_IN_NAMES[buffer[np.maximum(closing - 2, 0)]]]
    blanks = colons[_BLANKS[before]]
    count = np.searchsorted(keys, end) - np.searchsorted(keys, start)
    doubtful = np.searchsorted(blanks, end) > np.searchsorted(blanks, start)
    return count.astype(np.int64), doubtful


def _count_nested(text: bytes) -> int:
    return len(_KEY_END.findall(text))


def _table(characters: bytes) -> NDArray[np.bool_]:
    table = np.zeros(256, dtype=np.bool_)
    table[list(characters)] = True
    return table


_NAME_CHARACTERS: Final = (string.ascii_letters + string.digits + "_@").encode()
_IN_NAMES: Final = _table(_NAME_CHARACTERS)
_BLANKS: Final = _table(b" \t\r\n")
_KEY_END: Final = re.compile(rb'[A-Za-z0-9_@]":')


def _complement(passed: list[int], total: int) -> list[int]:
    rest = np.ones(total, dtype=np.bool_)
    rest[passed] = False
    return np.flatnonzero(rest).tolist()


@contextlib.contextmanager
def _paused_collector() -> Iterator[None]:
    """Millions of small objects that hold no cycles make the collector run for nothing."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
