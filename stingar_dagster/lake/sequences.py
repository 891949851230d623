"""Sequence numbers of partitions by landed hour: unbroken runs, what came twice, what is missing.

Event Hubs counts the events of a partition without gaps, so a number that is in no capture is an
event that was never captured, or a capture that is gone. This is the one place where that is told
from ledgers; checks and reports ask here. Not here: how it is judged (`health`, `report`), and
`stingar verify`, which believes no ledger and counts what captures hold.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from stingar_dagster.lake.ledger import LedgerLine


@dataclass(frozen=True, slots=True)
class Run:
    """Numbers of a partition without a gap, in one landed hour.

    Attributes:
        source: `namespace/hub/partition`.
        first, last: both included.
        damaged: whether the partition had a damaged capture in that hour.
        hour: the landed hour.
    """

    source: str
    first: int
    last: int
    damaged: bool
    hour: datetime


@dataclass(frozen=True, slots=True)
class Gap:
    """Missing numbers of a partition.

    Attributes:
        source: `namespace/hub/partition`.
        first, last: both included.
        damaged: whether a damaged capture beside them explains them.
        hour: the landed hour of what follows them.
    """

    source: str
    first: int
    last: int
    damaged: bool
    hour: datetime

    @property
    def events(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Repeat:
    """How many numbers of a partition two captures both hold."""

    source: str
    events: int
    one: str
    other: str


def source_of(line: LedgerLine) -> str:
    """`namespace/hub/partition`."""
    return f"{line.namespace}/{line.event_hub}/{line.partition}"


def runs_of(hour: datetime, lines: Iterable[LedgerLine]) -> tuple[list[Run], list[Repeat]]:
    """The runs of one landed hour, for each partition in order, and what came twice in it."""
    runs: list[Run] = []
    repeats: list[Repeat] = []
    for source, group in groupby(sorted(lines, key=source_of), key=source_of):
        of_source = list(group)
        damaged = any(line.damage for line in of_source)
        for stretch in _stretches(of_source):
            here, twice = _runs(stretch)
            runs += [Run(source, first, last, damaged, hour) for first, last in here]
            repeats += [Repeat(source, events, *pair) for pair, events in twice.items()]
    return runs, repeats


def missing(runs: Iterable[Run]) -> list[Gap]:
    """Numbers between each partition's runs.

    A hub that was deleted and made again counts from 0: what lies below everything seen so far
    begins anew, and nothing is missing before it. Old captures that were put back lie there, too:
    after them the numbers go on where they were, and nothing is told of what is that old.

    Args:
        runs: as `runs_of` gives them, the oldest hour first.
    """
    by_source: dict[str, list[Run]] = {}
    for run in runs:
        by_source.setdefault(run.source, []).append(run)
    return [gap for _, of_source in sorted(by_source.items()) for gap in _gaps(of_source)]


def _gaps(runs: list[Run]) -> list[Gap]:
    chains: list[list[Run]] = []
    lowest, highest = 0, 0
    for n, run in enumerate(runs):
        if not chains or run.last < lowest:
            if chains and not _begins_anew(runs[n:], lowest, highest):
                continue
            chains.append([])
            lowest, highest = run.first, run.last
        chains[-1].append(run)
        lowest, highest = min(lowest, run.first), max(highest, run.last)
    gaps = []
    for chain in chains:
        reached, damaged = None, False
        for run in sorted(chain, key=lambda run: (run.first, run.last)):
            if reached is not None and run.first > reached + 1:
                told = damaged or run.damaged
                gaps.append(Gap(run.source, reached + 1, run.first - 1, told, run.hour))
            if reached is None or run.last >= reached:
                reached, damaged = run.last, run.damaged
    return gaps


def _begins_anew(runs: list[Run], lowest: int, highest: int) -> bool:
    """Whether runs, of which the first lies below all before it, stay there until they grew."""
    reached = -1
    for run in runs:
        if run.last >= lowest:
            # It came from below, or goes on above what was there.
            return run.first <= max(highest, reached + 1)
        reached = max(reached, run.last)
    return True


def _stretches(lines: list[LedgerLine]) -> list[list[LedgerLine]]:
    """One partition's lines, apart where numbers start over within the hour, in order of time.

    A hub is made again at some minute: the same hour then holds the old numbers and the new ones.
    """
    numbered = [line for line in lines if line.first_sequence is not None]
    numbered.sort(key=lambda line: (line.first_enqueued_at or "", line.first_sequence))
    stretches: list[list[LedgerLine]] = []
    lowest = 0
    for line in numbered:
        first, last = line.first_sequence or 0, line.last_sequence or 0
        if not stretches or last < lowest:
            stretches.append([])
            lowest = first
        stretches[-1].append(line)
        lowest = min(lowest, first)
    return stretches


def _runs(lines: list[LedgerLine]) -> tuple[list[tuple[int, int]], dict[tuple[str, str], int]]:
    """Unbroken runs of one partition's numbers, and how many two captures both hold."""
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
    return runs, repeats


def _pieces(line: LedgerLine) -> list[tuple[int, int]]:
    """A capture's numbers as runs: from its first to its last, but for the gaps inside."""
    if line.first_sequence is None or line.last_sequence is None:
        return []
    pieces, start = [], line.first_sequence
    for gap in line.gaps:
        missing_from, _, missing_to = gap.partition("-")
        pieces.append((start, int(missing_from) - 1))
        start = int(missing_to or missing_from) + 1
    return [*pieces, (start, line.last_sequence)]
