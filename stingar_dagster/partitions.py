"""The partitions: landed hours, event hours and days, all UTC, from STINGAR_START on.

Here: the definitions, and the way between partition keys and times. Not here: which partitions are
due (`automation`). See https://docs.dagster.io/guides/build/partitions-and-backfills
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
)

from stingar_dagster.settings import Settings

HOUR_FORMAT: Final = "%Y-%m-%d-%H:%M"
DAY_FORMAT: Final = "%Y-%m-%d"

_AHEAD_HOURS: Final = 26
"""Events may be stamped a day ahead of their arrival, and arrive an hour after the window began."""


def landed_hours(settings: Settings) -> dg.HourlyPartitionsDefinition:
    """Hours in which captures landed, the current one included."""
    return dg.HourlyPartitionsDefinition(settings.start, fmt=HOUR_FORMAT, end_offset=1)


def hours(settings: Settings) -> dg.HourlyPartitionsDefinition:
    """Hours that are landed, and hours that are published: the same, so that a run can have both.

    Events may be stamped with an hour a day ahead: clocks of sensors run fast.
    """
    return dg.HourlyPartitionsDefinition(
        settings.start, fmt=HOUR_FORMAT, end_offset=1 + _AHEAD_HOURS
    )


def days(settings: Settings) -> dg.DailyPartitionsDefinition:
    """Days of events, today and tomorrow included."""
    start = settings.start.replace(hour=0)
    return dg.DailyPartitionsDefinition(start, fmt=DAY_FORMAT, end_offset=3)


def same_window() -> dg.TimeWindowPartitionMapping:
    """A partition depends on what covers its time, as far as that exists."""
    return dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)


def days_before(number: int) -> dg.TimeWindowPartitionMapping:
    """A day depends on the same day and so many before it, as far as they exist."""
    return dg.TimeWindowPartitionMapping(
        start_offset=-number, allow_nonexistent_upstream_partitions=True
    )


def hour_key(hour: datetime) -> str:
    return hour.strftime(HOUR_FORMAT)


def day_key(day: datetime) -> str:
    return day.strftime(DAY_FORMAT)


def parse_hour_key(key: str) -> datetime:
    return datetime.strptime(key, HOUR_FORMAT).replace(tzinfo=UTC)


def parse_day_key(key: str) -> datetime:
    return datetime.strptime(key, DAY_FORMAT).replace(tzinfo=UTC)


HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)


def of_run(tags: Mapping[str, str]) -> list[datetime]:
    """The hours or days that a run is of, by its tags.

    None for a run without partitions, and for one whose keys are no hours or days: other code may
    run on the same instance, with partitions of its own.
    """
    first, last = _ends(tags)
    if not first or not last:
        return []
    parse, step = (parse_hour_key, HOUR) if ":" in first else (parse_day_key, DAY)
    try:
        at, end = parse(first), parse(last)
    except ValueError:
        return []
    return [at + n * step for n in range((end - at) // step + 1)]


def keys_of_run(tags: Mapping[str, str]) -> list[str]:
    """The same as keys; one empty key for a run without partitions.

    Of a run of other code: the keys that its tags name, as they are.
    """
    first, last = _ends(tags)
    key = hour_key if ":" in first else day_key
    return [key(at) for at in of_run(tags)] or [*dict.fromkeys((first, last))]


def _ends(tags: Mapping[str, str]) -> tuple[str, str]:
    """The first and the last partition's key; empty where there is none."""
    name = tags.get(PARTITION_NAME_TAG, "")
    return (
        name or tags.get(ASSET_PARTITION_RANGE_START_TAG, ""),
        name or tags.get(ASSET_PARTITION_RANGE_END_TAG, ""),
    )
