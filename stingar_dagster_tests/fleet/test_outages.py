"""Two workers on one store, while what they depend on goes away: every event comes out once.

A backfill as the UI asks for it, with new captures meanwhile. A worker is killed in the middle of
its run, the broker and the database are restarted. `benchmarks.fleet` does 48 hours of it.
"""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from stingar_dagster.verify import verify
from stingar_dagster_tests.azurite import HOW_TO_GET_IT, is_installed
from stingar_dagster_tests.fleet.machines import Fleet, command_lines, running_fleet
from stingar_dagster_tests.postgres import PASSWORD as DATABASE_PASSWORD
from stingar_dagster_tests.redis_server import PASSWORD as BROKER_PASSWORD
from stingar_dagster_tests.support import HOUR, event

PAST_HOURS = 12
EVENTS_AN_HOUR = 40
ASSET = "landed_events"
"""One asset, so one run: Dagster looks at a backfill every 30 seconds, and before each asset. What
follows from it is published by sensors."""

# Shorter than deployed, so that the test is: what has to hold is the same. A worker that looks for
# its broker may be taken for lost in so short a time; then its run is only done once more.
CHANGES = {
    "lost_after_seconds: 45": "lost_after_seconds: 10",
    "poll_interval_seconds: 10": "poll_interval_seconds: 3",
    "cancel_timeout_seconds: 60": "cancel_timeout_seconds: 20",
}


@dataclass
class Traffic:
    """Captures that land while the machines are at work."""

    fleet: Fleet
    hour: datetime
    landed: int = 0

    def land(self) -> None:
        """One more capture of this hour, with three events and one line that is none."""
        bodies = [*(event(self.hour) for _ in range(3)), b"no json"]
        start = self.hour + timedelta(seconds=self.landed)
        self.fleet.site.put(bodies, start=start, first=self.landed)
        self.landed += len(bodies)

    def wait_until_out(self) -> None:
        def is_out() -> bool:
            return len(self.fleet.site.events(self.hour)) == self.landed // 4 * 3

        self.fleet.wait_until(is_out, "live traffic published")


@pytest.fixture(scope="module")
def past() -> list[datetime]:
    """Hours that no sensor looks at, unless something tells of them."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return [now - 10 * 24 * HOUR + number * HOUR for number in range(PAST_HOURS)]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, past: list[datetime]) -> Iterator[Fleet]:
    if not is_installed():
        pytest.skip(HOW_TO_GET_IT)
    folder = tmp_path_factory.mktemp("fleet")
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        running_fleet(folder, f"{past[0] - 24 * HOUR:%Y-%m-%d}", CHANGES) as fleet,
    ):
        monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", fleet.azurite.connection_string)
        fleet.daemon()
        fleet.webserver()
        yield fleet


@pytest.fixture(scope="module")
def traffic(fleet: Fleet) -> Traffic:
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    return Traffic(fleet, now)


def keys(hours: list[datetime]) -> list[str]:
    return [f"{hour:%Y-%m-%d-%H:%M}" for hour in hours]


def land_past(fleet: Fleet, past: list[datetime], first: Iterator[int]) -> None:
    for hour in past:
        bodies = [event(hour + timedelta(seconds=index)) for index in range(EVENTS_AN_HOUR)]
        fleet.site.put(bodies, start=hour, partition=1, first=next(first) * EVENTS_AN_HOUR)


def test_new_traffic_does_not_wait_behind_a_backfill(
    fleet: Fleet, traffic: Traffic, past: list[datetime]
) -> None:
    fleet.worker("live", ["stingar-live"], 1)
    traffic.land()
    traffic.wait_until_out()
    fleet.wait_until(fleet.is_serving, "the UI")
    land_past(fleet, past, count())
    # Nobody does backfills yet: its run is handed over and waits, and traffic passes it.
    backfill = fleet.backfill(keys(past), ASSET)
    fleet.wait_until(lambda: fleet.redis.waiting("stingar-backfill") == 1, "handed over")
    traffic.land()
    traffic.wait_until_out()
    assert {status for _, status, _ in fleet.runs(backfill)} == {"STARTING"}

    fleet.worker("backfill", ["stingar-backfill"], 1)
    expected = PAST_HOURS * EVENTS_AN_HOUR + traffic.landed // 4 * 3
    fleet.wait_until(lambda: len(fleet.site.events()) == expected, "backfilled")


def test_a_run_that_somebody_terminates_is_not_tried_again(
    fleet: Fleet, past: list[datetime]
) -> None:
    backfill = fleet.backfill(keys(past), ASSET)
    fleet.wait_until(lambda: bool(fleet.at_work(backfill)), "at work")
    ((run, _),) = fleet.at_work(backfill)
    fleet.terminate(run)
    fleet.wait_until(lambda: run not in [known for *_, known in fleet.unfinished()], "ended")
    fleet.wait_until(lambda: not fleet.at_work(backfill), "nobody is at it")
    assert [status for _, status, _ in fleet.runs(backfill)] == ["CANCELED"]


def test_a_worker_that_was_told_to_stop_finishes_its_run(
    fleet: Fleet, past: list[datetime]
) -> None:
    backfill = fleet.backfill(keys(past), ASSET)
    fleet.wait_until(lambda: bool(fleet.at_work(backfill)), "at work")
    ((run, machine),) = fleet.at_work(backfill)
    assert machine.name == "backfill"
    machine.drain()
    fleet.wait_until(lambda: machine.has_exited() is not None, "drained")
    assert machine.has_exited() == 0
    assert next(status for _, status, known in fleet.runs() if known == run) == "SUCCESS"


def test_every_event_comes_out_once_whatever_goes_away(
    fleet: Fleet, traffic: Traffic, past: list[datetime]
) -> None:
    for name in ("live", "backfill"):
        fleet.machines[name].kill()
    one, two = fleet.worker("one"), fleet.worker("two")

    # The machine that does the backfill loses power.
    backfill = fleet.backfill(keys(past), ASSET)
    fleet.wait_until(lambda: bool(fleet.at_work(backfill)), "at work")
    (run, lost), *_ = fleet.at_work(backfill)
    assert lost in (one, two)
    lost.kill()
    traffic.land()
    fleet.wait_until(
        lambda: fleet.retry_of(run) in dict(fleet.at_work(backfill)), "started elsewhere"
    )
    assert {status for _, status, known in fleet.runs() if known == run} == {"FAILURE"}

    # The broker is restarted under the one that took it over.
    fleet.redis.stop()
    traffic.land()
    lost.start()
    fleet.redis.start()
    assert fleet.wait_until_over(backfill) == "COMPLETED_SUCCESS", fleet.told()
    traffic.wait_until_out()

    # The database is restarted under another backfill. Its run goes on, or fails and is done again.
    # A failed step is not tried again by itself: should the error come there, somebody has to ask.
    backfill = fleet.backfill(keys(past), ASSET)
    fleet.wait_until(lambda: bool(fleet.at_work(backfill)), "at work")
    fleet.postgres.stop()
    traffic.land()
    fleet.postgres.start()
    status = fleet.wait_until_over(backfill)
    if status == "COMPLETED_FAILED":
        assert {status for _, status, _ in fleet.runs(backfill)} == {"FAILURE"}
        backfill = fleet.backfill(keys(past), ASSET)
        status = fleet.wait_until_over(backfill)
    assert status == "COMPLETED_SUCCESS", fleet.told()
    traffic.wait_until_out()

    fleet.wait_until(lambda: not fleet.unfinished(), "nothing is stuck")
    fleet.wait_until(lambda: verify(fleet.site.pipeline()).holds, "it holds")
    proof = verify(fleet.site.pipeline())
    captured = PAST_HOURS * EVENTS_AN_HOUR + traffic.landed
    assert proof.total("captured") == captured
    assert proof.total("quarantined") == traffic.landed // 4
    assert proof.total("cleaned") == captured - traffic.landed // 4


def test_no_secret_is_told(fleet: Fleet) -> None:
    tags = fleet.postgres.query("select value from run_tags", "dagster")
    events = fleet.postgres.query("select event from event_logs", "dagster")
    kept = "".join(
        path.read_text(errors="replace")
        for path in (fleet.redis.folder / "appendonlydir").iterdir()
    )
    messages = [base64.b64decode(body) for body in re.findall(r'"body": "([\w+/=]+)"', kept)]
    assert any(b"run_id" in message for message in messages)
    told = {
        "command lines": command_lines(),
        "output": "".join(machine.log.read_text() for machine in fleet.machines.values()),
        "database": str(tags) + str(events),
        "broker": kept + str(messages),
    }
    for place, text in told.items():
        for secret in (BROKER_PASSWORD, DATABASE_PASSWORD, "AccountKey="):
            assert secret not in text, place


def test_the_broker_lets_nobody_in_without_the_password(fleet: Fleet) -> None:
    import redis

    for changes in ({"password": "wrong"}, {"username": None, "password": None}):
        with (
            fleet.redis.client(**changes) as client,
            pytest.raises((redis.AuthenticationError, redis.ResponseError)),
        ):
            client.ping()
    with fleet.redis.client() as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.config_set("dir", "/tmp")
