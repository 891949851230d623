"""The published layout is a contract: these paths never change."""

from datetime import UTC, datetime

from stingar_dagster.lake.layout import Layout, day_of, hour_key, hour_of_path, parse_hour

HOUR = datetime(2022, 5, 19, 7, tzinfo=UTC)
DAY = datetime(2022, 5, 19, tzinfo=UTC)
LAYOUT = Layout("stingar")


def test_published_paths() -> None:
    assert LAYOUT.events(HOUR) == "stingar/events/date=2022-05-19/hour=07/events.json"
    assert LAYOUT.daily("daily_ips", DAY) == (
        "stingar/daily/daily_ips/date=2022-05-19/daily_ips.json"
    )
    assert LAYOUT.quarantine(HOUR) == ("stingar/quarantine/date=2022-05-19/hour=07/quarantine.json")
    assert LAYOUT.ledger(HOUR) == "stingar/ledger/date=2022-05-19/hour=07/ledger.json"
    assert LAYOUT.schema("events.spark.json") == "stingar/schema/events.spark.json"


def test_internal_paths_stand_apart_from_what_readers_glob() -> None:
    internal = [
        LAYOUT.segment("2022-05-19T07", "x"),
        LAYOUT.rejected(HOUR, "x"),
        LAYOUT.partials(HOUR, "x"),
        LAYOUT.hour_record("events", HOUR),
        LAYOUT.day_record("daily_ips", DAY),
        LAYOUT.reopened(HOUR),
        LAYOUT.marks,
    ]
    assert {path.split("/")[1] for path in internal} == {"segments", "rollups", "state"}
    assert len(set(internal)) == len(internal)


def test_hours_are_read_back_from_paths_and_keys() -> None:
    assert hour_key(HOUR) == "2022-05-19T07"
    assert parse_hour(hour_key(HOUR)) == HOUR
    assert day_of(HOUR) == DAY
    for path in (LAYOUT.events(HOUR), LAYOUT.ledger(HOUR), LAYOUT.hour_record("events", HOUR)):
        assert hour_of_path(path) == HOUR
