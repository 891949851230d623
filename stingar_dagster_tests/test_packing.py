"""Packing log lines as captures: sequence numbers go on without a gap, and never fork."""

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stingar_dagster import packing
from stingar_dagster.capture.discovery import Landing
from stingar_dagster.capture.names import CaptureFormat
from stingar_dagster.errors import Conflict, UsageError
from stingar_dagster.packing import Hub, Packer, batches
from stingar_dagster.settings import DEFAULT_CAPTURE_FORMAT
from stingar_dagster.storage.azure import AzureStore
from stingar_dagster.storage.azure_access import access_to
from stingar_dagster.storage.local import LocalStore
from stingar_dagster.storage.patience import Patience
from stingar_dagster_tests.azurite import Service
from stingar_dagster_tests.proxy import Proxy, Script, Wire
from stingar_dagster_tests.support import NOON, capture

ONE = Hub(partitions=1)
SECOND = timedelta(seconds=1)


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return at(tmp_path)


def at(folder: Path) -> Landing:
    return Landing(LocalStore(folder, str(folder)), CaptureFormat(DEFAULT_CAPTURE_FORMAT))


def pack(landing: Landing, bodies: list[bytes], when: datetime = NOON, hub: Hub = ONE) -> list[str]:
    packer = Packer(landing, hub)
    with packer.exclusive():
        return packer.pack(bodies, when)


def numbers(landing: Landing) -> dict[int, list[int]]:
    """Sequence numbers by partition, in order of the captures' names."""
    found: dict[int, list[int]] = {}
    for entry in landing.store.find(""):
        partition = int(entry.path.split("/")[2])
        for row in fastavro.reader(io.BytesIO(landing.store.read(entry.path))):
            assert isinstance(row, dict)
            found.setdefault(partition, []).append(row["SequenceNumber"])
    return found


def test_bodies_land_as_event_hubs_would_land_them(landing: Landing) -> None:
    (path,) = pack(landing, [b"one", b"two"], NOON + 7 * SECOND)
    assert path == "local/stingar/0/2026/11/03/12/00/07.avro"
    rows = list(fastavro.reader(io.BytesIO(landing.store.read(path))))
    assert [row["Body"] for row in rows if isinstance(row, dict)] == [b"one", b"two"]
    assert [row["EnqueuedTimeUtc"] for row in rows if isinstance(row, dict)] == [
        "11/3/2026 12:00:07 PM"
    ] * 2


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    runs=st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), max_size=4),
    partitions=st.integers(1, 3),
)
def test_numbers_go_on_over_runs_without_a_gap_and_nothing_is_lost(
    tmp_path_factory: pytest.TempPathFactory, runs: list[list[int]], partitions: int
) -> None:
    landing = at(tmp_path_factory.mktemp("landing"))
    hub = Hub(partitions=partitions)
    sent: list[bytes] = []
    for turn, sizes in enumerate(runs):
        packer = Packer(landing, hub)
        with packer.exclusive():
            for size in sizes:
                bodies = [b"%d" % (len(sent) + index) for index in range(size)]
                packer.pack(bodies, NOON + turn * SECOND)
                sent += bodies
    for partition, found in numbers(landing).items():
        assert found == list(range(len(found))), partition
    assert sum(map(len, numbers(landing).values())) == len(sent)
    bodies_read = sorted(
        row["Body"]
        for entry in landing.store.find("")
        for row in fastavro.reader(io.BytesIO(landing.store.read(entry.path)))
        if isinstance(row, dict)
    )
    assert bodies_read == sorted(sent)


def test_bodies_are_spread_evenly_over_the_partitions(landing: Landing) -> None:
    pack(landing, [b"x"] * 10, hub=Hub(partitions=4))
    assert sorted(len(found) for found in numbers(landing).values()) == [2, 2, 3, 3]


def test_numbers_go_on_after_captures_of_empty_windows(landing: Landing) -> None:
    pack(landing, [b"x"] * 3)
    for minute in (5, 10):
        path = landing.format.path("local", "stingar", 0, NOON + minute * 60 * SECOND)
        landing.store.write(path, capture([]))
    pack(landing, [b"y"], NOON + timedelta(hours=1))
    assert numbers(landing) == {0: [0, 1, 2, 3]}


def test_other_hubs_captures_are_not_counted(landing: Landing) -> None:
    path = landing.format.path("other", "stingar", 0, NOON)
    landing.store.write(path, capture([b"x"] * 9))
    (mine,) = pack(landing, [b"x"])
    (row,) = fastavro.reader(io.BytesIO(landing.store.read(mine)))
    assert isinstance(row, dict)
    assert row["SequenceNumber"] == 0


def test_two_captures_of_one_second_get_names_of_their_own(landing: Landing) -> None:
    first, second = pack(landing, [b"x"]), pack(landing, [b"y"])
    assert first < second
    earlier = pack(landing, [b"z"], NOON - timedelta(days=1))
    assert second < earlier, "names must not go back, or numbers would not rise with them"
    assert numbers(landing) == {0: [0, 1, 2]}


def test_nothing_to_pack_writes_nothing(landing: Landing) -> None:
    assert pack(landing, []) == []
    assert landing.store.find("") == []


def test_a_large_batch_is_cut_into_captures_of_bounded_size(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packing, "CAPTURE_BYTES", 100)
    written = pack(landing, [b"x" * 40] * 7 + [b"y" * 300])
    assert len(written) == 5
    assert numbers(landing) == {0: list(range(8))}


def test_a_second_packer_is_refused_while_one_is_at_work(landing: Landing) -> None:
    with (
        Packer(landing, ONE).exclusive(),
        pytest.raises(UsageError, match="another 'stingar land'") as refused,
        Packer(at(Path(landing.store.url)), ONE).exclusive(),
    ):
        pass
    assert landing.store.url in str(refused.value)
    pack(landing, [b"x"])


def test_a_capture_is_never_written_over_another(landing: Landing) -> None:
    packer = Packer(landing, ONE)
    with packer.exclusive():
        path = landing.format.path("local", "stingar", 0, NOON)
        landing.store.write(path, capture([b"someone else's"]))
        with pytest.raises(Conflict):
            packer.pack([b"mine"], NOON)
    assert numbers(landing) == {0: [0]}


def test_lines_whose_acknowledgement_was_lost_are_landed_once(
    container: str, blob_service: Service
) -> None:
    with Proxy("127.0.0.1", blob_service.port).running() as proxy:
        connection = blob_service.connection_string.replace(
            f":{blob_service.port}", f":{proxy.port}"
        )
        access = access_to(
            f"az://{container}/x",
            "STINGAR_LANDING",
            {"AZURE_STORAGE_CONNECTION_STRING": connection},
        )
        patience = Patience(connect=2, read=2, tries=3, wait=0, base=0, jitter=0)
        landing = Landing(AzureStore(access, patience), CaptureFormat(DEFAULT_CAPTURE_FORMAT))
        packer = Packer(landing, ONE)
        with packer.exclusive():
            script = proxy.follow(Script(Wire.LOSE, chosen=lambda seen: seen.method == "PUT"))
            packer.pack([b"a", b"b"], NOON)
            assert len(script.hit) == 1
            assert len(script.seen) == 2, "it was not sent again"
            packer.pack([b"c"], NOON)
        assert numbers(landing) == {0: [0, 1, 2]}


def test_packed_times_are_utc(landing: Landing) -> None:
    (path,) = pack(landing, [b"x"], datetime.fromisoformat("2026-11-03T23:30:00-05:00"))
    assert landing.format.parse(path).start == datetime(2026, 11, 4, 4, 30, tzinfo=UTC)


@given(st.lists(st.binary(max_size=2), max_size=30), st.integers(1, 10))
def test_batches_hold_everything_in_order(bodies: list[bytes], count: int) -> None:
    cut = list(batches(bodies, count))
    assert [body for batch in cut for body in batch] == bodies
    assert all(0 < len(batch) <= count for batch in cut)
