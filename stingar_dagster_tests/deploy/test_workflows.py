"""Both pipelines: tests first, each branch to its environment, previews, no stored secret."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from stingar_dagster_tests.deploy.bicep import AZURE, load_all

ROOT: Final = AZURE.parents[1]
SCRIPT: Final = AZURE / "deploy.sh"


@pytest.fixture(scope="module")
def gitlab() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())
    return parsed


@pytest.fixture(scope="module")
def github() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/deploy.yml").read_text())
    return parsed


def gitlab_job(gitlab: dict[str, Any], name: str) -> dict[str, Any]:
    """A job with what it extends: own keys win, as GitLab merges them."""
    job: dict[str, Any] = gitlab[name]
    if "extends" in job:
        return {**gitlab_job(gitlab, job["extends"]), **job}
    return job


def does(step: str) -> str | None:
    """What a line asks deploy.sh to do."""
    words = step.split()
    return words[2] if words[:2] == ["bash", "deploy/azure/deploy.sh"] else None


def test_gitlab_deploys_dev_to_test_and_main_to_production(gitlab: dict[str, Any]) -> None:
    branches = {"test": "dev", "production": "main"}
    reaching = 0
    for name in (n for n in gitlab if gitlab[n].__class__ is dict and "script" in gitlab[n]):
        job = gitlab_job(gitlab, name)
        if not any(does(line) for line in job["script"]):
            continue
        reaching += 1
        environment = job["variables"]["ENVIRONMENT"]
        assert job["environment"]["name"] == environment
        (rule,) = job["rules"]
        assert f'$CI_COMMIT_BRANCH == "{branches[environment]}"' in rule["if"]
        assert '$CI_PIPELINE_SOURCE != "merge_request_event"' in rule["if"]
    assert reaching == 6


def test_gitlab_tests_then_previews_then_deploys(gitlab: dict[str, Any]) -> None:
    stages = gitlab["stages"]
    order = {"build": "build", "preview": "what-if", "deploy": "create"}
    assert stages == ["test", *order]
    assert gitlab["test"]["script"][-1] == "bash .ci/run"
    for stage, command in order.items():
        for environment in ("test", "production"):
            job = gitlab_job(gitlab, f"{stage}-{environment}")
            assert job["stage"] == stage
            assert [does(line) for line in job["script"]] == [command]


def test_gitlab_counts_as_a_deployment_only_what_deploys(gitlab: dict[str, Any]) -> None:
    for stage, action in (("build", "prepare"), ("preview", "prepare"), ("deploy", None)):
        for environment in ("test", "production"):
            job = gitlab_job(gitlab, f"{stage}-{environment}")
            assert job["environment"].get("action") == action


def test_gitlab_waits_for_a_person_before_production(gitlab: dict[str, Any]) -> None:
    job = gitlab_job(gitlab, "deploy-production")
    assert [rule.get("when") for rule in job["rules"]] == ["manual"]
    assert job["allow_failure"] is False


def test_gitlab_signs_in_by_its_own_token(gitlab: dict[str, Any]) -> None:
    assert gitlab[".azure"]["id_tokens"] == {"AZURE_TOKEN": {"aud": "api://AzureADTokenExchange"}}


def test_github_deploys_dev_to_test_and_main_to_production(github: dict[str, Any]) -> None:
    branches = {
        "deploy-test": ("dev", "test", "test"),
        "preview-production": ("main", "production-preview", "production"),
        "deploy-production": ("main", "production", "production"),
    }
    reaching = {
        name
        for name, job in github["jobs"].items()
        if any(does(step.get("run", "")) for step in job["steps"])
    }
    assert reaching == set(branches)
    for name, (branch, environment, target) in branches.items():
        job = github["jobs"][name]
        assert job["if"] == f"github.event_name == 'push' && github.ref == 'refs/heads/{branch}'"
        assert job["environment"] == environment
        assert job["env"]["ENVIRONMENT"] == target


def test_github_tests_then_previews_then_deploys(github: dict[str, Any]) -> None:
    jobs = github["jobs"]
    assert jobs["deploy-test"]["needs"] == jobs["preview-production"]["needs"] == "test"
    assert jobs["deploy-production"]["needs"] == "preview-production"
    assert jobs["test"]["steps"][-1]["run"] == "bash .ci/run"
    asked = {
        name: [does(step["run"]) for step in job["steps"] if does(step.get("run", ""))]
        for name, job in jobs.items()
    }
    assert asked == {
        "test": [],
        "deploy-test": ["build", "what-if", "create"],
        "preview-production": ["build", "what-if"],
        "deploy-production": ["create"],
    }


def test_github_gives_its_token_only_to_jobs_that_deploy(github: dict[str, Any]) -> None:
    assert github["permissions"] == {"contents": "read"}
    for name, job in github["jobs"].items():
        assert ("id-token" in job.get("permissions", {})) == (name != "test")


@pytest.mark.parametrize("path", [".gitlab-ci.yml", ".github/workflows/deploy.yml"])
def test_no_pipeline_holds_a_secret(path: str) -> None:
    text = (ROOT / path).read_text().lower()
    for word in ("secrets.", "client_secret", "client-secret", "password", "sas_token"):
        assert word not in text


# ---------------------------------------------------------------------------- deploy.sh itself

SETTINGS: Final = {
    "ENVIRONMENT": "test",
    "RESOURCE_GROUP": "rg-stingar-test",
    "REGISTRY": "exampleregistry",
    "REGISTRY_RESOURCE_GROUP": "rg-shared",
    "SIGN_IN_CLIENT_ID": "00000000-0000-0000-0000-000000000009",
    "ALERT_EMAILS": '["somebody@example.org"]',
}
NOBODY: Final = AZURE / "access.example.json"
DIGEST: Final = "sha256:" + "0" * 64


@pytest.fixture
def az(tmp_path: Path) -> Path:
    """A stand-in for Azure's command, which needs an account: writes down what it is asked."""
    command = tmp_path / "bin" / "az"
    command.parent.mkdir()
    command.write_text(
        "#!/usr/bin/env python3\n"
        "import json, sys\n"
        f"open({str(tmp_path / 'asked')!r}, 'a').write(json.dumps(sys.argv[1:]) + '\\n')\n"
        f"if sys.argv[1:4] == ['acr', 'repository', 'show']: print({DIGEST!r})\n"
        "elif sys.argv[1:4] == ['deployment', 'group', 'show']:\n"
        f"    print(open({str(tmp_path / 'outputs')!r}).read())\n"
        "elif '--query' in sys.argv: print('some-value')\n"
    )
    command.chmod(0o755)
    return tmp_path


def deploy(az: Path, *arguments: str, **settings: str) -> tuple[int, str, list[list[str]]]:
    environ = {"ACCESS": str(NOBODY), **settings}
    result = subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        env={"PATH": f"{az / 'bin'}:{os.environ['PATH']}"}
        | {k: v for k, v in environ.items() if v},
        cwd=az,
        capture_output=True,
        text=True,
        check=False,
    )
    asked = az / "asked"
    calls = [json.loads(line) for line in asked.read_text().splitlines()] if asked.exists() else []
    return result.returncode, result.stderr, calls


def test_what_is_deployed_is_named_by_its_digest(az: Path) -> None:
    code, _, calls = deploy(az, "create", "abc", **SETTINGS)
    assert code == 0
    (call,) = (c for c in calls if c[:3] == ["deployment", "group", "create"])
    assert f"image=stingar-dagster@{DIGEST}" in call
    assert "@deploy/azure/test.parameters.json" in call
    assert call[call.index("--resource-group") + 1] == "rg-stingar-test"


def test_a_password_that_is_not_given_is_not_set(az: Path) -> None:
    _, _, calls = deploy(az, "create", "abc", **SETTINGS)
    assert not any("databasePassword" in word for call in calls for word in call)
    _, _, calls = deploy(az, "create", "abc", **SETTINGS, DATABASE_PASSWORD="new")
    assert "databasePassword=new" in calls[-1]


def test_access_is_taken_from_its_own_file(az: Path) -> None:
    (az / "access.json").write_text(NOBODY.read_text())
    for command in ("what-if", "create"):
        # Named from the folder that the command was given in.
        code, _, calls = deploy(az, command, "abc", **SETTINGS, ACCESS="access.json")
        assert code == 0
        assert f"@{az / 'access.json'}" in calls[-1]


NO_LIST: Final = "is no JSON like deploy/azure/access.example.json"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "there is no such file; copy deploy/azure/access.example.json"),
        ("", NO_LIST),
        ("{}", NO_LIST),
        ("[]", NO_LIST),
        ('{"parameters": {"shippers": ', NO_LIST),
        (
            NOBODY.read_text().replace("shipperAddressRanges", "shippers"),
            "does not say shipperAddressRanges; if there are none, write an empty list",
        ),
        (
            NOBODY.read_text().replace('"partners"', '"partners": {"value": []}, "image"'),
            "says image, which is no list of who sends or reads",
        ),
    ],
)
def test_without_a_whole_access_file_nothing_is_deployed(
    az: Path, content: str | None, told: str
) -> None:
    # The hub would be closed to shippers of public ranges, and analysts would be forgotten.
    access = az / "access.json"
    if content is not None:
        access.write_text(content)
    for command in ("what-if", "create"):
        code, line, calls = deploy(az, command, "abc", **SETTINGS, ACCESS=str(access))
        assert (code, calls) == (2, [])
        assert line.startswith(f"deploy.sh: ACCESS={access}")
        assert line.endswith(f"{told}\n")
        assert line.count("\n") == 1


def test_outputs_are_variables_for_the_shell(az: Path) -> None:
    told = {"webUrl": "https://ui.example.org", "hubId": "/a hub's"}
    (az / "outputs").write_text(json.dumps({k: {"value": v} for k, v in told.items()}))
    result = subprocess.run(
        ["bash", "-c", f'eval "$(bash {SCRIPT} outputs)"; echo "$WEB_URL $HUB_ID"'],
        env={"PATH": f"{az / 'bin'}:{os.environ['PATH']}", **SETTINGS},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout == "https://ui.example.org /a hub's\n"


def test_a_deployment_without_outputs_is_told(az: Path) -> None:
    (az / "outputs").write_text("")
    code, told, _ = deploy(az, "outputs", **SETTINGS)
    assert code == 2
    assert told == "deploy.sh: the last deployment has no outputs: it failed, or is under way\n"


def test_a_pipeline_signs_in_with_its_token_for_every_step(az: Path) -> None:
    identity = {"AZURE_CLIENT_ID": "c", "AZURE_TENANT_ID": "t", "AZURE_SUBSCRIPTION_ID": "s"}
    code, _, calls = deploy(az, "build", "abc", REGISTRY="r", AZURE_TOKEN="token", **identity)
    assert code == 0
    assert [call[0] for call in calls] == ["login", "account", "acr"]
    assert "--federated-token" in calls[0]


@pytest.mark.parametrize("missing", [*sorted(SETTINGS), "ACCESS"])
def test_a_missing_setting_is_named_before_anything_is_deployed(az: Path, missing: str) -> None:
    settings = {**SETTINGS, missing: ""}
    code, told, calls = deploy(az, "create", "abc", **settings)
    assert code == 2
    assert told == f"deploy.sh: {missing} is not set; docs/azure.md says what it is\n"
    assert calls == []


def test_the_runbook_can_be_followed_from_its_first_command_to_its_last(az: Path) -> None:
    text = (ROOT / "docs" / "azure.md").read_text()
    text = re.sub(r"```[a-z]+\n.*?```", "", text, flags=re.DOTALL)
    blocks = re.findall(r"^ *```\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    # What is typed in the code container.
    here = [block for block in blocks if not block.startswith("stingar ")]
    outputs = load_all()["main.bicep"].outputs
    (az / "outputs").write_text(json.dumps({name: {"value": f"/{name}"} for name in outputs}))
    for name in ("git", "openssl"):
        (az / "bin" / name).write_text("#!/bin/sh\necho some-value\n")
        (az / "bin" / name).chmod(0o755)
    result = subprocess.run(
        ["bash", "-eu"],
        input="\n".join(here),
        env={
            "PATH": f"{az / 'bin'}:{os.environ['PATH']}",
            "HOME": str(az),
            "OTHER_NETWORK_ID": "of-the-network-team",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stderr) == (0, "")
    calls = [json.loads(line) for line in (az / "asked").read_text().splitlines()]
    created = [call for call in calls if call[:3] == ["deployment", "group", "create"]]
    first, *later = ("databasePassword=some-value" in call for call in created)
    assert first
    assert later
    assert not any(later)
    assert all(f"@{az / 'stingar-test-access.json'}" in call for call in created)
    assert (az / "stingar-test.env").stat().st_mode & 0o777 == 0o600
    for call in calls:
        if "federated-credential" in call:
            trusted = json.loads(call[call.index("--parameters") + 1])
            assert trusted["audiences"] == ["api://AzureADTokenExchange"]


def test_anything_else_is_refused(az: Path) -> None:
    code, told, calls = deploy(az, "delete", "abc", **SETTINGS)
    assert (code, calls) == (2, [])
    assert told == "deploy.sh: say build, what-if or create, and the image's tag; or outputs\n"
