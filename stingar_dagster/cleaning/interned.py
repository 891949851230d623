"""A column of raw JSON values in which few distinct values make up most.

Lists and objects in events repeat: the same client offers the same algorithms. Each distinct text
is looked at once. Not here: what a value must be to fit a field (`gate`, `columns`).
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

NOT_SENT: Final = msgspec.Raw()
"""Value of a raw field that a body does not have; compared by identity."""


class Interned:
    """A column of raw values.

    Attributes:
        distinct: the distinct JSON texts.
        index: for each row, the place of its text in `distinct`, -1 where the field was not sent.
    """

    __slots__ = ("_places", "index")

    def __init__(self, values: Sequence[msgspec.Raw]) -> None:
        self._places: dict[bytes, int] = {}
        places = self._places
        if not values or (values[0] is NOT_SENT and values.count(NOT_SENT) == len(values)):
            self.index = [-1] * len(values)
            return
        self.index = [
            -1 if value is NOT_SENT else places.setdefault(bytes(value), len(places))
            for value in values
        ]

    def extend_from(self, other: "Interned") -> None:
        """Append another column's rows."""
        if not self._places and not other.distinct:
            self.index += other.index
            return
        moved = [self._places.setdefault(text, len(self._places)) for text in other.distinct]
        self.index += [moved[place] if place >= 0 else -1 for place in other.index]

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only these rows, and the texts that stand in one of them."""
        texts, places = self.distinct, dict[bytes, int]()
        self.index = [
            -1 if self.index[row] < 0 else places.setdefault(texts[self.index[row]], len(places))
            for row in rows
        ]
        self._places = places

    @property
    def distinct(self) -> list[bytes]:
        return list(self._places)

    def spread(self, values: Iterable[Any], missing: Any) -> NDArray[Any]:
        """A value for each row, from one for each distinct text and one for "not sent"."""
        return np.array([*values, missing])[self.index]
