"""The instance of `deploy/azure/dagster.yaml` at work: runs and events in PostgreSQL, what runs
print in blob storage by a managed identity, and a real daemon over sample captures."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from azure.storage.blob import ContainerClient

from stingar_dagster.errors import UsageError
from stingar_dagster.instance import open_instance
from stingar_dagster.verify import verify
from stingar_dagster_tests.azure_servers import Servers, azure_servers
from stingar_dagster_tests.azurite import ACCOUNT, KEY
from stingar_dagster_tests.certificates import make_certificate
from stingar_dagster_tests.entra import entra
from stingar_dagster_tests.postgres import PASSWORD, USER, Postgres, running_postgres
from stingar_dagster_tests.support import HOUR, Site, event, pending

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / "deploy/azure/dagster.yaml"
SECONDS = 420
"""A minute on an idle machine, and three more where a run was just being launched."""


@dataclass
class Deployment:
    """What Azure would be: a database, blob storage with an identity, and folders to work on.

    Attributes:
        environ: of every process of Dagster.
    """

    folder: Path
    site: Site
    postgres: Postgres
    servers: Servers
    container: str
    environ: dict[str, str]

    def stingar(self, *arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", "from stingar_dagster.cli import main; main()", *arguments],
            cwd=self.folder,
            env=self.environ | changes,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    def runs(self) -> list[tuple[str, str, str]]:
        """(job, status, id) of every run, as PostgreSQL has them."""
        (known,) = self.postgres.query("select to_regclass('runs')", "dagster")
        if known[0] is None:
            return []
        rows = self.postgres.query(
            "select pipeline_name, status, run_id from runs order by id", "dagster"
        )
        return [(str(job), str(status), str(run)) for job, status, run in rows]

    def is_at_work(self) -> bool:
        return any(status not in ("SUCCESS", "FAILURE") for _, status, _ in self.runs())

    def logs(self) -> set[str]:
        """Names of the blobs with what runs printed."""
        # The account's own key: the test looks from the outside.
        with ContainerClient(
            self.servers.blob,
            self.container,
            credential={"account_name": ACCOUNT, "account_key": KEY},
            connection_verify=self.environ["REQUESTS_CA_BUNDLE"],
        ) as client:
            return {str(blob.name) for blob in client.list_blobs()}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("deployment")
    certificate = make_certificate(folder)
    with (
        running_postgres(certificate) as postgres,
        azure_servers(certificate, "--oauth", "basic") as servers,
        entra() as identity,
    ):
        home = folder / "home"
        home.mkdir()
        config = CONFIG.read_text()
        assert config.count("port: 5432\n") == 1
        (home / "dagster.yaml").write_text(
            config.replace("port: 5432\n", f"port: {postgres.port}\n")
        )
        shutil.copy(ROOT / "workspace.yaml", folder)
        postgres.query("create database dagster")
        os.environ["REQUESTS_CA_BUNDLE"], before = (
            str(certificate.cert),
            os.environ.get("REQUESTS_CA_BUNDLE"),
        )
        try:
            container = servers.new_container()
        finally:
            os.environ.pop("REQUESTS_CA_BUNDLE")
            if before is not None:
                os.environ["REQUESTS_CA_BUNDLE"] = before
        account = servers.blob.removeprefix("https://")
        site = Site.at(folder)
        ours = ("AZURE_", "STINGAR_", "DAGSTER_")
        environ = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
        environ |= {
            **identity.as_a_machines,
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
        }
        environ |= {
            "PYTHONPATH": str(ROOT),
            "DAGSTER_HOME": str(home),
            "DAGSTER_POSTGRES_HOST": "127.0.0.1",
            "DAGSTER_POSTGRES_DB": "dagster",
            "DAGSTER_POSTGRES_USER": USER,
            "DAGSTER_POSTGRES_PASSWORD": PASSWORD,
            "PGSSLROOTCERT": str(certificate.cert),
            # The log manager makes https://ACCOUNT.blob.core.windows.net/ of it: the rest of that
            # becomes a fragment.
            "DAGSTER_COMPUTE_LOGS_ACCOUNT": f"{account}#",
            "DAGSTER_COMPUTE_LOGS_CONTAINER": container,
            "REQUESTS_CA_BUNDLE": str(certificate.cert),
            "STINGAR_LANDING": site.landing,
            "STINGAR_LAKE": site.lake,
            "STINGAR_START": f"{recently() - 24 * HOUR:%Y-%m-%d}",
            "STINGAR_PROCESSES": "1",
        }
        yield Deployment(folder, site, postgres, servers, container, environ)


@contextlib.contextmanager
def daemon(deployment: Deployment) -> Iterator[Path]:
    """Dagster's daemon, until the block ends; gives what it prints."""
    log = deployment.folder / "daemon.log"
    command = [sys.executable, "-m", "dagster._daemon", "run", "-w", "workspace.yaml"]
    with (
        log.open("ab") as out,
        subprocess.Popen(
            command,
            cwd=deployment.folder,
            env=deployment.environ,
            stdout=out,
            stderr=out,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield log
            assert process.poll() is None, log.read_text()[-3000:]
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)
            # Code servers outlive a daemon for a while, and one that misses its database for good.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def wait_until(holds: Callable[[], bool], log: Path) -> None:
    until = time.monotonic() + SECONDS
    while not holds():
        if time.monotonic() > until:
            raise AssertionError(log.read_text()[-5000:])
        time.sleep(0.5)


def recently() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - HOUR


def test_captures_come_out_though_the_database_is_restarted(
    deployment: Deployment,
) -> None:
    site, postgres = deployment.site, deployment.postgres

    def is_out() -> bool:
        return bool(site.daily("daily_summary")) and pending(site.pipeline()) == ([], [], [])

    hour = recently()
    site.put([event(hour), event(hour - HOUR), b"no json"], start=hour)
    with daemon(deployment) as log:
        wait_until(is_out, log)
        wait_until(lambda: {status for _, status, _ in deployment.runs()} == {"SUCCESS"}, log)
        first = deployment.runs()
        steps = {"stingar_land_and_publish", "stingar_publish", "stingar_roll"}
        assert {job for job, _, _ in first} == steps
        (events,) = postgres.query(
            "select count(*) from event_logs where dagster_event_type = 'ASSET_MATERIALIZATION'",
            "dagster",
        )
        assert events[0] >= 3
        wait_until(lambda: all(run in "".join(deployment.logs()) for _, _, run in first), log)
        assert {name.split("/")[0] for name in deployment.logs()} == {"dagster"}

        postgres.stop()
        site.put([event(hour)], start=hour, first=3, partition=1)
        time.sleep(12)  # longer than anything tries to reach it
        postgres.start()
        wait_until(lambda: len(site.events()) == 3 and is_out(), log)
        wait_until(lambda: not deployment.is_at_work(), log)
    assert deployment.runs()[: len(first)] == first
    # A run that was being launched may have failed, and was asked for again.
    assert {status for _, status, _ in deployment.runs()} <= {"SUCCESS", "FAILURE"}
    assert verify(site.pipeline()).holds
    assert not list((deployment.folder / "home").rglob("*.db"))


def test_stingar_run_uses_the_same_database(deployment: Deployment) -> None:
    before = len(deployment.runs())
    hour = recently()
    deployment.site.put([event(hour)], start=hour, first=0, partition=2)
    done = deployment.stingar("run")
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 landed hours, 1 event hours" in done.stdout
    assert len(deployment.runs()) == before + 3


def test_a_store_that_takes_no_output_fails_no_run(deployment: Deployment) -> None:
    before = len(deployment.runs())
    hour = recently()
    deployment.site.put([event(hour)], start=hour, first=0, partition=3)
    done = deployment.stingar("run", DAGSTER_COMPUTE_LOGS_CONTAINER="missing")
    assert done.returncode == 0
    assert {status for _, status, _ in deployment.runs()[before:]} == {"SUCCESS"}


def test_the_instance_on_azure_differs_only_in_where_it_keeps_things() -> None:
    here, there = (yaml.safe_load(path.read_text()) for path in (ROOT / "dagster.yaml", CONFIG))
    differs = {name for name in here | there if here.get(name) != there.get(name)}
    assert differs == {"storage", "local_artifact_storage", "compute_logs"}


@pytest.mark.parametrize("command", ["run", "demo"])
def test_a_wrong_password_is_one_line_that_does_not_tell_it(
    deployment: Deployment, command: str
) -> None:
    hour = recently()
    deployment.site.put([event(hour)], start=hour, first=0, partition=4)
    told = deployment.stingar(command, DAGSTER_POSTGRES_PASSWORD="wrong-and-secret")
    assert (told.returncode, told.stdout) == (2, "")
    (text,) = told.stderr.splitlines()
    assert text.startswith("stingar: Dagster's instance can't be opened: ")
    assert 'password authentication failed for user "stingar"; check the host' in text
    assert "wrong-and-secret" not in text


@pytest.mark.parametrize(
    ("variable", "value", "line"),
    [
        ("DAGSTER_POSTGRES_HOST", "postgres.invalid", "could not translate host name"),
        ("DAGSTER_POSTGRES_HOST", "127.0.0.2", "Connection refused"),
        ("DAGSTER_POSTGRES_HOST", f"u:{PASSWORD}@127.0.0.2", "can't be opened"),
        ("DAGSTER_POSTGRES_DB", "missing", 'database "missing" does not exist'),
        ("PGSSLROOTCERT", "/dev/null", "certificate"),
        ("DAGSTER_POSTGRES_PASSWORD", None, "takes DAGSTER_POSTGRES_PASSWORD from the environment"),
    ],
)
def test_a_database_that_can_not_be_used_is_one_line(
    deployment: Deployment,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    variable: str,
    value: str | None,
    line: str,
) -> None:
    for name in ("DAGSTER_HOME", "PGSSLROOTCERT", *deployment.environ):
        if name.startswith(("DAGSTER_", "PGSSL")):
            monkeypatch.setenv(name, deployment.environ[name])
    if value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, value)
    with pytest.raises(UsageError) as refused:
        open_instance()
    text = str(refused.value)
    assert line in text
    assert "\n" not in text
    assert PASSWORD not in text
    assert capfd.readouterr() == ("", "")
