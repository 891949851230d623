"""The image and what runs in it. It is not built here: no container engine can be had from pip."""

import logging
import re
import shlex
import time
import tomllib
from fnmatch import fnmatch
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import dagster as dg
import pytest
import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._core.test_utils import create_run_for_test, instance_for_test
from dagster._daemon.monitoring.run_monitoring import check_run_timeout

from stingar_dagster import settings
from stingar_dagster_tests.deploy.bicep import AZURE, load_all

ROOT: Final = AZURE.parents[1]
APPS: Final = load_all()["modules/apps.bicep"]


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions with their continued lines together."""
    text = re.sub(r"^#.*\n", "", (AZURE / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [(line.split()[0], line.split(None, 1)[1]) for line in lines if line.strip()]


def containers() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for resource in APPS.resources:
        for container in resource.at("properties.template.containers") or []:
            found[container["name"]] = container
    return found


def variables_of(container: dict[str, Any]) -> set[str]:
    """The names of the environment variables of a container."""
    lists = re.findall(r"\w+", str(container["env"]).removeprefix("concat"))
    names: set[str] = set()
    while lists:
        value = APPS.variables.get(lists.pop())
        if isinstance(value, list):
            names |= {entry["name"] for entry in value}
        elif value is not None:
            lists += re.findall(r"\w+", str(value))
            names |= set(re.findall(r"name: '(\w+)'", str(value)))
    return names


def asked_for(path: Path) -> set[str]:
    return set(re.findall(r"\benv: (\w+)", path.read_text()))


def test_every_install_is_pinned() -> None:
    installs = [
        text
        for name, text in instructions()
        if name == "RUN"
        for text in text.split("&&")
        if "pip install" in text
    ]
    assert installs
    for install in installs:
        assert "--constraint constraints.txt" in install
    pinned = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+!-]+", line) for line in pinned)


def test_the_extras_that_are_installed_exist_and_are_pinned() -> None:
    dockerfile = (AZURE / "Dockerfile").read_text()
    (named,) = re.findall(r'"\.\[([\w,]+),\$\{EXTRA\}\]"', dockerfile)
    (extra,) = re.findall(r"^ARG EXTRA=(\w+)$", dockerfile, re.MULTILINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    pinned = (ROOT / "constraints.txt").read_text()
    for requirement in (item for name in [*named.split(","), extra] for item in extras[name]):
        assert f"\n{re.split('[<>=]', requirement)[0]}==" in pinned


def test_it_does_not_run_as_root() -> None:
    users = [text for name, text in instructions() if name == "USER"]
    assert users == ["10001"]
    assert any(f"--uid {users[0]}" in text for name, text in instructions() if name == "RUN")
    after = [name for name, _ in instructions()]
    assert after[after.index("USER") + 1 :] == ["CMD"]


def test_the_base_image_is_a_parameter_without_a_host() -> None:
    assert instructions()[0][0] == "ARG"
    default = instructions()[0][1].split("=")[1]
    assert "/" not in default
    assert not default.endswith((":latest", "python"))
    for name, text in instructions():
        if name == "FROM":
            assert text.split()[0] == "${BASE_IMAGE}"


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    kept = [line[1:] for line in ignored if line.startswith("!")]
    assert "*" in ignored
    for name, text in instructions():
        if name == "COPY" and "--from" not in text:
            for source in text.split()[:-1]:
                path = source.removeprefix("./")
                assert (ROOT / path).exists(), path
                assert any(fnmatch(path, pattern) for pattern in kept), path


def test_every_command_is_one_that_is_installed() -> None:
    installed = {entry.name for entry in entry_points(group="console_scripts")}
    commands = {name: container["command"] for name, container in containers().items()}
    assert set(commands) == {"code", "daemon", "web", "proof"}
    for name, command in commands.items():
        words = shlex.split(command[2])[1:] if command[0] == "/bin/sh" else command
        assert words[0] in installed, name
    (default,) = (text for name, text in instructions() if name == "CMD")
    written = [str(word) for word in commands["code"]]
    assert yaml.safe_load(default) == [
        str(APPS.variables["codePort"]) if word == "string(codePort)" else word for word in written
    ]


def test_the_files_of_the_instance_stand_where_commands_look_for_them() -> None:
    copies = {text for name, text in instructions() if name == "COPY"}
    assert "deploy/azure/dagster.yaml deploy/azure/workspace.yaml /opt/stingar/home/" in copies
    (environment,) = (text for name, text in instructions() if name == "ENV")
    assert "DAGSTER_HOME=/opt/stingar/home" in environment
    for name in ("daemon", "web"):
        command = containers()[name]["command"]
        assert command[command.index("--workspace") + 1] == "/opt/stingar/home/workspace.yaml"


def test_every_variable_that_the_instance_asks_for_is_set() -> None:
    asked = asked_for(AZURE / "dagster.yaml")
    assert "DAGSTER_POSTGRES_PASSWORD" in asked
    for name in ("code", "daemon", "web"):
        assert asked - variables_of(containers()[name]) == set(), name
    for name in ("daemon", "web"):
        workspace = asked_for(AZURE / "workspace.yaml")
        assert workspace
        assert workspace - variables_of(containers()[name]) == set()


def test_every_variable_that_is_set_is_one_that_something_reads() -> None:
    read = set(re.findall(r'"(STINGAR_\w+)"', Path(settings.__file__).read_text()))
    read |= asked_for(AZURE / "dagster.yaml") | asked_for(AZURE / "workspace.yaml")
    # azure-identity reads this; the reader of notices has its own setting.
    read |= {"AZURE_CLIENT_ID", "STINGAR_NOTICES"}
    for name, container in containers().items():
        assert variables_of(container) - read == set(), name
    assert {"STINGAR_LANDING", "STINGAR_LAKE"} <= variables_of(containers()["proof"])


def test_dagster_understands_the_instance() -> None:
    reference = InstanceRef.from_dir(str(AZURE))
    assert reference.compute_logs_data.class_name == "AzureBlobComputeLogManager"
    assert reference.run_coordinator_data is not None
    configuration = yaml.safe_load((AZURE / "dagster.yaml").read_text())
    storage = configuration["storage"]["postgres"]["postgres_db"]
    assert storage["params"]["sslmode"] == "verify-full"
    assert storage["scheme"] == "postgresql+psycopg2"


def test_code_daemon_and_webserver_meet_at_one_port() -> None:
    workspace = yaml.safe_load((AZURE / "workspace.yaml").read_text())
    (location,) = workspace["load_from"]
    assert location["grpc_server"]["port"] == APPS.variables["codePort"]
    (code,) = (r for r in APPS.resources if r.symbol == "code")
    ingress = code.at("properties.configuration.ingress")
    assert ingress["targetPort"] == ingress["exposedPort"] == "codePort"


def test_there_is_one_daemon_and_one_container_that_does_runs() -> None:
    for resource in APPS.resources:
        if resource.symbol in ("code", "daemon"):
            assert resource.at("properties.template.scale") == {
                "minReplicas": 1,
                "maxReplicas": 1,
            }


@pytest.mark.parametrize("age", [60, 3 * 3600])
def test_a_run_of_a_container_that_was_replaced_is_failed_in_the_end(age: int) -> None:
    # Nothing tells that it is gone: its launcher can't look, and its code location is a new one.
    monitoring = yaml.safe_load((AZURE / "dagster.yaml").read_text())["run_monitoring"]
    with instance_for_test(overrides={"run_monitoring": monitoring}) as instance:
        assert not instance.run_launcher.supports_check_run_worker_health
        run = create_run_for_test(instance, "stingar_land", status=dg.DagsterRunStatus.STARTED)
        record = instance.get_run_record_by_id(run.run_id)
        assert record is not None
        check_run_timeout(
            instance,
            record._replace(start_time=time.time() - age),
            logging.getLogger("monitoring"),
            float(instance.run_monitoring_max_runtime_seconds),
        )
        after = instance.get_run_by_id(run.run_id)
        assert after is not None
        longest = monitoring["max_runtime_seconds"]
        expected = dg.DagsterRunStatus.FAILURE if age > longest else dg.DagsterRunStatus.STARTED
        assert after.status == expected
