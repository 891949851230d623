"""Azurite, which speaks the protocol of Azure's blob service, as a process on loopback.

Here: finding and running it, over HTTP or HTTPS, and the addresses and credentials that it takes.
Not here: fixtures (`conftest`), and faults on the way to it (`proxy`).
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from azure.storage.blob import BlobServiceClient, ContainerSasPermissions, generate_container_sas

# Azurite's well-known account, the same everywhere: no secret.
ACCOUNT: Final = "devstoreaccount1"
KEY: Final = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
REPOSITORY: Final = Path(__file__).resolve().parents[1]
HOW_TO_GET_IT: Final = (
    "Azurite is not there, so nothing of Azure's storage is tested: make azurite (needs npm), "
    "or set STINGAR_AZURITE to the folder of its npm package"
)
SECONDS_TO_START: Final = 30


@dataclass(frozen=True)
class Service:
    """A running blob service."""

    port: int
    scheme: str = "http"

    @property
    def endpoint(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/{ACCOUNT}"

    @property
    def connection_string(self) -> str:
        return (
            f"DefaultEndpointsProtocol={self.scheme};AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint={self.endpoint};"
        )

    def make_container(self, name: str) -> None:
        with BlobServiceClient.from_connection_string(self.connection_string) as client:
            client.create_container(name).close()

    def remove_container(self, name: str) -> None:
        with BlobServiceClient.from_connection_string(self.connection_string) as client:
            client.delete_container(name)


def container_sas(container: str, permissions: str, valid: timedelta = timedelta(hours=1)) -> str:
    """A shared access signature of one container, with permissions such as `rl`."""
    return generate_container_sas(
        ACCOUNT,
        container,
        account_key=KEY,
        permission=ContainerSasPermissions.from_string(permissions),
        start=datetime.now(UTC) - timedelta(days=1),
        expiry=datetime.now(UTC) + valid,
    )


def is_installed() -> bool:
    return main_file() is not None and shutil.which("node") is not None


@contextlib.contextmanager
def serving(*options: str, scheme: str = "http") -> Iterator[Service]:
    """A blob service that forgets everything at its end.

    Args:
        options: more of Azurite's own.
        scheme: `https` where the options hold a certificate.
    """
    main, node = main_file(), shutil.which("node")
    if main is None or node is None:
        raise RuntimeError(HOW_TO_GET_IT)
    (port,) = free_ports(1)
    command = [node, str(main), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent"]
    command += ["--disableTelemetry", "--skipApiVersionCheck", "--inMemoryPersistence", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            wait_for_port(port, server)
            yield Service(port, scheme)
        finally:
            server.terminate()


def main_file() -> Path | None:
    """The server's script; `STINGAR_AZURITE` is the folder of the npm package."""
    places = (REPOSITORY / "build/azurite", REPOSITORY, REPOSITORY.parent)
    folders = [place / "node_modules/azurite" for place in places]
    if told := os.environ.get("STINGAR_AZURITE"):
        folders.insert(0, Path(told))
    files = (folder / "dist/src/blob/main.js" for folder in folders)
    return next((file for file in files if file.is_file()), None)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def wait_for_port(port: int, server: subprocess.Popen[bytes]) -> None:
    """Return once a server listens."""
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the server does not start")
