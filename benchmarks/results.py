"""Figures, kept as JSON so that tables and plots can be made again without measuring.

One file holds a part for each section of the suite; a section measured again replaces its part
only. Not here: how figures are taken, shown (`report`) or judged (`targets`).
"""

import contextlib
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from benchmarks.captures import Manifest
from benchmarks.measuring import ROOT, Cost, machine_memory

_VERSIONS = ("polars", "msgspec", "dagster", "duckdb", "chdb", "pyspark", "orjson", "fastavro")


class Taken(msgspec.Struct, kw_only=True):
    """When and where a section was measured.

    Attributes:
        at: UTC.
        commit: of this repository, with + if files were changed.
        machine: processor, cores, memory, system, Python.
        load: of the machine before the section began, in processes; much above 0 it was not quiet.
        versions: of what took part.
    """

    at: str
    commit: str
    machine: str
    load: float
    versions: dict[str, str]


class Amount(msgspec.Struct, kw_only=True):
    """What was given to read."""

    files: int
    records: int
    megabytes: float
    description: str = ""


class Comparison(msgspec.Struct, kw_only=True):
    """Contenders that took turns over the same captures.

    Attributes:
        amount: of the captures.
        costs: of each contender, a round each.
        starts: the same with nothing to read: start-up.
        floor: seconds of each stage of the machine's own limits, a round each.
    """

    taken: Taken
    amount: Amount
    costs: dict[str, list[Cost]]
    starts: dict[str, list[Cost]] = {}
    floor: list[dict[str, float]] = []


class Variant(msgspec.Struct, kw_only=True):
    """One shape or size of captures.

    Attributes:
        amount: of the captures.
        costs: of each contender, a round each.
        failed: why it has none.
    """

    amount: Amount
    costs: dict[str, list[Cost]] = {}
    failed: str | None = None


class Variants(msgspec.Struct, kw_only=True):
    """Shapes or sizes, by name, the first the one that others are compared with."""

    taken: Taken
    variants: dict[str, Variant]


class Late(msgspec.Struct, kw_only=True):
    """Late events for a published hour: seconds for each, of landing, the hour, and its day.

    Attributes:
        hour_megabytes: size of the published hour.
        hour, day, landing: wall seconds of `publish_hour`, `roll_day` and `land_hour`.
        cpu: of hour and day.
    """

    taken: Taken
    hour_megabytes: float
    landing: list[float]
    hour: list[float]
    day: list[float]
    cpu: list[float]


class Search(msgspec.Struct, kw_only=True):
    """`stingar events` over a range by one address.

    Attributes:
        events: in the range; found: that match.
        objects: read; in_range: published hours in the range; outside: read though not in range.
    """

    costs: list[Cost]
    events: int
    found: int
    objects: int
    in_range: int
    outside: int


class Month(msgspec.Struct, kw_only=True):
    """A month at once.

    Attributes:
        engine, run: the whole backfill.
        nothing_new: `stingar run` after it.
        searches: by range.
    """

    taken: Taken
    amount: Amount
    days: int
    engine: Cost
    run: Cost
    nothing_new: list[Cost]
    searches: dict[str, Search]


class Backlog(msgspec.Struct, kw_only=True):
    """Tiny captures found and worked off through the sensors.

    Attributes:
        ticks: seconds of every tick of each sensor.
        runs: how many were asked for.
        in_order: whether landed hours were asked for from the oldest to the newest.
        landed: captures in ledgers afterwards.
        wall, cpu: of the whole, runs included.
        peak: megabytes.
    """

    taken: Taken
    amount: Amount
    ticks: dict[str, list[float]]
    runs: int
    in_order: bool
    landed: int
    cost: Cost


class Idle(msgspec.Struct, kw_only=True):
    """The demo's processes with nothing to do.

    Attributes:
        seconds: how long it was watched.
        processes: how many there were.
        cpu: seconds they took in that time.
        ticks: sensor ticks in that time, by status.
        kept_days: days that ticks of each status are kept for.
        tick_bytes: that storage grew by for each tick.
        other_growth: bytes that all other databases and files grew by in that time.
    """

    taken: Taken
    seconds: float
    processes: int
    cpu: float
    ticks: dict[str, int]
    kept_days: dict[str, int]
    tick_bytes: float
    other_growth: int

    @property
    def share_of_a_core(self) -> float:
        return self.cpu / self.seconds

    @property
    def settles_at_megabytes(self) -> float:
        """What idle ticks come to when as many are purged as are added."""
        a_day = 86_400 / self.seconds
        kept = sum(count * a_day * self.kept_days[kind] for kind, count in self.ticks.items())
        return kept * self.tick_bytes / 1e6


class Results(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Every section measured so far.

    Attributes:
        scale: `full`, or what else it was; only figures of the full size may be quoted.
    """

    scale: str = "full"
    contenders: Comparison | None = None
    shapes: Variants | None = None
    sizes: Variants | None = None
    hours: Variants | None = None
    late: Late | None = None
    month: Month | None = None
    backlog: Backlog | None = None
    idle: Idle | None = None


def load(path: Path) -> Results:
    """What a file holds; nothing where there is none."""
    if not path.exists():
        return Results()
    return msgspec.json.decode(path.read_bytes(), type=Results)


def save(path: Path, results: Results) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")


def amount(manifest: Manifest, description: str = "") -> Amount:
    return Amount(
        files=manifest.files,
        records=manifest.records,
        megabytes=manifest.body_bytes / 1e6,
        description=description,
    )


def taken() -> Taken:
    """Here and now."""
    return Taken(
        at=f"{datetime.now(UTC):%Y-%m-%d %H:%M}",
        commit=_git("rev-parse", "--short", "HEAD")
        + ("+" if _git("status", "--porcelain", "--untracked-files=no") else ""),
        machine=f"{_processor()}, {os.cpu_count()} cores, {machine_memory() / 1000:.0f} GB, "
        f"{platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}",
        load=round(os.getloadavg()[0], 2),
        versions=_versions(),
    )


def _versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONS:
        # The other engines are an optional extra.
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
