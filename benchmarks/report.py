"""Figures as Markdown tables and a plot, made from results without measuring anything.

    python -m benchmarks.report [--results FILE] [--docs]

Prints the tables. With `--docs` it writes them between their marks in docs/performance.md and in
the README, the plot beside the README's other images, and the figures themselves to
docs/benchmark.json. Not here: what is measured, and what is to be reached (`targets`).
"""

import argparse
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.contenders import OURS
from benchmarks.floor import FLOOR, STAGES
from benchmarks.measuring import ROOT, Cost
from benchmarks.peers import LET_OFF
from benchmarks.plot import NAMES, svg
from benchmarks.results import Comparison, Idle, Late, Month, Results, Taken, Variants, load, save
from benchmarks.targets import faster, floor_seconds, judge, peak, summary, wall

RESULTS: Final = ROOT / "build/bench/results.json"
KEPT: Final = ROOT / "docs/benchmark.json"
PLOT: Final = Path("docs/images/benchmark.svg")
_BEGIN: Final = "<!-- figures: python -m benchmarks.report --docs -->"
_END: Final = "<!-- end of figures -->"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print, and put into the documents if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--results", type=Path, help=f"default: {RESULTS}, else {KEPT}")
    parser.add_argument("--docs", action="store_true")
    given = parser.parse_args(arguments)
    results = load(given.results or (RESULTS if RESULTS.exists() else KEPT))
    if results == Results():
        sys.exit("there are no figures yet: make bench")
    print(report(results))
    if given.docs:
        try:
            write_docs(results, ROOT)
        except ValueError as error:
            sys.exit(f"report: {error}")


def write_docs(results: Results, root: Path) -> None:
    """Put tables, plot and figures where readers find them.

    Raises:
        ValueError: they may not be quoted, or a document has no marks for them.
    """
    if results.scale != "full":
        raise ValueError(f"these figures are of scale {results.scale!r}: only full ones are quoted")
    save(root / KEPT.relative_to(ROOT), results)
    _fill(root / "docs/performance.md", report(results))
    if results.contenders is not None:
        (root / PLOT).parent.mkdir(parents=True, exist_ok=True)
        (root / PLOT).write_text(svg(results.contenders))
        picture = f"![Seconds of each, median and spread]({PLOT})"
        _fill(root / "README.md", f"{picture}\n\n{contenders(results.contenders)}")


def report(results: Results) -> str:
    """Every section that has figures, and the targets."""
    parts = []
    if results.scale != "full":
        parts.append(f"**Scale {results.scale!r}: this shows that it runs, and nothing else.**")
    if results.contenders:
        amount = results.contenders.amount
        parts += [
            "### The same captures, in turn",
            f"{amount.megabytes:,.0f} MB of bodies, {amount.records:,} records, "
            f"{amount.description}. {_where(results.contenders.taken)}",
            contenders(results.contenders),
            limits(results.contenders),
        ]
    for title, variants in (
        ("### Shapes of captures", results.shapes),
        ("### More input", results.sizes),
        ("### Longer hours", results.hours),
    ):
        if variants:
            parts += [title, _where(variants.taken), _variants(variants)]
    if results.late:
        parts += ["### A late event", _where(results.late.taken), _late(results.late)]
    if results.month:
        parts += ["### A month", _where(results.month.taken), _month(results.month)]
    if results.backlog:
        backlog = results.backlog
        parts += [
            "### A backlog through the sensors",
            _where(backlog.taken),
            f"{backlog.amount.files:,} captures, {backlog.amount.records:,} records: "
            f"{backlog.runs:,} runs, {backlog.cost.wall:,.0f} s, largest process "
            f"{backlog.cost.peak:,.0f} MB, asked for "
            f"{'from the oldest to the newest' if backlog.in_order else 'OUT OF ORDER'}.",
            _table(
                ("sensor", "looks", "median s", "longest s"),
                [
                    (name, f"{len(ticks)}", f"{median(ticks):.2f}", f"{max(ticks):.2f}")
                    for name, ticks in backlog.ticks.items()
                ],
            ),
        ]
    if results.idle:
        parts += ["### An idle demo", _where(results.idle.taken), _idle(results.idle)]
    return "\n\n".join((*parts, "### Targets", targets(results)))


def contenders(part: Comparison) -> str:
    """Medians, least and most, and how much faster the engine is."""
    rows = []
    for name, costs in part.costs.items():
        if not costs:
            continue
        ratio = None if name in OURS else faster(part, name)
        start = part.starts.get(name)
        rows.append(
            (
                NAMES.get(name, name),
                f"{wall(costs):.1f}",
                _spread(costs),
                f"{wall(start):.1f}" if start else "",
                f"{median(cost.cpu for cost in costs):.1f}",
                f"{peak(costs):,.0f}",
                f"{max(cost.together for cost in costs):,.0f}",
                f"{ratio:.2f} times as fast" if ratio else "",
                LET_OFF.get(name, ""),
            )
        )
    heads = (
        "", "wall s", "least to most", "of it start-up", "CPU s", "peak MB of a process",
        "of all", "the engine is", "let off",
    )  # fmt: skip
    return _table(heads, rows)


def limits(part: Comparison) -> str:
    """The machine's own, from the same rounds."""
    floor = floor_seconds(part)
    if floor is None:
        return ""
    megabytes = part.amount.megabytes
    rows = [
        (f"{stage}", f"{seconds:.2f}", f"{megabytes / seconds:,.0f}")
        for stage in STAGES
        if (seconds := median(stages[stage] for stages in part.floor))
    ]
    rows.append((f"floor: {', '.join(FLOOR)}", f"{floor:.2f}", f"{megabytes / floor:,.0f}"))
    return _table(("the machine, two processes", "s", "MB/s"), rows)


def targets(results: Results) -> str:
    verdicts = judge(results)
    words = {True: "met", False: "**missed**", None: ""}
    rows = [
        (
            verdict.target.text,
            f"at {verdict.target.bound} {verdict.target.limit:g} {verdict.target.unit}".rstrip(),
            "not measured" if verdict.figure is None else f"{verdict.figure:,.2f}",
            words[verdict.met],
        )
        for verdict in verdicts
    ]
    return f"{_table(('', 'target', 'reached', ''), rows)}\n\n{summary(verdicts)}."


def _variants(part: Variants) -> str:
    rows = []
    for name, variant in part.variants.items():
        what = f"{name}: {variant.amount.megabytes:,.0f} MB, {variant.amount.description}"
        if variant.failed:
            rows.append((what, variant.failed, "", "", "", ""))
        for who, costs in variant.costs.items():
            if costs:
                rows.append(
                    (
                        what,
                        NAMES[who],
                        f"{wall(costs):.1f}",
                        _spread(costs),
                        f"{median(cost.cpu for cost in costs):.1f}",
                        f"{peak(costs):,.0f}",
                    )
                )
    return _table(("", "", "wall s", "least to most", "CPU s", "peak MB of a process"), rows)


def _late(part: Late) -> str:
    rows = [
        (what, f"{median(several):.3f}", f"{min(several):.3f} to {max(several):.3f}")
        for what, several in (
            ("its capture landed", part.landing),
            ("the hour published again", part.hour),
            ("the day rolled up again", part.day),
            ("hour and day, CPU", part.cpu),
        )
    ]
    return _table((f"an hour of {part.hour_megabytes:.1f} MB", "s", "least to most"), rows)


def _month(part: Month) -> str:
    rows = [
        (f"{part.days} days, {part.amount.megabytes:,.0f} MB: engine", f"{part.engine.wall:.1f}",
         f"{part.engine.cpu:.1f}", f"{part.engine.peak:,.0f}"),
        ("the same: stingar run", f"{part.run.wall:.1f}", f"{part.run.cpu:.1f}",
         f"{part.run.peak:,.0f}"),
        ("stingar run on nothing new", *_figures(part.nothing_new)),
    ]  # fmt: skip
    for name, search in part.searches.items():
        what = (
            f"stingar events, one address, a {name}: {search.found:,} of {search.events:,} events, "
            f"{search.objects:,} objects read of {search.in_range:,} in range"
        )
        rows.append((what, *_figures(search.costs)))
    return _table(("", "wall s", "CPU s", "peak MB of a process"), rows)


def _idle(part: Idle) -> str:
    ticks = ", ".join(f"{count} {status}" for status, count in sorted(part.ticks.items()))
    kept = ", ".join(f"{status} {days}" for status, days in part.kept_days.items())
    return (
        f"{part.processes} processes, watched for {part.seconds:.0f} s: {part.cpu:.1f} s of CPU, "
        f"{100 * part.share_of_a_core:.1f}% of a core. Ticks in that time: {ticks or 'none'}; "
        f"storage grew by {part.tick_bytes:,.0f} bytes a tick, everything else by "
        f"{part.other_growth:,} bytes. Days that ticks are kept: {kept}. So many ticks come to "
        f"{part.settles_at_megabytes:,.0f} MB, and to no more."
    )


def _figures(costs: Sequence[Cost]) -> tuple[str, str, str]:
    cpu = median(cost.cpu for cost in costs)
    return f"{wall(costs):.1f}", f"{cpu:.1f}", f"{peak(costs):,.0f}"


def _spread(costs: Sequence[Cost]) -> str:
    walls = [cost.wall for cost in costs]
    return f"{min(walls):.1f} to {max(walls):.1f}"


def _where(taken: Taken) -> str:
    return (
        f"{taken.machine}; load {taken.load:g} before; commit {taken.commit or 'unknown'}, "
        f"{taken.at} UTC."
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The first column is text, and so is a last one that has any letters; others are figures."""
    rows = list(rows)
    lines = [_row(heads)]
    marks = ["---:" if index and _is_figures(rows, index) else "---" for index in range(len(heads))]
    lines.append(f"|{'|'.join(marks)}|")
    return "\n".join((*lines, *map(_row, rows)))


def _row(cells: Sequence[str]) -> str:
    return f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in cells)}|"


def _is_figures(rows: Sequence[Sequence[str]], column: int) -> bool:
    return not any(re.search("[A-Za-z]{3}", row[column]) for row in rows)


def _fill(path: Path, text: str) -> None:
    """Replace what stands between the marks."""
    before, begin, rest = path.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{path} has no marks for figures: {_BEGIN} and {_END}")
    path.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}")


if __name__ == "__main__":
    main()
