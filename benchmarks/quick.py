"""The guard: in a few minutes, whether the engine is still as much faster than the loop as it was.

    python -m benchmarks.quick [--folder F]

240 MB, both in turn, whole processes at the same number of processes, each one's start-up taken off
(it would hide the ratio at this size). Of each the best round counts: other work on the machine
only ever adds. Exit code 1 where the ratio falls under the floor.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.captures import Shape
from benchmarks.comparisons import compare
from benchmarks.contenders import Disagreement
from benchmarks.measuring import ROOT, Failed
from benchmarks.results import Comparison

RATIO_FLOOR: Final = 1.3
"""How many times as fast as the json loop the engine has to be; raise it when it is."""

_SHAPE: Final = Shape(megabytes=240)
_ROUNDS: Final = 2


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and say in one line whether the ratio holds."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quick", description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / "build/bench")
    given = parser.parse_args(arguments)
    try:
        measured = compare(given.folder, _SHAPE, ("engine", "loop"), _ROUNDS, floor=False)
    except (Disagreement, Failed) as error:
        sys.exit(f"bench-quick: {error}")
    ratio = ratio_of(measured)
    if ratio < RATIO_FLOOR:
        sys.exit(
            f"bench-quick: the engine is {ratio:.2f} times as fast as the json loop, "
            f"less than {RATIO_FLOOR:g} times"
        )
    print(
        f"bench-quick: the engine is {ratio:.2f} times as fast as the json loop, "
        f"at least {RATIO_FLOOR:g} times"
    )


def ratio_of(comparison: Comparison) -> float:
    """How many times as fast as the loop the engine was in its best round, start-up aside."""
    loop, engine = (
        min(cost.wall for cost in comparison.costs[who])
        - min(cost.wall for cost in comparison.starts[who])
        for who in ("loop", "engine")
    )
    return loop / engine


if __name__ == "__main__":
    main()
