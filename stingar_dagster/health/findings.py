"""What a check comes to: a sentence, and the numbers behind it.

Not here: how it is shown or told (`checks`, `alerts`).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from stingar_dagster.safe_text import visible

MOST_ROWS: Final = 50
"""Of a finding's table; `numbers` hold the totals."""

Value = str | int | float


@dataclass(frozen=True, slots=True)
class Finding:
    """The outcome of one check.

    Attributes:
        passed: whether nothing needs a look.
        text: one or two sentences: what happened, since when, how bad, what to do.
        numbers: by name.
        rows: a small table, its members the same in each row.
        learning: whether it passed because there is not enough history to judge by.
    """

    passed: bool
    text: str
    numbers: dict[str, Value] = field(default_factory=dict)
    rows: Sequence[dict[str, Value]] = ()
    learning: bool = False


def not_enough(what: str, **numbers: Value) -> Finding:
    """A check that has too little to go by: it says so, and passes."""
    return Finding(True, f"Not enough history yet: {what}.", numbers, learning=True)


def at(moment: datetime) -> str:
    """A time in a sentence: `2026-05-19 17:08 UTC`."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def at_hour(hour: int) -> str:
    """The beginning of an hour, counted from the epoch."""
    return at(datetime.fromtimestamp(hour * 3600, UTC))


def hour_number(moment: datetime) -> int:
    """Hours since the epoch: hours that can be subtracted."""
    return int(moment.timestamp() // 3600)


def lasting(hours: float) -> str:
    """A length of time in words: `5 hours`, `3 days`."""
    if hours < 48:
        return f"{round(hours)} hour{'' if round(hours) == 1 else 's'}"
    return f"{round(hours / 24)} days"


def listed(names: Iterable[str], most: int = 3) -> str:
    """Names from events in a sentence, made harmless: `a, b and 4 more`."""
    names = list(names)
    shown = [visible(name, 60) for name in names[:most]]
    rest = len(names) - len(shown)
    if rest:
        return f"{', '.join(shown)} and {rest} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
