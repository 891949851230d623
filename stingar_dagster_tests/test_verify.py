"""The proof: it holds over good data of every kind, and finds every kind of problem planted."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from stingar_dagster.capture.container import read_header, split_blocks
from stingar_dagster.samples.traffic import traffic
from stingar_dagster.streams import STINGAR
from stingar_dagster.verify import Proof, verify
from stingar_dagster.verify.identities import events_in
from stingar_dagster_tests.support import HOUR, MINUTE, Site, capture, event, lines

FIVE = datetime(2022, 5, 19, 17, tzinfo=UTC)
EVENTS = "events/date=2022-05-19/hour=17/events.json"
QUARANTINE = "quarantine/date=2022-05-19/hour=17/quarantine.json"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return captured(tmp_path)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Site:
    site = captured(tmp_path_factory.mktemp("done"))
    site.run()
    return site


@pytest.fixture
def ran(done: Site, tmp_path: Path) -> Site:
    """A site where everything came out: links, because a copied capture would be another one."""
    for folder in (done.landing, done.lake):
        shutil.copytree(folder, tmp_path / Path(folder).name, copy_function=os.link)
    return Site(str(tmp_path / "landing"), str(tmp_path / "lake"), blobs=dict(done.blobs))


def captured(folder: Path) -> Site:
    """Three captures of a partition in two hours, with a late event, a reject and a double body."""
    site = Site.at(folder)
    both = b"[" + event(FIVE + MINUTE) + b"," + event(FIVE + 2 * MINUTE) + b"]"
    site.put([event(FIVE), event(FIVE), b"not json", both], start=FIVE)
    site.put([event(FIVE - 20 * HOUR), event(FIVE)], first=4, start=FIVE + 20 * MINUTE)
    site.put([event(FIVE + HOUR)], first=6, start=FIVE + HOUR)
    return site


def proof_of(site: Site, since: datetime | None = None, until: datetime | None = None) -> Proof:
    return verify(site.pipeline(), since, until)


def kinds(proof: Proof) -> list[str]:
    return [problem.kind for problem in proof.problems]


def rewrite(site: Site, path: str, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Change the lines of a published object behind the pipeline's back."""
    file = Path(site.lake) / site.stream.name / path
    old = lines(file.read_bytes())
    new = change(old)
    assert new != old
    file.unlink()
    file.write_bytes(b"".join(line + b"\n" for line in new))


def renamed(line: bytes, event_id: str) -> bytes:
    return json.dumps({**json.loads(line), "event_id": event_id}).encode()


def damaged(blob: bytes) -> bytes:
    """A capture whose second block has lost its sync marker."""
    header = read_header(blob)
    blocks, _ = split_blocks(blob, header, 0)
    end = blocks[1].end
    return blob[: end - 16] + bytes(16) + blob[end:]


# ---- it holds


def test_it_holds_when_everything_came_out(ran: Site) -> None:
    proof = proof_of(ran)
    assert proof.holds, proof.problems
    assert proof.notes == []
    assert proof.days == 2
    assert [proof.total(n) for n in ("captured", "cleaned", "quarantined", "duplicates")] == [
        7, 6, 1, 0,
    ]  # fmt: skip
    assert [(count.landed_hour, count.source) for count in proof.counts] == [
        ("2022-05-19T17", "ns/hub/0"),
        ("2022-05-19T18", "ns/hub/0"),
    ]


def test_it_holds_over_traffic_with_drift_damage_and_late_events(tmp_path: Path) -> None:
    site = Site.at(tmp_path)
    number = 0
    for quarter in range(8):
        start = FIVE + quarter * 15 * MINUTE
        bodies = [
            sample.body
            for sample in traffic(
                start, start + 15 * MINUTE, events_per_hour=800, seed=3, drift=0.1, damage=0.1,
                late=0.1,
            )
        ]  # fmt: skip
        site.put(bodies, first=number, start=start)
        number += len(bodies)
    site.run()
    proof = proof_of(site)
    assert proof.holds, proof.problems
    assert proof.total("captured") == number
    assert proof.total("cleaned") + proof.total("quarantined") == number
    assert proof.total("quarantined") > 10


def test_duplicates_are_counted_and_no_problem(site: Site) -> None:
    site.put([event(FIVE), event(FIVE)], first=0, start=FIVE + 5 * MINUTE)
    site.put([event(FIVE + HOUR)], first=6, start=FIVE + HOUR + MINUTE)
    site.run()
    proof = proof_of(site)
    assert proof.holds, proof.problems
    assert proof.total("duplicates") == 3
    assert proof.total("captured") == 10 == proof.total("cleaned") + 3 + 1


def test_a_damaged_capture_explains_the_numbers_it_lost(site: Site) -> None:
    blob = capture([event(FIVE)] * 9, first=7, received=FIVE, block_bytes=900)
    site.put_blob(damaged(blob), start=FIVE + 2 * HOUR)
    site.put([event(FIVE)], first=16, start=FIVE + 3 * HOUR)
    site.run()
    proof = proof_of(site)
    assert proof.holds, proof.problems
    (note,) = proof.notes
    assert "lie in damaged captures" in note


def test_a_damaged_capture_explains_no_other_gap(site: Site) -> None:
    blob = capture([event(FIVE)] * 9, first=7, received=FIVE, block_bytes=900)
    site.put_blob(damaged(blob), start=FIVE + 2 * HOUR)
    site.put([event(FIVE)], first=16, start=FIVE + 3 * HOUR)
    site.put([event(FIVE)], first=30, start=FIVE + 4 * HOUR)
    site.run()
    (problem,) = proof_of(site).problems
    assert problem.kind == "gap"
    assert "17 to 29" in problem.detail


def test_a_capture_of_which_nothing_can_be_read_explains_the_gap_around_it(site: Site) -> None:
    path = site.put_blob(b"not avro at all" * 9, start=FIVE + 2 * HOUR)
    site.age(path, timedelta(days=1))
    site.put([event(FIVE)], first=9, start=FIVE + 3 * HOUR)
    site.run()
    proof = proof_of(site)
    assert proof.holds, proof.problems
    assert any("7 to 8 lie in damaged captures" in note for note in proof.notes)


def test_a_capture_gone_after_landing_is_a_note_and_still_counts(ran: Site) -> None:
    ran.remove(sorted(ran.blobs)[1])
    proof = proof_of(ran)
    assert proof.holds, proof.problems
    assert "not in landing any more" in proof.notes[0]
    assert proof.total("captured") == 7


def test_landing_may_be_emptied_and_the_rest_is_proved_by_the_ledger(ran: Site) -> None:
    for path in ran.blobs:
        ran.remove(path)
    proof = proof_of(ran)
    assert proof.holds, proof.problems
    assert proof.total("captured") == 7
    rewrite(ran, EVENTS, lambda rows: rows[1:])
    assert "lost" in kinds(proof_of(ran))


def test_a_range_proves_only_its_landed_hours(ran: Site) -> None:
    proof = proof_of(ran, since=FIVE + HOUR, until=FIVE + 2 * HOUR)
    assert proof.holds, proof.problems
    assert [count.landed_hour for count in proof.counts] == ["2022-05-19T18"]
    assert proof_of(ran, until=FIVE).counts == []


def test_progress_ends_where_it_said(ran: Site) -> None:
    told: list[tuple[int, int]] = []
    verify(ran.pipeline(), progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 2), (1, 2), (2, 2)]


def test_what_lands_and_is_published_meanwhile_is_not_invented(ran: Site) -> None:
    def go_on(done: int, total: int) -> None:
        if done == 1:  # of two: the first landed hour is proved, the second hour's events unread
            ran.put([event(FIVE + HOUR)], first=7, start=FIVE + 50 * MINUTE)
            ran.run()

    proof = verify(ran.pipeline(), progress=go_on)
    assert "invented" not in kinds(proof)
    assert proof_of(ran).holds


def test_what_comes_while_it_looks_is_neither_gone_nor_pending(ran: Site) -> None:
    def go_on(done: int, total: int) -> None:
        if done == 0:
            ran.put([event(FIVE)], first=7, start=FIVE + 50 * MINUTE)
            ran.run()
            ran.put([event(FIVE)], first=8, start=FIVE + 51 * MINUTE)

    proof = verify(ran.pipeline(), progress=go_on)
    assert kinds(proof) == []
    assert proof.notes == []
    assert proof.total("captured") == 8
    assert kinds(proof_of(ran))[0] == "pending"


# ---- it does not hold


def test_a_published_line_removed_is_lost(ran: Site) -> None:
    rewrite(ran, EVENTS, lambda rows: [row for row in rows if b"ns/hub/0/5" not in row])
    proof = proof_of(ran)
    (lost, *rest) = proof.problems
    assert lost.kind == "lost"
    assert lost.place == "2022-05-19T17 ns/hub/0"
    assert lost.detail.endswith(": 5")
    assert {problem.kind for problem in rest} == {"daily"}
    assert not proof.holds


def test_a_published_hour_removed_is_lost(ran: Site) -> None:
    (Path(ran.lake) / "stingar" / EVENTS).unlink()
    (lost, *_) = proof_of(ran).problems
    assert lost.kind == "lost"
    assert lost.detail.endswith(": 0, 1, 3, 5")


def test_one_event_of_a_body_with_two_removed_is_lost(ran: Site) -> None:
    rewrite(ran, EVENTS, lambda rows: [row for row in rows if b"ns/hub/0/3.1" not in row])
    (lost, *_) = proof_of(ran).problems
    assert (lost.kind, lost.place) == ("lost", "2022-05-19T17 ns/hub/0/3")
    assert lost.detail == "2 events in its body, found [0]"


def test_a_quarantined_line_removed_is_lost(ran: Site) -> None:
    rewrite(ran, QUARANTINE, lambda rows: [])
    (lost, *_) = proof_of(ran).problems
    assert lost.kind == "lost"
    assert lost.detail.endswith(": 2")


def test_a_published_line_twice_is_doubled(ran: Site) -> None:
    rewrite(ran, EVENTS, lambda rows: [rows[0], *rows])
    (doubled, *_) = proof_of(ran).problems
    assert (doubled.kind, doubled.place) == ("doubled", "2022-05-19T17")
    assert "2 times" in doubled.detail


def test_an_event_in_two_hours_is_doubled(ran: Site) -> None:
    first = (Path(ran.lake) / "stingar" / EVENTS).read_bytes().splitlines()[0]
    rewrite(ran, EVENTS.replace("hour=17", "hour=18"), lambda rows: [*rows, first])
    doubled = [problem for problem in proof_of(ran).problems if problem.kind == "doubled"]
    assert [problem.place for problem in doubled] == ["2022-05-19T18"]


@pytest.mark.parametrize("event_id", ["ns/hub/0/99", "ns/hub/7/0", "other/hub/0/0", "nonsense"])
def test_an_event_of_no_capture_is_invented(ran: Site, event_id: str) -> None:
    rewrite(ran, EVENTS, lambda rows: [renamed(rows[0], event_id), *rows])
    assert kinds(proof_of(ran))[0] == "invented"


@pytest.mark.parametrize("table", ["daily_summary", "daily_sources", "daily_ports"])
def test_a_daily_table_altered_is_found(ran: Site, table: str) -> None:

    def count_one_more(rows: list[bytes]) -> list[bytes]:
        first: dict[str, Any] = json.loads(rows[0])
        return [json.dumps({**first, "events": first["events"] + 1}).encode(), *rows[1:]]

    rewrite(ran, f"daily/{table}/date=2022-05-19/{table}.json", count_one_more)
    (problem,) = proof_of(ran).problems
    assert (problem.kind, problem.place) == ("daily", f"{table} 2022-05-19")


def test_a_daily_table_removed_is_found(ran: Site) -> None:
    table = "daily/daily_summary/date=2022-05-18/daily_summary.json"
    (Path(ran.lake) / "stingar" / table).unlink()
    assert kinds(proof_of(ran)) == ["daily"]


def test_a_table_that_counts_wrong_is_found_by_a_recount_that_does_not(site: Site) -> None:
    summary = STINGAR.table("daily_summary")
    wrong = replace(summary, partial=(pl.lit(1).alias("events"), *summary.partial[1:]))
    site.stream = replace(STINGAR, tables=(wrong,))
    site.run()
    proof = proof_of(site)
    assert kinds(proof) == ["daily"]
    assert "1 rows that a recount does not have, 1 that it has" in proof.problems[0].detail


def test_events_that_are_not_in_order_of_time_are_found(ran: Site) -> None:
    rewrite(ran, EVENTS, lambda old: old[::-1])
    misplaced = [p.place for p in proof_of(ran).problems if p.kind == "misplaced"]
    assert misplaced == [f"stingar/{EVENTS}"]


def test_an_event_of_another_hour_is_misplaced(ran: Site) -> None:
    (row,) = lines((Path(ran.lake) / "stingar" / EVENTS.replace("17", "18")).read_bytes())
    rewrite(ran, EVENTS, lambda rows: [*rows, renamed(row, "ns/hub/0/0")])
    misplaced = [p for p in proof_of(ran).problems if p.kind == "misplaced"]
    assert "1 events belong to another hour" in misplaced[0].detail


def test_lines_of_one_moment_in_another_order_are_found_by_doing_it_again(tmp_path: Path) -> None:
    site = Site.at(tmp_path)
    site.put([event(FIVE, src_ip=f"192.0.2.{number}") for number in range(3)], start=FIVE)
    site.run()
    rewrite(site, EVENTS, lambda old: old[::-1])
    assert proof_of(site).holds
    before = site.versions("")
    proof = verify(site.pipeline(), again=True)
    assert [(p.kind, p.place) for p in proof.problems] == [("unstable", f"stingar/{EVENTS}")]
    assert site.versions("") == before


def test_events_of_a_session_in_another_order_contradict_its_row(tmp_path: Path) -> None:
    site = Site.at(tmp_path)
    tried = {"signature": "SSH login attempted on cowrie honeypot", "ssh_username": "root"}
    site.put([event(FIVE, ssh_password=password, **tried) for password in "ab"], start=FIVE)
    site.run()
    rewrite(site, EVENTS, lambda old: old[::-1])
    (problem,) = proof_of(site).problems
    assert (problem.kind, problem.place) == ("daily", "daily_sessions 2022-05-19")


def test_an_object_that_nothing_leads_to_is_found_by_doing_it_again(ran: Site) -> None:
    day = "daily/daily_commands/date=2022-05-19/daily_commands.json"
    file = Path(ran.lake, "stingar", day)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"")
    proof = verify(ran.pipeline(), again=True)
    assert ("unstable", f"stingar/{day}") in [(p.kind, p.place) for p in proof.problems]


def test_what_another_code_version_cleaned_is_not_done_again(ran: Site) -> None:
    ran.stream = replace(STINGAR, code_version="next")
    proof = verify(ran.pipeline(), again=True)
    assert proof.holds
    assert proof.notes == [
        "2 landed hours were cleaned by another code version; they were not done again"
    ]


def test_a_capture_that_never_landed_leaves_a_gap(site: Site) -> None:
    site.remove(sorted(site.blobs)[1])
    site.run()
    (problem,) = proof_of(site).problems
    assert (problem.kind, problem.place) == ("gap", "ns/hub/0")
    assert "4 to 5" in problem.detail


def test_a_capture_not_landed_yet_is_pending(ran: Site) -> None:
    path = ran.put([event(FIVE)], first=7, start=FIVE + HOUR + MINUTE)
    (problem,) = proof_of(ran).problems
    assert (problem.kind, problem.place) == ("pending", "2022-05-19T18")
    assert path in problem.detail


def test_a_capture_replaced_since_is_pending(ran: Site) -> None:
    ran.put([event(FIVE + 2 * HOUR)], first=6, start=FIVE + HOUR)
    assert "pending" in kinds(proof_of(ran))


def test_events_staged_and_not_published_are_pending(ran: Site) -> None:
    ran.put([event(FIVE)], first=7, start=FIVE + HOUR + MINUTE)
    ran.pipeline().land_hour(FIVE + HOUR)
    found = {problem.kind: problem for problem in proof_of(ran).problems}
    assert found.keys() == {"lost", "pending"}
    assert found["pending"].place == "2022-05-19T17"


def test_a_ledger_that_counts_wrong_is_found(ran: Site) -> None:

    def one_more(rows: list[bytes]) -> list[bytes]:
        line = json.loads(rows[0])
        return [json.dumps({**line, "records": line["records"] + 1}).encode(), *rows[1:]]

    rewrite(ran, "ledger/date=2022-05-19/hour=17/ledger.json", one_more)
    (problem,) = proof_of(ran).problems
    assert problem.kind == "ledger"
    assert "5 in the ledger, 4 read" in problem.detail


@pytest.mark.parametrize("path", [EVENTS, QUARANTINE])
def test_an_object_that_is_no_json_is_named_once(ran: Site, path: str) -> None:
    rewrite(ran, path, lambda rows: [*rows, b'{"cut off'])
    unreadable = [problem for problem in proof_of(ran).problems if problem.kind == "unreadable"]
    assert [problem.place for problem in unreadable] == [f"stingar/{path}"]
    assert "\n" not in unreadable[0].detail


def test_an_impossible_time_is_found_by_the_recount(ran: Site) -> None:

    def no_time(rows: list[bytes]) -> list[bytes]:
        return [json.dumps({**json.loads(rows[0]), "@timestamp": "noon"}).encode(), *rows[1:]]

    rewrite(ran, EVENTS.replace("hour=17", "hour=18"), no_time)
    assert "daily" in kinds(proof_of(ran))


# ---- bodies


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b'{"a": 1}', 1),
        (b'[{"a": 1}, {"a": 2}]', 2),
        (b'{"records": [{}, {}, {}]}', 3),
        (b'{"records": 3}', 1),
        (b'{"a": 1}\n\n{"a": 2}\n', 2),
        (b"\xef\xbb\xbf[1]", 1),
        (b"not json", 1),
    ],
)
def test_the_events_of_a_body_are_counted_the_plain_way(body: bytes, count: int) -> None:
    assert events_in(body) == count
