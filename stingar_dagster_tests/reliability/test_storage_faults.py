"""Faults of a store, in the middle of each step.

A step that can't be finished tells so with an error of the project's own, in one line; what was
published stays whole; and the next run comes to the bytes that an undisturbed one gives. Not here:
processes that die (`test_pipeline`), and faults between store and pipeline
(`test_faults_over_the_wire`).
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Final

import pytest

from stingar_dagster.errors import (
    StingarError,
    StoreDenied,
    StoreUnavailable,
    Terminal,
    Transient,
)
from stingar_dagster.lake import lake as lake_module
from stingar_dagster.storage import open_store
from stingar_dagster.storage.objects import ObjectStore
from stingar_dagster.streams import STINGAR
from stingar_dagster_tests.faulty_store import (
    Fault,
    FaultyFileSystem,
    ForgetfulStore,
    Kind,
    Plan,
)
from stingar_dagster_tests.support import HOUR, MINUTE, NOON, SOAK, Site, event, pending

REPOSITORY = Path(__file__).resolve().parents[2]
ONE_TABLE: Final = replace(STINGAR, tables=STINGAR.tables[:1])
PUBLISHED: Final = ("events", "daily", "quarantine", "schema")
FOREVER: Final = 10**6
PAGE: Final = 4096


def fill(site: Site) -> None:
    """An hour that is published, and another version of it to come."""
    site.put([event(NOON - HOUR), b"nonsense", event(NOON)])
    site.put([event(NOON - HOUR)], partition=1)
    site.run()


def change(site: Site) -> None:
    """A late event, an hour that loses its only event, a new day."""
    site.put([event(NOON), event(NOON), b"more nonsense"])
    site.put([event(NOON + HOUR), event(NOON - 24 * HOUR)], partition=2, start=NOON + MINUTE)
    site.put([event(NOON)], partition=1)


def published(site: Site) -> dict[str, bytes]:
    return {path: data for folder in PUBLISHED for path, data in site.objects(folder).items()}


def told(error: StingarError, site: Site) -> None:
    """The error is one of two sorts, and a line that says where and what to do."""
    assert isinstance(error, Terminal) != isinstance(error, Transient)
    text = str(error)
    assert "\n" not in text
    assert site.lake in text or site.landing in text, text
    assert any(advice in text for advice in ("check", "run again", "run it again")), text


def check_convergence(site: Site, before: dict[str, bytes], after: dict[str, bytes]) -> None:
    """What is published is the last version or the next one, whole; running again gives the next.

    Partial aggregates and segments that nothing names any more may be left behind.
    """
    FaultyFileSystem.follow(Plan())
    found = published(site)
    for path, data in found.items():
        assert data in (before.get(path), after.get(path)), path
    for path in before.keys() & after.keys():
        assert path in found, path
    check_next_run(site, after)


def check_next_run(site: Site, after: dict[str, bytes]) -> None:
    FaultyFileSystem.follow(Plan())
    site.run()
    site.check()
    assert published(site) == after
    assert pending(site.pipeline()) == ([], [], [])


# ---- any store of fsspec


class Bucket:
    """A landing folder and a lake in a faulty file system, and what a smooth run makes of them."""

    def __init__(self) -> None:
        self.fs = FaultyFileSystem
        self.fs.store.clear()
        self.fs.follow(Plan())
        self.site = Site("faulty://bucket/landing", "faulty://bucket/lake", ONE_TABLE)
        fill(self.site)
        old = dict(self.fs.store)
        self.before = published(self.site)
        change(self.site)
        self.start = dict(self.fs.store)
        self.old = old
        self.plan = self.fs.follow(Plan())
        self.site.run()
        self.requests = dict(self.plan.seen)
        self.site.check()
        self.after = published(self.site)

    def run(self, plan: Plan) -> StingarError | None:
        """Run with a plan, from the start; the error that ended it."""
        self.fs.store.clear()
        self.fs.store.update(self.start)
        self.fs.follow(plan)
        if plan.fault is Fault.STALE:
            self.fs._old = dict(self.old)
        try:
            self.site.run()
        except StingarError as error:
            return error
        return None


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    monkeypatch.setattr(lake_module, "_THREADS", 1)  # so that requests have an order
    monkeypatch.setattr(ObjectStore, "waits", (0.0,) * len(ObjectStore.waits))
    yield Bucket()
    FaultyFileSystem.store.clear()
    FaultyFileSystem.follow(Plan())


@pytest.mark.parametrize("fault", [Fault.FULL, Fault.DENIED, Fault.TIMEOUT, Fault.LOST])
@pytest.mark.parametrize("kind", [Kind.WRITE, Kind.REMOVE])
def test_a_change_that_fails_is_told_and_made_by_the_next_run(
    bucket: Bucket, kind: Kind, fault: Fault
) -> None:
    assert bucket.requests[kind] > 0
    for number in range(0, bucket.requests[kind], 1 if SOAK else 3):
        plan = Plan(kind, fault, number)
        error = bucket.run(plan)
        assert plan.hit == 1
        assert error is not None, number
        told(error, bucket.site)
        assert isinstance(error, Terminal) == (fault is Fault.DENIED)
        assert ("No space left" in str(error)) == (fault is Fault.FULL)
        check_convergence(bucket.site, bucket.before, bucket.after)


FAULTS_OF_READING: Final = (Fault.TIMEOUT, Fault.DENIED, Fault.RESET)


@pytest.mark.parametrize("kind", [Kind.READ, Kind.INFO, Kind.LIST])
def test_what_can_not_be_read_is_tried_again_told_and_done_by_the_next_run(
    bucket: Bucket, kind: Kind
) -> None:
    step = max(1, bucket.requests[kind] // 16)
    for number in range(0, bucket.requests[kind], step + 1 - step % 2):
        fault = FAULTS_OF_READING[number % 2]
        error = bucket.run(Plan(kind, fault, number, FOREVER))
        assert error is not None, number
        told(error, bucket.site)
        assert isinstance(error, Terminal) == (fault is Fault.DENIED)
        check_convergence(bucket.site, bucket.before, bucket.after)


@pytest.mark.parametrize("kind", [Kind.READ, Kind.INFO, Kind.LIST])
def test_what_can_be_read_at_the_second_or_third_try_ends_no_run(
    bucket: Bucket, kind: Kind
) -> None:
    for number in range(0, bucket.requests[kind], max(1, bucket.requests[kind] // 12)):
        plan = Plan(kind, Fault.RESET, number, len(ObjectStore.waits))
        assert bucket.run(plan) is None
        assert plan.hit == len(ObjectStore.waits)
        assert published(bucket.site) == bucket.after


def test_what_can_not_be_read_is_tried_three_times_and_a_refusal_once(bucket: Bucket) -> None:
    store = open_store(bucket.site.lake, "STINGAR_LAKE")
    for fault, tries, kind in (
        (Fault.RESET, 3, StoreUnavailable),
        (Fault.TIMEOUT, 3, StoreUnavailable),
        (Fault.DENIED, 1, StoreDenied),
    ):
        plan = FaultyFileSystem.follow(Plan(Kind.READ, fault, 0, FOREVER))
        with pytest.raises(kind):
            store.read("anything")
        assert plan.hit == tries
    plan = FaultyFileSystem.follow(Plan(Kind.WRITE, Fault.RESET, 0, FOREVER))
    with pytest.raises(StoreUnavailable):
        store.write("anything", b"")
    assert plan.hit == 1


@pytest.mark.parametrize("times", [1, 25])
def test_stale_listings_delay_and_lose_and_double_nothing(bucket: Bucket, times: int) -> None:
    for number in range(0, bucket.requests[Kind.LIST], 1 if SOAK else 6):
        error = bucket.run(Plan(Kind.LIST, Fault.STALE, number, times))
        if error is not None:
            told(error, bucket.site)
            assert isinstance(error, Transient)
        # Of two captures listed, one may have been published: whole, but a version in between.
        check_next_run(bucket.site, bucket.after)


def test_a_bucket_that_is_not_there_is_no_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: object, path: str, value: bytes, **options: object) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr(FaultyFileSystem, "pipe_file", missing)
    store = open_store("faulty://no-bucket/lake", "STINGAR_LAKE")
    with pytest.raises(StoreDenied, match="no such bucket or container; check the address"):
        store.write("a", b"", expected=None)


# ---- a local folder whose answers get lost


@pytest.mark.parametrize("retried", [False, True], ids=["lost", "lost and asked again"])
def test_a_write_whose_answer_is_lost_is_neither_lost_nor_doubled(
    tmp_path: Path, retried: bool
) -> None:
    site = Site.at(tmp_path, ONE_TABLE)
    fill(site)
    before = published(site)
    shutil.copytree(site.lake, tmp_path / "before")
    change(site)
    site.run()
    after = published(site)
    for lost in count(step=1 if retried else 2):
        shutil.rmtree(site.lake)
        shutil.copytree(tmp_path / "before", site.lake)
        pipeline = site.pipeline()
        store = ForgetfulStore(Path(site.lake), lost, retried)
        object.__setattr__(pipeline.lake, "store", store)
        try:
            site.run(pipeline)
        except StoreUnavailable as error:
            told(error, site)
        check_convergence(site, before, after)
        if store.left >= 0:
            break
    assert lost > 8


def test_an_hour_that_lost_its_events_is_reopened_though_the_commit_was_not_answered(
    tmp_path: Path,
) -> None:
    site = Site.at(tmp_path, ONE_TABLE)
    path = site.put([event(NOON)])
    site.run()
    site.put([event(NOON + HOUR)])
    pipeline = site.pipeline()

    def publish_meanwhile(written: str) -> None:
        """Another process publishes the hour that was marked, from what it sees."""
        if "ledger" not in written:
            return
        for mark in pipeline.lake.store.find(pipeline.lake.layout.reopened(None)):
            pipeline.lake.store.remove(mark.path)

    for lost in count():
        store = ForgetfulStore(Path(site.lake), lost, True, publish_meanwhile)
        object.__setattr__(pipeline.lake, "store", store)
        landed = None
        try:
            landed = pipeline.land_hour(NOON)
        except StoreUnavailable:
            continue
        break
    assert landed is not None
    assert path in landed.ledger.lines
    site.run()
    assert [row["@timestamp"][:13] for row in site.events()] == ["2026-11-03T13"]


# ---- faults of the kernel

_CHILD: Final = """
import json, os, resource, sys
from pathlib import Path
from dataclasses import replace
from stingar_dagster.errors import StingarError
from stingar_dagster.storage.local import LocalStore
from stingar_dagster.streams import STINGAR
from stingar_dagster_tests.support import NOON, Site, event

folder, fault, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
site = Site.at(folder, replace(STINGAR, tables=STINGAR.tables[:1]))
warm = replace(site, landing=str(folder / "warm/landing"), lake=str(folder / "warm/lake"))
warm.put([event(NOON)])
warm.run()  # so that all modules are there while they can be read
pipeline = site.pipeline()
if fault == "size":
    resource.setrlimit(resource.RLIMIT_FSIZE, (number, number))
if fault == "permission":
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    class Locked(LocalStore):
        left = number
        def write(self, *args, **options):
            if self.left == 0:
                (self.root / ".stingar/writing").chmod(0o500)
            self.left -= 1
            super().write(*args, **options)
    object.__setattr__(pipeline.lake, "store", Locked(folder / "lake", str(folder / "lake")))
try:
    site.run(pipeline)
except StingarError as error:
    print(json.dumps([kind.__name__ for kind in type(error).__mro__] + [str(error)]))
else:
    print("[]")
"""


def run_child(site: Site, fault: str, number: int) -> list[str]:
    """Run what is pending with a fault; the classes of the error that ended it, and its line."""
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, str(Path(site.lake).parent), fault, str(number)],
        cwd=REPOSITORY,
        env={**os.environ, "POLARS_MAX_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert child.returncode == 0, child.stderr
    found: list[str] = json.loads(child.stdout)
    return found


def check_kernel_fault(site: Site, error: list[str], sort: str, line: str) -> None:
    *kinds, text = error
    assert sort in kinds
    assert line in text
    assert "; check" in text


def test_a_file_that_may_not_grow_is_told_and_leaves_the_last_version(tmp_path: Path) -> None:
    site = Site.at(tmp_path, ONE_TABLE)
    fill(site)
    before = published(site)
    shutil.copytree(site.lake, tmp_path / "before")
    change(site)
    site.run()
    after = published(site)
    was = {path.read_bytes() for path in (tmp_path / "before").rglob("*") if path.is_file()}
    sizes = sorted({len(data) for data in site.objects().values() if data not in was} - {0})
    for size in sizes[:: len(sizes) // 4]:
        shutil.rmtree(site.lake)
        shutil.copytree(tmp_path / "before", site.lake)
        error = run_child(site, "size", size - 1)
        check_kernel_fault(site, error, "Transient", "File too large")
        assert not list(Path(site.lake).glob(".stingar/writing/*")), "a temporary file was left"
        check_convergence(site, before, after)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other accounts may enter, as pytest's own may not be."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_a_permission_that_is_lost_in_the_middle_is_told_and_leaves_the_last_version(
    open_folder: Path,
) -> None:
    site = Site.at(open_folder, ONE_TABLE)
    fill(site)
    before = published(site)
    shutil.copytree(site.lake, open_folder / "before")
    change(site)
    site.run()
    after = published(site)
    for number in (0, 2, 5):
        shutil.rmtree(site.lake)
        shutil.copytree(open_folder / "before", site.lake)
        if os.getuid() == 0:
            for path in (Path(site.lake), *Path(site.lake).rglob("*")):
                os.chown(path, 65534, 65534)
        error = run_child(site, "permission", number)
        check_kernel_fault(site, error, "Terminal", "Permission denied")
        (Path(site.lake) / ".stingar/writing").chmod(0o755)
        check_convergence(site, before, after)


def test_a_disk_that_is_full_is_told_and_leaves_the_last_version(tmp_path: Path) -> None:
    site = Site.at(tmp_path, ONE_TABLE)
    fill(site)
    before = published(site)
    change(site)
    disk = Path(site.lake)
    kept = tmp_path / "kept"
    disk.rename(kept)
    disk.mkdir()
    mounted = mount(disk)
    try:
        shutil.copytree(kept, disk, dirs_exist_ok=True)
        if mounted:
            ballast = disk / "ballast"
            with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
                while True:
                    file.write(bytes(PAGE))
            for free in (0, 4):
                os.truncate(ballast, ballast.stat().st_size - free * PAGE)
                with pytest.raises(StoreUnavailable, match="No space left on device; check"):
                    site.run(site.pipeline())
                assert published(site) == before
            ballast.unlink()
        site.run()
        site.check()
        assert published(site) != before
    finally:
        if mounted:
            subprocess.run(["umount", disk], check=True)


def mount(folder: Path) -> bool:
    """Make a folder a small disk, where that is allowed; elsewhere the test is of no fault."""
    command = shutil.which("mount")
    if command is None or os.getuid() != 0:
        return False
    options = ["-t", "tmpfs", "-o", "size=16m", "tmpfs"]
    return subprocess.run([command, *options, folder], check=False).returncode == 0
