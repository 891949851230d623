"""The check of quarantine: is more refused than this stream's own baseline?

By landed hour, as quarantine is. Not here: why a body is refused (`cleaning.reasons`), and how
often for which reason (`lake.quarantine`), which is asked for the worst hour alone.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from stingar_dagster.health.findings import (
    Finding,
    Value,
    at,
    hour_number,
    lasting,
    not_enough,
    plural,
)
from stingar_dagster.health.pace import robust_spread
from stingar_dagster.safe_text import visible
from stingar_dagster.streams.norms import Norms

_WIDTH = 6.0
"""Robust standard deviations: rates of single hours scatter widely."""
_TIMES = 3.0

Reasons = Callable[[datetime], dict[str, int]]


def quarantine_rate(
    landings: pl.DataFrame, reasons: Reasons, norms: Norms, now: datetime
) -> Finding:
    """The latest landed hours' rates against those before them.

    Args:
        landings: of the last weeks.
        reasons: how often each reason was given in a landed hour; asked for one hour at most.
        norms: the stream's.
        now: UTC.
    """
    begin = now - timedelta(hours=norms.quarantine_hours)
    rates = (
        landings.filter(pl.col("events") > 0)
        .select("hour", "events", "quarantined", rate=pl.col("quarantined") / pl.col("events"))
        .sort("hour")
    )
    recent = rates.filter(pl.col("hour") > begin)
    before = rates.filter((pl.col("hour") <= begin) & (pl.col("events") >= norms.quarantine_events))
    total, out = int(recent["events"].sum()), int(recent["quarantined"].sum())
    numbers: dict[str, Value] = {
        "quarantined": out,
        "events": total,
        "rate": round(out / total, 6) if total else 0.0,
        "hours of history": len(before),
    }
    enough = len(before) >= norms.quarantine_history
    limit = norms.quarantine_always
    if enough:
        middle, spread = robust_spread(before["rate"].to_list())
        limit = min(limit, max(norms.quarantine_rate, _TIMES * middle, middle + _WIDTH * spread))
        numbers |= {"usual rate": round(middle, 6), "told from rate": round(limit, 6)}
    bad = recent.filter(
        (pl.col("events") >= norms.quarantine_events)
        & (pl.col("rate") >= limit)
        & (pl.col("quarantined") >= norms.quarantine_events / 2)
    )
    if bad.is_empty():
        if not enough:
            return not_enough(
                f"{len(before)} of {norms.quarantine_history} hours; "
                f"{out:,} of {total:,} events of the last {norms.quarantine_hours} hours are in "
                "quarantine",
                **numbers,
            )
        return Finding(
            True,
            f"{out:,} of {total:,} events of the last {norms.quarantine_hours} hours "
            f"({numbers['rate']:.2%}) are in quarantine, usually {numbers['usual rate']:.2%}.",
            numbers,
        )
    worst: dict[str, Any] = bad.sort("quarantined", "hour").row(-1, named=True)
    given = reasons(worst["hour"])
    why = ", ".join(f"{visible(name, 40)} {count:,}" for name, count in _most(given)[:3])
    usually = f", usually {numbers['usual rate']:.2%}" if enough else ""
    refused = plural(int(bad["quarantined"].sum()), "event")
    passed = hour_number(now) - hour_number(bad["hour"].min()) + 1  # type: ignore[arg-type]
    text = (
        f"{refused} were refused since {at(bad['hour'].min())}, in {lasting(passed)}: "  # type: ignore[arg-type]
        f"{worst['rate']:.1%} of the hour from {at(worst['hour'])}{usually}"
        + (f" ({why})" if why else "")
        + ". See `stingar quarantine list`; when the cause is mended, `stingar quarantine replay` "
        "gives them another try."
    )
    rows: list[dict[str, Value]] = [
        {
            "landed": at(hour),
            "events": events,
            "quarantined": quarantined,
            "rate": round(rate, 4),
        }
        for hour, events, quarantined, rate in bad.iter_rows()
    ]
    return Finding(False, text, numbers, rows)


def _most(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))
