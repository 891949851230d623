"""The JSON gate: bodies of any bytes, parted by 0xff 0xff, which no UTF-8 text holds.

Promises: no exception, the fast way and the exact way give the same events and rejects, and every
body comes out.
"""

import json
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

from stingar_dagster.capture.records import NO_TIME, Records, epoch_us
from stingar_dagster.cleaning.clean import Cleaned, Cleaner, Rules
from stingar_dagster.cleaning.columns import list_column
from stingar_dagster.cleaning.gate import Rows
from stingar_dagster.cleaning.reasons import Rejected
from stingar_dagster.samples.traffic import traffic
from stingar_dagster.streams import STINGAR
from stingar_dagster.streams.stream import FieldKind

SEPARATOR: Final = b"\xff\xff"
_HOUR: Final = datetime(2022, 5, 19, 17, tzinfo=UTC)
_CLEANER: Final = Cleaner(STINGAR, Rules(datetime(2020, 1, 1, tzinfo=UTC), max_body_bytes=4000))
_FIELDS: Final = {field.name: field for field in STINGAR.fields}


def check(data: bytes) -> None:
    """Hold both ways to their promises for one input."""
    records = records_of(data.split(SEPARATOR))
    fast, slow = _CLEANER.gate.decode(records), _CLEANER.gate.decode_exactly(records)
    assert _by_place(fast) == _by_place(slow), "the ways decode differently"
    assert _rejects(fast.rejected) == _rejects(slow.rejected), "the ways reject differently"
    outcomes = {*fast.record.tolist(), *(item.record for item in fast.rejected)}
    assert outcomes == set(range(len(records))), "a body got lost"
    for members in fast.extra.values():
        for text in members.values():
            json.loads(text, parse_int=str)
    if zlib.crc32(data) % 8 == 0:  # the column work costs ten times as much, and branches little
        check_columns(records)


def check_columns(records: Records) -> None:
    """Hold the column work to the same."""
    events, rejected = _in_order(_CLEANER.clean(records, _HOUR))
    exact = _CLEANER.clean_rows(_CLEANER.gate.decode_exactly(records), records, _HOUR)
    exact_events, exact_rejected = _in_order(exact)
    assert_frame_equal(events, exact_events)
    assert rejected == exact_rejected, "the ways reject differently"
    for text in events["extra"].drop_nulls():
        json.loads(text, parse_int=str)


def records_of(bodies: list[bytes]) -> Records:
    lengths = np.array([len(body) for body in bodies], np.int64)
    enqueued = [NO_TIME if n % 3 == 2 else epoch_us(_HOUR) + n for n in range(len(bodies))]
    return Records(
        buffer=b"".join(bodies),
        capture=np.zeros(len(bodies), np.int32),
        sequence=np.arange(len(bodies), dtype=np.int64),
        enqueued_us=np.array(enqueued, np.int64),
        body_start=np.cumsum(lengths) - lengths,
        body_length=lengths,
    )


def _by_place(rows: Rows) -> dict[tuple[int, int], Any]:
    """What each event was decoded to."""
    columns = [column.to_list() for column in rows.values.values()]
    columns += [
        list_column(_FIELDS[name], raw).to_list()
        for name, raw in rows.raws.items()
        if _FIELDS[name].kind is not FieldKind.FREE
    ]
    extra = {row: dict(members) for row, members in rows.extra.items()}
    odd_times = {row: set(names) for row, names in rows.odd_times.items()}
    # The exact way has put these there.
    for name, at in rows.number_times.items():
        for row in at.tolist():
            extra.setdefault(row, {})[name] = rows.values[name][row]
            odd_times.setdefault(row, set()).add(name)
    places = zip(rows.record.tolist(), rows.sub.tolist(), strict=True)
    return {
        place: (
            tuple(column[row] for column in columns),
            extra.get(row, {}),
            odd_times.get(row, set()),
        )
        for row, place in enumerate(places)
    }


def _rejects(rejected: list[Rejected]) -> list[Rejected]:
    return sorted(rejected, key=lambda item: (item.record, item.sub))


def _in_order(cleaned: Cleaned) -> tuple[pl.DataFrame, list[Rejected]]:
    return cleaned.events.sort("record", "sub"), _rejects(cleaned.rejected)


def seeds() -> Iterator[bytes]:
    """Sample events, drifting and damaged ones among them, alone and together."""
    until = _HOUR + timedelta(minutes=30)
    samples = traffic(_HOUR, until, events_per_hour=600, seed=5, drift=0.5, damage=0.1)
    bodies = [sample.body for sample in samples][:150]
    yield from bodies
    for start in range(0, len(bodies), 10):
        yield SEPARATOR.join(bodies[start : start + 4])
    yield from (
        b'{"a":1,"a":2}', b'{"host":{"a":[1,{"b":2}]}}', b'[{"app":"a"},{"app":"b"}]',
        b'{"records":[{"app":"a"},1]}', b'{"app":"a"}\n{"app":"b"}\nx', b'{"app":"\\ud800"}',
        b'{"@timestamp":{"$date":"2022-05-19T17:00:00.000+0000"}}', b'{"src_port":"022"}',
        b'{"hp_data":{"app":"x","a":1},"dst_ip":"::ffff:192.0.2.1"}', b'{"tags":"a,b","bytes":1e9}',
        b'\xef\xbb\xbf{"loggedin":["a",""]}', b'{"timestamp":1652980101199.5}',
    )  # fmt: skip


def words() -> list[bytes]:
    """Names of fields, and what JSON is made of."""
    names = [field.name for field in STINGAR.fields]
    names += [alias for field in STINGAR.fields for alias in field.aliases]
    names += [*STINGAR.time_fields, *STINGAR.unwrap, "records", "extra", "event_id", "$date"]
    tokens = [
        SEPARATOR, b'":', b'" :', b'\\"', b"\\\\", b"\\ud800", b"\\udc00", b"\\u0000", b"null",
        b"true", b"1e999", b"-0", b"[]", b"{}", b'""', b"[[", b'{"', b"\n", b"\xef\xbb\xbf",
        b"\xc3\xa9", b"9223372036854775808", b'"2022-05-19T17:08:21.199Z"', b"NaN",
    ]  # fmt: skip
    return [*(f'"{name}":'.encode() for name in names), *tokens]
