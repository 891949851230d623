"""Configuration of shippers and services: it can be read, wants acknowledgements, holds no secret.

rsyslog's own check runs where rsyslog is; `test_chain` runs it. The other shippers are not run.
"""

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from stingar_dagster.cli import main
from stingar_dagster.kafka.settings import load_kafka_settings

ROOT = Path(__file__).resolve().parents[2]
SHIPPERS = ROOT / "deploy/shippers"
UNITS = sorted((ROOT / "deploy/systemd").glob("*.service"))
CONFIGURATIONS = sorted(file for file in SHIPPERS.iterdir() if file.suffix != ".md")
ALL_REPLICAS = {
    "rsyslog.conf": "acks=all",
    "filebeat.yml": "required_acks: -1",
    "logstash.conf": 'acks => "all"',
    "fluent-bit.yaml": 'rdkafka.request.required.acks: "-1"',
}


@pytest.mark.parametrize("file", CONFIGURATIONS, ids=lambda file: file.name)
def test_every_replica_acknowledges_and_no_secret_is_there(file: Path) -> None:
    text = file.read_text()
    assert ALL_REPLICAS[file.name] in text
    settings = [line for line in text.splitlines() if not line.strip().startswith("#")]
    for line in settings:
        if re.search(r"password|jaas|sasl\.username", line, re.I):
            assert "$STINGAR_KAFKA_" in line or "${STINGAR_KAFKA_" in line, line
    assert "SharedAccessKey=" not in text


def test_filebeat_sends_the_line_alone_and_buffers_on_disk() -> None:
    told = yaml.safe_load((SHIPPERS / "filebeat.yml").read_text())
    assert told["output.kafka"]["codec.format"]["string"] == "%{[message]}"
    assert told["output.kafka"]["max_retries"] == -1
    assert "queue.disk" in told


def test_fluent_bit_sends_the_line_alone_and_buffers_on_disk() -> None:
    told = yaml.safe_load((SHIPPERS / "fluent-bit.yaml").read_text())
    (source,), (target,) = told["pipeline"]["inputs"], told["pipeline"]["outputs"]
    assert (source["key"], source["storage.type"]) == (target["raw_log_key"], "filesystem")
    assert (target["format"], target["retry_limit"]) == ("raw", "no_limits")


def test_logstash_braces_and_quotes_are_in_pairs() -> None:
    settings = re.sub(r"(?m)^\s*#.*$", "", (SHIPPERS / "logstash.conf").read_text())
    assert settings.count("{") == settings.count("}")
    assert settings.count('"') % 2 == 0


def test_rsyslog_takes_its_configuration(tmp_path: Path) -> None:
    program = shutil.which("rsyslogd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None or not any(Path("/usr/lib").glob("*/rsyslog/omkafka.so")):
        pytest.skip("rsyslog is not there: apt-get install rsyslog rsyslog-kafka")
    environ = {
        "STINGAR_LOGS": str(tmp_path / "*.json"),
        "STINGAR_SPOOL": str(tmp_path),
        "STINGAR_KAFKA_BROKERS": "broker.example.org:9092",
        "STINGAR_KAFKA_TOPIC": "stingar",
        "STINGAR_KAFKA_SECURITY": "SASL_SSL",
        "STINGAR_KAFKA_USER": "$ConnectionString",
        "STINGAR_KAFKA_PASSWORD": "none",
    }
    result = subprocess.run(
        [program, "-N1", "-f", str(SHIPPERS / "rsyslog.conf")],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert "error" not in result.stderr


@pytest.mark.parametrize("file", UNITS, ids=lambda file: file.name)
def test_a_unit_starts_what_is_there(file: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(file.read_text())
    service = unit["Service"]
    assert service["Restart"] == "always"
    program, *arguments = shlex.split(service["ExecStart"])
    if Path(program).name == "stingar":
        assert CliRunner().invoke(main, [*arguments, "--help"]).exit_code == 0
    else:
        assert (Path(sys.executable).parent / Path(program).name).exists()


def test_the_example_of_an_environment_is_taken_but_for_its_password(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    lines = (ROOT / "deploy/systemd/stingar.env.example").read_text().splitlines()
    environ = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert environ["STINGAR_KAFKA_PASSWORD"] == ""
    environ |= {"STINGAR_KAFKA_PASSWORD": "x", "STINGAR_KAFKA_CA": str(tmp_path / "ca.pem")}
    assert load_kafka_settings(environ).security == "SASL_SSL"
