"""A real Dagster webserver over a project folder, for as long as a test needs it."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SECONDS_TO_START = 60.0


@contextlib.contextmanager
def served(folder: Path, *options: str, **variables: str) -> Iterator[str]:
    """The address of a webserver that runs in `folder`, listening as it does by default."""
    port = free_port()
    command = [sys.executable, "-m", "dagster_webserver", "-p", str(port), "-w", "workspace.yaml"]
    with started([*command, *options], folder, port, **variables) as address:
        yield address


@contextlib.contextmanager
def started(command: list[str], folder: Path, port: int, **variables: str) -> Iterator[str]:
    """The address of what a command serves at a port of loopback, once it answers."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DAGSTER_")}
    environment |= {"PYTHONPATH": str(ROOT), **variables}
    with (
        (folder / "server.log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) as server,
    ):
        try:
            address = f"http://127.0.0.1:{port}"
            _wait_for(address, server, folder / "server.log")
            yield address
        finally:
            server.terminate()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def _wait_for(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < until and server.poll() is None:
        try:
            urllib.request.urlopen(f"{address}/server_info", timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError(log.read_text()[-2000:])


def asked(address: str, query: str, **variables: Any) -> dict[str, Any]:
    """The answer to a GraphQL query."""
    request = urllib.request.Request(
        f"{address}/graphql",
        json.dumps({"query": query, "variables": variables}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        told: dict[str, Any] = json.load(answer)
    return told
