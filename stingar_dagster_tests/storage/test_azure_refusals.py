"""What is said where Azure says no: one line with the setting, who asked and what is missing."""

import os
import re
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from azure.core.exceptions import ServiceRequestError
from requests.exceptions import ConnectionError

from stingar_dagster.errors import StingarError, StoreDenied, StoreUnavailable
from stingar_dagster.storage import Store, open_store
from stingar_dagster.storage.azure_access import access_to
from stingar_dagster.storage.azure_errors import Task, told
from stingar_dagster.storage.patience import PATIENCE
from stingar_dagster_tests import entra
from stingar_dagster_tests.azurite import KEY, Service, container_sas
from stingar_dagster_tests.certificates import Certificate, make_certificate
from stingar_dagster_tests.entra import CLIENT, CLIENT_SECRET, TENANT

SHORT = replace(PATIENCE, connect=2, read=5, tries=2, wait=0, base=0, jitter=0)
PRINCIPAL = {
    "AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT, "AZURE_CLIENT_SECRET": CLIENT_SECRET,
}  # fmt: skip


@dataclass
class Asking:
    """Opens stores with these variables and no others of Azure's."""

    patch: pytest.MonkeyPatch

    def store(self, setting: str = "STINGAR_LANDING", url: str = "", **environ: str) -> Store:
        for name, value in environ.items():
            self.patch.setenv(name, value)
        return open_store(url or "az://landing/captures", setting, SHORT)

    def line(self, store: Store, act: Callable[[Store], object] | None = None) -> str:
        """What is said of a refusal, once it is sure that it is one line without a secret."""
        with pytest.raises(StoreDenied) as refused:
            (act or (lambda store: store.find("ns/hub")))(store)
        line = str(refused.value)
        assert "\n" not in line
        for secret in (KEY, "sig=", CLIENT_SECRET, entra.IDENTITY_HEADER, "Bearer"):
            assert secret not in line
        return line


@pytest.fixture
def asking(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Asking:
    for name in [*os.environ]:
        if name.startswith(("AZURE_", "STINGAR_LANDING", "STINGAR_LAKE", "IDENTITY_", "MSI_")):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return Asking(monkeypatch)


@pytest.fixture
def landing(blob_service: Service, container: str, asking: Asking) -> str:
    """A container with one capture; its address."""
    asking.patch.setenv("AZURE_STORAGE_SERVICE_ENDPOINT", blob_service.endpoint)
    asking.patch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
    url = f"az://{container}/captures"
    asking.store(url=url, STINGAR_LANDING_ACCOUNT_KEY=KEY).write("ns/hub/a", b"bytes")
    asking.patch.delenv("STINGAR_LANDING_ACCOUNT_KEY")
    return url


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


# ---- signatures and keys, on Azurite


def test_a_signature_without_the_permission_to_list(landing: str, asking: Asking) -> None:
    container = landing.split("/")[2]
    store = asking.store(url=landing, STINGAR_LANDING_SAS_TOKEN=container_sas(container, "r"))
    assert store.read("ns/hub/a") == b"bytes"
    line = asking.line(store)
    assert line.startswith(f"STINGAR_LANDING: {landing}/ns/hub: refused (Authorization")
    assert "to the shared access signature in STINGAR_LANDING_SAS_TOKEN" in line
    assert f"read and list (sp=rl) on the container {container}" in line


def test_a_signature_that_only_reads_says_what_a_lake_needs(landing: str, asking: Asking) -> None:
    container = landing.split("/")[2]
    signature = container_sas(container, "rl")
    lake = asking.store("STINGAR_LAKE", landing, STINGAR_LAKE_SAS_TOKEN=signature)
    for act in (
        lambda store: store.write("a", b"1"),
        lambda store: store.write("a", b"1", expected=None),
        lambda store: store.remove("ns/hub/a"),
    ):
        line = asking.line(lake, act)
        assert "STINGAR_LAKE_SAS_TOKEN" in line
        assert (
            f"read, create, write, delete and list (sp=rcwdl) on the container {container}" in line
        )


def test_a_signature_that_only_reads_says_that_landing_is_written_by_hand_alone(
    landing: str, asking: Asking
) -> None:
    signature = container_sas(landing.split("/")[2], "rl")
    store = asking.store(url=landing, STINGAR_LANDING_SAS_TOKEN=signature)
    line = asking.line(store, lambda store: store.write("a", b"1", expected=None))
    assert "only what lands captures writes there, such as `stingar land`" in line


def test_a_signature_that_has_ended_says_when(landing: str, asking: Asking) -> None:
    signature = container_sas(landing.split("/")[2], "rl", valid=-timedelta(hours=1))
    line = asking.line(asking.store(url=landing, STINGAR_LANDING_SAS_TOKEN=signature))
    assert re.search(r"it ended at \d{4}-\d\d-\d\d \d\d:\d\d UTC; make a new one", line)


def test_a_signature_for_another_container(landing: str, asking: Asking) -> None:
    signature = container_sas("another-container", "rl")
    line = asking.line(asking.store(url=landing, STINGAR_LANDING_SAS_TOKEN=signature))
    assert f"on the container {landing.split('/')[2]}" in line


def test_a_key_of_another_account(landing: str, asking: Asking) -> None:
    wrong = KEY[:10] + KEY[10:-2][::-1] + "=="
    line = asking.line(asking.store(url=landing, AZURE_STORAGE_ACCOUNT_KEY=wrong))
    assert "to the account key in AZURE_STORAGE_ACCOUNT_KEY" in line
    assert "copy the key again: it is not one of this account, or was renewed" in line
    assert wrong not in line


def test_a_container_that_is_not_there(landing: str, asking: Asking) -> None:
    store = asking.store(url="az://no-such-container", AZURE_STORAGE_ACCOUNT_KEY=KEY)
    assert "there is no such container" in asking.line(store)


# ---- roles and networks, which only Azure itself checks


CODES = [
    (403, "AuthorizationPermissionMismatch", "give it the role {role} on the container landing"),
    (403, "AuthorizationFailure", "let this machine's network through the account's firewall, or "
     "give it the role {role} on the container landing"),
    (401, "InvalidAuthenticationInfo", "check the tenant and this machine's clock"),
    (403, "AccountIsDisabled", "the storage account is disabled"),
    (403, "ACodeOfTheFuture", "check the address, the container, the credential and its role"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "code", "advice"), CODES)
@pytest.mark.parametrize(
    ("setting", "role"),
    [
        ("STINGAR_LANDING", "Storage Blob Data Reader"),
        ("STINGAR_LAKE", "Storage Blob Data Contributor"),
    ],
)
def test_an_identity_that_is_refused(
    asking: Asking,
    certificate: Certificate,
    setting: str,
    role: str,
    status: int,
    code: str,
    advice: str,
) -> None:
    asking.patch.setenv("REQUESTS_CA_BUNDLE", str(certificate.cert))
    with (
        entra.entra(certificate) as gives,
        entra.refusing(status, code, certificate) as endpoint,
    ):
        environ = {
            **PRINCIPAL, "AZURE_AUTHORITY_HOST": gives.address,
            "AZURE_STORAGE_SERVICE_ENDPOINT": endpoint,
        }  # fmt: skip
        line = asking.line(asking.store(setting, **environ))
    assert gives.asked == ["secret"]
    assert line.startswith(f"{setting}: az://landing/captures/ns/hub: refused ({code}) to ")
    assert f"service principal {CLIENT}" in line
    assert advice.format(role=role) in line


def test_an_account_that_takes_no_keys(asking: Asking) -> None:
    with entra.refusing(403, "KeyBasedAuthenticationNotPermitted") as endpoint:
        store = asking.store(AZURE_STORAGE_SERVICE_ENDPOINT=endpoint, AZURE_STORAGE_ACCOUNT_KEY=KEY)
        assert "the account takes no keys" in asking.line(store)


def test_a_service_that_is_busy_is_worth_another_try(asking: Asking) -> None:
    with entra.refusing(503, "ServerBusy") as endpoint:
        store = asking.store(AZURE_STORAGE_SERVICE_ENDPOINT=endpoint, AZURE_STORAGE_ACCOUNT_KEY=KEY)
        with pytest.raises(StoreUnavailable, match="ServerBusy"):
            store.find("")


# ---- tokens


@pytest.fixture
def gives(asking: Asking, certificate: Certificate) -> Iterator[entra.Entra]:
    asking.patch.setenv("REQUESTS_CA_BUNDLE", str(certificate.cert))
    with entra.entra(certificate) as gives:
        asking.patch.setenv("AZURE_AUTHORITY_HOST", gives.address)
        asking.patch.setenv("AZURE_STORAGE_SERVICE_ENDPOINT", "https://127.0.0.1:9/account")
        yield gives


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        ({"AZURE_CLIENT_SECRET": "another"}, "AZURE_CLIENT_SECRET is not this principal's secret"),
        ({"AZURE_CLIENT_ID": "another"}, "AZURE_CLIENT_ID is not in this tenant"),
    ],
)
def test_a_service_principal_that_gets_no_token(
    asking: Asking, gives: entra.Entra, wrong: dict[str, str], advice: str
) -> None:
    environ = PRINCIPAL | wrong
    line = asking.line(asking.store(**environ))
    assert gives.asked == ["refused"], "it was asked for again"
    assert f"there is no token for service principal {environ['AZURE_CLIENT_ID']}; " in line
    assert advice in line
    assert re.search(r"\(AADSTS\d+\)$", line)
    assert "another" not in line.replace(f"principal {environ['AZURE_CLIENT_ID']}", "")


def test_a_tenant_that_is_not_there(asking: Asking, gives: entra.Entra) -> None:
    line = asking.line(asking.store(**PRINCIPAL | {"AZURE_TENANT_ID": "another"}))
    assert f"there is no token for service principal {CLIENT}" in line


def test_a_machine_without_an_identity(asking: Asking) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    # Not the metadata service's own address: on a machine of a cloud something answers there.
    asking.patch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", nowhere)
    asking.patch.setenv("AZURE_TOKEN_CREDENTIALS", "prod")
    line = asking.line(asking.store(url="abfs://landing@account.dfs.core.windows.net"))
    assert "there is no token for managed identity (or az login); this machine has no such" in line
    assert "README" in line


# ---- networks


def test_a_certificate_that_is_not_trusted(asking: Asking, certificate: Certificate) -> None:
    with entra.refusing(403, "AuthorizationFailure", certificate) as endpoint:
        store = asking.store(AZURE_STORAGE_SERVICE_ENDPOINT=endpoint, AZURE_STORAGE_ACCOUNT_KEY=KEY)
        assert "in REQUESTS_CA_BUNDLE" in asking.line(store)


def test_an_account_that_has_no_address(asking: Asking) -> None:
    store = asking.store(
        url="abfs://landing@nosuchaccount.dfs.core.invalid", AZURE_STORAGE_ACCOUNT_KEY=KEY
    )
    with pytest.raises(StoreUnavailable) as failed:
        store.find("")
    line = str(failed.value)
    assert (
        "there is no host nosuchaccount.blob.core.invalid; check the storage account's name" in line
    )
    assert "\n" not in line


def test_a_line_names_the_host_that_does_not_answer_not_the_request() -> None:
    """The request's address holds the signature."""
    access = access_to(
        "az://landing", "STINGAR_LANDING",
        {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_SAS_TOKEN": "sig=SECRET"},
    )  # fmt: skip
    text = "HTTPSConnectionPool(host='a.blob.core.windows.net', port=443): GET ?sig=SECRET\nrefused"
    error = told(
        ServiceRequestError(text, error=ConnectionError(text)), access, "az://landing", Task.LIST
    )
    assert isinstance(error, StingarError)
    assert "not reachable at a.blob.core.windows.net (ServiceRequestError" in str(error)
    assert "SECRET" not in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize("code", ["AuthenticationFailed", "AuthorizationFailure"])
def test_what_the_service_says_of_a_signature_that_is_none_of_its_own(
    asking: Asking, code: str
) -> None:
    with entra.refusing(403, code) as endpoint:
        store = asking.store(
            AZURE_STORAGE_SERVICE_ENDPOINT=endpoint,
            STINGAR_LANDING_SAS_TOKEN=container_sas("another-container", "rl"),
        )
        line = asking.line(store)
    assert "the container landing" in line
    assert ("firewall" in line) is (code == "AuthorizationFailure")
