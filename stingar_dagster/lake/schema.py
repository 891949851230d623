"""The declared schema, published for readers.

Readers that infer a schema from the first rows drop fields that come later; with these files they
need not infer. `events.spark.json` is a Spark StructType, `events.duckdb.json` the `columns` of
DuckDB's read_json, `events.columns.json` names, types and meanings for people. Not here: what the
columns are (`streams`).
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
import polars as pl

from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.quarantine import COLUMNS as QUARANTINE_COLUMNS
from stingar_dagster.lake.quarantine import SCHEMA as QUARANTINE_SCHEMA
from stingar_dagster.streams.stream import Column
from stingar_dagster.streams.tables import TableColumn

_SPARK: Final[dict[pl.DataType, Any]] = {
    pl.String(): "string",
    pl.Int64(): "long",
    pl.Float64(): "double",
    pl.Boolean(): "boolean",
}
_DUCKDB: Final[dict[pl.DataType, str]] = {
    pl.String(): "VARCHAR",
    pl.Int64(): "BIGINT",
    pl.Float64(): "DOUBLE",
    pl.Boolean(): "BOOLEAN",
}


def publish_schema(lake: Lake) -> None:
    """Write the schema files that are missing or out of date."""
    for name, data in schema_files(lake).items():
        path = lake.layout.schema(name)
        try:
            current: bytes | None = lake.store.read(path)
        except FileNotFoundError:
            current = None
        if current != data:
            lake.store.write(path, data)


def schema_files(lake: Lake) -> dict[str, bytes]:
    """The content of every schema file by name."""
    quarantine = [
        Column(name, QUARANTINE_SCHEMA[name], meaning)
        for name, meaning in QUARANTINE_COLUMNS.items()
    ]
    tables: dict[str, Iterable[Column | TableColumn]] = {
        "events": lake.stream.columns,
        "quarantine": quarantine,
        **{table.name: table.columns for table in lake.stream.every_table},
    }
    files = {}
    for name, columns in tables.items():
        listed = list(columns)
        files[f"{name}.spark.json"] = _json(spark_schema(listed))
        files[f"{name}.duckdb.json"] = _json(duckdb_columns(listed))
        files[f"{name}.columns.json"] = _json(
            [{"name": c.name, "type": duckdb_type(c.dtype), "meaning": c.meaning} for c in listed]
        )
    return files


def spark_schema(columns: Iterable[Column | TableColumn]) -> dict[str, Any]:
    """A Spark StructType in its JSON form."""
    return {
        "type": "struct",
        "fields": [
            {"name": c.name, "type": _spark_type(c.dtype), "nullable": True, "metadata": {}}
            for c in columns
        ],
    }


def duckdb_columns(columns: Iterable[Column | TableColumn]) -> dict[str, str]:
    """Names and types as DuckDB's read_json takes them."""
    return {column.name: duckdb_type(column.dtype) for column in columns}


def duckdb_type(dtype: pl.DataType) -> str:
    """A column's type in SQL's words."""
    if isinstance(dtype, pl.List):
        return f"{duckdb_type(_inner(dtype))}[]"
    return _DUCKDB[dtype]


def _spark_type(dtype: pl.DataType) -> Any:
    if isinstance(dtype, pl.List):
        inner = _spark_type(_inner(dtype))
        return {"type": "array", "elementType": inner, "containsNull": True}
    return _SPARK[dtype]


def _inner(dtype: pl.List) -> pl.DataType:
    inner = dtype.inner
    return inner if isinstance(inner, pl.DataType) else inner()


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n"
