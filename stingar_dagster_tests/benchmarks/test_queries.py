"""Captures of a busy network: files that decode, bodies that clean, the same each time."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.queries import captures
from stingar_dagster.capture.reader import read_captures
from stingar_dagster.streams import DNS
from stingar_dagster_tests.support import Site

NOON = datetime(2026, 11, 3, 12, tzinfo=UTC)


def test_a_minute_decodes_and_nearly_all_of_it_becomes_events(tmp_path: Path) -> None:
    site = Site.at(tmp_path, DNS)
    landing = site.pipeline().landing
    bodies = 0
    for item in captures(NOON, rate=200, partitions=4, first=9_000, seed=3):
        decoded = read_captures([item.data])
        assert not decoded.damage
        assert decoded.records.sequence.tolist() == list(range(9_000, 9_000 + item.events))
        assert NOON.timestamp() <= decoded.records.enqueued_us.min() / 1e6
        assert decoded.records.enqueued_us.max() / 1e6 < NOON.timestamp() + 60
        path = landing.format.path("campus", "dns", item.partition, item.start)
        landing.store.write(path, item.data)
        bodies += item.events
    assert bodies == 12_000
    site.take_stock()
    site.run()
    events = site.events()
    assert len(events) + len(site.quarantined()) == bodies
    assert 0 < len(site.quarantined()) < 0.002 * bodies
    names = Counter(event["query_name"] for event in events)
    assert names.most_common(1)[0][1] > 20
    assert sum(count == 1 for count in names.values()) > 0.1 * len(names)
    assert {event["registered_domain"].count(".") for event in events} == {1}


def test_a_minute_is_a_function_of_its_seed() -> None:
    one, same, other = (
        [item.data for item in captures(NOON, 10, 2, 0, seed)] for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other
