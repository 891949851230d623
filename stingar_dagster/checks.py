"""Asset checks: the counts of what was written, read back from where it was written.

They run inside the step that writes, for every partition of the run, and block what comes after.
Not here: proof over a whole range (`verify`).
See https://docs.dagster.io/guides/test/asset-checks
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Final

import dagster as dg
import polars as pl

from stingar_dagster.lake.expected import disagreements, expected_of
from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.layout import hour_key
from stingar_dagster.lake.ledger import Ledger
from stingar_dagster.lake.lines import split
from stingar_dagster.lake.publication import Record, SliceRecord
from stingar_dagster.lake.quarantine import read_quarantine
from stingar_dagster.lake.segments import ENGINE_SCHEMA, IDENTITY, decode
from stingar_dagster.lake.slices import WHOLE, Slice, lines_in, overlapping
from stingar_dagster.pipeline import Landed
from stingar_dagster.safe_text import visible

COUNTS = "counts_reconcile"
AS_TOLD = "captures_are_as_told"

_EVENT_ID: Final = r'"event_id":"((?:[^"\\]|\\.)*)"'
"""A member of the line itself: inside a JSON string every quote is escaped."""

_NO_EVENTS: Final = {"events.json": SliceRecord(first=0, minutes=60, rows=0, duplicates=0, size=0)}


def counts_spec(asset: dg.AssetKey, description: str) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(COUNTS, asset=asset, description=description, blocking=True)


def as_told_spec(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """A notice may be wrong, or anyone's, so nothing waits for this."""
    return dg.AssetCheckSpec(
        AS_TOLD,
        asset=asset,
        description="Captures hold what Event Hubs said when it wrote them",
        blocking=False,
    )


def landed_problems(lake: Lake, landed: dict[datetime, Landed]) -> list[str]:
    """Landed hours whose captures, ledger and quarantine do not add up."""
    problems = []
    for hour, outcome in landed.items():
        lines = outcome.ledger.lines.values()
        for line in lines:
            if line.events != line.cleaned + line.quarantined or line.events < line.records:
                problems.append(
                    f"{hour_key(hour)} {line.capture}: {line.records} records gave "
                    f"{line.cleaned} cleaned and {line.quarantined} quarantined"
                )
        published = sum(
            1 for line in read_quarantine(lake, hour) if line.sequence_number is not None
        )
        expected = sum(line.quarantined for line in lines)
        if published != expected:
            problems.append(
                f"{hour_key(hour)}: {expected} events quarantined, {published} published"
            )
    return problems


def not_as_told(lake: Lake, ledgers: Mapping[datetime, Ledger]) -> list[str]:
    """Whole captures that hold something else than every notice of them says."""
    told = in_parallel(lambda hour: expected_of(lake, hour), ledgers)
    return [
        f"{capture}: {detail}"
        for ledger, expected in zip(ledgers.values(), told, strict=True)
        for capture, detail in disagreements(ledger, expected, damaged=False)
    ]


def as_told_result(
    asset: dg.AssetKey, problems: Collection[str], checked: int
) -> dg.AssetCheckResult:
    """The outcome of `not_as_told` for some landed hours."""
    return dg.AssetCheckResult(
        asset_key=asset,
        check_name=AS_TOLD,
        passed=not problems,
        severity=dg.AssetCheckSeverity.WARN,
        description=visible("; ".join([*problems][:5]))
        if problems
        else "nothing speaks against it",
        metadata={"landed hours": checked, "problems": len(problems)},
    )


def published_problems(
    lake: Lake, published: Mapping[datetime, Record], written: Collection[str] | None = None
) -> list[str]:
    """Event hours of which an object does not hold what its record and segments say.

    Args:
        lake: where.
        published: the hours' records.
        written: names of objects that are looked at; None: all.
    """
    problems = []
    for hour, record in published.items():
        # Where there are no events, nothing may be left where the hour's one object was.
        for name, held in (record.objects() or _NO_EVENTS).items():
            if written is not None and name not in written:
                continue
            place = hour_key(hour) if held.slice == WHOLE else f"{hour_key(hour)} {name}"
            try:
                identities = _identities(lake, lake.layout.events(hour, name))
                events, duplicates = _staged(lake, hour, record.made_from, held.slice)
            except FileNotFoundError:
                continue  # replaced by a newer run, which checks for itself
            except ValueError as error:
                problems.append(f"{place}: {name} {error}")
                continue
            distinct = identities.drop_nulls().n_unique()
            counts = (len(identities), distinct, events, duplicates)
            if counts != (held.rows, held.rows, held.rows, held.duplicates):
                problems.append(
                    f"{place}: {held.rows} events recorded, {counts[0]} published "
                    f"({counts[1]} distinct), {counts[2]} staged with {counts[3]} duplicates"
                )
    return problems


def result(problems: Iterable[str], checked: int, what: str) -> dg.AssetCheckResult:
    """A check's outcome in words."""
    found = list(problems)
    return dg.AssetCheckResult(
        check_name=COUNTS,
        passed=not found,
        severity=dg.AssetCheckSeverity.ERROR,
        description=visible("; ".join(found[:5])) if found else f"{checked:,} {what} add up",
        metadata={"checked": checked, "problems": len(found)},
    )


def _staged(lake: Lake, hour: datetime, names: tuple[str, ...], piece: Slice) -> tuple[int, int]:
    """How many identities a slice's segments hold, and how many events with one of them again."""
    schema = {name: ENGINE_SCHEMA[name] for name in (*IDENTITY, "time_us")}
    start, end = (int(moment.timestamp()) * 1_000_000 for moment in piece.bounds(hour))

    def identities(name: str) -> pl.DataFrame:
        data = lake.store.read(lake.layout.segment(hour_key(hour), name))
        within = pl.col("time_us").is_between(start, end, closed="left")
        return decode(data, schema, name).filter(within).select(IDENTITY)

    none = pl.DataFrame(schema={name: schema[name] for name in IDENTITY})
    events = pl.concat([none, *map(identities, overlapping(names, piece))])
    distinct = events.n_unique()
    return distinct, len(events) - distinct


def _identities(lake: Lake, path: str) -> pl.Series:
    """The identity that each published line names; null where it names none."""
    try:
        data = lake.store.read(path)
    except FileNotFoundError:
        data = b""
    return split(lines_in(path, data)).str.extract(_EVENT_ID)
