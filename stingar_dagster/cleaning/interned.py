"""A column of raw JSON values in which few distinct values make up most.

Lists and objects in events repeat: the same client offers the same algorithms. Each distinct text
is looked at once. Not here: what a value must be to fit a field (`gate`, `columns`).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

NOT_SENT: Final = msgspec.Raw()
"""Value of a raw field that a body does not have; compared by identity."""


class Interned:
    """A column of raw values.

    Attributes:
        index: for each row, the place of its text in `distinct`, -1 where the field was not sent
            (Int32).
    """

    __slots__ = ("_places", "index")

    def __init__(self, values: Sequence[msgspec.Raw]) -> None:
        self._places: dict[bytes, int] = {}
        self.index: NDArray[np.int32] = np.full(len(values), -1, dtype=np.int32)
        if not values or (values[0] is NOT_SENT and values.count(NOT_SENT) == len(values)):
            return
        places = self._places
        self.index[:] = [
            -1 if value is NOT_SENT else places.setdefault(bytes(value), len(places))
            for value in values
        ]

    @property
    def distinct(self) -> list[bytes]:
        """The distinct JSON texts."""
        return list(self._places)

    def extend_from(self, other: "Interned") -> None:
        """Append another column's rows."""
        moved = [self._places.setdefault(text, len(self._places)) for text in other.distinct]
        renamed = np.array([*moved, -1], dtype=np.int32)[other.index]
        self.index = np.concatenate([self.index, renamed])

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only these rows, and the texts that stand in one of them."""
        kept = self.index[np.asarray(rows, dtype=np.int64)]
        used = np.unique(kept[kept >= 0])
        texts = self.distinct
        self._places = {texts[place]: new for new, place in enumerate(used.tolist())}
        self.index = np.where(kept < 0, -1, np.searchsorted(used, kept)).astype(np.int32)

    def spread(self, values: Iterable[Any], missing: Any) -> NDArray[Any]:
        """A value for each row, from one for each distinct text and one for "not sent"."""
        return np.array([*values, missing])[self.index]

    def sent(self) -> Iterator[tuple[int, int]]:
        """Rows in which the field was sent, and the places of their texts."""
        rows = np.flatnonzero(self.index >= 0)
        yield from zip(rows.tolist(), self.index[rows].tolist(), strict=True)
