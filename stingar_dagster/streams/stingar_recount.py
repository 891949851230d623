"""The stingar stream's daily tables counted a second time, the plain way.

For `stingar verify`: what the columns' meanings say, over the published lines of a day, one event
after the other. Nothing of the tables' declaration, of polars or of partial aggregates may be used
here, or an error there would be confirmed instead of found.
"""

import itertools
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Final

Event = Mapping[str, Any]
Row = dict[str, Any]

_HOUR: Final = timedelta(hours=1)

_MOST_NAMES: Final = 20_000
"""Of fields that came otherwise than declared; 200 of one sensor."""

_USUAL_IN_EXTRA: Final = frozenset(
    (
        "@timestamp", "timestamp", "start_time", "authentication_keys", "args", "form_data",
        "headers", "files", "virustotal", "sip_data", "@version", "@metadata", "host", "agent",
        "ecs", "input", "log", "beat", "offset", "prospector", "fileset", "source",
    )
)  # fmt: skip
_DECLARED_AS: Final = {
    name: kind
    for kind, names in {
        "integer": "client_heigth client_width bytes smb_opnum snort_classification "
        "snort_priority suricata_signature_id suricata_signature_rev ip_id ip_ttl ip_len ip_tos "
        "tcp_len udp_len",
        "port": "src_port dest_port dst_port",
        "list": "tags kex_kex_algorithms kex_key_algorithms kex_enc_cs kex_mac_cs kex_comp_cs "
        "kex_lang_cs",
        "pair": "loggedin",
        "text": "type sensor src_ip dest_ip dst_ip transport protocol app vendor_product "
        "signature severity direction ids_type command ssh_username ssh_password ssh_version "
        "ssh_fingerprint keytype arch kex_hassh kex_hassh_algorithms username password url "
        "request_url hash md5 sha1 sha256 sha512 user_agent eventid message request path "
        "full_path data action status service hdb_event elastichoney_form elastichoney_payload "
        "dionaea_action cmd smb_uuid smb_transfersyntax mqtt_action mqtt_clientid "
        "mqtt_willtopic mqtt_willmessage mqtt_message snort_header suricata_action eth_src "
        "eth_dst tcp_flags p0f_app p0f_link p0f_os p0f_uptime",
    }.items()
    for name in names.split()
}
"""Written out, so that an error in the declaration shows."""


class _Group:
    """What is remembered of the events of one row."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.sources: set[str] = set()
        self.sensors: set[str] = set()
        self.apps: set[str] = set()
        self.ports: set[int] = set()
        self.times: list[str] = []
        self.delays: list[timedelta] = []

    def see(self, event: Event) -> None:
        self.counts["events"] += 1
        self.times.append(event["@timestamp"])
        for values, name in (
            (self.sources, "src_ip"),
            (self.sensors, "sensor"),
            (self.apps, "app"),
            (self.ports, "dest_port"),
        ):
            if name in event:
                values.add(event[name])

    def seen(self) -> Row:
        # Texts of one form and one zone sort as times do.
        return {"first_seen": min(self.times), "last_seen": max(self.times)}


class _Recount:
    """Groups of one table."""

    def __init__(self) -> None:
        self.groups: dict[tuple[Any, ...], _Group] = {}

    def group(self, *key: Any) -> _Group:
        return self.groups.setdefault(key, _Group())

    def add(self, event: Event) -> None:
        raise NotImplementedError

    def row(self, key: tuple[Any, ...], group: _Group) -> Row:
        raise NotImplementedError

    def rows(self, quarantined: int) -> list[Row]:
        """The table's rows in any order, members without a value left out."""
        made = (self.row(key, group) for key, group in self.groups.items())
        return [{name: value for name, value in row.items() if value is not None} for row in made]


class Summary(_Recount):
    def add(self, event: Event) -> None:
        group = self.group(event.get("sensor"), event.get("app"))
        group.see(event)
        kind = event.get("event_kind")
        group.counts["sessions"] += kind == "connection"
        group.counts["login_attempts"] += kind in ("login_attempt", "login_success")
        group.counts["login_successes"] += kind == "login_success"
        group.counts["commands"] += _entered(event)
        group.counts["downloads"] += kind == "download"
        delay = _delay(event)
        group.counts["late"] += delay is not None and delay > _HOUR

    def row(self, key: tuple[Any, ...], group: _Group) -> Row:
        names = ("events", "sessions", "login_attempts", "login_successes", "commands")
        counted = {name: group.counts[name] for name in (*names, "downloads", "late")}
        place = {"sensor": key[0], "app": key[1]}
        return {**place, **counted, "unique_sources": len(group.sources), "quarantined": 0}

    def rows(self, quarantined: int) -> list[Row]:
        return super().rows(0) + ([{"quarantined": quarantined}] if quarantined else [])


class Sources(_Recount):
    def __init__(self) -> None:
        super().__init__()
        self.first: dict[str, tuple[str, str]] = {}

    def add(self, event: Event) -> None:
        if "src_ip" in event:
            source = event["src_ip"]
            self.group(source).see(event)
            if "sensor" in event:
                seen = (event["@timestamp"], event["sensor"])
                self.first[source] = min(self.first.get(source, seen), seen)

    def row(self, key: tuple[Any, ...], group: _Group) -> Row:
        return {
            "src_ip": key[0],
            "events": group.counts["events"],
            "sensors": sorted(group.sensors),
            "apps": sorted(group.apps),
            "ports": sorted(group.ports),
            **group.seen(),
            "first_sensor": self.first[key[0]][1] if key[0] in self.first else None,
        }


class Ports(_Recount):
    def add(self, event: Event) -> None:
        if "dest_port" in event:
            self.group(event["dest_port"], event.get("transport")).see(event)

    def row(self, key: tuple[Any, ...], group: _Group) -> Row:
        counted = {"events": group.counts["events"], "unique_sources": len(group.sources)}
        return {"dest_port": key[0], "transport": key[1], **counted}


class Credentials(_Recount):
    def add(self, event: Event) -> None:
        if event.get("event_kind") in ("login_attempt", "login_success"):
            key = (event.get("username"), event.get("password"), event.get("protocol"))
            group = self.group(*key)
            group.see(event)
            group.counts["successes"] += event["event_kind"] == "login_success"

    def row(self, key: tuple[Any, ...], group: _Group) -> Row:
        return {
            "username": key[0],
            "password": key[1],
            "protocol": key[2],
            "attempts": group.counts["events"],
            "successes": group.counts["successes"],
            "unique_sources": len(group.sources),
        }


class Commands(_Recount):
    def add(self, event: Event) -> None:
        if _entered(event) and "command" in event:
            self.group(event["command"]).see(event)

    def row(self, key: tuple[Any, ...], group: _Group) -> Row:
        return {"command": key[0], **_where_seen(group)}


class Downloads(_Recount):
    def add(self, event: Event) -> None:
        for artifact in (*event.get("urls", ()), *event.get("hashes", ())):
            self.group(artifact).see(event)

    def row(self, key: tuple[Any, ...], group: _Group) -> Row:
        kind = "url" if "://" in key[0] else "hash"
        return {"artifact": key[0], "artifact_kind": kind, **_where_seen(group)}


class Fingerprints(_Recount):
    def add(self, event: Event) -> None:
        if "kex_hassh" in event or "ssh_version" in event:
            self.group(event.get("kex_hassh"), event.get("ssh_version")).see(event)

    def row(self, key: tuple[Any, ...], group: _Group) -> Row:
        return {"kex_hassh": key[0], "ssh_version": key[1], **_where_seen(group)}


class Sensors(_Recount):
    def add(self, event: Event) -> None:
        if "sensor" in event:
            group = self.group(event["sensor"])
            group.see(event)
            delay = _delay(event)
            if delay is not None:
                group.delays.append(delay)

    def row(self, key: tuple[Any, ...], group: _Group) -> Row:
        times = sorted(map(datetime.fromisoformat, group.times))
        silences = [(after - before) for before, after in itertools.pairwise(times)]
        seconds = [delay // timedelta(seconds=1) for delay in group.delays]
        return {
            "sensor": key[0],
            "events": group.counts["events"],
            "unique_sources": len(group.sources),
            "longest_silence_seconds": max(silences, default=timedelta()) / timedelta(seconds=1),
            "median_delay_seconds": float(median(seconds)) if seconds else None,
            "longest_delay_seconds": max(seconds, default=None),
            **group.seen(),
        }


class Hours(_Recount):
    def add(self, event: Event) -> None:
        self.group(int(event["@timestamp"][11:13]), event.get("app")).see(event)

    def row(self, key: tuple[Any, ...], group: _Group) -> Row:
        return {"hour": key[0], "app": key[1], "events": group.counts["events"]}


class Drift:
    """Names are what senders invent, so those that can't be told any more are given up early."""

    def __init__(self) -> None:
        self.told: dict[str | None, dict[str, dict[str, _Sent]]] = {}
        self.names = 0
        self.rest = _Sent()

    def add(self, event: Event) -> None:
        texts = _members(event["extra"]) if "extra" in event else {}
        unexpected = [(name, text) for name, text in texts.items() if name not in _USUAL_IN_EXTRA]
        for name, text in unexpected[:64]:
            names = self.told.setdefault(event.get("sensor"), {})
            if name[:100] not in names:
                self.names += 1
            kinds = names.setdefault(name[:100], {})
            kinds.setdefault(_json_type(text), _Sent()).see(1, event["@timestamp"], text[:80])
        if unexpected[64:]:
            self.rest.see(len(unexpected[64:]), event["@timestamp"], None)
        if self.names > 2 * _MOST_NAMES:
            self.give_up()

    def give_up(self) -> None:
        """Move to the rest what is beyond so many names of a sensor, and of all sensors."""
        ranked = [
            (name not in _DECLARED_AS, len(name), name, sensor is None, sensor or "", sensor)
            for sensor, names in self.told.items()
            for name in names
        ]
        ranked.sort(key=lambda item: item[:5])
        kept: Counter[str | None] = Counter()
        total = 0
        for _, _, name, _, _, sensor in ranked:
            if kept[sensor] < 200 and total < _MOST_NAMES:
                kept[sensor] += 1
                total += 1
            else:
                for sent in self.told[sensor].pop(name).values():
                    self.rest.add(sent)
        self.names = total

    def rows(self, quarantined: int) -> list[Row]:
        self.give_up()
        rows = [
            {
                "sensor": sensor,
                "field": name,
                "sent_as": kind,
                "declared_as": _DECLARED_AS.get(name, "not declared"),
                **sent.row(),
            }
            for sensor, names in self.told.items()
            for name, kinds in names.items()
            for kind, sent in kinds.items()
        ]
        rows += [self.rest.row()] if self.rest.events else []
        return [{name: value for name, value in row.items() if value is not None} for row in rows]


@dataclass(slots=True)
class _Sent:
    """What is remembered of the fields of one row; millions of them may come in a day."""

    events: int = 0
    first: str = "~"
    last: str = ""
    example: str | None = None

    def see(self, events: int, time: str, example: str | None) -> None:
        self.add(_Sent(events, time, time, example))

    def add(self, other: "_Sent") -> None:
        self.events += other.events
        self.first = min(self.first, other.first)
        self.last = max(self.last, other.last)
        if other.example is not None:
            self.example = min(self.example or other.example, other.example)

    def row(self) -> Row:
        seen = {"first_seen": self.first, "last_seen": self.last}
        return {"events": self.events, "example": self.example, **seen}


RECOUNTS: Final[dict[str, Callable[[], _Recount | Drift]]] = {
    "daily_summary": Summary,
    "daily_sources": Sources,
    "daily_ports": Ports,
    "daily_credentials": Credentials,
    "daily_commands": Commands,
    "daily_downloads": Downloads,
    "daily_fingerprints": Fingerprints,
    "daily_sensors": Sensors,
    "daily_hours": Hours,
    "daily_drift": Drift,
}


def _members(text: str) -> dict[str, str]:
    """The members of a JSON object, their values as they were sent."""
    # Digits stay text: Python refuses to read very long numbers.
    scan = json.JSONDecoder(parse_int=str, parse_float=str, strict=False).raw_decode
    members: dict[str, str] = {}
    at = 1
    while True:
        while text[at] in " \t\r\n,":
            at += 1
        if text[at] == "}":
            return members
        name, at = scan(text, at)
        while text[at] in " \t\r\n:":
            at += 1
        _, end = scan(text, at)
        members[name], at = text[at:end], end


def _json_type(text: str) -> str:
    if text[0] in "tf":
        return "boolean"
    return {'"': "string", "{": "object", "[": "list", "n": "null"}.get(text[0], "number")


def _entered(event: Event) -> bool:
    # A command that failed is sent twice, as "command" and as "unknown command".
    is_command = event.get("event_kind") == "command"
    return is_command and "unknown command" not in event.get("signature", "").lower()


def _delay(event: Event) -> timedelta | None:
    """From logged to received; None where it is not known when that was."""
    if "enqueued_at" not in event:
        return None
    return datetime.fromisoformat(event["enqueued_at"]) - datetime.fromisoformat(
        event["@timestamp"]
    )


def _where_seen(group: _Group) -> Row:
    return {
        "events": group.counts["events"],
        "unique_sources": len(group.sources),
        "sensors": sorted(group.sensors),
        **group.seen(),
    }
