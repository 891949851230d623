"""Folders on a local disk: temporary name, flush, rename; versions compared under a file lock.

Temporary files and locks stand in one hidden folder at the root (`.stingar/`), never beside the
objects: readers glob the folders of published objects.
"""

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from stat import S_ISDIR
from typing import Final

from stingar_dagster.errors import Conflict, StoreDenied, StoreUnavailable
from stingar_dagster.storage.base import ANY_VERSION, Entry, Expected, Version

HIDDEN: Final = ".stingar"
_ATTEMPTS: Final = 50
ABANDONED_SECONDS: Final = 24 * 3600


class LocalStore:
    """A folder on this machine. It is made by the first write."""

    def __init__(self, root: Path, url: str) -> None:
        self.root = root
        self.url = url
        self._hidden = root / HIDDEN
        self._swept = False

    def read(self, path: str) -> bytes:
        with self._clear_errors(path):
            return (self.root / path).read_bytes()

    def read_start(self, path: str, most: int) -> bytes:
        with self._clear_errors(path), (self.root / path).open("rb") as file:
            return file.read(most)

    def etag(self, path: str) -> str | None:
        with self._clear_errors(path):
            try:
                stat = (self.root / path).stat()
            except (FileNotFoundError, NotADirectoryError):
                return None
            return None if S_ISDIR(stat.st_mode) else _etag(stat)

    def write(self, path: str, data: bytes, expected: Expected = ANY_VERSION) -> None:
        with self._clear_errors(path):
            target = self.root / path
            temporary = self._write_temporary(data)
            try:
                if expected is ANY_VERSION:
                    _rename(temporary, target)
                else:
                    with self._locked(path):
                        if self.etag(path) != expected:
                            raise Conflict(f"{self.describe(path)} was replaced meanwhile")
                        _rename(temporary, target)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise

    def remove(self, path: str, expected: Version = ANY_VERSION) -> None:
        with self._clear_errors(path):
            if expected is ANY_VERSION:
                (self.root / path).unlink(missing_ok=True)
            else:
                with self._locked(path):
                    if self.etag(path) not in (expected, None):
                        raise Conflict(f"{self.describe(path)} was replaced meanwhile")
                    (self.root / path).unlink(missing_ok=True)
            for folder in (self.root / path).parents:
                # rmdir refuses a folder that holds anything, so this removes empty ones only.
                if folder == self.root:
                    break
                try:
                    folder.rmdir()
                except OSError:
                    break

    def find(self, folder: str) -> list[Entry]:
        with self._clear_errors(folder):
            return sorted(self._walk(folder.rstrip("/")), key=lambda entry: entry.path)

    def children(self, folder: str) -> tuple[list[str], list[Entry]]:
        with self._clear_errors(folder):
            names: list[str] = []
            entries: list[Entry] = []
            for item in self._scan(folder.rstrip("/")):
                if item.is_dir():
                    names.append(item.name)
                else:
                    entries.extend(self._entry(item, folder.rstrip("/")))
            return sorted(names), sorted(entries, key=lambda entry: entry.path)

    def describe(self, path: str) -> str:
        return str(self.root / path)

    def _write_temporary(self, data: bytes) -> Path:
        folder = self._hidden / "writing"
        folder.mkdir(parents=True, exist_ok=True)
        if not self._swept:
            self._swept = True
            _sweep(folder)
        # Not tempfile: its files are private, and published objects are read by other accounts.
        temporary = folder / secrets.token_hex(16)
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                # Without this a power failure can leave the new name over missing bytes.
                os.fsync(file.fileno())
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        return temporary

    @contextlib.contextmanager
    def _locked(self, path: str) -> Iterator[None]:
        """Hold one of 256 lock files; the kernel frees it when the process dies."""
        folder = self._hidden / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / blake2b(path.encode(), digest_size=1).hexdigest()).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _walk(self, folder: str) -> Iterator[Entry]:
        for item in self._scan(folder):
            if item.is_dir():
                yield from self._walk(f"{folder}/{item.name}" if folder else item.name)
            else:
                yield from self._entry(item, folder)

    def _scan(self, folder: str) -> Iterator[os.DirEntry[str]]:
        try:
            with os.scandir(self.root / folder) as items:
                for item in items:
                    if folder or item.name != HIDDEN:
                        yield item
        except (FileNotFoundError, NotADirectoryError):
            return

    def _entry(self, item: os.DirEntry[str], folder: str) -> Iterator[Entry]:
        try:
            stat = item.stat()
        except FileNotFoundError:  # removed since the folder was listed
            return
        path = f"{folder}/{item.name}" if folder else item.name
        modified = datetime.fromtimestamp(stat.st_mtime, UTC)
        yield Entry(path, _etag(stat), stat.st_size, modified)

    @contextlib.contextmanager
    def _clear_errors(self, path: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError) as error:
            raise StoreDenied(
                f"{self.describe(path)}: {error.strerror}; check the folder and its owner"
            ) from error
        except OSError as error:
            raise StoreUnavailable(
                f"{self.describe(path)}: {error.strerror or error}; check the disk"
            ) from error


def _sweep(folder: Path) -> None:
    """Remove temporary files of processes that died: a living one renames its own in seconds."""
    cutoff = time.time() - ABANDONED_SECONDS
    for file in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            if file.stat().st_mtime < cutoff:
                file.unlink(missing_ok=True)


def _rename(temporary: Path, target: Path) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary.replace(target)
            return
        except (FileNotFoundError, FileExistsError):
            # A folder on the way was empty, and was removed in between.
            if attempt == _ATTEMPTS - 1:
                raise


def _etag(stat: os.stat_result) -> str:
    """A rename gives a new inode and a new time, a copy keeps neither."""
    return f"{stat.st_mtime_ns:x}-{stat.st_size:x}-{stat.st_ino:x}"
