"""The `stingar` command: what it prints, what it writes and its exit codes.

Commands run in this process, and in one of their own where that is what the test is about.
"""

import base64
import csv
import gzip
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from stingar_dagster.cli import main
from stingar_dagster_tests.support import HOUR, MINUTE, Site, event, lines

pytestmark = pytest.mark.filterwarnings("ignore::dagster.BetaWarning")

ROOT = Path(__file__).parents[1]
FIVE = datetime(2022, 5, 19, 17, tzinfo=UTC)
AT = ("--at", "2022-05-19T17:20")
HOSTILE = "\x1b[2J\x1b]0;owned\x07 wget \u202egnp.exe\u200b"
FORMULA = '=HYPERLINK("http://192.0.2.9","look")'
MARKUP = "[red]root[/red]"
FIELDS = {"signature": "command entered", "command": HOSTILE, "username": MARKUP}


def stingar(*arguments: str, text: bytes | None = None) -> Result:
    """Run a command; anything but an exit is a bug."""
    result = CliRunner().invoke(main, arguments, input=text)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result


def prepare(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A project folder to run in, with an instance, an empty landing folder and a lake."""
    for name in [*os.environ]:
        if name.startswith(("STINGAR_", "DAGSTER_")):
            monkeypatch.delenv(name)
    shutil.copy(ROOT / "dagster.yaml", folder)
    monkeypatch.chdir(folder)
    (folder / "landing").mkdir()
    site = Site.at(folder)
    monkeypatch.setenv("STINGAR_LANDING", site.landing)
    monkeypatch.setenv("STINGAR_LAKE", site.lake)
    return site


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    return prepare(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Five events and two rejects, landed and run by commands; tests only read it."""
    bodies = [
        event(FIVE, sensor=FORMULA),
        event(FIVE + MINUTE, **FIELDS, tags=["=1+1", "b"]),
        event(FIVE + 2 * MINUTE, src_ip="2001:db8::7", unheard_of={"deep": [1, None, "ü"]}),
        event(FIVE + HOUR),
        event(FIVE - 20 * HOUR),
        b"not json " + HOSTILE.encode(),
        b"\xff\xfe\x00",
    ]
    with pytest.MonkeyPatch.context() as monkeypatch:
        site = prepare(tmp_path_factory.mktemp("ran"), monkeypatch)
        result = stingar("land", *AT, "--partitions", "1", text=b"\n".join(bodies))
        assert result.output == "7 lines in 1 captures.\n"
        result = stingar("run")
        assert result.output == "1 landed hours, 3 event hours and 2 days are done.\n"
    return site


@pytest.fixture
def done(ran: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.chdir(Path(ran.lake).parent)
    monkeypatch.setenv("STINGAR_LANDING", ran.landing)
    monkeypatch.setenv("STINGAR_LAKE", ran.lake)
    return ran


def bodies(site: Site) -> list[bytes]:
    """What is in landing, by partition and sequence number."""
    import fastavro

    found = []
    for path in sorted(Path(site.landing).rglob("*.avro")):
        for row in fastavro.reader(io.BytesIO(path.read_bytes())):
            assert isinstance(row, dict)
            found.append((path.relative_to(site.landing).parts[2], row["SequenceNumber"], row))
    return [row["Body"] for _, _, row in sorted(found, key=lambda item: item[:2])]


def refused(result: Result, *told: str) -> None:
    """The command could not be tried: exit code 2, and one line that says why."""
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("stingar: ")
    for text in told:
        assert text in line


def commands(group: click.Group, names: Sequence[str] = ()) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        path = (*names, name)
        if isinstance(command, click.Group):
            yield from commands(command, path)
        else:
            yield " ".join(path), command


EVERY_COMMAND = dict(commands(main))


# ---- help


@pytest.mark.parametrize("name", EVERY_COMMAND)
def test_every_command_and_option_has_help(name: str) -> None:
    command = EVERY_COMMAND[name]
    assert len(command.help or "") > 20
    result = stingar(*name.split(), "--help")
    assert result.exit_code == 0
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help or option.type.name in ("choice", "integer range"), option.name


@pytest.mark.parametrize("name", EVERY_COMMAND)
def test_every_command_is_named_in_the_readme(name: str) -> None:
    readme = ROOT / "README.md"
    if not readme.is_file():
        pytest.skip("there is no README.md")
    group, _, last = name.rpartition(" ")
    told = readme.read_text().splitlines()
    named = any(f"`stingar {name}" in line for line in told)
    with_its_group = any(f"`stingar {group} " in line and f"`{last}`" in line for line in told)
    assert named or with_its_group


def test_help_starts_without_the_heavy_packages() -> None:
    code = (
        "import sys; from stingar_dagster.cli import main; main(['--help'], standalone_mode=False);"
        "print([name for name in ('dagster', 'polars', 'azure') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1] == "[]", result.stderr


# ---- land


def test_files_plain_and_compressed_become_captures(site: Site) -> None:
    plain, packed = Path("plain.json"), Path("packed.json.gz")
    plain.write_bytes(b'{"a": 1}\n\n   \r\n{"a": 2}\r\n{"a": 3}')
    packed.write_bytes(gzip.compress(b'{"a": 4}\n'))
    result = stingar("land", str(plain), str(packed), *AT, "--partitions", "1")
    assert result.output == "4 lines in 1 captures.\n"
    assert bodies(site) == [b'{"a": 1}', b'{"a": 2}', b'{"a": 3}', b'{"a": 4}']
    (path,) = Path(site.landing).rglob("*.avro")
    assert str(path.relative_to(site.landing)) == "local/stingar/0/2022/05/19/17/20/00.avro"


def test_lines_of_standard_input_are_spread_over_partitions(site: Site) -> None:
    result = stingar("land", *AT, "--partitions", "3", text=b"1\n2\n3\n4\n")
    assert result.output == "4 lines in 3 captures.\n"
    assert bodies(site) == [b"1", b"4", b"2", b"3"]


def test_without_a_line_nothing_is_written(site: Site) -> None:
    assert stingar("land", *AT, text=b"\n\n").output == "0 lines in 0 captures.\n"
    assert list(Path(site.landing).rglob("*.avro")) == []


def test_sequence_numbers_go_on_without_a_gap(site: Site) -> None:
    for _ in range(3):
        assert stingar("land", *AT, text=b"1\n2\n3\n4\n5\n").exit_code == 0
    assert stingar("run").exit_code == 0
    assert stingar("verify").exit_code == 0
    assert len(site.quarantined()) == 15


def test_sequence_numbers_go_on_where_landing_was_emptied(site: Site) -> None:
    lines = event(FIVE) + b"\n" + event(FIVE) + b"\n"
    for _ in range(2):
        assert stingar("land", *AT, "--partitions", "1", text=lines).exit_code == 0
        assert stingar("run").exit_code == 0
        shutil.rmtree(site.landing)
    assert sorted(row["event_id"] for row in site.events()) == [
        f"local/stingar/0/{number}" for number in range(4)
    ]


@pytest.mark.parametrize(
    "content",
    [b"no gzip at all", gzip.compress(os.urandom(9000).hex().encode())[:-40], b"\x1f\x8b\x08"],
    ids=["none", "cut", "header"],
)
def test_a_broken_gz_is_named_and_what_was_landed_before_it_counted(
    site: Site, content: bytes
) -> None:
    Path("good.json").write_bytes(b"1\n2\n")
    Path("broken.json.gz").write_bytes(content)
    result = stingar("land", "good.json", "broken.json.gz", *AT)
    refused(result, "broken.json.gz can't be read", f"{len(bodies(site))} lines before it")


def test_lines_stamped_before_the_start_are_told(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STINGAR_START", "2022-05-01")
    result = stingar("land", *AT, text=event(datetime(2022, 4, 30, tzinfo=UTC)))
    assert result.exit_code == 0
    assert "1 lines are stamped before STINGAR_START" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--namespace", "a/b"), "--namespace 'a/b'"),
        (("--hub", ".."), "--hub '..'"),
        (("--hub", ""), "--hub ''"),
        (("--at", "2019-12-31T23:59"), "STINGAR_START"),
        (("--at", "2099-01-01"), "--at 2099-01-01T00:00 lies in the future"),
    ],
)
def test_what_can_not_be_landed_is_refused(
    site: Site, arguments: tuple[str, ...], told: str
) -> None:
    refused(stingar("land", *arguments, text=b"1\n"), told)
    assert list(Path(site.landing).rglob("*.avro")) == []


# ---- run


def test_run_brings_everything_out_and_then_has_nothing_to_do(done: Site) -> None:
    assert len(done.events()) == 5
    assert len(done.quarantined()) == 2
    versions = done.versions("")
    result = stingar("run")
    assert (result.exit_code, result.output) == (0, "Everything is up to date.\n")
    assert done.versions("") == versions


def test_nothing_to_do_needs_no_instance_of_dagster(
    done: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    result = stingar("run")
    assert (result.exit_code, result.output) == (0, "Everything is up to date.\n")


def test_run_keeps_to_its_range(site: Site) -> None:
    site.put([event(FIVE)], start=FIVE)
    site.put([event(FIVE + 5 * HOUR)], first=1, start=FIVE + 5 * HOUR)
    result = stingar("run", "--since", "2022-05-19T18", "--until", "2022-05-20")
    assert result.output == "1 landed hours, 1 event hours and 1 days are done.\n"
    assert [row["@timestamp"] for row in site.events()] == ["2022-05-19T22:00:00.000Z"]


def test_run_fills_the_instance_that_the_ui_shows(done: Site) -> None:
    from stingar_dagster.instance import open_instance

    with open_instance() as instance:
        jobs = {run.job_name for run in instance.get_runs()}
    assert jobs == {"stingar_land", "stingar_publish", "stingar_roll"}


def test_a_failed_run_is_one_line_and_exit_code_1(site: Site) -> None:
    site.put([event(FIVE)], start=FIVE)
    in_the_way = Path(site.lake) / "stingar/schema"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_bytes(b"")
    result = stingar("run")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("stingar: publish 2022-05-19-17:00 to 2022-05-19-17:00: ")
    assert line.endswith("Not a directory; check the folder and its owner")
    assert "Failure" not in line
    assert result.stdout == "1 landed hours, 0 event hours and 0 days are done.\n"
    in_the_way.unlink()
    assert stingar("run").exit_code == 0
    assert len(site.events()) == 1


def test_a_failed_check_is_told_in_its_own_words(site: Site) -> None:
    site.put([event(FIVE), b"x"], start=FIVE)
    pipeline = site.pipeline()
    pipeline.land_hour(FIVE)
    ledger = Path(site.lake) / pipeline.lake.layout.ledger(FIVE)
    line = json.loads(ledger.read_bytes())
    ledger.write_text(json.dumps({**line, "events": 9}) + "\n")
    site.put([event(FIVE)], first=2, start=FIVE + 59 * MINUTE)
    result = stingar("run")
    assert result.exit_code == 1
    assert "2 records gave 1 cleaned and 1 quarantined" in result.stderr


# ---- verify


def test_verify_says_what_it_counted_and_that_it_holds(done: Site) -> None:
    result = stingar("verify")
    assert result.exit_code == 0
    assert result.output == (
        "captured 7 = cleaned 5 + quarantined 2 + duplicates 0, in 1 landed hours and 2 days\n"
        "It holds.\n"
    )


def test_verify_again_holds_and_writes_nothing(done: Site) -> None:
    before = done.versions("")
    result = stingar("verify", "--again")
    assert result.exit_code == 0
    assert "It holds." in result.output
    assert done.versions("") == before


def test_verify_as_json_is_the_whole_balance(done: Site) -> None:
    report = json.loads(stingar("verify", "--json").stdout)
    assert report["holds"] is True
    assert (report["captured"], report["cleaned"], report["quarantined"]) == (7, 5, 2)
    assert (report["problems"], report["notes"], report["days"]) == ([], [], 2)
    (count,) = report["counts"]
    assert count == {
        "landed_hour": "2022-05-19T17", "source": "local/stingar/0",
        "captured": 7, "cleaned": 5, "quarantined": 2, "duplicates": 0,
    }  # fmt: skip


def test_verify_lists_what_does_not_hold_with_exit_code_1(site: Site) -> None:
    site.put([event(FIVE), event(FIVE)], start=FIVE)
    site.run()
    path = Path(site.lake) / "stingar/events/date=2022-05-19/hour=17/events.json"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    result = stingar("verify")
    assert result.exit_code == 1
    assert "lost: 2022-05-19T17 ns/hub/0: neither published nor quarantined: 1" in result.stdout
    assert "problems." in result.stdout.splitlines()[-1]
    report = stingar("verify", "--json")
    assert report.exit_code == 1
    told = json.loads(report.stdout)
    assert told["holds"] is False
    assert told["problems"][0]["kind"] == "lost"


# ---- events

DAYS = ("--since", "2022-05-18", "--until", "2022-05-20")


def test_events_as_json_lose_nothing(done: Site) -> None:
    result = stingar("events", *DAYS, "--format", "json")
    told = [json.loads(line) for line in result.stdout.splitlines()]
    assert told == sorted(done.events(), key=lambda row: row["@timestamp"])
    assert json.loads(told[3]["extra"]) == {"unheard_of": {"deep": [1, None, "ü"]}}
    assert told[2]["command"] == HOSTILE
    assert result.stdout.isascii()
    assert "\x1b" not in result.stdout
    assert result.stderr == ""


def test_events_as_csv_are_no_formulas(done: Site) -> None:
    result = stingar("events", *DAYS, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout, newline="")))
    assert len(rows) == 5
    assert list(rows[0]) == list(done.stream.schema)
    assert rows[1]["sensor"] == "'" + FORMULA
    assert rows[2]["tags"] == '["=1+1", "b"]'
    assert rows[2]["dest_port"] == "22"
    for row in rows:
        for value in row.values():
            assert not value.startswith(tuple("=+-@\t\r"))
    assert "\x1b" not in result.stdout
    assert "\u202e" not in result.stdout


def test_events_as_a_table_are_harmless(done: Site) -> None:
    result = stingar("events", *DAYS)
    assert result.stderr == "5 events.\n"
    assert len(result.stdout.splitlines()) == 6
    for character in ("\x1b", "\x07", "\u202e", "\u200b"):
        assert character not in result.stdout
    assert "\\u001b[2J\\u001b]0;owned\\u0007 wget \\u202egnp.exe\\u200b" in result.stdout
    assert MARKUP in result.stdout
    assert result.stdout.splitlines()[2].startswith("2022-05-19T17:00:00.000Z  =HYPERLINK(")


@pytest.mark.parametrize(
    ("arguments", "hits"),
    [
        (("--src-ip", "2001:db8::7"), 1),
        (("--where", "event_kind = 'command'"), 1),
        (("--where", "dest_port = 22", "--src-ip", "192.0.2.7"), 4),
        (("--where", "dest_port = 23"), 0),
    ],
)
def test_events_are_narrowed_by_address_and_condition(
    done: Site, arguments: tuple[str, ...], hits: int
) -> None:
    result = stingar("events", *DAYS, *arguments, "--format", "json")
    assert len(result.stdout.splitlines()) == hits


@pytest.mark.parametrize(
    ("arguments", "hits"),
    [
        (("--src-ip", "2001:DB8:0::7"), 1),
        (("--network", "192.0.2.0/24"), 4),
        (("--network", "2001:db8::/32", "--dest-port", "22"), 1),
        (("--dest-port", "22", "--dest-port", "23"), 5),
        (("--sensor", FORMULA), 1),
        (("--sensor", FORMULA, "--sensor", "lab-1"), 5),
        (("--app", "cowrie"), 0),
        (("--kind", "command"), 1),
        (("--command", "WGET"), 1),
        (("--command", HOSTILE), 1),
        (("--command", "curl"), 0),
        (("--username", MARKUP), 1),
        (("--password", "x"), 0),
        (("--limit", "2"), 2),
        (("--limit", "1", "--kind", "command"), 1),
    ],
)
@pytest.mark.parametrize("form", ["json", "csv", "table"])
def test_every_option_narrows_and_in_every_format(
    done: Site, arguments: tuple[str, ...], hits: int, form: str
) -> None:
    result = stingar("events", *DAYS, *arguments, "--format", form)
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == hits + (form != "json")
    assert "\x1b" not in result.output


def test_a_kind_that_there_is_not_is_told_with_those_that_there_are(done: Site) -> None:
    result = stingar("events", *DAYS, "--kind", "comand", "--kind", "login_attempt")
    assert "--kind 'comand' is no kind of event; there are connection, " in result.stderr
    assert "'login_attempt'" not in result.stderr
    assert "no kind of event" not in stingar("events", *DAYS, "--kind", "command").stderr


def test_without_a_range_the_last_published_day_is_searched(done: Site) -> None:
    assert len(stingar("events", "--format", "json").stdout.splitlines()) == 5
    since = ("--since", "2022-05-19T18")
    assert len(stingar("events", *since, "--format", "json").stdout.splitlines()) == 1
    until = ("--until", "2022-05-19")
    assert len(stingar("events", *until, "--format", "json").stdout.splitlines()) == 1
    assert stingar("events", "--since", "2022-05-20", "--format", "json").stdout == ""


def test_a_lake_without_events_has_no_last_day(site: Site) -> None:
    refused(stingar("events"), "nothing is published in STINGAR_LAKE=", "yet")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--src-ip", "300.1.1.1"), "is not an IPv4 or IPv6 address"),
        (("--src-ip", "192.0.2.0/24"), "ask for it as a network"),
        (("--src-ip", HOSTILE), "is not an IPv4 or IPv6 address"),
        (("--network", "192.0.2.0/40"), "is not an address or a network"),
        (("--network", "::/0", "--src-ip", "::1"), "not for both"),
        (("--command", "\udcff"), "is not text in UTF-8"),
    ],
)
def test_what_can_not_be_looked_for_is_one_line(
    done: Site, arguments: tuple[str, ...], reason: str
) -> None:
    result = stingar("events", *DAYS, *arguments)
    refused(result, reason)
    assert "\x1b" not in result.output


def test_a_time_may_bear_another_zone(done: Site) -> None:
    zoned = ("--since", "2022-05-19T19:00+02:00", "--until", "2022-05-19T19:01+02:00")
    (line,) = stingar("events", *zoned, "--format", "json").stdout.splitlines()
    assert json.loads(line)["@timestamp"] == "2022-05-19T17:00:00.000Z"


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_a_condition_that_is_none_prints_nothing_but_the_reason(done: Site, form: str) -> None:
    result = stingar("events", *DAYS, "--where", "nope = 1", "--format", form)
    refused(result, 'unable to find column "nope"')


def test_a_reader_that_goes_away_is_no_error(done: Site) -> None:
    code = (
        "import sys; from stingar_dagster.cli import main;"
        f"main(['events', *{DAYS!r}, '--format', 'json'] )"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


def test_a_reader_that_takes_one_line_ends_it_quietly(done: Site) -> None:
    code = f"from stingar_dagster.cli import main; main(['events', *{DAYS!r}, '--format', 'csv'])"
    quoted = code.replace('"', '\\"')
    shown = subprocess.run(
        f'{sys.executable} -c "{quoted}" | head -n 1', shell=True, capture_output=True, check=True
    )
    assert shown.stdout.startswith(b"@timestamp,type,")
    assert shown.stderr == b""


# ---- ip


def test_a_page_tells_what_is_known_of_an_address_and_is_harmless(done: Site) -> None:
    result = stingar("ip", "192.0.2.7")
    assert (result.exit_code, result.stderr) == (0, "")
    for told in (
        "4 events in 4 sessions, first seen 2022-05-18 21:00:00, last seen 2022-05-19 18:00:00",
        "Looked at what is published: 3 hours with events of anyone",
        FORMULA,
        "\\u001b[2J\\u001b]0;owned\\u0007 wget \\u202egnp.exe\\u200b",
    ):
        assert told in result.stdout
    for character in ("\x1b", "\x07", "\u202e", "\u200b"):
        assert character not in result.stdout


def test_a_page_as_json_loses_nothing(done: Site) -> None:
    result = stingar("ip", "192.0.2.0/24", "--json")
    assert result.stdout.isascii()
    told = json.loads(result.stdout)
    assert (told["source"], told["events"]) == ("192.0.2.0/24", 4)
    assert told["commands"][0]["command"] == HOSTILE
    assert [day["events"] for day in told["days"]] == [1, 3]
    assert told["coverage"]["published_hours"] == 3


def test_a_page_on_an_address_that_was_never_seen_says_so(done: Site) -> None:
    result = stingar("ip", "198.51.100.1")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[:2] == ["198.51.100.1", "No events."]


def test_a_page_over_nothing_published_says_so(done: Site) -> None:
    result = stingar("ip", "198.51.100.1", "--since", "2023-01-01")
    assert "from 2023-01-01 00:00: nothing." in result.stdout
    assert "nothing is published in STINGAR_LAKE=" in result.stderr


@pytest.mark.parametrize("address", ["300.1.1.1", "lab-1", "", HOSTILE, "192.0.2.0/40"])
def test_a_page_on_no_address_is_one_line(done: Site, address: str) -> None:
    result = stingar("ip", address)
    refused(result, "is not an address or a network; write it like 203.0.113.9")
    assert "\x1b" not in result.output


# ---- quarantine


def test_quarantine_is_listed_with_reason_and_place(done: Site) -> None:
    result = stingar("quarantine", "list")
    assert result.stderr == "2 in quarantine.\n"
    first, second = result.stdout.splitlines()
    assert first.startswith("local/stingar/0/5  not_json  ")
    assert second.startswith("local/stingar/0/6  not_utf8  ")
    assert first.endswith("local/stingar/0/2022/05/19/17/20/00.avro")
    none = stingar("quarantine", "list", "--since", "2022-05-20")
    assert (none.stdout, none.stderr) == ("", "0 in quarantine.\n")


def test_a_quarantined_event_is_shown_harmless_or_raw(done: Site) -> None:
    shown = stingar("quarantine", "show", "local/stingar/0/5").stdout
    assert "reason: not_json\n" in shown
    assert "sequence_number: 5\n" in shown
    assert "body: not json \\u001b[2J" in shown
    assert "\x1b" not in shown
    raw = stingar("quarantine", "show", "local/stingar/0/5", "--raw").stdout_bytes
    assert raw == b"not json " + HOSTILE.encode()
    assert stingar("quarantine", "show", "local/stingar/0/6", "--raw").stdout_bytes == (
        b"\xff\xfe\x00"
    )
    assert "body: \\xff\\xfe\\u0000" in stingar("quarantine", "show", "local/stingar/0/6").stdout


def test_a_damaged_part_is_shown_by_its_capture(site: Site) -> None:
    path = site.put_blob(b"no avro" * 20, start=FIVE)
    site.run()
    assert "bytes 0 to 140" in stingar("quarantine", "show", path).stdout
    assert stingar("quarantine", "show", path, "--raw").stdout_bytes == b"no avro" * 20


def test_what_is_not_in_quarantine_is_said_so(done: Site) -> None:
    refused(stingar("quarantine", "show", "local/stingar/0/0"), "is not in quarantine")


def test_a_replay_after_a_fix_publishes_what_was_quarantined_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = event(FIVE + MINUTE, data="x" * 3000)
    monkeypatch.setenv("STINGAR_MAX_BODY_BYTES", "2000")
    text = b"\n".join([event(FIVE), large, b"not json"])
    assert stingar("land", *AT, "--partitions", "1", text=text).exit_code == 0
    assert stingar("run").exit_code == 0
    assert sorted(row["reason"] for row in site.quarantined()) == ["not_json", "too_large"]
    tree = site.tree()

    # Without a fix nothing changes.
    result = stingar("quarantine", "replay")
    assert (result.exit_code, result.output) == (0, "2 were in quarantine, 2 are now.\n")
    assert site.tree() == tree

    monkeypatch.setenv("STINGAR_MAX_BODY_BYTES", "4000")
    elsewhere = stingar("quarantine", "replay", "--since", "2022-05-20")
    assert elsewhere.output == "0 were in quarantine, 0 are now.\n"
    result = stingar("quarantine", "replay")
    assert (result.exit_code, result.output) == (0, "2 were in quarantine, 1 are now.\n")
    assert [row["event_id"] for row in site.events()] == ["local/stingar/0/0", "local/stingar/0/1"]
    assert site.events()[1]["data"] == "x" * 3000
    summary = site.daily("daily_summary")
    assert sum(row.get("events", 0) for row in summary) == 2
    assert sum(row["quarantined"] for row in summary) == 1
    assert stingar("verify").exit_code == 0

    tree = site.tree()
    result = stingar("quarantine", "replay")
    assert (result.exit_code, result.output) == (0, "1 were in quarantine, 1 are now.\n")
    assert site.tree() == tree
    assert stingar("run").output == "Everything is up to date.\n"


# ---- what can't be tried

NEEDS_SETTINGS = [
    ("run",), ("verify",), ("events", *DAYS), ("ip", "192.0.2.7"), ("quarantine", "list"),
    ("quarantine", "show", "x"), ("quarantine", "replay"), ("land",),
]  # fmt: skip


def nothing_written(site: Site) -> bool:
    return not Path(site.lake).exists() and list(Path(site.landing).rglob("*.avro")) == []


@pytest.mark.parametrize("command", NEEDS_SETTINGS, ids=" ".join)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("STINGAR_START", "yesterday"),
        ("STINGAR_LAKE", "nowhere://x"),
        ("STINGAR_LANDING", "az://container/x?sig=secret"),
        ("STINGAR_CAPTURE_FORMAT", "{Year}/{Month}"),
        ("STINGAR_MAX_BODY_BYTES", "1\n2"),
    ],
)
def test_a_setting_that_can_not_be_used_is_one_line(
    site: Site, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    result = stingar(*command, text=b"1\n")
    refused(result, name)
    assert "secret" not in result.output
    assert nothing_written(site)


@pytest.mark.parametrize("name", ["run", "verify", "quarantine replay"])
def test_a_landing_folder_that_is_not_there_is_not_taken_for_no_traffic(
    site: Site, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("STINGAR_LANDING", "mistyped")
    refused(stingar(*name.split()), "STINGAR_LANDING=mistyped: there is no such folder")
    monkeypatch.setenv("STINGAR_LANDING", "dagster.yaml")
    refused(stingar(*name.split()), "STINGAR_LANDING=dagster.yaml")
    assert nothing_written(site)


def test_captures_of_another_format_are_not_taken_for_no_traffic(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = Path(site.landing) / "ns/2022/05/19/17/00/00.avro"
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"")
    refused(stingar("run"), "does not match the capture name format", "STINGAR_CAPTURE_FORMAT")
    assert not Path(site.lake).exists()


@pytest.mark.parametrize(
    "name", ["run", "verify", "events", "ip ::1", "quarantine list", "quarantine replay"]
)
def test_a_range_that_is_none_is_refused(site: Site, name: str) -> None:
    for until in ("2022-05-19", "2022-05-18"):
        result = stingar(*name.split(), "--since", "2022-05-19", "--until", until)
        refused(result, "--until must lie after --since")


@pytest.mark.parametrize("value", ["noon", "2022-13-01", "0001-01-01T00:00+09:00", "17:00"])
def test_a_time_that_is_none_is_refused(site: Site, value: str) -> None:
    result = stingar("verify", "--since", value)
    assert result.exit_code == 2
    assert "is not a time; write it like 2022-05-19" in result.stderr


def test_a_landed_hour_is_a_whole_one(site: Site) -> None:
    result = stingar("run", "--since", "2022-05-19T17:30")
    assert result.exit_code == 2
    assert "is not a whole hour" in result.stderr


@pytest.mark.parametrize("command", ["run", "quarantine replay"])
def test_without_an_instance_the_folder_is_asked_for(site: Site, command: str) -> None:
    site.put([event(FIVE)], start=FIVE)
    Path("dagster.yaml").unlink()
    refused(stingar(*command.split()), "there is no dagster.yaml here", "DAGSTER_HOME")


@pytest.mark.parametrize(
    "content", ["storage: [", "nonsense: true\n", "storage:\n  sqlite:\n    base_dir: 5\n"]
)
def test_an_instance_that_can_not_be_opened_is_one_line(site: Site, content: str) -> None:
    site.put([event(FIVE)], start=FIVE)
    Path("dagster.yaml").write_text(content)
    refused(stingar("run"), "Dagster's instance can't be opened: ")
    assert not Path(site.lake).exists()


def test_a_password_without_quotes_is_not_shown(site: Site) -> None:
    site.put([event(FIVE)], start=FIVE)
    Path("dagster.yaml").write_text(
        "storage:\n  postgres:\n    postgres_db:\n      username: a\n      password: 31337424242\n"
        "      hostname: localhost\n      db_name: dagster\n"
    )
    result = stingar("run")
    refused(result, "Dagster's instance can't be opened: ", "password")
    assert "31337" not in result.output


def test_a_home_that_is_not_there_is_one_line(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put([event(FIVE)], start=FIVE)
    monkeypatch.setenv("DAGSTER_HOME", "/nowhere/at/all")
    refused(stingar("run"), "Dagster's instance can't be opened: ", "/nowhere/at/all")


def test_a_landing_that_is_a_file_is_one_line(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STINGAR_LANDING", "dagster.yaml")
    refused(stingar("land", *AT, text=b"1\n"), "dagster.yaml")


def test_a_ledger_of_a_newer_release_is_one_line(site: Site) -> None:
    site.put([event(FIVE)], start=FIVE)
    ledger = Path(site.lake) / "stingar/ledger/date=2022-05-19/hour=17/ledger.json"
    ledger.parent.mkdir(parents=True)
    ledger.write_text('{"format": 99}\n')
    for command in ("run", "verify"):
        refused(stingar(command), "was written by a newer release; upgrade this one")


def test_a_file_that_is_not_there_is_said_so(site: Site) -> None:
    result = stingar("land", "missing.json")
    assert result.exit_code == 2
    assert "'missing.json' does not exist" in result.stderr
    assert nothing_written(site)


def test_the_demo_asks_for_the_projects_folder(site: Site) -> None:
    refused(stingar("demo"), "there is no workspace.yaml here")


def test_the_installed_command_gives_its_exit_code_and_line(site: Site) -> None:
    """In a process of its own, as an operator has it: nothing else on standard error."""
    code = "from stingar_dagster.cli import main; main()"

    def command(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True, text=True, env={**os.environ, **environ},
        )  # fmt: skip

    bad = command("run", STINGAR_START="soon")
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr == (
        "stingar: STINGAR_START='soon' is not a date: write it like 2022-05-01 or "
        "2022-05-01T00:00\n"
    )
    site.put([event(FIVE), b"x"], start=FIVE)
    good = command("run")
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout == "1 landed hours, 1 event hours and 1 days are done.\n"
    assert len(site.events()) == 1


def test_what_show_prints_is_what_the_published_line_holds(done: Site) -> None:
    published: list[Any] = [
        json.loads(line) for data in done.objects("quarantine").values() for line in lines(data)
    ]
    for row in published:
        raw = stingar("quarantine", "show", row["event_id"], "--raw").stdout_bytes
        assert raw == base64.b64decode(row["body"])
