"""Captures of a busy network's DNS queries, as fast as they can be made: whole columns at a time.

Bodies are zeek's JSON. Clients and names are drawn by Zipf's law from many, some names are asked
for once and never again, and answers follow names. Each minute brings names of its own, events that
come late and, in small shares, fields that nobody declared and lines that are cut. A minute is a
function of its number and the seed. Not here: when captures land (`scenarios`), and the demo's few
queries (`stingar_dagster.samples.dns`).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stingar_dagster.capture.container import encode_block, encode_header
from stingar_dagster.capture.records import SCHEMA_2017

MINUTE: Final = timedelta(minutes=1)
SECOND: Final = timedelta(seconds=1)

_CLIENTS: Final = 30_000
_NAMES: Final = 1_000_000
_SITES: Final = 250_000
_TYPES: Final = (
    ("A", 1, 0.62),
    ("AAAA", 28, 0.24),
    ("HTTPS", 65, 0.09),
    ("PTR", 12, 0.03),
    ("TXT", 16, 0.02),
)
_ONCE: Final = 0.02
"""Share of queries for a name that nobody asks for again."""
_UNKNOWN: Final = 0.06
"""Share that is answered by NXDOMAIN,"""
_DRIFTED: Final = 0.005
"""and with a field that nobody declared,"""
_CUT: Final = 0.0005
"""and cut off in the middle."""


@dataclass(frozen=True, slots=True)
class Minute:
    """One partition's capture of one minute.

    Attributes:
        partition, start: of the capture's name.
        data: the file.
        events: how many bodies it holds.
    """

    partition: int
    start: datetime
    data: bytes
    events: int


def captures(
    start: datetime, rate: int, partitions: int, first: int, seed: int
) -> Iterator[Minute]:
    """The captures of a minute, one a partition.

    Args:
        start: of the minute; aware.
        rate: events a second.
        partitions: how many share them.
        first: sequence number of the first event, in each partition.
        seed: of everything else.
    """
    each = rate * 60 // partitions
    for partition in range(partitions):
        random = np.random.default_rng([seed, int(start.timestamp()), partition])
        bodies = _bodies(random, start, each)
        yield Minute(partition, start, _capture(bodies, first, start), each)


def _capture(bodies: list[bytes], first: int, start: datetime) -> bytes:
    """A file of one block. `encode_capture` takes ten times as long."""
    seconds = [_varied(f"{_us_time(start + second * SECOND)}".encode()) for second in range(60)]
    each = len(bodies)
    records = [
        b"%b%b%b\x00\x00\x02%b"
        % (
            _long(first + number),
            _varied(b"%d" % ((first + number) * 512)),
            seconds[number * 60 // each],
            _varied(body),
        )
        for number, body in enumerate(bodies)
    ]
    payload = b"".join(records)
    sync = hashlib.blake2b(payload, digest_size=16).digest()
    return encode_header("null", SCHEMA_2017, sync) + encode_block(each, payload, sync)


def _varied(text: bytes) -> bytes:
    """Bytes with their length before them, as Avro writes them."""
    return _long(len(text)) + text


def _long(number: int) -> bytes:
    """A number from 0 on as Avro writes it: doubled, seven bits a byte, the last ones first."""
    number <<= 1
    if number < 0x80:
        return _SHORT[number]
    if number < 0x4000:
        return _SHORT[number & 0x7F | 0x80] + _SHORT[number >> 7]
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


_SHORT: Final = [bytes([number]) for number in range(256)]


def _us_time(moment: datetime) -> str:
    return f"{moment.month}/{moment.day}/{moment.year} {moment.hour % 12 or 12}:{moment:%M:%S %p}"


def _bodies(random: np.random.Generator, start: datetime, count: int) -> list[bytes]:
    names = _names(random, start, count)
    kinds = random.choice(len(_TYPES), count, p=[share for *_, share in _TYPES])
    failed = random.random(count) < _UNKNOWN
    frame = pl.DataFrame(
        {
            "ts": _stamps(random, start, count),
            "uid": random.integers(0, 1 << 62, count),
            "client": _zipf(random, _CLIENTS, count),
            "port": random.integers(1024, 65536, count),
            "resolver": random.integers(1, 5, count),
            "proto": random.random(count) < 0.01,
            "trans": random.integers(0, 65536, count),
            "rtt": random.lognormal(-4.5, 1.2, count),
            "name": names,
            "kind": kinds,
            "failed": failed,
            "address": np.where(names < 0, -names, names) % (1 << 24),
            "ttl": random.choice([30, 60, 300, 3600, 86400], count),
            "drifted": random.random(count) < _DRIFTED,
        }
    )
    name = (
        pl.when(pl.col("name") < 0)
        .then(pl.format("x{}.once{}.example", -pl.col("name"), -pl.col("name") % 9973))
        .otherwise(pl.format("h{}.site{}.example", pl.col("name"), pl.col("name") % _SITES))
    )
    address = pl.format(
        "203.{}.{}.{}",
        pl.col("address") // 65536 % 256,
        pl.col("address") // 256 % 256,
        pl.col("address") % 256,
    )
    answers = (
        pl.when("failed")
        .then(pl.lit(""))
        .when(pl.col("kind") == 0)
        .then(pl.format(',"answers":["{}"],"TTLs":[{}.0]', address, "ttl"))
        .when(pl.col("kind") == 1)
        .then(
            pl.format(
                ',"answers":["edge.{}","2001:db8::{}"],"TTLs":[{}.0,30.0]',
                name,
                pl.col("address") % 9999,
                "ttl",
            )
        )
        .otherwise(pl.lit(""))
    )
    texts = [name for name, *_ in _TYPES]
    numbers = [number for _, number, _ in _TYPES]
    body = pl.format(
        '{{"ts":{},"uid":"C{}","id.orig_h":"{}","id.orig_p":{},"id.resp_h":"192.0.2.{}","id.resp_p":53,'
        '"proto":"{}","trans_id":{},"rtt":{},"query":"{}","qclass":1,"qclass_name":"C_INTERNET",'
        '"qtype":{},"qtype_name":"{}","rcode":{},"rcode_name":"{}","AA":false,"TC":false,"RD":true,'
        '"RA":{},"Z":0{},"rejected":false{}}}',
        "ts",
        pl.col("uid"),
        pl.format(
            "198.{}.{}.{}",
            18 + pl.col("client") // 65536,
            pl.col("client") // 256 % 256,
            pl.col("client") % 256,
        ),
        "port",
        "resolver",
        pl.when("proto").then(pl.lit("tcp")).otherwise(pl.lit("udp")),
        "trans",
        pl.col("rtt").round(6),
        name,
        pl.col("kind").replace_strict(dict(enumerate(numbers)), return_dtype=pl.Int64()),
        pl.col("kind").replace_strict(dict(enumerate(texts)), return_dtype=pl.String()),
        pl.when("failed").then(3).otherwise(0),
        pl.when("failed").then(pl.lit("NXDOMAIN")).otherwise(pl.lit("NOERROR")),
        pl.when("failed").then(pl.lit("false")).otherwise(pl.lit("true")),
        answers,
        pl.when("drifted").then(pl.lit(',"dns_policy":"walled-garden"')).otherwise(pl.lit("")),
    )
    bodies = [text.encode() for text in frame.select(body).to_series()]
    for place in random.integers(0, count, int(count * _CUT)):
        bodies[place] = bodies[place][:100]
    return bodies


def _names(random: np.random.Generator, start: datetime, count: int) -> NDArray[np.int64]:
    """Numbers of names; negative: asked for once."""
    known = _zipf(random, _NAMES, count)
    once = -(int(start.timestamp()) // 60 % 1_000_000 * 1_000_000 + random.permutation(count) + 1)
    return np.where(random.random(count) < _ONCE, once, known)


def _zipf(random: np.random.Generator, many: int, count: int) -> NDArray[np.int64]:
    """Ranks from 0 below `many`, the first most often: as frequent as 1 / (rank + 10)."""
    return (10 * ((many / 10 + 1) ** random.random(count) - 1)).astype(np.int64)


def _stamps(random: np.random.Generator, start: datetime, count: int) -> NDArray[np.float64]:
    """When events were logged: moments before they arrive, and few of them up to two minutes.

    Every tenth minute a sensor is back that was cut off: one in a hundred events is of the same
    three minutes, up to an hour and a half ago.
    """
    before = random.exponential(2.0, count)
    before = np.where(random.random(count) < 0.005, random.uniform(0, 120, count), before)
    if start.minute % 10 == 0:
        away = np.random.default_rng(int(start.timestamp())).uniform(600, 5400)
        is_late = random.random(count) < 0.01
        before = np.where(is_late, away + random.uniform(0, 180, count), before)
    return np.round(start.timestamp() + 60 * np.arange(count) / count - before, 6)
