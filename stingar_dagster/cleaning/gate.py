"""The fast way from bodies to rows: whole columns at a time.

A body passes in which `flat` finds members and whose declared fields are of their usual types,
no key standing twice. Everything else goes through `exact`, which accepts the same bodies and
gives the same events for them. Not here: how members are found (`flat`), what becomes of them by
field (`sent`), column work (`clean`).
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stingar_dagster.capture.records import Records
from stingar_dagster.cleaning.exact import ENVELOPE, ExactDecoder, ExactRow, is_missing
from stingar_dagster.cleaning.flat import find_members
from stingar_dagster.cleaning.interned import Interned
from stingar_dagster.cleaning.reasons import Rejected
from stingar_dagster.cleaning.sent import Sent, Slow
from stingar_dagster.cleaning.words import Keys
from stingar_dagster.streams.stream import FieldKind, Stream

Int64s = NDArray[np.int64]

_SHORTEST_BODY: Final = 2


@dataclass(slots=True)
class Rows:
    """Decoded events of a batch, by column.

    Attributes:
        record: position in the batch's records, for each event.
        sub: position in the body, -1 where the body is one event.
        values: a column for each scalar field and time field.
        raws: a column for each field that holds a list or an object.
        extra: members of `extra`, by position of the event.
        odd_times: time fields that `extra` keeps already, by position of the event.
        number_times: time fields that were sent as numbers, by positions of events whose `extra`
            does not have them yet.
        rejected: what is no event.
    """

    record: Int64s
    sub: NDArray[np.int32]
    values: dict[str, pl.Series]
    raws: dict[str, Interned]
    extra: dict[int, dict[str, str]]
    odd_times: dict[int, set[str]]
    number_times: dict[str, Int64s]
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
        self._kinds = dict.fromkeys(stream.time_fields, FieldKind.TEXT)
        self._kinds |= {item.name: item.kind for item in stream.fields}
        self._times = frozenset(stream.time_fields)
        free = {item.name for item in stream.fields if item.kind is FieldKind.FREE}
        aliases = {alias: item.name for item in stream.fields for alias in item.aliases}
        spelled = {
            alias: name
            for alias, name in aliases.items()
            if alias not in self._kinds and name not in free
        }
        # A body with one of these takes the exact way.
        special = (aliases.keys() | set(stream.unwrap) | {ENVELOPE}) - self._kinds.keys()
        names = [*self._kinds, *sorted(special - spelled.keys()), *spelled]
        self._keys = Keys(names)
        # A field's own place for each of its spellings; two in one body are a key twice.
        self._place = np.arange(256, dtype=np.uint8)
        for alias, name in spelled.items():
            self._place[names.index(alias)] = names.index(name)

    def decode(self, records: Records) -> Rows:
        """Decode every body of a batch. Never raises for what a body holds."""
        length = records.body_length
        bodies = np.flatnonzero((length >= _SHORTEST_BODY) & (length <= self._max_body_bytes))
        start = records.body_start[bodies]
        return self._rows(*self._found(records, start, length[bodies], bodies), records)

    def decode_exactly(self, records: Records) -> Rows:
        """The same, with every body taking the exact way: the gate's slow twin."""
        nothing = np.zeros(0, dtype=np.int64)
        return self._rows(*self._found(records, nothing, nothing, nothing), records)

    def _found(
        self, records: Records, start: Int64s, length: Int64s, bodies: Int64s
    ) -> tuple[Sent, Int64s]:
        """What was found in bodies, and which of them passed."""
        members, passes = find_members(records.buffer, start, length, self._keys)
        members = members._replace(field=self._place.take(members.field))
        sent = Sent(self._kinds, self._times, self._keys, records.buffer, members, passes)
        return sent, bodies[passes]

    def _rows(self, sent: Sent, passed: Int64s, records: Records) -> Rows:
        """What passed, and after it everything else by the exact way."""
        rest = np.ones(len(records), dtype=np.bool_)
        rest[passed] = False
        slow, rejected = Slow(len(passed)), list[Rejected]()
        for index in np.flatnonzero(rest).tolist():
            for position, event in self._exact.decode(_body(records, index)):
                if isinstance(event, ExactRow):
                    slow.add(index, position, event)
                else:
                    rejected.append(
                        Rejected(index, position, event.reason, event.detail, event.body)
                    )
        values, raws = sent.columns(slow)
        extra = self._free_members(raws)
        for row, key, text in sent.undeclared():
            extra.setdefault(row, {})[key] = text
            if key in self._times:
                slow.odd_times.setdefault(row, set()).add(key)
        for row, members in slow.extra.items():
            extra[row] = self._free_first(members)
        return Rows(
            np.concatenate([passed, np.array(slow.record, dtype=np.int64)]),
            np.array([-1] * len(passed) + slow.sub, dtype=np.int32),
            values,
            raws,
            extra,
            slow.odd_times,
            sent.number_times(),
            rejected,
        )

    def _free_members(self, raws: dict[str, Interned]) -> dict[int, dict[str, str]]:
        extra: dict[int, dict[str, str]] = {}
        for name, kind in self._kinds.items():
            if kind is FieldKind.FREE:
                texts = raws[name].distinct
                kept = [not is_missing(text) for text in texts]
                for row, place in raws[name].sent():
                    if kept[place]:
                        extra.setdefault(row, {})[name] = texts[place]
        return extra

    def _free_first(self, extra: dict[str, str]) -> dict[str, str]:
        """Members of `extra` in the order that the fast way gives them."""
        free = (name for name, kind in self._kinds.items() if kind is FieldKind.FREE)
        return {name: extra[name] for name in free if name in extra} | extra


def _body(records: Records, index: int) -> bytes | None:
    start, length = int(records.body_start[index]), int(records.body_length[index])
    return records.buffer[start : start + length] if length >= 0 else None
