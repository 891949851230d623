"""The declaration of a daily table that joins a stream with another: who looked up what the other
stream has seen.

Here: what such a table is told of both streams, and the columns that every one has. Not here: which
streams join (their modules), how a day's is made (`lake.joined`), and tables of one stream alone
(`tables`).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import polars as pl

from stingar_dagster.streams.tables import Recount, TableColumn

TEXT, COUNT, TEXTS = pl.String(), pl.Int64(), pl.List(pl.String())

MOST_SENSORS: Final = 20
"""Sensors that a row names."""
LONGEST: Final = 255
"""Characters of an example: senders choose them."""


@dataclass(frozen=True, slots=True)
class Indicators:
    """What another stream's daily table names that may be looked up.

    The table has the columns `events`, `sensors`, `first_seen` and `last_seen`.

    Attributes:
        stream, table: whose.
        column: of the table, with texts that hold an indicator.
        of: the indicator that a text holds, as `lookups.looked_up`; None where it holds none.
        seen_as: what a row says that the other stream saw it as.
        counted_as: the joined table's column in which the other's `events` are added up.
        is_example: whether the text itself is shown, as what was seen.
    """

    stream: str
    table: str
    column: str
    of: Callable[[str], str | None]
    seen_as: str
    counted_as: str
    is_example: bool = False


OtherRow = tuple[str, str, Mapping[str, Any]]
"""Stream and table that a row of another stream stands in, and its line as plain JSON values."""


@dataclass(frozen=True, slots=True)
class JoinedTable:
    """One daily table that joins.

    Attributes:
        name: the asset's and the folder's name, `daily_...`.
        meaning: what a row is, in an analyst's words.
        who: the stream's column with who looked up (String).
        asked: its column with the name that was asked for (String).
        answered: its column with what was answered (List(String)).
        through: its column with whom was asked (String).
        indicators: what is looked for, the most telling first.
        days_before: on how many days before the day itself, too, the other stream is looked at.
        meanings: of each column of `columns`, by name.
        most_of_one: of how many of those who looked up one indicator rows are told.
        most_found: how many of the indicators that were looked up on a day are looked into.
        most_sought: how many indicators are looked for.
        most: rows told in all.
        recount: starts a count of the same table that shares nothing with how it is made, from the
            rows of the other streams' tables, of the day and the days before.
        revision: raised with every release that makes rows otherwise.
    """

    name: str
    meaning: str
    who: str
    asked: str
    answered: str
    through: str
    indicators: tuple[Indicators, ...]
    days_before: int
    meanings: Mapping[str, str]
    recount: Callable[[Iterable[OtherRow]], Recount]
    most_of_one: int = 100
    most_found: int = 2_000
    most_sought: int = 200_000
    most: int = 10_000
    revision: int = 1

    def __post_init__(self) -> None:
        if self.meanings.keys() != self.schema.keys():
            raise ValueError(f"{self.name}: meanings are not those of its columns")

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Every published column, in order."""
        counted = {item.counted_as: COUNT for item in self.indicators}
        return {
            self.who: TEXT,
            "indicator": TEXT,
            "seen_as": TEXTS,
            "found_in": TEXTS,
            "queries": COUNT,
            "first_query": TEXT,
            "last_query": TEXT,
            "example_name": TEXT,
            "example_answer": TEXT,
            "unique_resolvers": COUNT,
            "unique_clients": COUNT,
            **counted,
            "unique_sensors": COUNT,
            "sensors": TEXTS,
            "first_seen": TEXT,
            "last_seen": TEXT,
            "example_seen": TEXT,
            "indicators": COUNT,
        }

    @property
    def columns(self) -> tuple[TableColumn, ...]:
        return tuple(
            TableColumn(name, dtype, self.meanings[name]) for name, dtype in self.schema.items()
        )

    @property
    def form(self) -> str:
        """A digest of what readers are told of the columns, and the revision, as `DailyTable.form`;
        and of the bounds, so that a day is made again where they are others."""
        told = [f"{c.name} {c.dtype} {c.meaning}" for c in self.columns]
        bounds = (self.days_before, self.most_of_one, self.most_found, self.most_sought, self.most)
        text = "\n".join([*told, f"revision {self.revision} {bounds}"])
        return blake2b(text.encode(), digest_size=8).hexdigest()

    @property
    def others(self) -> tuple[tuple[str, str], ...]:
        """The other streams' tables, each once: stream and table."""
        return tuple(dict.fromkeys((item.stream, item.table) for item in self.indicators))

    @property
    def gap(self) -> None:
        """As `DailyTable.gap`: rows are few."""
        return None

    @property
    def quarantine_column(self) -> None:
        """As `DailyTable.quarantine_column`: quarantined events are not counted."""
        return None
