"""One look at a stream: everything that its checks go by, read once.

What is read is small: figures kept of the last weeks, what changed since, and new segments' `extra`
for drift. Not here: judgement (each check's module), and when a look is taken (`checks`).
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Final

import polars as pl

from stingar_dagster.health.activity import activity
from stingar_dagster.health.drift import drift
from stingar_dagster.health.duplicates import duplicates
from stingar_dagster.health.fields import FieldRecord, observe
from stingar_dagster.health.findings import Finding
from stingar_dagster.health.freshness import due_hour, latest_hour
from stingar_dagster.health.gaps import sequence_gaps
from stingar_dagster.health.landings import landings
from stingar_dagster.health.quarantine import quarantine_rate
from stingar_dagster.health.silence import silent_senders
from stingar_dagster.health.volume import volume
from stingar_dagster.lake import backlog
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.layout import day_of, hour_of_path
from stingar_dagster.lake.quarantine import quarantine_reasons
from stingar_dagster.streams import Stream


class Look:
    """What a stream's checks see at one moment; each part is read when it is first asked for."""

    def __init__(self, lake: Lake, now: datetime) -> None:
        self.lake = lake
        self.now = now
        self.norms = lake.stream.norms

    @cached_property
    def landings(self) -> pl.DataFrame:
        return landings(self.lake, self._days(0))

    @cached_property
    def activity(self) -> pl.DataFrame:
        # Clocks of sensors run fast, by a day at most.
        return activity(self.lake, self._days(1))

    @cached_property
    def fields(self) -> FieldRecord:
        return observe(self.lake, self.now)

    @cached_property
    def unpublished(self) -> Collection[datetime]:
        """Event hours that the latest full landed hours touch and that are not published.

        A ledger that changed a moment ago, by a late capture or a backfill, has its runs ahead.
        """
        due = due_hour(self.norms, self.now)
        full = self.landings.filter((pl.col("cleaned") > 0) & (pl.col("hour") <= due))
        hours = full["hour"].to_list()[-2:]
        store, layout = self.lake.store, self.lake.layout
        settled = {
            hour_of_path(entry.path)
            for day in {day_of(hour) for hour in hours}
            for entry in store.find(layout.ledgers_of(day))
            if entry.modified is None or entry.modified + self.norms.grace < self.now
        }
        pending = backlog.unpublished_hours(self.lake, [hour for hour in hours if hour in settled])
        return [hour for hour, why in pending.items() if not why.startswith("reopened")]

    def _days(self, ahead: int) -> list[datetime]:
        today = self.now.replace(hour=0, minute=0, second=0, microsecond=0)
        reach = self.norms.history.days
        return [today + timedelta(days=n) for n in range(-reach, ahead + 1)]


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a stream.

    Attributes:
        name: a statement that holds where it passes.
        of: which of the stream's assets it is about: landed_events, quarantined_events or
            cleaned_events.
        meaning: one sentence for people.
        judge: the outcome.
    """

    name: str
    of: str
    meaning: str
    judge: Callable[[Look], Finding]


def _silent(look: Look) -> Finding:
    origins = look.lake.stream.origins
    noun = origins.noun if origins is not None else "sender"
    return silent_senders(look.activity, noun, look.norms, look.now)


_CHECKS: Final = (
    Check(
        "latest_hour_is_there",
        "landed_events",
        "The latest full hour landed, with events, and is published",
        lambda look: latest_hour(look.landings, look.unpublished, look.norms, look.now),
    ),
    Check(
        "no_sequence_gaps",
        "landed_events",
        "No sequence number of a partition is missing in the last days",
        lambda look: sequence_gaps(look.landings, look.norms, look.now),
    ),
    Check(
        "volume_is_usual",
        "landed_events",
        "What arrives is within its usual band for the hour of the week",
        lambda look: volume(look.landings, look.norms, look.now),
    ),
    Check(
        "quarantine_is_usual",
        "quarantined_events",
        "No more is refused than this stream's own baseline",
        lambda look: quarantine_rate(
            look.landings, lambda hour: quarantine_reasons(look.lake, [hour]), look.norms, look.now
        ),
    ),
    Check(
        "few_duplicates",
        "cleaned_events",
        "Hardly any event was captured twice",
        lambda look: duplicates(look.activity, look.landings, look.norms, look.now),
    ),
    Check(
        "no_schema_drift",
        "cleaned_events",
        "No field is new, or of another type than before",
        lambda look: drift(look.fields, look.lake.stream, look.norms, look.now),
    ),
    Check(
        "sensors_are_heard",
        "cleaned_events",
        "No sensor is silent for longer than is usual for it",
        _silent,
    ),
)


def checks_of(stream: Stream) -> Mapping[str, Check]:
    """A stream's checks by name."""
    return {
        check.name: check
        for check in _CHECKS
        if stream.origins is not None or check.name != "sensors_are_heard"
    }


def findings(lake: Lake, names: Collection[str], now: datetime) -> Iterator[tuple[Check, Finding]]:
    """The outcomes of some of a stream's checks, from one look.

    Raises:
        StoreUnavailable, StoreDenied: the lake can't be read or written.
    """
    look = Look(lake, now)
    for name, check in checks_of(lake.stream).items():
        if name in names:
            yield check, check.judge(look)
