"""The table between the streams: clients that looked up what honeypots saw attacks from.

Both streams stand in one lake. The recount of `stingar verify` holds every table here against
published lines, in plain Python.
"""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stingar_dagster import lake
from stingar_dagster.lake.joined import publish_joined
from stingar_dagster.lake.layout import day_of
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.samples.dns import dns_traffic
from stingar_dagster.samples.traffic import traffic
from stingar_dagster.streams import DNS, STINGAR, dns_recount
from stingar_dagster.streams.digests import COUNTED_EXACTLY
from stingar_dagster.streams.dns_exposures import EXPOSURES
from stingar_dagster.streams.lookups import host_of, looked_up
from stingar_dagster.streams.stream import Stream
from stingar_dagster.verify import verify
from stingar_dagster.verify.proof import Proof
from stingar_dagster_tests.faulty_store import DyingStore, Stopped
from stingar_dagster_tests.support import HOUR, MINUTE, NOON, RecordingStore, Site, event

DAY = timedelta(days=1)
# Few tables, so that tests are about this one.
DNS_ON_HUB = replace(DNS, hubs=("hub",), tables=DNS.tables[:1])
HONEYPOTS = replace(
    STINGAR,
    tables=tuple(
        table
        for table in STINGAR.tables
        if table.name in ("daily_summary", "daily_sources", "daily_downloads")
    ),
)
CLIENT = "198.51.100.1"
Row = dict[str, Any]


class Campus:
    """Honeypots and resolvers that land apart and are published into one lake."""

    def __init__(self, folder: Path, stream: Stream = DNS_ON_HUB) -> None:
        self.pots = Site(str(folder / "pots"), str(folder / "lake"), HONEYPOTS)
        self.dns = Site(str(folder / "dns"), str(folder / "lake"), stream)
        self._sequence = 0

    def attacks(self, *bodies: bytes, landed: datetime = NOON) -> None:
        self._put(self.pots, bodies, landed)

    def queries(self, *bodies: bytes, landed: datetime = NOON) -> None:
        self._put(self.dns, bodies, landed)

    def _put(self, site: Site, bodies: Sequence[bytes], landed: datetime) -> None:
        site.put(bodies, partition=self._sequence, start=landed)
        self._sequence += 1

    def run(self) -> list[Row]:
        """Publish what is pending of both; the table's rows of all days."""
        self.pots.run()
        self.dns.run()
        return self.rows()

    def rows(self) -> list[Row]:
        return self.dns.daily("daily_exposures")

    def proof(self, again: bool = True) -> Proof:
        return verify(self.dns.pipeline(), again=again)

    def check(self) -> None:
        proof = self.proof()
        assert [problem for problem in proof.problems if problem.kind != "gap"] == []
        assert not proof.notes

    def store(self) -> RecordingStore:
        return RecordingStore(Path(self.dns.lake))

    def through(self, store: Any) -> Pipeline:
        return Pipeline(self.dns.settings, self.dns.stream, lake_store=store)


@pytest.fixture
def campus(tmp_path: Path) -> Campus:
    return Campus(tmp_path)


def query(moment: datetime = NOON, name: str = "www.example.org", **fields: Any) -> bytes:
    """A query as zeek logs it, with other members."""
    members = {
        "ts": moment.timestamp(), "id.orig_h": CLIENT, "id.resp_h": "192.0.2.53",
        "query": name, "qtype_name": "A", "rcode_name": "NOERROR", **fields,
    }  # fmt: skip
    return json.dumps(members).encode()


def download(link: str, moment: datetime = NOON, **fields: Any) -> bytes:
    return event(moment, command=f"wget {link}", **fields)


def without(rows: Iterable[Row], *names: str) -> list[Row]:
    return [{name: value for name, value in row.items() if name not in names} for row in rows]


# ------------------------------------------------------------------ what a row says


def test_a_client_that_looked_up_a_download_host_is_told_with_the_evidence_of_both(
    campus: Campus,
) -> None:
    campus.attacks(
        download("http://malware.example/b.sh", src_ip="203.0.113.9", sensor="lab-2"),
        download("http://malware.example/a.sh", NOON - DAY, src_ip="203.0.113.8"),
    )
    campus.queries(
        query(NOON + MINUTE, "malware.example", answers=["203.0.113.80", "203.0.113.81"]),
        query(NOON + 9 * MINUTE, "Malware.EXAMPLE.", **{"id.resp_h": "192.0.2.153"}),
        query(NOON + 2 * MINUTE),
    )
    assert campus.run() == [
        {
            "client_ip": CLIENT, "indicator": "malware.example", "seen_as": ["download host"],
            "found_in": ["query_name"], "queries": 2,
            "first_query": "2026-11-03T12:01:00.000Z", "last_query": "2026-11-03T12:09:00.000Z",
            "example_name": "malware.example", "example_answer": "203.0.113.80",
            "unique_resolvers": 2, "unique_clients": 1, "downloads": 2, "unique_sensors": 2,
            "sensors": ["lab-1", "lab-2"], "first_seen": "2026-11-02T12:00:00.000Z",
            "last_seen": "2026-11-03T12:00:00.000Z", "example_seen": "http://malware.example/a.sh",
        }
    ]  # fmt: skip
    campus.check()


def test_an_address_that_both_attacked_and_served_is_one_row(campus: Campus) -> None:
    campus.attacks(download("ftp://u:p@203.0.113.9:2121/x", src_ip="203.0.113.9"))
    campus.queries(query(answers=["host.example.net", "203.0.113.9"]))
    (row,) = campus.run()
    assert row["seen_as"] == ["download host", "attacking source"]
    assert (row["downloads"], row["attacks"], row["found_in"]) == (1, 1, ["answers"])
    assert row["example_answer"] == "203.0.113.9"
    campus.check()


@pytest.mark.parametrize(
    ("attacked_from", "answered"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9", "::ffff:203.0.113.9"),
        ("203.0.113.9", "::FFFF:CB00:7109"),
        ("203.0.113.9", "0:0:0:0:0:ffff:203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("0::ffff:cb00:7109", "203.0.113.9"),
        ("2001:db8::7", "2001:0DB8:0:0:0:0:0:7"),
        ("2001:db8:0:0::7", "2001:db8::7"),
    ],
)
def test_addresses_are_the_same_in_any_spelling(
    campus: Campus, attacked_from: str, answered: str
) -> None:
    campus.attacks(event(NOON, src_ip=attacked_from))
    campus.queries(query(answers=[answered]))
    (row,) = campus.run()
    assert row["indicator"] in ("203.0.113.9", "2001:db8::7")
    assert row["example_answer"] == answered
    campus.check()


@pytest.mark.parametrize(
    ("attacked_from", "name"),
    [
        ("203.0.113.9", "9.113.0.203.in-addr.arpa"),
        ("203.0.113.9", "9.113.0.203.IN-ADDR.ARPA."),
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8::7", f"7.{'0.' * 23}8.b.d.0.1.0.0.2.ip6.arpa"),
    ],
)
def test_a_reverse_look_up_of_an_attacker_is_one_of_its_address(
    campus: Campus, attacked_from: str, name: str
) -> None:
    campus.attacks(event(NOON, src_ip=attacked_from))
    campus.queries(query(name=name))
    (row,) = campus.run()
    assert (row["indicator"], row["found_in"]) == (attacked_from, ["query_name"])
    campus.check()


def test_names_are_the_same_in_any_spelling_and_a_name_below_is_another(campus: Campus) -> None:
    campus.attacks(download("http://Bücher.Example.:8080/x"))
    campus.queries(
        query(name="xn--bcher-kva.example"),
        query(NOON + MINUTE, answers=["BÜCHER.example."]),
        query(NOON + MINUTE, "www.xn--bcher-kva.example"),
        query(NOON + MINUTE, "example"),
    )
    (row,) = campus.run()
    assert (row["indicator"], row["queries"]) == ("xn--bcher-kva.example", 2)
    assert row["found_in"] == ["query_name", "answers"]
    campus.check()


def test_a_query_counts_once_for_what_stands_in_it_several_times(campus: Campus) -> None:
    campus.attacks(download("http://malware.example/a", src_ip="203.0.113.9"))
    answers = ["malware.example.", "203.0.113.9", "::ffff:203.0.113.9", "203.0.113.9"]
    campus.queries(query(name="malware.example", answers=answers))
    rows = {row["indicator"]: row for row in campus.run()}
    assert {name: row["queries"] for name, row in rows.items()} == {
        "malware.example": 1,
        "203.0.113.9": 1,
    }
    assert rows["malware.example"]["example_answer"] == "malware.example."
    campus.check()


def test_what_nobody_looked_up_and_who_is_not_known_makes_no_row(campus: Campus) -> None:
    campus.attacks(download("http://malware.example/a"))
    campus.queries(
        query(),
        json.dumps({"ts": NOON.timestamp(), "query": "malware.example"}).encode(),
        query(name="."),
        query(answers=["TXT 12 malware.example"]),
    )
    assert campus.run() == []
    campus.check()


# ------------------------------------------------------------------ the window


@pytest.mark.parametrize("days", range(-1, 10))
def test_honeypots_are_looked_at_on_the_day_and_the_seven_before(campus: Campus, days: int) -> None:
    campus.attacks(
        download("http://malware.example/a", NOON - days * DAY), landed=NOON - days * DAY
    )
    campus.queries(query(name="malware.example"))
    assert len(campus.run()) == (0 <= days <= 7)
    campus.check()


def test_numbers_are_those_of_the_window(campus: Campus) -> None:
    for days in range(10):
        moment = NOON - days * DAY
        campus.attacks(event(moment, src_ip="203.0.113.9"), landed=moment)
    campus.queries(query(answers=["203.0.113.9"]))
    (row,) = campus.run()
    assert row["attacks"] == 8
    assert row["first_seen"][:10] == "2026-10-27"
    assert row["last_seen"][:10] == "2026-11-03"


@pytest.mark.parametrize("days", [0, 7, 8])
def test_a_late_event_of_a_honeypot_opens_the_days_that_looked_at_its_day(
    campus: Campus, days: int
) -> None:
    campus.attacks(event(NOON - days * DAY), landed=NOON - days * DAY)
    campus.queries(query(name="malware.example"))
    assert campus.run() == []
    late = download("http://malware.example/a", NOON - days * DAY)
    campus.attacks(late, landed=NOON + 3 * HOUR)
    campus.pots.run()
    done = campus.dns.run()
    assert done.rolled == ([day_of(NOON)] if days < 8 else [])
    assert not done.published
    assert len(campus.rows()) == (days < 8)
    campus.check()


def test_a_late_query_is_told_and_only_its_slice_is_read(campus: Campus) -> None:
    campus.attacks(download("http://malware.example/a"))
    campus.queries(query(name="malware.example"), query(NOON + 20 * MINUTE, "malware.example"))
    assert [row["queries"] for row in campus.run()] == [2]
    kept = campus.dns.versions("rollups/found")
    campus.queries(query(NOON + 40 * MINUTE, "malware.example"), landed=NOON + 3 * HOUR)
    assert [row["queries"] for row in campus.run()] == [3]
    now = campus.dns.versions("rollups/found")
    slices = {path: version for path, version in kept.items() if "places" not in path}
    assert slices.items() <= now.items()
    assert len(now) == len(kept) + 1
    campus.queries(query(NOON + MINUTE, "malware.example"), landed=NOON + 4 * HOUR)
    assert [row["queries"] for row in campus.run()] == [4]
    campus.check()


def test_a_day_comes_to_rest(campus: Campus) -> None:
    campus.attacks(download("http://malware.example/a"))
    campus.queries(query(name="malware.example"))
    campus.run()
    before = campus.dns.versions("")
    campus.pots.run()
    assert campus.dns.run().rolled == []
    campus.dns.pipeline().roll_day(day_of(NOON))
    after = campus.dns.versions("")
    reports = {path for path in after if "/reports/" in path or "daily_report" in path}
    assert {p: v for p, v in after.items() if p not in reports} == {
        p: v for p, v in before.items() if p not in reports
    }


# ------------------------------------------------------------------ the same bytes


BUSY = [
    query(NOON + second * timedelta(seconds=7), name, answers=answers, **{"id.orig_h": client})
    for second, (name, answers, client) in enumerate(
        (name, answers, f"198.51.100.{number % 9}")
        for number in range(40)
        for name, answers in (
            ("malware.example", ["203.0.113.80"]),
            ("www.example.org", ["203.0.113.9"]),
            (f"h{number}.example.net", None),
        )
    )
]
ATTACKS = [
    download("http://malware.example/a", NOON - days * DAY, src_ip=f"203.0.113.{9 + days}")
    for days in range(8)
]


def test_the_same_bytes_in_any_order(tmp_path: Path) -> None:
    one, other = Campus(tmp_path / "one"), Campus(tmp_path / "other")
    one.attacks(*ATTACKS)
    one.queries(*BUSY)
    one.run()
    other.queries(*BUSY[60:])
    other.run()
    other.attacks(*ATTACKS[4:])
    other.run()
    other.queries(*BUSY[:60])
    other.run()
    other.attacks(*ATTACKS[:4])
    other.run()
    assert one.rows()
    assert without_times(other.dns.tree("daily")) == without_times(one.dns.tree("daily"))
    one.check()
    other.check()


def without_times(tree: dict[str, str]) -> dict[str, str]:
    """Without the tables that tell when events arrived."""
    return {path: data for path, data in tree.items() if "daily_exposures" in path}


@pytest.mark.parametrize("minutes", [60, 5, 1])
def test_the_same_rows_whatever_slices_hours_are_published_in(tmp_path: Path, minutes: int) -> None:
    campus = Campus(tmp_path, replace(DNS_ON_HUB, slice_minutes=minutes))
    campus.attacks(*ATTACKS)
    campus.queries(*BUSY)
    rows = campus.run()
    assert {(row["indicator"], row["unique_clients"]) for row in rows} == {
        ("malware.example", 9),
        ("203.0.113.9", 9),
    }
    assert sum(row["queries"] for row in rows) == 80
    campus.check()


def test_after_a_crash_at_any_change_the_same_bytes_come_out(tmp_path: Path) -> None:
    whole = Campus(tmp_path / "whole")
    whole.attacks(*ATTACKS)
    whole.pots.run()
    whole.queries(*BUSY[:12])
    shutil.copytree(tmp_path / "whole", tmp_path / "before")
    whole.run()
    expected = whole.dns.tree("daily"), whole.dns.tree("rollups")
    changes = 0
    while True:
        campus = Campus(tmp_path / f"{changes}")
        shutil.copytree(tmp_path / "before", tmp_path / f"{changes}")
        store = DyingStore(Path(campus.dns.lake), changes)
        try:
            campus.dns.run(campus.through(store))
            break
        except Stopped:
            campus.dns.run()
        assert (campus.dns.tree("daily"), campus.dns.tree("rollups")) == expected, changes
        changes += 1
    assert changes > 20


def test_what_was_kept_may_be_lost_or_spoilt(campus: Campus) -> None:
    campus.attacks(*ATTACKS)
    campus.queries(*BUSY)
    campus.run()
    expected, store = campus.dns.tree("daily"), campus.dns.lake_store
    for spoil in (store.remove, lambda path: store.write(path, b"no parquet")):
        for folder in ("rollups/found", "rollups/looked-up"):
            for path in campus.dns.objects(folder):
                spoil(path)
        store.remove("dns/daily/daily_exposures/date=2026-11-03/daily_exposures.json")
        publish_joined(campus.dns.pipeline().lake, day_of(NOON), "daily_exposures")
        assert campus.dns.tree("daily") == expected
    campus.check()


def test_hours_that_were_published_without_the_table_are_looked_into_later(tmp_path: Path) -> None:
    before = Campus(tmp_path, replace(DNS_ON_HUB, joined=()))
    before.attacks(*ATTACKS)
    before.queries(*BUSY[:30])
    before.run()
    assert not before.dns.objects("rollups/looked-up")
    campus = Campus(tmp_path)
    campus.dns.blobs = before.dns.blobs
    rows = campus.run()
    assert {row["indicator"] for row in rows} == {"malware.example", "203.0.113.9"}
    campus.check()


# ------------------------------------------------------------------ what is read


def asked_for_events(store: RecordingStore) -> list[str]:
    return [path for path in store.asked if path.startswith(("dns/events/", "dns/segments/"))]


def test_a_day_without_a_hit_reads_no_event(campus: Campus) -> None:
    campus.attacks(download("http://malware.example/a"))
    campus.queries(*(query(NOON + n * MINUTE, f"h{n}.example.net") for n in range(60)))
    campus.run()
    store = campus.store()
    publish_joined(campus.through(store).lake, day_of(NOON), "daily_exposures", again=True)
    assert asked_for_events(store) == []
    assert any("looked-up" in path for path in store.asked)


def test_only_slices_with_a_hit_are_read_and_none_twice_for_the_same(campus: Campus) -> None:
    campus.attacks(download("http://malware.example/a"))
    campus.queries(
        *(query(NOON + n * MINUTE, f"h{n}.example.net") for n in range(60)),
        query(NOON + 21 * MINUTE, "malware.example"),
    )
    campus.run()
    roll = ("daily_exposures", day_of(NOON))
    store = campus.store()
    publish_joined(campus.through(store).lake, roll[1], roll[0], again=True)
    assert {path.split("/")[-1].split("-")[4] for path in asked_for_events(store)} == {"20to25"}
    # More of what is known already: the table is made again, and no event is read.
    campus.attacks(download("http://malware.example/b"), landed=NOON + HOUR)
    campus.pots.run()
    store = campus.store()
    record = publish_joined(campus.through(store).lake, roll[1], roll[0])
    assert asked_for_events(store) == []
    assert not any("looked-up" in path for path in store.asked)
    assert record.rows == 1
    assert campus.rows()[0]["downloads"] == 2
    # Something new that stands in another slice: that one is read.
    campus.attacks(download("http://h41.example.net/b"), landed=NOON + 2 * HOUR)
    campus.pots.run()
    store = campus.store()
    assert publish_joined(campus.through(store).lake, roll[1], roll[0]).rows == 2
    assert {path.split("/")[-1].split("-")[4] for path in asked_for_events(store)} == {"40to45"}


def test_a_slice_is_read_again_for_something_else_that_stands_in_it(campus: Campus) -> None:
    campus.attacks(download("http://malware.example/a"))
    campus.queries(query(name="malware.example"), query(name="dl.example.net"))
    assert [row["indicator"] for row in campus.run()] == ["malware.example"]
    campus.attacks(download("http://dl.example.net/b"), landed=NOON + HOUR)
    assert {row["indicator"] for row in campus.run()} == {"malware.example", "dl.example.net"}
    campus.check()


def test_a_stream_without_such_a_table_keeps_nothing(campus: Campus) -> None:
    campus.attacks(*ATTACKS)
    campus.pots.run()
    assert {path.split("/")[2].split("=")[0] for path in campus.pots.objects("rollups")} == {"date"}


def test_without_honeypots_there_is_no_row_and_the_proof_holds(campus: Campus) -> None:
    campus.queries(*BUSY)
    campus.dns.run()
    assert campus.rows() == []
    assert not campus.dns.objects("daily/daily_exposures")
    campus.check()


# ------------------------------------------------------------------ bounds


def test_hostile_names_are_bounded_and_plain_json(campus: Campus) -> None:
    link = "http://malware.example/" + "a" * 5_000
    campus.attacks(
        download(link, sensor="s" * 3_000),
        download('http://xss.example/"<script>', src_ip="<b>203.0.113.9</b>"),
        download("http://\x00nul.example/\u202e"),
        download("http://" + "a" * 400 + ".example/"),
        download("http://./ http://@/ http://:80/ http://[::1/ http://user@"),
    )
    campus.queries(
        query(name="malware.example", answers=["x" * 9_000, "\x00", "", "\u202e"]),
        query(name="\x00nul.example"),
        query(name="xss.example", answers=['"<script>\n']),
        query(name="a" * 400 + ".example"),
        query(name="a" * 200_000),
    )
    rows = {row["indicator"]: row for row in campus.run()}
    assert rows.keys() == {"malware.example", "xss.example", "\x00nul.example"}
    row = rows["malware.example"]
    assert (len(row["example_seen"]), len(row["example_answer"])) == (255, 255)
    assert [len(sensor) for sensor in row["sensors"]] == [255]
    campus.check()


def test_of_many_clients_some_are_told_and_all_are_counted(campus: Campus) -> None:
    campus.attacks(download("http://malware.example/a", src_ip="203.0.113.9"))
    many = [f"198.51.{n // 250}.{n % 250}" for n in range(400)]
    campus.queries(
        *(
            query(NOON + n * timedelta(seconds=5), "malware.example", **{"id.orig_h": client})
            for _ in range(2)
            for n, client in enumerate(many)
        ),
        query(answers=["203.0.113.9"]),
    )
    rows = campus.run()
    # A download host comes before an attacker, however many asked for it.
    told, (others, few) = rows[:100], rows[100:]
    assert {row["queries"] for row in told} == {2}
    assert len({row["client_ip"] for row in told}) == 100
    assert "client_ip" not in others
    assert others["queries"] == 600
    assert few["unique_clients"] == 1
    assert others["unique_clients"] > COUNTED_EXACTLY
    assert abs(others["unique_clients"] - 400) < 80
    campus.check()


def test_rows_and_indicators_are_bounded_and_the_rest_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bounded = replace(EXPOSURES, most_of_one=2, most_found=4, most_sought=6, most=5)
    for name, bound in {"CLIENTS": 2, "FOUND": 4, "SOUGHT": 6, "ROWS": 5}.items():
        monkeypatch.setattr(dns_recount, f"_MOST_{name}", bound)
    campus = Campus(tmp_path, replace(DNS_ON_HUB, joined=(bounded,)))
    campus.attacks(*(download(f"http://m{n}.example/", src_ip="192.0.2.9") for n in range(8)))
    campus.queries(
        *(
            query(NOON + n * MINUTE, f"m{n}.example", **{"id.orig_h": f"198.51.100.{client}"})
            for n in range(8)
            for client in range(4 if n == 1 else 1)
        )
    )
    rows = campus.run()
    # Of 8 hosts and an address 6 are sought, of 6 that were looked up 4 are looked into.
    assert [(row.get("indicator"), row["queries"]) for row in rows] == [
        ("m0.example", 1), ("m2.example", 1), ("m3.example", 1), ("m1.example", 1),
        ("m1.example", 1), (None, 2),
    ]  # fmt: skip
    assert rows[-1] == {"queries": 2, "indicators": 2}
    campus.check()


# ------------------------------------------------------------------ the proof


def rewrite(campus: Campus, change: Any) -> None:
    store, path = campus.dns.lake_store, "dns/daily/daily_exposures/date=2026-11-03/"
    path += "daily_exposures.json"
    store.write(path, b"".join(change(store.read(path).splitlines(keepends=True))))


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda rows: [rows[0].replace(b'"queries":', b'"queries":1'), *rows[1:]], "1 rows that"),
        (lambda rows: rows[1:], "0 rows that a recount does not have, 1 that it has"),
        (lambda rows: [*rows, rows[-1]], "1 rows that a recount does not have, 0 that it has"),
        (lambda rows: [b"{"], "is not JSON lines"),
        (lambda rows: [r.replace(b"malware", b"harmless") for r in rows], "rows that"),
    ],
)
def test_a_row_that_is_wrong_missing_or_doubled_is_found(
    campus: Campus, change: Any, found: str
) -> None:
    campus.attacks(*ATTACKS)
    campus.queries(*BUSY)
    campus.run()
    rewrite(campus, change)
    problems = [p for p in campus.proof(again=False).problems if p.kind == "daily"]
    assert [p.place for p in problems] == ["daily_exposures 2026-11-03"]
    assert found in problems[0].detail
    (unstable,) = [p for p in campus.proof().problems if p.kind == "unstable"]
    assert "daily_exposures" in unstable.place


def test_a_table_that_waits_for_the_other_stream_is_a_note_and_no_problem(campus: Campus) -> None:
    campus.attacks(*ATTACKS)
    campus.queries(*BUSY)
    campus.run()
    campus.attacks(event(NOON, src_ip="203.0.113.9"), landed=NOON + HOUR)
    campus.pots.run()
    proof = campus.proof()
    assert proof.holds
    assert any("daily_exposures 2026-11-03 waits to be made again" in n for n in proof.notes)
    campus.dns.run()
    campus.check()


def test_a_digest_that_misses_a_value_is_found_by_the_recount(campus: Campus) -> None:
    campus.attacks(*ATTACKS)
    campus.queries(*BUSY[:6])
    campus.run()
    (path,) = campus.dns.objects("rollups/looked-up")
    pl.DataFrame({"digest": [1], "slices": pl.Series([1], dtype=pl.UInt64)}).write_parquet(
        Path(campus.dns.lake) / path
    )
    publish_joined(campus.dns.pipeline().lake, day_of(NOON), "daily_exposures", again=True)
    assert [p.kind for p in campus.proof(again=False).problems if p.kind != "gap"] == ["daily"]


TEXTS = st.one_of(
    st.text(max_size=40),
    st.text(alphabet="0123456789abcdefABCDEF:.%/[]@", max_size=45),
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map(lambda address: address.exploded),
    st.ip_addresses().map(lambda address: address.reverse_pointer),
    st.from_regex(r"::(ffff:)?[0-9]{1,3}(\.[0-9]{1,3}){3}", fullmatch=True),
)


@given(TEXTS)
@example("1.2.3.04")
@example("::1.2.3.4")
@example("fe80::1%eth0")
@example("a.b.in-addr.arpa")
@example("x" * 256)
@example("..")
@example("\u00df.example.")
def test_what_a_text_stands_for_is_what_a_plain_reading_says(text: str) -> None:
    plain = dns_recount._stands_for(text)
    assert looked_up(text) == (None if plain == "." else plain)
    for before, after in (("http://", "/x"), ("ftp://u@", ":21?"), ("http://[", "]/"), ("", "")):
        link = before + text + after
        host = dns_recount._host(link)
        assert host_of(link) == (None if host == "." else host), link


# ------------------------------------------------------------------ where it is shown


def test_notebooks_and_the_report_show_it(campus: Campus) -> None:
    campus.attacks(*ATTACKS)
    campus.queries(*BUSY)
    campus.run()
    frame = lake.daily(
        "daily_exposures", "2026-11-03", "2026-11-04", url=campus.dns.lake, stream="dns"
    ).collect()
    assert set(frame["client_ip"]) == {f"198.51.100.{n}" for n in range(9)}
    assert frame.schema["sensors"] == pl.List(pl.String())
    assert "daily_exposures" in lake.tables(stream="dns")
    (page,) = campus.dns.objects("reports").values()
    assert "9 clients are named in daily_exposures" in page.decode()
    assert "malware.example" in page.decode()
    (columns,) = campus.dns.objects("schema/daily_exposures.columns.json").values() or (
        campus.dns.lake_store.read("dns/schema/daily_exposures.columns.json"),
    )
    assert [column["name"] for column in json.loads(columns)] == list(EXPOSURES.schema)


def test_the_samples_have_clients_that_look_up_what_sample_honeypots_see(campus: Campus) -> None:
    start = NOON - 4 * HOUR
    campus.attacks(*(s.body for s in traffic(start, NOON, events_per_hour=1500, seed=7)))
    campus.queries(*(s.body for s in dns_traffic(start, NOON, events_per_hour=600, seed=7)))
    rows = campus.run()
    by_place = {tuple(row["found_in"]) for row in rows}
    assert {("query_name",), ("answers",)} <= by_place
    hosts = {row["indicator"] for row in rows if "download host" in row["seen_as"]}
    assert "malware.example" in hosts
    assert 5 <= len(rows) <= 60
    campus.check()
