"""Segments: every value kept, names that tell the content, and orphans that no run needs."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from stingar_dagster.errors import UnknownFormat
from stingar_dagster.lake.segments import (
    ORPHAN_AGE,
    collect_orphans,
    decode,
    encode,
    landed_hour_of,
    read_frames,
    segment_name,
)
from stingar_dagster.storage.local import LocalStore
from stingar_dagster_tests.support import NOON

SCHEMA: dict[str, pl.DataType] = {
    "text": pl.String(),
    "number": pl.Int64(),
    "many": pl.List(pl.String()),
}
# As in every segment, one column at least is never null.
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | st.text(max_size=5),
            "number": st.integers(-(2**63), 2**63 - 1),
            "many": st.none() | st.lists(st.none() | st.text(max_size=3), max_size=3),
        }
    ),
    max_size=6,
)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_every_value_comes_back_and_the_same_rows_give_the_same_bytes(
    rows: list[dict[str, object]],
) -> None:
    frame = pl.DataFrame(rows, schema=SCHEMA)
    data = encode(frame)
    assert decode(data, SCHEMA).equals(frame)
    assert encode(pl.DataFrame(rows, schema=SCHEMA)) == data


def test_a_frame_without_rows_stays_without_rows() -> None:
    assert decode(encode(pl.DataFrame(schema=SCHEMA)), SCHEMA).shape == (0, 3)


def test_a_column_declared_later_is_null() -> None:
    data = encode(pl.DataFrame({"text": ["a", "b"]}))
    assert decode(data, SCHEMA)["number"].to_list() == [None, None]


def test_a_column_that_has_another_type_now_is_turned_into_it_or_refused() -> None:
    as_text = encode(pl.DataFrame({"number": ["12"]}))
    assert decode(as_text, SCHEMA)["number"].to_list() == [12]
    with pytest.raises(UnknownFormat, match=r"x: was cleaned .* run its landed hour again"):
        decode(encode(pl.DataFrame({"number": ["low"]})), SCHEMA, "x:")


@settings(max_examples=50, deadline=None)
@given(parts=st.lists(ROWS, max_size=5))
def test_many_frames_read_at_once_are_those_read_one_by_one(
    parts: list[list[dict[str, object]]],
) -> None:
    pieces = [
        # Columns without any value are not kept, and one was declared later.
        (encode(pl.DataFrame(rows, schema=SCHEMA)), f"{place}")
        for place, rows in enumerate(parts)
    ]
    schema = {**SCHEMA, "later": pl.Int64()}
    one_by_one = [decode(data, schema, name) for data, name in pieces]
    assert_frame_equal(
        read_frames(pieces, schema), pl.concat([pl.DataFrame(schema=schema), *one_by_one])
    )


def test_of_many_frames_the_one_that_can_not_be_read_is_named() -> None:
    good = encode(pl.DataFrame({"number": [1]})), "good.parquet"
    as_text = encode(pl.DataFrame({"number": ["2"]})), "text.parquet"
    assert read_frames([good, as_text], {"number": pl.Int64()})["number"].to_list() == [1, 2]
    for bad, told in (
        ((encode(pl.DataFrame({"number": ["x"]})), "words.parquet"), "words.parquet"),
        ((b"nonsense", "damaged.parquet"), "damaged.parquet can't be read"),
        ((good[0], "newer.f9.parquet"), "newer release"),
    ):
        with pytest.raises(UnknownFormat, match=told):
            read_frames([good, bad], {"number": pl.Int64()})


def test_a_name_tells_landed_hour_slot_and_content() -> None:
    name = segment_name(NOON, 5, b"data")
    assert name.startswith("2026-11-03T12-05-")
    assert landed_hour_of(name) == "2026-11-03T12"
    assert name == segment_name(NOON, 5, b"data")
    assert name != segment_name(NOON, 5, b"other")


def test_orphans_go_when_no_run_can_be_about_to_name_them(tmp_path: Path) -> None:
    store = LocalStore(tmp_path, "")
    for name in ("named", "young", "old", "written again"):
        store.write(f"folder/{name}", b"1")
        if name != "young":
            age(tmp_path / "folder" / name)
    listed = store.find("folder")
    store.write("folder/written again", b"1")
    collect_orphans(store, listed, {"named"})
    assert sorted(os.listdir(tmp_path / "folder")) == ["named", "written again", "young"]


def age(path: Path) -> None:
    then = (datetime.now(UTC) - ORPHAN_AGE - timedelta(minutes=1)).timestamp()
    os.utime(path, (then, then))
