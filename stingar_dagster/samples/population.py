"""Who is there: sources that attack, the campaigns they run, and the sensors they reach.

Drawn once from a seed, so that different hours of the same seed meet the same attackers. What
happens between them, and when, is decided elsewhere. Shares are heavy-tailed (Zipf): a few
sources make most of the traffic, as on any honeypot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import Generic, TypeVar

from stingar_dagster.samples import vocabulary as words

T = TypeVar("T")

_CAMPAIGNS = 24
_IPV6_SOURCES = 60
_FIRST_IPV6_RANK = 40  # attacks over IPv6 exist; the busiest sources do not use it
_CREDENTIALS_PER_SOURCE = 40


class Ranked(Generic[T]):
    """Items whose chance falls with their rank, as 1 / rank ** steepness."""

    def __init__(self, items: Sequence[T], *, steepness: float = 1.0) -> None:
        self.items = items
        self._shares = list(accumulate((n + 1) ** -steepness for n in range(len(items))))

    def pick(self, rng: Random) -> T:
        return rng.choices(self.items, cum_weights=self._shares)[0]


@dataclass(frozen=True, slots=True)
class Download:
    """A file that a campaign makes its victims fetch."""

    url: str
    file: str
    md5: str
    sha1: str
    sha256: str
    sha512: str


@dataclass(frozen=True, slots=True)
class SshClient:
    """An SSH implementation, as its version text and key exchange betray it."""

    version: str
    kex: tuple[str, ...]
    keys: tuple[str, ...]
    ciphers: tuple[str, ...]
    macs: tuple[str, ...]
    algorithms: str
    hassh: str


@dataclass(frozen=True, slots=True)
class Campaign:
    """One tool in many hands: the same client, script and loot from all of its sources."""

    client: SshClient
    script: tuple[str, ...]
    loot: Download


@dataclass(frozen=True, slots=True)
class Source:
    address: str
    campaign: Campaign
    credentials: Ranked[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Sensor:
    name: str
    address: str
    tags: list[str] | str


@dataclass(frozen=True, slots=True)
class Population:
    sources: Ranked[Source]
    sensors: Ranked[Sensor]


# Every shape that tags were seen in; a shipper's are the same for all its events.
_TAGS: tuple[list[str] | str, ...] = (
    ["beats_input_raw_event"],
    ["beats_input_raw_event"],
    "",
    "campus,dmz",
    ["campus,dmz", "beats_input_raw_event"],
    [],
)


@lru_cache(maxsize=4)
def populate(seed: int, sensors: int) -> Population:
    rng = Random(f"population {seed}")
    campaigns = Ranked([_campaign(rng) for _ in range(_CAMPAIGNS)], steepness=0.7)
    credentials = _credentials(rng)
    return Population(
        sources=Ranked(
            [
                Source(address, campaigns.pick(rng), Ranked(_dictionary(rng, credentials)))
                for address in _addresses(rng)
            ]
        ),
        sensors=Ranked([_sensor(n) for n in range(sensors)], steepness=0.6),
    )


def _addresses(rng: Random) -> list[str]:
    """Attackers' addresses, busiest first; 192.0.2.0/25 is left to the sensors."""
    addresses = [f"198.51.100.{host}" for host in range(1, 255)]
    addresses += [f"203.0.113.{host}" for host in range(1, 255)]
    addresses += [f"192.0.2.{host}" for host in range(129, 255)]
    rng.shuffle(addresses)
    for _ in range(_IPV6_SOURCES):
        address = f"2001:db8:{rng.randrange(1, 0xFFFF):x}::{rng.randrange(1, 0xFFFF):x}"
        addresses.insert(rng.randrange(_FIRST_IPV6_RANK, len(addresses)), address)
    return addresses


def _sensor(number: int) -> Sensor:
    return Sensor(
        name=f"sensor-{number + 1:02}",
        address=f"192.0.2.{10 + number % 110}",
        tags=_TAGS[number % len(_TAGS)],
    )


def _campaign(rng: Random) -> Campaign:
    return Campaign(
        client=_client(rng),
        script=rng.choice(words.SCRIPTS),
        loot=_download(rng),
    )


def _client(rng: Random) -> SshClient:
    kex, keys, ciphers, macs = (
        _some(rng, words.KEX_ALGORITHMS),
        _some(rng, words.HOST_KEY_ALGORITHMS),
        _some(rng, words.CIPHERS),
        _some(rng, words.MACS),
    )
    algorithms = ";".join(",".join(names) for names in (kex, ciphers, macs, ("none",)))
    return SshClient(
        version=rng.choice(words.SSH_CLIENTS),
        kex=kex,
        keys=keys,
        ciphers=ciphers,
        macs=macs,
        algorithms=algorithms,
        hassh=hashlib.md5(algorithms.encode(), usedforsecurity=False).hexdigest(),
    )


def _some(rng: Random, names: tuple[str, ...]) -> tuple[str, ...]:
    """Some of them, in their order."""
    chosen = set(rng.sample(names, rng.randint(2, len(names))))
    return tuple(name for name in names if name in chosen)


def _download(rng: Random) -> Download:
    host = rng.choice(words.LOOT_HOSTS).format(octet=rng.randrange(1, 255))
    file = rng.choice(words.LOOT_FILES)
    url = f"http://{host}/{file}"
    content = f"{url} {rng.random()}".encode()
    return Download(
        url=url,
        file=file,
        md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
        sha1=hashlib.sha1(content, usedforsecurity=False).hexdigest(),
        sha256=hashlib.sha256(content).hexdigest(),
        sha512=hashlib.sha512(content).hexdigest(),
    )


def _credentials(rng: Random) -> Ranked[tuple[str, str]]:
    """Pairs as they circulate: well-known names first, each with passwords and with itself."""
    usernames, passwords = Ranked(words.USERNAMES), Ranked(words.PASSWORDS, steepness=0.8)
    pairs = {("root", "123456"): None, ("admin", "admin"): None, ("root", "root"): None}
    while len(pairs) < 600:
        username = usernames.pick(rng)
        password = username if rng.random() < 0.15 else passwords.pick(rng)
        pairs[username, password] = None
    return Ranked(list(pairs), steepness=0.7)


def _dictionary(rng: Random, credentials: Ranked[tuple[str, str]]) -> list[tuple[str, str]]:
    return [credentials.pick(rng) for _ in range(_CREDENTIALS_PER_SOURCE)]
