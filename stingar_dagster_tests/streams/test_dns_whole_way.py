"""DNS logs from captures to tables, proved; and log files as `stingar land` packs them."""

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from stingar_dagster import lake
from stingar_dagster.errors import UsageError
from stingar_dagster.lake.reader.profile import profile
from stingar_dagster.packing import BLOCK_BYTES, bodies_of, lines_in
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.samples.dns import TUNNEL, dns_traffic
from stingar_dagster.streams import DNS
from stingar_dagster.streams.digests import COUNTED_EXACTLY
from stingar_dagster_tests.support import HOUR, NOON, Site

DNS_ON_HUB = replace(DNS, hubs=("hub",))
START = NOON - 2 * HOUR
BODIES = [
    sample.body
    for sample in dns_traffic(START, NOON, events_per_hour=500, seed=11, drift=0.02, damage=0.02)
]


def packed(text: bytes) -> list[bytes]:
    return list(bodies_of((line for line in text.split(b"\n") if line), (b"#",)))


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = Site.at(tmp_path_factory.mktemp("dns"), DNS_ON_HUB)
    for place in range(2):
        site.put(BODIES[place::2], partition=place)
    site.run()
    return site


def test_every_body_comes_out_once_and_the_proof_holds(done: Site) -> None:
    done.check()
    assert len(done.events()) + len(done.quarantined()) == len(BODIES)
    assert {row["reason"] for row in done.quarantined()} <= {
        "unknown_format",
        "bad_line",
        "not_json",
    }


def test_each_format_fills_the_same_fields(done: Site) -> None:
    events = done.events()
    for format_only in ("uid", "query_flags", "message"):
        of_format = [event for event in events if format_only in event]
        assert of_format
        for event in of_format:
            assert {"client_ip", "client_port", "query", "query_name", "qtype"} <= event.keys()
            assert "time_source" not in event


def test_the_client_that_carries_data_out_shows(done: Site) -> None:
    (row,) = done.daily("daily_tunnels")
    assert row["registered_domain"] == TUNNEL
    assert row["unique_names"] == row["queries"]
    assert row["mean_entropy"] > 4


def test_tables_say_what_a_count_by_hand_says(done: Site) -> None:
    events = pl.DataFrame(done.events(), schema=DNS.schema)
    named = events.filter(pl.col("registered_domain").is_not_null())
    by_domain = named.group_by("registered_domain").agg(
        pl.len(), pl.col("client_ip").n_unique(), pl.col("query_name").n_unique()
    )
    expected = {row[0]: row[1:] for row in by_domain.rows()}
    for row in done.daily("daily_domains"):
        queries, clients, names = expected.pop(row["registered_domain"])
        assert row["queries"] == queries
        assert row["unique_clients"] == clients
        assert names <= COUNTED_EXACTLY
        assert row["unique_names"] == names
    assert not expected
    assert sum(row["queries"] for row in done.daily("daily_types")) == len(events)
    (summary, *_) = done.daily("daily_summary")
    assert sum(row["events"] for row in done.daily("daily_summary") if "events" in row) == len(
        events
    )
    assert summary["unique_clients"] <= events["client_ip"].n_unique()


def test_rows_are_bounded_and_the_rest_is_counted(tmp_path: Path) -> None:
    tables = tuple(replace(table, most=3) if table.most else table for table in DNS.tables)
    site = Site.at(tmp_path, replace(DNS_ON_HUB, tables=tables))
    site.put(BODIES)
    site.run()
    site.check()
    rows = site.daily("daily_clients")
    asked = sum("client_ip" in event for event in site.events())
    assert len(rows) == 4
    assert sum(row["queries"] for row in rows) == asked
    assert sum("client_ip" not in row for row in rows) == 1


def test_days_come_to_the_same_whatever_the_order_of_captures(done: Site, tmp_path: Path) -> None:
    other = Site.at(tmp_path, DNS_ON_HUB)
    for place in (1, 0):
        other.put(BODIES[place::2], partition=place)
        other.run()
    for folder in ("events", "daily"):
        assert other.tree(folder) == done.tree(folder)


def test_a_name_that_no_day_before_had_is_told_in_the_report(tmp_path: Path) -> None:
    site = Site.at(tmp_path, DNS_ON_HUB)
    for back, names in ((1, ["old.example"]), (0, ["old.example", "new.example"])):
        moment = NOON - timedelta(days=back)
        rows = ({"ts": moment.timestamp(), "query": name} for name in names)
        site.put([json.dumps(row).encode() for row in rows], start=moment, first=10 - back)
    site.run()
    reports = site.objects("reports")
    (report,) = (data.decode() for path, data in reports.items() if f"{NOON:%Y-%m-%d}" in path)
    new = report.split("<h2>New on this day</h2>")[1].split("</section>")[0]
    assert "new.example" in new
    assert "old.example" not in new


def test_events_are_found_by_client_and_a_page_of_attacks_is_refused(done: Site) -> None:
    found = lake.events(
        "2026-11-03", "2026-11-04", network="2001:db8:c::/48", url=done.lake, stream="dns"
    ).collect()
    asked = [event for event in done.events() if event["client_ip"].startswith("2001:db8:c::")]
    assert len(found) == len(asked) > 0
    with pytest.raises(UsageError, match="the stream dns has no table"):
        profile(done.pipeline().lake, "192.0.2.1")


# ------------------------------------------------------------------ files


HEADER = b"#separator \\x09\n#fields\tts\tid.orig_h\tquery\n#types\ttime\taddr\tstring"
LINES = [b"1793707200.5\t192.0.2.1\th%d.example" % number for number in range(5000)]


def test_a_file_with_a_header_is_packed_in_blocks_below_it() -> None:
    bodies = packed(b"\n".join([HEADER, *LINES, b"#close\tnow"]))
    assert all(body.startswith(HEADER) for body in bodies)
    assert all(len(body) < BLOCK_BYTES + 1000 for body in bodies)
    assert bodies[-1].endswith(b"#close\tnow")
    kept = [line for body in bodies for line in body.split(b"\n") if not line.startswith(b"#")]
    assert kept == LINES
    assert sum(lines_in(body, (b"#",)) for body in bodies) == len(LINES)


def test_files_behind_one_another_keep_their_own_headers() -> None:
    other = HEADER.replace(b"\tquery", b"\tanswer\tquery")
    bodies = packed(b"\n".join([HEADER, LINES[0], b"#close\tnow", other, LINES[1]]))
    assert [body.count(b"answer") for body in bodies] == [0, 1]


def test_lines_without_a_header_stay_bodies_of_their_own() -> None:
    assert packed(b"a\nb") == [b"a", b"b"]
    assert list(bodies_of([b"#a", b"b"], ())) == [b"#a", b"b"]


FOLDER = Path(
    os.environ.get("STINGAR_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data")
)
LOGS = sorted((FOLDER / "dns").glob("*.log"))


@pytest.mark.skipif(not LOGS, reason=f"no folder of real DNS logs: {FOLDER} (STINGAR_SHARED_DATA)")
def test_real_logs_come_out_complete_and_the_proof_holds(tmp_path: Path) -> None:
    site = Site.at(tmp_path, DNS_ON_HUB)
    bodies = [body for path in LOGS for body in packed(path.read_bytes())]
    site.put(bodies)
    pipeline = site.pipeline()
    early = replace(pipeline.settings, start=datetime(2010, 1, 1, tzinfo=UTC))
    site.run(Pipeline(early, site.stream))
    assert len(site.events()) == sum(lines_in(body, (b"#",)) for body in bodies)
    assert not site.quarantined()
