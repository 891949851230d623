"""Sessions, rebuilt from events that carry no session's identity.

A honeypot's session comes out as several events, in most honeypots all stamped when it closes
(docs/search.md says more). They share sensor, source, source port and destination port, and are
told from an earlier or later session of the same four by a gap in time. What is rebuilt of parts of
a time and joined again is the same as if it had been rebuilt at once. Not here: where events come
from (`search`).
"""

from datetime import timedelta
from typing import Final

import polars as pl

from stingar_dagster.streams.expressions import iso_time, microseconds
from stingar_dagster.streams.stingar import ENTERED, TRIES
from stingar_dagster.streams.stream import Column

GAP: Final = timedelta(minutes=10)
"""Longer than a connection is usually left idle where events are stamped as they happen; a source
seldom comes back from the same port so soon."""

_KEYS: Final = ("sensor", "src_ip", "src_port", "dest_port")
_FIRST: Final = ("app", "protocol", "username", "password", "ssh_version", "kex_hassh")
_CREDENTIAL: Final = pl.Struct({"username": pl.String(), "password": pl.String()})
_TEXTS: Final = pl.List(pl.String())

COLUMNS: Final = (
    Column("sensor", pl.String(), "Name of the honeypot's host"),
    Column("src_ip", pl.String(), "Source address"),
    Column("src_port", pl.Int64(), "Port it came from; absent or 0: not known, so that sessions "
           "of a source in the same minutes count as one"),
    Column("dest_port", pl.Int64(), "Port it went to"),
    Column("app", pl.String(), "Honeypot software"),
    Column("protocol", pl.String(), "Protocol of its first event that names one"),
    Column("start", pl.String(), "Stamp of its first event (UTC)"),
    Column("end", pl.String(), "Stamp of its last event (UTC); where the honeypot stamps events "
           "when a session closes, the same as start"),
    Column("events", pl.Int64(), "Events"),
    Column("login_attempts", pl.Int64(), "Logins tried, successful ones included"),
    Column("login_successes", pl.Int64(), "Logins that the honeypot let succeed"),
    Column("username", pl.String(), "User name of the login that succeeded"),
    Column("password", pl.String(), "Password of the login that succeeded"),
    Column("credentials", pl.List(_CREDENTIAL), "User names and passwords tried, in order"),
    Column("commands", _TEXTS, "Command lines entered, in order"),
    Column("urls", _TEXTS, "Links in its events, each once"),
    Column("hashes", _TEXTS, "File hashes in its events, each once"),
    Column("ssh_version", pl.String(), "Version banner of the SSH client"),
    Column("kex_hassh", pl.String(), "HASSH fingerprint of the SSH client"),
)  # fmt: skip
"""What a session has, with meanings."""

SCHEMA: Final = {column.name: column.dtype for column in COLUMNS}

NEEDED: Final = (
    *_KEYS, "@timestamp", "app", "protocol", "event_kind", "signature", "username", "password",
    "command", "urls", "hashes", "ssh_version", "kex_hassh",
)  # fmt: skip
"""The published columns that sessions are rebuilt from."""


def sessions(events: pl.LazyFrame, gap: timedelta = GAP) -> pl.LazyFrame:
    """The sessions that some events belong to, by start.

    Args:
        events: with the published columns in `NEEDED`; those that were stamped alike in the order
            in which they are published.
        gap: two events of the same sensor, source, source port and destination port that are
            further apart belong to different sessions.
    """
    return finished(joined(parts(events), gap))


def parts(events: pl.LazyFrame) -> pl.LazyFrame:
    """Each event as a session of its own, to be joined."""
    time_us = microseconds("@timestamp")
    succeeded = pl.col("event_kind") == "login_success"
    tried = TRIES & pl.any_horizontal(pl.col("username", "password").is_not_null())
    return events.select(
        *_KEYS,
        "app",
        "protocol",
        time_us.alias("first_us"),
        time_us.alias("last_us"),
        pl.lit(1, dtype=pl.Int64()).alias("events"),
        TRIES.fill_null(False).cast(pl.Int64()).alias("login_attempts"),
        succeeded.fill_null(False).cast(pl.Int64()).alias("login_successes"),
        pl.when(succeeded).then("username").alias("username"),
        pl.when(succeeded).then("password").alias("password"),
        _list_where(tried, pl.struct("username", "password")).alias("credentials"),
        _list_where(ENTERED & pl.col("command").is_not_null(), pl.col("command")).alias("commands"),
        "urls",
        "hashes",
        "ssh_version",
        "kex_hassh",
    )


def joined(parts: pl.LazyFrame, gap: timedelta = GAP) -> pl.LazyFrame:
    """Parts of sessions put together; a part may itself be put together from parts.

    Args:
        parts: in order of time, or of batches that follow each other in time.
        gap: as for `sessions`.
    """
    gap_us = gap // timedelta(microseconds=1)
    before = pl.col("last_us").cum_max().shift(1)
    opens = ((pl.col("first_us") - before).over(_KEYS) > gap_us).fill_null(True)
    ordered = parts.sort("first_us", maintain_order=True)
    numbered = ordered.with_columns(opens.alias("opens")).with_columns(
        pl.col("opens").cast(pl.UInt32()).cum_sum().over(_KEYS).alias("number")
    )
    items = {name: _items(name) for name in ("credentials", "commands", "urls", "hashes")}
    return numbered.group_by(*_KEYS, "number", maintain_order=True).agg(
        pl.col("first_us").min(),
        pl.col("last_us").max(),
        pl.col("events", "login_attempts", "login_successes").sum(),
        pl.col(_FIRST).drop_nulls().first(),
        items["credentials"],
        items["commands"],
        items["urls"].unique(maintain_order=True),
        items["hashes"].unique(maintain_order=True),
    ).drop("number")  # fmt: skip


def finished(joined: pl.LazyFrame) -> pl.LazyFrame:
    """Sessions as they are shown, by start."""
    return joined.sort("first_us", "last_us", *_KEYS, nulls_last=True).select(
        *_KEYS,
        "app",
        "protocol",
        iso_time(pl.col("first_us")).alias("start"),
        iso_time(pl.col("last_us")).alias("end"),
        *list(SCHEMA)[8:],
    )


def _items(name: str) -> pl.Expr:
    return pl.col(name).explode(empty_as_null=False, keep_nulls=False)


def _list_where(condition: pl.Expr, value: pl.Expr) -> pl.Expr:
    return pl.when(condition).then(pl.concat_list(value))
