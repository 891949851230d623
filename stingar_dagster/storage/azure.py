"""Azure Blob and Data Lake storage through adlfs, with compare-and-swap by etag."""

import contextlib
from typing import Any

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


class AzureStore(ObjectStore):
    """A prefix of a container. Reads and writes go to the blob endpoint in single requests."""

    def write(self, path: str, data: bytes, expected: Expected = ANY_VERSION) -> None:
        # pipe_file commits all blocks or none; `with fs.open(...)` commits a part when it fails.
        options: dict[str, Any] = {}
        if expected is None:
            options = {"mode": "create"}
        elif expected is not ANY_VERSION:
            options = _if_still(expected)
        with self._clear_errors(path):
            try:
                self.fs.pipe_file(self._full(path), data, **options)
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
