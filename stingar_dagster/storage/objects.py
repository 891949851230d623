"""Every fsspec store that is not a local folder: S3, Google Cloud Storage, memory, and so on.

fsspec has no conditional write that works everywhere, so the version is compared just before the
write: enough where one run of a partition goes at a time, which Dagster's run queue sees to. Azure
gets the real thing in `azure`.
"""

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

from stingar_dagster.errors import Conflict, StoreDenied, StoreUnavailable
from stingar_dagster.storage.base import ANY_VERSION, Entry, Expected, Version

_DENIED: Final = ("Authentication", "Authorization", "Permission", "Forbidden", "ContainerNotFound")


class ObjectStore:
    """A prefix of an fsspec file system.

    `fs` must be made with its listings cache off: a stale listing hides captures, and adlfs
    serves stale sizes from it.
    """

    def __init__(self, fs: Any, root: str, url: str) -> None:
        self.fs = fs
        self.root = root.rstrip("/")
        self.url = url

    def read(self, path: str) -> bytes:
        with self._clear_errors(path):
            # Not open(): a file replaced while it is read would give old and new bytes mixed.
            data: bytes = self.fs.cat_file(self._full(path))
            return data

    def etag(self, path: str) -> str | None:
        with self._clear_errors(path):
            try:
                info = self.fs.info(self._full(path))
            except FileNotFoundError:
                return None
            return None if info["type"] == "directory" else _etag(info)

    def write(self, path: str, data: bytes, expected: Expected = ANY_VERSION) -> None:
        with self._clear_errors(path):
            if expected is not ANY_VERSION and self.etag(path) != expected:
                raise Conflict(f"{self.describe(path)} was replaced meanwhile")
            self.fs.pipe_file(self._full(path), data)

    def remove(self, path: str, expected: Version = ANY_VERSION) -> None:
        with self._clear_errors(path), contextlib.suppress(FileNotFoundError):
            if expected is not ANY_VERSION and self.etag(path) not in (expected, None):
                raise Conflict(f"{self.describe(path)} was replaced meanwhile")
            self.fs.rm_file(self._full(path))

    def find(self, folder: str) -> list[Entry]:
        with self._clear_errors(folder):
            try:
                found = self.fs.find(self._full(folder), detail=True)
            except FileNotFoundError:
                return []
            entries = (self._entry(info) for info in found.values() if info["type"] == "file")
            return sorted(entries, key=lambda entry: entry.path)

    def children(self, folder: str) -> tuple[list[str], list[Entry]]:
        with self._clear_errors(folder):
            try:
                listed = self.fs.ls(self._full(folder), detail=True)
            except (FileNotFoundError, NotADirectoryError):
                return [], []
            names = sorted(
                info["name"].rstrip("/").rsplit("/", 1)[-1]
                for info in listed
                if info["type"] == "directory"
            )
            entries = [self._entry(info) for info in listed if info["type"] == "file"]
            return names, sorted(entries, key=lambda entry: entry.path)

    def describe(self, path: str) -> str:
        return f"{self.url.rstrip('/')}/{path}"

    def _full(self, path: str) -> str:
        return f"{self.root}/{path}".rstrip("/")

    def _entry(self, info: dict[str, Any]) -> Entry:
        path = str(info["name"]).removeprefix(self.root).lstrip("/")
        return Entry(path, _etag(info), int(info.get("size") or 0), _modified(info))

    @contextlib.contextmanager
    def _clear_errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, Conflict, StoreDenied, StoreUnavailable):
            raise
        except Exception as error:
            # Stores raise their own classes, many not OSErrors; names are what they share. The
            # text of an error may quote a request with its signature: only its class is printed.
            kinds = [kind.__name__ for kind in type(error).__mro__]
            cause = type(error.__cause__).__name__ if error.__cause__ else ""
            code = getattr(error, "error_code", "") or ""
            code = str(getattr(code, "value", code))  # Azure's codes are an enumeration
            name = " / ".join(part for part in (kinds[0], cause, code) if part)
            if isinstance(error, ValueError | TypeError | KeyError) or any(
                word in text for word in _DENIED for text in (*kinds, cause, code)
            ):
                raise StoreDenied(
                    f"{self.describe(path)}: refused ({name}); "
                    "check the address, the container, the credential and its role"
                ) from error
            raise StoreUnavailable(
                f"{self.describe(path)}: not reachable ({name}); "
                "check the address and the network, then run again"
            ) from error


def _etag(info: dict[str, Any]) -> str:
    for key in ("etag", "ETag"):
        if info.get(key):
            return str(info[key]).strip('"')
    when = _modified(info)
    return f"{when.timestamp() if when else 0:.6f}-{info.get('size') or 0:x}"


def _modified(info: dict[str, Any]) -> datetime | None:
    for key in ("last_modified", "LastModified", "mtime", "updated", "created"):
        value = info.get(key)
        if isinstance(value, datetime):
            return value if value.tzinfo else value.replace(tzinfo=UTC)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value, UTC)
    return None
