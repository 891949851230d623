"""A month: its backfill, Dagster's share of it, a run with nothing new, and searches in it.

Thirty days of about 163 MB, 345,000 events and 1,152 captures each, every day with its own seed.
"""

import json
import os
import shutil
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from benchmarks.captures import FIRST_DAY, Place, Shape, days, together
from benchmarks.comparisons import describe, tell
from benchmarks.contenders import Disagreement, contend, environment, stingar
from benchmarks.measuring import measured
from benchmarks.results import Month, Search, amount, taken
from benchmarks.scale import Scale
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.reader.query import Query
from stingar_dagster.lake.reader.search import search
from stingar_dagster.storage.local import LocalStore
from stingar_dagster.streams import STINGAR

_TIMES: Final = 3
_HOUR: Final = timedelta(hours=1)


def month(folder: Path, scale: Scale) -> Month:
    """The engine alone, then `stingar run`, whose lake the rest is asked of."""
    shape = Shape(
        megabytes=scale.day_megabytes, files=scale.day_files, first_hour=0, hours=24, seed=101
    )
    place = together(folder, days(shape, scale.month_days))
    started = taken()
    engine = contend("engine", place, folder / "work")
    tell(0, "engine", engine)
    run = contend("run", place, folder / "work")
    tell(0, "run", run)
    nothing_new = []
    for turn in range(_TIMES):
        cost, output = measured(
            stingar("run"), {**os.environ, **environment(place, folder / "work")}
        )
        if "up to date" not in output:
            raise Disagreement(f"a run with nothing new did something: {output.strip()}")
        nothing_new.append(cost)
        tell(turn, "run, nothing new", cost)
    noon = FIRST_DAY + timedelta(days=scale.month_days // 2, hours=12)
    day = noon.replace(hour=0)
    # Events come up to two days late, and those of the last days are still to come.
    ranges = {
        "hour": (noon, noon + _HOUR),
        "day": (day, day + 24 * _HOUR),
        "month": (FIRST_DAY, FIRST_DAY + timedelta(days=scale.month_days)),
    }
    address = _an_address(folder / "work/lake", noon)
    searches = {
        name: _search(place, folder / "work", since, until, address)
        for name, (since, until) in ranges.items()
    }
    result = Month(
        taken=started,
        amount=amount(place.manifest, f"each day {describe(shape)}"),
        days=scale.month_days,
        engine=engine,
        run=run,
        nothing_new=nothing_new,
        searches=searches,
    )
    shutil.rmtree(folder / "work", ignore_errors=True)
    return result


class _Counting(LocalStore):
    """A local store that remembers which objects with events were read."""

    def __init__(self, root: Path) -> None:
        super().__init__(root, str(root))
        self.objects: set[str] = set()

    def read(self, path: str) -> bytes:
        if path.startswith(f"{STINGAR.name}/events/"):
            self.objects.add(path)
        return super().read(path)


def _search(place: Place, work: Path, since: datetime, until: datetime, address: str) -> Search:
    command = stingar(
        "events", "--since", f"{since:%Y-%m-%dT%H}", "--until", f"{until:%Y-%m-%dT%H}",
        "--src-ip", address, "--format", "json",
    )  # fmt: skip
    environ = {**os.environ, **environment(place, work)}
    costs = []
    output = ""
    for turn in range(_TIMES):
        cost, output = measured(command, environ)
        costs.append(cost)
        tell(turn, f"events {since:%m-%dT%H} to {until:%m-%dT%H}", cost)
    found = len(output.splitlines())
    events = expected = 0
    in_range = set()
    for path in (work / "lake/stingar/events").glob("*/*/events.json"):
        date, hour = (part.partition("=")[2] for part in path.parts[-3:-1])
        if since <= datetime.fromisoformat(f"{date}T{hour}:00+00:00") < until:
            lines = path.read_bytes().splitlines()
            events += len(lines)
            mentions = (line for line in lines if address.encode() in line)
            expected += sum(json.loads(line).get("src_ip") == address for line in mentions)
            in_range.add(str(path.relative_to(work / "lake")))
    if found != expected:
        raise Disagreement(f"{found:,} events found by address of {expected:,}")
    store = _Counting(work / "lake")
    for _ in search(Lake(store, STINGAR), Query(since, until, address)):
        pass
    return Search(
        costs=costs,
        events=events,
        found=found,
        objects=len(store.objects),
        in_range=len(in_range),
        outside=len(store.objects - in_range),
    )


def _an_address(lake: Path, hour: datetime) -> str:
    """One that comes up neither very often nor once in that hour."""
    path = lake / f"stingar/events/date={hour:%Y-%m-%d}/hour={hour:%H}/events.json"
    lines = path.read_bytes().splitlines()
    counts = Counter(json.loads(line).get("src_ip") for line in lines)
    counts.pop(None, None)
    often = sorted(counts, key=lambda address: (counts[address], address))
    return str(often[len(often) // 2])
