"""From an address and variables to an endpoint and an identity: no request is made."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from stingar_dagster.errors import SettingsError
from stingar_dagster.storage import open_store
from stingar_dagster.storage.azure import AzureStore
from stingar_dagster.storage.azure_access import Access, Kind, access_to
from stingar_dagster_tests.azurite import KEY, container_sas

PUBLIC = "abfs://capture@account.dfs.core.windows.net/a/b"
SIGNATURE = "sv=2026-02-06&sr=c&sp=rl&se=2026-11-03T12:00:00Z&sig=SECRET%3D"


def access(url: str = PUBLIC, setting: str = "STINGAR_LANDING", **environ: str) -> Access:
    return access_to(url, setting, environ)


@pytest.mark.parametrize(
    ("url", "endpoint", "container", "folder"),
    [
        (PUBLIC, "https://account.blob.core.windows.net", "capture", "a/b"),
        (
            "abfss://capture@account.dfs.core.windows.net",
            "https://account.blob.core.windows.net", "capture", "",
        ),
        (
            "abfs://capture@account.blob.core.windows.net/",
            "https://account.blob.core.windows.net", "capture", "",
        ),
        (
            "abfs://account.dfs.core.windows.net/capture/a",
            "https://account.blob.core.windows.net", "capture", "a",
        ),
        (
            "abfs://capture@account.dfs.core.usgovcloudapi.net/a",
            "https://account.blob.core.usgovcloudapi.net", "capture", "a",
        ),
        (
            "az://capture@account.dfs.core.chinacloudapi.cn/a",
            "https://account.blob.core.chinacloudapi.cn", "capture", "a",
        ),
        (
            "abfs://capture@account.z05.dfs.storage.azure.net/a",
            "https://account.z05.blob.storage.azure.net", "capture", "a",
        ),
        ("az://capture/a", "https://named.blob.core.windows.net", "capture", "a"),
        ("abfs://capture/a", "https://named.blob.core.windows.net", "capture", "a"),
    ],
)  # fmt: skip
def test_an_address_names_a_container_of_an_account_in_any_cloud(
    url: str, endpoint: str, container: str, folder: str
) -> None:
    found = access(url, AZURE_STORAGE_ACCOUNT_NAME="named", AZURE_STORAGE_ACCOUNT_KEY=KEY)
    assert (found.endpoint, found.container, found.folder) == (endpoint, container, folder)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("az://capture/a", "names no storage account"),
        ("abfs://capture@example.org/a", "'example.org' is no storage account's address"),
        ("abfs://Capture@account.dfs.core.windows.net/a", "'Capture' is no container's name"),
        ("az:///a", "'' is no container's name"),
        ("abfs://account.dfs.core.windows.net", "'' is no container's name"),
    ],
)
def test_an_address_that_names_none_is_told_with_one_that_does(url: str, told: str) -> None:
    with pytest.raises(SettingsError, match="STINGAR_LANDING=") as refused:
        access(url)
    assert told in str(refused.value)
    assert "abfs://container@account.dfs.core.windows.net/folder" in str(refused.value)


def test_an_endpoint_of_ones_own_is_for_addresses_that_name_no_account() -> None:
    own = {"AZURE_STORAGE_SERVICE_ENDPOINT": "https://127.0.0.1:10000/devstoreaccount1/"}
    key = {"AZURE_STORAGE_ACCOUNT_KEY": KEY}
    assert (
        access("az://capture", **own, **key).endpoint == "https://127.0.0.1:10000/devstoreaccount1"
    )
    assert access(PUBLIC, **own, **key).endpoint == "https://account.blob.core.windows.net"
    with pytest.raises(SettingsError, match="AZURE_STORAGE_SERVICE_ENDPOINT is no address"):
        access("az://capture", AZURE_STORAGE_SERVICE_ENDPOINT="account")


def test_an_identity_is_not_asked_for_where_its_token_could_be_overheard() -> None:
    with pytest.raises(SettingsError, match="tokens are sent over https only"):
        access("az://capture", AZURE_STORAGE_SERVICE_ENDPOINT="http://192.0.2.1:10000/account")


def test_a_connection_string_names_the_account_itself() -> None:
    text = f"DefaultEndpointsProtocol=https;AccountName=account;AccountKey={KEY};EndpointSuffix="
    found = access("az://capture", AZURE_STORAGE_CONNECTION_STRING=f"{text}core.windows.net")
    assert found.endpoint == "https://account.blob.core.windows.net"
    assert (found.kind, found.identity) == (
        Kind.KEY, "the account key in AZURE_STORAGE_CONNECTION_STRING",
    )  # fmt: skip
    signed = (
        f"BlobEndpoint=https://account.blob.core.windows.net/;SharedAccessSignature={SIGNATURE}"
    )
    found = access(PUBLIC, AZURE_STORAGE_CONNECTION_STRING=signed)
    assert found.kind is Kind.SIGNATURE
    emulator = access("az://capture", AZURE_STORAGE_CONNECTION_STRING="UseDevelopmentStorage=true")
    assert emulator.endpoint == "http://127.0.0.1:10000/devstoreaccount1"


def test_a_connection_string_of_another_account_is_refused_and_not_followed() -> None:
    """adlfs let it win over the address: captures were read from the wrong account."""
    text = f"AccountName=other;AccountKey={KEY}"
    with pytest.raises(SettingsError, match="another account \\(other\\)") as refused:
        access(PUBLIC, AZURE_STORAGE_CONNECTION_STRING=text)
    assert "STINGAR_LANDING_CONNECTION_STRING" in str(refused.value)


def test_a_credential_of_one_store_keeps_the_common_ones_away_from_it() -> None:
    environ = {
        "AZURE_STORAGE_ACCOUNT_KEY": KEY,
        "AZURE_STORAGE_CONNECTION_STRING": f"AccountName=lake;AccountKey={KEY}",
        "STINGAR_LANDING_SAS_TOKEN": SIGNATURE,
    }
    landing = access(PUBLIC, **environ)
    assert landing.identity == "the shared access signature in STINGAR_LANDING_SAS_TOKEN"
    assert landing.endpoint == "https://account.blob.core.windows.net"
    lake = access("abfs://lake@lake.dfs.core.windows.net", "STINGAR_LAKE", **environ)
    assert lake.identity == "the account key in AZURE_STORAGE_CONNECTION_STRING"


def test_a_lake_can_be_asked_by_identity_beside_a_landing_with_a_signature() -> None:
    environ = {"STINGAR_LANDING_SAS_TOKEN": SIGNATURE}
    assert access(PUBLIC, **environ).kind is Kind.SIGNATURE
    assert access(PUBLIC, "STINGAR_LAKE", **environ).kind is Kind.ROLE


@pytest.mark.parametrize("empty", ["AZURE_STORAGE_SAS_TOKEN", "AZURE_STORAGE_CONNECTION_STRING"])
def test_an_empty_variable_counts_for_nothing(empty: str) -> None:
    assert access(**{empty: ""}).kind is Kind.ROLE


PRINCIPAL = {"AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "client", "AZURE_CLIENT_SECRET": "x"}


@pytest.mark.parametrize(
    ("environ", "identity"),
    [
        ({}, "managed identity (or az login)"),
        ({"AZURE_STORAGE_ANON": "false"}, "managed identity (or az login)"),
        ({"AZURE_CLIENT_ID": "client"}, "managed identity client (or az login)"),
        (
            {"AZURE_CLIENT_ID": "client", "AZURE_FEDERATED_TOKEN_FILE": "/f"},
            "workload identity client",
        ),
        (PRINCIPAL, "service principal client"),
        ({f"AZURE_STORAGE{k[5:]}": v for k, v in PRINCIPAL.items()}, "service principal client"),
        ({"AZURE_STORAGE_ANON": "true"}, "nobody, as AZURE_STORAGE_ANON says"),
        (
            {"AZURE_STORAGE_SAS_TOKEN": f"?{SIGNATURE}"},
            "the shared access signature in AZURE_STORAGE_SAS_TOKEN",
        ),
        ({"AZURE_STORAGE_ACCOUNT_KEY": KEY}, "the account key in AZURE_STORAGE_ACCOUNT_KEY"),
    ],
)  # fmt: skip
def test_what_is_named_says_who_asks(environ: dict[str, str], identity: str) -> None:
    assert access(**environ).identity == identity


def test_a_signature_tells_its_end_and_never_itself() -> None:
    found = access(STINGAR_LANDING_SAS_TOKEN=f"https://account.blob.core.windows.net/c?{SIGNATURE}")
    assert found.ends == datetime(2026, 11, 3, 12, tzinfo=UTC)
    assert found.credential.signature == SIGNATURE
    assert "SECRET" not in repr(found)


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"STINGAR_LANDING_SAS_TOKEN": "canary"}, "STINGAR_LANDING_SAS_TOKEN is no shared access"),
        ({"AZURE_STORAGE_ACCOUNT_KEY": "canary!"}, "AZURE_STORAGE_ACCOUNT_KEY: the account key"),
        ({"AZURE_STORAGE_CONNECTION_STRING": "canary"}, "is no connection string"),
        ({"AZURE_STORAGE_CONNECTION_STRING": "AccountName=account"}, "is no connection string"),
        (
            {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=account;AccountKey=canary!"},
            "AZURE_STORAGE_CONNECTION_STRING: the account key",
        ),
        ({"AZURE_CLIENT_SECRET": "canary"}, "set AZURE_TENANT_ID and AZURE_CLIENT_ID"),
        ({**PRINCIPAL, "AZURE_AUTHORITY_HOST": "http://x"}, "AZURE_AUTHORITY_HOST"),
    ],
)
def test_a_credential_that_is_none_is_told_in_one_line(environ: dict[str, str], told: str) -> None:
    with pytest.raises(SettingsError, match="STINGAR_LANDING=abfs://capture@account") as refused:
        access(**environ)
    assert told in str(refused.value)
    assert "canary" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "authority"),
    [
        ("account.dfs.core.windows.net", "https://login.microsoftonline.com"),
        ("account.dfs.core.usgovcloudapi.net", "https://login.microsoftonline.us"),
        ("account.dfs.core.chinacloudapi.cn", "https://login.chinacloudapi.cn"),
    ],
)
def test_tokens_come_from_the_cloud_of_the_account(host: str, authority: str) -> None:
    credential = access(f"abfs://capture@{host}", **PRINCIPAL).credential
    assert credential._authority == authority
    own = access(f"abfs://capture@{host}", **PRINCIPAL, AZURE_AUTHORITY_HOST="login.example.org")
    assert own.credential._authority == "https://login.example.org"


def test_landing_and_lake_share_one_identity_and_its_token() -> None:
    lake = access("abfs://lake@other.dfs.core.windows.net", "STINGAR_LAKE", **PRINCIPAL)
    assert access(**PRINCIPAL).credential is lake.credential


def test_credentials_may_stand_in_the_env_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AZURE_STORAGE_CONNECTION_STRING", "STINGAR_LANDING_SAS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".env").write_text(f"STINGAR_LANDING_SAS_TOKEN={container_sas('capture', 'rl')}\n")
    monkeypatch.chdir(tmp_path)
    store = open_store(PUBLIC, "STINGAR_LANDING")
    assert isinstance(store, AzureStore)
    assert store.access.kind is Kind.SIGNATURE
