"""What runs in the process with Spark: the notebook as it is, and code of the raw events' readers.

    python -m stingar_dagster_tests.examples.spark_side NOTEBOOK TASKS ANSWERS

TASKS is a JSON object: for each name a file of raw events, one JSON object a line, and the lake's
folder that they were published in. ANSWERS gets what came out. One process does all of it, since a
Java machine takes seconds to start.
"""

import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

SAMPLE_FIELDS: Final = (
    "@timestamp", "app", "command", "dest_ip", "dest_port", "ids_type", "loggedin", "protocol",
    "sensor", "severity", "signature", "src_ip", "src_port", "tags", "transport", "type",
    "vendor_product",
)  # fmt: skip
"""The fields of the production sample."""


def top_commands(df: DataFrame) -> DataFrame:
    return (
        df.filter(F.col("app") == "cowrie")
        .filter(F.col("command").isNotNull())
        .groupBy("command")
        .count()
        .orderBy(F.desc("count"), "command")
    )


def credentials_of_sessions(df: DataFrame) -> DataFrame:
    return (
        df.where("loggedin IS NOT NULL AND size(loggedin) = 2")
        .select(F.col("loggedin")[0].alias("user"), F.col("loggedin").getItem(1).alias("password"))
        .groupBy("user", "password")
        .agg(F.count("*").alias("events"))
    )


def attackers_of_several_sensors(df: DataFrame) -> DataFrame:
    df.createOrReplaceTempView("attacks")
    return df.sparkSession.sql(
        """SELECT src_ip, count(DISTINCT sensor) AS sensors, min(`@timestamp`) AS first_seen
           FROM attacks GROUP BY src_ip HAVING count(DISTINCT sensor) > 1"""
    )


def events_of_ten_minutes(df: DataFrame) -> DataFrame:
    return (
        df.withColumn("ts", F.to_timestamp(F.col("@timestamp")))
        .groupBy(F.window("ts", "10 minutes").alias("w"), "protocol")
        .count()
        .select(F.col("w.start").cast("string").alias("start"), "protocol", "count")
    )


def by_date_and_hour(df: DataFrame) -> DataFrame:
    ts = F.to_timestamp("@timestamp", "yyyy-MM-dd'T'HH:mm:ss.SSSX")
    return df.groupBy(F.to_date(ts).cast("string").alias("day"), F.hour(ts).alias("h")).count()


def tags_exploded(df: DataFrame) -> DataFrame:
    return df.select("src_ip", F.explode("tags").alias("tag")).groupBy("tag").count()


def tagged_by_the_shipper(df: DataFrame) -> DataFrame:
    return df.filter(F.array_contains("tags", "beats_input_raw_event")).groupBy("type").count()


def high_ports(df: DataFrame) -> DataFrame:
    return df.where((F.col("src_port") > 1024) & (F.col("dest_port") == 2222)).agg(
        F.count("*").alias("n"), F.max("src_port"), F.avg("dest_port")
    )


def signatures(df: DataFrame) -> DataFrame:
    return (
        df.withColumn("login", F.lower("signature").contains("login"))
        .groupBy("signature", "severity", "vendor_product", "ids_type", "transport", "login")
        .count()
    )


def flows(df: DataFrame) -> DataFrame:
    return df.selectExpr(
        "concat_ws(' ', src_ip, src_port, dest_ip, dest_port) AS flow", "`@timestamp` AS at"
    ).dropDuplicates()


def protocols_pivoted(df: DataFrame) -> DataFrame:
    return df.groupBy("sensor").pivot("protocol").count().na.fill(0)


def downloads_in_commands(df: DataFrame) -> DataFrame:
    link = F.regexp_extract("command", r"(https?://\S+)", 1)
    return df.dropna(subset=["command"]).where(link != "").groupBy(link.alias("link")).count()


def pauses(df: DataFrame) -> DataFrame:
    order = Window.partitionBy("src_ip").orderBy("@timestamp")
    seconds = F.unix_timestamp(F.to_timestamp("@timestamp"))
    pause = seconds - F.lag(seconds).over(order)
    return df.select("src_ip", pause.alias("pause")).groupBy("src_ip").agg(F.max("pause"))


QUERIES: Final[tuple[Callable[[DataFrame], DataFrame], ...]] = (
    top_commands, credentials_of_sessions, attackers_of_several_sensors, events_of_ten_minutes,
    by_date_and_hour, tags_exploded, tagged_by_the_shipper, high_ports, signatures, flows,
    protocols_pivoted, downloads_in_commands, pauses,
)  # fmt: skip
"""As analysts write them for the raw events: names of the production sample, nothing else."""


def rows(df: DataFrame) -> list[str]:
    return sorted(map(str, df.toJSON().collect()))


def types(df: DataFrame) -> dict[str, str]:
    return {name: kind for name, kind in df.dtypes if name in SAMPLE_FIELDS}


def answers(spark: SparkSession, raw: str, lake: str) -> dict[str, Any]:
    """Each query's answer over the raw events, and over the lake read in two ways."""
    text = spark.read.text(f"{lake}/stingar/schema/events.spark.json", wholetext=True).first()
    assert text is not None
    schema = StructType.fromJson(json.loads(text[0]))
    frames = {
        "raw": spark.read.json(raw),
        "declared": spark.read.schema(schema).json(f"{lake}/stingar/events"),
        "inferred": spark.read.json(f"{lake}/stingar/events"),
    }
    found: dict[str, Any] = {"types": {name: types(df) for name, df in frames.items()}}
    for name, df in frames.items():
        kept = df.cache()
        # With equal types, one that reads every line will do.
        for query in QUERIES if name != "inferred" else (flows,):
            found.setdefault(query.__name__, {})[name] = rows(query(kept))
        kept.unpersist()
    return found


def main(notebook: str, tasks: str, out: str) -> None:
    left = runpy.run_path(notebook)
    spark: SparkSession = left["spark"]
    told: dict[str, Any] = {
        "notebook": {
            name: [json.loads(row) for row in left[name].toJSON().collect()]
            for name in ("trends", "credentials", "overlap", "features")
        }
    }
    for name, (raw, lake) in json.loads(Path(tasks).read_text()).items():
        told[name] = answers(spark, raw, lake)
    Path(out).write_text(json.dumps(told))
    spark.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
