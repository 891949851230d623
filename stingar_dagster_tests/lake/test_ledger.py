"""The ledger and the records: what is written is read, and a newer release's is refused."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from stingar_dagster.errors import Conflict, UnknownFormat
from stingar_dagster.lake.layout import Layout
from stingar_dagster.lake.ledger import Ledger, LedgerLine, read_ledger, write_ledger
from stingar_dagster.lake.publication import Record, read_record
from stingar_dagster.storage.local import LocalStore
from stingar_dagster_tests.support import NOON, Site, event

LAYOUT = Layout("stingar")
LINE = LedgerLine(
    capture="ns/hub/0/2026/11/03/12/00/00.avro",
    etag="1",
    size=508,
    namespace="ns",
    event_hub="hub",
    partition=0,
    slot=0,
    code_version="1",
    records=2,
    events=2,
    cleaned=2,
    quarantined=0,
    first_sequence=0,
    last_sequence=1,
    event_hours=("2026-11-03T11", "2026-11-03T12"),
    segments=("a.parquet", "b.parquet"),
    rejected="c.parquet",
)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path, str(tmp_path))


def test_a_ledger_is_read_as_it_was_written(store: LocalStore) -> None:
    empty = read_ledger(store, LAYOUT, NOON)
    assert (empty.lines, empty.version) == ({}, None)
    write_ledger(store, LAYOUT, NOON, Ledger({LINE.capture: LINE}, None))
    read = read_ledger(store, LAYOUT, NOON)
    assert read.lines == {LINE.capture: LINE}
    assert read.segments() == {"2026-11-03T11": {"a.parquet"}, "2026-11-03T12": {"b.parquet"}}
    assert read.rejected() == {"c.parquet"}


def test_a_ledger_is_replaced_only_by_who_saw_the_last_one(store: LocalStore) -> None:
    mine, theirs = read_ledger(store, LAYOUT, NOON), read_ledger(store, LAYOUT, NOON)
    write_ledger(store, LAYOUT, NOON, replace(theirs, lines={LINE.capture: LINE}))
    with pytest.raises(Conflict):
        write_ledger(store, LAYOUT, NOON, mine)
    assert read_ledger(store, LAYOUT, NOON).lines == {LINE.capture: LINE}


def test_a_ledger_does_not_depend_on_the_order_of_its_lines(store: LocalStore) -> None:
    other = msgspec.structs.replace(LINE, capture="a")
    write_ledger(store, LAYOUT, NOON, Ledger({LINE.capture: LINE, "a": other}, None))
    first = store.read(LAYOUT.ledger(NOON))
    store.remove(LAYOUT.ledger(NOON))
    write_ledger(store, LAYOUT, NOON, Ledger({"a": other, LINE.capture: LINE}, None))
    assert store.read(LAYOUT.ledger(NOON)) == first


def test_an_older_line_without_what_was_added_since_is_read(store: LocalStore) -> None:
    whole = msgspec.to_builtins(LINE)
    mandatory = {name: whole[name] for name in whole if name not in ("rejected", "format")}
    store.write(LAYOUT.ledger(NOON), json.dumps(mandatory).encode() + b"\n")
    (line,) = read_ledger(store, LAYOUT, NOON).lines.values()
    assert (line.format, line.rejected, line.gaps) == (1, None, ())


NEWER = b'{"format": 99, "capture": ["another", "shape"], "made_from": {"of": "all"}}\n'


def test_a_newer_releases_ledger_is_refused(store: LocalStore) -> None:
    store.write(LAYOUT.ledger(NOON), NEWER)
    with pytest.raises(UnknownFormat, match="newer release; upgrade") as refused:
        read_ledger(store, LAYOUT, NOON)
    assert str(store.root) in str(refused.value)


def test_a_newer_releases_record_is_refused_whatever_its_shape(store: LocalStore) -> None:
    store.write("record", NEWER)
    with pytest.raises(UnknownFormat, match="newer release; upgrade"):
        read_record(store, "record")


@pytest.mark.parametrize("garbage", [b"{", b"[]\n", b'{"format": 1}\n', b"\x00\xff\n", b"\n"])
def test_a_ledger_that_is_none_is_named_with_the_way_out(store: LocalStore, garbage: bytes) -> None:
    store.write(LAYOUT.ledger(NOON), garbage)
    with pytest.raises(UnknownFormat, match=r"is not a ledger .* move it away") as refused:
        read_ledger(store, LAYOUT, NOON)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b'{"rows": "many"}'])
def test_a_record_that_is_none_is_named_with_the_way_out(store: LocalStore, garbage: bytes) -> None:
    store.write("record", garbage)
    with pytest.raises(UnknownFormat, match=r"is not a record .* remove it"):
        read_record(store, "record")


def test_no_record_is_no_publication(store: LocalStore) -> None:
    assert read_record(store, "record") is None
    assert Record() == Record(made_from=(), rows=0, duplicates=0, size=0, partials="")


@pytest.mark.parametrize("place", ["ledger", "state/events", "state/daily", "state/quarantine"])
def test_an_older_release_writes_nothing_over_a_newer_ones_files(
    tmp_path: Path, place: str
) -> None:
    site = Site.at(tmp_path)
    site.put([event(NOON), b"nonsense"])
    site.run()
    path = next(iter(site.objects(place)))
    Path(site.lake, path).write_bytes(NEWER)
    before = site.tree()
    site.put([event(NOON), b"nonsense", event(NOON)], start=NOON, received=NOON)
    with pytest.raises(UnknownFormat):
        site.run()
    assert site.tree()[path] == before[path]
