"""JSON lines: whatever stands in a value, every line is the row without its nulls."""

import json
from typing import Any

import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stingar_dagster.lake.lines import joined, json_lines, lines_of

SCHEMA: dict[str, pl.DataType] = {
    "@timestamp": pl.String(),
    "type": pl.String(),
    "command": pl.String(),
    "src_port": pl.Int64(),
    "seconds": pl.Float64(),
    "tags": pl.List(pl.String()),
    "extra": pl.String(),
}
NASTY = st.text(max_size=6) | st.sampled_from(
    [
        ',"type":null',
        '","type":null,"',
        "\\",
        '"',
        "\n",
        "\r\n",
        "\u2028",
        "\x7f",
        "\U0001f600",
        "\x00",
        "null",
        ",",
        "{",
    ]
)
ROW = st.fixed_dictionaries(
    {
        "@timestamp": st.none() | NASTY,
        "type": st.none() | st.sampled_from(["cowrie", "snort", ',"a":null']),
        "command": st.none() | NASTY,
        "src_port": st.none() | st.integers(-(2**63), 2**63 - 1),
        "seconds": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "tags": st.none() | st.lists(st.none() | NASTY, max_size=3),
        "extra": st.none() | NASTY.map(lambda text: json.dumps({text: None})),
    }
)


def without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def encoded_one_by_one(frame: pl.DataFrame, order: list[int]) -> bytes:
    """The plain way: each row's filled columns as a struct of its own."""
    encoded = []
    for position in order:
        row = frame[position : position + 1]
        filled = row.select(column.name for column in row if not column.null_count())
        line = (
            filled.select(pl.struct(pl.all()).struct.json_encode()).item() if filled.width else "{}"
        )
        encoded.append(line.encode() + b"\n")
    return b"".join(encoded)


@settings(max_examples=150, deadline=None)
@given(st.lists(ROW, max_size=6))
@example([{**dict.fromkeys(SCHEMA), "command": ","}, dict.fromkeys(SCHEMA)])
def test_every_line_is_its_row_without_nulls(rows: list[dict[str, Any]]) -> None:
    data = json_lines(pl.DataFrame(rows, schema=SCHEMA))
    found = data.split(b"\n")
    assert found.pop() == b""
    assert [json.loads(line) for line in found] == [without_nulls(row) for row in rows]


@settings(max_examples=150, deadline=None)
@given(st.lists(ROW, max_size=6), st.integers(1, 40), st.randoms(use_true_random=False))
def test_large_groups_and_small_are_encoded_alike(
    rows: list[dict[str, Any]], times: int, random: Any
) -> None:
    # Repeated, rows that have the same columns filled are enough to be encoded together.
    frame = pl.DataFrame(rows + rows[:2] * times, schema=SCHEMA)
    order = random.sample(range(len(frame)), len(frame))
    found = joined(lines_of(frame)[order])
    assert found == encoded_one_by_one(frame, order)


def test_more_columns_than_an_integer_has_bits() -> None:
    names = [f"c{number}" for number in range(150)]
    rows = [dict.fromkeys(names[place % 150 :: 7], place) for place in range(300)] * 20
    frame = pl.DataFrame(rows, schema=dict.fromkeys(names, pl.Int64()))
    assert [json.loads(line) for line in json_lines(frame).splitlines()] == rows
