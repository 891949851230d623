"""What landed, by landed hour: figures of the ledgers of the last weeks.

Not here: how it is judged (`gaps`, `quarantine`, `freshness`, `volume`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import polars as pl

from stingar_dagster.health.kept import kept
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.ledger import LedgerLine, read_ledger
from stingar_dagster.lake.sequences import Run, runs_of

RUN: Final = pl.Struct(
    {
        "source": pl.String(),
        "first": pl.Int64(),
        "last": pl.Int64(),
        "damaged": pl.Boolean(),
    }
)
REPEAT: Final = pl.Struct(
    {"source": pl.String(), "events": pl.Int64(), "one": pl.String(), "other": pl.String()}
)
SCHEMA: Final[dict[str, pl.DataType]] = {
    "captures": pl.Int64(),
    "events": pl.Int64(),
    "cleaned": pl.Int64(),
    "quarantined": pl.Int64(),
    "last_enqueued_at": pl.String(),
    "runs": pl.List(RUN),
    "repeats": pl.List(REPEAT),
}
"""Besides `KEYS`; `runs` are unbroken runs of sequence numbers of a partition, as `runs_of` orders
them, and `repeats` how many were captured twice, with two captures that both hold some."""

_MOST_REPEATS: Final = 20


def landings(lake: Lake, days: Iterable[datetime]) -> pl.DataFrame:
    """A row for each landed hour of some days."""
    folders = [lake.layout.ledgers_of(day) for day in days]

    def gather(hour: datetime) -> dict[str, Any]:
        return figures(hour, read_ledger(lake.store, lake.layout, hour).lines.values())

    return kept(lake, "landings-2.parquet", SCHEMA, folders, gather)


def figures(hour: datetime, lines: Iterable[LedgerLine]) -> dict[str, Any]:
    """One landed hour's figures."""
    lines = list(lines)
    runs, repeats = runs_of(hour, lines)
    repeats.sort(key=lambda repeat: -repeat.events)
    enqueued = [line.last_enqueued_at for line in lines if line.last_enqueued_at]
    return {
        "captures": len(lines),
        "events": sum(line.events for line in lines),
        "cleaned": sum(line.cleaned for line in lines),
        "quarantined": sum(line.quarantined for line in lines),
        "last_enqueued_at": max(enqueued, default=None),
        "runs": [
            {"source": run.source, "first": run.first, "last": run.last, "damaged": run.damaged}
            for run in runs
        ],
        "repeats": [asdict(repeat) for repeat in repeats[:_MOST_REPEATS]],
    }


def runs_in(landings: pl.DataFrame) -> Iterator[Run]:
    """The runs of all hours, the oldest first."""
    for hour, of_hour in landings.sort("hour").select("hour", "runs").iter_rows():
        for run in of_hour or ():
            yield Run(**run, hour=hour)
