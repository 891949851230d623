"""The pipeline over HTTPS, with tokens: as a machine, as a workload and as a service principal.

Azurite serves HTTPS and checks a token's issuer, audience and times. azure-identity gets it by the
protocols of Azure, from servers on loopback (`entra`): nothing here stands in for a credential.
What only Azure can do is left out: checking the token's signature, and roles.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient

from stingar_dagster.errors import StoreDenied
from stingar_dagster.storage import open_store
from stingar_dagster.storage.azure import AzureStore
from stingar_dagster.storage.azure_access import Kind
from stingar_dagster.streams import STINGAR
from stingar_dagster_tests import entra
from stingar_dagster_tests.azurite import HOW_TO_GET_IT, KEY, Service, is_installed, serving
from stingar_dagster_tests.certificates import Certificate, make_certificate
from stingar_dagster_tests.entra import CLIENT, CLIENT_SECRET, TENANT
from stingar_dagster_tests.support import HOUR, NOON, Site, event, pending

READ_BY_IDENTITY = ("AZURE_", "IDENTITY_", "MSI_", "IMDS_", "STINGAR_LANDING", "STINGAR_LAKE")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def over_https(certificate: Certificate) -> Iterator[Service]:
    if not is_installed():
        pytest.skip(HOW_TO_GET_IT)
    options = ["--oauth", "basic", "--cert", certificate.cert, "--key", certificate.key]
    with serving(*map(str, options), scheme="https") as service:
        yield service


@pytest.fixture(autouse=True)
def project(
    over_https: Service, certificate: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [*os.environ]:
        if name.startswith(READ_BY_IDENTITY):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.cert))
    monkeypatch.setenv("AZURE_STORAGE_SERVICE_ENDPOINT", over_https.endpoint)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[entra.Entra]:
    """A machine with a managed identity, as a container app or a web app has one."""
    with entra.entra() as gives:
        for name, value in gives.as_a_machines.items():
            monkeypatch.setenv(name, value)
        yield gives


@pytest.fixture
def authority(certificate: Certificate, monkeypatch: pytest.MonkeyPatch) -> Iterator[entra.Entra]:
    with entra.entra(certificate) as gives:
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", gives.address)
        monkeypatch.setenv("AZURE_TENANT_ID", TENANT)
        monkeypatch.setenv("AZURE_CLIENT_ID", CLIENT)
        yield gives


def container(service: Service, name: str) -> str:
    with BlobServiceClient(service.endpoint, credential=KEY) as client:
        client.create_container(name).close()
    return f"az://{name}"


def test_a_machine_lands_publishes_rolls_up_and_verifies_with_its_own_identity(
    over_https: Service, machine: entra.Entra
) -> None:
    landing, lake = (container(over_https, name) for name in ("machine-landing", "machine-lake"))
    site = Site(landing, lake, replace(STINGAR, tables=STINGAR.tables[:1]))
    site.put([event(NOON), b"not json"])
    site.put([event(NOON - HOUR)], partition=1)
    site.run()
    site.check()
    assert pending(site.pipeline()) == ([], [], [])
    assert len(site.events()) == 2
    assert machine.asked == ["machine"], "one token is enough for both stores, for an hour"


def works(over_https: Service, name: str) -> AzureStore:
    store = open_store(container(over_https, name), "STINGAR_LAKE")
    store.write("a/b", b"bytes", expected=None)
    assert store.read("a/b") == b"bytes"
    assert [entry.etag for entry in store.find("a")] == [store.etag("a/b")]
    store.remove("a/b")
    assert isinstance(store, AzureStore)
    assert store.access.kind is Kind.ROLE
    return store


def test_a_workload_with_a_federated_token(
    over_https: Service,
    authority: entra.Entra,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "token").write_text(entra.token("api://AzureADTokenExchange"))
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(tmp_path / "token"))
    store = works(over_https, "workload")
    assert authority.asked == ["assertion"]
    assert store.access.identity == f"workload identity {CLIENT}"


def test_a_service_principal_whose_secret_stands_in_the_env_file(
    over_https: Service, authority: entra.Entra, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"AZURE_CLIENT_SECRET={CLIENT_SECRET}\n")
    store = works(over_https, "principal")
    assert authority.asked == ["secret"]
    assert store.access.identity == f"service principal {CLIENT}"


def test_a_token_that_the_service_does_not_take_is_told(
    over_https: Service, machine: entra.Entra, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = container(over_https, "refused")
    now = time.time()
    # As a machine sees it whose clock is a day behind.
    monkeypatch.setattr("stingar_dagster_tests.entra.time.time", lambda: now - 86_400)
    store = open_store(url, "STINGAR_LAKE")
    with pytest.raises(StoreDenied, match="STINGAR_LAKE: az://refused") as refused:
        store.find("")
    assert "managed identity" in str(refused.value)
    assert "\n" not in str(refused.value)
