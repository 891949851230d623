"""What differs between kinds of logs, as data: one module a stream.

A stream declares its fields, time stamps, text formats, cleaning expressions and daily tables
(`stream`, `tables`); the engine knows none of them by name. A setting that only one stream has is
read here, and so is the same in every process. Not here: how bodies are decoded (`cleaning`) or
where results are written (`lake`).
"""

from collections.abc import Mapping
from dataclasses import replace

from stingar_dagster.errors import SettingsError
from stingar_dagster.safe_text import visible
from stingar_dagster.settings import environment
from stingar_dagster.streams import stingar
from stingar_dagster.streams.dns import HUBS, REQUIRED, SLICE_MINUTES, dns_stream
from stingar_dagster.streams.stream import Stream


def declared_streams(environ: Mapping[str, str]) -> dict[str, Stream]:
    """Every stream by name.

    Args:
        environ: variables; `STINGAR_DNS_HUBS`, `STINGAR_DNS_COLUMNS` and
            `STINGAR_DNS_SLICE_MINUTES` count here.

    Raises:
        SettingsError: a value can't be used.
    """
    hubs = _names(environ, "STINGAR_DNS_HUBS") or HUBS
    minutes = _slice_minutes(environ)
    try:
        dns = dns_stream(_names(environ, "STINGAR_DNS_COLUMNS"), hubs, minutes)
    except ValueError as error:
        raise SettingsError(
            f"STINGAR_DNS_COLUMNS: {error}; write the columns of zeek's dns.log in their order, "
            f"with commas between them, {', '.join(REQUIRED)} among them"
        ) from None
    # An Event Hub belongs to one stream.
    honeypots = replace(stingar.STINGAR, other_hubs=dns.hubs)
    return {stream.name: stream for stream in (honeypots, dns)}


def _names(environ: Mapping[str, str], variable: str) -> tuple[str, ...]:
    names = (name.strip() for name in environ.get(variable, "").split(","))
    return tuple(name for name in names if name)


def _slice_minutes(environ: Mapping[str, str]) -> int:
    text = environ.get("STINGAR_DNS_SLICE_MINUTES", "").strip() or str(SLICE_MINUTES)
    minutes = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 0
    if not 0 < minutes <= 60 or 60 % minutes:
        raise SettingsError(
            f"STINGAR_DNS_SLICE_MINUTES={visible(text, 20)}: write a number of minutes that "
            "divides 60, such as 1, 5 or 60"
        )
    return minutes


STREAMS: dict[str, Stream] = declared_streams(environment())
"""Every declared stream by name."""

STINGAR = STREAMS["stingar"]
DNS = STREAMS["dns"]

__all__ = ["DNS", "STINGAR", "STREAMS", "Stream", "declared_streams"]
