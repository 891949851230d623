"""A store that changes nothing: what is written to it stays in memory, over another store.

For doing a step again to see whether it comes to the same bytes. Of what is written only
differences are kept, so doing everything again takes no more memory than what differs.
"""

from datetime import UTC, datetime
from hashlib import blake2b

from stingar_dagster.errors import Conflict
from stingar_dagster.storage.base import ANY_VERSION, Entry, Expected, Store, Version


class OverlayStore:
    """The objects of `base`, and what was written and removed since.

    Attributes:
        differences: by path, the bytes that were written where `base` has others; None: removed.
    """

    def __init__(self, base: Store) -> None:
        self._base = base
        self.url = base.url
        self.differences: dict[str, bytes | None] = {}

    def read(self, path: str) -> bytes:
        if path not in self.differences:
            return self._base.read(path)
        data = self.differences[path]
        if data is None:
            raise FileNotFoundError(path)
        return data

    def read_start(self, path: str, most: int) -> bytes:
        if path not in self.differences:
            return self._base.read_start(path, most)
        return self.read(path)[:most]

    def etag(self, path: str) -> str | None:
        if path not in self.differences:
            return self._base.etag(path)
        data = self.differences[path]
        return None if data is None else _etag(data)

    def write(self, path: str, data: bytes, expected: Expected = ANY_VERSION) -> None:
        if expected is not ANY_VERSION and self.etag(path) != expected:
            raise Conflict(f"{self.describe(path)} was replaced meanwhile")
        try:
            same = self._base.read(path) == data
        except FileNotFoundError:
            same = False
        if same:
            self.differences.pop(path, None)
        else:
            self.differences[path] = data

    def remove(self, path: str, expected: Version = ANY_VERSION) -> None:
        current = self.etag(path)
        if expected is not ANY_VERSION and current not in (expected, None):
            raise Conflict(f"{self.describe(path)} was replaced meanwhile")
        if self._base.etag(path) is None:
            self.differences.pop(path, None)
        else:
            self.differences[path] = None

    def find(self, folder: str) -> list[Entry]:
        inside = f"{folder.rstrip('/')}/" if folder else ""
        found = {entry.path: entry for entry in self._base.find(folder)}
        for path, data in self.differences.items():
            if path.startswith(inside):
                found.pop(path, None)
                if data is not None:
                    found[path] = Entry(path, _etag(data), len(data), datetime.now(UTC))
        return [found[path] for path in sorted(found)]

    def children(self, folder: str) -> tuple[list[str], list[Entry]]:
        inside = f"{folder.rstrip('/')}/" if folder else ""
        names, entries = set(), []
        for entry in self.find(folder):
            first, separator, _ = entry.path.removeprefix(inside).partition("/")
            if separator:
                names.add(first)
            else:
                entries.append(entry)
        return sorted(names), entries

    def describe(self, path: str) -> str:
        return self._base.describe(path)


def _etag(data: bytes) -> str:
    return f"overlay-{blake2b(data, digest_size=8).hexdigest()}"
