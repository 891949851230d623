"""The interface of a store, and the values that pass through it.

Here: what every implementation promises. Not here: any implementation.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, Protocol


class _AnyVersion(Enum):
    ANY = "any"


ANY_VERSION: Final = _AnyVersion.ANY
"""Passed as `expected`: replace whatever is there."""

Version = str | _AnyVersion
"""The version that is to be removed: an etag, or ANY_VERSION."""

Expected = Version | None
"""The version a writer saw: an etag, None for "no such object", or ANY_VERSION."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One object in a listing.

    Attributes:
        path: relative to the store's root, with `/` between the parts.
        etag: changes whenever the object is replaced.
        size: in bytes.
        modified: when it was last replaced (UTC), where the store tells.
        md5: of the bytes it should have, where the store keeps one (Azure's Content-MD5).
    """

    path: str
    etag: str
    size: int
    modified: datetime | None
    md5: bytes | None = None


class Store(Protocol):
    """A folder of whole objects. Paths are relative to its root, with `/` between the parts.

    Every method raises StoreUnavailable (worth another try) or StoreDenied (not worth one), with
    a line that names the store and what to do.
    """

    url: str
    """The root as the operator wrote it: safe to print, credentials are never part of it."""

    def read(self, path: str) -> bytes:
        """The whole object.

        Raises:
            FileNotFoundError: there is none.
            Conflict: it was replaced while it was read, where the store reads large ones in parts.
        """

    def read_start(self, path: str, most: int) -> bytes:
        """The beginning of the object, so many bytes at most; all of a smaller one.

        Raises:
            FileNotFoundError: there is none.
        """

    def etag(self, path: str) -> str | None:
        """The object's version, None where there is none."""

    def write(self, path: str, data: bytes, expected: Expected = ANY_VERSION) -> None:
        """Put or replace the whole object.

        Raises:
            Conflict: the object's version is not the `expected` one any more.
        """

    def remove(self, path: str, expected: Version = ANY_VERSION) -> None:
        """Remove the object; nothing happens where there is none.

        Raises:
            Conflict: the object's version is not the `expected` one any more.
        """

    def find(self, folder: str) -> list[Entry]:
        """Every object below `folder`, sorted by path; empty where there is no such folder."""

    def children(self, folder: str) -> tuple[list[str], list[Entry]]:
        """The names of the folders directly in `folder`, and the objects directly in it."""

    def describe(self, path: str) -> str:
        """The object's full address, for links and messages."""
