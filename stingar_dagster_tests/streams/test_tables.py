"""A day's table, merged from its hours' partial aggregates, is the table of the day's events.

Held against one count over the whole day, and against a recount in plain Python that shares
nothing with the declarations.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from statistics import median
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from stingar_dagster.capture.records import epoch_us
from stingar_dagster.streams import STINGAR, stingar_recount, tables
from stingar_dagster.streams.tables import DailyTable

DAY = datetime(2022, 5, 19, tzinfo=UTC)
HOUR_US = 3_600_000_000
TABLES = {table.name: table for table in STINGAR.tables}

Event = dict[str, Any]
Row = dict[str, Any]
Recount = Callable[[list[Event]], dict[tuple[Any, ...], Row]]

SCHEMA = {"time_us": pl.Int64(), "enqueued_us": pl.Int64()} | {
    name: dtype for name, dtype in STINGAR.schema.items() if name not in ("@timestamp", "event_id")
}


def frame_of(events: Sequence[Event]) -> pl.DataFrame:
    return pl.DataFrame(list(events), schema=SCHEMA, strict=True)


def merged(
    table: DailyTable, parts: Iterable[Sequence[Event]], quarantined: int = 0
) -> pl.DataFrame:
    """The table from the partials of some stretches of the day, in order of time."""
    none = table.partials(frame_of([]))
    partials = [none, *(table.partials(frame_of(part)) for part in parts if part)]
    return table.merge(pl.concat(partials), quarantined)


def by_hour(events: Sequence[Event]) -> list[list[Event]]:
    hours: dict[int, list[Event]] = defaultdict(list)
    for event in events:
        hours[event["time_us"] // HOUR_US].append(event)
    return [hours[hour] for hour in sorted(hours)]


def rows_by_key(table: DailyTable, frame: pl.DataFrame) -> dict[tuple[Any, ...], Row]:
    rows = {}
    for row in frame.to_dicts():
        key = tuple(row.pop(name) for name in table.key_names)
        assert key not in rows
        rows[key] = row
    return rows


def at(hour: float, **members: Any) -> Event:
    """An event so many hours into the day, received two seconds later."""
    time = epoch_us(DAY + timedelta(hours=hour))
    return {"time_us": time, "enqueued_us": time + 2_000_000, "event_kind": "other"} | members


# A recount in plain Python


def text(microseconds: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z"


def grouped(events: Iterable[Event], *names: str) -> dict[tuple[Any, ...], list[Event]]:
    groups: dict[tuple[Any, ...], list[Event]] = defaultdict(list)
    for event in events:
        groups[tuple(event.get(name) for name in names)].append(event)
    return groups


def distinct(events: Iterable[Event], name: str) -> list[Any]:
    return sorted({event[name] for event in events if event.get(name) is not None})


def seen(events: Sequence[Event]) -> Row:
    times = [event["time_us"] for event in events]
    return {"first_seen": text(min(times)), "last_seen": text(max(times))}


def sources(events: Sequence[Event]) -> Row:
    return {"unique_sources": len(distinct(events, "src_ip"))}


def is_try(event: Event) -> bool:
    return event["event_kind"] in ("login_attempt", "login_success")


def is_entered(event: Event) -> bool:
    repeated = "unknown command" in (event.get("signature") or "").lower()
    return event["event_kind"] == "command" and not repeated


def is_late(event: Event) -> bool:
    received = event.get("enqueued_us")
    return received is not None and received - event["time_us"] > HOUR_US


def summary(events: list[Event]) -> dict[tuple[Any, ...], Row]:
    def count(kind: str, group: list[Event]) -> int:
        return sum(event["event_kind"] == kind for event in group)

    return {
        key: {
            "events": len(group),
            **sources(group),
            "sessions": count("connection", group),
            "login_attempts": sum(map(is_try, group)),
            "login_successes": count("login_success", group),
            "commands": sum(map(is_entered, group)),
            "downloads": count("download", group),
            "late": sum(map(is_late, group)),
            "quarantined": 0,
        }
        for key, group in grouped(events, "sensor", "app").items()
    }


def by_source(events: list[Event]) -> dict[tuple[Any, ...], Row]:
    known = [event for event in events if event.get("src_ip") is not None]
    return {
        key: {
            "events": len(group),
            "sensors": distinct(group, "sensor"),
            "apps": distinct(group, "app"),
            "ports": distinct(group, "dest_port"),
            **seen(group),
            "first_sensor": first_sensor(group),
        }
        for key, group in grouped(known, "src_ip").items()
    }


def first_sensor(group: list[Event]) -> str | None:
    named = [(e["time_us"], e["sensor"]) for e in group if e.get("sensor") is not None]
    return min(named)[1] if named else None


def by_port(events: list[Event]) -> dict[tuple[Any, ...], Row]:
    known = [event for event in events if event.get("dest_port") is not None]
    return {
        key: {"events": len(group), **sources(group)}
        for key, group in grouped(known, "dest_port", "transport").items()
    }


def by_credential(events: list[Event]) -> dict[tuple[Any, ...], Row]:
    return {
        key: {
            "attempts": len(group),
            "successes": sum(event["event_kind"] == "login_success" for event in group),
            **sources(group),
        }
        for key, group in grouped(
            filter(is_try, events), "username", "password", "protocol"
        ).items()
    }


def with_places(group: list[Event]) -> Row:
    return {
        "events": len(group),
        **sources(group),
        "sensors": distinct(group, "sensor"),
        **seen(group),
    }


def by_command(events: list[Event]) -> dict[tuple[Any, ...], Row]:
    known = [event for event in events if is_entered(event) and event.get("command") is not None]
    return {key: with_places(group) for key, group in grouped(known, "command").items()}


def by_artifact(events: list[Event]) -> dict[tuple[Any, ...], Row]:
    named = [
        event | {"artifact": item, "artifact_kind": kind}
        for event in events
        for kind, field in (("url", "urls"), ("hash", "hashes"))
        for item in event.get(field) or ()
    ]
    groups = grouped(named, "artifact", "artifact_kind")
    return {key: with_places(group) for key, group in groups.items()}


def by_fingerprint(events: list[Event]) -> dict[tuple[Any, ...], Row]:
    known = [
        e for e in events if e.get("kex_hassh") is not None or e.get("ssh_version") is not None
    ]
    groups = grouped(known, "kex_hassh", "ssh_version")
    return {key: with_places(group) for key, group in groups.items()}


def by_sensor(events: list[Event]) -> dict[tuple[Any, ...], Row]:
    rows = {}
    known = [event for event in events if event.get("sensor") is not None]
    for key, group in grouped(known, "sensor").items():
        times = sorted(event["time_us"] for event in group)
        delays = [
            (event["enqueued_us"] - event["time_us"]) // 1_000_000
            for event in group
            if event.get("enqueued_us") is not None
        ]
        silence = max((later - earlier for earlier, later in pairwise(times)), default=0)
        rows[key] = {
            "events": len(group),
            **sources(group),
            "longest_silence_seconds": pytest.approx(silence / 1e6, abs=0.0006),
            "median_delay_seconds": float(median(delays)) if delays else None,
            "longest_delay_seconds": max(delays, default=None),
            **seen(group),
        }
    return rows


def by_hour_and_app(events: list[Event]) -> dict[tuple[Any, ...], Row]:
    timed = [event | {"hour": event["time_us"] // HOUR_US % 24} for event in events]
    return {key: {"events": len(group)} for key, group in grouped(timed, "hour", "app").items()}


def by_member(events: list[Event]) -> dict[tuple[Any, ...], Row]:
    """`_EXTRAS` tells what of each text counts."""
    members = [
        event | dict(zip(("field", "sent_as", "declared_as", "example"), member, strict=True))
        for event in events
        for member in _EXTRAS[event.get("extra")]
    ]
    groups = grouped(members, "sensor", "field", "sent_as", "declared_as")
    return {
        key: {
            "events": len(group),
            "example": min(event["example"] for event in group),
            **seen(group),
        }
        for key, group in groups.items()
    }


RECOUNTS: dict[str, Recount] = {
    "daily_summary": summary,
    "daily_sources": by_source,
    "daily_ports": by_port,
    "daily_credentials": by_credential,
    "daily_commands": by_command,
    "daily_downloads": by_artifact,
    "daily_fingerprints": by_fingerprint,
    "daily_sensors": by_sensor,
    "daily_hours": by_hour_and_app,
    "daily_drift": by_member,
}


def test_every_declared_table_is_recounted_here() -> None:
    assert set(RECOUNTS) == set(TABLES)


# Any day


def _maybe(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([None, *values])


_LINKS = ["http://a.example/", "tftp://b.example/x"]
_EXTRAS: dict[str | None, list[tuple[str, str, str, str]]] = {
    None: [],
    '{"agent":{"v":1},"@timestamp":1}': [],
    '{"geo":{"a":"}"},"agent":1}': [("geo", "object", "not declared", '{"a":"}"}')],
    '{"geo":[1],"command":7}': [
        ("geo", "list", "not declared", "[1]"),
        ("command", "number", "text", "7"),
    ],
    '{"geo": null,"loggedin":true}': [
        ("geo", "null", "not declared", "null"),
        ("loggedin", "boolean", "pair", "true"),
    ],
    '{"":"","a\\u001fb":-1}': [
        ("", "string", "not declared", '""'),
        ("a\x1fb", "number", "not declared", "-1"),
    ],
}
_times = st.integers(0, 24 * HOUR_US - 1) | st.sampled_from(
    [0, HOUR_US - 1, HOUR_US, 5 * HOUR_US, 24 * HOUR_US - 1]
)
_events = st.fixed_dictionaries(
    {
        "time_us": _times.map(lambda us: us + epoch_us(DAY)),
        "event_kind": st.sampled_from(
            ["connection", "login_attempt", "login_success", "command", "download", "other"]
        ),
    },
    optional={
        "delay": st.integers(-(10**7), 2 * HOUR_US) | st.sampled_from([HOUR_US, HOUR_US + 1]),
        "signature": _maybe(
            "command attempted on cowrie honeypot", "Unknown Command attempted", "x"
        ),
        "sensor": _maybe("s1", "s2"),
        "app": _maybe("cowrie", "dionaea"),
        "src_ip": _maybe("203.0.113.1", "203.0.113.2", "203.0.113.3"),
        "dest_port": _maybe(0, 22, 65535),
        "transport": _maybe("tcp", "udp"),
        "protocol": _maybe("ssh"),
        "username": _maybe("root", ""),
        "password": _maybe("root", ""),
        "command": _maybe("ls", "x"),
        "urls": _maybe(_LINKS[:1], _LINKS, []),
        "hashes": _maybe(["d4" * 16]),
        "kex_hassh": _maybe("51cba57125523ce4b9db67714a90bf6e"),
        "ssh_version": _maybe("SSH-2.0-Go"),
        "extra": st.sampled_from([*_EXTRAS]),
    },
)


def _received(event: Event) -> Event:
    delay = event.pop("delay", None)
    return event | {"enqueued_us": None if delay is None else event["time_us"] + delay}


_days = st.lists(_events.map(_received), max_size=30)


@pytest.mark.parametrize("name", TABLES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=_days, cuts=st.lists(_times, max_size=6))
def test_a_day_merged_from_any_stretches_is_the_recount_of_its_events(
    name: str, events: list[Event], cuts: list[int]
) -> None:
    table = TABLES[name]
    day = merged(table, by_hour(events))
    assert rows_by_key(table, day) == RECOUNTS[name](events)
    assert day.schema == table.schema

    edges = [epoch_us(DAY), *(epoch_us(DAY) + cut for cut in sorted(cuts)), epoch_us(DAY) * 2]
    stretches = [
        [event for event in events if low <= event["time_us"] < high]
        for low, high in pairwise(edges)
    ]
    assert_frame_equal(merged(table, stretches), day)
    assert_frame_equal(merged(table, [events]), day)
    assert_frame_equal(merged(table, reversed(by_hour(events))), day)


@pytest.mark.parametrize("name", TABLES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=_days, random=st.randoms(use_true_random=False))
def test_the_order_of_events_makes_no_difference(
    name: str, events: list[Event], random: Any
) -> None:
    table = TABLES[name]
    shuffled = random.sample(events, len(events))
    assert_frame_equal(merged(table, [shuffled]), merged(table, [events]))


@pytest.mark.parametrize("name", TABLES)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=_days)
def test_rows_stand_largest_first_and_then_by_their_keys(name: str, events: list[Event]) -> None:
    table = TABLES[name]
    rows = merged(table, [events]).to_dicts()
    order = [
        (
            *(-row[column] for column in table.descending),
            *(
                (row[key] is None, row[key] if row[key] is not None else 0)
                for key in table.key_names
            ),
        )
        for row in rows
    ]
    assert order == sorted(order)


@pytest.mark.parametrize("name", TABLES)
def test_a_day_without_events_is_an_empty_table(name: str) -> None:
    day = merged(TABLES[name], [])
    assert day.is_empty()
    assert day.schema == TABLES[name].schema


# What the counts mean


def rows(name: str, events: Sequence[Event], quarantined: int = 0) -> list[Row]:
    return merged(TABLES[name], by_hour(events), quarantined).to_dicts()


def test_a_source_seen_in_many_hours_is_one_source() -> None:
    events = [at(hour, sensor="s", src_ip="203.0.113.1", dest_port=22) for hour in range(24)]
    for name in ("daily_summary", "daily_ports", "daily_sensors"):
        (row,) = rows(name, events)
        assert (row["events"], row["unique_sources"]) == (24, 1)


def test_events_that_are_equal_are_counted_each() -> None:
    twice = [at(3, sensor="s", src_ip="203.0.113.1", event_kind="login_attempt", username="a")] * 2
    assert rows("daily_summary", twice)[0]["login_attempts"] == 2
    assert rows("daily_credentials", twice)[0]["attempts"] == 2
    assert rows("daily_sensors", twice)[0]["events"] == 2


def test_a_command_sent_again_as_unknown_counts_once() -> None:
    signatures = ("command attempted on cowrie honeypot", "Unknown command attempted on Honeypot")
    events = [
        at(3, sensor="s", event_kind="command", command="lockr", signature=signature)
        for signature in signatures
    ]
    (row,) = rows("daily_commands", events)
    assert (row["command"], row["events"]) == ("lockr", 1)
    assert rows("daily_summary", events)[0]["commands"] == 1
    assert rows("daily_summary", events)[0]["events"] == 2


def test_a_command_without_a_signature_counts() -> None:
    (row,) = rows("daily_commands", [at(3, event_kind="command", command="ls")])
    assert row["events"] == 1


@pytest.mark.parametrize(
    ("hours", "silence"),
    [
        ([5.0], 0.0),
        ([5.0, 5.5], 1_800.0),
        ([0.9, 1.1, 1.2], 720.0),
        ([0.5, 6.5, 6.6], 21_600.0),
        ([0.1, 0.9, 1.0, 23.75], 81_900.0),
        ([2.0, 2.0], 0.0),
    ],
)
def test_the_longest_silence_is_found_also_across_the_borders_of_hours(
    hours: list[float], silence: float
) -> None:
    # Another sensor's events do not break it.
    events = [at(hour, sensor="s") for hour in hours] + [at(h, sensor="t") for h in range(24)]
    found = {row["sensor"]: row["longest_silence_seconds"] for row in rows("daily_sensors", events)}
    assert found["s"] == silence


def test_the_median_delay_is_that_of_the_day_and_not_of_its_hours() -> None:
    delays = [1, 1, 1, 50, 60]
    events = [
        at(hour, sensor="s") | {"enqueued_us": at(hour)["time_us"] + delay * 1_000_000}
        for hour, delay in zip([1, 1, 1, 2, 3], delays, strict=True)
    ]
    events.append(at(4, sensor="s", enqueued_us=None))
    (row,) = rows("daily_sensors", events)
    assert (row["median_delay_seconds"], row["longest_delay_seconds"]) == (1.0, 60)


def test_late_means_more_than_an_hour() -> None:
    events = [
        at(1, sensor="s", enqueued_us=at(1)["time_us"] + HOUR_US + more) for more in (-1, 0, 1)
    ]
    assert rows("daily_summary", events)[0]["late"] == 1


def test_quarantined_events_stand_in_a_row_of_their_own() -> None:
    with_events = rows("daily_summary", [at(1, sensor="s", app="cowrie")], quarantined=7)
    assert [(row["sensor"], row["events"], row["quarantined"]) for row in with_events] == [
        ("s", 1, 0),
        (None, None, 7),
    ]
    (alone,) = rows("daily_summary", [], quarantined=7)
    assert alone["quarantined"] == 7
    assert rows("daily_summary", [], quarantined=0) == []
    assert rows("daily_ports", [], quarantined=7) == []


# Fields that came otherwise than declared


def test_names_and_values_of_unexpected_fields_are_cut() -> None:
    extra = json.dumps({"n" * 101: "v" * 200, "n" * 102: 1})
    (text, number) = sorted(rows("daily_drift", [at(1, extra=extra)]), key=lambda r: r["sent_as"])[
        ::-1
    ]
    assert (text["field"], text["example"]) == ("n" * 100, '"' + "v" * 79)
    assert (number["field"], number["events"]) == ("n" * 100, 1)


def test_of_one_event_so_many_unexpected_fields_are_named_and_the_rest_is_counted() -> None:
    extra = json.dumps({f"f{place:03}": place for place in range(5000)})
    found = rows("daily_drift", [at(1, extra=extra), at(2, sensor="s", extra=extra)])
    named, rest = found[:-1], found[-1]
    assert {row["field"] for row in named} == {f"f{place:03}" for place in range(64)}
    assert (rest["field"], rest["sensor"], rest["declared_as"]) == (None, None, None)
    assert rest["events"] == 2 * (5000 - 64)
    assert recounted([at(1, extra=extra), at(2, sensor="s", extra=extra)]) == published(found)


FEW = replace(
    TABLES["daily_drift"],
    limit=replace(TABLES["daily_drift"].limit, most_of_one=3, most=5),  # type: ignore[type-var]
)
_names = st.sampled_from([*"abcdef", "bb", "ccc", "dd", "command", "tags"])
_sent = st.builds(
    lambda hour, sensor, members: at(hour, sensor=sensor, extra=json.dumps(members)),
    st.integers(0, 23),
    _maybe("one", "two", "three"),
    st.dictionaries(_names, st.sampled_from([1, "x", "y"]), max_size=6),
)


def few_of(events: Sequence[Event]) -> list[Row]:
    """What `FEW` should come to: everything is counted first, and then cut."""
    counted: dict[tuple[Any, ...], int] = defaultdict(int)
    for event in events:
        for name, value in json.loads(event["extra"]).items():
            kind = "number" if value == 1 else "string"
            counted[event.get("sensor"), name, kind] += 1

    def place(pair: tuple[Any, ...]) -> tuple[Any, ...]:
        sensor, name = pair
        declared = name in ("command", "tags")
        return (not declared, len(name), name, sensor is None, sensor or "")

    told: list[tuple[Any, ...]] = []
    for pair in sorted({key[:2] for key in counted}, key=place):
        if len(told) < 5 and sum(pair[0] == sensor for sensor, _ in told) < 3:
            told.append(pair)
    named = [{"key": key, "events": n} for key, n in counted.items() if key[:2] in told]
    rest = sum(n for key, n in counted.items() if key[:2] not in told)
    return named + ([{"key": (None, None, None), "events": rest}] if rest else [])


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(events=st.lists(_sent, max_size=25), part=st.integers(1, 30), cuts=st.integers(1, 25))
def test_beyond_so_many_names_the_same_ones_are_told_in_whatever_parts_a_day_is_counted(
    monkeypatch: pytest.MonkeyPatch, events: list[Event], part: int, cuts: int
) -> None:
    monkeypatch.setattr(tables, "PART", part)
    monkeypatch.setattr(tables, "_MOST_WAITING", 2)
    in_parts = merged(FEW, [events[start : start + cuts] for start in range(0, len(events), cuts)])
    monkeypatch.setattr(tables, "PART", 1000)
    monkeypatch.setattr(tables, "_MOST_WAITING", 1000)
    whole = merged(FEW, [events[::-1]])
    assert_frame_equal(in_parts, whole)
    found = [
        {"key": (row["sensor"], row["field"], row["sent_as"]), "events": row["events"]}
        for row in whole.to_dicts()
    ]
    key = lambda row: str(row["key"])  # noqa: E731
    assert sorted(found, key=key) == sorted(few_of(events), key=key)
    # What is held between two parts is bounded, too: five names of two kinds, and the rest.
    assert len(FEW.partials(frame_of(events))) <= 11


def test_names_that_one_sensor_invents_do_not_crowd_out_those_of_others() -> None:
    invented = [
        at(n / 100, sensor="noisy", extra=json.dumps({f"x{n}-{m:02}": "" for m in range(64)}))
        for n in range(40)
    ]
    meant = [at(1, sensor="quiet", extra='{"a_name_that_a_developer_chose":1}')]
    found = rows("daily_drift", [*invented, *meant])
    of_sensor = Counter(row["sensor"] for row in found)
    assert of_sensor == {"noisy": 200, "quiet": 1, None: 1}
    assert found[-1]["field"] is None
    assert sum(row["events"] for row in found) == 40 * 64 + 1
    assert recounted([*invented, *meant]) == published(found)


def test_names_of_many_sensors_are_told_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stingar_recount, "_MOST_NAMES", 5)
    events = [
        at(
            n / 100,
            sensor=f"s{n % 7}",
            extra=json.dumps({f"{'x' * (n % 4)}{m}": n for m in range(n)}),
        )
        for n in range(40)
    ]
    limit = replace(TABLES["daily_drift"].limit, most_of_one=200, most=5)  # type: ignore[type-var]
    found = merged(replace(TABLES["daily_drift"], limit=limit), by_hour(events)).to_dicts()
    assert len({row["field"] for row in found if row["field"]}) <= 5
    assert sum(row["events"] for row in found) == sum(range(40))
    assert recounted(events) == published(found)


def test_what_is_held_of_an_hour_for_daily_tables_has_no_part_that_senders_fill() -> None:
    at_once = [table for table in STINGAR.tables if not table.combined]
    assert all("extra" not in table.needs(SCHEMA) for table in at_once)
    assert [table.name for table in STINGAR.tables if table.explode is not None and table.combined]


def recounted(events: Sequence[Event]) -> list[str]:
    """What `stingar verify` holds the table of drift against."""
    drift = stingar_recount.RECOUNTS["daily_drift"]()
    for event in events:
        told = {name: event[name] for name in ("sensor", "extra") if event.get(name) is not None}
        drift.add({"@timestamp": text(event["time_us"]), **told})
    return published(drift.rows(0))


def published(found: Iterable[Row]) -> list[str]:
    """Rows as readers see them, without nulls."""
    lines = ({name: value for name, value in row.items() if value is not None} for row in found)
    return sorted(json.dumps(line, sort_keys=True) for line in lines)
