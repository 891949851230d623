"""What the pipeline is to reach, and what it did.

A target whose section has not been measured has no figure and is neither met nor missed. Not here:
how figures are taken (`comparisons`, `scenarios`) or printed (`report`).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

from benchmarks.floor import FLOOR
from benchmarks.measuring import Cost
from benchmarks.results import Comparison, Results, Variants

TICK_SECONDS_ALLOWED: Final = 60.0
"""How long Dagster waits for one look of a sensor."""


@dataclass(frozen=True)
class Target:
    """One promise.

    Attributes:
        text: what is measured.
        bound: `least` or `most`.
        limit: the figure to reach.
        unit: after the figure.
        reached: the figure, None where it has not been measured.
    """

    text: str
    bound: Literal["least", "most"]
    limit: float
    unit: str
    reached: Callable[[Results], float | None]


@dataclass(frozen=True)
class Verdict:
    """A target and what was reached; `met` is None where nothing was measured."""

    target: Target
    figure: float | None
    met: bool | None


def judge(results: Results) -> list[Verdict]:
    """Every target, in order."""
    verdicts = []
    for target in TARGETS:
        figure = target.reached(results)
        met = None
        if figure is not None:
            met = figure >= target.limit if target.bound == "least" else figure <= target.limit
        verdicts.append(Verdict(target, figure, met))
    return verdicts


def wall(costs: Sequence[Cost]) -> float:
    """Median seconds."""
    return median(cost.wall for cost in costs)


def faster(comparison: Comparison, than: str) -> float | None:
    """How many times as fast as another the engine was, whole processes, medians of wall time."""
    costs = comparison.costs
    if not costs.get("engine") or not costs.get(than):
        return None
    return wall(costs[than]) / wall(costs["engine"])


def floor_seconds(comparison: Comparison) -> float | None:
    """Median over rounds of reading, validating and writing."""
    if not comparison.floor:
        return None
    return median(sum(stages[name] for name in FLOOR) for stages in comparison.floor)


# ---- figures of single targets


def _against(name: str) -> Callable[[Results], float | None]:
    return lambda r: faster(r.contenders, name) if r.contenders else None


def _over_chdb(results: Results) -> float | None:
    ratio = _against("chdb")(results)
    return 1 / ratio if ratio else None


def _added_by_run(results: Results) -> float | None:
    part = results.contenders
    if part is None or not {"engine", "run"} <= part.costs.keys() & part.starts.keys():
        return None
    engine, run = (wall(part.costs[who]) - wall(part.starts[who]) for who in ("engine", "run"))
    return 100 * (run - engine) / engine


def _over_floor(results: Results) -> float | None:
    part = results.contenders
    floor = floor_seconds(part) if part else None
    if part is None or floor is None or not part.costs.get("engine"):
        return None
    return wall(part.costs["engine"]) / floor


def _engines(part: Variants | None) -> dict[str, list[Cost]]:
    """The engine's costs of each variant that has some."""
    variants = part.variants if part else {}
    return {name: v.costs["engine"] for name, v in variants.items() if v.costs.get("engine")}


def _shape(name: Callable[[str], bool]) -> Callable[[Results], float | None]:
    """The engine over one shape, against the first one."""

    def reached(results: Results) -> float | None:
        several = _engines(results.shapes)
        other = next((several[key] for key in several if name(key)), None)
        first = next(iter(several.values()), None)
        return wall(other) / wall(first) if other and first else None

    return reached


def _least_of_shapes(results: Results) -> float | None:
    """The worst ratio to the loop, over both block shapes of both codecs."""
    ratios = [
        wall(variant.costs["loop"]) / wall(variant.costs["engine"])
        for name, variant in (results.shapes.variants if results.shapes else {}).items()
        if variant.costs.get("engine") and variant.costs.get("loop") and not _is_tiny(name)
    ]
    return min(ratios, default=None)


def _is_tiny(name: str) -> bool:
    return name.endswith("files") and name != "36 files"


def _last_over(
    part: Callable[[Results], Variants | None], first: int, what: Callable[[Sequence[Cost]], float]
) -> Callable[[Results], float | None]:
    """The last variant against an earlier one, None if either failed."""

    def reached(results: Results) -> float | None:
        variants = part(results)
        names = list(variants.variants) if variants else []
        several = _engines(variants)
        if len(names) < 2 or names[first] not in several or names[-1] not in several:
            return None
        return what(several[names[-1]]) / what(several[names[first]])

    return reached


def peak(costs: Sequence[Cost]) -> float:
    """Megabytes of the largest process of all rounds."""
    return max(cost.peak for cost in costs)


def _largest_peak(results: Results) -> float | None:
    """Of the engine and `stingar run`, in every section; an engine that failed had too little."""
    parts = (results.shapes, results.sizes, results.hours)
    if any(v.failed for part in parts if part for v in part.variants.values()):
        return float("inf")
    costs = [cost for part in parts for several in _engines(part).values() for cost in several]
    if results.contenders:
        costs += [c for who in ("engine", "run") for c in results.contenders.costs.get(who, [])]
    if results.month:
        costs += [results.month.engine, results.month.run]
    return peak(costs) if costs else None


def _late(results: Results) -> float | None:
    part = results.late
    return median(map(sum, zip(part.hour, part.day, strict=True))) if part else None


def _outside(results: Results) -> float | None:
    part = results.month
    return sum(search.outside for search in part.searches.values()) if part else None


def _month_search(results: Results) -> float | None:
    return wall(results.month.searches["month"].costs) if results.month else None


def _nothing_new(results: Results) -> float | None:
    return wall(results.month.nothing_new) if results.month else None


def _dagsters_share(results: Results) -> float | None:
    part = results.month
    return 100 * (part.run.wall - part.engine.wall) / part.run.wall if part else None


def _longest_tick(results: Results) -> float | None:
    part = results.backlog
    return max(max(ticks) for ticks in part.ticks.values()) if part else None


def _out_of_order(results: Results) -> float | None:
    return float(not results.backlog.in_order) if results.backlog else None


def _idle(results: Results) -> float | None:
    return 100 * results.idle.share_of_a_core if results.idle else None


TARGETS: Final = (
    Target("engine against the json loop", "least", 6, "times as fast", _against("loop")),
    Target("the same in the slowest block shape", "least", 6, "times as fast", _least_of_shapes),
    Target("engine against PySpark", "least", 4, "times as fast", _against("spark")),
    Target("engine against DuckDB", "least", 1, "times as fast", _against("duckdb")),
    Target("engine's wall over chDB's", "most", 1.5, "times", _over_chdb),
    Target("what `stingar run` adds, start-up aside", "most", 25, "%", _added_by_run),
    Target("engine over the machine's floor", "most", 6, "times", _over_floor),
    Target("tiny files over 36 files", "most", 1.5, "times", _shape(_is_tiny)),
    Target("deflate over null", "most", 1.3, "times", _shape(lambda name: name == "deflate")),
    Target("largest process", "most", 1200, "MB", _largest_peak),
    Target(
        "ten times the input: time", "most", 11, "times", _last_over(lambda r: r.sizes, 0, wall)
    ),
    Target(
        "ten times the input: memory", "most", 1.1, "times", _last_over(lambda r: r.sizes, 0, peak)
    ),
    Target(
        "the largest hour over the one before it: memory", "most", 1.1, "times",
        _last_over(lambda r: r.hours, -2, peak),
    ),
    Target("a late event: its hour and day again", "most", 0.3, "s", _late),
    Target("objects read out of range in searches", "most", 0, "objects", _outside),
    Target("a month by address", "most", 10, "s", _month_search),
    Target("`stingar run` on nothing new, after a month", "most", 3, "s", _nothing_new),
    Target("Dagster's share of a month's backfill", "most", 25, "%", _dagsters_share),
    Target(
        "longest look of a sensor over a backlog", "most", TICK_SECONDS_ALLOWED, "s", _longest_tick
    ),
    Target("hours of the backlog asked for out of order", "most", 0, "", _out_of_order),
    Target("idle demo", "most", 10, "% of a core", _idle),
)  # fmt: skip


def summary(verdicts: Sequence[Verdict]) -> str:
    """How many are met, in one line."""
    counts = Counter(verdict.met for verdict in verdicts)
    return (
        f"{counts[True]} of {len(verdicts)} targets met, {counts[False]} missed, "
        f"{counts[None]} not measured"
    )
