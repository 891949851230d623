"""New and changed fields, from what segments hold beside the declared fields."""

import json
import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from stingar_dagster.health import fields
from stingar_dagster.health.drift import drift
from stingar_dagster.health.fields import FieldRecord, observe
from stingar_dagster.health.findings import Finding
from stingar_dagster.streams import STINGAR
from stingar_dagster_tests.health.weeks import DAY, HOUR, NORMS, NOW
from stingar_dagster_tests.support import Site, event, on_disk

pytestmark = on_disk

TEN = NOW.replace(hour=10, minute=0)


def land(site: Site, hour: datetime, *events: dict[str, Any], first: int = 0) -> None:
    """Land events that were logged and received in an hour."""
    bodies = [event(hour, **{"app": "cowrie", **fields}) for fields in events]
    site.put(bodies, start=hour, first=first)
    site.pipeline().land_hour(hour)


def look(site: Site, now: datetime = NOW) -> Finding:
    return drift(observe(site.pipeline().lake, now), STINGAR, NORMS, now)


def known(site: Site) -> None:
    """Software that was heard for five days, each of them looked at."""
    for day in range(5, 0, -1):
        land(site, TEN - day * DAY, {"flavour": "plain"}, first=1000 * day)
        assert look(site, NOW - day * DAY).passed


def test_a_new_field_is_told_with_example_sensor_and_since_when(site: Site) -> None:
    known(site)
    land(site, TEN, {"flavour": "plain", "mqtt_topic": "a/b", "sensor": "lab-7"})
    finding = look(site)
    assert not finding.passed
    assert (
        "1 field changed since 2026-11-18 10:00 UTC: cowrie mqtt_topic (new, string)"
        in finding.text
    )
    assert 'first from lab-7, such as "a/b"' in finding.text
    (row,) = finding.rows
    assert (row["software"], row["field"], row["sensor"]) == ("cowrie", "mqtt_topic", "lab-7")


def test_a_field_of_another_type_is_told_with_what_it_was(site: Site) -> None:
    known(site)
    land(site, TEN, {"flavour": {"of": "objects"}})
    finding = look(site)
    assert "cowrie flavour (was string, now object)" in finding.text


def test_a_declared_field_that_does_not_fit_is_told(site: Site) -> None:
    known(site)
    land(site, TEN, {"flavour": "plain", "dest_port": {"number": 22}})
    finding = look(site)
    assert "dest_port (declared, and came as object that does not fit)" in finding.text


def test_known_fields_are_no_news(site: Site) -> None:
    known(site)
    land(site, TEN, {"flavour": "plain"})
    finding = look(site)
    assert finding.passed
    assert not finding.learning


def test_looking_again_says_the_same_and_writes_nothing(site: Site) -> None:
    known(site)
    land(site, TEN, {"mqtt_topic": "a/b"})
    first = look(site)
    before = site.versions("state/health")
    assert look(site) == first
    assert site.versions("state/health") == before
    # The hour decoded again, into the same segments or others, is no news either.
    site.pipeline().land_hour(TEN, again=True)
    assert look(site) == first


def test_a_new_field_is_told_for_a_day(site: Site) -> None:
    known(site)
    land(site, TEN, {"mqtt_topic": "a/b"})
    assert not look(site).passed
    assert not look(site, NOW + 20 * HOUR).passed
    assert look(site, NOW + 26 * HOUR).passed


def test_a_new_field_that_is_looked_at_a_day_late_is_told_from_then_on(site: Site) -> None:
    known(site)
    land(site, TEN, {"mqtt_topic": "a/b"})
    # Nobody looked for 35 hours.
    late = NOW + 35 * HOUR
    finding = look(site, late)
    assert not finding.passed
    assert "1 field changed since 2026-11-18 10:00 UTC: cowrie mqtt_topic" in finding.text
    assert not look(site, late + 20 * HOUR).passed
    assert look(site, late + 26 * HOUR).passed


def test_a_time_that_is_no_time_is_drift_to_neither_the_check_nor_the_daily_table(
    site: Site,
) -> None:
    known(site)
    land(site, TEN, {"flavour": "plain", "timestamp": "foo", "start_time": 7, "mqtt_topic": "a"})
    told = {row["field"] for row in look(site).rows}
    site.run()
    path = site.pipeline().lake.layout.daily("daily_drift", TEN)
    rows = [json.loads(line) for line in site.pipeline().lake.store.read(path).splitlines()]
    assert told == {"mqtt_topic"}
    assert {(row["field"], row["sent_as"]) for row in rows} == {
        ("mqtt_topic", "string"),
        ("flavour", "string"),
    }


def test_fields_that_an_older_release_called_text_are_known(site: Site) -> None:
    known(site)
    path = site.pipeline().lake.layout.health("fields.json")
    store = site.pipeline().lake.store
    old = store.read(path).replace(b'"kind":"string"', b'"kind":"text"')
    store.write(path, re.sub(rb',"noticed":"[^"]*"', b"", old))
    land(site, TEN, {"flavour": "plain"})
    assert look(site).passed


def test_a_fresh_lake_learns(site: Site) -> None:
    assert look(site).learning
    land(site, TEN, {"flavour": "plain", "other": 1})
    finding = look(site)
    assert finding.passed
    assert finding.learning
    assert "fields are learnt for 3 days" in finding.text


def test_software_that_is_new_learns_by_itself(site: Site) -> None:
    known(site)
    land(site, TEN, {"app": "dionaea", "anything": 1})
    assert look(site).passed


def test_an_event_that_comes_later_in_the_same_hour_is_looked_at(site: Site) -> None:
    known(site)
    land(site, TEN, {"flavour": "plain"})
    assert look(site).passed
    site.put([event(TEN, app="cowrie", mqtt_topic="a")], start=TEN + timedelta(minutes=1), first=50)
    site.pipeline().land_hour(TEN)
    assert not look(site).passed


def test_fields_of_changing_shape_are_no_drift(site: Site) -> None:
    known(site)
    land(site, TEN, {"flavour": "plain", "authentication_keys": [{"key": 1}]})
    assert look(site).passed


def test_a_lost_or_damaged_record_is_made_again(site: Site) -> None:
    known(site)
    lake = site.pipeline().lake
    lake.store.write(lake.layout.health("fields.json"), b"{nonsense")
    finding = look(site)
    assert finding.passed
    assert finding.learning


def test_names_that_hold_data_stop_being_kept_and_that_is_told_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fields, "MOST_FIELDS", 20)
    known(site)
    land(site, TEN, {f"key-{n}": n for n in range(100)})
    finding = look(site)
    assert "cowrie sent more than" in finding.text
    record = observe(site.pipeline().lake, NOW)
    assert len({seen.field for seen in record.seen}) == 20
    assert look(site, NOW + 26 * HOUR).passed


def test_text_of_fields_and_values_is_made_harmless(site: Site) -> None:
    known(site)
    land(site, TEN, {"evil\u202e": "\x1b[31m<!channel>" + "x" * 500})
    finding = look(site)
    told = finding.text + str(finding.rows)
    assert "\u202e" not in told
    assert "\x1b" not in told
    assert len(str(finding.rows[0]["example"])) <= 80


def test_what_one_look_may_not_read_is_left_to_the_next(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fields, "MOST_BYTES", 1)
    for hour in range(3):
        land(site, TEN - hour * HOUR, {"flavour": hour}, first=hour * 10)
    lake = site.pipeline().lake
    counts = [len(observe(lake, NOW).looked) for _ in range(4)]
    assert counts == [1, 2, 3, 3]


def test_of_two_looks_at_once_both_keep_what_they_saw(site: Site) -> None:
    land(site, TEN, {"flavour": "plain"})
    lake = site.pipeline().lake
    path = lake.layout.health("fields.json")
    both = observe(lake, NOW)
    lake.store.remove(path)
    write, other = lake.store.write, FieldRecord(since={"other": "2026-01-01T00"})
    raced: list[bool] = []

    class Racing:
        """The store, where another look commits just before the first write."""

        def __getattr__(self, name: str) -> Any:
            return getattr(lake.store, name)

        def write(self, place: str, data: bytes, **options: Any) -> None:
            if not raced:
                raced.append(True)
                import msgspec

                write(path, msgspec.json.encode(other))
            write(place, data, **options)

    from stingar_dagster.lake.lake import Lake

    after = observe(Lake(Racing(), lake.stream), NOW)  # type: ignore[arg-type]
    assert after.since == {**both.since, **other.since}
