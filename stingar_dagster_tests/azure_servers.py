"""Azurite with its blob and queue services, over HTTP or HTTPS, for the tests that need both.

Not here: the blob service alone, which most tests take (`azurite`).
"""

import base64
import contextlib
import json
import secrets
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob import BlobServiceClient
from azure.storage.queue import QueueClient

from stingar_dagster_tests.azurite import (
    ACCOUNT,
    HOW_TO_GET_IT,
    KEY,
    free_ports,
    main_file,
    wait_for_port,
)
from stingar_dagster_tests.certificates import Certificate


@dataclass(frozen=True)
class Servers:
    """A blob and a queue service with one account."""

    blob: str
    queue: str

    @property
    def connection_string(self) -> str:
        scheme = self.blob.partition("://")[0]
        return (
            f"DefaultEndpointsProtocol={scheme};AccountName={ACCOUNT};AccountKey={KEY};"
            f"BlobEndpoint={self.blob};QueueEndpoint={self.queue};"
        )

    def new_container(self) -> str:
        name = f"test-{secrets.token_hex(4)}"
        with BlobServiceClient.from_connection_string(self.connection_string) as client:
            client.create_container(name).close()
        return name

    def new_queue(self) -> "Mailbox":
        name = f"test-{secrets.token_hex(4)}"
        client = QueueClient.from_connection_string(self.connection_string, name)
        client.create_queue()
        return Mailbox(f"{self.queue}/{name}", client)


@dataclass(frozen=True)
class Mailbox:
    """A queue, from the side of who writes to it."""

    url: str
    client: QueueClient

    def send(self, events: Any) -> None:
        """As Event Grid does: JSON in base64."""
        self.send_text(base64.b64encode(json.dumps(events).encode()).decode())

    def send_text(self, text: str) -> None:
        self.client.send_message(text)

    def waiting(self) -> int:
        """How many messages there are, those that were taken included."""
        return self.client.get_queue_properties().approximate_message_count or 0

    def give_back(self, taken: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Make messages that were taken visible at once, as time would; their new receipts."""
        return [
            (
                identity,
                self.client.update_message(identity, receipt, visibility_timeout=0).pop_receipt
                or "",
            )
            for identity, receipt in taken
        ]


@contextlib.contextmanager
def azure_servers(certificate: Certificate | None = None, *options: str) -> Iterator[Servers]:
    """Both services for as long as they are needed; what they hold is in memory."""
    main, node = main_file(), shutil.which("node")
    if main is None or node is None:
        pytest.skip(HOW_TO_GET_IT)
    both = main.parents[1] / "azurite.js"
    ports = free_ports(3)
    command = [node, str(both), "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    command += ["--inMemoryPersistence", *options]
    for service, port in zip(("blob", "queue", "table"), ports, strict=True):
        command += [f"--{service}Host", "127.0.0.1", f"--{service}Port", str(port)]
    if certificate is not None:
        command += ["--cert", str(certificate.cert), "--key", str(certificate.key)]
    scheme = "https" if certificate is not None else "http"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for port in ports[:2]:
                wait_for_port(port, server)
            blob, queue = (f"{scheme}://127.0.0.1:{port}/{ACCOUNT}" for port in ports[:2])
            yield Servers(blob, queue)
        finally:
            server.terminate()


# ---- events as Event Grid writes them


def blob_created(url: str, **changes: Any) -> dict[str, Any]:
    """`Microsoft.Storage.BlobCreated` in Event Grid's own schema."""
    return {
        "topic": "/subscriptions/0/resourceGroups/r/providers/Microsoft.Storage/storageAccounts/a",
        "subject": "/blobServices/default/containers/c/blobs/" + Path(url).name,
        "eventType": "Microsoft.Storage.BlobCreated",
        "id": secrets.token_hex(8),
        "eventTime": "2026-11-03T12:01:02.1Z",
        "dataVersion": "",
        "metadataVersion": "1",
        "data": {
            "api": "PutBlockList",
            "eTag": "0x8D4BCC2E4835CD0",
            "contentType": "application/octet-stream",
            "contentLength": 524288,
            "blobType": "BlockBlob",
            "url": url,
            "sequencer": "00000000000004420000000000028963",
        },
    } | changes


def capture_created(
    url: str, size: int, events: int, first: int, last: int, **changes: Any
) -> dict[str, Any]:
    """`Microsoft.EventHub.CaptureFileCreated` in Event Grid's own schema."""
    return {
        "topic": "/subscriptions/0/resourcegroups/r/providers/Microsoft.EventHub/namespaces/ns",
        "subject": "eventhubs/hub",
        "eventType": "Microsoft.EventHub.CaptureFileCreated",
        "eventTime": "2026-11-03T12:01:02.0498024Z",
        "id": secrets.token_hex(8),
        "data": {
            "fileUrl": url,
            "fileType": "AzureBlockBlob",
            "partitionId": "0",
            "sizeInBytes": size,
            "eventCount": events,
            "firstSequenceNumber": first,
            "lastSequenceNumber": last,
            "firstEnqueueTime": "2026-11-03T12:00:14.674Z",
            "lastEnqueueTime": "2026-11-03T12:00:44.309Z",
        },
        "dataVersion": "",
        "metadataVersion": "1",
    } | changes


def as_cloud_event(event: dict[str, Any]) -> dict[str, Any]:
    """The same event in the schema of CloudEvents 1.0."""
    return {
        "specversion": "1.0",
        "source": event["topic"],
        "subject": event["subject"],
        "type": event["eventType"],
        "time": event["eventTime"],
        "id": event["id"],
        "data": event["data"],
    }
