"""What is in `deploy/celery`, and the command that its workers run."""

import configparser
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from dagster._core.instance.ref import InstanceRef

from stingar_dagster import settings
from stingar_dagster.celery_launcher import StingarCeleryLauncher
from stingar_dagster.cli import main
from stingar_dagster_tests.redis_server import HOW_TO_GET_IT

ROOT = Path(__file__).resolve().parents[2]
CELERY = ROOT / "deploy/celery"
UNITS = sorted(CELERY.glob("*.service"))
CONFIG: dict[str, Any] = yaml.safe_load((CELERY / "dagster.yaml").read_text())


def example() -> dict[str, str]:
    lines = (CELERY / "stingar.env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def unit(path: Path) -> dict[str, list[str]]:
    """The settings of a unit's service, each with all its values."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().partition("[Service]")[2].partition("[Install]")[0].splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


def test_dagster_understands_the_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STINGAR_CELERY_BROKER", "rediss://u:p@127.0.0.1:6379/0")
    launcher = InstanceRef.from_dir(str(CELERY)).run_launcher
    assert isinstance(launcher, StingarCeleryLauncher)
    conf = launcher.celery.conf
    assert (conf.task_acks_late, conf.worker_prefetch_multiplier) == (True, 1)
    assert conf.task_ignore_result is True


def test_a_task_is_not_offered_again_while_its_run_may_last() -> None:
    celery = CONFIG["run_launcher"]["config"]["config_source"]
    longest = CONFIG["run_monitoring"]["max_runtime_seconds"]
    assert celery["broker_transport_options"]["visibility_timeout"] > longest


def test_backfills_leave_room_for_live_traffic() -> None:
    runs = CONFIG["concurrency"]["runs"]
    (limit,) = runs["tag_concurrency_limits"]
    assert limit["key"] == "dagster/backfill"
    assert limit["limit"] < runs["max_concurrent_runs"]


def test_it_differs_from_one_machine_only_in_what_is_shared() -> None:
    alone = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    differs = {name for name in alone | CONFIG if alone.get(name) != CONFIG.get(name)}
    assert differs == {
        "storage", "local_artifact_storage", "compute_logs", "run_launcher", "run_coordinator",
        "run_monitoring", "run_retries",
    }  # fmt: skip


def test_every_variable_that_the_instance_asks_for_is_in_the_example() -> None:
    asked = set(re.findall(r"\benv: (\w+)", (CELERY / "dagster.yaml").read_text()))
    assert {"STINGAR_CELERY_BROKER", "DAGSTER_POSTGRES_PASSWORD"} <= asked
    assert asked <= example().keys()


def test_every_variable_of_the_example_is_one_that_something_reads() -> None:
    read = set(re.findall(r'"(STINGAR_\w+)"', Path(settings.__file__).read_text()))
    read |= set(re.findall(r"\benv: (\w+)", (CELERY / "dagster.yaml").read_text()))
    # The store's client, the database's and the workers' processes read these.
    read |= {"AZURE_STORAGE_CONNECTION_STRING", "PGSSLMODE", "PGSSLROOTCERT", "STINGAR_PROCESSES"}
    assert example().keys() <= read


def test_no_file_holds_a_secret() -> None:
    for name, value in example().items():
        if name.endswith(("PASSWORD", "CONNECTION_STRING")):
            assert value == ""
    for path in UNITS:
        assert "PASSWORD" not in path.read_text()


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_what_is_there(path: Path) -> None:
    service = unit(path)
    program, *arguments = shlex.split(service["ExecStart"][0])
    assert (Path(sys.executable).parent / Path(program).name).exists()
    if Path(program).name == "stingar":
        assert CliRunner().invoke(main, [arguments[0], "--help"]).exit_code == 0
        told = CliRunner().invoke(main, [arguments[0], "--help"]).output
        assert all(option in told for option in arguments if option.startswith("--"))
    assert service["Restart"] == ["always"]
    assert service["EnvironmentFile"] == ["/etc/stingar/stingar.env"]


def test_a_worker_is_stopped_without_its_runs_being_cancelled() -> None:
    service = unit(CELERY / "stingar-worker@.service")
    # TERM to its processes, too, would cancel what they are at.
    assert service["KillMode"] == ["mixed"]
    assert int(service["TimeoutStopSec"][0]) >= CONFIG["run_monitoring"]["max_runtime_seconds"]


def test_the_units_queues_are_the_launchers() -> None:
    launcher = StingarCeleryLauncher(broker="memory://")
    text = (CELERY / "stingar-worker@.service").read_text()
    for queue in (launcher.live_queue, launcher.backfill_queue):
        assert f"stingar-worker@{queue.removeprefix('stingar-')}" in text
    assert "--queue stingar-%i" in text


def test_the_broker_is_closed_as_it_is_delivered() -> None:
    lines = (CELERY / "redis.conf").read_text().splitlines()
    told = dict(line.split(None, 1) for line in lines if line and not line.startswith("#"))
    assert told["bind"] == "127.0.0.1"
    assert told["protected-mode"] == "yes"
    assert told["port"] == "0"
    # A message that was dropped for want of memory would be a run that nobody does.
    assert told["maxmemory-policy"] == "noeviction"
    assert told["appendonly"] == "yes"
    users = (CELERY / "users.acl.example").read_text()
    assert "user default off" in users
    assert "-@admin" in users


def test_a_missing_redis_is_no_skip_that_ci_allows() -> None:
    (allowed,) = re.findall(r"^allowed='(.*)'$", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    assert not re.search(allowed, HOW_TO_GET_IT)


def worker(home: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `stingar worker` says where it can't start."""
    monkeypatch.setenv("DAGSTER_HOME", home)
    monkeypatch.delitem(sys.modules, "stingar_dagster.celery_app", raising=False)
    told = CliRunner().invoke(main, ["worker", "--queue", "stingar-live"])
    assert told.exit_code == 2
    (line,) = told.output.splitlines()
    return line


def test_a_worker_without_settings_says_so_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert "set DAGSTER_HOME" in worker("", monkeypatch)
    assert "set DAGSTER_HOME" in worker(str(tmp_path), monkeypatch)


def test_a_worker_without_its_broker_is_told_which_variable_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("STINGAR_CELERY_BROKER", raising=False)
    assert "STINGAR_CELERY_BROKER" in worker(str(CELERY), monkeypatch)


def test_a_worker_of_another_launcher_is_told_whose_settings_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "not to Celery: copy deploy/celery/dagster.yaml" in worker(str(ROOT), monkeypatch)


def test_systemd_takes_the_units() -> None:
    for path in UNITS:
        parser = configparser.ConfigParser(strict=False, interpolation=None)
        parser.read_string(path.read_text())
        assert {"Unit", "Service", "Install"} <= set(parser.sections())
