"""The daily tables of the stream `dns`.

Clients and names are many, and whoever asks chooses them: an hour and a day keep the busiest, the
rest is added up in a row without a name (`DailyTable.most`). Distinct values are counted by the
least of their digests: exactly as long as they are few, then within a few per cent. Not here: what
an event's fields are (`dns`).
"""

import math
from collections import Counter
from typing import Final

import polars as pl

from stingar_dagster.streams.digests import (
    COUNTED_EXACTLY,
    count_of,
    least_digests,
    least_together,
)
from stingar_dagster.streams.expressions import iso_time
from stingar_dagster.streams.names import of_each_number
from stingar_dagster.streams.tables import DailyTable, Picture, TableColumn

MOST: Final = 5_000
"""Rows of a table that tells much of each."""
MOST_NAMES: Final = 200_000
"""Rows of a table that tells little of each: registered domains of a large network in a day."""

_HOUR_US: Final = 3_600_000_000
_FAILED: Final = pl.col("rcode").is_not_null() & (pl.col("rcode") != "NOERROR")
_QUERIES: Final = pl.len().cast(pl.Int64).alias("queries")
_ABOUT: Final = f"exact up to {COUNTED_EXACTLY}, then within a tenth"

_FIRST_LAST = (pl.col("time_us").min().alias("first_us"), pl.col("time_us").max().alias("last_us"))
_FIRST_LAST_COMBINED = (pl.col("first_us").min(), pl.col("last_us").max())
_SEEN = (
    iso_time(pl.col("first_us").min()).alias("first_seen"),
    iso_time(pl.col("last_us").max()).alias("last_seen"),
)


def _text(name: str, meaning: str) -> TableColumn:
    return TableColumn(name, pl.String(), meaning)


def _count(name: str, meaning: str) -> TableColumn:
    return TableColumn(name, pl.Int64(), meaning)


def _sum(*names: str) -> tuple[pl.Expr, ...]:
    return tuple(pl.col(name).sum() for name in names)


def _times(condition: pl.Expr, name: str) -> pl.Expr:
    return condition.sum().cast(pl.Int64).alias(name)


_SEEN_COLUMNS = (
    _text("first_seen", "First query of the day (UTC)"),
    _text("last_seen", "Last query of the day (UTC)"),
)
_FAILED_COLUMN = _count("failed", "Queries answered by an error, such as NXDOMAIN")


def _subdomain_length(name: str) -> int:
    return max(map(len, name.split(".")))


def _entropy(name: str) -> int:
    """Shannon's, of the longest label, in thousandths of bits for each character."""
    label = max(name.split("."), key=len)[:255]
    shares = [count / len(label) for count in Counter(label).values()]
    return round(-1000 * sum(share * math.log2(share) for share in shares)) if label else 0


_LONG_LABEL: Final = 40
"""Characters from which on a label is one that people and hosts seldom have."""

TABLES: Final = (
    DailyTable(
        name="daily_summary",
        picture=Picture("queries by sensor", ("sensor",), "events"),
        meaning="The day at a glance: one row for each sensor. A row without one holds what names "
        "none, and another what could not become an event.",
        keys=(pl.col("sensor"),),
        partial=(
            pl.len().cast(pl.Int64).alias("events"),
            least_digests("client_ip", "clients"),
            least_digests("registered_domain", "domains"),
            _times(_FAILED, "failed"),
            _times(pl.col("enqueued_us") - pl.col("time_us") > _HOUR_US, "late"),
        ),
        combined=(*_sum("events", "failed", "late"), *map(least_together, ("clients", "domains"))),
        merged=(
            pl.col("events").sum(),
            count_of("clients").alias("unique_clients"),
            count_of("domains").alias("unique_domains"),
            *_sum("failed", "late"),
            pl.lit(0).alias("quarantined"),
        ),
        columns=(
            _text("sensor", "What logged the queries"),
            _count("events", "Queries"),
            _count("unique_clients", f"Distinct clients, {_ABOUT}"),
            _count("unique_domains", f"Distinct registered domains, {_ABOUT}"),
            _FAILED_COLUMN,
            _count("late", "Queries that arrived more than an hour after they were logged"),
            _count("quarantined", "What arrived this day and could not become an event"),
        ),
        descending=("events",),
        quarantine_column="quarantined",
        most=MOST,
        in_any_order=True,
    ),
    DailyTable(
        name="daily_domains",
        picture=Picture("top domains", ("registered_domain",), "queries"),
        meaning="One row for each registered domain: who asks for it, and with what success.",
        keys=(pl.col("registered_domain"),),
        where=pl.col("registered_domain").is_not_null(),
        partial=(
            _QUERIES,
            least_digests("client_ip", "clients"),
            least_digests("query_name", "names"),
            _times(_FAILED, "failed"),
            *_FIRST_LAST,
        ),
        combined=(
            *_sum("queries", "failed"),
            *map(least_together, ("clients", "names")),
            *_FIRST_LAST_COMBINED,
        ),
        merged=(
            pl.col("queries").sum(),
            count_of("clients").alias("unique_clients"),
            count_of("names").alias("unique_names"),
            pl.col("failed").sum(),
            *_SEEN,
        ),
        columns=(
            _text("registered_domain", "Domain; absent: all beyond the busiest together"),
            _count("queries", "Queries for names in it"),
            _count("unique_clients", f"Distinct clients, {_ABOUT}"),
            _count("unique_names", f"Distinct names asked for, {_ABOUT}"),
            _FAILED_COLUMN,
            *_SEEN_COLUMNS,
        ),
        descending=("queries",),
        most=MOST,
        in_any_order=True,
    ),
    DailyTable(
        name="daily_clients",
        picture=Picture("busiest clients", ("client_ip",), "queries"),
        meaning="One row for each client: how much it asks, and for what.",
        keys=(pl.col("client_ip"),),
        where=pl.col("client_ip").is_not_null(),
        partial=(
            _QUERIES,
            least_digests("registered_domain", "domains"),
            least_digests("query_name", "names"),
            _times(_FAILED, "failed"),
            *_FIRST_LAST,
        ),
        combined=(
            *_sum("queries", "failed"),
            *map(least_together, ("domains", "names")),
            *_FIRST_LAST_COMBINED,
        ),
        merged=(
            pl.col("queries").sum(),
            count_of("domains").alias("unique_domains"),
            count_of("names").alias("unique_names"),
            pl.col("failed").sum(),
            *_SEEN,
        ),
        columns=(
            _text("client_ip", "Client; absent: all beyond the busiest together"),
            _count("queries", "Queries"),
            _count("unique_domains", f"Distinct registered domains, {_ABOUT}"),
            _count("unique_names", f"Distinct names, {_ABOUT}"),
            _FAILED_COLUMN,
            *_SEEN_COLUMNS,
        ),
        descending=("queries",),
        most=MOST,
        in_any_order=True,
    ),
    DailyTable(
        name="daily_types",
        picture=Picture("types and answers", ("qtype", "rcode"), "queries"),
        meaning="One row for each type that was asked for, and code that was answered.",
        keys=(pl.col("qtype"), pl.col("rcode")),
        partial=(_QUERIES, least_digests("client_ip", "clients")),
        combined=(*_sum("queries"), least_together("clients")),
        merged=(pl.col("queries").sum(), count_of("clients").alias("unique_clients")),
        columns=(
            _text("qtype", "Type, by name; absent where the log names none"),
            _text("rcode", "Answer's code, by name; absent where there was no answer"),
            _count("queries", "Queries"),
            _count("unique_clients", f"Distinct clients, {_ABOUT}"),
        ),
        descending=("queries",),
        most=MOST,
        in_any_order=True,
    ),
    DailyTable(
        name="daily_failures",
        picture=Picture("clients with most failures", ("client_ip", "rcode"), "queries"),
        meaning="One row for each client and error that it was answered: who looks for what is "
        "not there.",
        keys=(pl.col("client_ip"), pl.col("rcode")),
        where=_FAILED & pl.col("client_ip").is_not_null(),
        partial=(
            _QUERIES,
            least_digests("query_name", "names"),
            pl.col("query_name").min().alias("example"),
            *_FIRST_LAST,
        ),
        combined=(
            *_sum("queries"),
            least_together("names"),
            pl.col("example").min(),
            *_FIRST_LAST_COMBINED,
        ),
        merged=(
            pl.col("queries").sum(),
            count_of("names").alias("unique_names"),
            pl.col("example").min(),
            *_SEEN,
        ),
        columns=(
            _text("client_ip", "Client; absent: all beyond the busiest together"),
            _text("rcode", "Answer's code, by name"),
            _count("queries", "Queries that failed so"),
            _count("unique_names", f"Distinct names, {_ABOUT}"),
            _text("example", "The first of these names by the alphabet"),
            *_SEEN_COLUMNS,
        ),
        descending=("queries",),
        most=MOST,
        in_any_order=True,
    ),
    DailyTable(
        name="daily_names",
        meaning="One row for each registered domain that anybody asked for: what the report "
        "compares with the days before, to tell names never seen.",
        keys=(pl.col("registered_domain"),),
        where=pl.col("registered_domain").is_not_null(),
        partial=(_QUERIES, pl.col("client_ip").min().alias("client_ip"), *_FIRST_LAST),
        combined=(*_sum("queries"), pl.col("client_ip").min(), *_FIRST_LAST_COMBINED),
        merged=(pl.col("queries").sum(), pl.col("client_ip").min(), *_SEEN),
        columns=(
            _text("registered_domain", "Domain; absent: all beyond the busiest together"),
            _count("queries", "Queries for names in it"),
            _text("client_ip", "One of those who asked"),
            *_SEEN_COLUMNS,
        ),
        descending=("queries",),
        most=MOST_NAMES,
        in_any_order=True,
    ),
    DailyTable(
        name="daily_tunnels",
        picture=Picture("signs of tunnels", ("client_ip", "registered_domain"), "queries"),
        meaning="One row for each client and registered domain with signs of data in names: many "
        "distinct names, long labels, letters as good as random. Signs, not proof: mail filters "
        "and content networks look so, too.",
        keys=(pl.col("client_ip"), pl.col("registered_domain")),
        where=pl.col("registered_domain").is_not_null()
        & pl.col("client_ip").is_not_null()
        & (of_each_number("query_name", _subdomain_length) >= _LONG_LABEL),
        partial=(
            _QUERIES,
            least_digests("query_name", "names"),
            of_each_number("query_name", _subdomain_length).max().alias("longest_label"),
            of_each_number("query_name", _entropy).sum().alias("entropy"),
            pl.col("query_name").str.len_bytes().sum().cast(pl.Int64).alias("name_bytes"),
            _times(pl.col("qtype").is_in(["TXT", "NULL", "CNAME", "MX"]), "carrying_types"),
            pl.col("query_name").min().alias("example"),
            *_FIRST_LAST,
        ),
        combined=(
            *_sum("queries", "entropy", "name_bytes", "carrying_types"),
            least_together("names"),
            pl.col("longest_label").max(),
            pl.col("example").min(),
            *_FIRST_LAST_COMBINED,
        ),
        merged=(
            pl.col("queries").sum(),
            count_of("names").alias("unique_names"),
            pl.col("longest_label").max(),
            (pl.col("entropy").sum() / pl.col("queries").sum() / 1000)
            .round(3)
            .alias("mean_entropy"),
            *_sum("name_bytes", "carrying_types"),
            pl.col("example").min(),
            *_SEEN,
        ),
        columns=(
            _text("client_ip", "Client; absent: all beyond the busiest together"),
            _text("registered_domain", "Domain whose names were asked for"),
            _count("queries", f"Queries for names with a label of {_LONG_LABEL} letters or more"),
            _count("unique_names", f"Distinct names among them, {_ABOUT}"),
            _count("longest_label", "Characters of the longest label"),
            TableColumn(
                "mean_entropy",
                pl.Float64(),
                "Entropy of the longest labels in bits for each character, on the average: words "
                "have about 3, random letters and digits about 4 and more",
            ),
            _count("name_bytes", "Bytes of all these names: what can have been carried"),
            _count("carrying_types", "Queries for TXT, NULL, CNAME or MX, which carry most"),
            _text("example", "The first of these names by the alphabet"),
            *_SEEN_COLUMNS,
        ),
        descending=("queries",),
        most=MOST,
        in_any_order=True,
    ),
    DailyTable(
        name="daily_hourly",
        meaning="One row for each hour of the day: when was it busy?",
        keys=((pl.col("time_us") // _HOUR_US % 24).alias("hour"),),
        partial=(_QUERIES, _times(_FAILED, "failed")),
        combined=_sum("queries", "failed"),
        in_any_order=True,
        merged=_sum("queries", "failed"),
        columns=(
            _count("hour", "Hour of the day that queries were logged in (UTC), 0 to 23"),
            _count("queries", "Queries"),
            _FAILED_COLUMN,
        ),
    ),
)
