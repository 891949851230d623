"""Every fsspec store that is not a local folder: S3, Google Cloud Storage, memory, and so on.

fsspec has no conditional write that works everywhere, so the version is compared just before the
write: enough where one run of a partition goes at a time, which Dagster's run queue sees to. Not
here: Azure, which gets the real thing (`azure`).
"""

import contextlib
import errno
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from stingar_dagster.errors import Conflict, StoreDenied, StoreUnavailable
from stingar_dagster.storage.base import ANY_VERSION, Entry, Expected, Version

_DENIED: Final = ("Authentication", "Authorization", "Permission", "Forbidden")
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

T = TypeVar("T")


class ObjectStore:
    """A prefix of an fsspec file system.

    `fs` must be made with its listings cache off: a stale listing hides captures.

    Attributes:
        waits: seconds before each further try of a read or listing that the store did not answer.
            Writes are not tried again: their step is, which looks first at what became of them.
    """

    waits: tuple[float, ...] = (0.2, 1.0)

    def __init__(self, fs: Any, root: str, url: str) -> None:
        self.fs = fs
        self.root = root.rstrip("/")
        self.url = url

    def read(self, path: str) -> bytes:
        # Not open(): a file replaced while it is read would give old and new bytes mixed.
        data: bytes = self._asked(path, lambda: self.fs.cat_file(self._full(path)))
        return data

    def read_start(self, path: str, most: int) -> bytes:
        full = self._full(path)
        data: bytes = self._asked(path, lambda: self.fs.cat_file(full, start=0, end=most))
        return data

    def etag(self, path: str) -> str | None:
        try:
            info = self._asked(path, lambda: self.fs.info(self._full(path)))
        except FileNotFoundError:
            return None
        return None if info["type"] == "directory" else _etag(info)

    def write(self, path: str, data: bytes, expected: Expected = ANY_VERSION) -> None:
        if expected is not ANY_VERSION and self.etag(path) != expected:
            raise Conflict(f"{self.describe(path)} was replaced meanwhile")
        with self._clear_errors(path):
            self._put(path, data)

    def remove(self, path: str, expected: Version = ANY_VERSION) -> None:
        with self._clear_errors(path), contextlib.suppress(FileNotFoundError):
            if expected is not ANY_VERSION and self.etag(path) not in (expected, None):
                raise Conflict(f"{self.describe(path)} was replaced meanwhile")
            self.fs.rm_file(self._full(path))

    def find(self, folder: str) -> list[Entry]:
        try:
            found = self._asked(folder, lambda: self.fs.find(self._full(folder), detail=True))
        except FileNotFoundError:
            return []
        entries = (self._entry(info) for info in found.values() if info["type"] == "file")
        return sorted(entries, key=lambda entry: entry.path)

    def children(self, folder: str) -> tuple[list[str], list[Entry]]:
        try:
            listed = self._asked(folder, lambda: self._listed(folder))
        except FileNotFoundError:
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

    def _asked(self, path: str, ask: Callable[[], T]) -> T:
        """The answer to a read or listing, tried again a few times where there is none."""
        for wait in self.waits:
            try:
                with self._clear_errors(path):
                    return ask()
            except StoreUnavailable:
                time.sleep(wait)
        with self._clear_errors(path):
            return ask()

    def _listed(self, folder: str) -> list[dict[str, Any]]:
        try:
            listed: list[dict[str, Any]] = self.fs.ls(self._full(folder), detail=True)
        except NotADirectoryError:
            return []
        return listed

    def _put(self, path: str, data: bytes, **options: Any) -> None:
        try:
            self.fs.pipe_file(self._full(path), data, **options)
        except FileNotFoundError as error:
            # Folders need not be there to be written to, so it is the root that is missing.
            raise StoreDenied(
                f"{self.describe(path)}: can't be written, there is no such bucket or container; "
                "check the address"
            ) from error

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
            if isinstance(error, OSError) and error.errno in _FULL:
                raise StoreUnavailable(
                    f"{self.describe(path)}: {os.strerror(error.errno)}; "
                    "make room there, then run again"
                ) from error
            cause = type(error.__cause__).__name__ if error.__cause__ else ""
            name = " / ".join(part for part in (kinds[0], cause) if part)
            if isinstance(error, ValueError | TypeError | KeyError) or any(
                word in text for word in _DENIED for text in (*kinds, cause)
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
