"""Time stamps in all the forms that senders write, to epoch microseconds.

Texts of the form that most senders write are read digit by digit, all at once; other ISO 8601 by
polars, as a column; the rest value by value with `parse_time`, which gives the same for every text
that more than one of them accepts. Not here: which of a body's fields is its time, and what
stands in for a missing one (`clean`).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stingar_dagster.cleaning.spans import pick

USUAL: Final = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:[0-5]\d(?:\.\d{1,9})?(?:Z|[+-]\d{2}:?\d{2})?$"
"""ISO 8601 with a `T`; no zone means UTC. Texts of this form need no escaping in JSON."""

_FINER_THAN_MS: Final = r"\.\d{3}\d*[1-9]"
_ZONE: Final = r"(?:Z|[+-]\d{2}:?\d{2})$"
_YEARS: Final = (-62_135_596_800_000_000, 253_402_300_799_999_999)
"""Microseconds of the years 1 to 9999, what Python's datetime can hold."""
_MILLISECONDS: Final = "0000-00-00T00:00:00.000Z"
_DIGITS: Final = [place for place, c in enumerate(_MILLISECONDS) if c == "0"]
_SEPARATORS: Final = [(place, ord(c)) for place, c in enumerate(_MILLISECONDS) if c != "0"]
_SECONDS: Final = r"^[0-9]{1,10}(?:\.[0-9]{1,30})?$"
"""Since the epoch, until the year 2286: of any size it could not be told from milliseconds."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ISO: Final = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})[Tt ](\d{2}):(\d{2}):(\d{2})(?:[.,](\d{1,30}))? ?"
    r"(?:([Zz])|(?:UTC|GMT)|([+-])(\d{2}):?(\d{2})?)?",
    re.ASCII,
)
_NUMBER: Final = re.compile(r"(-?\d{1,20})(?:\.(\d{1,30}))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Times:
    """Time stamps of a column of texts.

    Attributes:
        us: epoch microseconds (Int64); null where a text is no time stamp.
        exact: whether publishing the time in milliseconds keeps all that the text says (Boolean).
    """

    us: pl.Series
    exact: pl.Series


def parse_column(texts: pl.Series) -> Times:
    """The times of a String column of any length; nulls stay null."""
    rows, microseconds = _in_milliseconds(texts)
    if len(rows) == len(texts):
        return Times(pl.Series(microseconds), pl.repeat(True, len(texts), eager=True))
    rest = texts.is_not_null().to_numpy().copy()
    rest[rows] = False
    others = np.flatnonzero(rest)
    us = np.zeros(len(texts), dtype=np.int64)
    known, exact = np.zeros((2, len(texts)), dtype=np.bool_)
    us[rows], known[rows], exact[rows] = microseconds, True, True
    if others.size:
        text = pick(texts, others)
        parsed = _parse(text)
        us[others], known[others] = parsed.fill_null(0), parsed.is_not_null()
        exact[others] = _are_exact(text)
    return Times(
        pl.select(pl.when(pl.lit(pl.Series(known))).then(pl.lit(pl.Series(us)))).to_series(),
        pl.Series(exact),
    )


def _in_milliseconds(texts: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which texts are of the form 2026-05-19T03:00:00.123Z, and their epoch microseconds."""
    of_length = texts.str.len_bytes() == len(_MILLISECONDS)
    rows = np.flatnonzero(of_length.fill_null(False).to_numpy())
    if not rows.size:
        return rows, rows
    joined = pick(texts, rows).str.join("").item().encode()
    table = np.frombuffer(joined, np.uint8).reshape(-1, len(_MILLISECONDS)).T
    digits = np.ascontiguousarray(table[_DIGITS]) - np.uint8(ord("0"))
    fits = (digits < 10).all(axis=0)
    for place, character in _SEPARATORS:
        fits &= table[place] == character
    number = digits.astype(np.int64)
    year = ((number[0] * 10 + number[1]) * 10 + number[2]) * 10 + number[3]
    month, day, hour, minute, second = (number[n] * 10 + number[n + 1] for n in range(4, 14, 2))
    millisecond = (number[14] * 10 + number[15]) * 10 + number[16]
    fits &= (year > 0) & (month > 0) & (month <= 12) & (day > 0)
    fits &= (hour < 24) & (minute < 60) & (second < 60)
    months = np.where(fits, (year - 1970) * 12 + month - 1, 0)
    first_day, next_first_day = _first_day(months), _first_day(months + 1)
    fits &= first_day + day <= next_first_day
    seconds = (first_day + day - 1) * 86400 + hour * 3600 + minute * 60 + second
    kept = np.flatnonzero(fits)
    return rows[kept], (seconds[kept] * 1000 + millisecond[kept]) * 1000


def _first_day(months: NDArray[np.int64]) -> NDArray[np.int64]:
    """Days from the epoch to the first of each month, counted from January 1970."""
    days: NDArray[np.int64] = months.astype("M8[M]").astype("M8[D]").astype(np.int64)
    return days


def _parse(texts: pl.Series) -> pl.Series:
    """Epoch microseconds of texts of any form."""
    text = pl.col("text")
    usual = pl.when(text.str.contains(USUAL)).then(
        pl.when(text.str.contains(_ZONE)).then(text).otherwise(text + "Z")
    )
    time = usual.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us", strict=False)
    us = time.dt.epoch("us")
    frame = pl.DataFrame({"text": texts}).select(
        "text", pl.when(us.is_between(*_YEARS)).then(us).alias("us")
    )
    rest = frame.filter(pl.col("us").is_null() & text.is_not_null())["text"]
    seconds = rest.filter(rest.str.contains(_SECONDS))
    if seconds.len():
        frame = frame.with_columns(pl.coalesce("us", _from_seconds(text)).alias("us"))
        rest = frame.filter(pl.col("us").is_null() & text.is_not_null())["text"]
    rest = rest.unique()
    if not rest.len():
        return frame["us"]
    parsed = pl.Series([parse_time(value) for value in rest], dtype=pl.Int64)
    by_text = pl.DataFrame({"text": rest, "slow": parsed})
    joined = frame.join(by_text, on="text", how="left", maintain_order="left")
    return joined.select(pl.coalesce("us", "slow")).to_series().rename("us")


def _from_seconds(text: pl.Expr) -> pl.Expr:
    """Epoch microseconds of seconds with any fraction, of which further digits are cut."""
    parts = pl.when(text.str.contains(_SECONDS)).then(text).str.splitn(".", 2)
    fraction = parts.struct.field("field_1").fill_null("").str.slice(0, 6).str.pad_end(6, "0")
    whole = parts.struct.field("field_0").cast(pl.Int64)
    return whole * 1_000_000 + fraction.cast(pl.Int64)


def _are_exact(texts: pl.Series) -> pl.Series:
    text = pl.col("text")
    usual = text.str.contains(USUAL) & ~text.str.contains(_FINER_THAN_MS)
    return pl.DataFrame({"text": texts}).select(usual.fill_null(False)).to_series()


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
