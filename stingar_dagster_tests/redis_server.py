"""A Redis server of its own for tests: real, on loopback, set up as `deploy/celery` says.

With TLS, a user and a password, and what it was told kept on disk. Not here: what goes through it
(`fleet`).
"""

import contextlib
import hashlib
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import redis

from stingar_dagster_tests.azurite import free_ports
from stingar_dagster_tests.certificates import Certificate

DEPLOYED: Final = Path(__file__).resolve().parents[1] / "deploy/celery"
USER: Final = "stingar"
PASSWORD: Final = "a-brokers-secret-of-nobody"
HOW_TO_GET_IT: Final = (
    "Redis is not there, so nothing of several machines is tested: apt-get install redis-server"
)
_SECONDS_TO_START: Final = 30


@dataclass
class Redis:
    """A server that can be stopped and started again; it keeps its messages and its port."""

    folder: Path
    port: int
    cert: Path
    _program: str
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The broker's address, with its password."""
        return f"rediss://{USER}:{PASSWORD}@127.0.0.1:{self.port}/0?ssl_ca_certs={self.cert}"

    def start(self) -> None:
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, str(self.folder / "redis.conf")],
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + _SECONDS_TO_START
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(redis.ConnectionError, redis.BusyLoadingError):
                with self.client() as client:
                    client.ping()
                return
            time.sleep(0.1)
        raise RuntimeError((self.folder / "redis.log").read_text()[-2000:])

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=_SECONDS_TO_START)
            self._process = None

    def client(self, **changes: Any) -> "redis.Redis":
        """A connection as the deployment's user, or as another."""
        return redis.Redis(
            **{
                "host": "127.0.0.1", "port": self.port, "username": USER, "password": PASSWORD,
                "ssl": True, "ssl_ca_certs": str(self.cert), **changes,
            }
        )  # fmt: skip

    def waiting(self, queue: str) -> int:
        """Tasks that were handed over to a queue and that no worker took."""
        with self.client() as client:
            return int(client.llen(queue))


@contextlib.contextmanager
def running_redis(folder: Path, certificate: Certificate) -> Iterator[Redis]:
    """A server with the deployment's own settings, but for its port and its files."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip(HOW_TO_GET_IT)
    (port,) = free_ports(1)
    digest = hashlib.sha256(PASSWORD.encode()).hexdigest()
    users = (DEPLOYED / "users.acl.example").read_text()
    (folder / "users.acl").write_text(users.replace("SHA256-OF-THE-PASSWORD", digest))
    settings = (DEPLOYED / "redis.conf").read_text()
    settings = re.sub(r"(?m)^tls-port .*", f"tls-port {port}", settings)
    for name, path in (
        ("cert.pem", certificate.cert),
        ("key.pem", certificate.key),
        ("ca.pem", certificate.cert),
        ("users.acl", folder / "users.acl"),
    ):
        settings = settings.replace(f"/etc/redis/{name}", str(path))
    (folder / "redis.conf").write_text(settings + f"\ndir {folder}\n")
    server = Redis(folder, port, certificate.cert, program)
    try:
        server.start()
        yield server
    finally:
        server.stop()
