"""A column of raw JSON values in which few distinct values make up most.

Lists and objects in events repeat: the same client offers the same algorithms. Each distinct text
is looked at once. Not here: what a value must be to fit a field (`kinds`, `columns`).
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


class Interned:
    """A column of raw values.

    Attributes:
        distinct: the distinct JSON texts; some may stand in no row.
        index: for each row, the place of its text in `distinct`, -1 where the field was not sent
            (Int32).
    """

    __slots__ = ("distinct", "index")

    def __init__(self, length: int) -> None:
        self.distinct: list[str] = []
        self.index: NDArray[np.int32] = np.full(length, -1, dtype=np.int32)

    def add(self, rows: NDArray[np.int64], distinct: list[str], places: NDArray[np.int32]) -> None:
        """Set rows to texts.

        Args:
            rows: each at most once.
            distinct: the texts.
            places: (rows,), where in `distinct` each row's text is.
        """
        self.index[rows] = places + np.int32(len(self.distinct))
        self.distinct += distinct

    def sent(self) -> Iterator[tuple[int, int]]:
        """Rows in which the field was sent, and the places of their texts."""
        rows = np.flatnonzero(self.index >= 0)
        yield from zip(rows.tolist(), self.index[rows].tolist(), strict=True)
