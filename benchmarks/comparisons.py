"""Contenders take turns: over one landing folder, over its shapes, over sizes, over long hours.

A turn is one whole process. Who is slow in one round because the machine was busy is not slow in
all, so figures are medians over rounds. Not here: how one is run and checked (`contenders`).
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.captures import Place, Shape, captures, days, groups, nothing, together
from benchmarks.contenders import contend
from benchmarks.measuring import Cost, Failed, measured
from benchmarks.results import Comparison, Variant, Variants, amount, taken
from benchmarks.scale import Scale

_STARTS: Final = ("engine", "run", "loop")
_GROUP_MEGABYTES: Final = 1000
"""An hour that is larger comes from several processes, a group of partitions each."""
_MEAN_HOUR: Final = 7
"""When the sample traffic is as busy as on average."""


def compare(
    folder: Path, shape: Shape, names: Sequence[str], rounds: int, *, floor: bool = True
) -> Comparison:
    """Everyone in turn, start-ups and the machine's limits among them."""
    place = captures(folder, shape, plain=True)
    empty = nothing(folder)
    result = Comparison(
        taken=taken(),
        amount=amount(place.manifest, describe(shape)),
        costs={name: [] for name in names},
        starts={name: [] for name in names if name in _STARTS},
    )
    for turn in range(rounds):
        if floor:
            result.floor.append(limits(place, folder / "work"))
            tell(turn, "floor", f"{result.floor[-1]}")
        # Another one first in each round, so that nobody always follows the same one.
        for name in (*names[turn % len(names) :], *names[: turn % len(names)]):
            result.costs[name].append(contend(name, place, folder / "work"))
            tell(turn, name, result.costs[name][-1])
        for name in result.starts:
            result.starts[name].append(contend(name, empty, folder / "work"))
            tell(turn, f"{name}, nothing to do", result.starts[name][-1])
    return result


def shapes(folder: Path, scale: Scale, rounds: int) -> Variants:
    """The same traffic as 36 files and as many, in both codecs and both block shapes."""
    first = Shape(megabytes=scale.megabytes)
    several = {
        "36 files": first,
        f"{scale.tiny_files:,} files": replace(first, files=scale.tiny_files),
        "deflate": replace(first, codec="deflate"),
        "one block a file": replace(first, block_bytes=None),
        "one block a file, deflate": replace(first, block_bytes=None, codec="deflate"),
    }
    places = {name: captures(folder, shape) for name, shape in several.items()}
    descriptions = {name: describe(shape) for name, shape in several.items()}
    return _variants(folder, places, descriptions, ("engine", "loop"), rounds)


def sizes(folder: Path, scale: Scale, rounds: int) -> Variants:
    """One amount, and many days of as much."""
    shape = Shape(megabytes=scale.megabytes)
    places = {
        "1 day": captures(folder, shape),
        f"{scale.days} days": together(folder, days(shape, scale.days)),
    }
    description = f"each day {describe(shape)}"
    return _variants(folder, places, dict.fromkeys(places, description), ("engine",), rounds)


def hours(folder: Path, scale: Scale, rounds: int) -> Variants:
    """One landed hour, from small to very large."""
    places: dict[str, Place] = {}
    descriptions: dict[str, str] = {}
    for megabytes in scale.hour_megabytes:
        parts = max(1, round(megabytes / _GROUP_MEGABYTES))
        shape = Shape(megabytes=megabytes / parts, files=48, first_hour=_MEAN_HOUR, hours=1)
        name = f"an hour of {megabytes:,g} MB"
        places[name] = together(folder, groups(shape, parts))
        descriptions[name] = f"five minutes a file, {4 * parts} partitions"
    return _variants(folder, places, descriptions, ("engine",), rounds)


def limits(place: Place, work: Path) -> dict[str, float]:
    """Seconds of each stage of the machine's own limits."""
    command = [sys.executable, "-m", "benchmarks.floor", str(place.folder), str(work / "floor")]
    _, output = measured(command, os.environ)
    seconds: dict[str, float] = json.loads(output)
    return seconds


def describe(shape: Shape) -> str:
    blocks = f"blocks of {shape.block_bytes:,} bytes" if shape.block_bytes else "one block a file"
    return f"{shape.files:,} files, codec {shape.codec}, {blocks}, seed {shape.seed}"


def tell(turn: int, what: str, cost: Cost | str) -> None:
    text = cost if isinstance(cost, str) else f"{cost.wall:7.2f} s  {cost.peak:6,.0f} MB"
    print(f"  round {turn + 1}  {what:28} {text}", flush=True)


def _variants(
    folder: Path,
    places: dict[str, Place],
    descriptions: dict[str, str],
    names: Sequence[str],
    rounds: int,
) -> Variants:
    results = {
        name: Variant(
            amount=amount(place.manifest, descriptions[name]), costs={who: [] for who in names}
        )
        for name, place in places.items()
    }
    all_of_it = Variants(taken=taken(), variants=results)
    for turn in range(rounds):
        for name, place in places.items():
            variant = results[name]
            if variant.failed is not None:
                continue
            for who in names:
                try:
                    cost = contend(who, place, folder / "work")
                except Failed as failure:
                    # Too large for this machine's memory, say: a finding, too.
                    variant.failed = f"{who}: {str(failure).splitlines()[0]}"
                    tell(turn, f"{who}, {name}", variant.failed)
                    break
                variant.costs[who].append(cost)
                tell(turn, f"{who}, {name}", cost)
    return all_of_it
