"""Column expressions that streams share: times as text, addresses, links and hashes in text.

Every pattern runs in linear time (Rust's regex crate), also on text that attackers chose. Not
here: which columns a stream applies them to.
"""

from collections.abc import Callable, Collection
from typing import Any, Final

import msgspec
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


def microseconds(column: str) -> pl.Expr:
    """The reverse of `iso_time`: a column of such texts as epoch microseconds (Int64)."""
    moment = pl.col(column).str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us")
    return moment.dt.epoch("us")


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


LONGEST_NAME: Final = 100
LONGEST_EXAMPLE: Final = 80
MOST_MEMBERS: Final = 64
"""Of one event: bodies may hold thousands."""

_KINDS: Final = {
    b'"': "string", b"{": "object", b"[": "list", b"t": "boolean", b"f": "boolean", b"n": "null",
}  # fmt: skip
_MEMBER_PARTS: Final[dict[str, pl.DataType]] = {
    "field": pl.String(),
    "sent_as": pl.String(),
    "example": pl.String(),
    "times": pl.Int64(),
}
MEMBER: Final = pl.Struct(_MEMBER_PARTS)
"""A member of an object: the beginning of its name, its type in JSON, the beginning of its value as
sent, and how many it stands for."""

_decode_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def kind_of(value: bytes) -> str:
    """The JSON type of a value as sent, without blanks before it: string, object, list, boolean,
    null or number."""
    return _KINDS.get(value[:1], "number")


def unexpected_members(extra: str, expected: Collection[str]) -> pl.Expr:
    """The members of `extra` that are not `expected` there, a list of `MEMBER`.

    Of one object the first `MOST_MEMBERS`; how many more there were stands in one without a name.

    Args:
        extra: the column, which holds JSON objects as text.
        expected: names of fields that are always kept there, and so tell nothing.
    """
    usual = frozenset(expected)

    def of_each(texts: pl.Series) -> pl.Series:
        # A column of lists is made from a flat one many times faster.
        flat: dict[str, list[Any]] = {name: [] for name in ("row", *_MEMBER_PARTS)}
        rows, fields, kinds, examples, times = flat.values()
        for row, text in enumerate(texts):
            told = more = 0
            for name, raw in _decode_members(text).items():
                if name in usual:
                    continue
                if told == MOST_MEMBERS:
                    more += 1
                    continue
                told += 1
                value = bytes(raw).lstrip()
                rows.append(row)
                fields.append(name[:LONGEST_NAME])
                kinds.append(kind_of(value))
                beginning = value[: LONGEST_EXAMPLE * 4].decode(errors="ignore")
                examples.append(beginning[:LONGEST_EXAMPLE])
                times.append(1)
            if more:
                rows.append(row)
                fields.append(None)
                kinds.append(None)
                examples.append(None)
                times.append(more)
        members = pl.DataFrame(flat, schema={"row": pl.Int64(), **_MEMBER_PARTS})
        lists = members.group_by("row", maintain_order=True).agg(
            pl.struct(*_MEMBER_PARTS).alias("members")
        )
        every = pl.DataFrame({"row": pl.int_range(len(texts), eager=True)})
        return every.join(lists, on="row", how="left", maintain_order="left")["members"]

    return pl.col(extra).map_batches(of_each, return_dtype=pl.List(MEMBER), is_elementwise=True)
