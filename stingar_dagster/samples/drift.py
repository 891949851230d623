"""What changes in events on their way, release by release: fields, types, time stamps, packing.

Everything here is still readable, and must come out with nothing lost. What is beyond reading
stands in `damage`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, timezone
from random import Random

import msgspec

from stingar_dagster.samples.visits import Event

# Of the drifting bodies, how many hold several events or spread one over several lines.
PACKED_SHARE = 0.2

_TWO_HOURS_EAST = timezone(timedelta(hours=2))


def drift(rng: Random, event: Event, stamped: datetime) -> Event:
    """The same event, one thing about it unlike the others'."""
    return rng.choice(_DRIFTS)(rng, event, stamped)


def pack(rng: Random, events: Sequence[Event]) -> bytes:
    """The events as one body, in any way but the usual one."""
    return rng.choice(_PACKINGS)(events)


def _undeclared_fields(rng: Random, event: Event, stamped: datetime) -> Event:
    novelties: tuple[Event, ...] = (
        {"sensor_build": "2.0.1", "risk": {"score": 0.83, "model": None}},
        {"geoip": {"country": "ZZ", "location": [0.0, 0.0]}},
        {"event_id": "f00", "enqueued_at": "yesterday", "extra": {"depth": {"more": [1]}}},
        {"session": f"{rng.randrange(1 << 48):012x}", "duration": rng.random() * 300},
        {"caf\u00e9": "\U0001f41d", "": 1, "a.b": {"c.d": True}},
    )
    return event | rng.choice(novelties)


def _other_types(rng: Random, event: Event, stamped: datetime) -> Event:
    changes: tuple[Event, ...] = (
        {"src_port": float(str(event["src_port"])), "dest_port": ""},
        {"src_port": {"number": event["src_port"]}},
        {"severity": 3},
        {"signature": [event["signature"]]},
        {"tags": {"added": event["tags"]}},
        {"loggedin": {"user": "root", "password": "123456"}},
        {"command": ["uname", "-a"]},
        {"dest_ip": [event.get("dest_ip")]},
        {"sensor": {"hostname": event["sensor"]}},
    )
    return event | rng.choice(changes)


def _beats_metadata(rng: Random, event: Event, stamped: datetime) -> Event:
    """Of the seventh and of the sixth generation; `host` is an object in one, text in the other."""
    name, offset = event["sensor"], rng.randrange(1 << 30)
    shippers: tuple[Event, ...] = (
        {
            "host": {"name": name},
            "agent": {"type": "filebeat", "version": "7.17.3", "hostname": name},
            "ecs": {"version": "1.12.0"},
            "input": {"type": "log"},
            "log": {"file": {"path": "/var/log/honeypot.json"}, "offset": offset},
        },
        {
            "host": name,
            "beat": {"name": name, "version": "6.8.23"},
            "prospector": {"type": "log"},
            "offset": offset,
        },
    )
    added: Event = {"@version": "1", "tags": ["beats_input_codec_plain_applied"]}
    return event | rng.choice(shippers) | added


def _other_times(rng: Random, event: Event, stamped: datetime) -> Event:
    """The same moment written otherwise; or nonsense; or nothing."""
    text = stamped.strftime("%Y-%m-%dT%H:%M:%S")
    milliseconds = int(stamped.timestamp() * 1000)
    times: tuple[Event, ...] = (
        {"@timestamp": milliseconds},
        {"@timestamp": milliseconds / 1000},
        {"@timestamp": str(milliseconds // 1000)},
        {"@timestamp": f"{text}Z"},
        {"@timestamp": text},
        {"@timestamp": stamped.astimezone(_TWO_HOURS_EAST).isoformat(timespec="milliseconds")},
        {"@timestamp": {"$date": f"{text}.{milliseconds % 1000:03}+0000"}},
        {"timestamp": f"{text}.{stamped.microsecond:06}Z"},
        {"timestamp": f"{text}.{stamped.microsecond:06}"},
        {"@timestamp": "1970-01-01T00:00:00.000Z"},
        {"@timestamp": "not known"},
        {},
    )
    untimed = {name: value for name, value in event.items() if name != "@timestamp"}
    return untimed | rng.choice(times)


def _second_version(rng: Random, event: Event, stamped: datetime) -> Event:
    """The nested form of STINGAR v2."""
    kept = ("type", "app", "signature", "src_ip", "src_port", "protocol")
    moved = {"sensor", "tags", "dest_ip", "dest_port", "@timestamp", *kept}
    return {name: event[name] for name in kept if name in event} | {
        "sensor": {
            "uuid": f"{rng.getrandbits(128):032x}",
            "hostname": event["sensor"],
            "tags": event["tags"],
            "asn": 64496,
        },
        "start_time": (stamped - timedelta(seconds=rng.randrange(1, 60))).isoformat(),
        "end_time": stamped.isoformat(),
        "dst_ip": event.get("dest_ip"),
        "dst_port": event["dest_port"],
        "hp_data": {name: value for name, value in event.items() if name not in moved},
    }


_DRIFTS: tuple[Callable[[Random, Event, datetime], Event], ...] = (
    _undeclared_fields,
    _other_types,
    _beats_metadata,
    _other_times,
    _second_version,
)


def _array(events: Sequence[Event]) -> bytes:
    return msgspec.json.encode(events)


def _records(events: Sequence[Event]) -> bytes:
    """As Azure's own diagnostic logs come."""
    return msgspec.json.encode({"records": events})


def _lines(events: Sequence[Event]) -> bytes:
    return b"\n".join(msgspec.json.encode(event) for event in events) + b"\n"


def _pretty(events: Sequence[Event]) -> bytes:
    """Lines that are no events: only the whole is JSON."""
    packed = events[0] if len(events) == 1 else events
    return msgspec.json.format(msgspec.json.encode(packed), indent=2)


_PACKINGS: tuple[Callable[[Sequence[Event]], bytes], ...] = (_array, _records, _lines, _pretty)
