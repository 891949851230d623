"""What every store promises: a local folder, fsspec's object stores, Azure, and an overlay."""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from stingar_dagster.errors import Conflict
from stingar_dagster.storage import Store, open_store
from stingar_dagster.storage.overlay import OverlayStore


@pytest.fixture(params=["folder", "memory", "azure", "overlay"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    folder = open_store(str(tmp_path / "root"), "STINGAR_LAKE")
    if request.param == "folder":
        yield folder
        return
    if request.param == "overlay":
        yield OverlayStore(folder)
        return
    if request.param == "azure":
        container = request.getfixturevalue("container")
        yield open_store(f"az://{container}/root", "STINGAR_LAKE")
        return
    yield open_store("memory://promises/root", "STINGAR_LAKE")
    memory = fsspec.filesystem("memory")
    if memory.exists("/promises"):
        memory.rm("/promises", recursive=True)


def test_what_was_written_is_read(store: Store) -> None:
    store.write("a/b/c.json", b"one")
    store.write("a/b/c.json", b"two")
    assert store.read("a/b/c.json") == b"two"


def test_of_a_large_object_the_beginning_alone_can_be_read(store: Store) -> None:
    store.write("a/b/c.json", b"0123456789")
    store.write("empty", b"")
    assert store.read_start("a/b/c.json", 4) == b"0123"
    assert store.read_start("a/b/c.json", 100) == b"0123456789"
    assert store.read_start("empty", 4) == b""
    with pytest.raises(FileNotFoundError):
        store.read_start("a/c", 4)


def test_what_is_not_there_is_told_so(store: Store) -> None:
    store.write("a/b", b"")
    with pytest.raises(FileNotFoundError):
        store.read("a/c")
    assert store.etag("a/c") is None
    assert store.find("nowhere") == []
    assert store.children("nowhere") == ([], [])
    store.remove("a/c")


def test_a_folder_has_no_version(store: Store) -> None:
    store.write("a/b", b"")
    assert store.etag("a") is None


def test_an_object_is_made_only_where_there_is_none(store: Store) -> None:
    store.write("a", b"first", expected=None)
    with pytest.raises(Conflict):
        store.write("a", b"second", expected=None)
    assert store.read("a") == b"first"


def test_an_object_is_replaced_only_if_it_is_the_one_that_was_seen(store: Store) -> None:
    store.write("a", b"first")
    seen = store.etag("a")
    store.write("a", b"second!", expected=seen)
    with pytest.raises(Conflict, match="replaced meanwhile"):
        store.write("a", b"third", expected=seen)
    assert store.read("a") == b"second!"


def test_an_object_that_is_gone_is_not_replaced(store: Store) -> None:
    store.write("a", b"first")
    seen = store.etag("a")
    store.remove("a")
    with pytest.raises(Conflict):
        store.write("a", b"second", expected=seen)
    assert store.find("") == []


def test_a_listing_gives_what_is_below_a_folder_with_size_version_and_time(store: Store) -> None:
    store.write("x/b/2", b"22")
    store.write("x/a/1", b"1")
    store.write("xy/a", b"beside")
    found = store.find("x")
    assert [(entry.path, entry.size) for entry in found] == [("x/a/1", 1), ("x/b/2", 2)]
    assert [entry.etag for entry in found] == [store.etag("x/a/1"), store.etag("x/b/2")]
    assert all(entry.modified is not None and entry.modified.tzinfo for entry in found)
    assert [entry.path for entry in store.find("")] == ["x/a/1", "x/b/2", "xy/a"]


def test_a_listing_does_not_spill_into_a_folder_whose_name_begins_the_same(store: Store) -> None:
    store.write("hour=1/a", b"")
    store.write("hour=12/a", b"")
    assert [entry.path for entry in store.find("hour=1")] == ["hour=1/a"]
    assert [entry.path for entry in store.find("hour=1/")] == ["hour=1/a"]


def test_children_are_told_apart_from_what_is_deeper(store: Store) -> None:
    store.write("x/b/deep/2", b"2")
    store.write("x/a/1", b"1")
    store.write("x/file", b"0")
    names, entries = store.children("x")
    assert names == ["a", "b"]
    assert [entry.path for entry in entries] == ["x/file"]
    assert store.children("")[0] == ["x"]


def test_a_removed_object_leaves_nothing_behind(store: Store) -> None:
    store.write("x/y/z", b"1")
    store.write("x/other", b"1")
    store.remove("x/y/z")
    names, entries = store.children("x")
    assert (names, [entry.path for entry in entries]) == ([], ["x/other"])


def test_an_address_is_fit_for_messages(store: Store) -> None:
    assert store.describe("a/b").endswith("/root/a/b")


def test_an_object_is_removed_only_if_it_is_the_one_that_was_seen(store: Store) -> None:
    store.write("a", b"first")
    seen = store.etag("a")
    assert seen is not None
    store.write("a", b"second")
    with pytest.raises(Conflict, match="replaced meanwhile"):
        store.remove("a", expected=seen)
    assert store.read("a") == b"second"
    now = store.etag("a")
    assert now is not None
    store.remove("a", expected=now)
    assert store.etag("a") is None
    store.remove("a", expected=now)


# ---- an overlay


def test_an_overlay_shows_what_is_below_it_and_changes_nothing_there(tmp_path: Path) -> None:
    below = open_store(str(tmp_path / "root"), "STINGAR_LAKE")
    below.write("a/kept", b"kept")
    below.write("a/changed", b"before")
    below.write("a/removed", b"removed")
    overlay = OverlayStore(below)
    overlay.write("a/changed", b"after")
    overlay.write("a/new", b"new")
    overlay.remove("a/removed")
    assert [entry.path for entry in overlay.find("a")] == ["a/changed", "a/kept", "a/new"]
    assert [overlay.read(entry.path) for entry in overlay.find("a")] == [b"after", b"kept", b"new"]
    assert overlay.differences == {"a/changed": b"after", "a/new": b"new", "a/removed": None}
    assert [entry.path for entry in below.find("a")] == ["a/changed", "a/kept", "a/removed"]
    assert below.read("a/changed") == b"before"


def test_an_overlay_remembers_only_what_differs(tmp_path: Path) -> None:
    below = open_store(str(tmp_path / "root"), "STINGAR_LAKE")
    below.write("a", b"same")
    overlay = OverlayStore(below)
    overlay.write("a", b"other")
    overlay.write("a", b"same")
    overlay.write("b", b"new")
    overlay.remove("b")
    assert overlay.differences == {}
