"""How large everything is that the suite measures: at full size, and small, to see that it runs.

Only figures of the full size may be quoted.
"""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Scale:
    """Sizes of the sections.

    Attributes:
        name: `full` or `small`.
        megabytes: of the main comparison, in 36 files.
        tiny_files: the same in so many.
        days: of the larger size; each is as large as the main comparison.
        hour_megabytes: landed hours of which memory is compared.
        late_megabytes: of a published hour that late events come for.
        month_days, day_megabytes, day_files: of the month.
        backlog_files: tiny captures for the sensors.
        idle_seconds: how long the demo is watched.
        rounds: turns that contenders take, unless told otherwise.
    """

    name: str
    megabytes: float
    tiny_files: int
    days: int
    hour_megabytes: tuple[float, ...]
    late_megabytes: float
    month_days: int
    day_megabytes: float
    day_files: int
    backlog_files: int
    idle_seconds: float
    rounds: int


FULL: Final = Scale(
    name="full",
    megabytes=1000,
    tiny_files=10_000,
    days=10,
    hour_megabytes=(10, 100, 1000, 5000),
    late_megabytes=8,
    month_days=30,
    day_megabytes=163,
    day_files=1152,
    backlog_files=100_000,
    idle_seconds=120,
    rounds=5,
)
SMALL: Final = Scale(
    name="small",
    megabytes=20,
    tiny_files=200,
    days=2,
    hour_megabytes=(1, 5, 10),
    late_megabytes=1,
    month_days=2,
    day_megabytes=5,
    day_files=96,
    backlog_files=1000,
    idle_seconds=20,
    rounds=2,
)
