"""Azure Blob and Data Lake storage through adlfs, with compare-and-swap by etag."""

import contextlib
from dataclasses import dataclass
from typing import Any, Final

from azure.core import MatchConditions
from azure.core.exceptions import (
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from fsspec.asyn import sync

from stingar_dagster.errors import Conflict
from stingar_dagster.storage.base import ANY_VERSION, Expected, Version
from stingar_dagster.storage.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request to Azure is waited for, in seconds.

    Azure's library tries a request again where the service did not answer or was busy. By default
    it waits 18 seconds before the first of these tries, which would stop a step for every request
    that a network drops. A request takes at most `tries` times the longer time-out, and the waits
    between them: with these numbers less than five minutes where the service accepts requests and
    never answers, less than one where nothing can be connected to.

    Attributes:
        connect: for a connection.
        read: for the next bytes of an answer.
        tries: of one request.
        wait, base, jitter: before further try n stand `wait` and `base` to the power of n, give or
            take `jitter`.
    """

    connect: float = 10
    read: float = 60
    tries: int = 4
    wait: float = 1
    base: float = 2
    jitter: float = 0.5


PATIENCE: Final = Patience()


class AzureStore(ObjectStore):
    """A prefix of a container. Reads and writes go to the blob endpoint in single requests."""

    waits = ()  # its library has tried again already

    def __init__(self, fs: Any, root: str, url: str, patience: Patience = PATIENCE) -> None:
        super().__init__(fs, root, url)
        # adlfs gives its client no options for this.
        config = fs.service_client._config
        retry = config.retry_policy
        retry.total_retries = patience.tries - 1
        retry.connect_retries = retry.read_retries = retry.status_retries = retry.total_retries
        retry.initial_backoff = patience.wait
        retry.increment_base = patience.base
        retry.random_jitter_range = patience.jitter
        # adlfs hands its own time-outs to uploads and downloads only, not to listings.
        config.transport.connection_config.timeout = patience.connect
        config.transport.connection_config.read_timeout = patience.read

    def write(self, path: str, data: bytes, expected: Expected = ANY_VERSION) -> None:
        # pipe_file commits all blocks or none; `with fs.open(...)` commits a part when it fails.
        options: dict[str, Any] = {}
        if expected is None:
            options = {"mode": "create"}
        elif expected is not ANY_VERSION:
            options = _if_still(expected)
        with self._clear_errors(path):
            try:
                self._put(path, data, **options)
            except (FileExistsError, ResourceExistsError, ResourceModifiedError) as error:
                raise Conflict(f"{self.describe(path)} was replaced meanwhile") from error

    def remove(self, path: str, expected: Version = ANY_VERSION) -> None:
        if expected is ANY_VERSION:
            super().remove(path)
            return
        with self._clear_errors(path):
            try:
                sync(self.fs.loop, self._delete, path, expected)
            except ResourceModifiedError as error:
                if self.etag(path) is None:
                    return  # a condition on what is not there fails, too
                raise Conflict(f"{self.describe(path)} was replaced meanwhile") from error

    async def _delete(self, path: str, expected: str) -> None:
        """adlfs deletes without a condition, so this asks its client."""
        container, blob, _ = self.fs.split_path(self._full(path))
        async with self.fs.service_client.get_blob_client(container=container, blob=blob) as client:
            with contextlib.suppress(ResourceNotFoundError):
                await client.delete_blob(**_if_still(expected))


def _if_still(version: str) -> dict[str, Any]:
    # RFC 9110 wants an entity tag in quotes; listings give it without, so entries do too.
    return {"etag": f'"{version}"', "match_condition": MatchConditions.IfNotModified}
