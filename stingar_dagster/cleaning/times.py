"""Time stamps in all the forms that senders write, to epoch microseconds.

The usual form is parsed as a column; the rest value by value with `parse_time`, which gives the
same for every text that both accept. Not here: which of a body's fields is its time, and what
stands in for a missing one (`clean`).
"""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import polars as pl

USUAL: Final = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-]\d{2}:?\d{2})?$"
"""ISO 8601 with a `T`; no zone means UTC. Texts of this form need no escaping in JSON."""

_FINER_THAN_MS: Final = r"\.\d{3}\d*[1-9]"
_ZONE: Final = r"(?:Z|[+-]\d{2}:?\d{2})$"
_YEARS: Final = (-62_135_596_800_000_000, 253_402_300_799_999_999)
"""Microseconds of the years 1 to 9999, what Python's datetime can hold."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ISO: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:[.,](\d{1,30}))? ?"
    r"(?:([Zz])|(?:UTC|GMT)|([+-])(\d{2}):?(\d{2})?)?",
    re.ASCII,
)
_NUMBER: Final = re.compile(r"(-?\d{1,20})(?:\.(\d{1,30}))?", re.ASCII)


def parse_column(texts: pl.Series) -> pl.Series:
    """Epoch microseconds (Int64) of time stamps as text; null where a text is no time stamp.

    Args:
        texts: String column of any length; nulls stay null.
    """
    text = pl.col("text")
    usual = pl.when(text.str.contains(USUAL)).then(
        pl.when(text.str.contains(_ZONE)).then(text).otherwise(text + "Z")
    )
    time = usual.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", strict=False)
    us = time.dt.epoch("us")
    frame = pl.DataFrame({"text": texts}).select(
        "text", pl.when(us.is_between(*_YEARS)).then(us).alias("us")
    )
    rest = frame.filter(pl.col("us").is_null() & text.is_not_null())["text"].unique()
    if not rest.len():
        return frame["us"]
    parsed = pl.Series([parse_time(value) for value in rest], dtype=pl.Int64)
    by_text = pl.DataFrame({"text": rest, "slow": parsed})
    joined = frame.join(by_text, on="text", how="left", maintain_order="left")
    return joined.select(pl.coalesce("us", "slow")).to_series().rename("us")


def is_exact(text: pl.Expr) -> pl.Expr:
    """Whether publishing a text's time in milliseconds keeps all it says."""
    return text.str.contains(USUAL) & ~text.str.contains(_FINER_THAN_MS)


@lru_cache(maxsize=65536)
def parse_time(text: str) -> int | None:
    """Epoch microseconds of one time stamp, None where it is none.

    ISO 8601 with `T` or a blank, any number of fraction digits (cut to microseconds), any offset,
    no zone meaning UTC; a leap second counts as the second before it. Or a number since the
    epoch, whose size tells seconds, milliseconds, microseconds and nanoseconds apart.
    """
    found = _ISO.fullmatch(text)
    if found is not None:
        return _iso_microseconds(found)
    number = _NUMBER.fullmatch(text)
    if number is not None:
        return _epoch_microseconds(number)
    return None


def _iso_microseconds(found: re.Match[str]) -> int | None:
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    offset = timedelta()
    if found[9]:
        hours, minutes = int(found[10]), int(found[11] or 0)
        if hours > 23 or minutes > 59:
            return None
        offset = timedelta(hours=hours, minutes=minutes) * (-1 if found[9] == "-" else 1)
    try:
        time = datetime(year, month, day, hour, minute, 59 if second == 60 else second, tzinfo=UTC)
        time -= offset
    except (ValueError, OverflowError):
        return None
    fraction = int((found[7] or "0").ljust(6, "0")[:6])
    return (time - _EPOCH) // timedelta(microseconds=1) + fraction


def _epoch_microseconds(number: re.Match[str]) -> int | None:
    whole = int(number[1])
    digits = (number[2] or "").ljust(6, "0")[:6]
    size = abs(whole)
    if size < 10**11:  # seconds, up to the year 5138
        microseconds = int(digits)
        return whole * 10**6 + (-microseconds if number[1].startswith("-") else microseconds)
    if size < 10**14:
        return whole * 10**3 + int(digits[:3])
    if size < 10**17:
        return whole
    return whole // 10**3 if size < 2**63 else None
