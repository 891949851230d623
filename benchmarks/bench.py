"""The pipeline's full work against what a user could run instead, on the same captures, in one run.

    python -m benchmarks.bench [--megabytes N] [--files N] [--codec null|deflate]
                               [--block-bytes N|0] [--rounds N] [--only NAME,NAME] [--folder F]

Contenders take turns, for some rounds, each as a whole process; wall and CPU seconds are medians,
with the least and the most, and the peak is the largest process's. `engine` is the three steps as
a user of the Python API calls them, `run` is `stingar run`; of both the start-up is part. What each
other is let off stands beside it. There is no ratio unless every contender read all there was.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.captures import HOURS, START, Manifest, Shape, captures
from benchmarks.peers import LET_OFF

ROOT: Final = Path(__file__).resolve().parents[1]
OURS: Final = ("engine", "run")
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True)
class Cost:
    """Of one whole process and its children: seconds, and megabytes of the largest one."""

    wall: float
    cpu: float
    peak: float


def engine(place: str, lake: str) -> None:
    """The three steps, as a user of the Python API calls them."""
    from datetime import timedelta

    from stingar_dagster.lake import backlog
    from stingar_dagster.lake.layout import day_of
    from stingar_dagster.pipeline import Pipeline
    from stingar_dagster.settings import Settings
    from stingar_dagster.streams import STINGAR

    pipeline = Pipeline(Settings(landing=f"{place}/landing", lake=lake), STINGAR)
    listed = pipeline.landing.between(START, START + timedelta(hours=HOURS)).captures
    hours = backlog.by_landed_hour(pipeline.lake, listed)
    records = sum(pipeline.land_hour(hour).total("records") for hour in hours)
    pending = backlog.unpublished_hours(pipeline.lake, hours)
    events = sum(pipeline.publish_hour(hour).rows for hour in pending)
    for day in sorted({day_of(hour) for hour in (*pending, *hours)}):
        pipeline.roll_day(day)
    print(json.dumps({"read": records, "events": events}))


def read_by_run(lake: Path) -> dict[str, int]:
    """What `stingar run` says it read and wrote, by its ledgers and records."""
    lines = [
        json.loads(line)
        for path in (lake / "stingar/ledger").rglob("*.json")
        for line in path.read_text().splitlines()
    ]
    records = [
        json.loads(path.read_text()) for path in (lake / "stingar/state/events").rglob("*.json")
    ]
    return {
        "read": sum(line["records"] for line in lines),
        "events": sum(record["rows"] for record in records),
    }


def contend(name: str, place: Path, work: Path) -> tuple[Cost, dict[str, int]]:
    """Let one contender do its work in an empty folder."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    environ = dict(os.environ)
    if name == "run":
        home = work / "dagster"
        home.mkdir()
        instance = (ROOT / "dagster.yaml").read_text()
        (home / "dagster.yaml").write_text(instance.replace("data/dagster", str(home)))
        environ |= {
            "STINGAR_LANDING": str(place / "landing"),
            "STINGAR_LAKE": str(work / "lake"),
            "DAGSTER_HOME": str(home),
        }
        cost, _ = measured([str(Path(sys.executable).with_name("stingar")), "run"], environ)
        return cost, read_by_run(work / "lake")
    if name == "engine":
        code = "import sys; from benchmarks.bench import engine; engine(*sys.argv[1:])"
        command = [sys.executable, "-c", code, str(place), str(work / "lake")]
    else:
        command = [sys.executable, "-m", "benchmarks.peers", name, str(place), str(work)]
    cost, output = measured(command, environ)
    return cost, json.loads(output.strip().splitlines()[-1])


def measured(command: Sequence[str], environ: Mapping[str, str]) -> tuple[Cost, str]:
    """Run a command to its end.

    Raises:
        SystemExit: it failed.
    """
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdout=output, stderr=errors, text=True
        )
        watch = _Watch(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        watch.stop()
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{errors.read()[-2000:]}")
        # Of a process that nobody waited for (Spark's JVM) only the watch knows.
        cpu = max(usage.ru_utime + usage.ru_stime, watch.cpu)
        return Cost(wall, cpu, max(watch.peak, usage.ru_maxrss / 1024)), output.read()


class _Watch:
    """Looks at a process and its descendants while they run.

    Attributes:
        peak: the largest resident size among them, in megabytes.
        cpu: seconds of all of them together, up to the last look.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._cpu: dict[int, float] = {}
        self.peak = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    @property
    def cpu(self) -> float:
        return sum(self._cpu.values())

    def _watch(self) -> None:
        while not self._done.wait(_POLL_SECONDS):
            for pid in _descendants(self._pid):
                self.peak = max(self.peak, _resident(pid))
                self._cpu[pid] = max(self._cpu.get(pid, 0.0), _cpu_seconds(pid))


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text()
        except OSError:
            continue
        found += map(int, children.split())
    return found


def _resident(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    line = next((line for line in status.splitlines() if line.startswith("VmHWM")), "VmHWM: 0 kB")
    return int(line.split()[1]) / 1024


def _cpu_seconds(pid: int) -> float:
    try:
        # After the program's name, which may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def check(name: str, counts: Mapping[str, int], manifest: Manifest) -> None:
    """Refuse to compare with one that did not read everything it was given."""
    expected = manifest.lines if name in ("duckdb", "chdb", "spark") else manifest.records
    if counts["read"] != expected:
        raise SystemExit(f"{name} read {counts['read']:,} of {expected:,}: nothing to compare")


def main() -> None:
    """Generate, measure in turn, check, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--files", type=int, default=36)
    parser.add_argument("--codec", choices=["null", "deflate"], default="null")
    parser.add_argument("--block-bytes", type=int, default=16_384, help="0: one block a file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="names, with commas between")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/bench")
    given = parser.parse_args()
    shape = Shape(given.megabytes, given.files, given.codec, given.block_bytes or None)
    place, manifest = captures(given.folder, shape)
    print(
        f"{manifest.records:,} records ({manifest.duplicates:,} of them twice), "
        f"{manifest.body_bytes / 1e6:,.0f} MB of bodies in {manifest.files:,} files, "
        f"codec {shape.codec}, {'one block a file' if shape.block_bytes is None else 'blocks'}"
    )
    names = given.only.split(",") if given.only else [*OURS, *LET_OFF]
    costs: dict[str, list[Cost]] = {name: [] for name in names}
    for turn in range(given.rounds):
        for name in names:
            cost, counts = contend(name, place, given.folder / "work")
            check(name, counts, manifest)
            costs[name].append(cost)
            print(f"  round {turn + 1}  {name:12} {cost.wall:7.1f} s  {counts}", flush=True)
    print(table(costs))


def table(costs: Mapping[str, Sequence[Cost]]) -> str:
    """Medians in Markdown, with ratios of wall time to the engine's."""
    rows = [
        "| | wall s | least to most | CPU s | peak MB | engine is | let off |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    mine = median(cost.wall for cost in costs["engine"]) if "engine" in costs else None
    for name, several in costs.items():
        walls = [cost.wall for cost in several]
        ratio = "" if mine is None or name in OURS else f"{median(walls) / mine:.2f} times as fast"
        rows.append(
            f"| {name} | {median(walls):.1f} | {min(walls):.1f} to {max(walls):.1f} "
            f"| {median(cost.cpu for cost in several):.1f} "
            f"| {max(cost.peak for cost in several):,.0f} | {ratio} | {LET_OFF.get(name, '')} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    main()
