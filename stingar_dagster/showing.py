"""What Dagster's UI shows of assets: columns and where they come from, first rows, pictures, code.

Text from events goes only into tables' cells, made visible and cut, and into pictures, as letters;
never into Markdown, addresses or names. Everything here is kept with each materialization, so it is
small. Not here: what is drawn (`report.pictures`) and the assets (`assets`).
See https://docs.dagster.io/guides/build/assets/metadata-and-tags
"""

import base64
import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import dagster as dg
import polars as pl

from stingar_dagster.lake.lake import Lake, in_parallel
from stingar_dagster.lake.publication import Record
from stingar_dagster.lake.quarantine import COLUMNS as QUARANTINE_COLUMNS
from stingar_dagster.lake.quarantine import SCHEMA as QUARANTINE_SCHEMA
from stingar_dagster.lake.quarantine import QuarantineLine
from stingar_dagster.lake.schema import duckdb_type
from stingar_dagster.lake.slices import first_lines_in
from stingar_dagster.report import pictures
from stingar_dagster.report.history import NUMBERS, kept_numbers
from stingar_dagster.streams.joined import JoinedTable
from stingar_dagster.streams.lineage import CAPTURED, event_sources, joined_sources, table_sources
from stingar_dagster.streams.stream import Column, Stream
from stingar_dagster.streams.tables import DailyTable, TableColumn

PREVIEW_ROWS: Final = 5
"""Few: Dagster keeps them twice with each materialization, and their columns with them."""
_PREVIEW_BYTES: Final = 1 << 20
"""Of an object's lines so much is inflated for a look."""
_QUARANTINE_COLUMNS: Final[tuple[str, ...]] = (
    "reason",
    "detail",
    "body",
    "capture",
    "sequence_number",
)
_MARKUP: Final = re.compile(r"[^A-Za-z0-9 .,:()/-]")

Metadata = dict[str, Any]


def picture(title: str, svg: str) -> dg.MarkdownMetadataValue:
    """A picture that the UI shows as it is; below a thousand characters without a click."""
    data = base64.b64encode(svg.encode()).decode()
    return dg.MetadataValue.md(f"![{_MARKUP.sub(' ', title)}](data:image/svg+xml;base64,{data})")


def drawn(svgs: Mapping[str, str]) -> Metadata:
    """Pictures by title as metadata."""
    return {title: picture(title, svg) for title, svg in svgs.items()}


def preview(rows: pl.DataFrame, columns: Sequence[str], types: Mapping[str, str]) -> Metadata:
    """The first rows as a table; nothing where there are none."""
    records = [dg.TableRecord(cells) for cells in pictures.cells(rows, columns)]
    if not records:
        return {}
    schema = dg.TableSchema([dg.TableColumn(name, types[name]) for name in columns])
    return {"first rows": dg.MetadataValue.table(records, schema)}


def of_tables(
    lake: Lake, records: Mapping[str, tuple[str, Record]], *, with_rows: bool
) -> dict[str, Metadata]:
    """First rows and pictures of a day's tables.

    Args:
        records: path and record of each, by the table's name.
        with_rows: show rows, too. What is published again every minute need not.
    """

    def look(name: str) -> tuple[str, Metadata]:
        path, record = records[name]
        table = lake.stream.published_table(name)
        data = pictures.read_small(lake, path, record.size)
        # All rows of the table of hours are one picture.
        rows = record.rows if name == "daily_hours" else PREVIEW_ROWS
        frame = pictures.first_rows(data, table.schema, rows)
        columns = [column.name for column in table.columns]
        types = {column.name: duckdb_type(column.dtype) for column in table.columns}
        found = preview(frame[:PREVIEW_ROWS], columns, types) if with_rows else {}
        numbers = (
            {"events in the busiest hour": pictures.busiest_hour(frame)}
            if name == "daily_hours"
            else {}
        )
        svgs = pictures.of_table(table, frame) if isinstance(table, DailyTable) else {}
        return name, numbers | drawn(svgs) | found

    return dict(in_parallel(look, records))


def of_event_hour(lake: Lake, hour: datetime, record: Record, *, with_rows: bool) -> Metadata:
    """First rows (as for `of_tables`), pictures and delays of an event hour."""
    svgs, numbers = pictures.of_hour(lake, record)
    if not with_rows:
        return {**numbers, **drawn(svgs)}
    objects = sorted(record.objects().items(), key=lambda item: item[1].slice)
    data = b""
    for name, held in objects[:1]:
        with contextlib.suppress(ValueError):  # damaged meanwhile: the proof will tell
            path = lake.layout.events(hour, name)
            small = pictures.read_small(lake, path, held.size)
            data = first_lines_in(name, small, _PREVIEW_BYTES)
    declared = lake.stream.schema
    schema = {name: declared[name] for name in lake.stream.shown or declared}
    rows = pictures.first_rows(data, schema, PREVIEW_ROWS)
    types = {name: duckdb_type(dtype) for name, dtype in schema.items()}
    return {**numbers, **drawn(svgs), **preview(rows, list(schema), types)}


def of_report(lake: Lake, day: datetime) -> Metadata:
    """The day's numbers, which the UI draws over time."""
    numbers = kept_numbers(lake, day)
    return {title.lower(): numbers[name] for name, (_, title) in NUMBERS.items() if name in numbers}


def of_quarantine(reasons: Mapping[str, int], lines: Iterable[QuarantineLine]) -> Metadata:
    """Reasons drawn, and lines; of bodies the beginning, as text."""
    first = [
        {
            "reason": line.reason,
            "detail": line.detail,
            "capture": line.capture,
            "sequence_number": line.sequence_number,
            "body": line.raw[:120].decode(errors="backslashreplace"),
        }
        for line in lines
    ]
    schema = {name: QUARANTINE_SCHEMA[name] for name in _QUARANTINE_COLUMNS}
    types = {name: duckdb_type(dtype) for name, dtype in schema.items()}
    rows = pl.DataFrame(first, schema=schema)
    return drawn(pictures.of_reasons(reasons)) | preview(rows, _QUARANTINE_COLUMNS, types)


# ---------------------------------------------------------------------------- definitions


def column_schema(columns: Iterable[Column | TableColumn]) -> dg.TableSchema:
    """Columns with types and meanings."""
    return dg.TableSchema(
        [dg.TableColumn(c.name, duckdb_type(c.dtype), c.meaning) for c in columns]
    )


def quarantine_schema() -> dg.TableSchema:
    """The columns of quarantine with types and meanings."""
    return column_schema(
        TableColumn(name, dtype, QUARANTINE_COLUMNS[name])
        for name, dtype in QUARANTINE_SCHEMA.items()
    )


def capture_schema() -> dg.TableSchema:
    """The columns of a capture that events are made from, as Event Hubs Capture writes them."""
    meanings = {
        "SequenceNumber": ("long", "Of the event in its partition; what makes it the same event"),
        "EnqueuedTimeUtc": ("string", "When Event Hubs received it"),
        "Body": ("bytes", "What the sender sent: a JSON object, or several"),
    }
    return dg.TableSchema([dg.TableColumn(name, *meanings[name]) for name in CAPTURED])


def events_lineage(stream: Stream, captures: dg.AssetKey) -> dg.TableColumnLineage:
    """For each column of cleaned events, what of a capture it is made from."""
    return _lineage(captures, event_sources(stream))


def table_lineage(
    stream: Stream, table: DailyTable, cleaned: dg.AssetKey, quarantined: dg.AssetKey
) -> dg.TableColumnLineage:
    """For each column of a daily table, the columns of cleaned events it is made from."""
    lineage = dict(_lineage(cleaned, table_sources(stream, table)).deps_by_column)
    if table.quarantine_column is not None:
        lineage[table.quarantine_column] = [dg.TableColumnDep(quarantined, "event_id")]
    return dg.TableColumnLineage(lineage)


def joined_lineage(table: JoinedTable, cleaned: dg.AssetKey) -> dg.TableColumnLineage:
    """For each column of a joined table, the columns of cleaned events and of other streams'
    tables it is made from."""
    of_events, of_others = joined_sources(table)
    lineage: dict[str, list[dg.TableColumnDep]] = {}
    parts = [(cleaned, of_events), *((dg.AssetKey(list(k)), v) for k, v in of_others.items())]
    for asset, sources in parts:
        for column, deps in _lineage(asset, sources).deps_by_column.items():
            lineage.setdefault(column, []).extend(deps)
    return dg.TableColumnLineage({name: lineage[name] for name in table.schema})


def _lineage(asset: dg.AssetKey, sources: Mapping[str, Sequence[str]]) -> dg.TableColumnLineage:
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(asset, source) for source in listed]
            for column, listed in sources.items()
        }
    )


def code(*modules: str) -> Metadata:
    """Links to the code in an editor, where the package stands in a checkout.

    Where it is installed, its folder tells a reader nothing but how the server is set up.

    Args:
        modules: of this package, such as `lake.hours`.
    """
    package = Path(__file__).parent
    if not (package.parent / "pyproject.toml").is_file():
        return {}
    references: list[dg.LocalFileCodeReference | dg.UrlCodeReference] = [
        dg.LocalFileCodeReference(
            file_path=str(package / f"{module.replace('.', '/')}.py"), label=module
        )
        for module in modules
    ]
    value = dg.CodeReferencesMetadataValue(code_references=references)
    return {"dagster/code_references": value}
