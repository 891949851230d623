"""The joined table of the stream `dns` counted a second time, the plain way.

For `stingar verify`: what the columns' meanings say, over the published lines of a day, one event
after the other, and the published lines of the honeypots' tables. Nothing of how the table is made
may be used here, or an error there would be confirmed instead of found. What is held is bounded by
the table's own bounds.
"""

import ipaddress
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

import idna

Row = dict[str, Any]

_MOST_ROWS: Final = 10_000
_MOST_FOUND: Final = 2_000
_MOST_SOUGHT: Final = 200_000
_MOST_CLIENTS: Final = 100
_LONGEST: Final = 255
_DIGESTS: Final = 256


@dataclass(slots=True)
class _Seen:
    """What honeypots saw of one indicator."""

    downloads: int = 0
    attacks: int = 0
    sensors: set[str] = field(default_factory=set)
    first: str = ""
    last: str = ""
    link: str = ""

    def see(self, row: Mapping[str, Any]) -> None:
        self.sensors.update(row.get("sensors", ()))
        self.first = min(self.first or row["first_seen"], row["first_seen"])
        self.last = max(self.last, row["last_seen"])

    def rank(self, indicator: str) -> tuple[Any, ...]:
        events = self.downloads + self.attacks
        return (not self.downloads, not self.attacks, -len(self.sensors), -events, indicator)


@dataclass(slots=True)
class _Asked:
    """What one client did about one indicator."""

    queries: int = 0
    first: tuple[Any, ...] = ()
    last: str = ""
    in_name: bool = False
    in_answers: bool = False
    resolvers: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Found:
    """Who looked up one indicator: all of them counted, some of them told."""

    queries: int = 0
    clients: set[int] = field(default_factory=set)
    told: dict[str, _Asked] = field(default_factory=dict)

    def keep_fewest(self) -> None:
        fewest = sorted(self.told, key=lambda client: (_digest(client), client))[:_MOST_CLIENTS]
        self.told = {client: self.told[client] for client in fewest}


class Exposures:
    """Clients that looked up what honeypots saw.

    Args:
        rows: of the honeypots' tables `daily_downloads` and `daily_sources`, of the day and the
            seven days before.
    """

    def __init__(self, rows: Iterable[tuple[str, str, Mapping[str, Any]]]) -> None:
        seen: dict[str, _Seen] = {}
        for _, table, row in rows:
            if table == "daily_downloads":
                indicator = _host(row.get("artifact", ""))
                if indicator is not None:
                    of = seen.setdefault(indicator, _Seen())
                    of.see(row)
                    of.downloads += row["events"]
                    of.link = min(of.link or row["artifact"], row["artifact"])
            elif table == "daily_sources":
                indicator = _address(row.get("src_ip", ""))
                if indicator is not None:
                    of = seen.setdefault(indicator, _Seen())
                    of.see(row)
                    of.attacks += row["events"]
        ranked = sorted(seen, key=lambda indicator: seen[indicator].rank(indicator))
        self._seen = {indicator: seen[indicator] for indicator in ranked[:_MOST_SOUGHT]}
        self._rank = {indicator: place for place, indicator in enumerate(self._seen)}
        self._there: set[str] = set()
        self._found: dict[str, _Found] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        """Count one published event."""
        hits: dict[str, tuple[bool, str | None]] = {}
        name, answers = event.get("query_name"), event.get("answers") or ()
        asked_for = _stands_for(name or "")
        if asked_for in self._seen:
            hits[asked_for] = (True, None)
        for answer in answers:
            value = _stands_for(answer or "")
            if value in self._seen:
                in_name, known = hits.get(value, (False, None))
                hits[value] = (in_name, answer if known is None else known)
        self._there |= hits.keys()
        if "client_ip" not in event:
            return
        for indicator, (in_name, answer) in hits.items():
            self._count(event, indicator, in_name, answer)

    def _count(
        self, event: Mapping[str, Any], indicator: str, in_name: bool, answer: str | None
    ) -> None:
        client, time = event["client_ip"], event["@timestamp"]
        found = self._found.setdefault(indicator, _Found())
        found.queries += 1
        _add(found.clients, _digest(client))
        asked = found.told.setdefault(client, _Asked())
        asked.queries += 1
        asked.in_name |= in_name
        asked.in_answers |= answer is not None
        shown = next(iter(event.get("answers") or ()), None) if answer is None else answer
        first = (time, _sortable(event.get("query_name")), _sortable(shown))
        asked.first = min(asked.first or first, first)
        asked.last = max(asked.last, time)
        if event.get("resolver_ip") is not None:
            _add(asked.resolvers, _digest(event["resolver_ip"]))
        if len(found.told) > 2 * _MOST_CLIENTS:
            found.keep_fewest()
        if len(self._found) > 2 * _MOST_FOUND:
            best = sorted(self._found, key=self._rank.__getitem__)[:_MOST_FOUND]
            self._found = {indicator: self._found[indicator] for indicator in best}

    def rows(self, quarantined: int) -> list[Row]:
        """The table's rows in any order, members without a value left out."""
        best = sorted(self._there, key=self._rank.__getitem__)[:_MOST_FOUND]
        not_looked_into = len(self._there) - len(best)
        made: list[tuple[tuple[Any, ...], Row]] = []
        for indicator in best:
            if indicator in self._found:
                made += self._rows_of(indicator, self._found[indicator])
        made.sort(key=lambda item: item[0])
        told, beyond = made[:_MOST_ROWS], [row for _, row in made[_MOST_ROWS:]]
        rows = [row for _, row in told]
        if beyond or not_looked_into:
            named = {row["indicator"] for row in rows}
            unnamed = {row["indicator"] for row in beyond} - named
            rows.append(
                {
                    "queries": sum(row["queries"] for row in beyond),
                    "indicators": not_looked_into + len(unnamed),
                }
            )
        return [{name: v for name, v in row.items() if v is not None} for row in rows]

    def _rows_of(self, indicator: str, found: _Found) -> Iterable[tuple[tuple[Any, ...], Row]]:
        seen = self._seen[indicator]
        clients = _number(found.clients)
        both = {
            "indicator": indicator,
            "seen_as": [
                *(["download host"] if seen.downloads else []),
                *(["attacking source"] if seen.attacks else []),
            ],
            "unique_clients": clients,
            "downloads": seen.downloads or None,
            "attacks": seen.attacks or None,
            "unique_sensors": len(seen.sensors),
            "sensors": [sensor[:_LONGEST] for sensor in sorted(seen.sensors)[:20]],
            "first_seen": seen.first,
            "last_seen": seen.last,
            "example_seen": seen.link[:_LONGEST] or None,
        }
        found.keep_fewest()
        order = (not seen.downloads, not seen.attacks, clients, -len(seen.sensors))
        for client, asked in found.told.items():
            yield (
                (*order, False, -asked.queries, indicator, client),
                {
                    **both,
                    "client_ip": client,
                    "found_in": [
                        *(["query_name"] if asked.in_name else []),
                        *(["answers"] if asked.in_answers else []),
                    ],
                    "queries": asked.queries,
                    "first_query": asked.first[0],
                    "last_query": asked.last,
                    "example_name": asked.first[1][1],
                    "example_answer": asked.first[2][1],
                    "unique_resolvers": _number(asked.resolvers),
                },
            )
        others = found.queries - sum(asked.queries for asked in found.told.values())
        if others:
            yield (*order, True, -others, indicator, ""), {**both, "queries": others}


def _sortable(text: str | None) -> tuple[bool, str | None]:
    """A text to be compared, nothing standing first; cut as it is shown."""
    return (False, None) if text is None else (True, text[:_LONGEST])


def _stands_for(text: str) -> str | None:
    """A name or address as it is compared; None for what is neither."""
    if not text or len(text) > 255:
        return None
    address = _address(text)
    if address is not None:
        return address
    name = text.lower()
    if name.endswith("."):
        name = name[:-1]
    name = ".".join(map(_label, name.split(".")))
    if not name or any(letter.isspace() for letter in name):
        return None
    labels = name.split(".")
    if labels[-2:] == ["in-addr", "arpa"]:
        return _address(".".join(labels[-3::-1])) or name
    if labels[-2:] == ["ip6", "arpa"] and len(labels) == 34:
        digits = labels[-3::-1]
        if all(len(digit) == 1 for digit in digits):
            grouped = ("".join(digits[place : place + 4]) for place in range(0, 32, 4))
            return _address(":".join(grouped)) or name
    return name


def _label(label: str) -> str:
    if label.isascii():
        return label
    try:
        return idna.encode(label, uts46=True).decode()
    except idna.IDNAError:
        return label


def _address(text: str) -> str | None:
    if "%" in text or "/" in text:
        return None
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def _host(link: str) -> str | None:
    place = link.find("://")
    if place < 0:
        return None
    host = ""
    for letter in link[place + 3 :]:
        if letter in "/?#":
            break
        host = "" if letter == "@" else host + letter
    if host[:1] == "[":
        return _address(host[1:].split("]")[0])
    if host.count(":") == 1:
        host = host[: host.index(":")]
    return _stands_for(host)


def _digest(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def _add(digests: set[int], digest: int) -> None:
    digests.add(digest)
    if len(digests) > _DIGESTS:
        digests.discard(max(digests))


def _number(digests: set[int]) -> int:
    """How many distinct values there were, from their least digests."""
    if len(digests) < _DIGESTS:
        return len(digests)
    return math.floor(2.0**63 * (_DIGESTS - 1) / float(max(digests)) + 0.5)
