"""An address of Event Grid's is a path of a store, or of another account, container or folder."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from stingar_dagster.storage import Store, open_store
from stingar_dagster.storage.addresses import account_of, path_of
from stingar_dagster_tests.azurite import KEY


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """Nothing is asked of it."""
    account = f"DefaultEndpointsProtocol=https;AccountName=honey;AccountKey={KEY};"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", account)
    return open_store("az://captures/landing", "STINGAR_LANDING")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://honey.blob.core.windows.net/captures/landing/a/b.avro", "a/b.avro"),
        ("https://HONEY.dfs.core.windows.net/captures/landing/a.avro", "a.avro"),
        ("https://honey.z12.blob.storage.azure.net/captures/landing/a.avro", "a.avro"),
        ("https://honey.blob.core.chinacloudapi.cn:443/captures/landing/a%20b.avro", "a b.avro"),
        ("http://127.0.0.1:10000/honey/captures/landing/a.avro", "a.avro"),
        ("https://other.blob.core.windows.net/captures/landing/a.avro", None),
        ("https://other.blob.core.windows.net/honey/captures/landing/a.avro", None),
        ("http://127.0.0.1:10000/other/captures/landing/a.avro", None),
        ("https://honey.blob.core.windows.net/others/landing/a.avro", None),
        ("https://honey.blob.core.windows.net/captures/other/a.avro", None),
        ("https://honey.blob.core.windows.net/captures/landing-of-others/a.avro", None),
        ("https://honey.blob.core.windows.net/captures/landing", None),
        ("https://honey.blob.core.windows.net/captures/landing/", None),
        ("https://honey.blob.core.windows.net/", None),
        ("https://[", None),
        ("landing/a.avro", None),
        ("", None),
    ],
)
def test_only_what_is_below_the_root_is_a_path(store: Store, url: str, path: str | None) -> None:
    assert path_of(store, url) == path


def test_a_folder_has_no_addresses(tmp_path: Path) -> None:
    store = open_store(str(tmp_path), "STINGAR_LANDING")
    assert path_of(store, "https://honey.blob.core.windows.net/captures/landing/a.avro") is None


def test_the_account_of_a_queue_is_the_first_part_of_its_host_or_path() -> None:
    for url in ("https://honey.queue.core.windows.net/q", "http://127.0.0.1:10001/honey/q"):
        assert account_of(urlsplit(url)) == "honey"
