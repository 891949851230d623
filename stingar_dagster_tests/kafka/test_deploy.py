"""Configuration of shippers and services: it can be read, wants acknowledgements, holds no secret.

rsyslog's own check runs where rsyslog is; `test_chain` runs it. The other shippers are not run. Of
the lines for Entra tokens, rsyslog's are run up to the token; there is no Entra here.
"""

import base64
import configparser
import json
import os
import queue
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import confluent_kafka
import pytest
import yaml
from click.testing import CliRunner

from stingar_dagster.cli import main
from stingar_dagster.kafka.settings import load_kafka_settings
from stingar_dagster_tests.kafka.broker import free_port

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
WITH_TOKENS = ("rsyslog.conf", "logstash.conf", "fluent-bit.yaml")
SCOPE = "https://namespace.example.org/.default"
PATIENCE = 60


def with_entra_tokens(name: str) -> str:
    """A configuration as its comment says: lines for a key out, those for Entra tokens in."""
    lines = (SHIPPERS / name).read_text().splitlines()
    marker = re.compile(r"# With Entra tokens, instead of the (three lines|line) above:")
    (at,) = (number for number, line in enumerate(lines) if marker.search(line))
    end = at + 1
    while end < len(lines) and lines[end].lstrip().startswith("#"):
        lines[end] = lines[end].replace("# ", "", 1)
        end += 1
    replaced = 3 if "three" in lines[at] else 1
    return "\n".join([*lines[: at - replaced], *lines[at + 1 :]]) + "\n"


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


@pytest.mark.parametrize("name", WITH_TOKENS)
def test_a_shipper_has_lines_for_a_key_or_for_tokens_and_never_for_both(name: str) -> None:
    key = re.sub(r"(?m)^\s*#.*$", "", (SHIPPERS / name).read_text())
    tokens = re.sub(r"(?m)^\s*#.*$", "", with_entra_tokens(name))
    assert "OAUTHBEARER" not in key
    assert "STINGAR_KAFKA_TOKEN_URL" not in key
    assert tokens.count("OAUTHBEARER") == 1
    assert tokens.count("STINGAR_KAFKA_TOKEN_URL") == 1
    assert not re.search(r"PLAIN\b|sasl\.username|sasl\.password", tokens)


def test_fluent_bit_asks_for_tokens_with_the_same_output() -> None:
    (key,), (tokens,) = (
        yaml.safe_load(text)["pipeline"]["outputs"]
        for text in (
            (SHIPPERS / "fluent-bit.yaml").read_text(),
            with_entra_tokens("fluent-bit.yaml"),
        )
    )
    changed = {setting for setting in {*key, *tokens} if key.get(setting) != tokens.get(setting)}
    assert changed
    assert all(setting.startswith("rdkafka.sasl.") for setting in changed)


def test_filebeat_is_never_told_to_use_tokens_that_it_can_not_get() -> None:
    told = yaml.safe_load((SHIPPERS / "filebeat.yml").read_text())
    assert told["output.kafka"]["sasl.mechanism"] == "PLAIN"


@pytest.fixture
def rsyslogd() -> str:
    program = shutil.which("rsyslogd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if program is None or not any(Path("/usr/lib").glob("*/rsyslog/omkafka.so")):
        pytest.skip("rsyslog is not there: apt-get install rsyslog rsyslog-kafka")
    return program


def rsyslog_environment(folder: Path) -> dict[str, str]:
    return os.environ | {
        "STINGAR_LOGS": str(folder / "*.json"),
        "STINGAR_SPOOL": str(folder),
        "STINGAR_KAFKA_BROKERS": "broker.example.org:9092",
        "STINGAR_KAFKA_TOPIC": "stingar",
        "STINGAR_KAFKA_SECURITY": "SASL_SSL",
        "STINGAR_KAFKA_USER": "$ConnectionString",
        "STINGAR_KAFKA_PASSWORD": "none",
        "STINGAR_KAFKA_TOKEN_URL": "https://login.example.org/token",
        "STINGAR_KAFKA_SCOPE": SCOPE,
    }


@pytest.mark.parametrize("tokens", [False, True], ids=["key", "tokens"])
def test_rsyslog_takes_its_configuration(rsyslogd: str, tmp_path: Path, tokens: bool) -> None:
    configuration = tmp_path / "rsyslog.conf"
    plain = (SHIPPERS / "rsyslog.conf").read_text()
    configuration.write_text(with_entra_tokens("rsyslog.conf") if tokens else plain)
    result = subprocess.run(
        [rsyslogd, "-N1", "-f", str(configuration)],
        env=rsyslog_environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert "error" not in result.stderr


@dataclass
class TokenEndpoint:
    """A token endpoint on loopback; `asked` has the credential and the form of each request."""

    url: str
    asked: "queue.Queue[tuple[str, dict[str, list[str]]]]" = field(default_factory=queue.Queue)


@pytest.fixture
def token_endpoint() -> Iterator[TokenEndpoint]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = self.rfile.read(int(self.headers["Content-Length"])).decode()
            credential = self.headers["Authorization"].removeprefix("Basic ")
            endpoint.asked.put((base64.b64decode(credential).decode(), parse_qs(form)))
            now = int(time.time())
            parts = ({"alg": "none"}, {"sub": "shipper", "iat": now, "exp": now + 600})
            encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()) for part in parts)
            token = ".".join([*(part.decode().rstrip("=") for part in encoded), "x"])
            answer = json.dumps({"access_token": token, "token_type": "Bearer"}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        endpoint = TokenEndpoint(f"http://127.0.0.1:{server.server_port}/tenant/oauth2/v2.0/token")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield endpoint
        server.shutdown()
        thread.join()


def librdkafka_with_libcurl() -> dict[str, str]:
    """What makes rsyslog load one: nothing where the system's is, else that of confluent-kafka."""
    system = next(Path("/usr/lib").glob("*/librdkafka.so.1"))
    linked = subprocess.run(["ldd", system], capture_output=True, text=True, timeout=60, check=True)
    if "libcurl" in linked.stdout:
        return {}
    folder = Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs"
    (bundled,) = folder.glob("librdkafka-*.so*")
    return {"LD_PRELOAD": str(bundled)}


def test_rsyslog_asks_for_a_token_as_entra_wants_it(
    rsyslogd: str, token_endpoint: TokenEndpoint, tmp_path: Path
) -> None:
    (tmp_path / "a.json").write_text('{"src_ip": "192.0.2.7"}\n')
    configuration = tmp_path / "rsyslog.conf"
    configuration.write_text(with_entra_tokens("rsyslog.conf"))
    environ = rsyslog_environment(tmp_path) | {
        "STINGAR_KAFKA_BROKERS": f"127.0.0.1:{free_port()}",
        "STINGAR_KAFKA_USER": "application",
        "STINGAR_KAFKA_PASSWORD": "a~secret=.of",
        "STINGAR_KAFKA_TOKEN_URL": token_endpoint.url,
    }
    with (tmp_path / "told").open("wb") as told:
        shipper = subprocess.Popen(
            [rsyslogd, "-n", "-f", str(configuration), "-i", str(tmp_path / "pid")],
            env=environ | librdkafka_with_libcurl(),
            stdout=told,
            stderr=told,
        )
    try:
        credential, form = token_endpoint.asked.get(timeout=PATIENCE)
    finally:
        shipper.kill()
        shipper.wait(PATIENCE)
    assert credential == "application:a~secret=.of"
    assert form == {"grant_type": ["client_credentials"], "scope": [SCOPE]}
    assert "will be disabled" not in (tmp_path / "told").read_text()


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


def example_of_an_environment() -> dict[str, str]:
    lines = (ROOT / "deploy/systemd/stingar.env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_capture_and_shippers_log_in_to_one_broker_in_the_same_way() -> None:
    mechanism = example_of_an_environment()["STINGAR_KAFKA_MECHANISM"]
    for file in CONFIGURATIONS:
        settings = re.sub(r"(?m)^\s*#.*$", "", file.read_text())
        (said,) = re.findall(r'sasl[._]mechanisms?\W+([A-Z]\S*?)"?,?$', settings, re.MULTILINE)
        assert said == mechanism, file.name


def test_dagster_of_the_units_differs_from_that_of_a_checkout_only_in_its_folders() -> None:
    checkout = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    units = yaml.safe_load((ROOT / "deploy/systemd/dagster.yaml").read_text())
    for instance, folder in ((checkout, "data/dagster"), (units, "/srv/stingar/dagster")):
        assert instance.pop("storage") == {"sqlite": {"base_dir": folder}}
        assert instance["local_artifact_storage"]["config"].pop("base_dir") == folder
        assert instance["compute_logs"]["config"].pop("base_dir") == f"{folder}/compute_logs"
    assert units == checkout
    for file in UNITS:
        home = re.findall(r"DAGSTER_HOME=(\S+)", file.read_text())
        assert home in ([], ["/srv/stingar/dagster"]), file.name


def test_the_example_of_an_environment_is_taken_but_for_its_password(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    environ = example_of_an_environment()
    assert environ["STINGAR_KAFKA_PASSWORD"] == ""
    environ |= {"STINGAR_KAFKA_PASSWORD": "x", "STINGAR_KAFKA_CA": str(tmp_path / "ca.pem")}
    assert load_kafka_settings(environ).security == "SASL_SSL"
