"""Azurite, which speaks the protocol of Azure's blob service, for the tests that need it."""

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.storage.blob import BlobServiceClient

# Azurite's well-known account, the same everywhere: no secret.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
REPOSITORY = Path(__file__).resolve().parents[1]
SECONDS_TO_START = 30


@pytest.fixture(scope="session")
def azurite() -> Iterator[str]:
    """The connection string of a blob service that lives as long as the tests."""
    main, node = _main_file(), shutil.which("node")
    if main is None or node is None:
        pytest.skip("Azurite is not there: npm install azurite@3.37.0 (or set STINGAR_AZURITE)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [node, str(main), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent"]
    command += ["--disableTelemetry", "--skipApiVersionCheck", "--inMemoryPersistence"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(port, server)
            yield (
                f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
                f"BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
            )
        finally:
            server.terminate()


@pytest.fixture
def container(azurite: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of an empty container, which the usual variables give access to."""
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite)
    name = f"test-{secrets.token_hex(4)}"
    with BlobServiceClient.from_connection_string(azurite) as client:
        client.create_container(name).close()
        yield name
        client.delete_container(name)


def _main_file() -> Path | None:
    """The server's script; `STINGAR_AZURITE` is the folder of the npm package."""
    folders = [REPOSITORY / "node_modules/azurite", REPOSITORY.parent / "node_modules/azurite"]
    if told := os.environ.get("STINGAR_AZURITE"):
        folders.insert(0, Path(told))
    files = (folder / "dist/src/blob/main.js" for folder in folders)
    return next((file for file in files if file.is_file()), None)


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("Azurite does not start")
