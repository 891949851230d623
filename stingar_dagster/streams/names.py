"""Domain names: as they are compared, and the part of them that somebody registered.

The public suffix list is the snapshot that the pinned package brings; nothing is fetched. Its
version is part of a stream's code version, since another list gives other results. Not here:
which columns hold names.
"""

from collections.abc import Callable
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Final

import idna
import polars as pl
from publicsuffixlist import PublicSuffixList

LIST_VERSION: Final = version("publicsuffixlist")
"""Of the package, which ends with the date of its list."""

LONGEST_NAME: Final = 255
"""Of a name on the wire (RFC 1035, 2.3.4): a longer text is none, and not looked into."""

_LABELS: Final = 6
"""The longest suffixes have four labels; what stands before one more decides nothing."""
_CACHED: Final = 1 << 16


def of_each(column: str, function: Callable[[str], str | None]) -> pl.Expr:
    """A text of each value of a String column, worked out once for each distinct one.

    Args:
        column: its name.
        function: depends on nothing but the value.
    """
    return _of_each(column, function, pl.String())


def of_each_number(column: str, function: Callable[[str], int]) -> pl.Expr:
    """The same for an integer (Int64)."""
    return _of_each(column, function, pl.Int64())


def _of_each(
    column: str, function: Callable[[str], str | int | None], dtype: pl.DataType
) -> pl.Expr:
    def of_all(texts: pl.Series) -> pl.Series:
        distinct = texts.drop_nulls().unique()
        if not len(distinct):
            return pl.Series(texts.name, [None], dtype=dtype).new_from_index(0, len(texts))
        found = pl.Series([function(text) for text in distinct], dtype=dtype)
        return texts.replace_strict(distinct, found, default=None, return_dtype=dtype)

    return pl.col(column).map_batches(of_all, return_dtype=dtype, is_elementwise=True)


def compared(name: str) -> str:
    """A name as names are compared (RFC 4343): lower case, without the dot at its end.

    A label that is not ASCII becomes what stands for it in DNS (`xn--...`, UTS 46), where it has
    such a form. The root stays a dot.
    """
    text = name[:-1] if name.endswith(".") and len(name) > 1 else name
    if text.isascii() or len(text) > LONGEST_NAME:
        return text.lower()
    return ".".join(
        label if label.isascii() else _label(label) for label in text.lower().split(".")
    )


@lru_cache(maxsize=_CACHED)
def _label(label: str) -> str:
    try:
        return idna.encode(label, uts46=True).decode()
    except idna.IDNAError:
        return label


def registered_domain(name: str) -> str | None:
    """The public suffix of a name and the label before it, such as example.co.uk.

    Args:
        name: as it is compared.

    Returns:
        None where there is no such part: a suffix itself, a name of one label, no name at all.
    """
    if len(name) > LONGEST_NAME:
        return None
    return _registered(".".join(name.split(".")[-_LABELS:]))


@lru_cache(maxsize=_CACHED)
def _registered(name: str) -> str | None:
    if name.startswith(".") or ".." in name:
        return None
    found: str | None = _list().privatesuffix(name)
    return found


@cache
def _list() -> PublicSuffixList:
    # Who runs a name's registry counts, not that a company lets customers share its domain.
    return PublicSuffixList(only_icann=True)
