"""`stingar demo`: sample traffic that keeps landing, and Dagster's UI over it.

Only addresses and domains reserved for documentation appear. Not here: the traffic (`samples`) and
how lines become captures (`packing`).
"""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from stingar_dagster.instance import open_instance
from stingar_dagster.lake import backlog
from stingar_dagster.packing import Hub, Packer, refuse_captured
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.samples.dns import dns_traffic
from stingar_dagster.samples.traffic import Sample, traffic
from stingar_dagster.settings import Settings
from stingar_dagster.streams import DNS, STINGAR, Stream

WINDOW: Final = timedelta(seconds=30)
"""How often captures land; Event Hubs' shortest window is 60 seconds."""
HISTORY_DAYS: Final = 1
"""Whole days before today with which a fresh demo starts: a report of a day that began in the
middle would rightly say that hours are missing."""
EARLIEST_STAMP: Final = timedelta(days=4)
"""Sample events arrive up to two days after their stamp."""
_STOP_SECONDS: Final = 20.0
_EVENTS_PER_HOUR: Final = 1500.0
_QUERIES_PER_HOUR: Final = 600.0
"""Little, beside a real network's: the demo shows, it does not measure."""
_HISTORY_WINDOW: Final = timedelta(minutes=15)
_A_MOMENT: Final = timedelta(seconds=1)
"""Before its window ends, all of it has been received: nothing arrives before it is logged."""


Traffic = Callable[[datetime, datetime, int], Iterator[Sample]]
"""What arrives in a range, for a seed."""


def honeypots(start: datetime, end: datetime, seed: int) -> Iterator[Sample]:
    """Events of honeypots."""
    return traffic(start, end, events_per_hour=_EVENTS_PER_HOUR, seed=seed)


def resolvers(start: datetime, end: datetime, seed: int) -> Iterator[Sample]:
    """Queries of a campus network."""
    return dns_traffic(start, end, events_per_hour=_QUERIES_PER_HOUR, seed=seed)


def history_start(now: datetime) -> datetime:
    """The first moment that a fresh demo has traffic of, in UTC."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=HISTORY_DAYS)


def land_history(packer: Packer, until: datetime, seed: int, arriving: Traffic = honeypots) -> int:
    """Land past traffic in quarter-hour captures; returns how many events."""
    start = history_start(until)
    events, window = 0, start + _HISTORY_WINDOW
    bodies: list[bytes] = []
    for sample in arriving(start, until, seed):
        while sample.arrived >= window:
            packer.pack(bodies, window - _A_MOMENT)
            bodies, window = [], window + _HISTORY_WINDOW
        bodies.append(sample.body)
        events += 1
    packer.pack(bodies, min(window, until) - _A_MOMENT)
    return events


def keep_landing(
    packers: Sequence[tuple[Packer, Traffic]], since: datetime, seed: int, stop: threading.Event
) -> None:
    """Land a window of traffic again and again until told to stop."""
    while not stop.wait(max(0.0, (since + WINDOW - datetime.now(UTC)).total_seconds())):
        until = since + WINDOW
        for packer, arriving in packers:
            bodies = [sample.body for sample in arriving(since, until, seed)]
            packer.pack(bodies, until - _A_MOMENT)
        since = until


def run(settings: Settings, host: str, port: int, paused: bool) -> int:
    """Serve the demo until interrupted; returns the exit code.

    Raises:
        UsageError: another demo lands traffic in the same folder, `stingar capture` writes the
            demo's hub, or Dagster's instance can't be opened.
    """
    with open_instance():
        pass  # what is wrong with it is better told here than by Dagster's processes
    packers = [
        (_packer(settings, STINGAR, Hub("demo", "stingar", 4)), honeypots),
        (_packer(settings, DNS, Hub("demo", "dns", 1)), resolvers),
    ]
    stop = threading.Event()
    # One lock for the folder: sequence numbers of both must not fork.
    with packers[0][0].exclusive():
        packers[1][0].resume()
        now = datetime.now(UTC)
        count = sum(
            land_history(packer, now, 7, arriving) for packer, arriving in packers if packer.is_new
        )
        if count:
            print(f"Landed {count:,} sample events since {history_start(now):%Y-%m-%d %H:%M} UTC.")
        if not paused:
            threading.Thread(
                target=keep_landing,
                args=(packers, now, random.randrange(2**31), stop),
                daemon=True,
            ).start()
        packer = packers[0][0]
        first = packer.landing.first_hour(settings.start) or now
        # Partitions of the years before would hide the few that the demo has.
        os.environ.setdefault("STINGAR_START", f"{first - EARLIEST_STAMP:%Y-%m-%d}")
        print(f"Dagster's UI: http://{host}:{port}  (stop with Ctrl-C; the state is kept)")
        try:
            return serve(host, port)
        finally:
            stop.set()


def _packer(settings: Settings, stream: Stream, hub: Hub) -> Packer:
    pipeline = Pipeline(settings, stream)
    refuse_captured(pipeline.lake, hub)
    return Packer(
        pipeline.landing,
        hub,
        lambda: backlog.lines_of_hub(pipeline.lake, hub.namespace, hub.event_hub),
    )


def serve(host: str, port: int) -> int:
    """Run `dagster dev` until it ends or we are asked to."""
    command = [sys.executable, "-m", "dagster", "dev", "--workspace", "workspace.yaml"]
    command += ["--host", host, "--port", str(port), "--log-level", "warning"]
    asked_to_stop = threading.Event()
    # Set before the child starts: a shell's background job would pass on that it ignores Ctrl-C.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: asked_to_stop.set())
    # A group of its own, so that Ctrl-C reaches it once, from us.
    process = subprocess.Popen(command, start_new_session=True, env=_environment())
    while process.poll() is None and not asked_to_stop.wait(0.2):
        pass
    if not asked_to_stop.is_set():
        return process.returncode
    print("Stopping.", flush=True)
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    return 0


def _environment() -> dict[str, str]:
    environment = dict(os.environ)
    # Dagster would otherwise speak of a temporary folder, though dagster.yaml keeps the state.
    environment.setdefault("DAGSTER_HOME", os.getcwd())
    # `dagster dev` points to `dg dev`, which needs a package that running does not.
    environment.setdefault("PYTHONWARNINGS", "ignore:Function `dev_command` is superseded")
    return environment
