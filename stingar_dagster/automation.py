"""Which partitions to ask for now: a pure function of what is pending and what was asked before.

Level-triggered: what is pending stays pending until the lake shows it done, so a lost run is asked
for again, and nothing is asked for twice while a run is under way. Not here: how pending work is
found (`lake.backlog`), and Dagster's sensors (`sensors`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final

import msgspec

FIRST_WAIT_SECONDS: Final = 30.0
LONGEST_WAIT_SECONDS: Final = 1800.0
SINGLE_RUNS: Final = 4
"""Up to so many due hours get a run each, in parallel; more are put together into ranges."""
HOURS_A_RUN: Final = 24
_MOMENTS: Final = 10.0
"""A run that takes less is mostly its process' start."""
_REST: Final = 9.0
LONGEST_REST_SECONDS: Final = 900.0


class Asked(msgspec.Struct):
    """The last time a partition was asked for: what was pending, when, and how often since."""

    state: str
    at: float
    times: int = 1


@dataclass(slots=True)
class Requests:
    """Partitions to ask for now, and the memory for next time."""

    due: list[datetime]
    asked: dict[str, Asked] = field(default_factory=dict)


def due(
    pending: Mapping[datetime, str],
    asked: Mapping[str, Asked],
    under_way: Collection[datetime],
    now: float,
    limit: int,
) -> Requests:
    """Choose what to ask for.

    Args:
        pending: partitions that are not up to date, each with a text that changes with its work.
        asked: the memory of the last call.
        under_way: partitions with a run that has not finished.
        now: epoch seconds.
        limit: ask for at most so many, the oldest first.
    """
    requests = Requests([])
    for partition in sorted(pending):
        key = partition.isoformat()
        state = _short(pending[partition])
        last = asked.get(key)
        if partition in under_way:
            if last is not None:
                requests.asked[key] = last
            continue
        if last is not None and last.state == state:
            # It was asked for and is still pending: the run failed, or saw an older state.
            if now < last.at + wait_seconds(last.times):
                requests.asked[key] = last
                continue
            again = Asked(state, now, last.times + 1)
        else:
            again = Asked(state, now)
        if len(requests.due) < limit:
            requests.due.append(partition)
            requests.asked[key] = again
        elif last is not None:
            requests.asked[key] = last
    return requests


def wait_seconds(times: int) -> float:
    """How long to wait before asking again for what was asked for so many times."""
    return min(FIRST_WAIT_SECONDS * 2.0 ** (times - 1), LONGEST_WAIT_SECONDS)


def rest_seconds(took: float) -> float:
    """How long a partition is left alone that changes all the time, after it was done.

    What is done in moments is done again at once. What takes long may take a tenth of the time: so
    the day that goes on, on which a busy stream rolls up more and more, delays no event.

    Args:
        took: how long it took; seconds.
    """
    return min(_REST * max(0.0, took - _MOMENTS), LONGEST_REST_SECONDS)


def ranges(
    partitions: Sequence[datetime],
    step: timedelta,
    longest: int = HOURS_A_RUN,
    singles: int = SINGLE_RUNS,
) -> list[tuple[datetime, datetime]]:
    """Runs of neighbouring partitions, (first, last), each of at most `longest`.

    A few (`singles`) stay single, so that they run side by side and the newest does not wait.
    """
    if len(partitions) <= singles:
        return [(partition, partition) for partition in partitions]
    found: list[tuple[datetime, datetime]] = []
    for partition in partitions:
        first, last = found[-1] if found else (partition, partition)
        if found and partition - last == step and (partition - first) / step < longest:
            found[-1] = (first, partition)
        else:
            found.append((partition, partition))
    return found


def _short(state: str) -> str:
    return blake2b(state.encode(), digest_size=8).hexdigest()
