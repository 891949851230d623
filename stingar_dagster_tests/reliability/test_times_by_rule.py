"""The rules of time in docs/guarantees.md, from a logged text to a published hour.

Each line of the table is one event of one capture: what was sent, the hour it is published in, its
`@timestamp`, what stood in for its time, and whether the text sent is kept in `extra`. Not here:
every form that a time stamp can have (`cleaning/test_times`).
"""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from stingar_dagster.streams import STINGAR
from stingar_dagster_tests.support import MINUTE, NOON, Site, lines

RECEIVED: Final = NOON + timedelta(minutes=7, seconds=30, milliseconds=250)


class Rule(NamedTuple):
    """What becomes of an `@timestamp`; `sent` is its JSON as it stands in the body."""

    sent: str
    hour: str
    timestamp: str
    source: str | None = None
    kept: bool = False


def own(sent: str, timestamp: str, kept: bool = False) -> Rule:
    """The event's own time places it."""
    return Rule(sent, timestamp[:13], timestamp, None, kept)


def received(sent: str, kept: bool = True) -> Rule:
    """The time at which Event Hubs received it stands in."""
    return Rule(sent, "2026-11-03T12", "2026-11-03T12:07:30.250Z", "enqueued", kept)


RULES: Final = [
    own('"2026-11-03T12:01:02.345Z"', "2026-11-03T12:01:02.345Z"),
    # Far from when it was received
    received('"2027-11-03T12:00:00Z"'),
    own('"2026-11-04T12:07:30.250Z"', "2026-11-04T12:07:30.250Z"),
    received('"2026-11-04T12:07:30.251Z"'),
    own('"2025-11-03T11:59:59Z"', "2025-11-03T11:59:59.000Z"),
    own('"2020-01-01T00:00:00Z"', "2020-01-01T00:00:00.000Z"),
    received('"2019-12-31T23:59:59.999Z"'),
    received('"1970-01-01T00:00:00Z"'),
    received("0"),
    # Zones
    own('"2026-11-03T11:05:00"', "2026-11-03T11:05:00.000Z"),
    own('"2026-11-03T11:05:00-00:00"', "2026-11-03T11:05:00.000Z"),
    own('"2026-11-04T01:30:00+14:00"', "2026-11-03T11:30:00.000Z"),
    own('"2026-11-02T23:30:00-12:00"', "2026-11-03T11:30:00.000Z"),
    own('"2026-11-03T17:00:00+05:45"', "2026-11-03T11:15:00.000Z"),
    own('"2026-11-01T00:10:00+01:00"', "2026-10-31T23:10:00.000Z"),
    own('"2026-11-03T17:00:00+05"', "2026-11-03T12:00:00.000Z", kept=True),
    received('"2026-11-03T11:05:00+24:00"'),
    received('"2026-11-03T11:05:00 CET"'),
    # Seconds and fractions
    own('"2026-11-03T11:59:60Z"', "2026-11-03T11:59:59.000Z", kept=True),
    own('"2026-10-31T23:59:60.999Z"', "2026-10-31T23:59:59.999Z", kept=True),
    received('"2026-11-03T11:59:61Z"'),
    own('"2026-11-03T11:05:00.123456789Z"', "2026-11-03T11:05:00.123Z", kept=True),
    own('"2026-11-03T11:59:59.999999999Z"', "2026-11-03T11:59:59.999Z", kept=True),
    own('"2026-11-03T11:05:00.123000000Z"', "2026-11-03T11:05:00.123Z"),
    # Since the epoch
    own("1793700000", "2026-11-03T10:00:00.000Z", kept=True),
    own("1793700000.25", "2026-11-03T10:00:00.250Z", kept=True),
    own("1793700000123", "2026-11-03T10:00:00.123Z", kept=True),
    own('"1793700000"', "2026-11-03T10:00:00.000Z", kept=True),
    own('"1793700000123"', "2026-11-03T10:00:00.123Z", kept=True),
    own('"1793700000123456"', "2026-11-03T10:00:00.123Z", kept=True),
    own('"1793700000123456789"', "2026-11-03T10:00:00.123Z", kept=True),
    received("-1793700000"),
    received("1.7937e9"),
    received("9223372036854775807"),
    received("18446744073709551616"),
    received("99999999999999999999999999999999"),
    received("1e300"),
    # Other forms
    own('"2026-11-03t11:05:00z"', "2026-11-03T11:05:00.000Z", kept=True),
    own('"2026-11-03 11:05:00,5"', "2026-11-03T11:05:00.500Z", kept=True),
    own('{"$date":"2026-11-03T11:05:00Z"}', "2026-11-03T11:05:00.000Z", kept=True),
    received('"2026-11-02T24:00:00Z"'),
    received('"2026-W45-2T11:05:00Z"'),
    received('"2026-307T11:05:00Z"'),
    received('"20261103T110500Z"'),
    received('"2026-11-03"'),
    received('"2026-02-29T11:05:00Z"'),
    received('"10000-01-01T00:00:00Z"'),
    received('"Tue, 03 Nov 2026 11:05:00 GMT"'),
    received('"NaN"'),
    # No time stamp
    received('""', kept=False),
    received("null", kept=False),
    received("[]", kept=False),
    received('" "'),
    received("true"),
    received("false"),
    received("{}"),
    received('["2026-11-03T11:05:00Z"]'),
]


def published(folder: Path, sent: list[str], at: datetime) -> tuple[Site, dict[int, Rule]]:
    """One event for each text, and what became of it, read as a stranger would."""
    site = Site.at(folder, replace(STINGAR, tables=STINGAR.tables[:1]))
    known = '"type": "cowrie.sessions", "src_ip": "192.0.2.7"'
    bodies = [f'{{{known}, "@timestamp": {text}}}'.encode() for text in sent]
    site.put(bodies, received=at)
    site.run()
    site.check()
    found: dict[int, Rule] = {}
    for path, data in site.objects("events").items():
        hour = path.split("date=")[1].replace("/hour=", "T").split("/")[0]
        for row in map(json.loads, lines(data)):
            number = int(row["event_id"].rsplit("/", 1)[1])
            kept = row.get("extra")
            if kept is not None:
                assert kept == '{"@timestamp":' + sent[number] + "}"
            found[number] = Rule(
                sent[number], hour, row["@timestamp"], row.get("time_source"), kept is not None
            )
    return site, found


@pytest.fixture(scope="module")
def came(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Rule]:
    _, found = published(tmp_path_factory.mktemp("times"), [rule.sent for rule in RULES], RECEIVED)
    assert len(found) == len(RULES)
    return found


@pytest.mark.parametrize("number", range(len(RULES)), ids=[rule.sent for rule in RULES])
def test_a_logged_time_is_published_by_rule(number: int, came: dict[int, Rule]) -> None:
    assert came[number] == RULES[number]


@pytest.mark.parametrize(
    "at", [datetime(1970, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC), NOON + 120 * MINUTE]
)
def test_where_the_time_of_arrival_cannot_be_true_the_landed_hour_stands_in(
    tmp_path: Path, at: datetime
) -> None:
    sent = ['"2026-11-03T11:05:00Z"', '"2027-11-03T12:00:00Z"', '""']
    _, found = published(tmp_path, sent, at)
    assert [found[0][1:], found[1][1:], found[2][1:]] == [
        ("2026-11-03T11", "2026-11-03T11:05:00.000Z", None, False),
        ("2026-11-03T12", "2026-11-03T12:00:00.000Z", "landed", True),
        ("2026-11-03T12", "2026-11-03T12:00:00.000Z", "landed", False),
    ]


@pytest.mark.parametrize("sent", ["NaN", "Infinity", "-Infinity", "01", "1.", "0x10"])
def test_what_is_no_number_in_json_spoils_its_body_and_no_other(tmp_path: Path, sent: str) -> None:
    site, found = published(tmp_path, ['"2026-11-03T11:05:00Z"', sent], RECEIVED)
    assert found.keys() == {0}
    (line,) = site.quarantined()
    row: dict[str, Any] = {"reason": line["reason"], "number": line["sequence_number"]}
    assert row == {"reason": "not_json", "number": 1}
