"""The suite: generates captures, measures section by section, keeps figures, prints tables.

    python -m benchmarks.bench [SECTION ...] [--small] [--rounds N] [--only NAME,NAME]
                               [--megabytes N] [--folder F]

Sections: contenders, shapes, sizes, hours, late, month, backlog, idle; all by default. Captures
are kept below the folder and used again. After each section its figures are in results.json there
(those of another size in a file of their own), so that a suite that was stopped goes on with the
sections left. `--small` only shows that everything runs.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from benchmarks import comparisons
from benchmarks.captures import Shape
from benchmarks.contenders import ALL, Disagreement
from benchmarks.measuring import ROOT, Failed
from benchmarks.report import report
from benchmarks.results import load, save
from benchmarks.scale import FULL, SMALL, Scale
from benchmarks.scenarios.backlog import backlog
from benchmarks.scenarios.idle import idle
from benchmarks.scenarios.late import late
from benchmarks.scenarios.month import month

_FEW: Final = 2
"""Rounds of what takes long and is compared with nobody else's."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION")
    parser.add_argument(
        "--small", action="store_true", help="see that it runs; no figures to quote"
    )
    parser.add_argument("--rounds", type=int, help="turns of each contender")
    parser.add_argument("--only", help="contenders, with commas between")
    parser.add_argument("--megabytes", type=float, help="of the main comparison")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/bench")
    given = parser.parse_args(arguments)
    scale = SMALL if given.small else FULL
    scale = replace(
        scale,
        megabytes=given.megabytes or scale.megabytes,
        rounds=given.rounds or scale.rounds,
        name=f"{given.megabytes:g} MB" if given.megabytes else scale.name,
    )
    names = given.only.split(",") if given.only else ALL
    known = sections(given.folder, scale, names)
    for name in (*given.sections, *names):
        if name not in known and name not in ALL:
            parser.error(f"{name!r} is none of {', '.join((*known, *ALL))}")
    # Apart from each other, so that what may be quoted holds nothing else.
    kept = given.folder / f"results{'' if scale.name == 'full' else '-' + scale.name}.json"
    results = load(kept)
    results.scale = scale.name
    try:
        for name in given.sections or known:
            print(f"{name}:", flush=True)
            setattr(results, name, known[name]())
            save(kept, results)
    except (Disagreement, Failed) as error:
        sys.exit(f"bench: {name}: {error}")
    finally:
        shutil.rmtree(given.folder / "work", ignore_errors=True)
    print(report(results))
    print(f"\nFigures: {kept}")


def sections(folder: Path, scale: Scale, names: Sequence[str]) -> dict[str, Callable[[], Any]]:
    """What measures each part of the results, in the order of the suite."""
    few = min(_FEW, scale.rounds)
    shape = Shape(megabytes=scale.megabytes)
    return {
        "contenders": lambda: comparisons.compare(folder, shape, names, scale.rounds),
        "shapes": lambda: comparisons.shapes(folder, scale, min(3, scale.rounds)),
        "sizes": lambda: comparisons.sizes(folder, scale, few),
        "hours": lambda: comparisons.hours(folder, scale, few),
        "late": lambda: late(folder, scale),
        "month": lambda: month(folder, scale),
        "backlog": lambda: backlog(folder, scale),
        "idle": lambda: idle(folder, scale),
    }


if __name__ == "__main__":
    main()
