"""BIND's query log: a line for each query that named was asked.

    client @0x7f3c 192.0.2.1#5353 (example.org): query: example.org IN A +E(0)K (192.0.2.53)

with what BIND's `print-time`, `print-category` and `print-severity`, and syslog, put in front of
it. A query log holds no answers. BIND's own time has no zone and counts as UTC; a time of syslog
without a year is none, and is kept as text. Not here: what the fields mean (the stream's
declaration).
"""

import re
from collections.abc import Sequence
from typing import Final

import msgspec
import polars as pl

from stingar_dagster.streams.formats.format import ORIGINAL_BODY, Objects

_ISO: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"
_ADDRESS: Final = r"[0-9A-Fa-f:.]{2,45}"
# Each part ends at a blank, and what may come before `client` is bounded: never quadratic.
_LINE: Final = re.compile(
    rf"(?:(?:<\d{{1,3}}>)?(?P<syslog>{_ISO}|[A-Z][a-z]{{2}} [ \d]\d \d\d:\d\d:\d\d) "
    r"(?P<host>[^ ]{1,255}) named(?:\[(?P<pid>\d{1,10})\])?: )?"
    rf"(?:(?P<time>{_ISO}|\d\d-[A-Z][a-z]{{2}}-\d{{4}} \d\d:\d\d:\d\d(?:\.\d{{1,9}})?) )?"
    r"(?:(?P<category>queries): )?(?:(?P<severity>[a-z]{1,10}(?: \d{1,3})?): )?"
    rf"client (?:@(?P<object>0x[0-9a-f]{{1,16}}) )?(?P<ip>{_ADDRESS})#(?P<port>\d{{1,5}})"
    r"(?:/key (?P<key>[^ ]+))?(?: \((?P<about>[^ ]*)\))?: (?:view (?P<view>[^ ]+): )?"
    r"query: (?P<query>[^ ]+) (?P<qclass>[A-Z0-9]+) (?P<qtype>[A-Z0-9]+) "
    rf"(?P<flags>[+-][^ ]*)(?: \((?P<resolver>{_ADDRESS})\))?(?: \[ECS (?P<ecs>[^ \]]+)\])?",
    re.ASCII,
)
_NAMED: Final = {
    "pid": "named_pid",
    "category": "log_category",
    "severity": "log_severity",
    "object": "client_object",
    "ip": "client_ip",
    "key": "tsig_key",
    "view": "view",
    "query": "query",
    "qclass": "qclass_name",
    "qtype": "qtype_name",
    "flags": "query_flags",
    "resolver": "resolver_ip",
    "ecs": "client_subnet",
    "host": "sensor",
}
_MONTHS: Final = {
    "Jan": "01", "Feb": "02", "Mar": "03", "Apr": "04", "May": "05", "Jun": "06",
    "Jul": "07", "Aug": "08", "Sep": "09", "Oct": "10", "Nov": "11", "Dec": "12",
}  # fmt: skip
_encode: Final = msgspec.json.Encoder().encode


class BindQueryLog:
    """Lines of BIND's query log."""

    name: Final = "BIND query log"
    header_mark: Final = ""

    def claims(self, lines: pl.Series) -> pl.Series:
        return (
            lines.str.contains("client ", literal=True)
            & lines.str.contains(": query: ", literal=True)
            & ~lines.str.contains("\t", literal=True)
        )

    def objects(self, lines: pl.Series, header: Sequence[str]) -> Objects:
        read = [read_line(line) for line in lines]
        problem = "a query log line of a form that BIND does not write"
        unfit = {place: problem for place, found in enumerate(read) if found is None}
        return Objects(pl.Series(read, dtype=pl.String), unfit)


def read_line(line: str) -> str | None:
    """A line's object; None where it is none of BIND's."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    parts = found.groupdict()
    members: dict[str, object] = {
        name: parts[group] for group, name in _NAMED.items() if parts[group] is not None
    }
    flags = parts["flags"]
    members["client_port"] = int(parts["port"])
    members["transport"] = "tcp" if "T" in flags else "udp"
    members["RD"] = flags[0] == "+"
    time, syslog = parts["time"], parts["syslog"]
    if time is not None:
        members["time"] = _iso(time)
    if syslog is not None:
        members["syslog_time"] = syslog
        if time is None and syslog[0].isdigit():
            members["time"] = syslog
    if parts["about"] is not None and parts["about"] != parts["query"]:
        members[ORIGINAL_BODY] = line
    return _encode(members).decode()


def _iso(time: str) -> str:
    """BIND's own form of times, such as 22-Nov-2026 12:00:00.123, as ISO 8601."""
    if time[2] != "-":
        return time
    month = _MONTHS.get(time[3:6], "00")
    return f"{time[7:11]}-{month}-{time[:2]}T{time[12:]}"
