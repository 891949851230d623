"""The settings: environment variables, also read from a `.env` file in the working folder.

Here: names, defaults, parsing, and the one-line error for a value that can't be used. Not here:
what differs between logs (`streams`), where Kafka is (`kafka.settings`), nor credentials, which are
read where a store is opened (`storage.azure_access`) and kept out of what settings are shown or
handed on.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

from stingar_dagster.errors import SettingsError

DEFAULT_CAPTURE_FORMAT: Final = (
    "{Namespace}/{EventHub}/{PartitionId}/{Year}/{Month}/{Day}/{Hour}/{Minute}/{Second}"
)

_SECRETS: Final = ("accountkey=", "sharedaccess", "sig=", "password=", "secret=")
"""What connection strings and tokens hold, in lower case."""


def _usable_cores() -> int:
    """At most four: memory is what runs out next."""
    # Fewer than the machine's in a container or under taskset; not every system can tell.
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(usable or 1, 4)


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator sets; one instance is made per process.

    Attributes:
        start: the first hour that exists as a partition (UTC, whole hour).
        landing: fsspec URL of the folder that Event Hubs Capture writes to.
        lake: fsspec URL of the folder that this pipeline writes to.
        capture_format: Event Hubs Capture's name format, without the `.avro` ending.
        max_body_bytes: a larger body is quarantined.
        torn_after: how long a capture that looks half-written is retried before it counts as
            damaged for good.
        lookback: how far behind the newest capture of a partition late captures are looked for
            at every tick of the sensor.
        processes: so many share the hours and days of one run, where there is enough to do.
        notices: address of the storage queue that Event Grid's notices of new captures go to;
            empty: captures are found by listing alone.
        geo: MMDB files that tell where source addresses come from, when events are read.
    """

    start: datetime = datetime(2020, 1, 1, tzinfo=UTC)
    landing: str = "data/landing"
    lake: str = "data/lake"
    capture_format: str = DEFAULT_CAPTURE_FORMAT
    max_body_bytes: int = 1024 * 1024
    torn_after: timedelta = timedelta(minutes=15)
    lookback: timedelta = timedelta(hours=2)
    processes: int = field(default_factory=_usable_cores)
    notices: str = ""
    geo: tuple[str, ...] = ()


def environment() -> dict[str, str]:
    """The process's variables, and under them those of `.env` in the working folder.

    Raises:
        SettingsError: `.env` can't be read.
    """
    return {**_dotenv(Path.cwd() / ".env"), **os.environ}


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ` (default: `.env`, overridden by the process environment).

    Raises:
        SettingsError: a value can't be parsed; the message names the variable and a valid value.
    """
    if environ is None:
        environ = environment()
    default = Settings()
    return Settings(
        start=_hour(environ, "STINGAR_START", default.start),
        landing=_url(environ, "STINGAR_LANDING", default.landing),
        lake=_url(environ, "STINGAR_LAKE", default.lake),
        capture_format=environ.get("STINGAR_CAPTURE_FORMAT") or default.capture_format,
        max_body_bytes=whole_number(
            environ, "STINGAR_MAX_BODY_BYTES", default.max_body_bytes, most=1_000_000_000
        ),
        torn_after=timedelta(
            minutes=whole_number(
                environ, "STINGAR_TORN_AFTER_MINUTES", int(default.torn_after.total_seconds() // 60)
            )
        ),
        lookback=timedelta(
            hours=whole_number(
                environ, "STINGAR_LOOKBACK_HOURS", int(default.lookback.total_seconds() // 3600)
            )
        ),
        processes=whole_number(environ, "STINGAR_PROCESSES", default.processes, most=64),
        notices=_url(environ, "STINGAR_NOTICES", default.notices),
        geo=_files(environ, "STINGAR_GEO"),
    )


def _dotenv(path: Path) -> dict[str, str]:
    try:
        return {k: v for k, v in dotenv_values(path).items() if v is not None}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"{path} can't be read ({error}); write lines like STINGAR_LAKE=data/lake, in UTF-8"
        ) from error


def _hour(environ: Mapping[str, str], name: str, default: datetime) -> datetime:
    text = environ.get(name)
    if not text:
        return default
    try:
        time = datetime.fromisoformat(text)
        time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise SettingsError(
            f"{name}={text!r} is not a date: write it like 2022-05-01 or 2022-05-01T00:00"
        ) from None
    if time != time.replace(minute=0, second=0, microsecond=0):
        raise SettingsError(f"{name}={text!r} is not a whole UTC hour: write it like 2022-05-01")
    if not 1970 <= time.year < 2100:
        raise SettingsError(f"{name}={text!r} is out of range: the year must be 1970 to 2099")
    return time


def whole_number(
    environ: Mapping[str, str], name: str, default: int, most: int = 1_000_000, least: int = 1
) -> int:
    """A setting that is a whole number within bounds.

    Raises:
        SettingsError: it is not.
    """
    text = environ.get(name)
    if not text:
        return default
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(most))
    if not digits or not least <= int(text) <= most:
        raise SettingsError(
            f"{name}={text[:40]!r} is not a whole number from {least} to {most}, like {default}"
        )
    return int(text)


def _url(environ: Mapping[str, str], name: str, default: str) -> str:
    text = environ.get(name) or default
    if _holds_secret(text):
        # Addresses are shown: in errors, in logs, in the UI.
        raise SettingsError(
            f"{name}: write the address without a token or password; "
            "credentials go into variables of their own (README, On Azure)"
        )
    if text.startswith("~"):
        return str(Path(text).expanduser())
    return text


def _files(environ: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Paths of files, parted by commas."""
    texts = [text.strip() for text in (environ.get(name) or "").split(",")]
    return tuple(str(Path(text).expanduser()) for text in texts if text)


def _holds_secret(address: str) -> bool:
    """Whether an address looks like one with a credential, however it was mistyped."""
    if any(word in address.lower() for word in _SECRETS):
        return True
    _, slash, rest = address.partition(":/")
    _, colon, behind = rest.partition(":")
    return bool(slash) and ("?" in rest or "#" in rest or (bool(colon) and "@" in behind))
