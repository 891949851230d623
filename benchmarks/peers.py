"""What a user could run instead, each in its best honest form; one of them a process.

    python -m benchmarks.peers NAME PLACE OUT

PLACE is a folder that `captures` made, its plain bodies included. Prints one line of JSON: `read`,
the records or lines it read, and `events`, those it wrote. What each is let off stands in
`LET_OFF`; nobody here removes duplicates, types every field, keeps a ledger or can prove anything.
"""

import importlib
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from benchmarks import event_loop

PROCESSES: Final = 2
"""Of the loop, and threads of the others; the engine's are what it takes by itself."""

LET_OFF: Final = {
    "loop": "duplicates, types, ledger, all daily tables but one",
    "loop-orjson": "the same",
    "duckdb": "Avro, what is not one JSON object on one line, cleaning, quarantine, duplicates, "
    "ledger, all daily tables but one",
    "chdb": "the same as DuckDB",
    "spark": "the same as DuckDB",
}

_COLUMNS: Final = (
    "@timestamp", "type", "app", "sensor", "src_ip", "src_port", "dest_ip", "dest_port",
    "transport", "protocol", "signature", "severity", "command", "ssh_username", "ssh_password",
)  # fmt: skip
"""Fields that the engines of tables extract; the rest they are let off, too."""


def loop(place: Path, out: Path, library: str = "json") -> dict[str, int]:
    files = sorted((place / "landing").glob("**/*.avro"))
    counts = event_loop.run_parallel(files, out, PROCESSES, library)
    return {"read": counts.events + counts.bad, "events": counts.events}


def duckdb(place: Path, out: Path) -> dict[str, int]:
    import duckdb as engine

    out.mkdir(parents=True, exist_ok=True)
    columns = ", ".join(f"'{name}': 'VARCHAR'" for name in _COLUMNS)
    connection = engine.connect()
    connection.execute(f"SET threads TO {PROCESSES}")
    connection.execute(
        f"""CREATE TABLE events AS SELECT *, try_cast("@timestamp" AS TIMESTAMP) AS time
            FROM read_json('{place}/bodies.ndjson', columns={{{columns}}}, format='newline_delimited')"""  # noqa: E501
    )
    connection.execute(
        f"""COPY (SELECT * EXCLUDE (time), strftime(time, '%Y-%m-%d') AS date,
                  strftime(time, '%H') AS hour FROM events ORDER BY time)
            TO '{out}/events' (FORMAT json, PARTITION_BY (date, hour))"""
    )
    connection.execute(
        f"""COPY (SELECT time::DATE AS date, sensor, app, count(*) AS events,
                  count(DISTINCT src_ip) AS sources FROM events GROUP BY ALL)
            TO '{out}/summary.json' (FORMAT json)"""
    )
    (read,) = connection.execute("SELECT count(*) FROM events").fetchone() or (0,)
    return {"read": read, "events": read}


def chdb(place: Path, out: Path) -> dict[str, int]:
    session: Any = importlib.import_module("chdb.session")
    out.mkdir(parents=True, exist_ok=True)
    clickhouse = session.Session()
    columns = ", ".join(f"`{name}` Nullable(String)" for name in _COLUMNS)
    settings = f"SETTINGS max_threads={PROCESSES}, input_format_skip_unknown_fields=1"
    clickhouse.query(
        f"""CREATE TABLE events ENGINE=Memory AS
            SELECT *, parseDateTime64BestEffortOrNull(`@timestamp`, 3, 'UTC') AS time,
                   ifNull(formatDateTime(time, '%Y-%m-%dT%H'), 'none') AS hour
            FROM file('{place}/bodies.ndjson', JSONEachRow, '{columns}') {settings}"""
    )
    clickhouse.query(
        f"""INSERT INTO FUNCTION file('{out}/events-{{_partition_id}}.json', JSONEachRow)
            PARTITION BY hour SELECT * EXCEPT time FROM events ORDER BY time {settings}"""
    )
    clickhouse.query(
        f"""INSERT INTO FUNCTION file('{out}/summary.json', JSONEachRow)
            SELECT toDate(time) AS date, sensor, app, count() AS events,
                   uniqExact(src_ip) AS sources FROM events GROUP BY date, sensor, app {settings}"""
    )
    read = int(str(clickhouse.query("SELECT count() FROM events", "TabSeparated")).strip())
    return {"read": read, "events": read}


def spark(place: Path, out: Path) -> dict[str, int]:
    from pyspark.sql import SparkSession, functions, types

    session = (
        SparkSession.builder.master(f"local[{PROCESSES}]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.memory", "4g")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.shuffle.partitions", str(PROCESSES * 2))
        .getOrCreate()
    )
    schema = types.StructType([types.StructField(name, types.StringType()) for name in _COLUMNS])
    time = functions.try_to_timestamp(functions.col("@timestamp"))
    events = (
        session.read.schema(schema)
        .json(str(place / "bodies.ndjson"))
        .withColumn("date", functions.date_format(time, "yyyy-MM-dd"))
        .withColumn("hour", functions.date_format(time, "HH"))
        .cache()
    )
    events.repartition("date", "hour").sortWithinPartitions("@timestamp").write.partitionBy(
        "date", "hour"
    ).json(str(out / "events"))
    summary = events.groupBy("date", "sensor", "app").agg(
        functions.count("*").alias("events"), functions.countDistinct("src_ip").alias("sources")
    )
    summary.write.json(str(out / "summary"))
    read = events.count()
    return {"read": read, "events": read}


PEERS: Final[dict[str, Callable[[Path, Path], dict[str, int]]]] = {
    "loop": loop,
    "loop-orjson": partial(loop, library="orjson"),
    "duckdb": duckdb,
    "chdb": chdb,
    "spark": spark,
}

if __name__ == "__main__":
    name, place, out = sys.argv[1:]
    print(json.dumps(PEERS[name](Path(place), Path(out))))
