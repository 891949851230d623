"""Settings: defaults that work, values from the environment and `.env`, and clear refusals."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from stingar_dagster.errors import SettingsError
from stingar_dagster.settings import DEFAULT_CAPTURE_FORMAT, Settings, load_settings

VARIABLES = (
    "STINGAR_START",
    "STINGAR_LANDING",
    "STINGAR_LAKE",
    "STINGAR_CAPTURE_FORMAT",
    "STINGAR_MAX_BODY_BYTES",
    "STINGAR_TORN_AFTER_MINUTES",
    "STINGAR_LOOKBACK_HOURS",
    "STINGAR_PROCESSES",
    "STINGAR_NOTICES",
    "STINGAR_GEO",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with no settings in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_without_any_setting_everything_has_a_default() -> None:
    assert load_settings({}) == Settings()
    assert Settings() == Settings(
        start=datetime(2020, 1, 1, tzinfo=UTC),
        landing="data/landing",
        lake="data/lake",
        capture_format=DEFAULT_CAPTURE_FORMAT,
        max_body_bytes=1_048_576,
        torn_after=timedelta(minutes=15),
        lookback=timedelta(hours=2),
        processes=min(4, len(os.sched_getaffinity(0))),
    )


def test_as_many_processes_as_usable_cores_and_at_most_four(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for usable, processes in ((1, 1), (3, 3), (64, 4)):
        cores = set(range(usable))
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: cores, raising=False)
        assert Settings().processes == processes


def test_an_empty_value_is_the_default() -> None:
    assert load_settings(dict.fromkeys(VARIABLES, "")) == Settings()


def test_every_setting_is_read() -> None:
    read = load_settings(
        {
            "STINGAR_START": "2022-05-19T17:00",
            "STINGAR_LANDING": "az://landing/captures",
            "STINGAR_LAKE": "abfs://lake@account.dfs.core.windows.net/stingar",
            "STINGAR_CAPTURE_FORMAT": "x/{Namespace}",
            "STINGAR_MAX_BODY_BYTES": "2048",
            "STINGAR_TORN_AFTER_MINUTES": "5",
            "STINGAR_LOOKBACK_HOURS": "6",
            "STINGAR_PROCESSES": "3",
            "STINGAR_NOTICES": "https://account.queue.core.windows.net/captures",
        }
    )
    assert read == Settings(
        start=datetime(2022, 5, 19, 17, tzinfo=UTC),
        landing="az://landing/captures",
        lake="abfs://lake@account.dfs.core.windows.net/stingar",
        capture_format="x/{Namespace}",
        max_body_bytes=2048,
        torn_after=timedelta(minutes=5),
        lookback=timedelta(hours=6),
        processes=3,
        notices="https://account.queue.core.windows.net/captures",
    )


@pytest.mark.parametrize(
    ("text", "hour"),
    [
        ("2022-05-01", datetime(2022, 5, 1, tzinfo=UTC)),
        ("2022-05-01T06:00Z", datetime(2022, 5, 1, 6, tzinfo=UTC)),
        ("2022-05-01T06:00+02:00", datetime(2022, 5, 1, 4, tzinfo=UTC)),
    ],
)
def test_times_are_utc_unless_they_say_otherwise(text: str, hour: datetime) -> None:
    assert load_settings({"STINGAR_START": text}).start == hour


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("STINGAR_START", "yesterday", "like 2022-05-01"),
        ("STINGAR_START", "2022-13-01", "like 2022-05-01"),
        ("STINGAR_START", "2022-05-01T06:30", "like 2022-05-01"),
        ("STINGAR_START", "2022-05-01T06:00+05:30", "whole UTC hour"),
        ("STINGAR_START", "1969-12-31", "1970 to 2099"),
        ("STINGAR_START", "2100-01-01", "1970 to 2099"),
        ("STINGAR_START", "0001-01-01T00:00+05:00", "like 2022-05-01"),
        ("STINGAR_START", "9999-12-31T23:00-05:00", "like 2022-05-01"),
        ("STINGAR_MAX_BODY_BYTES", "0", "like 1048576"),
        ("STINGAR_MAX_BODY_BYTES", "-1", "like 1048576"),
        ("STINGAR_MAX_BODY_BYTES", "1e6", "like 1048576"),
        ("STINGAR_MAX_BODY_BYTES", "\uff11\uff12", "like 1048576"),
        ("STINGAR_MAX_BODY_BYTES", "9" * 5000, "like 1048576"),
        ("STINGAR_TORN_AFTER_MINUTES", "ten", "like 15"),
        ("STINGAR_TORN_AFTER_MINUTES", "99999999999", "from 1 to 1000000"),
        ("STINGAR_LOOKBACK_HOURS", "2.5", "like 2"),
        ("STINGAR_LOOKBACK_HOURS", "99999999999", "from 1 to 1000000"),
        ("STINGAR_PROCESSES", "0", "from 1 to 64"),
        ("STINGAR_PROCESSES", "65", "from 1 to 64"),
        ("STINGAR_PROCESSES", "all", "from 1 to 64"),
    ],
)
def test_a_bad_value_is_refused_with_its_variable_and_a_good_one(
    name: str, value: str, fix: str
) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings({name: value})
    message = str(refused.value)
    assert message.startswith(f"{name}=")
    assert fix in message
    assert "\n" not in message
    assert len(message) < 300


def test_the_largest_numbers_can_be_reckoned_with() -> None:
    read = load_settings({"STINGAR_LOOKBACK_HOURS": "1000000"})
    assert read.start - read.lookback < read.start


def test_a_home_folder_is_spelled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somewhere")
    assert load_settings({"STINGAR_LAKE": "~/lake"}).lake == "/somewhere/lake"


def test_a_file_named_dotenv_is_read_and_the_environment_goes_before_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / ".env").write_text("STINGAR_LAKE=from/file\nSTINGAR_LANDING='land here'\nEMPTY\n")
    monkeypatch.setenv("STINGAR_LAKE", "from/environment")
    read = load_settings()
    assert (read.lake, read.landing) == ("from/environment", "land here")


def test_without_a_file_the_defaults_hold(folder: Path) -> None:
    assert load_settings() == Settings()


def test_a_dotenv_file_that_is_no_text_is_named(folder: Path) -> None:
    (folder / ".env").write_bytes(b"STINGAR_LAKE=\xff\xfe")
    with pytest.raises(SettingsError, match=r"\.env can't be read"):
        load_settings()


def test_databases_of_origins_are_a_list_of_files() -> None:
    assert load_settings({"STINGAR_GEO": " a/country.mmdb, ~/asn.mmdb,,"}).geo == (
        "a/country.mmdb",
        str(Path.home() / "asn.mmdb"),
    )
    assert load_settings({"STINGAR_GEO": " , "}).geo == ()
