"""What people look at beside a partition: the first rows, and small pictures.

Small, because they are kept with every materialization: a picture stays below a thousand bytes, as
text in a page, so that Dagster's UI shows it without a click. Not here: Dagster (`showing`), and
how pictures are drawn (`charts`).
"""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

import polars as pl

from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.partials import partials_in
from stingar_dagster.lake.publication import Record
from stingar_dagster.lake.segments import decode
from stingar_dagster.report.charts import COLOURS, bars, hour_areas
from stingar_dagster.report.facts import hours_by_app
from stingar_dagster.safe_text import visible

TOP: Final = 5
LARGEST_READ: Final = 16_000_000
"""Bytes of an object that are read for its first rows, or for a picture."""
_LOOK: Final = COLOURS[1]

_BARS: Final[dict[str, tuple[str, tuple[str, ...], str]]] = {
    "daily_summary": ("busiest honeypots", ("sensor", "app"), "events"),
    "daily_sources": ("top sources", ("src_ip",), "events"),
    "daily_credentials": ("top credentials", ("username", "password"), "attempts"),
    "daily_ports": ("top ports", ("dest_port", "transport"), "events"),
    "daily_commands": ("top commands", ("command",), "events"),
    "daily_downloads": ("top links and files", ("artifact",), "events"),
    "daily_fingerprints": ("top clients", ("ssh_version", "kex_hassh"), "events"),
    "daily_sensors": ("top sensors", ("sensor",), "events"),
    "daily_drift": ("drift by sensor", ("sensor", "field"), "events"),
}
"""For a table, sorted by the numbers: what is drawn, the label's columns, and the numbers'."""


def of_table(name: str, rows: pl.DataFrame) -> dict[str, str]:
    """SVG pictures of a daily table, by title.

    Args:
        name: of the table.
        rows: its first ones; all of `daily_hours`.
    """
    if name == "daily_hours" and len(rows):
        return {"events an hour, 00 to 23 UTC": hour_areas(_few(hours_by_app({name: rows})))}
    if name not in _BARS or rows.is_empty():
        return {}
    title, named, numbers = _BARS[name]
    # Another stream's table of the name may tell its rows by other columns.
    labels = [label for label in named if label in rows.columns]
    if not labels or numbers not in rows.columns:
        return {}
    # The row of what was quarantined has no such numbers.
    ranked = rows.filter(pl.col(numbers).is_not_null())[:TOP]
    drawn = [
        (
            " / ".join("-" if row[label] is None else str(row[label]) for label in labels),
            row[numbers],
        )
        for row in ranked.iter_rows(named=True)
    ]
    return {title: bars(drawn)} if drawn else {}


def busiest_hour(rows: pl.DataFrame) -> int:
    """Events of the hour that had most of them, of all rows of `daily_hours`."""
    busiest = rows.group_by("hour").agg(pl.col("events").sum())["events"].max()
    return int(busiest or 0)  # type: ignore[arg-type]


def of_reasons(reasons: Mapping[str, int]) -> dict[str, str]:
    """Quarantine by reason."""
    ranked = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))[:TOP]
    return {"quarantine by reason": bars(ranked, colour=_LOOK)} if ranked else {}


def of_hour(lake: Lake, record: Record) -> tuple[dict[str, str], dict[str, float]]:
    """Pictures of an event hour, and numbers of its delay, from its partial aggregates.

    Returns:
        SVG by title: events by honeypot software, and how late events arrived; and seconds by name.
    """
    if not record.rows or not isinstance(record.partials, str):
        return {}, {}
    try:
        data = lake.store.read(record.partials)
    except FileNotFoundError:
        return {}, {}  # a newer run has replaced it, and shows its own
    if "app" not in lake.stream.schema:
        return {}, {}
    counted: Counter[str] = Counter()
    summary = _partial(data, "daily_summary", {"app": pl.String(), "events": pl.Int64()})
    for app, events in summary.iter_rows():
        counted[app or "not named"] += events
    apps = sorted(counted.items(), key=lambda item: (-item[1], item[0]))[:TOP]
    pictures = {"events by honeypot software": bars(apps)} if apps else {}
    of_sensors = _partial(data, "daily_sensors", {"delays": pl.List(pl.Int64())})
    delays = of_sensors["delays"].list.explode(empty_as_null=False).drop_nulls()
    if delays.is_empty():
        return pictures, {}
    pictures["delay from logged to received"] = bars(_by_delay(delays))
    return pictures, {
        "median delay in seconds": float(delays.median() or 0),  # type: ignore[arg-type]
        "longest delay in seconds": float(delays.max() or 0),  # type: ignore[arg-type]
    }


def first_rows(data: bytes, schema: Mapping[str, pl.DataType], rows: int) -> pl.DataFrame:
    """The first rows of JSON lines: the columns of the schema."""
    end = 0
    for _ in range(rows):
        end = data.find(b"\n", end) + 1 or len(data)
    lines = data[:end]
    return (
        pl.read_ndjson(io.BytesIO(lines), schema=schema) if lines else pl.DataFrame(schema=schema)
    )


def cells(
    frame: pl.DataFrame, columns: Sequence[str], longest: int = 40
) -> list[dict[str, str | int | float]]:
    """Rows as scalars that a page may show: texts made visible and cut, of lists the first."""
    return [
        {name: _cell(row[name], longest) for name in columns if name in row}
        for row in frame.iter_rows(named=True)
    ]


def read_small(lake: Lake, path: str, size: int) -> bytes:
    """An object; empty where it is too large to be read for a look, or not there."""
    if not 0 < size <= LARGEST_READ:
        return b""
    try:
        return lake.store.read(path)
    except FileNotFoundError:
        return b""


def _cell(value: Any, longest: int) -> str | int | float:
    if value is None:
        return ""
    if isinstance(value, int | float):
        return value
    if isinstance(value, list):
        # A whole list would make its narrow column the tallest of the table.
        more = f" +{len(value) - 1}" if len(value) > 1 else ""
        return visible("".join(map(str, value[:1])), longest - len(more)) + more
    return visible(str(value), longest)


def _few(series: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """Two and the rest: more would make a picture too large."""
    names = list(series)
    if len(names) <= 3:
        return dict(series)
    rest = tuple(map(sum, zip(*(series[name] for name in names[2:]), strict=True)))
    return {names[0]: series[names[0]], names[1]: series[names[1]], "others": rest}


def _by_delay(delays: pl.Series) -> list[tuple[str, int]]:
    limits = (10, 60, 600, 3600)
    words = ("below 10 s", "10 to 60 s", "1 to 10 min", "10 to 60 min", "an hour or more")
    below = [0, *(int((delays < limit).sum()) for limit in limits), len(delays)]
    return [
        (word, after - before) for word, (before, after) in zip(words, pairwise(below), strict=True)
    ]


def _partial(data: bytes, table: str, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    place = "an hour's partial aggregates"
    members = partials_in(data, place).get(table, [])
    frames = (decode(member, schema, place) for member in members)
    return pl.concat([pl.DataFrame(schema=schema), *frames])
