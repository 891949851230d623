"""What is wrong since when, and what of it was told to whom: pure functions of state and time.

A problem is told once when it starts, again each day while it lasts, and once when it is over, to
each sink on its own: what a sink did not take is due again. Not here: where problems come from
(`alerting`), and how they are told (`messages`, `delivery`).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec

SETTLE_SECONDS: Final = 120.0
"""So long after its start a problem is told: failures of one backfill come as one message, and what
mended itself meanwhile is not told at all."""
OVER_SECONDS: Final = 1200.0
"""So long it must be good before it is over: longer than from one look of the checks to the next,
so that what comes and goes is one problem."""
REMIND_SECONDS: Final = 86_400.0
FIRST_WAIT_SECONDS: Final = 60.0
LONGEST_WAIT_SECONDS: Final = 1800.0
MOST_PARTITIONS: Final = 200
"""Of one problem that are remembered; of more only the number is."""


class Phase(StrEnum):
    """Where a problem stands, as a message says it."""

    STARTED = "started"
    LASTING = "lasting"
    OVER = "over"


class Told(msgspec.Struct):
    """When a sink was last told of a problem; epoch seconds, negative once told that it is over."""

    at: float


class Problem(msgspec.Struct, kw_only=True):
    """Something that is wrong, or was until a moment ago.

    Attributes:
        key: which one: `check:...` or `run:...`.
        title: what it is, in a few words.
        text: what is known of it, one or two sentences.
        link: where it is shown, without the UI's address.
        since: when it started; epoch seconds, as all times here.
        good_since: when it was first seen to be good again; 0 while it lasts.
        failed: for runs: how many failed.
        open: for runs: partitions whose last run failed.
        many: for runs: there were more such partitions than `open` holds.
        told: by sink.
    """

    key: str
    title: str
    text: str
    link: str = ""
    since: float
    good_since: float = 0.0
    failed: int = 0
    open: list[str] = []
    many: bool = False
    told: dict[str, Told] = {}


class Sink(msgspec.Struct):
    """How a sink does: tries that failed in a row, when the last did, and how, in one line."""

    tries: int = 0
    failed_at: float = 0.0
    failure: str = ""


class Alerts(msgspec.Struct):
    """All that is remembered.

    Attributes:
        problems: by key.
        sinks: those that failed, by name.
        runs_until: runs that ended before were taken in.
        counted: the beginnings of the ids of runs that were, of the last minute, and when they
            ended: runs may be read twice.
    """

    problems: dict[str, Problem] = {}
    sinks: dict[str, Sink] = {}
    runs_until: float = 0.0
    counted: dict[str, float] = {}


@dataclass(frozen=True, slots=True)
class Notice:
    """What a sink is to be told of one problem now."""

    phase: Phase
    problem: Problem


def not_ahead(alerts: Alerts, now: float) -> None:
    """Bring times that lie ahead of now back to it.

    They were written while a clock ran ahead. Left so, nothing would be due until it is that time.
    """
    for problem in alerts.problems.values():
        problem.since = min(problem.since, now)
        problem.good_since = min(problem.good_since, now)
        for told in problem.told.values():
            told.at = min(told.at, now)
    for sink in alerts.sinks.values():
        sink.failed_at = min(sink.failed_at, now)


def is_bad(alerts: Alerts, key: str, title: str, text: str, link: str, at: float) -> Problem:
    """A problem is there: new, or still, or again before it was over."""
    problem = alerts.problems.get(key)
    if problem is None or any(told.at < 0 for told in problem.told.values()):
        # Some sink was told that it is over: this is another one.
        problem = Problem(key=key, title=title, text=text, link=link, since=at)
        alerts.problems[key] = problem
    problem.title, problem.text, problem.link = title, text, link
    problem.good_since = 0.0
    return problem


def is_good(alerts: Alerts, key: str, at: float) -> None:
    """What would be this problem is well."""
    problem = alerts.problems.get(key)
    if problem is not None and not problem.good_since:
        problem.good_since = at


def run_failed(problem: Problem, partitions: Iterable[str]) -> None:
    """Count a failed run of some partitions ("" for a run without)."""
    problem.failed += 1
    failed = {*problem.open, *partitions}
    problem.many |= len(failed) > MOST_PARTITIONS
    problem.open = sorted(failed)[:MOST_PARTITIONS]


def run_succeeded(alerts: Alerts, key: str, partitions: Iterable[str], at: float) -> None:
    """A run of some partitions went well: the problem ends when none is left.

    Where there were more than are remembered, it ends when those that are went well.
    """
    problem = alerts.problems.get(key)
    if problem is None:
        return
    problem.open = sorted({*problem.open} - {*partitions})
    if not problem.open:
        is_good(alerts, key, at)


def due(alerts: Alerts, sink: str, now: float) -> list[Notice]:
    """What a sink is to be told now, the oldest problem first."""
    notices = []
    for problem in sorted(alerts.problems.values(), key=lambda p: (p.since, p.key)):
        told = problem.told.get(sink)
        if problem.good_since:
            if told is not None and told.at < 0:
                continue  # it knows
            # Also where it was never told: the sink did not take it, and it did happen.
            if now - problem.good_since >= OVER_SECONDS and (told or _counts(problem)):
                notices.append(Notice(Phase.OVER, problem))
        elif told is None:
            if now - problem.since >= SETTLE_SECONDS:
                notices.append(Notice(Phase.STARTED, problem))
        elif now - told.at >= REMIND_SECONDS:
            notices.append(Notice(Phase.LASTING, problem))
    return notices


def delivered(alerts: Alerts, sink: str, notices: Iterable[tuple[str, Phase]], now: float) -> None:
    """A sink took notices, each named by its problem's key and its phase."""
    alerts.sinks.pop(sink, None)
    for key, phase in notices:
        problem = alerts.problems.get(key)
        if problem is None:
            continue
        if phase is Phase.OVER and problem.good_since:
            problem.told[sink] = Told(-1.0)  # nothing more to say
        else:
            problem.told[sink] = Told(now)


def failed(alerts: Alerts, sink: str, failure: str, now: float) -> bool:
    """A sink did not take its notices; returns whether that is news."""
    before = alerts.sinks.get(sink, Sink())
    alerts.sinks[sink] = Sink(before.tries + 1, now, failure)
    return before.failure != failure


def waits_until(alerts: Alerts, sink: str) -> float:
    """When a sink that failed is tried again."""
    state = alerts.sinks.get(sink)
    if state is None:
        return 0.0
    return state.failed_at + min(
        FIRST_WAIT_SECONDS * 2.0 ** min(state.tries - 1, 10), LONGEST_WAIT_SECONDS
    )


def forget(alerts: Alerts, sinks: Collection[str], now: float) -> None:
    """Drop problems that are over and have nothing left to be told, and sinks that are not set."""
    for key, problem in [*alerts.problems.items()]:
        if not problem.good_since or now - problem.good_since < OVER_SECONDS:
            continue
        said = all(sink in problem.told and problem.told[sink].at < 0 for sink in sinks)
        if said or (not problem.told and not _counts(problem)):
            del alerts.problems[key]
    for sink in [*alerts.sinks]:
        if sink not in sinks:
            del alerts.sinks[sink]


def _counts(problem: Problem) -> bool:
    """Whether it lasted long enough to be told."""
    return problem.good_since - problem.since >= SETTLE_SECONDS
