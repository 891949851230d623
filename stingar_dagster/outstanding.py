"""What a headless run has to do, step by step, told by comparing state.

Not here: how it is done (`runner`), and what the sensors ask for (`automation`, `watch`). Knows no
Dagster, so that a look at a lake that is up to date costs no more than the look.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from stingar_dagster.errors import CaptureNameError
from stingar_dagster.lake import backlog
from stingar_dagster.lake.layout import day_of
from stingar_dagster.pipeline import Pipeline


class Outstanding:
    """What is landed in [since, until) and not yet published.

    Landing is listed once, when this is made; hours and days are compared at each question.

    Args:
        pipeline: of the stream.
        since, until: UTC hours; None: everything.

    Attributes:
        landed: landed hours with captures that the ledger does not have.

    Raises:
        CaptureNameError: a file in landing does not match the name format.
    """

    def __init__(self, pipeline: Pipeline, since: datetime | None, until: datetime | None) -> None:
        pipeline.landing.check_format()
        end = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        listing = pipeline.landing.between(since or pipeline.settings.start, min(until or end, end))
        if listing.strangers:
            stranger: CaptureNameError = listing.strangers[0]
            raise stranger
        self.pipeline = pipeline
        self._range = (since, until)
        self._captures = backlog.by_landed_hour(pipeline.lake, listing.captures)
        self.landed = list(backlog.unlanded(pipeline.lake, self._captures))

    def __bool__(self) -> bool:
        return bool(self.landed or self.hours() or self.days(()))

    def hours(self) -> list[datetime]:
        """Event hours that the range touches and whose publication does not show it."""
        lake = self.pipeline.lake
        known = {*self._captures, *backlog.landed_hours(lake, *self._range)}
        return list(backlog.unpublished_hours(lake, sorted(known)))

    def days(self, touched: Iterable[datetime]) -> list[datetime]:
        """Days of which a daily table does not show the published hours.

        Args:
            touched: hours whose days are looked at; without a range, all days are.
        """
        days = {day_of(hour) for hour in touched}
        if self._range == (None, None):
            days |= set(backlog.published_days(self.pipeline.lake))
        return list(backlog.unpublished_days(self.pipeline.lake, days))
