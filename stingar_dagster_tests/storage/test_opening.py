"""From a setting to a store: which one it is, and one clear line where there is none."""

from pathlib import Path

import pytest

from stingar_dagster.errors import SettingsError
from stingar_dagster.storage import open_store
from stingar_dagster.storage.local import LocalStore
from stingar_dagster.storage.objects import ObjectStore


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_path_is_a_local_folder(tmp_path: Path, prefix: str) -> None:
    store = open_store(f"{prefix}{tmp_path}/lake", "STINGAR_LAKE")
    assert isinstance(store, LocalStore)
    assert store.root == tmp_path / "lake"
    assert not store.root.exists()


def test_a_relative_path_stays_where_it_was_when_the_process_moves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store("data/lake", "STINGAR_LAKE")
    monkeypatch.chdir("/")
    store.write("a", b"1")
    assert (tmp_path / "data/lake/a").read_bytes() == b"1"


def test_another_scheme_is_an_object_store() -> None:
    assert isinstance(open_store("memory://x/y", "STINGAR_LAKE"), ObjectStore)


def test_an_unknown_scheme_is_refused_with_the_setting_and_a_way_out() -> None:
    with pytest.raises(SettingsError, match="STINGAR_LAKE=foo://x") as refused:
        open_store("foo://x", "STINGAR_LAKE")
    assert "az://container/path" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "az://container/path?sv=2024&sig=SECRET",
        "https://user:SECRET@example.com/lake",
        "memory://user:SECRET@x/y",
    ],
)
def test_an_address_with_a_secret_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(SettingsError, match="without a token or password") as refused:
        open_store(url, "STINGAR_LAKE")
    assert "SECRET" not in str(refused.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AZURE_STORAGE_CONNECTION_STRING", "AccountKey=SECRET"),
        ("AZURE_STORAGE_CONNECTION_STRING", "SECRET"),
        ("AZURE_STORAGE_ACCOUNT_KEY", "SECRET"),
    ],
)
def test_a_credential_that_does_not_fit_is_not_repeated(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match="STINGAR_LAKE") as refused:
        open_store("az://container/path", "STINGAR_LAKE")
    assert "SECRET" not in str(refused.value)
