"""The stream `dns`: what clients asked resolvers, as zeek, BIND and dnstap log it.

Names are published as they were sent, and beside them as they are compared, with the domain that
somebody registered. A number and a name of a type say the same: the name is published, and the
number only where the name does not stand for it. Not here: the text formats (`formats`) and the
daily tables (`dns_tables`).
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import polars as pl

from stingar_dagster.streams.dns_exposures import EXPOSURES
from stingar_dagster.streams.dns_numbers import CLASSES, CLASSES_OF_ZEEK, RCODES, TYPES
from stingar_dagster.streams.dns_tables import TABLES
from stingar_dagster.streams.formats import BindQueryLog, ZeekTsv
from stingar_dagster.streams.names import LIST_VERSION, compared, of_each, registered_domain
from stingar_dagster.streams.stream import Column, Compression, Field, FieldKind, Stream

TEXT, INTEGER, PORT, REAL = FieldKind.TEXT, FieldKind.INTEGER, FieldKind.PORT, FieldKind.REAL
BOOLEAN, LIST, REALS, FREE = FieldKind.BOOLEAN, FieldKind.LIST, FieldKind.REALS, FieldKind.FREE

HUBS: Final = ("dns", "dns-*", "*-dns")
"""Event Hubs that carry the stream where no setting says otherwise."""

_BEFORE_RTT: Final = (
    "ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "trans_id",
)  # fmt: skip
_AFTER_RTT: Final = (
    "query", "qclass", "qclass_name", "qtype", "qtype_name", "rcode", "rcode_name",
    "AA", "TC", "RD", "RA", "Z", "answers", "TTLs", "rejected",
)  # fmt: skip
KNOWN_COLUMNS: Final = (
    (*_BEFORE_RTT, "rtt", *_AFTER_RTT),
    (*_BEFORE_RTT, *_AFTER_RTT),
)
"""Of zeek's dns.log since 2.5, and before it without the round-trip time. Zeek 8.1 added columns:
its files say so in their header, and lines without one need the setting."""

COLUMN_TYPES: Final = {
    "ts": "time", "uid": "string", "id.orig_h": "addr", "id.orig_p": "port",
    "id.resp_h": "addr", "id.resp_p": "port", "proto": "enum", "trans_id": "count",
    "rtt": "interval", "query": "string", "qclass": "count", "qclass_name": "string",
    "qtype": "count", "qtype_name": "string", "rcode": "count", "rcode_name": "string",
    "AA": "bool", "TC": "bool", "RD": "bool", "RA": "bool", "Z": "count",
    "answers": "vector[string]", "TTLs": "vector[interval]", "rejected": "bool",
    "opcode": "count", "opcode_name": "string", "original_query": "string",
}  # fmt: skip
"""Types of zeek's columns, for where no header tells them."""

REQUIRED: Final = ("ts", "id.orig_h", "query")
"""Without these columns a log is not that of DNS."""

_FIELDS = (
    Field("client_ip", TEXT, "Address that asked", aliases=("id.orig_h", "q_addr")),
    Field("client_port", PORT, "Port that it asked from", aliases=("id.orig_p", "q_port")),
    Field("resolver_ip", TEXT, "Address that was asked", aliases=("id.resp_h", "r_addr")),
    Field("resolver_port", PORT, "Port that was asked", aliases=("id.resp_p", "r_port")),
    Field("transport", TEXT, "udp or tcp, lower-case", aliases=("proto", "s_proto")),
    Field("query", TEXT, "Name that was asked for, as it was sent", aliases=("q_name",)),
    Field("qtype", INTEGER, "Number of the type asked for"),
    Field(
        "qtype_name", TEXT, "Type asked for, by name", aliases=("q_type",), published=False
    ),
    Field("qclass", INTEGER, "Number of the class asked for"),
    Field(
        "qclass_name", TEXT, "Class asked for, by name", aliases=("q_class",), published=False
    ),
    Field("rcode", INTEGER, "Number of the answer's code"),
    Field("rcode_name", TEXT, "Answer's code, by name", aliases=("r_code",), published=False),
    Field("answers", LIST, "What was answered: addresses, names, texts"),
    Field("ttls", REALS, "How long each answer may be kept, in seconds", aliases=("TTLs",)),
    Field("rtt", REAL, "Time from question to answer, in seconds", published=False),
    Field("rejected", BOOLEAN, "Whether the server refused the question"),
    Field("sensor", TEXT, "What logged it, where that is told", aliases=("identity",),
          inside=("hostname", "name")),
    Field("uid", TEXT, "Zeek's name of the connection, the same in its other logs"),
    Field("trans_id", INTEGER, "Number by which client and resolver match answers"),
    Field("AA", BOOLEAN, "Whether the answer is its domain's own server's"),
    Field("TC", BOOLEAN, "Whether the message was cut"),
    Field("RD", BOOLEAN, "Whether the client wanted the resolver to ask on"),
    Field("RA", BOOLEAN, "Whether the resolver does ask on"),
    Field("Z", INTEGER, "Reserved bits of the message"),
    Field("opcode", INTEGER, "Number of the operation"),
    Field("opcode_name", TEXT, "Operation, by name"),
    Field("view", TEXT, "BIND's view that answered"),
    Field("query_flags", TEXT, "BIND's flags: + recursion, E EDNS, T TCP, D DNSSEC, C, K, V"),
    Field("client_object", TEXT, "BIND's number of the client, as it stands in its other logs"),
    Field("client_subnet", TEXT, "Network for which the client asked (EDNS client subnet)"),
    Field("tsig_key", TEXT, "Key that the question was signed with"),
    Field("log_category", TEXT, "BIND's category of the line"),
    Field("log_severity", TEXT, "BIND's severity of the line"),
    Field("named_pid", INTEGER, "Process that logged it, by syslog"),
    Field("syslog_time", TEXT, "Time that syslog put before the line, which may lack its year"),
    Field("message", TEXT, "dnstap's kind of message, such as CLIENT_QUERY"),
    Field("socket_family", TEXT, "INET or INET6", aliases=("s_family",)),
    *(
        Field(name, FREE, "Metadata that a shipper added")
        for name in ("@version", "@metadata", "host", "agent", "ecs", "input", "log", "event")
    ),
)  # fmt: skip

_DERIVED = (
    Column("query_name", pl.String(), "The name as names are compared: lower-case, xn--, no dot"),
    Column(
        "registered_domain",
        pl.String(),
        "The part of the name that somebody registered, by the public suffix list",
    ),
    Column("qtype", pl.String(), "Type asked for, by name: A, AAAA, TXT, TYPE65534"),
    Column("qclass", pl.String(), "Class asked for, by name: IN, CH"),
    Column("rcode", pl.String(), "Answer's code, by name: NOERROR, NXDOMAIN; absent: no answer"),
    Column("rtt_ms", pl.Float64(), "Time from question to answer, in milliseconds"),
    Column("qtype_number", pl.Int64(), "Sent number that the name of the type does not stand for"),
    Column("qclass_number", pl.Int64(), "The same of the class"),
    Column("rcode_number", pl.Int64(), "The same of the answer's code"),
)


def _by_name(name: str, numbers: dict[str, int], generic: str) -> tuple[pl.Expr, pl.Expr]:
    """A code by its name, and its number where the name does not stand for it.

    Args:
        name: of the column; the name as sent is in `..._name`.
        numbers: by name, the preferred name of a number first.
        generic: what stands before the number of one without a name (RFC 3597, 5).
    """
    names: dict[int, str] = {}
    for text, number in numbers.items():
        names.setdefault(number, text)
    sent = pl.col(name)
    unnamed = pl.concat_str(pl.lit(generic), sent.cast(pl.String))
    by_number = sent.replace_strict(names, default=unnamed, return_dtype=pl.String())
    named = pl.coalesce(f"{name}_name", by_number)
    meant = named.replace_strict(
        numbers,
        default=named.str.extract(_generic_name(generic)).cast(pl.Int64),
        return_dtype=pl.Int64(),
    )
    return named.alias(name), pl.when(sent.ne_missing(meant)).then(sent).alias(f"{name}_number")


def _generic_name(begin: str) -> str:
    return rf"^{begin}([0-9]{{1,5}})$"


_STEPS = (
    (
        pl.col("transport").str.to_lowercase(),
        pl.col("qclass_name").replace(CLASSES_OF_ZEEK),
        (pl.col("rtt") * 1000).round_sig_figs(15).alias("rtt_ms"),
        of_each("query", compared).alias("query_name"),
    ),
    (
        *_by_name("qtype", TYPES, "TYPE"),
        *_by_name("qclass", CLASSES, "CLASS"),
        *_by_name("rcode", RCODES, "RCODE"),
        of_each("query_name", registered_domain).alias("registered_domain"),
    ),
)


SLICE_MINUTES: Final = 5
"""Length of published slices where no setting says otherwise."""


def dns_stream(
    columns: Sequence[str] = (), hubs: Sequence[str] = HUBS, slice_minutes: int = SLICE_MINUTES
) -> Stream:
    """The stream as it is declared.

    Args:
        columns: of zeek's lines that come without a header; none: `KNOWN_COLUMNS`.
        hubs: patterns of the Event Hubs that carry it.
        slice_minutes: length of published slices; divides 60.

    Raises:
        ValueError: the columns are none of a DNS log, or slices of this length don't make an hour.
    """
    known = (tuple(columns),) if columns else KNOWN_COLUMNS
    # What results depend on besides the code.
    told = blake2b("\0".join(columns).encode(), digest_size=4).hexdigest() if columns else ""
    return Stream(
        name="dns",
        title="DNS queries",
        hubs=tuple(hubs),
        time_fields=("ts", "dt_query", "dt_reply", "time", "@timestamp", "timestamp"),
        fields=_FIELDS,
        formats=(BindQueryLog(), ZeekTsv(COLUMN_TYPES, known, REQUIRED)),
        unwrap=("dnstap",),
        derived=_DERIVED,
        steps=_STEPS,
        # At the rate of a large network a minute's captures are tens of megabytes.
        slot_minutes=1,
        slice_minutes=slice_minutes,
        compression=Compression.GZIP,
        source="client_ip",
        shown=("@timestamp", "client_ip", "resolver_ip", "query", "qtype", "rcode", "answers"),
        tables=TABLES,
        joined=(EXPOSURES,),
        code_version="-".join(filter(None, ("1", LIST_VERSION, told))),
    )
