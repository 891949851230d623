"""What landed just before and just after a day, as far as it tells whether the day is complete.

A landed hour is known to be over when something landed after it, never by a clock: Event Hubs
Capture writes windows in order, for each partition. Not here: what a report makes of it (`report`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.layout import day_of_path, hour_of_path
from stingar_dagster.lake.ledger import Ledger, LedgerLine, read_listed
from stingar_dagster.lake.sequences import Run, runs_of, source_of
from stingar_dagster.storage import Entry

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Around:
    """The last landed hour before a day, and the first one after it.

    Attributes:
        is_over: whether every window of the day must have landed: each partition that was
            captured on the day has a capture after it, or any has one of a window that began later
            than a capture may be late (`Norms.grace`).
        before, after: the hubs captured in those hours, `namespace/hub`.
        empties: hubs that wrote an empty capture in one of those hours: they write one for each
            window in which nothing came.
        reached: the last run of numbers of each partition in the hour before.
    """

    is_over: bool = False
    before: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()
    empties: frozenset[str] = frozenset()
    reached: tuple[Run, ...] = ()


def around(lake: Lake, day: datetime, ledgers: Mapping[datetime, Ledger]) -> Around:
    """What landed around a day.

    Args:
        lake: where.
        day: UTC midnight.
        ledgers: of the day's landed hours.
    """
    folders, _ = lake.store.children(lake.layout.ledgers)
    days = sorted(map(day_of_path, folders))
    before = _hours(lake, max((other for other in days if other < day), default=None))[-1:]
    after = _hours(lake, min((other for other in days if other > day), default=None))[:2]
    lines_before = _lines(lake, before[0]) if before else []
    lines_after = _lines(lake, after[0]) if after else []
    lines = [line for ledger in ledgers.values() for line in ledger.lines.values()]
    runs = runs_of(hour_of_path(before[0].path), lines_before)[0] if before else []
    return Around(
        is_over=any(hour_of_path(entry.path) > day + _DAY for entry in after)
        or _is_over(lake, lines, lines_after),
        before=frozenset(map(hub_of, lines_before)),
        after=frozenset(map(hub_of, lines_after)),
        empties=writing_empties((*lines_before, *lines_after)),
        reached=tuple({run.source: run for run in runs}.values()),
    )


def hub_of(line: LedgerLine) -> str:
    """`namespace/hub`."""
    return f"{line.namespace}/{line.event_hub}"


def writing_empties(lines: tuple[LedgerLine, ...] | list[LedgerLine]) -> frozenset[str]:
    """Hubs of which a capture without events landed."""
    return frozenset(hub_of(line) for line in lines if not line.records and not line.damage)


def _is_over(lake: Lake, lines: list[LedgerLine], after: list[LedgerLine]) -> bool:
    """By the captures of the first landed hour after the day, of which there may be none yet."""
    late = lake.stream.norms.grace
    return bool(after) and (
        {source_of(line) for line in lines} <= {source_of(line) for line in after}
        or any(timedelta(minutes=line.slot) >= late for line in after)
    )


def _hours(lake: Lake, day: datetime | None) -> list[Entry]:
    """The ledgers of a day, the oldest first."""
    return [] if day is None else lake.store.find(lake.layout.ledgers_of(day))


def _lines(lake: Lake, entry: Entry) -> list[LedgerLine]:
    return list(read_listed(lake.store, entry).lines.values())
