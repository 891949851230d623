"""The broker that tests of the real consumer share, and the command they run."""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stingar_dagster_tests.kafka import broker as brokers
from stingar_dagster_tests.kafka.broker import Broker


@pytest.fixture(scope="session")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    if brokers.program() is None:
        pytest.skip("the Kafka-protocol broker is not there: pip install noida-db")
    with brokers.running(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture
def topic(shared_broker: Broker) -> str:
    """A new topic of two partitions."""
    name = f"stingar-{secrets.token_hex(4)}"
    shared_broker.make(name, 2)
    return name


@dataclass
class Command:
    """The `stingar` command, with an environment of its own."""

    folder: Path
    environ: dict[str, str]

    def start(self, *arguments: str, **environ: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", "from stingar_dagster.cli import main; main()", *arguments],
            cwd=self.folder,
            env=os.environ | self.environ | environ,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        process = self.start(*arguments, **environ)
        try:
            out, err = process.communicate(timeout=300)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            raise AssertionError(process.communicate()) from None
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    @property
    def landing(self) -> Path:
        return self.folder / "landing"


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(
        tmp_path,
        {
            "STINGAR_LANDING": str(tmp_path / "landing"),
            "STINGAR_LAKE": str(tmp_path / "lake"),
            "DAGSTER_HOME": "",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
    )
