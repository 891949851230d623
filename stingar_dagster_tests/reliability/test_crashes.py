"""Real processes, killed with SIGKILL before and after everything they change.

After each death the next run must come to the bytes of a run that nobody disturbed; what the dead
left behind must count for nothing, and be collected when it is old.
"""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from stingar_dagster.lake import segments
from stingar_dagster.lake.layout import day_of
from stingar_dagster.storage import local, open_store
from stingar_dagster.streams import STINGAR
from stingar_dagster_tests.processes import FORK, Death, When, run_until_killed
from stingar_dagster_tests.support import HOUR, MINUTE, NOON, SLICED, SOAK, Site, event

SECONDS_TO_DIE: Final = 60
ONE_TABLE: Final = replace(STINGAR, tables=STINGAR.tables[:1])
IN_SLICES: Final = replace(SLICED, tables=STINGAR.tables[:1])

ON_DISK: Final[tuple[When, ...]] = ("before", "within", "after")
OVER_THE_WIRE: Final[tuple[When, ...]] = ("before", "after")

Scene = Callable[[Site], tuple[datetime, ...]]
"""Prepares a site; returns the landed hours that the process is to do again from scratch."""


def empty(site: Site) -> tuple[datetime, ...]:
    site.put([event(NOON - HOUR), b"nonsense", event(NOON)])
    return ()


def late_event(site: Site) -> tuple[datetime, ...]:
    empty(site)
    site.run()
    site.put([event(NOON - HOUR), event(NOON - 24 * HOUR)], first=3, start=NOON + HOUR)
    return ()


def lost_hour(site: Site) -> tuple[datetime, ...]:
    empty(site)
    site.run()
    site.put([event(NOON), event(NOON), event(NOON)])
    return ()


def replay(site: Site) -> tuple[datetime, ...]:
    """Quarantined for its size; the limit has been raised since."""
    site.put([event(NOON), event(NOON, note="x" * 400)])
    site.max_body_bytes = 300
    site.run()
    site.max_body_bytes = 1000
    return (NOON,)


def late_event_in_a_slice(site: Site) -> tuple[datetime, ...]:
    site.stream = IN_SLICES
    empty(site)
    site.run()
    late = [event(NOON - HOUR), event(NOON - 20 * MINUTE)]
    site.put(late, first=3, start=NOON + HOUR)
    return ()


def cut_anew(site: Site) -> tuple[datetime, ...]:
    """Slices of another length and uncompressed from now on; a late event makes an hour so."""
    site.stream = IN_SLICES
    site.put([event(NOON + minutes * MINUTE) for minutes in (0, 4, 11, 24, 59)])
    site.run()
    site.stream = replace(ONE_TABLE, slice_minutes=10)
    site.put([event(NOON + 14 * MINUTE)], first=5, start=NOON + HOUR)
    return ()


@pytest.fixture
def old_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left behind counts as old without waiting for hours."""
    monkeypatch.setattr(segments, "ORPHAN_AGE", timedelta(0))
    monkeypatch.setattr(local, "ABANDONED_SECONDS", -1)


@pytest.mark.usefixtures("old_at_once")
@pytest.mark.parametrize(
    "scene", [empty, late_event, lost_hour, replay, late_event_in_a_slice, cut_anew]
)
def test_after_a_kill_around_any_change_the_next_run_converges(
    tmp_path: Path, scene: Scene
) -> None:
    site = Site.at(tmp_path, ONE_TABLE)
    again = scene(site)
    before = Path(site.lake)
    before.mkdir(exist_ok=True)

    def fresh(name: str) -> Site:
        shutil.copytree(before, tmp_path / name)
        return site.with_lake(str(tmp_path / name))

    smooth = fresh("smooth")
    assert died(smooth, Death(10**6, "before"), again) is False
    smooth.check()
    undisturbed = smooth.tree()
    collect(smooth)
    expected = smooth.tree()
    smooth.check()
    deaths = 0
    for death in deaths_in_turn(ON_DISK):
        crashed = fresh("crashed")
        if not died(crashed, death, again) and death.when != "within":
            break  # of writes there are fewer than of changes
        deaths += 1
        pipeline = crashed.pipeline()
        for hour in again:
            pipeline.land_hour(hour, again=True)
        crashed.run(pipeline)
        assert expected.items() <= crashed.tree().items(), death
        collect(crashed)
        assert crashed.tree() == expected, death
        assert not list(Path(crashed.lake, local.HIDDEN, "writing").iterdir()), death
        shutil.rmtree(crashed.lake)
    assert deaths > 15
    assert expected.items() <= undisturbed.items()


def test_on_azure_too(tmp_path: Path, container: str) -> None:
    site = Site(str(tmp_path / "landing"), f"az://{container}/smooth", ONE_TABLE)
    late_event(site)
    before = site.objects()
    expected: dict[str, str] = {}
    for number, death in enumerate(deaths_in_turn(OVER_THE_WIRE, stride=5)):
        crashed = site.with_lake(f"az://{container}/lake-{number}")
        store = open_store(crashed.lake, "STINGAR_LAKE")
        for path, data in before.items():
            store.write(path, data)
        alive = not died(crashed, death, ())
        crashed.run()
        if not expected:
            site.run()
            site.check()
            expected = site.tree()
        tree = crashed.tree()
        assert expected.items() <= tree.items(), death
        strangers = {path.split("/")[1] for path in tree.keys() - expected.keys()}
        assert strangers <= {"segments", "rollups", "state"}, death
        if alive:
            break
    assert number > 4


def deaths_in_turn(whens: tuple[When, ...], stride: int = 1) -> Iterator[Death]:
    """Around every change, or with STINGAR_SOAK=1 around every call that reads or lists too.

    Before a change all is as it was after the one before, so where each is tried, the sample has
    "before" at the first alone.
    """
    for number in range(0, 10**6, 1 if SOAK else stride):
        for when in whens:
            if SOAK or stride > 1 or when != "before" or number == 0:
                yield Death(number, when, reads=SOAK)


def died(site: Site, death: Death, again: tuple[datetime, ...]) -> bool:
    """Run in a process of its own; whether it was killed on the way."""
    process = FORK.Process(target=run_until_killed, args=(site, death, again, dict(os.environ)))
    process.start()
    process.join(SECONDS_TO_DIE)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


def collect(site: Site) -> None:
    """Run the partitions once more: they remove what is old and named by nothing."""
    pipeline = site.pipeline()
    for hour in (NOON, NOON + HOUR):
        pipeline.land_hour(hour)
    for hour in (NOON, NOON - HOUR, NOON - 24 * HOUR):
        pipeline.publish_hour(hour)
    for day in {day_of(NOON), day_of(NOON - 24 * HOUR)}:
        pipeline.roll_day(day)
