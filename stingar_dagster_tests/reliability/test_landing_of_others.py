"""Captures in a container of somebody else: landing is read and listed, and never written to.

Landing and lake are two containers with two credentials, each a shared access signature of its own
container, so that a request to the wrong one, or of the wrong kind, is refused by the service.
"""

import os
import shutil
import socket
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from stingar_dagster.cli import main
from stingar_dagster.streams import STINGAR
from stingar_dagster_tests.azurite import Service, container_sas
from stingar_dagster_tests.proxy import Proxy, Script
from stingar_dagster_tests.support import HOUR, NOON, Site, event

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute:DeprecationWarning"),
]

ROOT = Path(__file__).resolve().parents[2]
LANDING = "captures-of-others"
LAKE = "our-lake"
SEARCH = f"events --since {NOON:%Y-%m-%d} --until {NOON + 24 * HOUR:%Y-%m-%d} --format json"


@pytest.fixture(scope="module")
def captured(blob_service: Service) -> Site:
    """Captures of two hours, one with what is no event."""
    for name in (LANDING, LAKE):
        blob_service.make_container(name)
    site = Site(f"az://{LANDING}", f"az://{LAKE}/honeypots")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AZURE_STORAGE_CONNECTION_STRING", blob_service.connection_string)
        site.put([event(NOON), b"not json"])
        site.put([event(NOON + HOUR), event(NOON)], partition=1, start=NOON + HOUR)
    return site


@pytest.fixture
def site(
    captured: Site, blob_service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Site:
    """A project's folder, whose `.env` holds the two signatures."""
    for name in [*os.environ]:
        if name.startswith(("STINGAR_L", "DAGSTER_", "AZURE_")):
            monkeypatch.delenv(name)
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    variables = {
        "STINGAR_LANDING": captured.landing,
        "STINGAR_LAKE": captured.lake,
        "STINGAR_LANDING_SAS_TOKEN": container_sas(LANDING, "rl"),
        "STINGAR_LAKE_SAS_TOKEN": container_sas(LAKE, "rcwdl"),
        "AZURE_STORAGE_SERVICE_ENDPOINT": blob_service.endpoint,
        "STINGAR_PROCESSES": "1",
    }
    (tmp_path / ".env").write_text("".join(f"{k}={v}\n" for k, v in variables.items()))
    return captured


def test_a_signature_to_read_and_list_is_enough_for_everything(
    site: Site, blob_service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Proxy("127.0.0.1", blob_service.port).running() as proxy:
        script = proxy.follow(Script())
        proxied = blob_service.endpoint.replace(str(blob_service.port), str(proxy.port))
        monkeypatch.setenv(
            "STINGAR_LANDING_CONNECTION_STRING",
            f"BlobEndpoint={proxied};SharedAccessSignature={container_sas(LANDING, 'rl')}",
        )
        for command in ("run", "verify --again", SEARCH, "quarantine list"):
            if command != "run":  # the lake's, too, is enough to read and list
                monkeypatch.setenv("STINGAR_LAKE_SAS_TOKEN", container_sas(LAKE, "rl"))
            result = CliRunner().invoke(main, command.split())
            assert (result.exit_code, result.stderr.count("stingar:")) == (0, 0), result.output
    assert {seen.method for seen in script.seen} <= {"GET", "HEAD"}
    assert any(seen.path.endswith(".avro") for seen in script.seen)
    monkeypatch.delenv("STINGAR_LANDING_CONNECTION_STRING")
    with monkeypatch.context() as patch:
        patch.setenv("AZURE_STORAGE_CONNECTION_STRING", blob_service.connection_string)
        patch.delenv("STINGAR_LAKE_SAS_TOKEN")
        (Path.cwd() / ".env").unlink()
        site.check()
        assert len(site.events()) == 3


def test_landing_captures_there_is_refused_with_what_it_takes(site: Site) -> None:
    result = CliRunner().invoke(main, ["land"], input=event(NOON))
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "STINGAR_LANDING_SAS_TOKEN" in line
    assert "only what lands captures writes there, such as `stingar land`" in line


@pytest.mark.parametrize(
    ("setting", "signed_for", "commands"),
    [
        ("STINGAR_LANDING", (LANDING, "r"), ("run", "verify")),
        ("STINGAR_LAKE", (LANDING, "rcwdl"), ("run", "verify", SEARCH, "quarantine list")),
    ],
)
def test_a_refusal_is_one_line_in_every_command_and_in_dagster(
    site: Site,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    signed_for: tuple[str, str],
    commands: tuple[str, ...],
) -> None:
    container = LANDING if setting == "STINGAR_LANDING" else LAKE
    signature = container_sas(*signed_for)
    monkeypatch.setenv(f"{setting}_SAS_TOKEN", signature)
    told = f"to the shared access signature in {setting}_SAS_TOKEN; "
    for command in commands:
        result = CliRunner().invoke(main, command.split())
        assert result.exit_code == 2, result.output
        (line,) = result.stderr.splitlines()
        assert line.startswith(f"stingar: {setting}: az://{container}"), line
        assert told in line
        assert signature.split("sig=")[1] not in line
    lines = [tick_of_the_sensor(), failure_of_a_run()]
    for line in lines:
        assert line.startswith(f"{setting}: az://{container}"), line
        assert told in line
        assert "\n" not in line


def test_a_machine_without_an_identity_is_told_in_one_line_and_no_log(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", nowhere)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "prod")
    monkeypatch.setenv("STINGAR_LANDING", f"abfs://{LANDING}@account.dfs.core.windows.net")
    monkeypatch.setenv("STINGAR_LANDING_SAS_TOKEN", "")
    result = CliRunner().invoke(main, ["verify"])
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert "STINGAR_LANDING: abfs://" in line
    assert "there is no token for managed identity" in line


def test_a_missing_permission_to_write_the_lake_is_the_failure_of_the_run(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STINGAR_LAKE", f"az://{LAKE}/another")
    monkeypatch.setenv("STINGAR_LAKE_SAS_TOKEN", container_sas(LAKE, "rl"))
    line = failure_of_a_run()
    assert line.startswith(f"STINGAR_LAKE: az://{LAKE}/another/stingar/")
    assert f"(sp=rcwdl) on the container {LAKE}" in line
    result = CliRunner().invoke(main, ["run"])
    assert result.exit_code == 1
    assert all("(sp=rcwdl)" in line for line in result.stderr.splitlines())


def definitions() -> dg.Definitions:
    from stingar_dagster.definitions import build_definitions
    from stingar_dagster.settings import load_settings

    return build_definitions(load_settings())


def tick_of_the_sensor() -> str:
    defs = definitions()
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(
            instance=instance,
            definitions=defs,
            sensor_name=f"{STINGAR.name}_new_captures",
        )
        sensor = defs.resolve_sensor_def(f"{STINGAR.name}_new_captures")
        return sensor.evaluate_tick(context).skip_message or ""


def failure_of_a_run() -> str:
    with dg.DagsterInstance.ephemeral() as instance:
        result = (
            definitions()
            .resolve_job_def(f"{STINGAR.name}_land")
            .execute_in_process(
                instance=instance,
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                partition_key=f"{NOON:%Y-%m-%d-%H}:00",
                raise_on_error=False,
            )
        )
    (failed,) = [event for event in result.all_events if event.is_step_failure]
    failure = failed.step_failure_data.user_failure_data
    assert failure is not None
    return failure.description or ""
