"""Several processes for the steps: the same bytes, one clear error, and no process left behind."""

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest

from stingar_dagster import workers as workers_module
from stingar_dagster.errors import UnknownFormat, WorkerDied
from stingar_dagster.lake import slots
from stingar_dagster.lake.layout import day_of
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.storage import open_store
from stingar_dagster.streams import STINGAR
from stingar_dagster.workers import Workers, _portable
from stingar_dagster_tests.support import HOUR, MINUTE, NOON, Site, event, pending

SECONDS_TO_END: Final = 60
HOURS: Final = [NOON + number * HOUR for number in range(6)]

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="processes are looked for in /proc"
)


def children(pid: int | None = None) -> set[int]:
    """The workers of a process (default: of this one)."""
    tasks = Path(f"/proc/{pid or os.getpid()}/task").iterdir()
    found = (int(child) for task in tasks for child in read_proc(task / "children").split())
    return {c for c in found if b"import serve;" in read_proc(Path(f"/proc/{c}/cmdline"))}


def read_proc(path: Path) -> bytes:
    """What stands there; nothing, where the thread or process ended since it was listed."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def wait_until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + SECONDS_TO_END
    while not condition():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.005)


@pytest.fixture
def everything_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are used however little there is to do."""
    monkeypatch.setattr(workers_module, "_WORTH_SECONDS", 0.0)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Six landed hours, with events of the hour before and of the day before among them."""
    site = Site.at(tmp_path)
    for number, hour in enumerate(HOURS):
        bodies = [event(hour), event(hour - HOUR), b"nonsense", event(hour - 24 * HOUR)]
        site.put(bodies * (1 + number), start=hour, first=100 * number)
        site.put(bodies, partition=1, start=hour + 20 * MINUTE, first=100 * number)
    return site


def pipeline(site: Site, processes: int) -> Pipeline:
    return Pipeline(replace(site.settings, processes=processes), site.stream)


def run(site: Site, processes: int) -> None:
    """Do what is pending, step by step."""
    opened = pipeline(site, processes)
    with Workers(opened) as workers:
        unlanded, _, _ = pending(opened)
        assert [hour for hour, _ in workers.land_hours(unlanded)] == unlanded
        _, hours, _ = pending(opened)
        assert [hour for hour, _ in workers.publish_hours(hours)] == hours
        days = sorted({day_of(hour) for hour in hours})
        assert [day for day, _ in workers.roll_days(days)] == days
        # Days that were rolled up side by side did not know each other's numbers yet.
        _, _, days = pending(opened)
        assert [day for day, _ in workers.roll_days(days)] == days
        assert pending(opened) == ([], [], [])


# ---- the same, whoever does it


@needs_proc
@pytest.mark.usefixtures("everything_is_worth_it")
def test_two_processes_come_to_the_same_bytes_as_one(site: Site, tmp_path: Path) -> None:
    alone, shared = site.with_lake(str(tmp_path / "alone")), site.with_lake(str(tmp_path / "two"))
    run(alone, 1)
    run(shared, 2)
    assert alone.tree() == shared.tree()
    assert len(alone.tree("events")) > len(HOURS)
    shared.check()


@pytest.mark.usefixtures("everything_is_worth_it")
def test_one_large_hour_is_shared_by_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "BATCH_BYTES", 4_000)
    site = Site.at(tmp_path)
    for partition in range(6):
        site.put([event(NOON), b"nonsense", event(NOON - HOUR)] * 5, partition=partition)
    alone, shared = site.with_lake(str(tmp_path / "alone")), site.with_lake(str(tmp_path / "two"))
    run(alone, 1)
    opened = pipeline(shared, 2)
    with Workers(opened) as workers:
        [(_, landed)] = workers.land_hours([NOON])
        assert len(children()) == 2
    assert (landed.decoded, landed.total("events")) == (6, 90)
    run(shared, 1)
    assert alone.tree() == shared.tree()
    shared.check()


@pytest.mark.usefixtures("everything_is_worth_it")
def test_outcomes_come_in_the_order_asked_for(site: Site) -> None:
    asked = [HOURS[3], HOURS[0], HOURS[5], HOURS[0]]
    with Workers(pipeline(site, 2)) as workers:
        outcomes = list(workers.land_hours(asked))
    assert [hour for hour, _ in outcomes] == asked
    for hour, landed in outcomes:
        assert {line.capture for line in landed.ledger.lines.values()} == set(site.ledger(hour))


@pytest.mark.usefixtures("everything_is_worth_it")
def test_from_scratch_is_from_scratch_there_too(site: Site) -> None:
    run(site, 1)
    with Workers(pipeline(site, 2)) as workers:
        assert {landed.decoded for _, landed in workers.land_hours(HOURS)} == {0}
        assert {landed.decoded for _, landed in workers.land_hours(HOURS, again=True)} == {2}


@pytest.mark.usefixtures("everything_is_worth_it")
def test_only_the_tables_asked_for_are_rolled_up(site: Site) -> None:
    name = STINGAR.tables[0].name
    run(site, 1)
    with Workers(pipeline(site, 2)) as workers:
        for _, records in workers.roll_days([day_of(NOON), day_of(NOON - 24 * HOUR)], [name]):
            assert set(records) == {name}


# ---- when other processes are used


@needs_proc
def test_little_work_is_done_here(site: Site) -> None:
    with Workers(pipeline(site, 2)) as workers:
        assert len(list(workers.land_hours(HOURS))) == len(HOURS)
        assert len(list(workers.publish_hours(HOURS))) == len(HOURS)
        assert not children()


@needs_proc
@pytest.mark.usefixtures("everything_is_worth_it")
def test_no_more_processes_than_were_set_and_none_afterwards(site: Site) -> None:
    with Workers(pipeline(site, 2)) as workers:
        list(workers.land_hours(HOURS))
        first = children()
        list(workers.publish_hours(HOURS))
        assert children() == first
        assert len(first) == 2
    assert not children()


@needs_proc
@pytest.mark.usefixtures("everything_is_worth_it")
@pytest.mark.parametrize("why", ["one process", "a store of its own", "another stream", "memory"])
def test_what_another_process_could_not_open_is_done_here(site: Site, why: str) -> None:
    opened = pipeline(site, 1 if why == "one process" else 2)
    if why == "a store of its own":
        store = open_store(site.lake, "STINGAR_LAKE")
        opened = Pipeline(opened.settings, site.stream, lake_store=store)
    if why == "another stream":
        opened = Pipeline(opened.settings, replace(STINGAR, tables=STINGAR.tables[:1]))
    if why == "memory":
        opened = Pipeline(replace(opened.settings, lake="memory://workers"), site.stream)
    with Workers(opened) as workers:
        for _, landed in workers.land_hours(HOURS):
            assert landed.decoded == 2
        assert not children()


# ---- errors


@pytest.mark.usefixtures("everything_is_worth_it")
@pytest.mark.parametrize("processes", [1, 2])
def test_an_hour_that_fails_ends_it_in_its_turn(site: Site, processes: int) -> None:
    store = open_store(site.lake, "STINGAR_LAKE")
    opened = pipeline(site, processes)
    for hour in HOURS[:3]:
        opened.land_hour(hour)
    store.write(opened.lake.layout.hour_record("events", HOURS[2]), b'{"format": 99}')
    with Workers(opened) as workers:
        outcomes = workers.publish_hours(HOURS)
        assert [next(outcomes)[0], next(outcomes)[0]] == HOURS[:2]
        with pytest.raises(UnknownFormat, match="newer release"):
            next(outcomes)
        assert list(outcomes) == []


def land_often(workers: Workers) -> None:
    """Long enough that whatever happens meanwhile happens while an hour is landed."""
    for _ in range(100):
        list(workers.land_hours(HOURS, again=True))


@needs_proc
@pytest.mark.usefixtures("everything_is_worth_it")
def test_a_killed_worker_is_one_clear_error_and_the_next_run_completes(site: Site) -> None:
    def kill_when_two_are_there() -> None:
        wait_until(lambda: len(children()) == 2)
        for pid in children():
            # The end of the first one ends the second one, too.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill_when_two_are_there)
    killer.start()
    with Workers(pipeline(site, 2)) as workers, pytest.raises(WorkerDied) as caught:
        land_often(workers)
    killer.join()
    told = str(caught.value)
    assert "SIGKILL" in told
    assert "land_hour of 2026-11-03 1" in told
    assert "STINGAR_PROCESSES" in told
    assert len(told.splitlines()) == 1
    assert not children()
    run(site, 2)
    site.check()


@needs_proc
@pytest.mark.usefixtures("everything_is_worth_it")
def test_a_worker_that_died_while_idle_is_replaced(site: Site) -> None:
    with Workers(pipeline(site, 2)) as workers:
        list(workers.land_hours(HOURS))
        for pid in children():
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerDied):
            list(workers.publish_hours(HOURS))
        for _ in range(2):  # the other one is found dead at its next hour
            try:
                assert len(list(workers.publish_hours(HOURS))) == len(HOURS)
            except WorkerDied:
                continue
    run(site, 1)
    site.check()


class Strange(Exception):
    """Keeps other arguments than it asks for, as some of storage clients do."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} in {where}")


def test_an_error_that_cannot_be_sent_is_told_all_the_same() -> None:
    error = _portable(Strange("nothing", "nowhere"))
    assert str(error) == "Strange: nothing in nowhere"


def test_an_unforeseen_error_says_where_in_the_worker() -> None:
    try:
        open_store("/", "STINGAR_LAKE").read("there/is/no/such/object")
    except FileNotFoundError as error:
        sent = pickle.loads(pickle.dumps(_portable(error)))
    assert isinstance(sent, FileNotFoundError)
    assert "stingar_dagster/storage" in "".join(sent.__notes__)


# ---- the parent's end

UNGUARDED: Final = """
import sys, time
from datetime import datetime, timedelta
from stingar_dagster import workers
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.settings import Settings
from stingar_dagster.streams import STINGAR
workers._WORTH_SECONDS = 0.0
hours = [datetime.fromisoformat(sys.argv[3]) + timedelta(hours=n) for n in range(6)]
pipeline = Pipeline(Settings(landing=sys.argv[1], lake=sys.argv[2], processes=2), STINGAR)
with workers.Workers(pipeline) as opened:
    print("landed", len(list(opened.land_hours(hours))), flush=True)
    while "endless" in sys.argv:
        list(opened.land_hours(hours, again=True))
"""


@pytest.fixture
def program(site: Site, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a program that uses workers, as `python -c` or as a script."""
    started: list[subprocess.Popen[str]] = []

    def start(*rest: str, script: bool = False) -> subprocess.Popen[str]:
        (tmp_path / "program.py").write_text(UNGUARDED)
        code = [str(tmp_path / "program.py")] if script else ["-c", UNGUARDED]
        process = subprocess.Popen(
            [sys.executable, *code, site.landing, site.lake, NOON.isoformat(), *rest],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("script", [True, False])
def test_a_program_needs_no_guard(
    program: Callable[..., subprocess.Popen[str]], site: Site, script: bool
) -> None:
    output, errors = program(script=script).communicate(timeout=SECONDS_TO_END)
    assert (output, errors) == ("landed 6\n", "")
    site.run()
    site.check()


@needs_proc
@pytest.mark.parametrize(
    ("sent", "to_all"), [(signal.SIGKILL, False), (signal.SIGTERM, False), (signal.SIGINT, True)]
)
def test_no_worker_outlives_its_parent(
    program: Callable[..., subprocess.Popen[str]],
    site: Site,
    sent: signal.Signals,
    to_all: bool,
) -> None:
    process = program("endless")
    assert process.stdout is not None
    assert process.stdout.readline() == "landed 6\n"
    left = children(process.pid)
    assert len(left) == 2
    if to_all:
        os.killpg(process.pid, sent)  # as a terminal does on Ctrl-C
    else:
        os.kill(process.pid, sent)
    _, errors = process.communicate(timeout=SECONDS_TO_END)
    wait_until(lambda: not any(map(is_alive, left)))
    assert process.returncode == -sent
    assert errors.count("Traceback") == (1 if sent == signal.SIGINT else 0), errors
    site.run()
    site.check()
