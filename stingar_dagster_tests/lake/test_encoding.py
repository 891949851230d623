"""A published slice that gains events comes to the bytes to which all of its segments come."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stingar_dagster.lake import publishing
from stingar_dagster.lake.encoding import Encoded, encoded_from
from stingar_dagster.lake.hours import table_frame
from stingar_dagster.lake.segments import decode, segment_schema
from stingar_dagster.streams import DNS, STREAMS
from stingar_dagster.streams.stream import Column, Compression
from stingar_dagster.streams.tables import DailyTable
from stingar_dagster_tests.support import MINUTE, NOON, SLICED, Site

QUERIES = replace(DNS, hubs=("hub",))
SECOND = timedelta(seconds=1)
IN_ANY_ORDER = [
    table for stream in STREAMS.values() for table in stream.tables if table.in_any_order
]
Publish = Callable[[], list[bool]]


def query(
    moment: datetime, client: str = "198.51.100.1", name: str = "a.example", **more: Any
) -> bytes:
    known = {
        "ts": moment.timestamp(),
        "id.orig_h": client,
        "query": name,
        "qtype_name": "A",
        "rcode_name": "NOERROR",
        "answers": [f"192.0.2.{len(name)}"],
    }
    return json.dumps(known | more).encode()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site.at(tmp_path, QUERIES)


@pytest.fixture
def publish(site: Site, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Lands and publishes noon; of each slice of which something stood, whether that was used."""
    used: list[bool] = []

    def watched(*args: Any) -> Encoded | None:
        made = encoded_from(*args)
        used.append(made is not None)
        return made

    monkeypatch.setattr(publishing, "encoded_from", watched)

    def land_and_publish() -> list[bool]:
        used.clear()
        site.pipeline().land_hour(NOON)
        site.pipeline().publish_hour(NOON)
        return list(used)

    return land_and_publish


def is_as_from_all_segments(site: Site) -> bool:
    """Whether everything in the lake is what comes of publishing noon from scratch."""
    before = site.objects()
    site.pipeline().publish_hour(NOON, again=True)
    return site.objects() == before


def some(number: int, first: int = 0, client: str = "198.51.100.") -> list[bytes]:
    return [
        query(
            NOON + (index * 7 + first) % 290 * SECOND,
            f"{client}{index % 9}",
            f"n{index % 13}.example",
        )
        for index in range(first, first + number)
    ]


def test_a_straggler_is_put_between_what_is_published(site: Site, publish: Publish) -> None:
    site.put(some(60))
    assert publish() == []
    site.put(some(5, first=31, client="203.0.113."), partition=1, start=NOON + MINUTE)
    assert publish() == [True]
    assert len(site.events(NOON)) == 65
    assert is_as_from_all_segments(site)
    site.run()
    site.check()


def test_it_grows_again_and_again(site: Site, publish: Publish) -> None:
    for turn in range(5):
        site.put(some(7, first=turn * 3), partition=turn, start=NOON + turn * MINUTE)
        assert publish() == ([True] if turn else [])
    assert is_as_from_all_segments(site)


def test_only_slices_that_gained_events_are_written(site: Site, publish: Publish) -> None:
    site.put([*some(20), query(NOON + 6 * MINUTE)])
    publish()
    before = site.versions("events")
    site.put(some(2), partition=1, start=NOON + MINUTE)
    assert publish() == [True]
    after = site.versions("events")
    (path,) = [path for path in before if before[path] != after[path]]
    assert path.endswith("events-00.json.gz")


def test_an_event_that_came_twice_is_there_once(site: Site, publish: Publish) -> None:
    bodies = some(20)
    site.put(bodies, partition=1)
    publish()
    # The same captured again, later by name: it changes nothing but the count of duplicates.
    site.put_blob(site.blobs[next(iter(site.blobs))], partition=1, start=NOON + MINUTE)
    assert publish() == [True]
    assert len(site.events(NOON)) == 20
    assert site.duplicates() == 20
    assert is_as_from_all_segments(site)


def test_an_event_of_which_another_capture_counts_now_is_taken_from_that(
    site: Site, publish: Publish
) -> None:
    site.put([query(NOON, "198.51.100.1", answers=["192.0.2.1"])], start=NOON + MINUTE)
    publish()
    # The same place in the same partition, with another answer, in a capture that comes first.
    site.put([query(NOON, "198.51.100.1", answers=["192.0.2.99"])], start=NOON)
    assert publish() == [False]
    (only,) = site.events(NOON)
    assert only["answers"] == ["192.0.2.99"]
    assert is_as_from_all_segments(site)


def test_what_is_damaged_is_made_from_segments(site: Site, publish: Publish) -> None:
    site.put(some(50))
    publish()
    (path,) = site.objects("events")
    data = bytearray(site.lake_store.read(path))
    data[len(data) // 2] ^= 0xFF
    site.lake_store.write(path, bytes(data))
    site.put(some(3), partition=1, start=NOON + MINUTE)
    assert publish() == []  # it is not even tried
    assert len(site.events(NOON)) == 53
    assert is_as_from_all_segments(site)


def test_without_what_was_looked_up_it_is_made_from_segments(site: Site, publish: Publish) -> None:
    site.put(some(50))
    publish()
    (path,) = site.objects("rollups/looked-up")
    site.lake_store.remove(path)
    site.put(some(3), partition=1, start=NOON + MINUTE)
    assert publish() == []
    assert is_as_from_all_segments(site)


def test_an_object_with_more_lines_than_recorded_is_made_from_segments(
    site: Site, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put(some(4))
    publish()
    site.put(some(3), partition=1, start=NOON + MINUTE)
    monkeypatch.setattr(publishing, "lines_in", lambda name, data: b"{}\n" * 5)
    assert publish() == [False]
    assert is_as_from_all_segments(site)


@pytest.mark.parametrize("compression", list(Compression))
def test_only_what_tells_that_it_is_whole_is_used(
    compression: Compression, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site.at(tmp_path, replace(QUERIES, compression=compression))
    tried: list[object] = []
    monkeypatch.setattr(publishing, "encoded_from", lambda *args: tried.append(args))
    for partition in (0, 1):
        site.put(some(9), partition=partition, start=NOON + partition * MINUTE)
        site.pipeline().land_hour(NOON)
        site.pipeline().publish_hour(NOON)
    assert bool(tried) == (compression is Compression.GZIP)


def test_tables_that_look_at_the_order_count_all_events_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site.at(tmp_path, replace(SLICED, slot_minutes=15))
    made: list[Encoded | None] = []

    def watched(*args: Any) -> Encoded | None:
        made.append(encoded_from(*args))
        return made[-1]

    monkeypatch.setattr(publishing, "encoded_from", watched)
    body = {"type": "cowrie.sessions", "src_ip": "192.0.2.7", "sensor": "lab-1", "src_port": 7}
    for partition, second in enumerate((30, 10, 200, 1)):
        moment = NOON + second * SECOND
        told = body | {"@timestamp": f"{moment:%Y-%m-%dT%H:%M:%SZ}", "command": f"ls {second}"}
        site.put(
            [json.dumps(told).encode()], partition=partition, start=NOON + 15 * partition * MINUTE
        )
        site.pipeline().land_hour(NOON)
        site.pipeline().publish_hour(NOON)
    assert len(made) == 3
    assert None not in made
    assert is_as_from_all_segments(site)


def _with_more(table: DailyTable) -> DailyTable:
    return replace(
        table,
        partial=(*table.partial, pl.col("client_ip").max().alias("last_client")),
        combined=(*table.combined, pl.col("last_client").max()),
    )


def _where_else(table: DailyTable) -> DailyTable:
    return replace(table, where=pl.col("rcode") == "NXDOMAIN", revision=table.revision + 1)


@pytest.mark.parametrize(
    "change",
    [lambda table: replace(table, most=table.most and 5000), _with_more, _where_else],
    ids=["most", "column", "where"],
)
def test_what_was_published_under_another_declaration_is_made_from_segments(
    change: Callable[[DailyTable], DailyTable],
    site: Site,
    publish: Publish,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = tuple(replace(table, most=table.most and 2) for table in DNS.tables)
    site.put(some(20))
    site.stream = replace(QUERIES, tables=before)
    publish()
    site.put(some(3), partition=1, start=NOON + MINUTE)
    assert publish() == [True]
    site.put(some(3), partition=2, start=NOON + 2 * MINUTE)
    site.stream = replace(QUERIES, tables=tuple(map(change, before)))
    assert publish() == []
    assert is_as_from_all_segments(site)


def test_so_is_what_was_published_without_a_column(site: Site, publish: Publish) -> None:
    site.put(some(20))
    publish()
    site.put(some(3), partition=1, start=NOON + MINUTE)
    derived = (*QUERIES.derived, Column("more", pl.String(), "Something new"))
    site.stream = replace(QUERIES, derived=derived)
    assert publish() == []
    assert is_as_from_all_segments(site)


# ---- any events, in any parts

NAMES = st.sampled_from(
    [f"n{number}.example" for number in range(6)] + ["", "x" * 50 + ".example.org"]
)
QUERY = st.tuples(
    st.integers(0, 599), st.integers(0, 4), NAMES, st.sampled_from(["NOERROR", "NXDOMAIN", "-"])
)


@settings(max_examples=30, deadline=None)
@given(
    parts=st.lists(st.lists(QUERY, min_size=1, max_size=12), min_size=2, max_size=4),
    most=st.sampled_from([2, 5000]),
)
def test_any_events_in_any_parts(
    parts: list[list[tuple[int, int, str, str]]],
    most: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    tables = tuple(replace(t, most=t.most and min(t.most, most)) for t in DNS.tables)
    site = Site.at(tmp_path_factory.mktemp("lake"), replace(QUERIES, tables=tables))
    for partition, part in enumerate(parts):
        site.put(
            [
                query(NOON + second * SECOND, f"198.51.100.{client}", name, rcode_name=rcode)
                for second, client, name, rcode in part
            ],
            partition=partition,
            start=NOON + partition * MINUTE,
        )
        site.pipeline().land_hour(NOON)
        site.pipeline().publish_hour(NOON)
    assert is_as_from_all_segments(site)


@pytest.mark.parametrize("table", IN_ANY_ORDER, ids=lambda table: table.name)
def test_a_table_in_any_order_is_one(table: DailyTable, site: Site) -> None:
    bodies = [
        query(
            NOON + (index * 37) % 3600 * SECOND,
            f"198.51.100.{index % 7}",
            f"{'x' * (index % 60)}.n{index % 400}.example",
            rcode_name=("NOERROR", "NXDOMAIN", "SERVFAIL")[index % 3],
            qtype_name=("A", "TXT")[index % 2],
        )
        for index in range(1200)
    ]
    site.put(bodies)
    pipeline = site.pipeline()
    pipeline.land_hour(NOON)
    schema = segment_schema(pipeline.stream)
    frames = [decode(data, schema) for data in site.objects("segments").values()]
    rows = pl.concat(frames)
    events = table_frame(rows.sort("time_us"), pipeline.lake)
    whole = table.partials(events)
    assert len(whole) > 0
    shuffled = events.sample(fraction=1, shuffle=True, seed=5)
    assert table.partials(shuffled).equals(whole)
    parts = [table.partials(shuffled[start : start + 311]) for start in range(0, len(events), 311)]
    together = table.together(parts)
    assert together.equals(whole)
    assert together.schema == whole.schema
