"""The deployment of `deploy/celery` on loopback: PostgreSQL, Redis, blob storage and Dagster.

Daemon, webserver and workers are processes of their own, each with a working folder and a
DAGSTER_HOME that no other uses. `benchmarks.fleet` runs the same for longer. Not here: what is
broken on the way, and what has to hold (`test_outages`).
"""

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import requests

from stingar_dagster_tests.azurite import Service, free_ports, serving
from stingar_dagster_tests.certificates import make_certificate
from stingar_dagster_tests.postgres import PASSWORD, USER, Postgres, running_postgres
from stingar_dagster_tests.redis_server import Redis, running_redis
from stingar_dagster_tests.support import Site

ROOT: Final = Path(__file__).resolve().parents[2]
CONFIG: Final = ROOT / "deploy/celery/dagster.yaml"
BOTH: Final = ("stingar-live", "stingar-backfill")
UNFINISHED: Final = frozenset({"QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"})
PATIENCE: Final = 420.0
"""Seconds. What is waited for takes a tenth of it on an idle machine."""

_BACKFILL: Final = """
mutation ($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
  }
}
"""
_TERMINATE: Final = "mutation ($id: String!) { terminateRun(runId: $id) { __typename } }"
_STATUS: Final = """
query ($id: String!) {
  partitionBackfillOrError(backfillId: $id) { ... on PartitionBackfill { status } }
}
"""


@dataclass
class Machine:
    """One process of the deployment, with its children, in a process group of their own."""

    name: str
    command: list[str]
    folder: Path
    environ: dict[str, str]
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environ,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> Path:
        return self.folder / "output.log"

    @property
    def group(self) -> int:
        """The id of its process group."""
        assert self._process is not None
        return self._process.pid

    def has_exited(self) -> int | None:
        """Its exit code, once it ended by itself."""
        return self._process.poll() if self._process is not None else None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def drain(self) -> None:
        """Ask it to end, as systemd does: the parent alone is told."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it with everything it started, as when the machine loses power."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=30)
            self._process = None


@dataclass
class Fleet:
    """The servers, and what was started beside them.

    Attributes:
        environ: of every process of Dagster.
        changes: of the deployed dagster.yaml, by the number of text to replace.
    """

    folder: Path
    site: Site
    postgres: Postgres
    redis: Redis
    azurite: Service
    environ: dict[str, str]
    changes: dict[str, str]
    ui: str = ""
    machines: dict[str, Machine] = field(default_factory=dict)

    # ---- machines

    def worker(
        self, name: str, queues: Sequence[str] = BOTH, concurrency: int = 2, **environ: str
    ) -> Machine:
        """Start a worker; the deployment's unit has the same command."""
        options = [option for queue in queues for option in ("--queue", queue)]
        return self._start(
            name,
            [
                "-c", "from stingar_dagster.cli import main; main()", "worker", *options,
                "--concurrency", str(concurrency), "--name", name,
            ],
            **environ,
        )  # fmt: skip

    def daemon(self) -> Machine:
        return self._start("daemon", ["-m", "dagster._daemon", "run", *_CODE])

    def webserver(self) -> Machine:
        (port,) = free_ports(1)
        self.ui = f"http://127.0.0.1:{port}"
        return self._start(
            "webserver", ["-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(port), *_CODE]
        )

    def _start(self, name: str, arguments: list[str], **environ: str) -> Machine:
        folder = self.folder / name
        home = folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        config = CONFIG.read_text()
        for before, after in ({"port: 5432": f"port: {self.postgres.port}"} | self.changes).items():
            assert config.count(before) == 1, before
            config = config.replace(before, after)
        (home / "dagster.yaml").write_text(config)
        machine = Machine(
            name,
            [sys.executable, *arguments],
            folder,
            self.environ | {"DAGSTER_HOME": str(home)} | environ,
        )
        self.machines[name] = machine
        machine.start()
        return machine

    def kill_all(self) -> None:
        for machine in self.machines.values():
            machine.kill()

    # ---- looking

    def runs(self, backfill: str | None = None) -> list[tuple[str, str, str]]:
        """(job, status, id) of every run, or of one backfill, as PostgreSQL has them."""
        (known,) = self.postgres.query("select to_regclass('runs')", "dagster")
        if known[0] is None:
            return []
        of = "" if backfill is None else (
            " where run_id in (select run_id from run_tags where key = 'dagster/backfill' "
            f"and value = '{backfill}')"
        )  # fmt: skip
        rows = self.postgres.query(
            f"select pipeline_name, status, run_id from runs{of} order by id", "dagster"
        )
        return [(str(job), str(status), str(run)) for job, status, run in rows]

    def unfinished(self) -> list[tuple[str, str, str]]:
        return [run for run in self.runs() if run[1] in UNFINISHED]

    def at_work(self, backfill: str) -> list[tuple[str, Machine]]:
        """The started runs of a backfill, and the machine that does each."""
        found = []
        for _, status, run in self.runs(backfill):
            if status == "STARTED" and (machine := self.machine_of(run)) is not None:
                found.append((run, machine))
        return found

    def retry_of(self, run: str) -> str:
        """The run that was asked for because another failed; empty if there is none."""
        rows = self.postgres.query(
            f"select run_id from run_tags where key = 'dagster/parent_run_id' and value = '{run}'",
            "dagster",
        )
        return str(rows[-1][0]) if rows else ""

    def machine_of(self, run: str) -> Machine | None:
        """The machine whose process said that it does a run."""
        events = self.postgres.query(
            f"select event from event_logs where run_id = '{run}'", "dagster"
        )
        pids = [pid for (text,) in events for pid in _STARTED.findall(str(text))]
        with contextlib.suppress(ProcessLookupError, IndexError):
            group = os.getpgid(int(pids[-1]))
            # A machine that was killed may leave its processes' ids behind.
            running = (m for m in self.machines.values() if m.is_running)
            return next((m for m in running if m.group == group), None)
        return None

    def wait_until(self, holds: Callable[[], bool], what: str, seconds: float = PATIENCE) -> float:
        """Wait for something; how many seconds it took."""
        begin = time.monotonic()
        while not holds():
            if time.monotonic() - begin > seconds:
                raise AssertionError(f"not within {seconds:.0f} s: {what}\n{self.told()}")
            time.sleep(0.1)
        return time.monotonic() - begin

    def wait_until_over(self, backfill: str, seconds: float = PATIENCE) -> str:
        """Wait for the end of a backfill; its status then."""
        status = ""

        def is_over() -> bool:
            nonlocal status
            status = self.status_of(backfill)
            return status not in ("", "REQUESTED", "CANCELING", "FAILING")

        self.wait_until(is_over, "backfill over", seconds)
        return status

    def told(self) -> str:
        """The last words of every process, and the runs that are not done."""
        last = [f"--- {m.name}\n{m.log.read_text()[-2500:]}" for m in self.machines.values()]
        with contextlib.suppress(Exception):
            last.append(f"--- unfinished: {self.unfinished()}")
        return "\n".join(last)

    # ---- as somebody at the UI

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        answer = requests.post(
            f"{self.ui}/graphql", json={"query": query, "variables": variables}, timeout=60
        )
        answer.raise_for_status()
        return dict(answer.json()["data"])

    def is_serving(self) -> bool:
        """Whether the UI is up and has the definitions."""
        query = "{ assetNodes { assetKey { path } } }"
        with contextlib.suppress(requests.RequestException, KeyError, TypeError):
            return bool(self.graphql(query)["assetNodes"])
        return False

    def backfill(self, partitions: Sequence[str], *assets: str) -> str:
        """Ask for a backfill as the UI's dialog does; its id."""
        params = {
            "assetSelection": [{"path": ["stingar", asset]} for asset in assets],
            "partitionNames": list(partitions),
        }
        (answer,) = self.graphql(_BACKFILL, params=params).values()
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        return str(answer["backfillId"])

    def terminate(self, run: str) -> None:
        """As the button in the UI does it."""
        (answer,) = self.graphql(_TERMINATE, id=run).values()
        assert answer["__typename"] == "TerminateRunSuccess", answer

    def status_of(self, backfill: str) -> str:
        """As the UI has it; empty while the UI has errors, as after its database was away."""
        with contextlib.suppress(requests.RequestException):
            (answer,) = self.graphql(_STATUS, id=backfill).values()
            return str(answer["status"])
        return ""


_CODE: Final = ("-m", "stingar_dagster.definitions")
_STARTED: Final = re.compile(r"Started process for run \(pid: (\d+)\)")


@contextlib.contextmanager
def running_fleet(
    folder: Path, start: str, changes: dict[str, str] | None = None
) -> Iterator[Fleet]:
    """Servers, and an empty landing and lake; machines are for the caller to start.

    Args:
        folder: of the machines; not of PostgreSQL, whose user may not enter it.
        start: the first day, STINGAR_START.
        changes: texts in the deployed dagster.yaml and what stands there instead.
    """
    certificate = make_certificate(folder)
    (folder / "redis").mkdir()
    with (
        running_redis(folder / "redis", certificate) as redis,
        running_postgres(certificate) as postgres,
        serving() as azurite,
    ):
        postgres.query("create database dagster")
        container = f"test-{secrets.token_hex(4)}"
        azurite.make_container(container)
        site = Site(f"az://{container}/landing", f"az://{container}/lake")
        ours = ("AZURE_", "STINGAR_", "DAGSTER_")
        environ = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        environ |= {
            "PYTHONPATH": str(ROOT),
            "AZURE_STORAGE_CONNECTION_STRING": azurite.connection_string,
            "DAGSTER_POSTGRES_HOST": "127.0.0.1",
            "DAGSTER_POSTGRES_DB": "dagster",
            "DAGSTER_POSTGRES_USER": USER,
            "DAGSTER_POSTGRES_PASSWORD": PASSWORD,
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": str(certificate.cert),
            "STINGAR_CELERY_BROKER": redis.url,
            "STINGAR_LANDING": site.landing,
            "STINGAR_LAKE": site.lake,
            "STINGAR_START": start,
            "STINGAR_PROCESSES": "1",
        }
        fleet = Fleet(folder, site, postgres, redis, azurite, environ, changes or {})
        try:
            yield fleet
        finally:
            fleet.kill_all()


def command_lines() -> str:
    """What `ps` would show of every process of this user."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return json.dumps(lines)
