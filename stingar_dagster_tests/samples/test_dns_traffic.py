"""Sample DNS traffic: reserved addresses and names only, and the same for the same arguments."""

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network

import pytest

from stingar_dagster.samples.dns import TUNNEL, dns_traffic

START = datetime(2026, 11, 3, 12, tzinfo=UTC)
RESERVED = [
    ip_network(text)
    for text in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
]
ENDINGS = (".example", "example.org", "example.net", "example.com", ".test", ".arpa", "localhost")


def bodies(seed: int = 1, hours: int = 2) -> list[bytes]:
    samples = dns_traffic(START, START + timedelta(hours=hours), events_per_hour=800, seed=seed)
    return [sample.body for sample in samples]


def test_the_same_arguments_give_the_same_traffic_and_another_seed_another() -> None:
    assert bodies() == bodies()
    assert bodies() != bodies(seed=2)


def test_only_reserved_addresses_and_names_appear() -> None:
    for body in bodies():
        text = body.decode()
        if "\t" not in text or text.count("\t") < 23:
            continue
        cells = text.split("\t")
        for address in (cells[2], cells[4]):
            assert any(ip_address(address) in network for network in RESERVED), address
        assert cells[9].lower().endswith(ENDINGS), cells[9]


def test_every_format_and_the_tunnel_are_there() -> None:
    sent = bodies()
    assert any(body.startswith(b'{"ts"') for body in sent)
    assert any(body.startswith(b'{"message"') for body in sent)
    assert any(body.count(b"\t") == 23 for body in sent)
    assert any(b": query: " in body for body in sent)
    assert any(TUNNEL.encode() in body for body in sent)


def test_arrivals_are_in_order_and_within_the_range() -> None:
    end = START + timedelta(hours=1)
    arrived = [s.arrived for s in dns_traffic(START, end, events_per_hour=500, seed=1)]
    assert arrived == sorted(arrived)
    assert START <= arrived[0] <= arrived[-1] < end


def test_what_makes_no_range_or_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        next(dns_traffic(START.replace(tzinfo=None), START, events_per_hour=1, seed=1))
    with pytest.raises(ValueError, match="events_per_hour"):
        next(dns_traffic(START, START, events_per_hour=0, seed=1))
