"""What landed, by landed hour: figures of the ledgers of the last weeks.

Not here: how it is judged (`gaps`, `quarantine`, `freshness`, `volume`).
"""

from collections.abc import Iterable
from datetime import datetime
from itertools import groupby
from typing import Any, Final

import polars as pl

from stingar_dagster.health.kept import kept
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.ledger import LedgerLine, read_ledger

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
"""Besides `KEYS`; `runs` are unbroken runs of sequence numbers of a partition, in order, and
`repeats` how many were captured twice, with two captures that both hold some."""

_MOST_REPEATS: Final = 20


def landings(lake: Lake, days: Iterable[datetime]) -> pl.DataFrame:
    """A row for each landed hour of some days."""
    folders = [lake.layout.ledgers_of(day) for day in days]

    def gather(hour: datetime) -> dict[str, Any]:
        return figures(read_ledger(lake.store, lake.layout, hour).lines.values())

    return kept(lake, "landings-1.parquet", SCHEMA, folders, gather)


def figures(lines: Iterable[LedgerLine]) -> dict[str, Any]:
    """One landed hour's figures."""
    lines = sorted(lines, key=_source)
    runs: list[dict[str, Any]] = []
    repeats: list[dict[str, Any]] = []
    for source, group in groupby(lines, key=_source):
        of_source = list(group)
        here, twice = _runs(of_source)
        damaged = any(line.damage for line in of_source)
        runs += [
            {"source": source, "first": first, "last": last, "damaged": damaged}
            for first, last in here
        ]
        repeats += [{"source": source, **repeat} for repeat in twice]
    repeats.sort(key=lambda repeat: -repeat["events"])
    enqueued = [line.last_enqueued_at for line in lines if line.last_enqueued_at]
    return {
        "captures": len(lines),
        "events": sum(line.events for line in lines),
        "cleaned": sum(line.cleaned for line in lines),
        "quarantined": sum(line.quarantined for line in lines),
        "last_enqueued_at": max(enqueued, default=None),
        "runs": runs,
        "repeats": repeats[:_MOST_REPEATS],
    }


def _source(line: LedgerLine) -> str:
    return f"{line.namespace}/{line.event_hub}/{line.partition}"


def _runs(lines: list[LedgerLine]) -> tuple[list[tuple[int, int]], list[dict[str, Any]]]:
    """Unbroken runs of one partition's numbers, and what two captures both hold."""
    pieces = sorted((first, last, line.capture) for line in lines for first, last in _pieces(line))
    runs: list[tuple[int, int]] = []
    repeats: dict[tuple[str, str], int] = {}
    holder = ""
    for first, last, capture in pieces:
        if not runs or first > runs[-1][1] + 1:
            runs.append((first, last))
            holder = capture
            continue
        reached = runs[-1][1]
        if first <= reached:
            pair = (min(holder, capture), max(holder, capture))
            repeats[pair] = repeats.get(pair, 0) + min(last, reached) - first + 1
        if last > reached:
            runs[-1] = (runs[-1][0], last)
            holder = capture
    return runs, [
        {"events": events, "one": one, "other": other} for (one, other), events in repeats.items()
    ]


def _pieces(line: LedgerLine) -> list[tuple[int, int]]:
    """A capture's numbers as runs: from its first to its last, but for the gaps inside."""
    if line.first_sequence is None or line.last_sequence is None:
        return []
    pieces, start = [], line.first_sequence
    for gap in line.gaps:
        missing_from, missing_to = map(int, gap.split("-"))
        pieces.append((start, missing_from - 1))
        start = missing_to + 1
    return [*pieces, (start, line.last_sequence)]
