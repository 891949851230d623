# Databricks notebook source
# MAGIC %md
# MAGIC # Attack trends with Spark
# MAGIC
# MAGIC Daily trends, the credentials tried most, attackers that several sensors saw, and
# MAGIC features for a model, from the published lake. Import this file into Databricks as a
# MAGIC notebook, or run it with local PySpark in the project's folder: `python
# MAGIC examples/attack_trends_spark.py`.
# MAGIC
# MAGIC User names, passwords and commands are what attackers typed. Show them as text, and open
# MAGIC no link.

# COMMAND ----------

import json
from datetime import UTC, datetime, timedelta

from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as F
from pyspark.sql.types import StructType

# The one line to change: on Azure "abfss://lake@youraccount.dfs.core.windows.net/honeypots".
LAKE = "data/lake"

# What is looked at: from this day on.
SINCE = (datetime.now(UTC) - timedelta(days=14)).date()

spark = SparkSession.builder.getOrCreate()  # on Databricks the session that is there
spark.conf.set("spark.sql.session.timeZone", "UTC")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Reading
# MAGIC
# MAGIC The declared schema stands beside the events. With it nothing is inferred: no pass over
# MAGIC the data first, and no column missing because nobody happened to send it that week.
# MAGIC `date` and `hour` come from the folders, and a condition on `date` keeps Spark from
# MAGIC reading the others.

# COMMAND ----------


def declared(name):
    """The schema of the events or of a daily table."""
    path = f"{LAKE}/stingar/schema/{name}.spark.json"
    text = spark.read.text(path, wholetext=True).first()[0]
    return StructType.fromJson(json.loads(text))


def daily(table):
    """A daily table, with the column `date`."""
    return spark.read.schema(declared(table)).json(f"{LAKE}/stingar/daily/{table}")


events = (
    spark.read.schema(declared("events"))
    .json(f"{LAKE}/stingar/events")
    .where(F.col("date") >= F.lit(SINCE))
)
events.createOrReplaceTempView("events")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Daily trends
# MAGIC
# MAGIC From the daily tables, which are small, exact, and there long after the raw data went.

# COMMAND ----------

trends = (
    daily("daily_summary")
    .where(F.col("date") >= F.lit(SINCE))
    .groupBy("date")
    .agg(
        F.sum("events").alias("events"),
        F.sum("login_attempts").alias("logins"),
        F.sum("login_successes").alias("let_in"),
        F.sum("commands").alias("commands"),
        F.sum("downloads").alias("downloads"),
        F.countDistinct("sensor").alias("sensors"),
    )
    .orderBy("date")
)
trends.show()

# COMMAND ----------

# MAGIC %md
# MAGIC ## Top credentials
# MAGIC
# MAGIC `username` and `password` are those of this very attempt, however the honeypot named
# MAGIC them. `loggedin` is the session's: it also stands on the failed attempts of a session
# MAGIC that got in later.

# COMMAND ----------

credentials = spark.sql("""
    SELECT username, password, count(*) AS tries, count(DISTINCT src_ip) AS sources
    FROM events
    WHERE event_kind IN ('login_attempt', 'login_success')
      AND (username IS NOT NULL OR password IS NOT NULL)
    GROUP BY username, password
    ORDER BY tries DESC, username, password
    LIMIT 20
""")
credentials.show(truncate=40)

# COMMAND ----------

# MAGIC %md
# MAGIC ## Attackers that several sensors saw
# MAGIC
# MAGIC Of the sources that `sensor` saw, `share` is the part that `other` saw as well.

# COMMAND ----------

seen = events.select("sensor", "src_ip").dropna().distinct()
sizes = seen.groupBy("sensor").agg(F.count("*").alias("sources"))
overlap = (
    seen.join(seen.select(F.col("sensor").alias("other"), "src_ip"), "src_ip")
    .where("sensor != other")
    .groupBy("sensor", "other")
    .agg(F.count("*").alias("shared"))
    .join(sizes, "sensor")
    .withColumn("share", F.round(F.col("shared") / F.col("sources"), 3))
    .orderBy(F.desc("share"), "sensor", "other")
)
overlap.show()

# COMMAND ----------

# MAGIC %md
# MAGIC ## Features for a model of attack trends
# MAGIC
# MAGIC A row for each sensor and hour. An hour of which nothing is published counts as zero;
# MAGIC whether it was processed at all, `stingar verify` tells. The features of an hour know
# MAGIC only the hours before it: a model that sees more is no forecast. `events` is what it
# MAGIC would have to predict.

# COMMAND ----------

logins = F.col("event_kind").isin("login_attempt", "login_success")
hourly = (
    events.where("sensor IS NOT NULL")
    .groupBy("sensor", F.date_trunc("hour", F.to_timestamp("@timestamp")).alias("at"))
    .agg(
        F.count("*").alias("events"),
        F.countDistinct("src_ip").alias("sources"),
        F.count_if(logins).alias("logins"),
        F.count_if(F.col("event_kind") == "command").alias("commands"),
    )
)
hours = hourly.agg(F.min("at").alias("first"), F.max("at").alias("last")).select(
    F.explode(F.expr("sequence(first, last, interval 1 hour)")).alias("at")
)
filled = (
    hourly.select("sensor")
    .distinct()
    .crossJoin(hours)
    .join(hourly, ["sensor", "at"], "left")
    .fillna(0, ["events", "sources", "logins", "commands"])
)
of_sensor = Window.partitionBy("sensor").orderBy("at")
known = ("events", "sources", "logins", "commands")
features = filled.select(
    "sensor",
    "at",
    "events",
    F.dayofweek("at").alias("weekday"),
    F.hour("at").alias("hour_of_day"),
    *(F.lag(name, 1).over(of_sensor).alias(f"{name}_1h_before") for name in known),
    F.lag("events", 24).over(of_sensor).alias("events_24h_before"),
    F.avg("events").over(of_sensor.rowsBetween(-24, -1)).alias("mean_of_24h"),
)
features.orderBy(F.desc("at"), "sensor").show(12)

# To keep them: features.write.mode("overwrite").parquet("features")

# COMMAND ----------

# MAGIC %md
# MAGIC ## Code that was written for the raw events
# MAGIC
# MAGIC The fields keep their names and types, so it runs as it is on `events`:

# COMMAND ----------

(
    events.filter(F.col("app") == "cowrie")
    .filter(F.col("command").isNotNull())
    .groupBy("command")
    .agg(F.countDistinct("src_ip").alias("sources"), F.count("*").alias("times"))
    .orderBy(F.desc("sources"), "command")
    .show(10, truncate=60)
)
