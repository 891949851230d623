"""Azure Blob and Data Lake storage through Azure's own client, with compare-and-swap by etag.

Not through fsspec's adlfs, which reads credentials from the environment by itself, so that two
stores can't have two; asks two to four times for what one request tells; and shows a container
that is not there as an empty one. Not here: addresses and credentials (`azure_access`), and what
is said of a failure (`azure_errors`).
"""

import contextlib
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.core.pipeline.transport import RequestsTransport
from azure.storage.blob import BlobPrefix, BlobProperties, ContainerClient, ExponentialRetry

from stingar_dagster.errors import Conflict, StoreUnavailable
from stingar_dagster.storage.azure_access import Access
from stingar_dagster.storage.azure_errors import Task, told
from stingar_dagster.storage.azure_listing import FOLDER_MARK, entries_in
from stingar_dagster.storage.base import ANY_VERSION, Entry, Expected, Version


class _Retries(ExponentialRetry):
    def increment(
        self,
        settings: dict[str, Any],
        request: Any,
        response: Any = None,
        error: AzureError | None = None,
    ) -> bool:
        # Who gets no token gets none a moment later; by default that took a minute to be said.
        if isinstance(error, ClientAuthenticationError):
            return False
        return super().increment(settings, request, response, error)


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

    def retries(self) -> ExponentialRetry:
        """The same as Azure's library takes it."""
        return _Retries(
            initial_backoff=self.wait,  # type: ignore[arg-type]
            increment_base=self.base,  # type: ignore[arg-type]
            random_jitter_range=self.jitter,  # type: ignore[arg-type]
            retry_total=self.tries - 1,
            retry_connect=self.tries - 1,
            retry_read=self.tries - 1,
            retry_status=self.tries - 1,
        )


PATIENCE: Final = Patience()

_CONNECTIONS_A_BLOB: Final = 4
"""For one that is large: up to 64 MB go up, and 32 MB come down, in one request."""


class AzureStore:
    """A folder of a container. Reads and writes go to the blob endpoint."""

    def __init__(self, access: Access, patience: Patience = PATIENCE) -> None:
        self.url = access.address
        self.access = access
        self._patience = patience
        self._transport = RequestsTransport(
            connection_timeout=patience.connect, read_timeout=patience.read
        )
        self.client = self._client()
        weakref.finalize(self, self._transport.close)
        self._inside = f"{access.folder}/" if access.folder else ""

    def read(self, path: str) -> bytes:
        with self._clear_errors(path, Task.READ):
            try:
                blob = self.client.download_blob(
                    self._inside + path, max_concurrency=_CONNECTIONS_A_BLOB
                )
                data: bytes = blob.readall()
            except ResourceModifiedError as error:
                # Between two of its parts: never old and new bytes mixed.
                raise Conflict(f"{self.describe(path)} was replaced while it was read") from error
            return data

    def etag(self, path: str) -> str | None:
        with self._clear_errors(path, Task.READ):
            try:
                found = self.client.get_blob_client(self._inside + path).get_blob_properties()
            except ResourceNotFoundError as error:
                if _is_blob_missing(error):
                    return None
                raise
            return None if _is_folder(found) else _etag(found)

    def write(self, path: str, data: bytes, expected: Expected = ANY_VERSION) -> None:
        options: dict[str, Any] = {"overwrite": True}
        if expected is None:
            options = {"overwrite": False}
        elif expected is not ANY_VERSION:
            options |= _if_still(expected)
        with self._clear_errors(path, Task.WRITE):
            try:
                # One request, or blocks that are committed together: whole or not at all.
                self.client.upload_blob(
                    self._inside + path, data, max_concurrency=_CONNECTIONS_A_BLOB, **options
                )
            except (ResourceExistsError, ResourceModifiedError) as error:
                raise Conflict(f"{self.describe(path)} was replaced meanwhile") from error

    def remove(self, path: str, expected: Version = ANY_VERSION) -> None:
        options = {} if expected is ANY_VERSION else _if_still(expected)
        with self._clear_errors(path, Task.REMOVE):
            try:
                self.client.delete_blob(self._inside + path, **options)
            except ResourceNotFoundError as error:
                if not _is_blob_missing(error):
                    raise
            except ResourceModifiedError as error:
                if self.etag(path) is None:
                    return  # a condition on what is not there fails, too
                raise Conflict(f"{self.describe(path)} was replaced meanwhile") from error

    def find(self, folder: str) -> list[Entry]:
        answers: list[Any] = []
        # The hook of a request is gone when it is tried again, that of a client stays.
        client = self._client(raw_response_hook=answers.append)
        with self._clear_errors(folder, Task.LIST):
            names = client.list_blob_names(
                name_starts_with=self._prefix(folder), include=["metadata"]
            )
            count = sum(1 for _ in names)
        responses = (answer.http_response for answer in answers)
        bodies = (response.body() for response in responses if response.status_code == 200)
        listed = [item for body in bodies for item in entries_in(body, self._inside)]
        if len(listed) != count:
            raise StoreUnavailable(
                f"{self.access.setting}: {self.describe(folder)}: {count} names were listed, and "
                f"{len(listed)} of them in full; run again"
            )
        return sorted(filter(None, listed), key=lambda entry: entry.path)

    def children(self, folder: str) -> tuple[list[str], list[Entry]]:
        prefix = self._prefix(folder)
        names: set[str] = set()
        entries = []
        with self._clear_errors(folder, Task.LIST):
            for item in self.client.walk_blobs(prefix, include=["metadata"], delimiter="/"):
                if isinstance(item, BlobPrefix) or _is_folder(item):
                    names.add(item.name.removeprefix(prefix or "").rstrip("/"))
                else:
                    entries.append(self._entry(item))
        return sorted(names), sorted(entries, key=lambda entry: entry.path)

    def describe(self, path: str) -> str:
        return f"{self.url.rstrip('/')}/{path}".rstrip("/")

    def _client(self, **options: Any) -> ContainerClient:
        """All clients of a store share their connections; a policy belongs to one of them."""
        return self.access.client(
            retry_policy=self._patience.retries(), transport=self._transport, **options
        )

    def _prefix(self, folder: str) -> str | None:
        inside = f"{folder.rstrip('/')}/" if folder else ""
        return self._inside + inside or None

    def _entry(self, blob: BlobProperties) -> Entry:
        md5 = blob.content_settings.content_md5
        return Entry(
            blob.name.removeprefix(self._inside),
            _etag(blob),
            blob.size,
            blob.last_modified,
            bytes(md5) if md5 else None,
        )

    @contextlib.contextmanager
    def _clear_errors(self, path: str, task: Task) -> Iterator[None]:
        try:
            yield
        except AzureError as error:
            if task is Task.READ and _is_blob_missing(error):
                raise FileNotFoundError(self.describe(path)) from error
            raise told(error, self.access, self.describe(path), task) from error


def _is_blob_missing(error: AzureError) -> bool:
    return getattr(error, "error_code", None) == "BlobNotFound"


def _is_folder(blob: BlobProperties) -> bool:
    metadata = {name.lower(): value for name, value in (blob.metadata or {}).items()}
    return metadata.get(FOLDER_MARK) == "true"


def _etag(blob: BlobProperties) -> str:
    return str(blob.etag).strip('"')


def _if_still(version: str) -> dict[str, Any]:
    # RFC 9110 wants an entity tag in quotes; listings give it without, so entries do too.
    return {"etag": f'"{version}"', "match_condition": MatchConditions.IfNotModified}
