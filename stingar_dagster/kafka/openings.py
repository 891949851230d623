"""What instances of `stingar capture` agree on before they write: one small object a partition.

It names the window that is open, and is replaced by compare-and-swap when the next one opens. It
stands in the lake, not in landing, whose objects may be immutable. Landing stays the truth about
what was captured: without this object a single instance goes on as well, under a new name.

It is replaced only once landing has a capture of its name, if need be an empty one: who still holds
that window, however long it was stopped, then finds the name taken and writes nothing.

Not here: when a window opens and what it is called (`windows`).
"""

from datetime import UTC, datetime

import msgspec

from stingar_dagster.errors import Conflict, UnknownFormat
from stingar_dagster.kafka.windows import Opening
from stingar_dagster.storage import Store

FORMAT = 1
"""Raised when the meaning of the object changes; a newer one is refused."""


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    format: int = FORMAT
    first: int
    start: int


class Openings:
    """The opening of one partition.

    Args:
        store: of the lake.
        path: of the object.
    """

    def __init__(self, store: Store, path: str) -> None:
        self._store = store
        self._path = path

    @property
    def address(self) -> str:
        """Of the object, for messages."""
        return self._store.describe(self._path)

    def read(self) -> tuple[Opening | None, str | None]:
        """The opening and its version; None where no window was opened yet.

        Raises:
            UnknownFormat: a newer release wrote it, or it is no opening.
        """
        version = self._store.etag(self._path)
        if version is None:
            return None, None
        place = self.address
        try:
            stored = msgspec.json.decode(self._store.read(self._path), type=_Stored)
            start = datetime.fromtimestamp(stored.start, UTC)
        except FileNotFoundError:
            return None, None
        except (msgspec.DecodeError, ValueError, OverflowError, OSError) as error:
            raise UnknownFormat(
                f"{place} is not what `stingar capture` writes ({error}); move it away"
            ) from error
        if stored.format > FORMAT:
            raise UnknownFormat(f"{place} was written by a newer release; upgrade this one")
        return Opening(stored.first, start), version

    def replace(self, opening: Opening, version: str | None) -> bool:
        """Make it this one if it is still of that version; False where another instance was first.

        Raises:
            StoreUnavailable, StoreDenied: the lake can't be written.
        """
        stored = _Stored(first=opening.first, start=int(opening.start.timestamp()))
        try:
            self._store.write(self._path, msgspec.json.encode(stored), expected=version)
        except Conflict:
            return False
        return True
