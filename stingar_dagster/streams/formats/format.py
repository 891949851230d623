"""What a text format has to tell the engine.

Not here: any format.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import polars as pl

ORIGINAL_BODY: Final = "original_body"
"""Key in `extra` that keeps a body, or the line of one, whose text had to be changed to be read."""


@dataclass(frozen=True, slots=True)
class Objects:
    """What lines of one format came to.

    Attributes:
        json: for each line its JSON object, without a line's end in it; null where there is none.
        unfit: for each of the latter, by position, what is wrong; never text of the line.
    """

    json: pl.Series
    unfit: Mapping[int, str]


class TextFormat(Protocol):
    """A format of log lines; a line is text in UTF-8 without its end."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def header_mark(self) -> str:
        """How lines begin that are no events, but say how those below them are to be read; empty
        where there are none."""

    def claims(self, lines: pl.Series) -> pl.Series:
        """Which lines (String) look like the format's (Boolean): those that don't are left to
        other formats, of those that do it says what is wrong."""

    def objects(self, lines: pl.Series, header: Sequence[str]) -> Objects:
        """Read lines that it claims.

        Args:
            lines: at least one.
            header: the lines of the header above them in their body; without any: none.
        """
