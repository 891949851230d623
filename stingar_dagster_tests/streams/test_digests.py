"""Distinct values in bounded room: exact while few, near when many, and the same however cut."""

import polars as pl
import pytest

from stingar_dagster.streams.digests import COUNTED_EXACTLY, KEPT, count_of, digest, least_digests


def counted(*parts: list[str]) -> int:
    least = [
        pl.DataFrame({"name": part}, schema={"name": pl.String}).select(
            least_digests("name", "least").implode()
        )
        for part in parts
    ]
    return int(pl.concat(least).select(count_of("least")).item())


@pytest.mark.parametrize("values", [0, 1, 100, COUNTED_EXACTLY])
def test_few_values_are_counted_exactly(values: int) -> None:
    names = [f"h{number}.example" for number in range(values)]
    assert counted(names, names[::-1], names[:7]) == values


@pytest.mark.parametrize("values", [KEPT, 1_000, 50_000])
def test_many_are_counted_within_a_fifth(values: int) -> None:
    names = [f"h{number}.example" for number in range(values)]
    assert counted(names) == pytest.approx(values, rel=0.2)


def test_how_values_are_cut_into_hours_makes_no_difference() -> None:
    names = [f"h{number}.example" for number in range(3_000)]
    whole = counted(names)
    assert counted(names[:10], names[5:2_000], names[1_000:]) == whole
    assert counted(names[2_000:], names[:2_000]) == whole


def test_a_digest_is_the_same_in_every_release() -> None:
    assert digest("example.org") == 1327815625446528730
