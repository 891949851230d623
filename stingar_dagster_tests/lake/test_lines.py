"""JSON lines: whatever stands in a value, every line is the row without its nulls."""

import json
from typing import Any

import polars as pl
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stingar_dagster.lake.lines import json_lines

SCHEMA: dict[str, pl.DataType] = {
    "@timestamp": pl.String(),
    "type": pl.String(),
    "command": pl.String(),
    "src_port": pl.Int64(),
    "tags": pl.List(pl.String()),
    "extra": pl.String(),
}
NASTY = st.text(max_size=6) | st.sampled_from(
    [',"type":null', '","type":null,"', "\\", '"', "\n", "\r\n", "\u2028", "\x00", "null", ",", "{"]
)
ROW = st.fixed_dictionaries(
    {
        "@timestamp": st.none() | NASTY,
        "type": st.none() | st.sampled_from(["cowrie", "snort", ',"a":null']),
        "command": st.none() | NASTY,
        "src_port": st.none() | st.integers(-(2**63), 2**63 - 1),
        "tags": st.none() | st.lists(st.none() | NASTY, max_size=3),
        "extra": st.none() | NASTY.map(lambda text: json.dumps({text: None})),
    }
)


def without_nulls(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


@settings(max_examples=150, deadline=None)
@given(st.lists(ROW, max_size=6), st.sampled_from([(), ("type",), ("type", "src_port")]))
@example([{**dict.fromkeys(SCHEMA), "command": ","}, dict.fromkeys(SCHEMA)], ())
def test_every_line_is_its_row_without_nulls(
    rows: list[dict[str, Any]], shape: tuple[str, ...]
) -> None:
    data = json_lines(pl.DataFrame(rows, schema=SCHEMA), shape)
    lines = data.split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line) for line in lines] == [without_nulls(row) for row in rows]


@settings(max_examples=50, deadline=None)
@given(st.lists(ROW, max_size=6))
def test_grouping_by_shape_changes_no_byte(rows: list[dict[str, Any]]) -> None:
    frame = pl.DataFrame(rows, schema=SCHEMA)
    assert json_lines(frame, ["type", "command"]) == json_lines(frame)


def test_many_shapes_are_written_too() -> None:
    frame = pl.DataFrame({"type": [f"type-{number % 300}" for number in range(400)]})
    lines = json_lines(frame, ["type"]).splitlines()
    assert [json.loads(line)["type"] for line in lines] == frame["type"].to_list()
