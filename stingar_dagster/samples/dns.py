"""What campus clients ask their resolvers, generated: as zeek, BIND and dnstap would log it.

Clients ask for some names again and again and for others once; there are typing errors and search
lists that answer NXDOMAIN, a client that carries data out in names, a few clients that ask for
hosts from which sample honeypots see downloads, one that is answered an attacker's address, and
lines that are half, drifted or of another format. Every address is of RFC 5737 or RFC 3849, every
name of RFC 2606 or RFC 6761. Not here: honeypots (`traffic`).
"""

import base64
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

import msgspec

from stingar_dagster.samples.traffic import Sample

RESOLVERS: Final = ("192.0.2.53", "192.0.2.153", "2001:db8::53")
TUNNEL: Final = "cdn-sync.example"
"""Domain that one client carries data to."""

DOWNLOAD_HOSTS: Final = ("malware.example", "dl.example.net")
"""Names among `vocabulary.LOOT_HOSTS`."""
EXPOSED: Final = ("198.51.100.23", "198.51.100.87", "2001:db8:c::6a")
"""Clients that ask for them."""
ANSWERED_AN_ATTACKER: Final = "198.51.100.142"
"""Client whose answers hold the address of an attacker."""

_CLIENTS: Final = 240
_SITES: Final = tuple(
    f"{word}.{domain}"
    for domain in ("example.org", "example.net", "example.com")
    for word in (
        "www",
        "mail",
        "login",
        "api",
        "static",
        "img",
        "updates",
        "time",
        "library",
        "lms",
    )
)
_FORMATS: Final = (("json", 60), ("tsv", 25), ("bind", 10), ("dnstap", 5))
_TYPES: Final = (("A", 1, 62), ("AAAA", 28, 24), ("HTTPS", 65, 8), ("PTR", 12, 3), ("TXT", 16, 3))
_encode: Final = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class _Query:
    """One query and its answer, before it is written down."""

    at: datetime
    client: str
    port: int
    resolver: str
    transport: str
    name: str
    qtype: str
    number: int
    rcode: str
    answers: tuple[str, ...]
    ttl: float
    rtt: float
    uid: str
    trans_id: int


def dns_traffic(
    start: datetime,
    end: datetime,
    *,
    events_per_hour: float,
    seed: int,
    drift: float = 0.005,
    damage: float = 0.002,
) -> Iterator[Sample]:
    """What arrives from `start` until before `end`, in order; the same for the same arguments.

    Args:
        start, end: aware; a range.
        events_per_hour: the mean of a day; afternoons (UTC) are busier than nights.
        seed: of the traffic.
        drift: share of bodies with something that nobody declared.
        damage: share that is half a line, or none.
    """
    if start.tzinfo is None or end.tzinfo is None:
        raise ValueError("start and end need a time zone")
    if events_per_hour <= 0 or not 0 <= drift + damage <= 1:
        raise ValueError("events_per_hour must be positive, drift and damage shares of one")
    rng = Random(f"dns {seed} {start.astimezone(UTC).isoformat()}")
    at = start.astimezone(UTC)
    while True:
        busy = 1 + 0.6 * math.sin((at.hour + at.minute / 60 - 9) / 24 * 2 * math.pi)
        at += timedelta(seconds=rng.expovariate(events_per_hour * busy / 3600))
        if at >= end:
            return
        query = _query(rng, at)
        kind = rng.choices([name for name, _ in _FORMATS], [share for _, share in _FORMATS])[0]
        body = _WRITERS[kind](query)
        chance = rng.random()
        if chance < damage:
            body = rng.choice((body[: len(body) // 2], b"last message repeated 3 times"))
        elif chance < damage + drift and body.startswith(b"{"):
            body = body[:-1] + b',"dns_policy":"walled-garden"}'
        yield Sample(at, body, query.resolver)


def _query(rng: Random, at: datetime) -> _Query:
    client = rng.choices(range(_CLIENTS), [1 / (n + 3) for n in range(_CLIENTS)])[0]
    ip = f"198.51.100.{client + 1}" if client % 5 else f"2001:db8:c::{client + 1:x}"
    qtype, number, _ = rng.choices(_TYPES, [share for *_, share in _TYPES])[0]
    name, rcode = _name(rng, at), "NOERROR"
    if rng.random() < 0.004:
        ip, qtype, number, name = "198.51.100.66", "TXT", 16, f"{_data(rng)}.t.{TUNNEL}"
    elif qtype == "PTR":
        name = f"{rng.randrange(64, 128)}.2.0.192.in-addr.arpa"
    elif rng.random() < 0.06:
        name, rcode = f"{name}.campus.test", "NXDOMAIN"
    elif rng.random() < 0.004:
        rcode = "SERVFAIL"
    answers = _answers(rng, name, qtype) if rcode == "NOERROR" else ()
    chance = rng.random()
    if chance < 0.003:
        ip, qtype, number, rcode = rng.choice(EXPOSED), "A", 1, "NOERROR"
        name, answers = rng.choice(DOWNLOAD_HOSTS), ("192.0.2.66",)
    elif chance < 0.006:
        ip, qtype, number, rcode = ANSWERED_AN_ATTACKER, "A", 1, "NOERROR"
        name, answers = "cheap.hosting.example", (f"203.0.113.{rng.randrange(10, 18)}",)
    return _Query(
        at, ip, rng.randrange(1024, 65536), rng.choice(RESOLVERS),
        "tcp" if rng.random() < 0.01 else "udp", name, qtype, number, rcode, answers,
        float(rng.choice((30, 60, 300, 3600, 86400))), rng.lognormvariate(-4.5, 1.2),
        "C" + "".join(rng.choices("abcdefghijkmnpqrstuvwxyzABCDEFGH0123456789", k=17)),
        rng.randrange(65536),
    )  # fmt: skip


def _name(rng: Random, at: datetime) -> str:
    chance = rng.random()
    if chance < 0.80:
        return rng.choices(_SITES, [1 / (n + 1) for n in range(len(_SITES))])[0]
    if chance < 0.97:
        return f"h{rng.randrange(4000)}.site{rng.randrange(300)}.example"
    if chance < 0.985:
        # Each day brings names that were not there the day before.
        return f"www.new{at.toordinal() * 40 + rng.randrange(40)}.example"
    return rng.choice(("WWW.Example.ORG", "b\u00fccher.example", "_ldap._tcp.dc.test", "localhost"))


def _data(rng: Random) -> str:
    return base64.b32encode(rng.randbytes(30)).decode().lower()


def _answers(rng: Random, name: str, qtype: str) -> tuple[str, ...]:
    match qtype:
        case "A":
            # No sample attacker has these.
            own = f"192.0.2.{64 + sum(name.encode()) % 64}"
            return (own,) if rng.random() < 0.7 else (f"edge.{name}", own)
        case "AAAA":
            return (f"2001:db8:a::{sum(name.encode()):x}",)
        case "PTR":
            return ("host.example.net",)
        case "TXT":
            return (f"TXT 12 {rng.randrange(10**12):012}",)
    return ()


def _zeek(query: _Query) -> dict[str, object]:
    """The members of zeek's JSON, in the order of its columns."""
    members: dict[str, object] = {
        "ts": round(query.at.timestamp(), 6), "uid": query.uid, "id.orig_h": query.client,
        "id.orig_p": query.port, "id.resp_h": query.resolver, "id.resp_p": 53,
        "proto": query.transport, "trans_id": query.trans_id, "rtt": query.rtt,
        "query": query.name, "qclass": 1, "qclass_name": "C_INTERNET", "qtype": query.number,
        "qtype_name": query.qtype, "rcode": _RCODES[query.rcode], "rcode_name": query.rcode,
        "AA": False, "TC": False, "RD": True, "RA": query.rcode == "NOERROR", "Z": 0,
    }  # fmt: skip
    if query.answers:
        members["answers"] = query.answers
        members["TTLs"] = [query.ttl] * len(query.answers)
    return members | {"rejected": False}


_RCODES: Final = {"NOERROR": 0, "SERVFAIL": 2, "NXDOMAIN": 3}


def _json(query: _Query) -> bytes:
    return _encode(_zeek(query))


def _tsv(query: _Query) -> bytes:
    members = _zeek(query)
    seconds, micros = divmod((query.at - datetime(1970, 1, 1, tzinfo=UTC)) // _MICROSECOND, 10**6)
    members |= {"ts": f"{seconds}.{micros:06}", "rtt": f"{query.rtt:.6f}"}
    members.setdefault("answers", None)
    members.setdefault("TTLs", None)
    rejected = members.pop("rejected")
    return "\t".join(_cell(value) for value in [*members.values(), rejected]).encode()


_MICROSECOND: Final = timedelta(microseconds=1)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "T" if value else "F"
    if isinstance(value, float):
        return f"{value:.6f}"
    if isinstance(value, list | tuple):
        return ",".join(map(_cell, value))
    # Zeek writes bytes beyond ASCII as escapes.
    return "".join(
        letter if letter.isascii() else "".join(f"\\x{byte:02x}" for byte in letter.encode())
        for letter in str(value)
    )


def _bind(query: _Query) -> bytes:
    name = "".join(
        letter if letter.isascii() else "".join(f"\\{byte:03}" for byte in letter.encode())
        for letter in query.name
    )
    flags = "+E(0)" + ("T" if query.transport == "tcp" else "") + "K"
    stamp = f"{query.at:%d-%b-%Y %H:%M:%S}.{query.at.microsecond // 1000:03}"
    return (
        f"{stamp} queries: info: client @0x7f{query.trans_id:010x} {query.client}#{query.port} "
        f"({name}): query: {name} IN {query.qtype} {flags} ({query.resolver})"
    ).encode()


def _dnstap(query: _Query) -> bytes:
    return _encode(
        {
            "message": "CLIENT_RESPONSE", "identity": "resolver-1",
            "s_family": "INET6" if ":" in query.client else "INET", "q_addr": query.client,
            "q_port": query.port, "dt_query": f"{query.at:%Y-%m-%dT%H:%M:%S.%f}Z",
            "q_name": f"{query.name}.", "q_type": query.qtype, "r_code": query.rcode,
        }
    )  # fmt: skip


_WRITERS: Final = {"json": _json, "tsv": _tsv, "bind": _bind, "dnstap": _dnstap}
