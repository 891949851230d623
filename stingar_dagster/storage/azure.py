"""Azure Blob and Data Lake storage through adlfs, with compare-and-swap by etag."""

from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import ResourceExistsError, ResourceModifiedError

from stingar_dagster.errors import Conflict
from stingar_dagster.storage.base import ANY_VERSION, Expected
from stingar_dagster.storage.objects import ObjectStore


class AzureStore(ObjectStore):
    """A prefix of a container. Reads and writes go to the blob endpoint in single requests."""

    def write(self, path: str, data: bytes, expected: Expected = ANY_VERSION) -> None:
        # pipe_file commits all blocks or none; `with fs.open(...)` commits a part when it fails.
        options: dict[str, Any] = {}
        if expected is None:
            options = {"mode": "create"}
        elif expected is not ANY_VERSION:
            # RFC 9110 wants an entity tag in quotes; listings give it without, so entries do too.
            options = {"etag": f'"{expected}"', "match_condition": MatchConditions.IfNotModified}
        with self._clear_errors(path):
            try:
                self.fs.pipe_file(self._full(path), data, **options)
            except (FileExistsError, ResourceExistsError, ResourceModifiedError) as error:
                raise Conflict(f"{self.describe(path)} was replaced meanwhile") from error
