"""Fixtures of all tests: Azure's blob service, for which Azurite stands in, and sites.

What the pipeline promises does not depend on the store, so tests that ask for a `site` run on a
local disk and on Azure's protocol. Those that look behind the store, at files, say `on_disk`
(`support`).
"""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from stingar_dagster_tests.azurite import HOW_TO_GET_IT, Service, is_installed, serving
from stingar_dagster_tests.support import Site, site_for


@pytest.fixture(scope="session")
def blob_service() -> Iterator[Service]:
    """A blob service that lives as long as the tests."""
    if not is_installed():
        pytest.skip(HOW_TO_GET_IT)
    with serving() as service:
        yield service


@pytest.fixture(scope="session")
def azurite(blob_service: Service) -> str:
    """The connection string of that service."""
    return blob_service.connection_string


@pytest.fixture
def container(blob_service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an empty container, which the usual variables give access to."""
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", blob_service.connection_string)
    name = f"test-{secrets.token_hex(4)}"
    blob_service.make_container(name)
    yield name
    blob_service.remove_container(name)


@pytest.fixture(params=["disk", "azure"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    """An empty landing folder and lake: on a local disk, and on Azure."""
    return site_for(request, tmp_path)
