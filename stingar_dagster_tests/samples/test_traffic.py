"""The sample traffic has the shapes, shares and faults that it promises, and nothing real in it.

What the pipeline makes of such traffic is tested where the pipeline is.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice, pairwise
from typing import Any

import msgspec
import pytest

from stingar_dagster.samples import vocabulary
from stingar_dagster.samples.honeypots import HONEYPOTS
from stingar_dagster.samples.traffic import Sample, traffic

START = datetime(2022, 5, 19, tzinfo=UTC)
DAY = timedelta(days=1)


def a_day(events_per_hour: float = 500, seed: int = 7, **settings: Any) -> list[Sample]:
    return list(traffic(START, START + DAY, events_per_hour=events_per_hour, seed=seed, **settings))


def undisturbed(**settings: Any) -> list[Sample]:
    return a_day(**{"drift": 0, "damage": 0, "late": 0} | settings)


@pytest.fixture(scope="module")
def day() -> list[Sample]:
    """As the defaults make it."""
    return a_day()


@pytest.fixture(scope="module")
def faulty_day() -> list[Sample]:
    return a_day(drift=0.3, damage=0.1, late=0.1)


@pytest.fixture(scope="module")
def plain_day() -> list[Sample]:
    return undisturbed()


@pytest.fixture(scope="module")
def drifting_day() -> list[Sample]:
    return undisturbed(drift=1)


@pytest.fixture(scope="module")
def plain_events(plain_day: list[Sample]) -> list[dict[str, Any]]:
    return [json.loads(sample.body) for sample in plain_day]


# The traffic as a whole


def test_the_same_arguments_give_the_same_traffic(day: list[Sample]) -> None:
    assert day == a_day()


def test_another_seed_gives_other_traffic(day: list[Sample]) -> None:
    bodies = {sample.body for sample in day}
    others = {sample.body for sample in a_day(seed=8)}
    assert len(bodies & others) < len(bodies) / 100


def test_the_next_range_brings_the_same_attackers_with_fresh_traffic(
    plain_events: list[dict[str, Any]],
) -> None:
    next_day = traffic(
        START + DAY, START + 2 * DAY, events_per_hour=500, seed=7, drift=0, damage=0, late=0
    )
    next_events = [json.loads(sample.body) for sample in next_day]

    def busiest(events: Iterable[dict[str, Any]]) -> Any:
        return Counter(event["src_ip"] for event in events).most_common(1)[0][0]

    assert busiest(plain_events) == busiest(next_events)
    assert {(e["src_ip"], e["src_port"]) for e in islice(plain_events, 100)} != {
        (e["src_ip"], e["src_port"]) for e in islice(next_events, 100)
    }


def test_messages_come_in_order_of_arrival_within_the_range(faulty_day: list[Sample]) -> None:
    arrivals = [sample.arrived for sample in faulty_day]
    assert arrivals == sorted(arrivals)
    assert arrivals[0] >= START
    assert arrivals[-1] < START + DAY
    assert all(arrived.tzinfo is UTC for arrived in arrivals)


def test_an_empty_range_is_empty() -> None:
    assert not list(traffic(START, START, events_per_hour=1000, seed=7))


@pytest.mark.parametrize("events_per_hour", [60, 2000])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_day_has_the_volume_asked_for(events_per_hour: float, seed: int) -> None:
    messages = len(a_day(events_per_hour, seed))
    assert messages == pytest.approx(24 * events_per_hour, rel=0.05)


def test_a_day_is_as_full_in_short_ranges_as_in_one() -> None:
    messages = 0
    for minute in range(0, 1440, 5):
        begin = START + timedelta(minutes=minute)
        end = begin + timedelta(minutes=5)
        messages += sum(1 for _ in traffic(begin, end, events_per_hour=1000, seed=7))
    assert messages == pytest.approx(24_000, rel=0.05)


def test_some_hours_are_busier_than_others(day: list[Sample]) -> None:
    hours = Counter(sample.arrived.hour for sample in day)
    assert len(hours) == 24
    assert max(hours.values()) > 2 * min(hours.values())


@pytest.mark.parametrize("seed", range(3))
def test_a_body_has_the_average_size_of_production(seed: int) -> None:
    sizes = [len(sample.body) for sample in a_day(seed=seed)]
    assert 440 <= sum(sizes) / len(sizes) <= 500


def test_a_few_sources_make_most_of_the_traffic(plain_events: list[dict[str, Any]]) -> None:
    sources = Counter(event["src_ip"] for event in plain_events)
    busiest = sum(count for _, count in sources.most_common(20))
    assert len(sources) > 400
    assert 0.35 < busiest / len(plain_events) < 0.75


def test_there_are_as_many_sensors_as_asked_for() -> None:
    assert {sample.sensor for sample in a_day(events_per_hour=100, sensors=3)} == {
        "sensor-01",
        "sensor-02",
        "sensor-03",
    }


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"start": datetime(2022, 5, 19)}, "time zone"),
        ({"events_per_hour": 0}, "positive"),
        ({"sensors": 0}, "positive"),
        ({"drift": 1.1}, "shares"),
        ({"honeypots": ["cowrie", "teapot"]}, "teapot"),
    ],
)
def test_wrong_arguments_are_refused_at_once(settings: dict[str, Any], complaint: str) -> None:
    arguments: dict[str, Any] = {
        "start": START,
        "end": START + DAY,
        "events_per_hour": 1,
        "seed": 1,
    }
    with pytest.raises(ValueError, match=complaint):
        traffic(**arguments | settings)


# Nothing real

_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.])")
_IPV6 = re.compile(r"(?<![\w:])[0-9a-f]{1,4}:(?:[0-9a-f]{1,4}:)*:[0-9a-f]*", re.IGNORECASE)
_URL_HOST = re.compile(r"\w://(?:[^/@\s]*@)?([^/:\s\"\\\[\]]+)")
_DOMAIN = re.compile(
    r"\b[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:com|net|org|io|edu|gov|mil|info|biz|ru|cn|de|example)\b",
    re.IGNORECASE,
)
_DOCUMENTATION = [
    ipaddress.ip_network(network)
    for network in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]
_RESERVED = re.compile(r"(?:^|\.)(?:example\.(?:com|net|org)|example)$", re.IGNORECASE)


def _is_documentation(text: str) -> bool:
    address = ipaddress.ip_address(text)
    return any(address in network for network in _DOCUMENTATION)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str):
        yield value


def test_only_documentation_addresses_appear(faulty_day: list[Sample]) -> None:
    """In every body, the damaged ones too."""
    found = {
        address
        for sample in faulty_day
        for address in _IPV4.findall(sample.body.decode(errors="replace"))
    }
    assert len(found) > 400
    assert not {address for address in found if not _is_documentation(address)}


def test_only_reserved_domains_and_ipv6_addresses_appear(
    plain_day: list[Sample], drifting_day: list[Sample]
) -> None:
    hosts, domains, addresses = set(), set(), set()
    for sample in [*plain_day, *drifting_day]:
        text = sample.body.decode()
        hosts |= set(_URL_HOST.findall(text))
        domains |= set(_DOMAIN.findall(text))
        addresses |= {candidate for candidate in _IPV6.findall(text) if "::" in candidate}
    assert hosts
    assert not {h for h in hosts if not (_RESERVED.search(h) or _is_documentation(h))}
    assert not {d for d in domains if not _RESERVED.search(d)}
    assert addresses
    assert not {address for address in addresses if not _is_documentation(address)}


# What the honeypots say


def test_every_honeypot_reports(plain_events: list[dict[str, Any]]) -> None:
    types = {event["type"].partition(".events-")[0] for event in plain_events}
    assert types == {
        "amun.events", "beeswarm.hive", "big-hp.events", "conpot", "cowrie.sessions",
        "dionaea.capture", "dionaea.connections", "elastichoney.events", "elasticpot.events",
        "glastopf.events", "honeydb-agent", "kippo.sessions", "p0f.events", "rdphoney.sessions",
        "shockpot.events", "snort.alerts", "spylex.events", "ssh-auth-logger", "suricata.events",
        "uhp.events", "wordpot.alerts",
    }  # fmt: skip


def test_the_mix_is_the_declared_one(plain_events: list[dict[str, Any]]) -> None:
    families = Counter(event["type"].partition(".")[0] for event in plain_events)
    total = len(plain_events)
    assert sum(honeypot.share for honeypot in HONEYPOTS.values()) == pytest.approx(100)
    assert families["cowrie"] / total == pytest.approx(0.85, abs=0.01)
    assert families["dionaea"] / total == pytest.approx(0.07, abs=0.01)


def test_the_honeypots_can_be_chosen() -> None:
    samples = undisturbed(honeypots=["snort", "p0f"])
    types = {json.loads(sample.body)["type"] for sample in samples}
    assert types == {"snort.alerts", "p0f.events"}
    assert len(samples) == pytest.approx(12_000, rel=0.05)


def test_the_quirks_of_the_honeypots_are_there(plain_events: list[dict[str, Any]]) -> None:
    by_type = defaultdict(list)
    for event in plain_events:
        by_type[event["type"]].append(event)

    def every(type: str, holds: Any) -> bool:
        return all(holds(event) for event in by_type[type])

    def some(type: str, holds: Any) -> bool:
        return any(holds(event) for event in by_type[type])

    assert every("dionaea.capture", lambda e: isinstance(e["src_port"], str))
    assert every("dionaea.connections", lambda e: isinstance(e["src_port"], int))
    assert some("dionaea.connections", lambda e: e["src_ip"].startswith("::ffff:"))
    assert every("glastopf.events", lambda e: e.get("dest_ip") is None)
    assert some("conpot.events-bacnet", lambda e: e["dest_port"] == 0)
    assert every("wordpot.alerts", lambda e: isinstance(e["dest_port"], str))
    assert every("shockpot.events", lambda e: e["src_port"] == 0)
    assert some("uhp.events", lambda e: e.get("app") is None)
    assert every("snort.alerts", lambda e: e["transport"].isupper())
    assert every("honeydb-agent", lambda e: isinstance(e["bytes"], str))
    assert some("spylex.events", lambda e: e["form_data"])
    assert some("cowrie.sessions", lambda e: str(e.get("ssh_version")).startswith("b'SSH"))
    assert some("cowrie.sessions", lambda e: e["protocol"] == "telnet")
    assert some("cowrie.sessions", lambda e: e.get("authentication_keys"))
    tags = {json.dumps(event["tags"]) for event in plain_events}
    assert {'""', "[]", '"campus,dmz"', '["beats_input_raw_event"]'} < tags


def test_most_shippers_prune_nulls_and_some_do_not(plain_events: list[dict[str, Any]]) -> None:
    with_nulls = sum(None in event.values() for event in plain_events)
    assert 0.005 < with_nulls / len(plain_events) < 0.08


def test_ssh_clients_have_few_fingerprints(plain_events: list[dict[str, Any]]) -> None:
    fingerprints = {event["kex_hassh"] for event in plain_events if event.get("kex_hassh")}
    assert 5 < len(fingerprints) < 30
    assert all(re.fullmatch("[0-9a-f]{32}", fingerprint) for fingerprint in fingerprints)


# The word lists


@pytest.mark.parametrize("name", [name for name in dir(vocabulary) if name.isupper()])
def test_no_word_is_listed_twice(name: str) -> None:
    words = getattr(vocabulary, name)
    assert len(words) == len(set(words)) > 0


def test_every_unknown_command_is_in_a_script() -> None:
    assert {line for script in vocabulary.SCRIPTS for line in script} >= vocabulary.UNKNOWN_COMMANDS


# Sessions


def _sessions(events: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Cowrie's that begin in the range, each from its connection on; ports are used again."""
    sessions: list[list[dict[str, Any]]] = []
    latest: dict[Any, list[dict[str, Any]]] = {}
    for event in events:
        if event["type"] != "cowrie.sessions":
            continue
        key = event["sensor"], event["src_ip"], event["src_port"]
        if event["signature"] == "Connection to Honeypot":
            latest[key] = []
            sessions.append(latest[key])
        if key in latest:
            latest[key].append(event)
    return sessions


def test_a_session_is_stamped_when_it_closes(plain_events: list[dict[str, Any]]) -> None:
    sessions = _sessions(plain_events)
    assert len(sessions) > 1000
    for session in sessions:
        times = [datetime.fromisoformat(event["@timestamp"]) for event in session]
        assert times == sorted(times)
        assert times[-1] - times[0] < timedelta(milliseconds=50)


def test_a_session_tells_kind_after_kind(plain_events: list[dict[str, Any]]) -> None:
    order = ["Connection", "SSH login", "URL", "command", "unknown", "File"]
    longest = max(_sessions(plain_events), key=lambda s: len({e["signature"] for e in s}))
    kinds = [
        next(n for n, word in enumerate(order) if event["signature"].startswith(word))
        for event in longest
    ]
    assert kinds == sorted(kinds)
    assert len(set(kinds)) > 3


def test_an_unknown_command_is_told_twice(plain_events: list[dict[str, Any]]) -> None:
    unknown = 0
    for session in _sessions(plain_events):
        told = {kind: Counter[str]() for kind in ("command", "unknown command")}
        for event in session:
            kind = event["signature"].partition(" attempted")[0]
            if kind in told:
                told[kind][event["command"]] += 1
        assert told["unknown command"] <= told["command"]
        unknown += told["unknown command"].total()
    assert unknown > 10


def test_repeated_attempts_give_equal_bodies(plain_day: list[Sample]) -> None:
    repeated = [
        first
        for first, second in pairwise(sorted(sample.body for sample in plain_day))
        if first == second
    ]
    assert len(repeated) > 100
    assert b"SSH login attempted" in b"".join(repeated)


def test_a_login_that_fails_carries_the_one_that_succeeds(
    plain_events: list[dict[str, Any]],
) -> None:
    assert any(
        event["loggedin"] != [event["ssh_username"], event["ssh_password"]]
        for event in plain_events
        if event.get("loggedin") and event["signature"].startswith("SSH login attempted on")
        if "ssh_password" in event
    )


# Faults


def _decodes(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def test_no_faults_where_none_are_asked_for(plain_day: list[Sample]) -> None:
    for sample in plain_day:
        event = json.loads(sample.body)
        assert event["sensor"] == sample.sensor
        delay = sample.arrived - datetime.fromisoformat(event["@timestamp"])
        assert timedelta() < delay < timedelta(minutes=1)
        assert re.fullmatch(r"\d{4}(-\d\d){2}T\d\d(:\d\d){2}\.\d{3}Z", event["@timestamp"])


def test_the_share_of_damage_is_the_asked_one() -> None:
    bodies = [sample.body for sample in undisturbed(damage=0.1)]
    damaged = [body for body in bodies if not _decodes(body)]
    assert len(damaged) / len(bodies) == pytest.approx(0.1, rel=0.1)


def test_damage_is_of_every_kind() -> None:
    damaged = [sample.body for sample in undisturbed(damage=1)]
    assert not any(map(_decodes, damaged))
    assert b"" in damaged
    assert any(body.startswith(b"{") and not body.endswith(b"}") for body in damaged)
    assert any(b"\xe9" in body for body in damaged)
    assert any(body and not body.startswith(b"{") for body in damaged)


def test_the_share_of_drift_is_the_asked_one(plain_events: list[dict[str, Any]]) -> None:
    """Drift is what no undisturbed event of that type looks like."""
    known = {trait for event in plain_events for trait in _traits(event)}
    bodies = [sample.body for sample in undisturbed(drift=0.2)]
    strange = sum(not _is_plain(body, known) for body in bodies)
    assert strange / len(bodies) == pytest.approx(0.2, abs=0.02)


def _traits(event: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for name, value in event.items():
        yield event["type"], name, type(value)


def _is_plain(body: bytes, known: set[tuple[Any, ...]]) -> bool:
    if b"\n" in body:
        return False
    event = json.loads(body)
    return (
        isinstance(event, dict)
        and isinstance(event.get("tags"), list | str)
        and "beats_input_codec_plain_applied" not in event["tags"]
        and bool(re.fullmatch(r"2022-05-1.*\.\d{3}Z", str(event.get("@timestamp"))))
        and known.issuperset(_traits(event))
    )


def test_drift_is_of_every_kind(drifting_day: list[Sample]) -> None:
    bodies = [sample.body for sample in drifting_day]
    events = [json.loads(body) for body in bodies if _decodes(body)]
    single = [event for event in events if isinstance(event, dict)]
    times = [event["@timestamp"] for event in single if "@timestamp" in event]
    assert any("agent" in event for event in single)
    assert any("hp_data" in event for event in single)
    assert any("extra" in event for event in single)
    assert any(isinstance(event.get("src_port"), dict) for event in single)
    assert {type(time) for time in times} == {str, int, float, dict}
    assert any(str(time).endswith("+02:00") for time in times)
    assert any("@timestamp" not in event and "timestamp" in event for event in single)
    assert any(isinstance(event, list) and len(event) > 1 for event in events)
    assert any(len(event["records"]) > 1 for event in single if "records" in event)
    assert any(b"\n" in body.strip() and not _decodes(body) for body in bodies)
    assert any(b'{\n  "' in body and _decodes(body) for body in bodies)


def test_packing_several_events_loses_none() -> None:
    def emitted(body: bytes) -> Iterator[dict[str, Any]]:
        whole = json.loads(body) if _decodes(body) else [json.loads(x) for x in body.splitlines()]
        packed = whole.get("records", whole) if isinstance(whole, dict) else whole
        yield from packed if isinstance(packed, list) else [packed]

    samples = undisturbed(drift=1, honeypots=["honeydb-agent"])
    actions = Counter(
        event.get("hdb_event") or event["hp_data"]["hdb_event"]
        for sample in samples
        for event in emitted(sample.body)
    )
    assert abs(actions["CONNECT"] - actions["RX"]) <= 2  # visits that reach over the ends


def test_the_share_of_late_events_is_the_asked_one() -> None:
    delays = []
    for sample in undisturbed(late=0.1, events_per_hour=1000):
        stamped = datetime.fromisoformat(json.loads(sample.body)["@timestamp"])
        delays.append(sample.arrived - stamped)
    late = [delay for delay in delays if delay > timedelta(minutes=1)]
    assert len(late) / len(delays) == pytest.approx(0.1, rel=0.2)
    assert min(late) >= timedelta(minutes=1, seconds=59)
    assert max(late) <= timedelta(days=2, minutes=1)
    assert sum(delay < timedelta(hours=6) for delay in late) > 0.8 * len(late)
    assert any(delay > timedelta(hours=12) for delay in late)


def test_a_late_session_is_late_as_a_whole() -> None:
    samples = undisturbed(late=0.5, honeypots=["honeydb-agent"], events_per_hour=200)
    sessions = groupby(samples, key=lambda sample: json.loads(sample.body)["src_port"])
    for _, session in sessions:
        times = {json.loads(sample.body)["@timestamp"] for sample in session}
        assert len({time[:16] for time in times}) <= 2
