"""The demo with its traffic paused: what its processes take, and what its ticks leave behind.

Everything it started with is worked off first. Storage is flat when as many ticks are purged as
are added: what that comes to is reckoned from the ticks of the time watched and from the days that
`dagster.yaml` keeps them for; nobody waits for days here.
"""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.contenders import stingar
from benchmarks.measuring import ROOT, Failed, cpu_seconds, descendants, end_group
from benchmarks.results import Idle, taken
from benchmarks.scale import Scale
from stingar_dagster.lake import backlog
from stingar_dagster.lake.layout import day_of
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.settings import Settings
from stingar_dagster.streams import STINGAR

_SETTLED_SECONDS: Final = 20.0
_LONGEST_SECONDS: Final = 900.0


def idle(folder: Path, scale: Scale) -> Idle:
    """Start the demo in a folder of its own, wait until it has nothing to do, watch it."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, work)
    settings = Settings(landing=str(work / "data/landing"), lake=str(work / "data/lake"))
    environ = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("STINGAR_", "DAGSTER_"))
    }
    environ |= {"PYTHONPATH": str(ROOT)}
    started = taken()
    log = (work / "log").open("w")
    with log:
        demo = subprocess.Popen(
            [*stingar("demo", "--paused", "--port", str(_free_port()))],
            cwd=work, env=environ, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            _settle(demo, Pipeline(settings, STINGAR), work)
            result = _watch(demo.pid, work / "data/dagster", scale.idle_seconds)
        finally:
            _stop(demo)
    return Idle(taken=started, kept_days=_kept_days(), **result)


def _settle(demo: "subprocess.Popen[bytes]", pipeline: Pipeline, work: Path) -> None:
    """Wait until nothing has been pending, and the same processes been there, for a while."""
    end = time.monotonic() + _LONGEST_SECONDS
    quiet_since, before = time.monotonic(), set[int]()
    while time.monotonic() < end:
        time.sleep(2)
        if demo.poll() is not None:
            raise Failed(f"the demo ended:\n{(work / 'log').read_text()[-2000:]}")
        now = set(descendants(demo.pid))
        if now != before or not _is_done(pipeline):
            quiet_since, before = time.monotonic(), now
        elif time.monotonic() - quiet_since > _SETTLED_SECONDS:
            return
    raise Failed(f"the demo was not done within {_LONGEST_SECONDS:.0f} seconds")


def _is_done(pipeline: Pipeline) -> bool:
    lake = pipeline.lake
    listed = pipeline.landing.between(pipeline.settings.start, datetime.now(UTC)).captures
    landed = backlog.by_landed_hour(lake, listed)
    if not landed or backlog.unlanded(lake, landed) or backlog.unpublished_hours(lake, landed):
        return False
    days = {*backlog.published_days(lake), *(day_of(hour) for hour in landed)}
    return not backlog.unpublished_days(lake, days)


def _watch(pid: int, storage: Path, seconds: float) -> dict[str, Any]:
    ticks, tick_bytes, other = _ticks(storage), *_sizes(storage)
    spent, start = _cpu(pid), time.monotonic()
    time.sleep(seconds)
    cpu, passed = _cpu(pid) - spent, time.monotonic() - start
    new_ticks = _ticks(storage) - ticks
    after, other_after = _sizes(storage)
    return {
        "seconds": passed,
        "processes": len(descendants(pid)),
        "cpu": cpu,
        "ticks": dict(new_ticks),
        "tick_bytes": (after - tick_bytes) / max(1, new_ticks.total()),
        "other_growth": other_after - other,
    }


def _cpu(pid: int) -> float:
    return sum(map(cpu_seconds, descendants(pid)))


def _ticks(storage: Path) -> Counter[str]:
    with closing(_open(storage / "schedules/schedules.db")) as database:
        rows = database.execute("SELECT lower(status), count(*) FROM job_ticks GROUP BY 1")
        return Counter(dict(rows.fetchall()))


def _sizes(storage: Path) -> tuple[int, int]:
    """Bytes of the database of ticks, and of everything else."""
    ticks = other = 0
    for path in storage.rglob("*"):
        if path.suffix == ".db":
            with closing(_open(path)) as database:
                # Not the file's size: what was just written stands in a log beside it.
                ((pages,),) = database.execute("PRAGMA page_count").fetchall()
                ((page,),) = database.execute("PRAGMA page_size").fetchall()
            if path.name == "schedules.db":
                ticks += pages * page
            else:
                other += pages * page
        elif path.is_file() and not path.name.endswith(("-wal", "-shm", "-journal")):
            other += path.stat().st_size
    return ticks, other


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)


def _kept_days() -> dict[str, int]:
    instance = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    kept: dict[str, int] = instance["retention"]["sensor"]["purge_after_days"]
    return {**kept, "started": kept["failure"]}


def _stop(demo: "subprocess.Popen[bytes]") -> None:
    demo.send_signal(signal.SIGINT)
    try:
        demo.wait(timeout=40)
    except subprocess.TimeoutExpired:
        for pid in descendants(demo.pid):
            end_group(pid)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
