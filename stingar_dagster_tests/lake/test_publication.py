"""Publishing: one complete version at any moment, and a record that never claims too much."""

from pathlib import Path

import pytest

from stingar_dagster.errors import Conflict
from stingar_dagster.lake.publication import Draft, Record, publish, read_record
from stingar_dagster.storage.base import ANY_VERSION, Expected
from stingar_dagster.storage.local import LocalStore


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path, str(tmp_path))


def draft(text: str) -> Draft:
    """An object of one row for each letter."""
    if not text:
        return Draft(Record(), None)
    return Draft(Record(made_from=tuple(text), rows=len(text), size=len(text)), text.encode())


def test_an_object_and_its_record_say_the_same(store: LocalStore) -> None:
    record, before = publish(store, "object", "record", lambda: draft("abc"))
    assert (record.rows, before) == (3, None)
    assert store.read("object") == b"abc"
    assert read_record(store, "record") == record
    _, before = publish(store, "object", "record", lambda: draft("abcd"))
    assert before == record


def test_nothing_to_publish_removes_the_object_and_keeps_a_record_of_it(store: LocalStore) -> None:
    publish(store, "object", "record", lambda: draft("abc"))
    publish(store, "object", "record", lambda: draft(""))
    assert store.etag("object") is None
    assert read_record(store, "record") == Record()


def test_where_nothing_was_and_nothing_is_to_be_nothing_is_written(store: LocalStore) -> None:
    publish(store, "object", "record", lambda: draft(""))
    assert store.find("") == []


def test_what_another_process_published_meanwhile_is_looked_at_again(store: LocalStore) -> None:
    seen = iter(["old", "new"])

    def make() -> Draft:
        text = next(seen)
        if text == "old":
            publish(store, "object", "record", lambda: draft("newer"))
        return draft(text)

    publish(store, "object", "record", make)
    assert store.read("object") == b"new"
    assert read_record(store, "record") == draft("new").record


def test_a_source_that_goes_away_meanwhile_is_no_error(store: LocalStore) -> None:
    attempts = iter([FileNotFoundError("a segment"), None])

    def make() -> Draft:
        if error := next(attempts):
            raise error
        return draft("abc")

    publish(store, "object", "record", make)
    assert store.read("object") == b"abc"


def test_one_who_is_always_overtaken_gives_up_with_an_error_worth_another_try(
    store: LocalStore,
) -> None:
    def make() -> Draft:
        publish(store, "object", "record", lambda: draft("theirs"))
        return draft("mine")

    with pytest.raises(Conflict, match="run it again"):
        publish(store, "object", "record", make)
    assert store.read("object") == b"theirs"


class DyingStore(LocalStore):
    """Gets no further than the object."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, str(root))

    def write(self, path: str, data: bytes, expected: Expected = ANY_VERSION) -> None:
        if path == "record":
            raise ZeroDivisionError
        super().write(path, data, expected)


@pytest.mark.parametrize(("before", "after"), [("", "abc"), ("ab", "abc"), ("abc", "")])
def test_a_crash_leaves_a_record_that_asks_for_another_run(
    store: LocalStore, before: str, after: str
) -> None:
    publish(store, "object", "record", lambda: draft(before))
    with pytest.raises(ZeroDivisionError):
        publish(DyingStore(store.root), "object", "record", lambda: draft(after))
    record = read_record(store, "record")
    assert (record or Record()) == draft(before).record
    publish(store, "object", "record", lambda: draft(after))
    assert read_record(store, "record") == draft(after).record
    assert store.etag("object") is None or store.read("object") == after.encode()


def test_the_object_is_written_before_its_record(store: LocalStore) -> None:
    written: list[str] = []

    class Watched(LocalStore):
        def write(self, path: str, data: bytes, expected: Expected = ANY_VERSION) -> None:
            assert expected is not ANY_VERSION, "a blind write loses what others wrote"
            written.append(path)
            super().write(path, data, expected)

    publish(Watched(store.root, ""), "object", "record", lambda: draft("abc"))
    assert written == ["object", "record"]
