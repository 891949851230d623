"""A PostgreSQL server of its own for tests: real, on loopback, with TLS and a password.

Not here: what Dagster keeps in it (`orchestration/test_on_postgres`).
"""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psycopg2
import pytest

from stingar_dagster_tests.certificates import Certificate

USER: Final = "stingar"
PASSWORD: Final = "not-a-secret-of-anyone"
_SECONDS_TO_START: Final = 60


@dataclass
class Postgres:
    """A server that can be stopped and started again; it keeps its data and its port."""

    folder: Path
    port: int
    _programs: Path
    _identity: dict[str, Any]
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def start(self) -> None:
        options = {
            "port": self.port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "ssl": "on",
            "ssl_cert_file": self.folder / "cert.pem",
            "ssl_key_file": self.folder / "key.pem",
            # It lives as long as a test.
            "fsync": "off",
        }
        command = [str(self._programs / "postgres"), "-D", str(self.folder / "data")]
        for name, value in options.items():
            command += ["-c", f"{name}={value}"]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, **self._identity
            )
        until = time.monotonic() + _SECONDS_TO_START
        while time.monotonic() < until and self._process.poll() is None:
            try:
                self.query("select 1")
            except psycopg2.OperationalError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError((self.folder / "server.log").read_text()[-2000:])

    def stop(self) -> None:
        """Close connections and stop, as for an update of the server."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(timeout=_SECONDS_TO_START)
            self._process = None

    def query(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(
            host="127.0.0.1", port=self.port, user=USER, password=PASSWORD, dbname=database
        )
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return list(cursor.fetchall()) if cursor.description else []
        finally:
            connection.close()


@contextlib.contextmanager
def running_postgres(certificate: Certificate) -> Iterator[Postgres]:
    """A server with an empty database cluster. As root it runs as the package's own user."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not there: apt-get install postgresql (or put it on PATH)")
    identity: dict[str, Any] = {}
    # Not pytest's folder: the server's user may not enter it.
    folder = Path(tempfile.mkdtemp(prefix="stingar-postgres-"))
    try:
        for name, path in (("cert.pem", certificate.cert), ("key.pem", certificate.key)):
            shutil.copy(path, folder / name)
            (folder / name).chmod(0o600)
        password = folder / "password"
        password.write_text(PASSWORD)
        if os.geteuid() == 0:
            try:
                owner = pwd.getpwnam("postgres")
            except KeyError:
                pytest.skip("PostgreSQL runs as the user postgres, who is not there")
            identity = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
            for path in (folder, *folder.iterdir()):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        subprocess.run(
            [
                str(programs / "initdb"), "-D", str(folder / "data"), "-U", USER, "-E", "UTF8",
                "--locale=C", "--auth=scram-sha-256", f"--pwfile={password}",
                "--no-sync",
            ],
            check=True, capture_output=True, cwd=folder, **identity,
        )  # fmt: skip
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = Postgres(folder, port, programs, identity)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _programs() -> Path | None:
    """The newest of Debian's versions, else the one on PATH."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3])
    )
    if found:
        return found[-1].parent
    on_path = shutil.which("postgres")
    return Path(on_path).parent if on_path else None
