"""A busy network's DNS logs while Dagster runs: delay, work, memory; then a stop and its backlog.

    python -m benchmarks.scenarios.rate FOLDER --rate 3600 --minutes 30 --stop 120

Each minute one capture a partition lands, made just before by another process. Dagster's processes
run as in the demo, with nothing but the stream `dns` arriving. First for `--minutes`: how long each
capture takes to be published, how busy the engine is, what the largest process holds, and what is
left at the end. Then `--stop` minutes of captures land at once, as after a stop of the pipeline,
and new ones go on landing: how long until nothing is left of them, and what a day would take at
that rate. FOLDER is emptied first. Not here: what queries look like (`benchmarks.queries`).
"""

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from threading import Event, Thread
from typing import Final

from benchmarks.latency import unpublished
from benchmarks.measuring import ROOT, descendants, end_group
from benchmarks.queries import MINUTE, captures
from stingar_dagster.capture.names import CaptureFormat
from stingar_dagster.lake.ledger import read_ledger
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.settings import Settings
from stingar_dagster.streams import DNS

PARTITIONS: Final = 4
_TICK: Final = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Landed:
    """A capture: its path, its landed hour, when it landed, and seconds until it was published."""

    path: str
    hour: datetime
    at: float
    published: float | None = None


@dataclass(slots=True)
class Network:
    """Captures of a network, and where they land.

    Attributes:
        landing: folder.
        names: of captures.
        staged: folder in which captures are made before their time.
        rate: events a second.
    """

    landing: Path
    names: CaptureFormat
    staged: Path
    rate: int

    def make(self, minute: datetime) -> None:
        """Make the captures of a minute."""
        # Sequence numbers go on from minute to minute, whoever makes which.
        first = int(minute.timestamp()) // 60 % 10_000_000 * (self.rate * 60 // PARTITIONS)
        for item in captures(minute, self.rate, PARTITIONS, first, seed=3):
            path = self.staged / self._path(item.partition, minute)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(item.data)

    def land(self, minute: datetime) -> list[Landed]:
        """Let the captures of a minute appear in landing."""
        found = []
        for partition in range(PARTITIONS):
            path = self._path(partition, minute)
            place = self.landing / path
            place.parent.mkdir(parents=True, exist_ok=True)
            (self.staged / path).rename(place)
            hour = minute.replace(minute=0)
            found.append(Landed(path, hour, time.monotonic()))
        return found

    def _path(self, partition: int, minute: datetime) -> str:
        return self.names.path("campus", "dns", partition, minute)


@dataclass(slots=True)
class Watch:
    """What Dagster's processes did.

    Attributes:
        cpu: processor seconds, of processes that ended, too.
        busy: seconds in which a run was under way.
        peak: largest resident size of one process, in megabytes.
        together: the same of all of them.
        seconds: how long it was watched.
    """

    pid: int
    cpu: float = 0.0
    busy: float = 0.0
    peak: float = 0.0
    together: float = 0.0
    seconds: float = 0.0
    _stop: Event = field(default_factory=Event)

    def look(self) -> None:
        before, start = _spent(self.pid), time.monotonic()
        last = start
        while not self._stop.wait(0.5):
            processes = descendants(self.pid)
            sizes = [_resident(pid) for pid in processes]
            now = time.monotonic()
            self.busy += (now - last) if any(map(_is_run, processes)) else 0.0
            last = now
            self.peak = max(self.peak, *sizes)
            self.together = max(self.together, sum(sizes))
        self.cpu, self.seconds = _spent(self.pid) - before, time.monotonic() - start

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = Thread(target=self.look)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def told(self) -> dict[str, float]:
        return {
            "CPU, share of two cores": self.cpu / self.seconds / 2,
            "a run under way, share of the time": self.busy / self.seconds,
            "largest process, MB": self.peak,
            "all processes, MB": self.together,
        }


def _spent(root: int) -> float:
    """Processor seconds of processes and of their children that ended."""
    total = 0
    for pid in descendants(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15]))
    return total / _TICK


def _is_run(pid: int) -> bool:
    """Whether a process is a run's: the code server spawns one for each."""
    try:
        return b"multiprocessing.spawn" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _resident(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def note_published(site: Pipeline, waiting: list[Landed]) -> None:
    """Note which captures have been published meanwhile."""
    now = time.monotonic()
    ledgers = {
        item.hour: read_ledger(site.lake.store, site.lake.layout, item.hour) for item in waiting
    }
    for item in waiting:
        line = ledgers[item.hour].lines.get(item.path)
        if line is not None and not unpublished(site, line):
            item.published = now - item.at


def live(network: Network, site: Pipeline, start: datetime, minutes: int) -> list[Landed]:
    """Land captures minute by minute; those of the last ones may not be published yet."""
    landed: list[Landed] = []
    with get_context("spawn").Pool(1) as maker:
        ahead = {start: maker.apply_async(network.make, (start,))}
        for number in range(minutes):
            minute = start + number * MINUTE
            coming = minute + MINUTE
            ahead[coming] = maker.apply_async(network.make, (coming,))
            ahead.pop(minute).get(timeout=60)
            # A window lands when it is over.
            while datetime.now(UTC) < coming:
                note_published(site, [item for item in landed if item.published is None])
                time.sleep(0.5)
            landed += network.land(minute)
            left = sum(item.published is None for item in landed)
            print(f"  {minute:%H:%M} landed; {left} captures are not published", flush=True)
        ahead[start + minutes * MINUTE].get(timeout=60)
    return landed


def settle(site: Pipeline, landed: list[Landed], seconds: float) -> list[Landed]:
    """Wait until all of it is published; what is not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        left = [item for item in landed if item.published is None]
        if not left:
            return []
        note_published(site, left)
        time.sleep(0.5)
    return [item for item in landed if item.published is None]


def backlog(
    network: Network, site: Pipeline, start: datetime, minutes: int, patience: float
) -> dict[str, float]:
    """Land a stop's captures at once, and go on; seconds until nothing of them is left."""
    landed = [item for n in range(minutes) for item in network.land(start + n * MINUTE)]
    begun = time.monotonic()
    stop = Event()

    def go_on() -> None:
        minute = datetime.now(UTC).replace(second=0, microsecond=0)
        while not stop.is_set():
            network.make(minute)
            while datetime.now(UTC) < minute + MINUTE and not stop.wait(0.5):
                pass
            network.land(minute)
            minute += MINUTE

    thread = Thread(target=go_on, daemon=True)
    thread.start()
    left = settle(site, landed, patience)
    took = time.monotonic() - begun
    stop.set()
    thread.join(timeout=90)
    events = minutes * network.rate * 60
    return {
        "captures not published": len(left),
        "minutes until the stop's captures are published": took / 60,
        "events a second meanwhile": events / took,
        "a day's backfill at this rate, hours": network.rate * 86_400 / (events / took) / 3600,
    }


@contextmanager
def dagster(work: Path, start: datetime, slice_minutes: int) -> Iterator[int]:
    """Dagster's processes, as the demo starts them; the process id."""
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, work)
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("STINGAR_", "DAGSTER_"))}
    environ |= {
        "PYTHONPATH": str(ROOT),
        "DAGSTER_HOME": str(work),
        "STINGAR_LANDING": str(work / "landing"),
        "STINGAR_LAKE": str(work / "lake"),
        "STINGAR_START": f"{start:%Y-%m-%d}",
        "STINGAR_DNS_SLICE_MINUTES": str(slice_minutes),
        # The captures of the stop are those of hours before.
        "STINGAR_LOOKBACK_HOURS": "6",
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "dagster", "dev", "--workspace", "workspace.yaml"]
    with (work / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--port", str(port), "--log-level", "warning"],
            cwd=work, env=environ, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                end_group(process.pid)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rate", type=int, default=3600, help="events a second")
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--stop", type=int, default=120, help="minutes; 0: no stop")
    parser.add_argument("--slice", type=int, default=1, help="minutes of an object")
    args = parser.parse_args()
    work: Path = args.folder.resolve()
    shutil.rmtree(work, ignore_errors=True)
    (work / "landing").mkdir(parents=True)
    settings = Settings(landing=str(work / "landing"), lake=str(work / "lake"))
    site = Pipeline(settings, DNS)
    network = Network(work / "landing", site.landing.format, work / "staged", args.rate)
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    results: dict[str, float] = {}
    with dagster(work, now - timedelta(days=2), args.slice) as pid:
        time.sleep(40)  # until its processes are there
        start = datetime.now(UTC).replace(second=0, microsecond=0) + MINUTE
        watch = Watch(pid)
        with watch.watching():
            landed = live(network, site, start, args.minutes)
        left = settle(site, landed, 120)
        seconds = sorted(item.published for item in landed if item.published is not None)
        results |= {
            "captures": len(landed),
            "not published two minutes after the last": len(left),
            "half published within, s": statistics.median(seconds),
            "95% published within, s": seconds[min(len(landed) - 1, round(0.95 * len(landed)) - 1)]
            if len(seconds) > 0.95 * len(landed)
            else float("inf"),
            "all that were published, within, s": seconds[-1],
            **watch.told(),
        }
        print(json.dumps(results, indent=1), flush=True)
        if args.stop:
            begin = start - args.stop * MINUTE
            for number in range(args.stop):
                network.make(begin + number * MINUTE)
            watch = Watch(pid)
            with watch.watching():
                results = backlog(network, site, begin, args.stop, patience=3600)
            print(json.dumps(results | watch.told(), indent=1), flush=True)


if __name__ == "__main__":
    main()
