"""Azure's protocol over a network that fails: every kind of fault, at requests of every kind.

The store stands behind a proxy that spoils what a script names. Whole steps are compared with a
lake on disk that got the same captures undisturbed. Not here: compare-and-swap itself
(`storage/test_azure_store`).
"""

import gc
import hashlib
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from stingar_dagster.errors import Conflict, StingarError, StoreUnavailable, Transient
from stingar_dagster.lake.lake import Lake
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.storage import Store, open_store
from stingar_dagster.storage.azure import Retries
from stingar_dagster.storage.patience import PATIENCE, Patience
from stingar_dagster.streams import STINGAR
from stingar_dagster_tests.proxy import Proxy, Script, Seen, Wire
from stingar_dagster_tests.support import HOUR, NOON, Site, event, pending

# Python's, about connections that were dropped: what these tests are made of.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

SHORT: Final = Patience(connect=2, read=2, tries=3, wait=0, base=0, jitter=0)
HASTY: Final = replace(SHORT, read=0.3)
ONE_TABLE: Final = replace(STINGAR, tables=STINGAR.tables[:1])
DAY: Final = NOON.replace(hour=0)
PUBLISHED: Final = ("events", "daily", "quarantine", "schema")
FOREVER: Final = 10**6


@pytest.fixture(autouse=True)
def let_go() -> Iterator[None]:
    """Of what a test dropped, while what Python says of it is not listened to."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def proxy(azurite: str) -> Iterator[Proxy]:
    found = re.search(r"http://([\d.]+):(\d+)/", azurite)
    assert found is not None
    with Proxy(found[1], int(found[2])).running() as proxy:
        yield proxy


@dataclass
class Behind:
    """Stores of one container, asked for through the proxy."""

    container: str
    proxy: Proxy
    connection: str = field(repr=False)

    def open(self, folder: str, patience: Patience = SHORT) -> Store:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AZURE_STORAGE_CONNECTION_STRING", self.connection)
            return open_store(f"az://{self.container}/{folder}", "STINGAR_LAKE", patience)

    def pipeline(self, site: Site) -> Pipeline:
        pipeline = site.pipeline()
        pipeline.landing.store = self.open("landing")
        pipeline.lake = Lake(self.open("lake"), site.stream)
        return pipeline


@pytest.fixture
def behind(azurite: str, container: str, proxy: Proxy) -> Iterator[Behind]:
    proxy.follow(Script())
    connection = re.sub(r"(?<=127\.0\.0\.1:)\d+", str(proxy.port), azurite)
    yield Behind(container, proxy, connection)
    proxy.follow(Script())


@pytest.fixture
def store(behind: Behind) -> Store:
    return behind.open("lake")


@pytest.fixture
def beside(container: str) -> Store:
    """The same store, asked directly."""
    return open_store(f"az://{container}/lake", "STINGAR_LAKE")


def is_put(seen: Seen) -> bool:
    return seen.method == "PUT"


def is_get(seen: Seen) -> bool:
    return seen.method == "GET"


def is_listing(seen: Seen) -> bool:
    return seen.is_listing


# ---- single requests


@pytest.mark.parametrize("wire", [Wire.ERROR_500, Wire.ERROR_503, Wire.DROP, Wire.HANG, Wire.LOSE])
def test_a_fault_that_passes_is_not_noticed(behind: Behind, beside: Store, wire: Wire) -> None:
    store = behind.open("lake", replace(SHORT, read=1) if wire is Wire.HANG else SHORT)
    for act in (
        lambda: store.write("a", b"first"),
        lambda: store.read("a"),
        lambda: store.etag("a"),
        lambda: store.find(""),
        lambda: store.children(""),
    ):
        script = behind.proxy.follow(Script(wire))
        act()
        assert len(script.hit) == 1
    assert beside.read("a") == b"first"


@pytest.mark.parametrize("wire", [Wire.ERROR_500, Wire.ERROR_503, Wire.DROP, Wire.HANG])
def test_a_fault_that_stays_is_told_after_a_bounded_number_of_tries(
    behind: Behind, beside: Store, wire: Wire
) -> None:
    store = behind.open("lake", HASTY if wire is Wire.HANG else SHORT)
    beside.write("a", b"first")
    acts: dict[str, Callable[[], object]] = {
        "write": lambda: store.write("a", b"second"),
        "read": lambda: store.read("a"),
        "etag": lambda: store.etag("a"),
        "remove": lambda: store.remove("a"),
        "children": lambda: store.children(""),
    }
    for name, act in acts.items():
        script = behind.proxy.follow(Script(wire, times=FOREVER))
        with pytest.raises(StoreUnavailable, match="check the address and the network") as told:
            act()
        assert "\n" not in str(told.value)
        assert len(script.hit) == SHORT.tries, name
        assert not script.outstayed, name
        assert beside.read("a") == b"first"


def test_the_waits_in_production_are_short_and_bounded() -> None:
    policy = Retries(PATIENCE)
    tries = policy.total_retries + 1
    waits = sum(policy.get_backoff_time({"count": count}) for count in range(1, tries))
    assert tries == PATIENCE.tries
    assert waits <= 3 + 5 + 9 + 3 * PATIENCE.jitter
    assert waits + tries * PATIENCE.read < 300
    assert waits + tries * PATIENCE.connect < 60


def test_a_store_that_is_busy_is_worth_another_try(behind: Behind, store: Store) -> None:
    behind.proxy.follow(Script(Wire.ERROR_429))
    with pytest.raises(StoreUnavailable):
        store.write("a", b"first")
    store.write("a", b"first")
    assert store.read("a") == b"first"


@pytest.mark.parametrize("times", [1, FOREVER])
def test_a_body_that_is_cut_is_never_taken_for_the_object(
    behind: Behind, store: Store, beside: Store, times: int
) -> None:
    data = random.Random(5).randbytes(300_000)
    beside.write("a", data)
    script = behind.proxy.follow(Script(Wire.TRUNCATE, times=times, chosen=is_get))
    if times == 1:
        assert store.read("a") == data
    else:
        with pytest.raises(StoreUnavailable):
            store.read("a")
    assert script.hit


def test_a_listing_that_is_cut_is_never_taken_for_the_folder(
    behind: Behind, store: Store, beside: Store
) -> None:
    for number in range(5):
        beside.write(f"folder/{number}", b"")
    for look in (store.find, store.children):
        behind.proxy.follow(Script(Wire.TRUNCATE, chosen=is_listing, times=FOREVER))
        with pytest.raises(StoreUnavailable):
            look("folder")
        behind.proxy.follow(Script(Wire.TRUNCATE, chosen=is_listing))
        assert look("folder")


@pytest.mark.parametrize("there", [False, True], ids=["create", "replace"])
def test_a_swap_whose_answer_is_lost_is_done_or_a_conflict(
    behind: Behind, store: Store, beside: Store, there: bool
) -> None:
    if there:
        beside.write("a", b"first")
    seen = beside.etag("a")
    script = behind.proxy.follow(Script(Wire.LOSE, chosen=is_put))
    with pytest.raises(Conflict):  # it was asked for again, and is another's by now: our own
        store.write("a", b"second", expected=seen)
    assert len(script.seen) == 2
    assert beside.read("a") == b"second"
    # Another's version is not replaced by the second try.
    seen = beside.etag("a")
    behind.proxy.follow(Script(Wire.DROP, chosen=is_put))
    beside.write("a", b"another's")
    with pytest.raises(Conflict):
        store.write("a", b"third", expected=seen)
    assert beside.read("a") == b"another's"


@pytest.mark.parametrize("there", [False, True], ids=["create", "replace"])
def test_a_swap_that_never_arrives_changes_nothing(
    behind: Behind, store: Store, beside: Store, there: bool
) -> None:
    if there:
        beside.write("a", b"first")
    behind.proxy.follow(Script(Wire.DROP, times=FOREVER, chosen=is_put))
    with pytest.raises(StoreUnavailable):
        store.write("a", b"second", expected=beside.etag("a"))
    assert [entry.path for entry in beside.find("")] == (["a"] if there else [])
    assert not there or beside.read("a") == b"first"


# ---- captures


@pytest.mark.parametrize("times", [1, 2])
def test_a_capture_that_arrives_with_a_flipped_bit_is_read_again(
    behind: Behind, container: str, times: int
) -> None:
    site = Site(f"az://{container}/landing", f"az://{container}/lake", ONE_TABLE)
    path = site.put([event(NOON, payload="x" * 4_000)])  # the middle is a letter of it
    script = behind.proxy.follow(
        Script(Wire.FLIP, times=times, chosen=lambda seen: seen.path.endswith(".avro"))
    )
    pipeline = behind.pipeline(site)
    pipeline.land_hour(NOON)
    assert len(script.hit) == times
    (line,) = site.ledger().values()
    assert line["capture"] == path
    assert (line["records"], line["cleaned"]) == (1, 1)
    assert [text.split()[0] for text in line.get("damage", [])] == ["bad_checksum"] * (times - 1)


def test_a_capture_that_a_listing_does_not_show_yet_is_landed_later(
    behind: Behind, container: str
) -> None:
    site = Site(f"az://{container}/landing", f"az://{container}/lake", ONE_TABLE)
    site.put([event(NOON)])
    pipeline = behind.pipeline(site)
    pipeline.land_hour(NOON)
    pipeline.publish_hour(NOON)
    site.put([event(NOON), event(NOON)])
    site.put([event(NOON)], partition=1)
    behind.proxy.remember_listings()
    script = behind.proxy.follow(Script(Wire.STALE, times=FOREVER, chosen=is_listing))
    pipeline.land_hour(NOON, again=True)
    pipeline.publish_hour(NOON)
    assert script.hit
    behind.proxy.follow(Script())
    pipeline.land_hour(NOON)
    pipeline.publish_hour(NOON)
    assert len(site.events()) == 3
    assert pending(site.pipeline())[:2] == ([], [])


# ---- whole steps


@dataclass
class Twins:
    """A lake on Azure behind the proxy, and one on disk; both get the same captures."""

    on_azure: Site
    on_disk: Site
    behind: Behind
    pipeline: Pipeline
    number: int = 0

    @classmethod
    def of(cls, behind: Behind, folder: Path) -> "Twins":
        container = behind.container
        on_azure = Site(f"az://{container}/landing", f"az://{container}/lake", ONE_TABLE)
        twins = cls(on_azure, Site.at(folder, ONE_TABLE), behind, behind.pipeline(on_azure))
        twins.grow()
        return twins

    def land(self) -> None:
        """The first capture is replaced, and another one arrives: an hour loses an event."""
        for site in (self.on_azure, self.on_disk):
            even = self.number % 2 == 0
            hours = [NOON, NOON - HOUR] if even else [NOON]
            site.put([*(event(hour, src_port=self.number) for hour in hours), b"nonsense"])
            minutes = timedelta(minutes=1 + self.number)
            site.put([event(NOON - HOUR)], partition=1 + self.number, start=NOON + minutes)
        self.number += 1

    def steps(self, pipeline: Pipeline) -> None:
        hours: set[datetime] = set()
        pipeline.land_hour(NOON)
        hours = {NOON, NOON - HOUR}
        for hour in sorted(hours):
            pipeline.publish_hour(hour)
        pipeline.roll_day(DAY)

    def grow(self, script: Script | None = None) -> StingarError | None:
        """The next captures, with a script; checked against the twin on disk."""
        before = self.published(self.on_azure)
        self.land()
        self.steps(self.on_disk.pipeline())
        after = self.published(self.on_disk)
        self.behind.proxy.follow(script or Script())
        told = None
        try:
            self.steps(self.pipeline)
        except StingarError as error:
            told = error
        self.behind.proxy.follow(Script())
        for path, data in self.published(self.on_azure).items():
            assert data in (before.get(path), after[path]), path
        if told is not None:
            assert "\n" not in str(told)
            self.steps(self.pipeline)
        assert self.published(self.on_azure) == after
        return told

    def published(self, site: Site) -> dict[str, bytes]:
        return {path: data for name in PUBLISHED for path, data in site.objects(name).items()}

    def end(self) -> None:
        self.on_azure.check()
        assert pending(self.on_azure.pipeline()) == ([], [], [])


FAULTS: Final = [
    (Wire.ERROR_500, 1, False),
    (Wire.ERROR_503, SHORT.tries, True),
    (Wire.ERROR_429, 1, True),
    (Wire.DROP, 2 * SHORT.tries, True),
    (Wire.TRUNCATE, 1, False),
]
"""A fault, how often it hits, and whether it may end a step."""


def test_steps_over_a_network_that_fails_leave_what_undisturbed_ones_leave(
    behind: Behind, tmp_path: Path
) -> None:
    twins = Twins.of(behind, tmp_path)
    measured = Script()
    twins.grow(measured)
    draw = random.Random(7)
    for wire, times, ends in FAULTS:
        number = draw.randrange(len(measured.seen) - 20)
        script = Script(wire, number, times)
        told = twins.grow(script)
        assert script.hit, (wire, number)
        assert told is None or isinstance(told, Transient)
        assert ends or told is None, (wire, number)
    twins.end()


def test_answers_lost_at_writes_of_every_kind_lose_and_double_nothing(
    behind: Behind, tmp_path: Path
) -> None:
    twins = Twins.of(behind, tmp_path)
    folders = ("segments", "ledger", "events", "state", "daily")
    for folder, times in [*((name, 1) for name in folders), ("ledger", 6), ("events", 6)]:

        def written(seen: Seen, place: str = f"/lake/stingar/{folder}/") -> bool:
            return is_put(seen) and place in seen.path

        script = Script(Wire.LOSE, 0, times, written)
        told = twins.grow(script)
        assert script.hit, folder
        assert told is None or isinstance(told, Transient)
        assert times > 1 or told is None, folder
    twins.end()


def test_the_store_keeps_a_checksum_of_what_is_written_in_one_upload(beside: Store) -> None:
    beside.write("a", b"bytes")
    assert [entry.md5 for entry in beside.find("")] == [hashlib.md5(b"bytes").digest()]
