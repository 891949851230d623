"""The analysts' server: everything can be seen, nothing can be started or changed."""

import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner

from stingar_dagster.cli import main
from stingar_dagster_tests.analysts.conftest import BACKFILL, BACKFILL_DONE, COMMAND, HOUR_KEY
from stingar_dagster_tests.reliability.serving import ROOT, asked

try:
    from playwright.sync_api import Page, sync_playwright
except ImportError:
    pytest.skip("playwright is not there: pip install playwright", allow_module_level=True)

from stingar_dagster_tests.browser.opening import group_path

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

CHROMIUM = os.environ.get("STINGAR_CHROMIUM") or shutil.which("chromium") or ""
SCREENSHOTS = os.environ.get("STINGAR_SCREENSHOTS")
NOTHING_HAPPENS = {"logTelemetry", "setNuxSeen"}
"""They are answered, and change neither runs nor assets: telemetry is off, and whether a welcome
was seen is a file in the folder of the server's own user."""
LOCATION = "stingar"
REAL = {
    "repositoryLocationName": LOCATION,
    "repositoryName": "__repository__",
    "jobName": "stingar_land",
    "pipelineName": "stingar_land",
    "scheduleName": "stingar_daily_roll_up",
    "sensorName": "stingar_new_captures",
    "path": ["stingar", "cleaned_events"],
}
"""Arguments that name what is there: a refusal must not be for want of it."""
MUTATIONS = """{ __schema {
  mutationType { fields { name type { ...T } args { name type { ...T } } } }
  types { name kind enumValues { name } inputFields { name type { ...T } } } } }
fragment T on __Type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }"""
ANY = "{ __typename ... on PythonError { message } }"
TOLD = {
    "launchMultipleRuns": "{ ... on LaunchMultipleRunsResult { launchMultipleRunsResult "
    "{ __typename } } }",
    "terminateRuns": "{ ... on TerminateRunsResult { terminateRunResults { __typename } } }",
}
"""What is asked of an answer: one that holds several says of each what it is."""
STATES = """{ repositoryOrError(repositorySelector: {
  repositoryName: "__repository__", repositoryLocationName: "stingar"}) { ... on Repository {
  sensors { name sensorState { id } } schedules { name scheduleState { id } } } } }"""
RUNS = "{ runsOrError { ... on Runs { results { runId status } } } }"
LAUNCH_IN_THE_PAGE = """async () => (await (await fetch('/graphql', {
    method: 'POST', headers: {'Content-Type': 'application/json'},
    body: JSON.stringify({query: `mutation { launchRun(executionParams: {
        mode: "default", runConfigData: "{}", selector: {jobName: "stingar_land",
        repositoryName: "__repository__", repositoryLocationName: "stingar"}})
        { __typename } }`})
})).json()).data.launchRun.__typename"""


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Page]:
    if not Path(CHROMIUM).is_file():
        pytest.skip("Chromium is not there: install it, or set STINGAR_CHROMIUM to its program")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        yield page
        browser.close()


def test_assets_partitions_and_runs_can_be_seen(address: str, page: Page) -> None:
    page.goto(address + group_path())
    page.get_by_text("cleaned_events").first.wait_for(timeout=30_000)
    path = f"/assets/stingar/landed_events?view=partitions&partition={quote(HOUR_KEY, safe='')}"
    page.goto(address + path)
    page.get_by_text("decoded now").first.wait_for(timeout=30_000)
    page.goto(f"{address}/runs")
    page.get_by_text("stingar_land").first.wait_for(timeout=30_000)


def test_nothing_can_be_launched_by_clicking(address: str, page: Page) -> None:
    page.goto(f"{address}/assets/stingar/landed_events?view=partitions")
    button = page.get_by_role("button", name="Materialize").first
    button.wait_for(timeout=30_000)
    # It is disabled, too, while the page loads; then it says why.
    page.wait_for_load_state("networkidle")
    button.hover(force=True)
    page.get_by_text("permission").first.wait_for(timeout=30_000)
    if SCREENSHOTS:
        page.screenshot(path=f"{SCREENSHOTS}/read-only.png")
    assert button.is_disabled()
    assert page.evaluate(LAUNCH_IN_THE_PAGE) == "UnauthorizedError"
    (run,) = asked(address, RUNS)["data"]["runsOrError"]["results"]
    assert run["status"] == "SUCCESS"


def test_no_mutation_of_the_api_is_allowed(address: str) -> None:
    """Every one that there is, with arguments of the right types."""
    schema = asked(address, MUTATIONS)["data"]["__schema"]
    types = {kind["name"]: kind for kind in schema["types"]}
    fields = schema["mutationType"]["fields"]
    assert len(fields) > 30
    optional = arguments(address)
    allowed = set()
    for field in fields:
        needed = [arg for arg in field["args"] if arg["type"]["kind"] == "NON_NULL"]
        given = optional.get(field["name"]) or ", ".join(
            f"{a['name']}: {made_up(a['name'], a['type'], types)}" for a in needed
        )
        asks_for = "" if named(field["type"]) == "Boolean" else TOLD.get(field["name"], ANY)
        query = f"mutation {{ {field['name']}{f'({given})' if given else ''} {asks_for} }}"
        try:
            answer = str(asked(address, query))
        except urllib.error.HTTPError as error:
            answer = error.read().decode()
        print(field["name"], answer[:300])  # shown where the test fails
        if not refused(answer):
            allowed.add(field["name"])
    assert allowed == NOTHING_HAPPENS


def arguments(address: str) -> dict[str, str]:
    """Those of mutations that need more than the schema says, with identities of what is there."""
    (run,) = asked(address, RUNS)["data"]["runsOrError"]["results"]
    states = asked(address, STATES)["data"]["repositoryOrError"]
    sensor, schedule = states["sensors"][0], states["schedules"][0]
    in_code = f'repositoryLocationName: "{LOCATION}", repositoryName: "__repository__"'
    backfill = f'backfillId: "{BACKFILL}"'
    again = (
        f'executionParams: {{mode: "default", runConfigData: "{{}}", selector: {{{in_code}, '
        f'jobName: "stingar_land"}}, executionMetadata: {{parentRunId: "{run["runId"]}", '
        f'rootRunId: "{run["runId"]}", tags: []}}}}'
    )
    return {
        "launchPipelineReexecution": again,
        "launchRunReexecution": again,
        "reexecutePartitionBackfill": f'reexecutionParams: {{parentRunId: "{BACKFILL_DONE}", '
        "strategy: ALL_STEPS}",
        "resumePartitionBackfill": backfill,
        "cancelPartitionBackfill": backfill,
        "stopSensor": f'id: "{sensor["sensorState"]["id"]}"',
        "stopRunningSchedule": f'id: "{schedule["scheduleState"]["id"]}"',
        "sensorDryRun": f'cursor: "", selectorData: {{{in_code}, sensorName: "{sensor["name"]}"}}',
        "scheduleDryRun": f"timestamp: 1.0, selectorData: {{{in_code}, "
        f'scheduleName: "{schedule["name"]}"}}',
        "launchPartitionBackfill": f'backfillParams: {{partitionNames: ["{HOUR_KEY}"], '
        'assetSelection: [{path: ["stingar", "landed_events"]}]}',
    }


def named(kind: dict[str, Any]) -> str:
    return named(kind["ofType"]) if kind.get("ofType") else str(kind["name"])


def made_up(name: str, kind: dict[str, Any], types: dict[str, Any]) -> str:
    """A value of a GraphQL type, as it is written in a query."""
    if kind["kind"] == "NON_NULL":
        return made_up(name, kind["ofType"], types)
    if kind["kind"] == "LIST":
        values = REAL.get(name)
        if isinstance(values, list):
            return "[" + ", ".join(f'"{value}"' for value in values) + "]"
        return f"[{made_up(name, kind['ofType'], types)}]"
    if kind["kind"] == "ENUM":
        return str(types[kind["name"]]["enumValues"][0]["name"])
    if kind["kind"] == "INPUT_OBJECT":
        members = types[kind["name"]]["inputFields"]
        wanted = [m for m in members if m["type"]["kind"] == "NON_NULL" or m["name"] in REAL]
        inner = (f"{m['name']}: {made_up(m['name'], m['type'], types)}" for m in wanted)
        return "{" + ", ".join(inner) + "}"
    if kind["name"] in ("Int", "Float"):
        return "1"
    if kind["name"] == "Boolean":
        return "true"
    return f'"{REAL.get(name, "x")}"'


def refused(answer: str) -> bool:
    return bool(re.search(r"UnauthorizedError|permission", answer))


def test_it_listens_on_loopback(address: str) -> None:
    port = int(address.rsplit(":", 1)[1])
    others = [
        info[4][0]
        for info in socket.getaddrinfo(socket.gethostname(), port, socket.AF_INET)
        if not str(info[4][0]).startswith("127.")
    ]
    for other in others:
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((str(other), port), timeout=5).close()


@pytest.mark.parametrize("options", [[], ["--port", "3999"]])
def test_without_an_instance_it_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    result = CliRunner().invoke(main, ["analysts", *options])
    assert result.exit_code == 2
    assert result.stderr == (
        "stingar: there is no dagster.yaml here: run this in the project's folder, "
        "or set DAGSTER_HOME\n"
    )


def test_a_port_in_use_is_told_in_one_line(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [*COMMAND, "--port", str(port)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"stingar: can't listen on 127.0.0.1:{port}: Address already in use; "
        "choose another with --host or --port\n"
    )


def test_outside_a_checkout_the_code_is_found_by_its_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stingar_dagster.analysts import command_line

    monkeypatch.chdir(tmp_path)
    assert command_line("127.0.0.1", 3001)[-2:] == ["-m", "stingar_dagster.definitions"]
    assert command_line("127.0.0.1", 3001)[:4] == [
        sys.executable, "-m", "dagster_webserver", "--read-only",
    ]  # fmt: skip
    (tmp_path / "workspace.yaml").touch()
    assert command_line("127.0.0.1", 3001)[-2:] == ["-w", "workspace.yaml"]
