"""Hostile bodies through the whole pipeline: each comes out once, whole, and harms nothing."""

import base64
import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from stingar_dagster.cli import main
from stingar_dagster.settings import Settings
from stingar_dagster.streams import STINGAR
from stingar_dagster_tests.reliability.hostile import CANARY, Case, cases, lost, read
from stingar_dagster_tests.support import HOUR, MINUTE, NOON, Site, capture, event

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

ROOT = Path(__file__).resolve().parents[2]
CASES = cases(NOON)
PATH = re.compile(
    r"stingar/(events|daily|reports|quarantine|ledger|schema|segments|rollups|state)"
    r"(/(rejected|events|quarantine|daily|reopened|daily_[a-z]+|digests|numbers|seen"
    r"|date=\d{4}-\d\d-\d\d|hour=\d\d))*"
    r"(/([a-z_]+|\d\d|date=\d{4}-\d\d-\d\d|[0-9a-fT-]{8,80})(\.(spark|duckdb|columns))?"
    r"\.(json|parquet|zip|html|msgpack))"
)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Every case in one capture, a good event before each; tests only read it."""
    site = Site.at(tmp_path_factory.mktemp("together"))
    bodies: list[bytes] = []
    for case in CASES:
        bodies += [event(NOON, sensor="good"), case.body]
    site.put(bodies)
    site.run()
    return site


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Every case in a capture of a landed hour of its own."""
    one_table = replace(STINGAR, tables=STINGAR.tables[:1])
    site = Site.at(tmp_path_factory.mktemp("alone"), one_table)
    pipeline = site.pipeline()
    for index, case in enumerate(CASES):
        start = NOON - index * HOUR
        site.put([case.body], start=start, first=2 * index + 1)
        pipeline.land_hour(start)
    site.run(pipeline)
    return site


def by_number(rows: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        number = int(row["event_id"].rsplit("/", 1)[1].split(".")[0])
        found.setdefault(number, []).append(row)
    return found


@pytest.fixture(params=["together", "alone"])
def site(request: pytest.FixtureRequest) -> Site:
    filled: Site = request.getfixturevalue(request.param)
    return filled


def test_every_body_comes_out_once_as_events_or_with_its_reason(site: Site) -> None:
    site.check()
    events, rejected = by_number(site.events()), by_number(site.quarantined())
    for index, case in enumerate(CASES):
        number = 2 * index + 1
        if case.reason is None:
            assert len(events.get(number, [])) == case.events, case.name
            assert number not in rejected, case.name
        else:
            assert number not in events, case.name
            (line,) = rejected[number]
            assert line["reason"] == case.reason, case.name
            assert base64.b64decode(line["body"]) == case.body, case.name


def test_what_was_sent_can_be_told_from_what_is_published(site: Site) -> None:
    events = by_number(site.events())
    for index, case in enumerate(CASES):
        if case.reason is None:
            for row, sent in zip(events[2 * index + 1], sent_in(case), strict=True):
                assert lost(row, sent) == [], case.name


def sent_in(case: Case) -> list[dict[str, Any]]:
    text = case.body.removeprefix(b"\xef\xbb\xbf")
    if case.name == "lines":
        return [read(line) for line in text.split() if line]
    body = read(text)
    if case.name == "list":
        return list(body)
    return list(body["records"]) if case.name == "records" else [body]


def test_good_events_beside_them_are_as_if_alone(together: Site) -> None:
    good = [row for row in together.events() if row.get("sensor") == "good"]
    assert len(good) == len(CASES)
    shapes = {
        json.dumps({k: v for k, v in row.items() if k != "event_id"}, sort_keys=True)
        for row in good
    }
    assert len(shapes) == 1


def test_no_event_can_name_a_path(site: Site) -> None:
    for path in site.objects():
        assert PATH.fullmatch(path), path
    folder = Path(site.lake).parent
    outside = [p for p in folder.rglob("*") if p.is_file() and "landing" not in p.parts]
    assert {str(p.relative_to(site.lake)) for p in outside} >= set(site.objects())
    assert not [p for p in outside if CANARY in str(p.relative_to(folder))]
    assert all(p.is_relative_to(site.lake) for p in outside)


def test_a_reason_says_where_and_stays_one_short_line(site: Site) -> None:
    for line in site.quarantined():
        detail = line.get("detail", "")
        assert len(detail) <= 200
        assert not unseen(detail)


# What people see of them


@pytest.fixture
def project(together: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A folder to run commands in."""
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STINGAR_LANDING", together.landing)
    monkeypatch.setenv("STINGAR_LAKE", together.lake)
    return together


def stingar(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def unseen(text: str) -> list[str]:
    """Characters that move a cursor, turn a line round or can't be seen."""
    kinds = ("Cc", "Cf", "Zl", "Zp", "Cs")
    return [c for c in text if unicodedata.category(c) in kinds or c in "\u034f\u3164\ufe0f"]


DAY = ("--since", "2026-11-03", "--until", "2026-11-04")


def harmless(result: Result) -> None:
    assert unseen(re.sub(r"\r?\n", "", result.stdout)) == []
    assert unseen(result.stderr.replace("\n", "")) == []


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_events_in_a_terminal_are_harmless(project: Site, form: str) -> None:
    result = stingar("events", *DAY, "--format", form)
    assert result.exit_code == 0
    harmless(result)
    assert result.stdout.count(CANARY) > 100 or form == "table"


def test_events_as_json_are_what_was_published(project: Site) -> None:
    told = stingar("events", *DAY, "--format", "json").stdout.splitlines()
    by_id = {row["event_id"]: row for row in project.events()}
    assert len(told) == len(by_id)
    for row in map(json.loads, told):
        assert row == by_id[row["event_id"]]


def test_no_cell_is_a_formula(project: Site) -> None:
    text = stingar("events", *DAY, "--format", "csv").stdout
    csv.field_size_limit(1 << 20)
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == len(project.events())
    for row in rows:
        assert None not in row
        for value in row.values():
            # Spreadsheets of many countries part cells at semicolons.
            for cell in value.split(";"):
                assert not cell.startswith(tuple("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")), value


def test_quarantine_in_a_terminal_is_harmless(project: Site) -> None:
    listed = stingar("quarantine", "list")
    harmless(listed)
    assert len(listed.stdout.splitlines()) == len(project.quarantined())
    for line in project.quarantined():
        shown = stingar("quarantine", "show", line["event_id"])
        assert shown.exit_code == 0
        harmless(shown)
        assert len(shown.stdout) < 30_000


def test_an_error_that_quotes_a_value_is_harmless(project: Site) -> None:
    result = stingar("events", *DAY, "--where", "CAST(command AS BIGINT) > 1")
    assert result.exit_code == 2
    harmless(result)
    assert len(result.stderr.splitlines()) == 1


def test_proof_of_them_is_harmless(project: Site) -> None:
    for arguments in ((), ("--json",)):
        result = stingar("verify", *arguments)
        assert result.exit_code == 0
        harmless(result)


HUB = "\x1b[31m\u202e\x9b<b>![x](http:%2F%2F192.0.2.66)\x07\x7f"


def test_a_hostile_name_of_a_hub_is_harmless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    site = Site.at(tmp_path)
    monkeypatch.setenv("STINGAR_LANDING", site.landing)
    monkeypatch.setenv("STINGAR_LAKE", site.lake)
    pipeline = site.pipeline()
    path = pipeline.landing.format.path("ns", HUB, 0, NOON)
    pipeline.landing.store.write(path, capture([event(NOON), b"x", event(NOON)]))
    site.run(pipeline)
    store = pipeline.lake.store
    store.remove(pipeline.lake.layout.events(NOON))
    for options in ((), ("--json",)):
        result = stingar("verify", *options)
        assert result.exit_code == 1
        harmless(result)
    pipeline.landing.store.write(f"ns/{HUB}/0/stranger.avro", b"")
    for command in ("quarantine list", "run", "verify"):
        harmless(stingar(*command.split()))
    harmless(stingar("quarantine", "show", path))
    ledger = pipeline.lake.layout.ledger(NOON)
    store.write(ledger, store.read(ledger).replace(b'"cleaned":2', b'"cleaned":1'))
    for command in ("run", "verify"):
        harmless(stingar(*command.split()))
    harmless(stingar("events", *DAY))


# What Dagster keeps of them


def test_logs_of_runs_are_harmless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that succeed, wait, fail a check and fail, over a hostile hub and a hostile lake."""
    site = Site(str(tmp_path / "landing"), str(tmp_path / f"lake {CANARY}\u202e\x1b[31m"))
    monkeypatch.setenv("STINGAR_LANDING", site.landing)
    monkeypatch.setenv("STINGAR_LAKE", site.lake)
    pipeline = site.pipeline()
    landing, store = pipeline.landing, pipeline.lake.store
    path = landing.format.path("ns", HUB, 0, NOON)
    landing.store.write(path, capture([event(NOON), *(case.body for case in CASES)]))
    torn = capture([event(NOON)])[:-20]
    landing.store.write(landing.format.path("ns", HUB, 1, NOON + 31 * MINUTE), torn)
    ledger = pipeline.lake.layout.ledger(NOON)
    told = []
    with dg.DagsterInstance.ephemeral() as instance:
        for job in ("land", "publish"):
            told += messages(instance, job)
        good = store.read(ledger)
        store.write(ledger, good.replace(b'"quarantined":', b'"quarantined":1', 1))
        told += messages(instance, "land", asked_by="sensor")
        store.write(ledger, b'{"format":999}\n' + good)
        told += messages(instance, "land")
    text = "\n".join(told)
    for expected in ("looks half-written", "records gave", "written by a newer release"):
        assert expected in text
    assert unseen(text.replace("\n", "")) == []
    refused = stingar("verify")
    assert "written by a newer release" in refused.stderr
    harmless(refused)


def messages(instance: dg.DagsterInstance, job: str, asked_by: str = "") -> list[str]:
    """What a run says to people: log lines, metadata, outcomes of checks, reasons of failure."""
    from stingar_dagster.definitions import build_definitions

    result = (
        build_definitions(Settings())
        .resolve_job_def(f"stingar_{job}")
        .execute_in_process(
            instance=instance,
            partition_key="2026-11-03-12:00",
            raise_on_error=False,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            tags={"stingar/asked_by": asked_by} if asked_by else {},
        )
    )
    told = [record.user_message for record in instance.all_logs(result.run_id)]
    for happened in result.get_asset_materialization_events():
        told += [str(value.value) for value in happened.materialization.metadata.values()]
    for check in result.get_asset_check_evaluations():
        told += [check.description or "", *(str(v.value) for v in check.metadata.values())]
    for failed in result.all_events:
        if failed.is_step_failure and failed.step_failure_data.user_failure_data:
            told.append(failed.step_failure_data.user_failure_data.description or "")
    return told


def test_why_a_sensor_does_nothing_is_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    from stingar_dagster.definitions import build_definitions

    monkeypatch.setenv("STINGAR_LAKE", f"nowhere{HUB}://x")
    defs = build_definitions(Settings())
    for sensor in ("new_captures", "changed_hours", "changed_days"):
        with (
            dg.DagsterInstance.ephemeral() as instance,
            dg.build_sensor_context(instance=instance, definitions=defs) as context,
        ):
            told = defs.resolve_sensor_def(f"stingar_{sensor}").evaluate_tick(context).skip_message
        assert "STINGAR_LAKE" in (told or "")
        assert unseen(told or "") == []


# The large ones, in a process that is given so much memory and no more

GIGABYTE = 1 << 30
LARGE = """
import json, os, resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))
from pathlib import Path
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.settings import Settings
from stingar_dagster.streams import STINGAR
from stingar_dagster_tests.support import NOON, Site, event, stamp

at = '"@timestamp":"%s"' % stamp(NOON)
body = {body}
body = body.encode()
site = Site.at(Path(sys.argv[1]))
site.put([event(NOON), body, event(NOON)])
Path(sys.argv[1], "size").write_text(str(len(body)))
site.run(Pipeline(Settings(landing=site.landing, lake=site.lake, max_body_bytes={most}), STINGAR))
"""
KEYS = "'{' + at + ''.join(',\"k%d\":%d' % (n, n) for n in range(1_000_000)) + '}'"
LONG = "'{' + at + ',\"command\":\"wget ' + 'A' * 50_000_000 + '\"}'"
LONG_UNKNOWN = "'{' + at + ',\"new\":\"' + 'A' * 50_000_000 + '\"}'"
MANY = "'[' + ','.join(['{' + at + ',\"command\":\"ls\"}'] * 15_000) + ']'"
DEEP = "'{\"new\":' + '[' * 25_000_000 + ']' * 25_000_000 + '}'"


def large(folder: Path, body: str, most: int, gigabytes: float = 4) -> Site:
    """Land, publish and roll one large body, in a process of its own."""
    script = LARGE.format(limit=int(gigabytes * GIGABYTE), body=body, most=most)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=ROOT,
        env={**dict(environment()), "POLARS_MAX_THREADS": "2"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return Site.at(folder)


def environment() -> Iterator[tuple[str, str]]:
    for name, value in os.environ.items():
        if not name.startswith(("STINGAR_", "DAGSTER_")):
            yield name, value


@pytest.mark.parametrize(
    "body", [KEYS, LONG, LONG_UNKNOWN, DEEP], ids=["keys", "field", "unknown field", "levels"]
)
def test_a_large_body_is_quarantined_whole(tmp_path: Path, body: str) -> None:
    site = large(tmp_path, body, most=1 << 20)
    assert len(site.events()) == 2
    (line,) = site.quarantined()
    assert line["reason"] == "too_large"
    assert len(base64.b64decode(line["body"])) == int((tmp_path / "size").read_text())


def test_with_the_limit_raised_a_million_keys_come_out(tmp_path: Path) -> None:
    site = large(tmp_path, KEYS, most=1 << 30)
    assert site.quarantined() == []
    row = max(site.events(), key=lambda row: len(row.get("extra", "")))
    assert json.loads(row["extra"]) == {f"k{n}": n for n in range(1_000_000)}


@pytest.mark.parametrize("name", ["command", "new"])
def test_with_the_limit_raised_a_long_text_comes_out(tmp_path: Path, name: str) -> None:
    site = large(tmp_path, LONG if name == "command" else LONG_UNKNOWN, most=1 << 30)
    assert site.quarantined() == []
    texts = Counter(
        len(row.get("command") or json.loads(row.get("extra", "{}")).get("new", ""))
        for row in site.events()
    )
    assert texts == {0: 2, 50_000_000 + 5 * (name == "command"): 1}


def test_with_the_limit_raised_deep_nesting_is_told(tmp_path: Path) -> None:
    site = large(tmp_path, DEEP, most=1 << 30)
    assert [line["reason"] for line in site.quarantined()] == ["too_deep"]
    assert len(site.events()) == 2


def test_a_body_of_many_events_is_all_of_them(tmp_path: Path) -> None:
    site = large(tmp_path, MANY, most=1 << 20, gigabytes=3)
    assert len(site.events()) == 15_002
