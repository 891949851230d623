"""No credential comes out: not in a command, not in a run, not on the disk, not in the lake."""

import base64
import json
import os
import secrets
import shutil
import socket
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import dagster as dg
import fsspec
import pytest
from azure.storage.blob import BlobServiceClient
from azure.storage.blob._shared.policies_async import AsyncStorageRetryPolicy
from click.testing import CliRunner
from dagster._core.remote_representation.external_data import RepositorySnap
from dagster_shared.serdes import serialize_value
from fsspec.implementations.memory import MemoryFileSystem

from stingar_dagster.cli import demo, main
from stingar_dagster.errors import SettingsError
from stingar_dagster.settings import load_settings
from stingar_dagster_tests.reliability.serving import asked, served
from stingar_dagster_tests.support import NOON, Site, event

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

ROOT = Path(__file__).resolve().parents[2]
SECRET = "canarysecret"
KEY = base64.b64encode(SECRET.encode() * 4).decode()
FORMS = (SECRET, KEY, base64.b64encode(SECRET.encode()).decode(), KEY[:16])
CREDENTIALS = {
    "AZURE_STORAGE_ACCOUNT_KEY": KEY,
    "AZURE_STORAGE_SAS_TOKEN": f"sv=2024-01-01&sig={SECRET}",
    "AZURE_STORAGE_CLIENT_SECRET": SECRET,
    "AZURE_CLIENT_SECRET": SECRET,
    "AZURE_PASSWORD": SECRET,
}
COMMANDS = (
    "run", "verify", "verify --json", "events --since 2026-11-03 --until 2026-11-04",
    "quarantine list", "quarantine show x", "quarantine replay",
)  # fmt: skip


def told_in(text: str | bytes) -> list[str]:
    """Forms of the secret in a text."""
    data = text if isinstance(text, bytes) else text.encode()
    return [form for form in FORMS if form.encode() in data]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A project folder with an instance and a landed capture; every credential is the secret."""
    for name in [*os.environ]:
        if name.startswith(("STINGAR_", "DAGSTER_", "AZURE_")) and name != "STINGAR_AZURITE":
            monkeypatch.delenv(name)
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    site = Site.at(tmp_path)
    site.put([event(NOON), b"not json"])
    monkeypatch.setenv("STINGAR_LANDING", site.landing)
    monkeypatch.setenv("STINGAR_LAKE", site.lake)
    return site


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure's client tries again at once, instead of after 17 seconds for each request."""

    async def at_once(*_: object) -> None:
        return None

    monkeypatch.setattr(AsyncStorageRetryPolicy, "sleep", at_once)


def connection_string(port: int) -> str:
    return (
        f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={KEY};"
        f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
    )


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def refused_everywhere(code: int = 2) -> None:
    """Every command fails in one line, without the secret."""
    for command in COMMANDS:
        result = CliRunner().invoke(main, command.split())
        assert result.exit_code == code, (command, result.output, result.exception)
        assert isinstance(result.exception, SystemExit), command
        assert told_in(result.output) == [], command
        assert len(result.stderr.splitlines()) == 1, result.stderr


def run_of(job: str) -> tuple[dg.ExecuteInProcessResult, str]:
    """A run on the folder's instance, and everything that Dagster kept of it as text."""
    from stingar_dagster.definitions import build_definitions
    from stingar_dagster.instance import open_instance

    defs = build_definitions(load_settings())
    with open_instance() as instance:
        result = defs.resolve_job_def(job).execute_in_process(
            instance=instance, partition_key="2026-11-03-12:00", raise_on_error=False
        )
        records = instance.all_logs(result.run_id)
        run = instance.get_run_by_id(result.run_id)
        text = "".join(map(repr, [run, *records])) + "".join(map(serialize_value, records))
    return result, text


def on_disk(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file of a project, and every value in its databases, inflated where deflated."""
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        yield str(path), path.read_bytes()
        if path.suffix == ".db":
            with sqlite3.connect(path) as database:
                names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
                for (name,) in names.fetchall():
                    for row in database.execute(f'SELECT * FROM "{name}"'):
                        for value in row:
                            yield f"{path}:{name}", _inflated(value)


def _inflated(value: object) -> bytes:
    data = value if isinstance(value, bytes) else str(value).encode()
    try:
        return zlib.decompress(data)
    except zlib.error:
        return data


def nothing_on_disk(site: Site) -> None:
    for place, data in on_disk(Path(site.landing).parent):
        assert told_in(data) == [], place


# Stores that can't be used


def test_of_an_account_that_is_not_there(
    project: Site, no_waiting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STINGAR_LAKE", "az://lake/x")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection_string(closed_port()))
    refused_everywhere()


def test_of_a_key_that_is_refused(
    project: Site,
    azurite: str,
    no_waiting: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = int(azurite.split("127.0.0.1:")[1].split("/")[0])
    monkeypatch.setenv("STINGAR_LAKE", "az://lake/x")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", connection_string(port))
    refused_everywhere()
    result, text = run_of("stingar_land")
    assert not result.success
    assert "refused" in text
    assert told_in(text) == []
    nothing_on_disk(project)


def test_of_a_token_that_is_refused(
    project: Site, azurite: str, no_waiting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(azurite.split("127.0.0.1:")[1].split("/")[0])
    token = f"SharedAccessSignature=sv=2024-01-01&ss=b&srt=sco&sp=rwl&sig={SECRET}%3D"
    endpoint = f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1"
    monkeypatch.setenv("STINGAR_LAKE", "az://lake/x")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", f"{endpoint};{token}")
    refused_everywhere()
    result, text = run_of("stingar_land")
    assert not result.success
    assert told_in(text) == []
    nothing_on_disk(project)


@pytest.mark.parametrize("value", [SECRET, f"AccountKey={SECRET}"])
def test_of_a_connection_string_that_is_none(
    project: Site, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("STINGAR_LAKE", "az://lake/x")
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", value)
    refused_everywhere()


@pytest.mark.parametrize(
    "address",
    [
        f"az://lake/x?sv=2024&sig={SECRET}",
        f"az://lake/x#{SECRET}",
        f"abfs://user:{SECRET}@host.dfs.core.windows.net/x",
        f"https:/user:{SECRET}@192.0.2.1/x",
        f"s3://key:{SECRET}/x@bucket/x",
        f"simplecache::https://user:{SECRET}@192.0.2.1/x",
        f"DefaultEndpointsProtocol=https;AccountName=a;AccountKey={SECRET}",
        f"BlobEndpoint=https://a;SharedAccessSignature={SECRET}",
        f"data/lake?sig={SECRET}",
    ],
)
@pytest.mark.parametrize("setting", ["STINGAR_LANDING", "STINGAR_LAKE"])
def test_of_an_address_that_holds_one(
    project: Site, monkeypatch: pytest.MonkeyPatch, setting: str, address: str
) -> None:
    monkeypatch.setenv(setting, address)
    refused_everywhere()
    # What Dagster is told of the assets is made from the settings, before a store is opened.
    with pytest.raises(SettingsError, match=setting) as refused:
        load_settings()
    assert told_in(str(refused.value)) == []


# The UI


LAUNCH = """mutation {
  launchRun(executionParams: {runConfigData: {}, mode: "default", selector: {
    jobName: "stingar_land", repositoryName: "__repository__", repositoryLocationName: "stingar"}})
  { __typename ... on PythonError { message } }
}"""
RUNS = "{ runsOrError { ... on Runs { results { runId status } } } }"
ASSETS = "{ assetNodes { assetKey { path } metadataEntries { label description } } }"


def test_a_ui_that_can_only_be_read(project: Site, tmp_path: Path) -> None:
    """As the README says it: one command in the project's folder, with no home set."""
    shutil.copy(ROOT / "workspace.yaml", tmp_path)
    result, _ = run_of("stingar_land")
    with served(tmp_path, "--read-only") as address:
        (run,) = asked(address, RUNS)["data"]["runsOrError"]["results"]
        assert run == {"runId": result.run_id, "status": "SUCCESS"}
        assets = asked(address, ASSETS)
        assert len(assets["data"]["assetNodes"]) > 8
        assert told_in(json.dumps(assets)) == []
        refused = asked(address, LAUNCH)["data"]["launchRun"]
        assert refused == {"__typename": "UnauthorizedError"}
        assert len(asked(address, RUNS)["data"]["runsOrError"]["results"]) == 1
        port = int(address.rsplit(":", 1)[1])
        assert listening(port) == {"127.0.0.1"}
    assert told_in((tmp_path / "server.log").read_bytes()) == []


def test_a_ui_that_may_be_used_takes_the_same_request(project: Site, tmp_path: Path) -> None:
    shutil.copy(ROOT / "workspace.yaml", tmp_path)
    with served(tmp_path) as address:
        told = asked(address, LAUNCH)["data"]["launchRun"]["__typename"]
        assert told != "UnauthorizedError"
        assert listening(int(address.rsplit(":", 1)[1])) == {"127.0.0.1"}


def listening(port: int) -> set[str]:
    """The addresses on which something listens at a port."""
    found = set()
    for kind in ("tcp", "tcp6"):
        for line in Path("/proc/net", kind).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            host, hexadecimal = local.split(":")
            if state == "0A" and int(hexadecimal, 16) == port:
                loopback = host == "0100007F"
                found.add("127.0.0.1" if loopback else host)
    return found


def test_the_demo_listens_on_this_machine_alone() -> None:
    (host,) = [option for option in demo.params if option.name == "host"]
    assert host.default == "127.0.0.1"


class Talkative(MemoryFileSystem):  # type: ignore[misc]
    """A store whose errors quote its credential, as those of HTTP clients do."""

    protocol = "talkative"
    store: ClassVar[dict[str, Any]] = {}

    def cat_file(self, path: str, *_: Any, **__: Any) -> bytes:
        raise RuntimeError(f"GET {path}?sig={os.environ['AZURE_CLIENT_SECRET']}: 500")

    find = info = ls = pipe_file = cat_file


def test_of_an_error_that_quotes_one(project: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("talkative", Talkative, clobber=True)
    monkeypatch.setattr("stingar_dagster.assets._RETRIES", 1)
    monkeypatch.setenv("STINGAR_LAKE", "talkative://lake/x")
    refused_everywhere()
    result, text = run_of("stingar_land")
    assert not result.success
    assert "not reachable (RuntimeError)" in text
    assert told_in(text) == []
    nothing_on_disk(project)


# Where all goes well


def test_a_run_on_azure_keeps_none(
    project: Site, azurite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, as the daemon starts it, its output captured."""
    key = azurite.split("AccountKey=")[1].split(";")[0]
    container = f"secrets-{secrets.token_hex(4)}"
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", azurite)
    monkeypatch.setenv("STINGAR_LAKE", f"az://{container}/lake")
    monkeypatch.setattr(f"{__name__}.FORMS", (*FORMS, key))
    with BlobServiceClient.from_connection_string(azurite) as client:
        client.create_container(container).close()
    command = [sys.executable, "-m", "dagster", "asset", "materialize"]
    command += ["--select", "stingar/landed_events", "--partition", "2026-11-03-12:00"]
    command += ["-m", "stingar_dagster.definitions"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert told_in(done.stdout + done.stderr) == []
    for command_ in ("run", "verify --json", "quarantine list"):
        result = CliRunner().invoke(main, command_.split())
        assert result.exit_code == 0, result.output
        assert told_in(result.output) == []
    site = Site(project.landing, f"az://{container}/lake")
    assert len(site.events()) == 1
    for path, data in site.objects().items():
        assert told_in(path) + told_in(data) == [], path
    places = dict(on_disk(tmp_path))
    assert any(place.endswith("event_logs") for place in places), "no logs were looked at"
    nothing_on_disk(project)


@pytest.mark.filterwarnings("ignore:Property `ScheduleDefinition:DeprecationWarning")
def test_what_dagster_is_told_of_the_assets_holds_none(project: Site) -> None:
    from stingar_dagster.definitions import build_definitions

    repository = build_definitions(load_settings()).get_repository_def()
    shown = serialize_value(RepositorySnap.from_def(repository))
    assert json.loads(shown)
    assert project.lake in shown
    assert told_in(shown) == []
