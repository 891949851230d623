"""Local folders: whole objects, compare-and-swap between processes, nothing beside the objects."""

import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stingar_dagster.errors import StoreDenied, StoreUnavailable
from stingar_dagster.storage.local import HIDDEN, LocalStore
from stingar_dagster_tests.support import count_up, count_up_at


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path, str(tmp_path))


@pytest.fixture
def umask() -> Iterator[int]:
    before = os.umask(0o027)
    yield 0o027
    os.umask(before)


def test_readers_see_one_whole_version_while_an_object_is_replaced(store: LocalStore) -> None:
    versions = [bytes([letter]) * 200_000 for letter in b"abcd"]
    store.write("object", versions[0])
    stop = threading.Event()

    def replace() -> None:
        while not stop.is_set():
            for version in versions:
                store.write("object", version)

    with ThreadPoolExecutor(1) as pool:
        writer = pool.submit(replace)
        try:
            for _ in range(300):
                assert store.read("object") in versions
        finally:
            stop.set()
        writer.result()


def test_processes_that_count_up_one_object_lose_no_update(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    others = [spawn.Process(target=count_up_at, args=(str(tmp_path), "n", 50)) for _ in range(2)]
    for process in others:
        process.start()
    for process in others:
        process.join(60)
        assert process.exitcode == 0
    assert (tmp_path / "n").read_bytes() == b"100"


def test_threads_that_count_up_one_object_lose_no_update(store: LocalStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(count_up, store, "n", 10) for _ in range(8)]:
            done.result()
    assert store.read("n") == b"80"


def test_every_replacement_has_another_version(store: LocalStore) -> None:
    seen = set()
    for number in range(200):
        store.write("a", b"%03d" % number)
        seen.add(store.etag("a"))
    assert len(seen) == 200


def test_temporary_files_and_locks_never_stand_beside_objects(
    store: LocalStore, tmp_path: Path
) -> None:
    seen: set[str] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            seen.update(path.name for path in (tmp_path / "folder").glob("*"))

    with ThreadPoolExecutor(1) as pool:
        watcher = pool.submit(watch)
        try:
            for number in range(100):
                store.write("folder/object", b"x" * 10_000, expected=store.etag("folder/object"))
                store.write(f"folder/other-{number % 3}", b"y")
        finally:
            stop.set()
        watcher.result()
    assert seen <= {"object", "other-0", "other-1", "other-2"}
    assert not list((tmp_path / HIDDEN / "writing").iterdir())


def test_the_hidden_folder_is_in_no_listing(store: LocalStore) -> None:
    store.write("a", b"1", expected=None)
    assert [entry.path for entry in store.find("")] == ["a"]
    assert store.children("")[0] == []


def test_a_write_that_fails_leaves_the_old_object_and_no_temporary(
    store: LocalStore, tmp_path: Path
) -> None:
    store.write("a", b"old")
    (tmp_path / "file").write_bytes(b"not a folder")
    with pytest.raises(StoreDenied):
        store.write("file/b", b"new")
    assert store.read("a") == b"old"
    assert not list((tmp_path / HIDDEN / "writing").iterdir())


def test_permissions_follow_the_umask(store: LocalStore, tmp_path: Path, umask: int) -> None:
    store.write("a", b"1")
    store.write("b", b"1", expected=None)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in "ab"} == {0o666 & ~umask}


def test_threads_that_write_leave_the_umask_alone(
    store: LocalStore, tmp_path: Path, umask: int
) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-7)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: store.write(f"d/{number}", b""), range(300)))
    finally:
        sys.setswitchinterval(interval)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "d").iterdir()} == {0o666 & ~umask}
    now = os.umask(umask)
    assert now == umask


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(StoreDenied, match="check the folder and its owner") as denied:
        LocalStore(tmp_path / "closed", "closed").write("a", b"1")
    assert "\n" not in str(denied.value)


def test_a_file_where_a_folder_must_be_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "lake").write_bytes(b"")
    with pytest.raises(StoreDenied, match="check the folder and its owner") as denied:
        LocalStore(tmp_path / "lake", "lake").write("a/b", b"1")
    assert str(tmp_path / "lake") in str(denied.value)
    assert "\n" not in str(denied.value)


def test_a_folder_where_an_object_must_be_is_refused(store: LocalStore) -> None:
    store.write("a/b", b"1")
    with pytest.raises(StoreDenied):
        store.read("a")
    with pytest.raises(StoreDenied):
        store.write("a", b"1")


def test_a_disk_that_fails_is_worth_another_try(store: LocalStore) -> None:
    with pytest.raises(StoreUnavailable, match="check the disk"):
        store.write("n" * 300, b"1")


def test_removing_leaves_no_empty_folders_but_keeps_the_root(
    store: LocalStore, tmp_path: Path
) -> None:
    store.write("a/b/c", b"1")
    store.remove("a/b/c")
    assert not (tmp_path / "a").exists()
    assert tmp_path.exists()


def test_a_folder_that_is_removed_while_it_is_written_to_is_made_again(store: LocalStore) -> None:
    def write_and_remove(name: str) -> None:
        for _ in range(100):
            store.write(f"a/b/{name}", b"1")
            store.remove(f"a/b/{name}")

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write_and_remove, name) for name in "wxyz"]:
            done.result()
    assert store.find("") == []
