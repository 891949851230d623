"""Fixtures of all tests: Azure's blob service, where Azurite is there to stand in for it."""

import secrets
from collections.abc import Iterator

import pytest

from stingar_dagster_tests.azurite import HOW_TO_GET_IT, Service, is_installed, serving


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
