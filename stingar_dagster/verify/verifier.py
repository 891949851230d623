"""The order in which things are proved, and how long it waits for runs that are under way."""

import time
from collections.abc import Callable, Sized
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

from stingar_dagster.lake import backlog
from stingar_dagster.lake.expected import expected_hours
from stingar_dagster.lake.layout import day_of, hour_key, parse_hour
from stingar_dagster.lake.ledger import read_ledger
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.verify.again import differences
from stingar_dagster.verify.days import day_problems
from stingar_dagster.verify.identities import Identities
from stingar_dagster.verify.joined import waits_for_others
from stingar_dagster.verify.proof import Problem, Proof
from stingar_dagster.verify.published import Published
from stingar_dagster.verify.told import prove_as_told

HOUR: Final = timedelta(hours=1)
C = TypeVar("C", bound=Sized)
Progress = Callable[[int, int], None]


def verify(
    pipeline: Pipeline,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress = lambda done, total: None,
    wait_seconds: float = 0.0,
    again: bool = False,
) -> Proof:
    """Prove the landed hours in [since, until), and the days they touch.

    Args:
        pipeline: landing, lake and stream.
        since, until: UTC hours; None: everything.
        progress: called with landed hours done and in all.
        wait_seconds: how long, in all, to wait for runs that are under way, so that live traffic
            is not taken for a problem.
        again: also do every step again, in memory, and compare the bytes. Only landed hours that
            the present code version cleaned: another version may come to others.
    """
    return _Verifier(pipeline, wait_seconds).run(since, until, progress, again)


class _Verifier:
    def __init__(self, pipeline: Pipeline, wait_seconds: float) -> None:
        self._deadline = time.monotonic() + wait_seconds
        self._pipeline = pipeline
        self._lake = pipeline.lake
        self._proof = Proof()

    def run(
        self, since: datetime | None, until: datetime | None, progress: Progress, again: bool
    ) -> Proof:
        start = since or self._pipeline.settings.start
        end = until or datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + 2 * HOUR
        captures = self._pipeline.landing.between(start, end).captures
        listed = backlog.by_landed_hour(self._lake, captures)
        hours = sorted({*listed, *backlog.landed_hours(self._lake, since, until)})
        self._settled(lambda: backlog.unlanded(self._lake, listed))
        self._settled(lambda: backlog.unpublished_hours(self._lake, hours))
        published = Published(self._lake, self._proof)
        identities = Identities(self._pipeline, published, self._proof)
        for done, hour in enumerate(hours):
            progress(done, len(hours))
            identities.prove_hour(hour, listed.get(hour, []))
        for hour in expected_hours(self._lake, since, until):
            prove_as_told(self._pipeline, hour, self._proof)
        identities.prove_whole(everything=since is None and until is None)
        for key in self._settled(lambda: backlog.unpublished_hours(self._lake, hours)):
            detail = "events are staged and not published"
            self._proof.problems.append(Problem("pending", hour_key(key), detail))
        touched = [parse_hour(key) for key in sorted(published.touched)]
        self._proof.problems += self._settled(lambda: published.strays(touched))
        days = {day_of(parse_hour(key)) for key in published.touched} | {day_of(h) for h in hours}
        for day in sorted(days):
            self._prove_day(published, day)
        if again:
            self._prove_again(hours)
        progress(len(hours), len(hours))
        return self._proof

    def _prove_day(self, published: Published, day: datetime) -> None:
        counted = True

        def look() -> list[Problem]:
            nonlocal counted
            problems = day_problems(self._lake, published, day)
            counted = problems is not None
            return problems or []

        self._proof.problems += self._settled(look)
        self._proof.days += counted
        for table in self._lake.stream.joined:
            if counted and waits_for_others(self._lake, table, day):
                self._proof.notes.append(
                    f"{table.name} {day:%Y-%m-%d} waits to be made again: tables of other streams "
                    "changed since; it was not compared"
                )

    def _prove_again(self, hours: list[datetime]) -> None:
        ledgers = ((hour, read_ledger(self._lake.store, self._lake.layout, hour)) for hour in hours)
        version = self._pipeline.stream.code_version
        same = [
            hour
            for hour, ledger in ledgers
            if all(line.code_version == version for line in ledger.lines.values())
        ]
        if len(same) < len(hours):
            self._proof.notes.append(
                f"{len(hours) - len(same)} landed hours were cleaned by another code version; "
                "they were not done again"
            )
        self._proof.problems += self._settled(lambda: differences(self._pipeline, same))

    def _settled(self, look: Callable[[], C]) -> C:
        """What is left, by the deadline, of problems that runs under way may solve."""
        while (found := look()) and time.monotonic() < self._deadline:
            time.sleep(min(2.0, max(0.0, self._deadline - time.monotonic())))
        return found
