"""Azure's blob protocol: compare-and-swap by etag, and the same lake as on a local disk."""

import base64
import gc
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import ContainerClient
from azure.storage.blob.aio import ContainerClient as AsyncContainerClient

from stingar_dagster.errors import Conflict, StoreDenied
from stingar_dagster.storage import Store, open_store
from stingar_dagster.storage.azure import AzureStore
from stingar_dagster.storage.azure_listing import entries_in
from stingar_dagster.streams import STINGAR
from stingar_dagster_tests.azurite import container_sas
from stingar_dagster_tests.support import HOUR, MINUTE, NOON, Site, count_up, event, pending


@pytest.fixture
def store(container: str) -> Store:
    return open_store(f"az://{container}/lake", "STINGAR_LAKE")


@pytest.fixture
def client(azurite: str, container: str) -> Iterator[ContainerClient]:
    """The same container, by the service's own client."""
    with ContainerClient.from_connection_string(azurite, container) as client:
        yield client


@pytest.mark.parametrize("scheme", ["az", "abfs", "abfss"])
def test_azures_schemes_get_real_compare_and_swap(container: str, scheme: str) -> None:
    assert isinstance(open_store(f"{scheme}://{container}/lake", "STINGAR_LAKE"), AzureStore)


def test_a_credential_that_is_renewed_is_the_one_that_asks(
    azurite: str, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = azurite.partition("AccountKey=")[2].partition(";")[0]
    old = base64.b64encode(b"an old key").decode()
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.replace(key, old))
    with pytest.raises(StoreDenied):
        open_store(f"az://{container}/lake", "STINGAR_LAKE").find("")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite)
    assert open_store(f"az://{container}/lake", "STINGAR_LAKE").find("") == []


def test_stores_of_one_place_and_credential_share_their_connections(container: str) -> None:
    one, other = (open_store(f"az://{container}/lake", "STINGAR_LAKE") for _ in range(2))
    assert isinstance(one, AzureStore)
    assert isinstance(other, AzureStore)
    assert one.fs is other.fs


def test_who_may_create_and_not_replace_hears_of_a_conflict(
    azurite: str, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = azurite.partition("BlobEndpoint=")[2].partition(";")[0]
    signature = container_sas(container, "rcl")
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        f"BlobEndpoint={endpoint};SharedAccessSignature={signature}",
    )
    store = open_store(f"az://{container}/lake", "STINGAR_LAKE")
    store.write("a", b"first", expected=None)
    with pytest.raises(Conflict):
        store.write("a", b"second", expected=None)
    with pytest.raises(StoreDenied):
        store.write("a", b"second")
    assert store.read("a") == b"first"


def test_a_version_from_a_listing_is_as_good_as_one_asked_for(store: Store) -> None:
    store.write("a", b"first")
    (entry,) = store.find("")
    assert entry.etag == store.etag("a")
    store.write("a", b"second", expected=entry.etag)
    assert store.read("a") == b"second"


def test_writers_that_count_up_one_object_lose_no_update(store: Store) -> None:
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(count_up, store, "n", 5) for _ in range(4)]:
            done.result()
    assert store.read("n") == b"20"


def test_a_large_object_is_replaced_whole(store: Store) -> None:
    for letter in (b"a", b"b"):
        store.write("large", letter * 9_000_000)
        assert store.read("large") == letter * 9_000_000


def test_listings_are_of_whole_folders_and_never_stale(store: Store) -> None:
    assert store.find("") == []
    assert store.children("") == ([], [])
    for path in ("hour=1/a", "hour=12/a", "hour=12/b/c", "file"):
        store.write(path, path.encode())
    assert [(entry.path, entry.size) for entry in store.find("hour=1")] == [("hour=1/a", 8)]
    assert [entry.path for entry in store.find("hour=12")] == ["hour=12/a", "hour=12/b/c"]
    assert all(entry.modified is not None for entry in store.find(""))
    names, entries = store.children("")
    assert (names, [entry.path for entry in entries]) == (["hour=1", "hour=12"], ["file"])
    names, entries = store.children("hour=12")
    assert (names, [entry.path for entry in entries]) == (["b"], ["hour=12/a"])
    store.remove("hour=1/a")
    store.remove("hour=1/a")
    assert store.find("hour=1") == []
    assert store.etag("hour=1/a") is None
    assert store.etag("hour=12") is None
    with pytest.raises(FileNotFoundError):
        store.read("hour=1/a")


def test_a_container_that_is_not_there_is_no_missing_object(azurite: str, container: str) -> None:
    store = open_store("az://no-such-container/lake", "STINGAR_LAKE")
    for act in (
        lambda: store.write("a", b"1", expected=None),
        lambda: store.read("a"),
        lambda: store.etag("a"),
        lambda: store.find("a"),
        lambda: store.children("a"),
        lambda: store.remove("a"),
    ):
        with pytest.raises(StoreDenied, match="there is no such container") as denied:
            act()
        assert "STINGAR_LAKE: az://no-such-container/lake/a" in str(denied.value)
        assert "\n" not in str(denied.value)


def test_a_wrong_key_is_denied_and_not_repeated(
    azurite: str, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = azurite.split("AccountKey=")[1].split(";")[0]
    wrong = key[::-1].lstrip("=") + "=="
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite.replace(key, wrong))
    store = open_store(f"az://{container}/lake", "STINGAR_LAKE")
    with pytest.raises(StoreDenied) as denied:
        store.write("a", b"1")
    assert wrong not in str(denied.value)
    assert "\n" not in str(denied.value)


def test_a_lake_on_azure_holds_the_same_bytes_as_one_on_disk(
    container: str, tmp_path: Path
) -> None:
    stream = replace(STINGAR, tables=STINGAR.tables[:1])
    on_disk = Site.at(tmp_path, stream)
    on_azure = Site(f"az://{container}/landing", f"az://{container}/lake", stream)
    for site in (on_disk, on_azure):
        site.put([event(NOON + MINUTE), event(NOON), b"nonsense"])
        site.put([event(NOON - HOUR)], partition=1, start=NOON + HOUR)
        site.run()
        site.put([event(NOON - HOUR), event(NOON)], first=1, partition=1, start=NOON + 2 * HOUR)
        # The first hour loses its only event of that time.
        site.put([event(NOON - 30 * HOUR)], first=3, start=NOON + MINUTE)
        site.run()
        site.put([event(NOON)], first=3, start=NOON + MINUTE)
        site.run()
        site.check()
        assert pending(site.pipeline()) == ([], [], [])
    for folder in ("events", "daily", "quarantine", "schema", "state", "segments", "rollups"):
        assert on_azure.objects(folder) == on_disk.objects(folder), folder
    assert without_etags(on_azure.rows("ledger")) == without_etags(on_disk.rows("ledger"))


def without_etags(rows: list[dict[str, Any]]) -> list[str]:
    return [json.dumps({**row, "etag": None}) for row in rows]


def test_a_hierarchical_namespaces_folders_are_no_objects(
    store: Store, client: ContainerClient
) -> None:
    """Such an account lists a folder as an empty blob with this mark."""
    client.upload_blob("lake/a", b"", metadata={"hdi_isfolder": "true"})
    client.upload_blob("lake/a/empty", b"", metadata={"Hdi_isfolder": "true"})
    store.write("a/b", b"bytes")
    assert [entry.path for entry in store.find("")] == ["a/b"]
    names, entries = store.children("")
    assert (names, entries) == (["a"], [])
    names, entries = store.children("a")
    assert (names, [entry.path for entry in entries]) == (["empty"], ["a/b"])
    assert store.etag("a") is None


def test_a_listing_of_everything_and_one_of_a_folder_tell_the_same(store: Store) -> None:
    for name in ("plain", "ü b&c <d>", "100%25", "q=1+2;'", "deep.er/x"):
        store.write(f"folder/{name}", name.encode())
    listed = store.find("folder")
    names, entries = store.children("folder")
    assert names == ["deep.er"]
    assert [entry for entry in listed if "deep.er" not in entry.path] == entries
    assert all(entry.modified and entry.modified.tzinfo and entry.md5 for entry in listed)
    assert {store.read(entry.path).decode() for entry in listed} == {
        entry.path.removeprefix("folder/") for entry in listed
    }


def test_a_listing_goes_over_as_many_answers_as_there_are(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(store, AzureStore)
    for number in range(7):
        store.write(f"{number}", b"")
    whole = AsyncContainerClient.list_blob_names
    monkeypatch.setattr(
        AsyncContainerClient,
        "list_blob_names",
        lambda client, **options: whole(client, results_per_page=3, **options),
    )
    assert [entry.path for entry in store.find("")] == list("0123456")


def test_a_name_that_xml_can_not_hold_is_read_as_the_service_escapes_it() -> None:
    body = (
        b'\xef\xbb\xbf<?xml version="1.0" encoding="utf-8"?><EnumerationResults><Blobs><Blob>'
        b'<Name Encoded="true">lake/a%EF%BF%BFb%25</Name><Properties>'
        b"<Last-Modified>Tue, 03 Nov 2026 12:00:00 GMT</Last-Modified><Etag>0x1</Etag>"
        b"<Content-Length>3</Content-Length><Content-MD5 /></Properties></Blob></Blobs>"
        b"<NextMarker /></EnumerationResults>"
    )
    (entry,) = entries_in(body, "lake/")
    assert entry is not None
    assert (entry.path, entry.etag, entry.size, entry.md5) == ("a\uffffb%", "0x1", 3, None)
    assert entry.modified == NOON


def test_a_large_object_that_is_replaced_while_it_is_read_is_never_mixed(
    store: Store, client: ContainerClient, caplog: pytest.LogCaptureFixture
) -> None:
    assert isinstance(store, AzureStore)
    store.write("large", b"a" * 5000)
    writer = client.get_blob_client("lake/large")

    def replace(_: object) -> None:
        writer.upload_blob(b"b" * 5000, overwrite=True)

    # Parts of 1,000 bytes, and after each of them the object is another.
    store.fs.service_client = store.fs.client(
        max_single_get_size=1000, max_chunk_get_size=1000, raw_response_hook=replace
    )
    with pytest.raises(Conflict, match="replaced while it was read"):
        store.read("large")
    gc.collect()
    assert caplog.text == ""  # asyncio tells of tasks that nobody looked after


def test_listings_in_many_threads_each_get_their_own_answers(store: Store) -> None:
    for number in range(40):
        store.write(f"{number % 8}/{number}", b"")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: store.find(f"{number % 8}"), range(80)))
    for number, entries in enumerate(found):
        assert {int(entry.path.split("/")[1]) % 8 for entry in entries} == {number % 8}
        assert len(entries) == 5
