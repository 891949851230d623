"""Stretches of a buffer come out as they stand there, and nothing else does."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stingar_dagster.cleaning.spans import texts


@given(st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=5)), max_size=20))
def test_stretches_come_out_whatever_stands_between_them(parts: list[tuple[str, bytes]]) -> None:
    buffer, start, end = b"", [], []
    for text, between in parts:
        start.append(len(buffer))
        buffer += text.encode()
        end.append(len(buffer))
        buffer += between
    column = texts(buffer, np.array(start, dtype=np.int64), np.array(end, dtype=np.int64))
    assert column.dtype == pl.String
    assert column.to_list() == [text for text, _ in parts]


@pytest.mark.parametrize(("start", "end"), [([0, 1], [2, 3]), ([2, 0], [3, 1]), ([1], [0])])
def test_stretches_out_of_order_are_refused(start: list[int], end: list[int]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        texts(b"abc", np.array(start, dtype=np.int64), np.array(end, dtype=np.int64))


def test_a_stretch_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(pl.exceptions.PolarsError):
        texts(b"a\xffb", np.array([0], dtype=np.int64), np.array([2], dtype=np.int64))


def test_a_column_outlives_its_buffer() -> None:
    column = texts(b"a" * 100 + b"b", np.array([0, 100]), np.array([100, 101]))
    assert column.to_list() == ["a" * 100, "b"]
