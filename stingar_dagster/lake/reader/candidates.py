"""Which lines of a published hour can match, told from its bytes, before anything is parsed.

Published lines come from one encoder (`lake.lines`): no blank stands between a name and its value,
and of a text only quotes, backslashes, control characters and DEL may be written as escapes. So an
event with `sensor` `a"b` holds the bytes `"sensor":"a`, whatever the encoder does with the rest.
What is left may still not match: the condition decides that. Not here: the condition (`query`).
"""

import re
from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import takewhile
from typing import Final

from stingar_dagster.lake.reader.query import SOURCE, Network, Query, lies_in

_ESCAPED: Final = frozenset('"\\\x7f') | frozenset(map(chr, range(0x20)))

_NOT_PLAIN: Final = re.compile(f"[{re.escape(''.join(sorted(_ESCAPED)))}]")

_MAPPED_BEGINS: Final = ":0"
"""Every spelling of an IPv4-mapped address begins with one of these: its first group is 0."""

_PIECE: Final = 4 << 20
"""Bytes of an object of which a lower-case copy is made at once."""

_ALL_OF: Final = 0.5
"""Where more than this share of an hour's bytes may match, nothing is picked out of it."""


def candidates(data: bytes, query: Query) -> bytes:
    """The lines of an object among which all matches are, in order.

    Args:
        data: an object's bytes.
        query: what is looked for; its range and `where` do not count here.

    Returns:
        nothing where no line can match; the object itself where the query says nothing, or where
        most of it may match.
    """
    options = [_Sought(data, needles_of(column, values)) for column, values in query.values.items()]
    if query.source is not None:
        options.append(_of_source(data, query.source, query.source_column))
    text = _longest_plain(query.command or "").lower()
    if text:
        options.append(_Sought(data, [text], any_case=True))
    if not options:
        return data
    # The rarest of what must be there decides which lines are looked at.
    rarest = options[0] if len(options) == 1 else min(options, key=_Sought.count)
    return _lines(data, rarest.places())


def needles_of(column: str, values: Sequence[str | int]) -> list[bytes]:
    """For each value of a column, what stands in every line that has it."""
    name = f'"{column}":'
    needles = []
    for value in values:
        if isinstance(value, int):
            needles += [f"{name}{value},".encode(), f"{name}{value}}}".encode()]
            continue
        plain = "".join(takewhile(lambda character: character not in _ESCAPED, value))
        end = '"' if plain == value else ""
        needles.append(f'{name}"{plain}{end}'.encode())
    return needles


def lines_from(data: bytes, network: Network) -> bytes:
    """The lines of an object whose source lies in a network."""
    return _lines(data, _of_source(data, network, SOURCE).places())


class _Sought:
    """Texts of which one stands in every line that matches.

    Args:
        data: an object's bytes.
        needles: a few texts.
        known: where they stand, if that is known already.
        any_case: whether ASCII letters of the object may be upper case where the needles, which
            have none, are lower.
    """

    def __init__(
        self,
        data: bytes,
        needles: Sequence[bytes],
        known: list[int] | None = None,
        *,
        any_case: bool = False,
    ) -> None:
        self._data = data
        self._needles = needles
        self._known = known
        self._any_case = any_case

    def count(self) -> int:
        if self._known is not None:
            return len(self._known)
        return sum(piece.count(needle) for _, piece in self._pieces() for needle in self._needles)

    def places(self) -> Iterator[int]:
        """Where any of them stands, in order."""
        if self._known is not None:
            yield from self._known
            return
        for start, piece in self._pieces():
            for place in merge(*(_places(piece, needle) for needle in self._needles)):
                yield start + place

    def _pieces(self) -> Iterator[tuple[int, bytes]]:
        """The object in pieces of whole lines, with where each begins."""
        if not self._any_case:
            yield 0, self._data
            return
        start = 0
        while start < len(self._data):
            end = self._data.find(b"\n", start + _PIECE) + 1 or len(self._data)
            # Only ASCII letters change, which no part of another character is.
            yield start, self._data[start:end].lower()
            start = end


def _places(data: bytes, needle: bytes) -> Iterator[int]:
    place = data.find(needle)
    while place >= 0:
        yield place
        place = data.find(needle, place + 1)


def _of_source(data: bytes, network: Network, column: str) -> _Sought:
    """Where the addresses of a network stand as sources."""
    if network.version == 4 and network.prefixlen == network.max_prefixlen:
        mapped = [f'"{column}":"{first}'.encode() for first in _MAPPED_BEGINS]
        return _Sought(data, [*needles_of(column, [str(network.network_address)]), *mapped])
    # An IPv6 address has many spellings, a network many addresses: each that is there is asked.
    octets = str(network.network_address).split(".")[: network.prefixlen // 8]
    known = "".join(f"{octet}." for octet in octets) if network.version == 4 else ""
    begins = [f'"{column}":"{first}'.encode() for first in (known, *_MAPPED_BEGINS)]
    named = _Sought(data, begins if known else [f'"{column}":"'.encode()])
    source_at = re.compile(f'"{column}":"([^"\\\\]*)"'.encode())
    inside: dict[bytes, bool] = {}
    places: list[int] = []
    for match in filter(None, (source_at.match(data, place) for place in named.places())):
        written = match[1]
        if written not in inside:
            inside[written] = lies_in(written.decode(), network)
        if inside[written]:
            places.append(match.start())
    return _Sought(data, (), places)


def _longest_plain(text: str) -> bytes:
    """The longest part of a text that is written as it is."""
    parts = _NOT_PLAIN.split(text)
    return max((part.encode() for part in parts), key=len)


def _lines(data: bytes, places: Iterator[int]) -> bytes:
    """The lines that stand at some places, each once."""
    found: list[bytes] = []
    size = end = 0
    for place in places:
        if place < end:
            continue
        start = data.rfind(b"\n", 0, place) + 1
        end = data.find(b"\n", place) + 1 or len(data)
        found.append(data[start:end])
        size += end - start
        if size > len(data) * _ALL_OF:
            return data
    return b"".join(found)
