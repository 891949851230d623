"""Sessions, rebuilt from events that carry no session's identity: the one rule, for all readers.

A honeypot's session comes out as several events, in most honeypots all stamped when it closes
(docs/search.md says more). They share sensor, source, source port and destination port, and are
told from an earlier or later session of the same four by a gap in time. Every event belongs to
exactly one session. Not here: how rows that a gap tells apart are grouped and merged (`tables`),
and sessions over a search's events (`lake.reader.sessions`).
"""

from datetime import timedelta
from typing import Final

import polars as pl

from stingar_dagster.streams.expressions import iso_time
from stingar_dagster.streams.stingar_kinds import ENTERED, KIND, TRIES
from stingar_dagster.streams.stingar_recount import RECOUNTS
from stingar_dagster.streams.tables import DailyTable, TableColumn

GAP: Final = timedelta(minutes=10)
"""Longer than a connection is usually left idle where events are stamped as they happen; a source
seldom comes back from the same port so soon."""

MOST_ITEMS: Final = 100
"""Of each list of a daily table's row,"""
MOST_BYTES: Final = 65_536
"""and so many bytes of text: a hostile session must not make a line that readers refuse (DuckDB's
limit is 16 MiB)."""

_KEYS: Final = ("sensor", "src_ip", "src_port", "dest_port")
_TEXTS: Final = pl.List(pl.String())
_PAIRS: Final = pl.List(_TEXTS)
_DAY_US: Final = 86_400_000_000
_GAP_US: Final = GAP // timedelta(microseconds=1)
_LISTS: Final = ("credentials", "commands", "urls", "hashes")


def _named(name: str) -> pl.Expr:
    """Of a session, the first value that some event of it has."""
    return pl.col(name).drop_nulls().first()


def _items(name: str) -> pl.Expr:
    return pl.col(name).list.explode(empty_as_null=False, keep_nulls=False)


_SUCCEEDED: Final = (KIND == "login_success").fill_null(False)
# Each column by its name: of a pattern of names all of an event's columns would be kept.
_TRIED: Final = TRIES & (pl.col("username").is_not_null() | pl.col("password").is_not_null())

_PARTIAL: Final = (
    pl.col("time_us").min().alias("first_us"),
    pl.col("time_us").max().alias("last_us"),
    pl.len().cast(pl.Int64).alias("events"),
    TRIES.sum().cast(pl.Int64).alias("login_attempts"),
    _SUCCEEDED.sum().cast(pl.Int64).alias("login_successes"),
    _named("app"),
    _named("protocol"),
    pl.when(_SUCCEEDED).then("username").drop_nulls().first().alias("username"),
    pl.when(_SUCCEEDED).then("password").drop_nulls().first().alias("password"),
    pl.concat_list("username", "password").filter(_TRIED).alias("credentials"),
    pl.col("command").filter(ENTERED & pl.col("command").is_not_null()).alias("commands"),
    _items("urls").unique(maintain_order=True),
    _items("hashes").unique(maintain_order=True),
    _named("ssh_version"),
    _named("kex_hassh"),
)
_MERGED: Final = (
    pl.col("first_us").min(),
    pl.col("last_us").max(),
    pl.col("events").sum(),
    pl.col("login_attempts").sum(),
    pl.col("login_successes").sum(),
    *(_named(name) for name in ("app", "protocol", "username", "password")),
    _items("credentials"),
    _items("commands"),
    _items("urls").unique(maintain_order=True),
    _items("hashes").unique(maintain_order=True),
    _named("ssh_version"),
    _named("kex_hassh"),
)
_TIMES: Final = (
    iso_time(pl.col("first_us")).alias("start"),
    iso_time(pl.col("last_us")).alias("end"),
)

_HEAD: Final = (
    TableColumn("sensor", pl.String(), "Name of the honeypot's host"),
    TableColumn("src_ip", pl.String(), "Source address"),
    TableColumn("src_port", pl.Int64(), "Port it came from; absent or 0: not known, so that "
                "sessions of a source in the same minutes count as one"),
    TableColumn("dest_port", pl.Int64(), "Port it went to"),
    TableColumn("app", pl.String(), "Honeypot software"),
    TableColumn("protocol", pl.String(), "Protocol of its first event that names one"),
    TableColumn("start", pl.String(), "Stamp of its first event (UTC)"),
    TableColumn("end", pl.String(), "Stamp of its last event (UTC); where the honeypot stamps "
                "events when a session closes, the same as start"),
)  # fmt: skip
_COUNTS: Final = (
    TableColumn("events", pl.Int64(), "Events"),
    TableColumn("login_attempts", pl.Int64(), "Logins tried, successful ones included"),
    TableColumn("login_successes", pl.Int64(), "Logins that the honeypot let succeed"),
    TableColumn("username", pl.String(), "User name of the login that succeeded"),
    TableColumn("password", pl.String(), "Password of the login that succeeded"),
)
_CLIENT: Final = (
    TableColumn("ssh_version", pl.String(), "Version banner of the SSH client"),
    TableColumn("kex_hassh", pl.String(), "HASSH fingerprint of the SSH client"),
)
_LISTED: Final = (
    TableColumn("credentials", _PAIRS, "User names and passwords tried, in order, as pairs"),
    TableColumn("commands", _TEXTS, "Command lines entered, in order"),
    TableColumn("urls", _TEXTS, "Links in its events, each once"),
    TableColumn("hashes", _TEXTS, "File hashes in its events, each once"),
)

SESSIONS: Final = DailyTable(
    name="sessions",
    meaning="One row for each session, with everything that it did.",
    keys=tuple(pl.col(name) for name in _KEYS),
    gap=GAP,
    partial=_PARTIAL,
    merged=_MERGED,
    finished=_TIMES,
    columns=(*_HEAD, *_COUNTS, *_LISTED, *_CLIENT),
)
"""Sessions over any range, nothing left out; published nowhere."""


def _kept(name: str) -> pl.Expr:
    """How many of a row's items are shown: the first ones, as long as both limits hold."""
    is_pair = name == "credentials"
    text = pl.element().list.join("", ignore_nulls=True) if is_pair else pl.element()
    size = text.str.len_bytes().cast(pl.Int64)

    def of_each(lists: pl.Series) -> pl.Series:
        kept = lists.list.len().cast(pl.Int64)
        most = int(kept.max() or 0)  # type: ignore[arg-type]
        if most <= MOST_ITEMS and most * _longest(lists) <= MOST_BYTES:
            return kept  # as on most days, and told with little work
        sizes = lists.list.eval(size)
        large = (kept > MOST_ITEMS) | (sizes.list.sum() > MOST_BYTES)
        if large.any():
            fits = sizes.filter(large).list.eval(pl.element().cum_sum() <= MOST_BYTES).list.sum()
            fewer = fits.cast(pl.Int64).clip(upper_bound=MOST_ITEMS)
            kept = kept.scatter(large.arg_true(), fewer)
        return kept

    return pl.col(name).map_batches(of_each, return_dtype=pl.Int64(), is_elementwise=True)


def _longest(lists: pl.Series) -> int:
    """At least the bytes of the longest item of lists of texts, or of pairs of texts."""
    texts = lists.explode()
    members = 1
    if isinstance(texts.dtype, pl.List):
        texts, members = texts.explode(), 2
    return members * int(texts.str.len_bytes().max() or 0)  # type: ignore[arg-type]


def _bounded(name: str) -> tuple[pl.Expr, pl.Expr]:
    """A list's items that are shown, absent where there is none; and how many are left out."""
    items, kept = pl.col(name), _kept(name)
    left_out = items.list.len().cast(pl.Int64) - kept
    return (
        pl.when(kept > 0).then(items.list.head(kept)).alias(name),
        pl.when(left_out > 0).then(left_out).alias(f"{name}_left_out"),
    )


_FROM_BEFORE: Final = pl.col("first_us") % _DAY_US <= _GAP_US
_GOES_ON: Final = pl.col("last_us") % _DAY_US >= _DAY_US - _GAP_US

DAILY_SESSIONS: Final = DailyTable(
    name="daily_sessions",
    recount=RECOUNTS["daily_sessions"],
    meaning="One row for each session of the day, rebuilt from its events: who came, what was "
    "tried and entered. Every event of the day counts in one row. A session that goes on over "
    "midnight is cut there, and has a row in either day.",
    keys=SESSIONS.keys,
    gap=GAP,
    partial=_PARTIAL,
    merged=_MERGED,
    finished=(
        *_TIMES,
        pl.when(_FROM_BEFORE & _GOES_ON)
        .then(pl.lit("both"))
        .when(_FROM_BEFORE)
        .then(pl.lit("start"))
        .when(_GOES_ON)
        .then(pl.lit("end"))
        .alias("may_be_cut"),
        *(column for name in _LISTS for column in _bounded(name)),
    ),
    columns=(
        *_HEAD,
        TableColumn(
            "may_be_cut",
            pl.String(),
            "start, end or both: so near to midnight (10 minutes) that it may have come from the "
            "day before, or go on in the next; absent: it is whole",
        ),
        *_COUNTS,
        *(
            column
            for listed in _LISTED
            for column in (
                TableColumn(
                    listed.name,
                    listed.dtype,
                    f"{listed.meaning}; the first {MOST_ITEMS}, and {MOST_BYTES // 1024} KiB",
                ),
                TableColumn(
                    f"{listed.name}_left_out",
                    pl.Int64(),
                    f"How many more {listed.name} there are; absent: none",
                ),
            )
        ),
        *_CLIENT,
    ),
)
"""A day's sessions. The partial aggregates hold whole lists, so that counts are exact."""
