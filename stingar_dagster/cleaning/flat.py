"""Members of JSON bodies, found in whole columns of bytes at once.

Nearly every body is one object on one line. Here the places of its members are found by looking
at the bytes between strings: numpy does for a thousand bodies what a parser does for one. Strings
are read here; numbers, objects and lists come out as their text, for the caller to check, and
with that checked a body is known to be JSON. What does not fit is left to `exact`; nothing passes
on a guess. Not here: what members mean (`gate`).
"""

from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stingar_dagster.cleaning.words import MASKS, Keys, Slots, word

Int64s = NDArray[np.int64]
Bools = NDArray[np.bool_]

_CHUNK_BYTES: Final = 1 << 19
"""Bodies of about so many bytes are looked at together: their columns stay in the cache."""

_PAD: Final = 32
"""Bytes around a chunk: words of eight are read a little before and beyond what is looked at."""

_LONG_GAP: Final = 64
"""Bytes without a string between them that are looked at as columns."""


class Form(IntEnum):
    """How a value is written, and how much of that is known."""

    STRING = 0
    """A string; its span is without the quotes."""
    ESCAPED = 1
    """A string with a backslash in it, which may be wrong; its span is without the quotes."""
    MISSING = 2
    """`null` or `[]`."""
    BARE = 3
    """Text without a string in it, such as a number; it may be no JSON."""
    NESTED = 4
    """Text with strings in it, such as a list or an object; it may be no JSON."""


class Members(NamedTuple):
    """Members of bodies, in the order they stand: (M,) each.

    Attributes:
        row: the body, by position.
        field: the declared key, by position; `Keys.UNKNOWN` where it is none.
        form: a `Form`.
        start, end: the value's bytes in the buffer.
        key_start, key_end: (U,) of the members whose key is not declared, the key's bytes without
            quotes. A key with a backslash is never declared.
    """

    row: Int64s
    field: NDArray[np.uint8]
    form: NDArray[np.uint8]
    start: Int64s
    end: Int64s
    key_start: Int64s
    key_end: Int64s


class _Gap(IntEnum):
    """What stands between two strings of a body, or behind its last one."""

    OTHER = 0
    COLON = 1
    COMMA = 2
    MISSING = 3
    """A colon, a value that says nothing, and a comma or `}`."""
    END = 4
    """`}`."""


def _known_gaps() -> Iterator[tuple[bytes, _Gap]]:
    """Gaps of up to eight bytes that are frequent, as json modules write them."""
    for blank in (b"", b" "):
        yield b":" + blank, _Gap.COLON
        yield b"," + blank, _Gap.COMMA
        for missing in (b"null", b"[]"):
            yield b":" + blank + missing + b"," + blank, _Gap.MISSING
            yield b":" + blank + missing + b"}", _Gap.MISSING
    yield b"}", _Gap.END


_SINGLE: Final = np.zeros(256, dtype=np.uint8)
"""What a gap of one byte is, by that byte."""
_SINGLE[[ord(":"), ord(","), ord("}")]] = _Gap.COLON, _Gap.COMMA, _Gap.END

_STEP: Final = np.zeros(256, dtype=np.int32)
"""Objects and lists that a byte opens, less those that it closes."""
_STEP[list(b"[{")] = 1
_STEP[list(b"]}")] = -1

_LETTERS: Final = np.uint64(0x4040404040404040)
"""A bit that brackets and letters have, digits and punctuation do not."""

_GAPS: Final = list(dict(_known_gaps()).items())
_GAP_WORDS: Final = np.array([word(text) for text, _ in _GAPS], dtype=np.uint64)
_GAP_SLOTS: Final = Slots(_GAP_WORDS)
_WORD_IN_SLOT: Final = np.zeros(_GAP_SLOTS.size, dtype=np.uint64)
_WORD_IN_SLOT[_GAP_SLOTS.of(_GAP_WORDS)] = _GAP_WORDS
_KIND_IN_SLOT: Final = np.zeros(_GAP_SLOTS.size, dtype=np.uint8)
_KIND_IN_SLOT[_GAP_SLOTS.of(_GAP_WORDS)] = [kind for _, kind in _GAPS]


class _Strings(NamedTuple):
    """Strings of several bodies: (S,) each but the last.

    Attributes:
        opening, closing: where their quotes stand.
        until: where the next string opens, or the body ends.
        row: the body.
        last: (rows,) each body's last string.
    """

    opening: Int64s
    closing: Int64s
    until: Int64s
    row: Int64s
    last: Int64s


class _Gaps(NamedTuple):
    """What stands behind each string: (S,) each.

    Attributes:
        kind: a `_Gap`.
        first, final: its first and last byte, blanks at its end left out.
        depth: how many objects and lists are open behind it, the body not counted.
    """

    kind: NDArray[np.uint8]
    first: NDArray[np.uint8]
    final: NDArray[np.uint8]
    depth: NDArray[np.int32]


def find_members(buffer: bytes, start: Int64s, length: Int64s, keys: Keys) -> tuple[Members, Bools]:
    """The members of bodies, and which bodies they were found in.

    Such a body is one JSON object if every value whose form leaves that open is JSON. A key of it
    may stand twice.

    Args:
        buffer: holds the bodies, one behind another.
        start, length: of each body, at least 2 bytes.
        keys: the declared ones.
    """
    found = np.zeros(len(start), dtype=np.bool_)
    parts = [
        _find_in_chunk(buffer, start, length, first, last, keys, found)
        for first, last in _chunks(start, length)
    ]
    if not parts:
        return _no_members(), found
    return Members(*(np.concatenate(column) for column in zip(*parts, strict=True))), found


def _no_members() -> Members:
    places, small = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.uint8)
    return Members(places, small, small, places, places, places, places)


def _chunks(start: Int64s, length: Int64s) -> Iterator[tuple[int, int]]:
    ends = start + length
    first = 0
    while first < len(start):
        last = int(np.searchsorted(ends, start[first] + _CHUNK_BYTES))
        last = min(max(last, first + 1), len(start))
        yield first, last
        first = last


def _find_in_chunk(
    buffer: bytes, start: Int64s, length: Int64s, first: int, last: int, keys: Keys, found: Bools
) -> Members:
    low = int(start[first])
    high = int(start[last - 1] + length[last - 1])
    # A copy with room on both sides: words are read beyond the last string.
    padded = np.zeros(high - low + 2 * _PAD, dtype=np.uint8)
    padded[_PAD:-_PAD] = np.frombuffer(buffer, np.uint8, high - low, low)
    chunk = _Chunk(padded, start[first:last] - low + _PAD, length[first:last], keys)
    row, field, form, *spans = chunk.members()
    found[first:last] = chunk.fits
    return Members(row + first, field, form, *(span + (low - _PAD) for span in spans))


class _Chunk:
    """Bodies that are looked at together.

    Attributes:
        fits: in which of them members were found, once `members` was called.
    """

    def __init__(
        self, padded: NDArray[np.uint8], start: Int64s, length: Int64s, keys: Keys
    ) -> None:
        self._bytes = padded
        self._words = np.ndarray((len(padded) - 7,), "<u8", padded, strides=(1,))
        self._start = start
        self._end = start + length
        self._keys = keys
        self.fits = (padded[start] == ord("{")) & (padded[self._end - 1] == ord("}"))

    def members(self) -> Members:
        data = self._bytes
        quotes = np.flatnonzero(data == ord('"'))
        backslashes = np.flatnonzero(data == ord("\\"))
        has_escapes = bool(backslashes.size) and bool((self._count(backslashes) > 0).any())
        if has_escapes:
            quotes = self._unescaped(quotes, backslashes)
        # Control characters: blanks between members included, a parser's work.
        self.fits &= self._count(np.flatnonzero(data < 0x20)) == 0
        self._check_text(np.flatnonzero(data >= 0x80))

        before, after = np.searchsorted(quotes, self._start), np.searchsorted(quotes, self._end)
        count = after - before
        self.fits &= (count > 0) & (count % 2 == 0)
        if quotes.size:
            self.fits &= quotes.take(before, mode="clip") == self._start + 1
        while self.fits.any():
            strings = self._strings(quotes, before, after)
            gaps = self._gaps(strings)
            if self._is_closed(strings, gaps):
                return self._members(strings, gaps, backslashes if has_escapes else None)
        return _no_members()

    def _count(self, places: Int64s) -> Int64s:
        """How many of the places, ascending, are in each body."""
        return np.searchsorted(places, self._end) - np.searchsorted(places, self._start)

    def _unescaped(self, quotes: Int64s, backslashes: Int64s) -> Int64s:
        """The quotes without those that a backslash makes part of a string."""
        suspects = np.flatnonzero(self._bytes[quotes - 1] == ord("\\"))
        before = np.searchsorted(backslashes, quotes[suspects] - 1)
        # Of a run of backslashes, each second one is itself escaped.
        places = np.arange(len(backslashes))
        is_first = np.diff(backslashes, prepend=-2) != 1
        run_start = np.maximum.accumulate(np.where(is_first, places, 0))
        escaped = (before - run_start[before]) % 2 == 0
        kept = np.ones(len(quotes), dtype=np.bool_)
        kept[suspects[escaped]] = False
        return quotes.take(np.flatnonzero(kept))

    def _check_text(self, places: Int64s) -> None:
        """Bodies with characters beyond ASCII must be UTF-8."""
        if not places.size:
            return
        for index in np.flatnonzero(self._count(places)).tolist():
            try:
                self._bytes[self._start[index] : self._end[index]].tobytes().decode()
            except UnicodeDecodeError:
                self.fits[index] = False

    def _strings(self, quotes: Int64s, before: Int64s, after: Int64s) -> _Strings:
        """The strings of the bodies that fit so far."""
        rows = np.flatnonzero(self.fits)
        before, after = before[rows], after[rows]
        # Alternately the quotes that stand elsewhere, and those of a body.
        runs = np.empty(2 * len(rows) + 1, dtype=np.int64)
        runs[0] = before[0]
        runs[1::2] = after - before
        runs[2:-1:2] = before[1:] - after[:-1]
        runs[-1] = len(quotes) - after[-1]
        wanted = np.zeros(len(runs), dtype=np.bool_)
        wanted[1::2] = True
        kept = quotes.take(np.flatnonzero(np.repeat(wanted, runs)))  # quicker than by a mask
        opening, closing = kept[0::2], kept[1::2]
        count = (after - before) // 2
        last = np.cumsum(count) - 1
        until = np.empty_like(closing)
        until[:-1] = opening[1:]
        until[last] = self._end[rows]
        return _Strings(opening, closing, until, np.repeat(rows, count), last)

    def _gaps(self, strings: _Strings) -> _Gaps:
        """What stands behind each string."""
        data = self._bytes
        start = strings.closing + 1
        length = strings.until - start
        first = data.take(start)
        kind, step = _SINGLE.take(first), _STEP.take(first)
        final = first.copy()
        rest = np.flatnonzero(length != 1)
        start, length, end = start[rest], length[rest], strings.until[rest]
        words = self._words[start]
        words &= MASKS.take(length, mode="clip")
        slots = _GAP_SLOTS.of(words)
        known = (_WORD_IN_SLOT.take(slots) == words) & (length <= 8)
        kind[rest] = np.where(known, _KIND_IN_SLOT.take(slots), np.uint8(_Gap.OTHER))
        last_byte = data.take(end - 1)
        blank = np.flatnonzero(last_byte == ord(" "))
        last_byte[blank] = data[end[blank] - 2]
        final[rest] = last_byte
        step[rest] = 0
        for place in np.flatnonzero(length > _LONG_GAP).tolist():
            text = data[start[place] : end[place]].tobytes()
            opened, closed = (
                text.count(b"[") + text.count(b"{"),
                text.count(b"]") + text.count(b"}"),
            )
            step[rest[place]] = opened - closed
        short = np.flatnonzero(length <= _LONG_GAP)
        rest, start, length, words = rest[short], start[short], length[short], words[short]
        # Brackets are counted eight bytes at a time, where there may be some.
        at = 0
        while rest.size:
            some = np.flatnonzero(words & _LETTERS)
            step[rest[some]] += _STEP.take(words[some].view(np.uint8).reshape(-1, 8)).sum(axis=1)
            at += 8
            longer = np.flatnonzero(length > at)
            rest, start, length = rest[longer], start[longer], length[longer]
            words = self._words[start + at]
            words &= MASKS.take(length - at, mode="clip")
        step[strings.last] += 1  # the last bracket of each body is its own
        return _Gaps(kind, first, final, np.cumsum(step, dtype=np.int32))

    def _is_closed(self, strings: _Strings, gaps: _Gaps) -> bool:
        """Whether every body closes what it opens, and nothing else; if not, it does not fit."""
        left_open = np.flatnonzero(np.diff(gaps.depth[strings.last], prepend=np.int32(0)))
        if left_open.size:
            self.fits[strings.row[strings.last[left_open]]] = False
            return False
        below = np.flatnonzero(gaps.depth < 0)
        self.fits[strings.row[below]] = False
        return not below.size

    def _members(self, strings: _Strings, gaps: _Gaps, backslashes: Int64s | None) -> Members:
        """The members, of bodies that close what they open."""
        kind, depth, last = gaps.kind, gaps.depth, strings.last
        outside = depth == 0
        inside_before = np.empty(len(kind), dtype=np.bool_)
        inside_before[0] = False
        np.not_equal(depth[:-1], 0, out=inside_before[1:])
        is_colon = kind == _Gap.COLON
        is_value = np.empty(len(kind), dtype=np.bool_)
        is_value[0] = False
        np.logical_and(is_colon[:-1], ~inside_before[:-1], out=is_value[1:])
        is_value[last[:-1] + 1] = False

        # Where a member ends there is a comma and a key, or the body's end.
        ends = outside & ~is_colon
        wrong = ends & (gaps.final != ord(","))
        wrong[last] = gaps.final[last] != ord("}")
        wrong |= is_value & (kind != _Gap.COMMA) & (kind != _Gap.END)
        at_key = np.flatnonzero(~(is_value | inside_before))
        wrong_keys = gaps.first.take(at_key) != ord(":")
        for rows in (strings.row[np.flatnonzero(wrong)], strings.row[at_key[wrong_keys]]):
            self.fits[rows] = False

        key_start, key_end = strings.opening.take(at_key) + 1, strings.closing.take(at_key)
        field = self._keys.places(self._words, key_start, key_end - key_start)
        row = strings.row.take(at_key)
        fits = np.flatnonzero(self.fits[row])
        if len(fits) < len(row):
            row, field, at_key = row.take(fits), field.take(fits), at_key.take(fits)
            key_start, key_end = key_start.take(fits), key_end.take(fits)
        form, start, end = self._values(strings, gaps, at_key, inside_before, backslashes)
        unknown = np.flatnonzero(field == Keys.UNKNOWN)
        return Members(row, field, form, start, end, key_start.take(unknown), key_end.take(unknown))

    def _values(
        self,
        strings: _Strings,
        gaps: _Gaps,
        at_key: Int64s,
        inside_before: Bools,
        backslashes: Int64s | None,
    ) -> tuple[NDArray[np.uint8], Int64s, Int64s]:
        """Form, start and end of the value behind each key."""
        kind = gaps.kind.take(at_key)
        start = strings.opening.take(at_key + 1, mode="clip") + 1
        end = strings.closing.take(at_key + 1, mode="clip")
        form = np.full(len(at_key), Form.STRING, dtype=np.uint8)
        if backslashes is not None:
            has_escape = np.zeros(len(strings.opening) + 1, dtype=np.bool_)
            has_escape[np.searchsorted(strings.opening, backslashes)] = True
            form[has_escape.take(at_key + 2, mode="clip")] = Form.ESCAPED

        other = np.flatnonzero(kind != _Gap.COLON)
        nested = gaps.depth[at_key[other]] > 0
        form[other] = np.where(
            nested, Form.NESTED, np.where(kind[other] == _Gap.MISSING, Form.MISSING, Form.BARE)
        )
        begin, final = strings.closing[at_key[other]] + 2, at_key[other]
        if nested.any():
            outside = gaps.depth == 0
            opens = np.flatnonzero(~inside_before & ~outside)
            closes = np.flatnonzero(inside_before & outside)
            final[nested] = closes[np.searchsorted(opens, final[nested])]
        begin += self._bytes[begin] == ord(" ")
        until = strings.until[final] - 1
        until -= self._bytes[until] == ord(" ")
        start[other], end[other] = begin, until
        return form, start, np.maximum(end, start)
