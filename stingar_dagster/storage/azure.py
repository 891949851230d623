"""Azure Blob and Data Lake storage through adlfs, with compare-and-swap by etag.

What adlfs has no words for is asked of its client: a condition on a removal, and whether it is the
blob or its container that is not there. Not here: addresses and credentials (`azure_access`), and
what is said of a failure (`azure_errors`).
"""

import contextlib
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any, Final

from adlfs import AzureBlobFileSystem
from azure.core import MatchConditions
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.core.pipeline.transport import AsyncioRequestsTransport
from azure.storage.blob import BlobProperties
from azure.storage.blob.aio import BlobPrefix, BlobServiceClient, ContainerClient, ExponentialRetry
from fsspec.asyn import sync

from stingar_dagster.errors import Conflict, StingarError, StoreUnavailable
from stingar_dagster.storage.azure_access import Access
from stingar_dagster.storage.azure_errors import Task, told
from stingar_dagster.storage.azure_listing import FOLDER_MARK, entries_in
from stingar_dagster.storage.base import ANY_VERSION, Entry, Expected, Version
from stingar_dagster.storage.patience import PATIENCE, Patience

_UPLOADS: Final = 4
"""Blocks at a time of a blob that is large: up to 64 MB go up in one request."""
_PIECE: Final = 32 * 2**20
"""Bytes that come down in one request."""


class Retries(ExponentialRetry):
    """Patience as Azure's library takes it."""

    def __init__(self, patience: Patience) -> None:
        super().__init__(
            initial_backoff=patience.wait,  # type: ignore[arg-type]
            increment_base=patience.base,  # type: ignore[arg-type]
            random_jitter_range=patience.jitter,  # type: ignore[arg-type]
            retry_total=patience.tries - 1,
            retry_connect=patience.tries - 1,
            retry_read=patience.tries - 1,
            retry_status=patience.tries - 1,
        )

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


class _FileSystem(AzureBlobFileSystem):  # type: ignore[misc]
    """adlfs with the endpoint and the credential of one store.

    By itself it takes what the environment holds before what it is given, so that two stores could
    not have two credentials.

    Args:
        access: whose account, and as whom.
        patience: with every request.
        fingerprint: of the credential. fsspec keeps a file system for what it was made of, as text,
            for as long as the process lives, and with it its connections: a sensor that opens its
            stores every few seconds gets the same one, until somebody renews the credential.
    """

    def __init__(self, access: Access, patience: Patience, fingerprint: str) -> None:
        self._access, self._patience = access, patience
        # It would look for a credential, and serve stale listings and sizes.
        super().__init__(anon=True, max_concurrency=_UPLOADS, use_listings_cache=False)

    def do_connect(self) -> None:
        # Proxies and certificates as every other program here finds them.
        self._transport = AsyncioRequestsTransport(
            connection_timeout=self._patience.connect, read_timeout=self._patience.read
        )
        self.service_client = self.client()

    def client(self, **options: Any) -> BlobServiceClient:
        """All clients of a store share their connections; a policy belongs to one of them."""
        pieces = {"max_single_get_size": _PIECE, "max_chunk_get_size": _PIECE}
        return self._access.client(
            retry_policy=Retries(self._patience), transport=self._transport, **(pieces | options)
        )


class AzureStore:
    """A folder of a container. Reads and writes go to the blob endpoint."""

    def __init__(self, access: Access, patience: Patience = PATIENCE) -> None:
        self.url = access.address
        self.access = access
        self.fs = _FileSystem(access, patience, access.fingerprint)
        self._inside = f"{access.folder}/" if access.folder else ""

    def read(self, path: str) -> bytes:
        return self._read(path)

    def read_start(self, path: str, most: int) -> bytes:
        return self._read(path, start=0, end=most)

    def _read(self, path: str, **part: int) -> bytes:
        with self._clear_errors(path, Task.READ):
            try:
                # Not open(): a blob replaced while it is read would give old and new bytes mixed.
                # One piece at a time: of several that fail, Azure's library looks after the first
                # only, and leaves the others' connections open.
                data: bytes = self.fs.cat_file(self._full(path), max_concurrency=1, **part)
            except ResourceModifiedError as error:
                raise Conflict(f"{self.describe(path)} was replaced while it was read") from error
            except HttpResponseError as error:
                if part and error.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    return b""  # it is empty, and a part of it can't be asked for
                raise
            return data

    def etag(self, path: str) -> str | None:
        with self._clear_errors(path, Task.READ):
            try:
                found: BlobProperties = sync(self.fs.loop, self._properties, path)
            except ResourceNotFoundError as error:
                if _is_blob_missing(error):
                    return None
                raise
            return None if _is_folder(found) else _etag(found)

    def write(self, path: str, data: bytes, expected: Expected = ANY_VERSION) -> None:
        options: dict[str, Any] = {}
        if expected is None:
            options = {"mode": "create"}
        elif expected is not ANY_VERSION:
            options = _if_still(expected)
        with self._clear_errors(path, Task.WRITE):
            try:
                # One request, or blocks that are committed together: whole or not at all. A file
                # that is opened for writing commits a part when it fails.
                self.fs.pipe_file(self._full(path), data, **options)
            except (FileExistsError, ResourceExistsError, ResourceModifiedError) as error:
                raise Conflict(f"{self.describe(path)} was replaced meanwhile") from error
            except HttpResponseError as error:
                # Who may create and not replace is told so where something is there already.
                if error.status_code == 403 and expected is None and self._is_there(path):
                    raise Conflict(f"{self.describe(path)} is there already") from error
                raise

    def remove(self, path: str, expected: Version = ANY_VERSION) -> None:
        options = {} if expected is ANY_VERSION else _if_still(expected)
        with self._clear_errors(path, Task.REMOVE):
            try:
                sync(self.fs.loop, self._delete, path, options)
            except ResourceNotFoundError as error:
                if not _is_blob_missing(error):
                    raise
            except ResourceModifiedError as error:
                if self.etag(path) is None:
                    return  # a condition on what is not there fails, too
                raise Conflict(f"{self.describe(path)} was replaced meanwhile") from error

    def find(self, folder: str) -> list[Entry]:
        answers: list[Any] = []
        with self._clear_errors(folder, Task.LIST):
            count = sync(self.fs.loop, self._names_in, folder, answers.append)
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
            items = sync(self.fs.loop, self._level, prefix)
        for item in items:
            if isinstance(item, BlobPrefix) or _is_folder(item):
                names.add(item.name.removeprefix(prefix or "").rstrip("/"))
            else:
                entries.append(self._entry(item))
        return sorted(names), sorted(entries, key=lambda entry: entry.path)

    def _is_there(self, path: str) -> bool:
        try:
            return self.etag(path) is not None
        except StingarError:
            return False

    def describe(self, path: str) -> str:
        return f"{self.url.rstrip('/')}/{path}".rstrip("/")

    # adlfs makes an object of several requests of each of these, or hides what was refused.

    async def _properties(self, path: str) -> BlobProperties:
        return await self._container.get_blob_client(self._inside + path).get_blob_properties()

    async def _delete(self, path: str, options: dict[str, Any]) -> None:
        await self._container.delete_blob(self._inside + path, **options)

    async def _names_in(self, folder: str, hook: Callable[[Any], None]) -> int:
        """How many names there are below a folder; the hook gets every answer that tells them."""
        # The hook of a request is gone when it is tried again, that of a client stays.
        client = self.fs.client(raw_response_hook=hook)
        names = client.get_container_client(self.access.container).list_blob_names(
            name_starts_with=self._prefix(folder), include=["metadata"]
        )
        return len([name async for name in names])

    async def _level(self, prefix: str | None) -> list[BlobProperties | BlobPrefix]:
        walked = self._container.walk_blobs(prefix, include=["metadata"], delimiter="/")
        return [item async for item in walked]

    @property
    def _container(self) -> ContainerClient:
        return self.fs.service_client.get_container_client(self.access.container)

    def _full(self, path: str) -> str:
        return f"{self.access.container}/{self._inside}{path}"

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
        except (AzureError, FileNotFoundError) as raised:
            error = raised.__cause__ if isinstance(raised, FileNotFoundError) else raised
            if not isinstance(error, AzureError):
                raise
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
