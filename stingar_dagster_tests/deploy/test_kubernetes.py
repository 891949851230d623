"""The values for Dagster's Helm chart: its keys, what becomes of them, and that nothing is secret.

No Helm and no cluster runs here. What the chart makes of values was read in its templates; the
parts that end in dagster.yaml are held against Dagster's own schema, those of a run's job against
dagster-k8s.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from dagster._config import process_config, resolve_to_config_type
from dagster._core.instance.config import dagster_instance_config_schema
from dagster_k8s.job import UserDefinedDagsterK8sConfig
from dagster_k8s.launcher import K8sRunLauncher

ROOT: Final = Path(__file__).resolve().parents[2]
FILE: Final = ROOT / "deploy/kubernetes/values.yaml"
VALUES: Final[dict[str, Any]] = yaml.safe_load(FILE.read_text())

OPEN: Final = {
    "resources", "securityContext", "podSecurityContext", "readinessProbe", "postgresqlParams",
    "additionalInstanceConfig", "containerConfig", "podSpecConfig", "jobSpecConfig",
    "purgeAfterDays", "runMonitoring", "runRetries",
}  # fmt: skip
"""What the chart hands on as it is: Kubernetes' own objects, or Dagster's."""

CHART: Final = {
    "global": {
        "postgresqlSecretName", "dagsterHome", "serviceAccountName", "celeryConfigSecretName",
    },
    "generatePostgresqlPasswordSecret": set(),
    "generateCeleryConfigSecret": set(),
    "rabbitmq": {"enabled", "image", "rabbitmq", "service", "volumePermissions"},
    "redis": {"enabled", "internal", "usePassword", "password", "host", "port", "brokerUrl"},
    "postgresql": {
        "enabled", "image", "postgresqlHost", "postgresqlUsername", "postgresqlPassword",
        "postgresqlDatabase", "postgresqlParams", "postgresqlScheme", "service",
    },
    "postgresql.service": {"port"},
    "dagster-user-deployments": {"enabled", "enableSubchart", "imagePullSecrets", "deployments"},
    "dagster-user-deployments.deployments": {
        "name", "image", "dagsterApiGrpcArgs", "codeServerArgs", "port",
        "includeConfigInLaunchedRuns", "env", "envConfigMaps", "envSecrets", "labels", "volumes",
        "volumeMounts", "annotations", "nodeSelector", "affinity", "tolerations",
        "podSecurityContext", "securityContext", "resources", "readinessProbe", "livenessProbe",
        "startupProbe", "schedulerName",
    },
    "dagster-user-deployments.deployments.image": {"repository", "tag", "pullPolicy"},
    "dagster-user-deployments.deployments.includeConfigInLaunchedRuns": {"enabled"},
    "dagster-user-deployments.deployments.env": {"name", "value", "valueFrom"},
    "dagster-user-deployments.deployments.envSecrets": {"name"},
    "runLauncher": {"type", "config"},
    "runLauncher.config": {"k8sRunLauncher", "celeryK8sRunLauncher", "customRunLauncher"},
    "runLauncher.config.k8sRunLauncher": {
        "image", "imagePullPolicy", "jobNamespace", "loadInclusterConfig", "kubeconfigFile",
        "envConfigMaps", "envSecrets", "envVars", "volumeMounts", "volumes", "labels",
        "failPodOnRunFailure", "resources", "schedulerName", "securityContext", "runK8sConfig",
    },
    "runLauncher.config.k8sRunLauncher.runK8sConfig": {
        "containerConfig", "podSpecConfig", "podTemplateSpecMetadata", "jobSpecConfig",
        "jobMetadata",
    },
    "dagsterWebserver": {
        "replicaCount", "image", "nameOverride", "pathPrefix", "service", "workspace",
        "enableReadOnly", "dbStatementTimeout", "dbPoolRecycle", "logLevel", "env",
        "envConfigMaps", "envSecrets", "deploymentLabels", "labels", "volumes", "volumeMounts",
        "annotations", "nodeSelector", "affinity", "tolerations", "podSecurityContext",
        "securityContext", "resources", "readinessProbe", "livenessProbe", "startupProbe",
    },
    "dagsterWebserver.image": {"repository", "tag", "pullPolicy"},
    "dagsterWebserver.service": {"type", "port", "annotations"},
    "ingress": {"enabled", "annotations", "labels", "ingressClassName", "dagsterWebserver"},
    "dagsterDaemon": {
        "enabled", "image", "heartbeatTolerance", "runCoordinator", "runMonitoring", "runRetries",
        "sensors", "schedules", "env", "envConfigMaps", "envSecrets", "deploymentLabels", "labels",
        "volumes", "volumeMounts", "annotations", "nodeSelector", "affinity", "tolerations",
        "podSecurityContext", "securityContext", "resources", "livenessProbe", "readinessProbe",
        "startupProbe", "schedulerName",
    },
    "dagsterDaemon.image": {"repository", "tag", "pullPolicy"},
    "dagsterDaemon.runCoordinator": {"enabled", "type", "config"},
    "dagsterDaemon.runCoordinator.config": {"queuedRunCoordinator", "customRunCoordinator"},
    "dagsterDaemon.runCoordinator.config.queuedRunCoordinator": {
        "maxConcurrentRuns", "tagConcurrencyLimits", "dequeueIntervalSeconds",
        "dequeueUseThreads", "dequeueNumWorkers",
    },
    "dagsterDaemon.runCoordinator.config.queuedRunCoordinator.tagConcurrencyLimits": {
        "key", "value", "limit",
    },
    "computeLogManager": {"type", "config"},
    "pythonLogs": {"pythonLogLevel", "managedPythonLoggers", "dagsterHandlerConfig"},
    "retention": {"enabled", "schedule", "sensor", "autoMaterialize"},
    "retention.schedule": {"purgeAfterDays"},
    "retention.sensor": {"purgeAfterDays"},
    "telemetry": {"enabled"},
    "additionalInstanceConfig": set(),
}  # fmt: skip
"""Keys that the chart knows, of the parts that are used here: from its values and their schema."""


def keys_of(values: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """(where, key) of every key, but for what the chart hands on as it is."""
    if isinstance(values, list):
        for item in values:
            yield from keys_of(item, path)
    elif isinstance(values, dict):
        for key, value in values.items():
            yield path, key
            if key not in OPEN:
                yield from keys_of(value, f"{path}.{key}".lstrip("."))


def instance_config() -> dict[str, Any]:
    """The parts of dagster.yaml that the chart's templates make of these values."""
    launcher = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    coordinator = VALUES["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    database = VALUES["postgresql"]
    return {
        "storage": {
            "postgres": {
                "postgres_db": {
                    "username": database["postgresqlUsername"],
                    "password": {"env": "DAGSTER_PG_PASSWORD"},
                    "hostname": database["postgresqlHost"],
                    "db_name": database["postgresqlDatabase"],
                    "port": database["service"]["port"],
                    "params": database["postgresqlParams"],
                    "scheme": database["postgresqlScheme"],
                }
            }
        },
        "run_launcher": {
            "module": "dagster_k8s",
            "class": "K8sRunLauncher",
            "config": launcher_config(launcher),
        },
        "run_coordinator": {
            "module": "dagster.core.run_coordinator",
            "class": "QueuedRunCoordinator",
            "config": {snake(key): value for key, value in coordinator.items()},
        },
        "telemetry": VALUES["telemetry"],
        "retention": {
            kind: {"purge_after_days": VALUES["retention"][kind]["purgeAfterDays"]}
            for kind in ("sensor", "schedule")
        },
        "python_logs": {"python_log_level": VALUES["pythonLogs"]["pythonLogLevel"]},
        **VALUES["additionalInstanceConfig"],
    }


def launcher_config(launcher: dict[str, Any]) -> dict[str, Any]:
    return {
        "load_incluster_config": launcher["loadInclusterConfig"],
        "image_pull_policy": launcher["imagePullPolicy"],
        "service_account_name": "stingar",
        "dagster_home": "/opt/dagster/dagster_home",
        "instance_config_map": "stingar-instance",
        "postgres_password_secret": VALUES["global"]["postgresqlSecretName"],
        "resources": launcher["resources"],
        "security_context": launcher["securityContext"],
        "run_k8s_config": {snake(k): v for k, v in launcher["runK8sConfig"].items()},
    }


def snake(name: str) -> str:
    return re.sub("[A-Z]", lambda found: "_" + found[0].lower(), name)


def problems(schema: Any, value: Any) -> list[str]:
    """What Dagster has against a configuration."""
    checked = process_config(resolve_to_config_type(schema), value)
    return [error.message for error in checked.errors or []]


def test_every_key_is_one_that_the_chart_knows() -> None:
    tops = {key for where, key in keys_of(VALUES) if not where}
    assert tops <= {name for name in CHART if "." not in name}
    for where, key in keys_of(VALUES):
        assert not where or key in CHART[where], f"{where}.{key}"


def test_dagster_understands_what_the_chart_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "x")
    assert problems(dagster_instance_config_schema(), instance_config()) == []


def test_the_launcher_understands_what_a_runs_job_is_made_from() -> None:
    # Neither is typed.
    schema: Any = K8sRunLauncher
    read: Any = UserDefinedDagsterK8sConfig
    launcher = launcher_config(VALUES["runLauncher"]["config"]["k8sRunLauncher"])
    assert problems(schema.config_type(), launcher) == []
    raw = launcher["run_k8s_config"]
    assert read.from_dict(raw).job_spec_config["active_deadline_seconds"] == 7200
    # It does look inside of Kubernetes' own objects.
    raw["job_spec_config"]["noSuchField"] = 1
    with pytest.raises(Exception, match="noSuchField"):
        read.from_dict(raw)


def test_what_the_chart_can_not_say_is_as_everywhere() -> None:
    here = yaml.safe_load((ROOT / "dagster.yaml").read_text())
    additional = VALUES["additionalInstanceConfig"]
    assert additional["run_retries"] == here["run_retries"]
    longest = here["run_monitoring"]["max_runtime_seconds"]
    assert additional["run_monitoring"]["max_runtime_seconds"] == longest
    # Or the chart would write them twice.
    assert VALUES["dagsterDaemon"]["runMonitoring"] == {"enabled": False}
    assert VALUES["dagsterDaemon"]["runRetries"] == {"enabled": False}


def test_the_charts_version_is_dagsters() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    for path in (FILE, ROOT / "docs/kubernetes.md"):
        versions = set(re.findall(r"--version (\S+)", path.read_text()))
        assert versions == {pins["dagster"]}, path.name


def test_the_image_can_do_a_run_there() -> None:
    (extra,) = re.findall(r"EXTRA=(\w+)", (ROOT / "docs/kubernetes.md").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = (ROOT / "constraints.txt").read_text()
    wanted = [re.split("[<>=]", item)[0] for item in project["optional-dependencies"][extra]]
    assert {"dagster-k8s", "dagster-postgres"} <= set(wanted)
    for name in wanted:
        assert f"\n{name}==" in pins
    user = VALUES["dagsterDaemon"]["securityContext"]["runAsUser"]
    assert f"\nUSER {user}\n" in (ROOT / "deploy/azure/Dockerfile").read_text()


def test_all_processes_are_one_image_with_limits_and_without_root() -> None:
    (code,) = VALUES["dagster-user-deployments"]["deployments"]
    for part in (code, VALUES["dagsterDaemon"], VALUES["dagsterWebserver"]):
        assert part["image"] == code["image"]
        assert part["resources"]["limits"]["memory"]
        assert part["securityContext"]["runAsNonRoot"] is True
    job = VALUES["runLauncher"]["config"]["k8sRunLauncher"]
    assert job["resources"]["limits"]["memory"]
    assert job["securityContext"] == code["securityContext"]
    assert VALUES["dagsterWebserver"]["service"]["port"] >= 1024
    probe = VALUES["dagsterWebserver"]["readinessProbe"]["httpGet"]
    assert probe["port"] == VALUES["dagsterWebserver"]["service"]["port"]


def test_no_secret_is_in_it_and_none_is_made_by_the_chart() -> None:
    assert VALUES["postgresql"]["postgresqlPassword"] == ""
    assert VALUES["generatePostgresqlPasswordSecret"] is False
    assert VALUES["generateCeleryConfigSecret"] is False
    (code,) = VALUES["dagster-user-deployments"]["deployments"]
    told = [*(variable["name"] for variable in code["env"])]
    assert not [name for name in told if re.search("KEY|SECRET|PASSWORD|TOKEN|CONNECTION", name)]
    assert code["envSecrets"] == [{"name": "stingar-store"}]


@pytest.mark.parametrize("name", ["stingar-postgresql", "stingar-store"])
def test_every_secret_is_one_that_the_steps_make(name: str) -> None:
    assert f"create secret generic {name} " in (ROOT / "docs/kubernetes.md").read_text()


def test_backfills_leave_room_for_live_traffic() -> None:
    queue = VALUES["dagsterDaemon"]["runCoordinator"]["config"]["queuedRunCoordinator"]
    (limit,) = queue["tagConcurrencyLimits"]
    assert limit["key"] == "dagster/backfill"
    assert limit["limit"] < queue["maxConcurrentRuns"]
