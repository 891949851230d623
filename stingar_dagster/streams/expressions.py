"""Column expressions that streams share: times as text, addresses, links and hashes in text.

Every pattern runs in linear time (Rust's regex crate), also on text that attackers chose. Not
here: which columns a stream applies them to.
"""

from collections.abc import Callable
from typing import Final

import polars as pl

URL_PATTERN: Final = r"""(?i)\b(?:https?|ftps?|tftp)://[^\s'"<>|;`\\^{}()\[\]]+"""
"""A link as it stands in a command line: up to a blank, quote, bracket or shell separator."""

HASH_PATTERN: Final = (
    r"(?-u:\b)"
    r"(?:[0-9a-f]{128}|[0-9a-f]{96}|[0-9a-f]{64}|[0-9a-f]{56}|[0-9a-f]{40}|[0-9a-f]{32})"
    r"(?-u:\b)"
)
"""MD5, SHA-1 and the SHA-2 family in lower-case hexadecimal digits.

Word boundaries of ASCII: those of Unicode send the engine a slow way where a text is not ASCII.
"""


def iso_time(microseconds: pl.Expr) -> pl.Expr:
    """Epoch microseconds as UTC text with milliseconds and Z."""
    return pl.from_epoch(microseconds, time_unit="us").dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")


def of_distinct(column: str, expression: Callable[[pl.Expr], pl.Expr]) -> pl.Expr:
    """An expression of one column whose values repeat, worked out once for each of them.

    Args:
        column: its name.
        expression: depends on nothing but the value.
    """
    return expression(pl.col(column).first()).over(column)


def without_mapped_prefix(address: str) -> pl.Expr:
    """An IPv4 address that was written as an IPv4-mapped IPv6 one (RFC 4291, 2.5.5.2)."""
    return pl.col(address).str.replace(r"(?i)^::ffff:(\d{1,3}(?:\.\d{1,3}){3})$", "$1")


def without_bytes_repr(text: str) -> pl.Expr:
    """The text inside a Python bytes literal, such as `b'SSH-2.0-Go'`."""
    return pl.col(text).str.replace(r"""^b(?:'([^']*)'|"([^"]*)")$""", "$1$2")


def urls_in(*columns: str) -> pl.Expr:
    """The distinct links in text columns, in order of appearance; null where there is none."""
    text = pl.concat_str([pl.col(name) for name in columns], separator=" ", ignore_nulls=True)
    candidates = pl.when(text.str.contains("://", literal=True)).then(text)
    links = candidates.str.extract_all(URL_PATTERN).list.unique(maintain_order=True)
    return pl.when(links.list.len() > 0).then(links)


def hashes_in(*columns: str) -> pl.Expr:
    """The distinct file hashes in columns, lower-case; null where there is none."""
    text = pl.concat_str([pl.col(name) for name in columns], separator=" ", ignore_nulls=True)
    candidates = pl.when(text != "").then(text.str.to_lowercase())
    hashes = candidates.str.extract_all(HASH_PATTERN).list.unique(maintain_order=True)
    return pl.when(hashes.list.len() > 0).then(hashes)
