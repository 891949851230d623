"""The contenders: the same captures, as whole processes, and what each has to come to.

`engine` is the three steps as a user of the Python API calls them, `run` is `stingar run`; the
others are `peers`. Nothing is compared before it has been checked that a contender read all there
was, and that what it wrote, counted again from its files, is what it says. Not here: who takes
which turn (`comparisons`).
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Final

from benchmarks.captures import Manifest, Place
from benchmarks.measuring import ROOT, Cost, measured
from benchmarks.peers import LET_OFF, PROCESSES

OURS: Final = ("engine", "run")
TABLES: Final = ("duckdb", "chdb", "spark")
"""Those that read lines of JSON, since they read no Avro or not these records."""
ALL: Final = (*OURS, *LET_OFF)

_EVENT_ID: Final = re.compile(rb'"event_id":"[^"/]*/[^"/]*/(\d+)/(\d+)(?:\.\d+)?"')
_PARTITIONS: Final = 4096


class Disagreement(Exception):
    """A contender did not read all, or did not write what it read: there is nothing to compare."""


def engine(landing: str, lake: str) -> None:
    """The three steps, as a user of the Python API calls them. Prints what it read and wrote."""
    from stingar_dagster.lake import backlog
    from stingar_dagster.lake.layout import day_of
    from stingar_dagster.pipeline import Pipeline
    from stingar_dagster.settings import Settings
    from stingar_dagster.streams import STINGAR
    from stingar_dagster.workers import Workers

    settings = Settings(landing=landing, lake=lake, processes=PROCESSES)
    pipeline = Pipeline(settings, STINGAR)
    listed = pipeline.landing.between(pipeline.settings.start, datetime.now(UTC)).captures
    hours = backlog.by_landed_hour(pipeline.lake, listed)
    with Workers(pipeline) as workers:
        records = sum(landed.total("records") for _, landed in workers.land_hours(hours))
        pending = backlog.unpublished_hours(pipeline.lake, hours)
        events = sum(published.record.rows for _, published in workers.publish_hours(pending))
        for _ in workers.roll_days(sorted({day_of(hour) for hour in (*pending, *hours)})):
            pass
    print(json.dumps({"read": records, "events": events}))


def contend(name: str, place: Place, work: Path, *, keep: bool = False) -> Cost:
    """Let one contender do its work in a folder, empty unless its content is to be kept.

    Raises:
        Failed: it did not come to an end.
        Disagreement: it came to something else than what was captured.
    """
    if not keep:
        shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    environ = dict(os.environ)
    if name == "run":
        cost, _ = measured(stingar("run"), environ | environment(place, work))
        counts = _recorded(work / "lake")
    else:
        if name == "engine":
            code = "import sys; from benchmarks.contenders import engine; engine(*sys.argv[1:])"
            command = [sys.executable, "-c", code, str(place.landing), str(work / "lake")]
        else:
            command = [sys.executable, "-m", "benchmarks.peers", name, str(place.folder), str(work)]
        cost, output = measured(command, environ)
        counts = json.loads(output.strip().splitlines()[-1])
    check(name, counts, place.manifest, work)
    return cost


def stingar(*arguments: str) -> list[str]:
    """The command, in a process of this Python."""
    code = "from stingar_dagster.cli import main; main(prog_name='stingar')"
    return [sys.executable, "-c", code, *arguments]


def environment(place: Place, work: Path) -> dict[str, str]:
    """What `stingar` is to find in its environment; the Dagster instance is made if need be."""
    home = work / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    instance = (ROOT / "dagster.yaml").read_text()
    (home / "dagster.yaml").write_text(instance.replace("data/dagster", str(home)))
    return {
        "STINGAR_LANDING": str(place.landing),
        "STINGAR_PROCESSES": str(PROCESSES),
        "STINGAR_LAKE": str(work / "lake"),
        "DAGSTER_HOME": str(home),
    }


def check(name: str, counts: Mapping[str, int], manifest: Manifest, work: Path) -> None:
    """Refuse to compare with one that did less, or other, than it was given.

    Raises:
        Disagreement: what it read is not what was captured, or what it wrote is not what it read.
    """
    expected = manifest.lines if name in TABLES else manifest.records
    if counts["read"] != expected:
        raise Disagreement(f"{name} read {counts['read']:,} of {expected:,}")
    if name in OURS:
        found, captured = identities(work / "lake"), manifest.identities
        if found != captured:
            raise Disagreement(f"{name} has {found:,} different events of {captured:,} captured")
    lines = sum(_lines(path) for path in _published(name, work))
    if lines != counts["events"]:
        raise Disagreement(f"{name} wrote {lines:,} events and says {counts['events']:,}")


def identities(lake: Path) -> int:
    """How many different captured events stand in what is published and in quarantine.

    Counted from the lines, not from what the pipeline says of them. Bodies that hold several
    events count once.
    """
    found: set[int] = set()
    for path in (*_published("engine", lake.parent), *lake.glob("stingar/quarantine/**/*.json")):
        if not path.stat().st_size:
            continue
        # Mapped, not read: an hour may be as large as this machine's memory.
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            for match in _EVENT_ID.finditer(data):
                found.add(int(match[2]) * _PARTITIONS + int(match[1]))
    return len(found)


def _published(name: str, work: Path) -> Iterator[Path]:
    """The files that hold a contender's events."""
    pattern = {
        **dict.fromkeys(OURS, "lake/stingar/events/**/*.json"),
        **dict.fromkeys(("loop", "loop-orjson"), "part-*/events/*.json"),
        "chdb": "events-*.json",
    }.get(name, "events/**/*.json")
    return work.glob(pattern)


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 22), b""))


def _recorded(lake: Path) -> dict[str, int]:
    """What `stingar run` says it read and wrote, by its ledgers and records."""
    lines = [
        json.loads(line)
        for path in (lake / "stingar/ledger").rglob("*.json")
        for line in path.read_text().splitlines()
    ]
    records = [
        json.loads(path.read_text()) for path in (lake / "stingar/state/events").rglob("*.json")
    ]
    return {
        "read": sum(line["records"] for line in lines),
        "events": sum(record["rows"] for record in records),
    }
