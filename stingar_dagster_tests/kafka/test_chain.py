"""The whole way: log file, rsyslog, broker, `stingar capture`, Azurite, `stingar run`, lake.

Every part but Azurite is ended in the middle, and every line comes out. rsyslog, which is killed,
sends the lines of its file again: those are further messages of the broker, with identities of
their own, so they are counted, and must be lines that it had read before it was killed.

The broker of these tests forgets acknowledged messages of its last second or two when it is
killed. So under load it is ended as its operator would, and killed when it has saved what it has.

`make chain` does it with 50,000 lines and prints figures.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from azure.storage.blob import BlobServiceClient, ContainerClient
from confluent_kafka import Consumer, TopicPartition

from stingar_dagster_tests.kafka import broker as brokers
from stingar_dagster_tests.kafka.broker import SAVED_AFTER_SECONDS, Broker, quiet
from stingar_dagster_tests.kafka.conftest import Command
from stingar_dagster_tests.support import event

ROOT: Final = Path(__file__).resolve().parents[2]
CONFIGURATION: Final = ROOT / "deploy/shippers/rsyslog.conf"
LINES: Final = int(os.environ.get("STINGAR_CHAIN_LINES") or 4000)
CHUNKS: Final = 40
PARTITIONS: Final = 4
PATIENCE: Final = 180
TOPIC: Final = "stingar"


def rsyslogd() -> str:
    found = shutil.which("rsyslogd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None or not any(Path("/usr/lib").glob("*/rsyslog/omkafka.so")):
        pytest.skip("rsyslog is not there: apt-get install rsyslog rsyslog-kafka")
    if brokers.program() is None:
        pytest.skip("the Kafka-protocol broker is not there: pip install noida-db")
    return found


@dataclass
class Shipper:
    """rsyslog, with the configuration that is shipped."""

    program: str
    folder: Path
    broker: Broker
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def log(self) -> Path:
        return self.folder / "logs/cowrie.json"

    def start(self) -> None:
        (self.folder / "spool").mkdir(exist_ok=True)
        (self.folder / "pid").unlink(missing_ok=True)
        environ = {
            "STINGAR_LOGS": str(self.folder / "logs/*.json"),
            "STINGAR_SPOOL": str(self.folder / "spool"),
            "STINGAR_KAFKA_BROKERS": self.broker.address,
            "STINGAR_KAFKA_TOPIC": TOPIC,
            "STINGAR_KAFKA_SECURITY": "PLAINTEXT",
            "STINGAR_KAFKA_USER": "",
            "STINGAR_KAFKA_PASSWORD": "",
        }
        command = [self.program, "-n", "-f", str(CONFIGURATION), "-i", str(self.folder / "pid")]
        with (self.folder / "rsyslog.log").open("ab") as told:
            self.process = subprocess.Popen(
                command, env=os.environ | environ, stdout=told, stderr=told
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(60)


@dataclass
class Site:
    """Everything between the log file and the lake."""

    broker: Broker
    shipper: Shipper
    command: Command
    capture: "subprocess.Popen[str] | None" = None
    written: int = 0
    figures: dict[str, object] = field(default_factory=dict)

    def write(self, count: int) -> None:
        """A honeypot logs, each line with a number of its own."""
        base = datetime.now(UTC) - timedelta(hours=2)
        with self.shipper.log.open("ab") as log:
            for number in range(self.written, self.written + count):
                moment = base + timedelta(seconds=number % 7200)
                log.write(event(moment, n=number, input="x" * 250) + b"\n")
        self.written += count

    def sent(self) -> Counter[int]:
        """How often the broker has each line, asked by a consumer that shares nothing with ours."""
        consumer = Consumer(
            {"bootstrap.servers": self.broker.address, "group.id": "test"}
            | {"enable.auto.commit": False, "auto.offset.reset": "error"},
            logger=quiet(),
        )
        found: Counter[int] = Counter()
        try:
            left = 0
            for partition in range(PARTITIONS):
                left += consumer.get_watermark_offsets(TopicPartition(TOPIC, partition), 30)[1]
            consumer.assign([TopicPartition(TOPIC, number, 0) for number in range(PARTITIONS)])
            until = time.monotonic() + PATIENCE
            while left > 0 and time.monotonic() < until:
                for message in consumer.consume(1000, 0.5):
                    if message.error() is None:
                        found[json.loads(message.value() or b"")["n"]] += 1
                        left -= 1
        finally:
            consumer.close()
        return found

    def start_capture(self) -> None:
        self.capture = self.command.start("capture")

    def kill_capture(self) -> None:
        assert self.capture is not None
        self.capture.kill()
        self.capture.communicate()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.25)


def published(container: ContainerClient) -> Counter[int]:
    """How often each line's event is published."""
    found: Counter[int] = Counter()
    for blob in container.list_blobs("lake/stingar/events/"):
        if blob.name.endswith(".json"):
            for line in container.download_blob(blob.name).readall().splitlines():
                found[json.loads(json.loads(line)["extra"])["n"]] += 1
    return found


def test_every_line_comes_out_whatever_is_killed_on_the_way(
    tmp_path: Path, command: Command, azurite: str, container: str
) -> None:
    program = rsyslogd()
    command.environ |= {
        "STINGAR_LANDING": f"az://{container}/landing",
        "STINGAR_LAKE": f"az://{container}/lake",
        "DAGSTER_HOME": str(tmp_path / "dagster"),
        "STINGAR_CAPTURE_SECONDS": "2",
        "STINGAR_CAPTURE_BYTES": "2000000",
    }
    (tmp_path / "dagster").mkdir()
    (tmp_path / "logs").mkdir()
    broker = Broker(tmp_path / "broker")
    broker.start()
    command.environ["STINGAR_KAFKA_BROKERS"] = broker.address
    shipper = Shipper(program, tmp_path, broker)
    site = Site(broker, shipper, command)
    try:
        with BlobServiceClient.from_connection_string(azurite) as client:
            _chain(site, client.get_container_client(container))
    finally:
        for part in (shipper.process, site.capture, broker._process):
            if part is not None and part.poll() is None:
                part.kill()
                part.communicate()


def _chain(site: Site, container: ContainerClient) -> None:
    started = time.monotonic()
    broker, shipper, command = site.broker, site.shipper, site.command
    broker.make(TOPIC, PARTITIONS)
    shipper.start()
    site.start_capture()
    before_the_kill = 0
    for chunk in range(CHUNKS):
        site.write(LINES // CHUNKS)
        time.sleep(0.1)
        if chunk == CHUNKS // 4:
            before_the_kill = site.written
            wait_for(lambda: len(site.sent()) > site.written // 2, "rsyslog sends nothing")
            shipper.kill()
            shipper.start()
        elif chunk == CHUNKS // 2:
            wait_for(lambda: bool(_captures(container)), "nothing is captured")
            site.kill_capture()
            site.start_capture()
        elif chunk == CHUNKS * 3 // 4:
            broker.stop()
            time.sleep(1)
            broker.start()
    wait_for(lambda: len(site.sent()) == site.written, "lines do not come to the broker")
    site.figures["seconds until all lines were at the broker"] = time.monotonic() - started
    shipper.stop()
    time.sleep(SAVED_AFTER_SECONDS)
    broker.kill()
    broker.start()

    sent = site.sent()
    assert set(sent) == set(range(site.written)), "the broker does not have every line"
    repeated = {number for number, times in sent.items() if times > 1}
    assert all(number < before_the_kill for number in repeated), "repeated by something else"
    assert max(sent.values()) <= 2

    site.kill_capture()
    _kill_a_run(command, container)
    ended = command.run("capture", "--until-idle", "1")
    assert ended.returncode == 0, ended.stderr
    assert "LOST" not in ended.stderr
    site.figures["seconds until all were captured"] = time.monotonic() - started
    ran = command.run("run")
    assert ran.returncode == 0, ran.stderr
    site.figures["seconds until all were published"] = time.monotonic() - started

    proof = command.run("verify")
    assert proof.returncode == 0, proof.stdout
    assert "It holds." in proof.stdout
    assert published(container) == sent
    site.figures |= {
        "lines written": site.written,
        "messages at the broker": sum(sent.values()),
        "lines sent again after rsyslog was killed": len(repeated),
        "captures": len(_captures(container)),
        "events published": sum(published(container).values()),
        "verify": proof.stdout.strip().splitlines()[-2],
    }
    for name, figure in site.figures.items():
        print(f"{name}: {figure:.0f}" if isinstance(figure, float) else f"{name}: {figure}")


def _captures(container: ContainerClient) -> list[str]:
    names = (blob.name for blob in container.list_blobs("landing/"))
    return [name for name in names if name.endswith(".avro")]


def _kill_a_run(command: Command, container: ContainerClient) -> None:
    """Kill a run once it has landed something, and the processes that it started with it."""
    run = command.start("run")
    wait_for(
        lambda: run.poll() is not None or any(container.list_blobs("lake/stingar/segments/")),
        "the run does nothing",
    )
    run.send_signal(signal.SIGKILL)
    run.communicate()
