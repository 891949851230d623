"""Words of eight bytes, and the keys that are recognised by them.

Not here: where in a body there are keys (`flat`).
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
Words = NDArray[np.uint64]

_LONGEST_KEY: Final = 24
"""Keys are compared as three words of eight bytes; a longer one counts as not declared."""

MASKS: Final = np.array([(1 << 8 * n) - 1 for n in range(9)], dtype=np.uint64)
"""Keep the first n bytes of a word."""


def word(text: bytes) -> int:
    """Up to eight bytes as a number, the first one lowest."""
    return int.from_bytes(text.ljust(8, b"\0"), "little")


class Slots:
    """A slot for each of some words, found by multiplying.

    Attributes:
        size: how many slots there are.
    """

    def __init__(self, words: Words) -> None:
        bits = max(8, (16 * len(words)).bit_length())
        self.size = 1 << bits
        self._shift = np.uint64(64 - bits)
        # A multiplier that gives each word a slot of its own; there are plenty.
        for seed in range(1_000_000):
            multiplier = (0x9E3779B97F4A7C15 + 2 * seed * 0xBF58476D1CE4E5B9) % 2**64
            self._multiplier = np.uint64(multiplier)
            if len(np.unique(self.of(words))) == len(np.unique(words)):
                return
        raise ValueError(f"{len(words)} words are too many to tell apart")

    def of(self, words: Words) -> NDArray[np.int64]:
        """The slot of each word; that of a word which was not among them is anyone's."""
        slots = words * self._multiplier
        slots >>= self._shift
        return slots.view(np.int64)


class Keys:
    """Declared keys, recognised by their bytes.

    Args:
        names: at most 255.

    Raises:
        ValueError: there are more.

    Attributes:
        unrecognised: names that are too long, or can't be told from another by their length and
            first and last eight bytes.
    """

    UNKNOWN: Final = 255

    def __init__(self, names: Sequence[str]) -> None:
        if len(names) > self.UNKNOWN:
            raise ValueError(f"{len(names)} keys are more than {self.UNKNOWN}")
        known: dict[tuple[bytes, bytes, int], tuple[int, bytes]] = {}
        for place, name in enumerate(names):
            text = name.encode()
            if 0 < len(text) <= _LONGEST_KEY:
                known.setdefault((text[:8], text[-8:], len(text)), (place, text))
        places = [place for place, _ in known.values()]
        self.unrecognised = [name for place, name in enumerate(names) if place not in places]
        texts = [text for _, text in known.values()]
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        heads = np.array([word(text[:8]) for text in texts], dtype=np.uint64)
        ends = [word(text[-8:]) if len(text) > 8 else 0 for text in texts]
        mixed = _mixed(heads, lengths) ^ _turned(np.array(ends, dtype=np.uint64))
        self._slots = Slots(mixed)
        self._place = np.full(self._slots.size, self.UNKNOWN, dtype=np.uint8)
        self._place[self._slots.of(mixed)] = places
        self._mixed = np.zeros(256, dtype=np.uint64)
        self._mixed[places] = _mixed(heads, lengths)
        self._length = np.full(256, -1, dtype=np.int64)
        self._length[places] = lengths
        # Of a key of more than eight bytes the last eight, and of one of more than sixteen those
        # in the middle.
        self._tail, self._tail_mask = np.zeros((2, 256), dtype=np.uint64)
        self._middle = np.zeros(256, dtype=np.uint64)
        for place, text in zip(places, texts, strict=True):
            if len(text) > 8:
                self._tail[place], self._tail_mask[place] = word(text[-8:]), MASKS[8]
            if len(text) > 16:
                self._middle[place] = word(text[8:16])

    def places(self, words: Words, start: Int64s, length: Int64s) -> NDArray[np.uint8]:
        """The place of each key among the names, UNKNOWN where it is none of them.

        Args:
            words: the eight bytes from every position.
            start, length: of each key.
        """
        mixed = words[start]
        mixed &= MASKS.take(length, mode="clip")
        mixed = _mixed(mixed, length)
        tails = words[start + (length - 8)]
        tails[length <= 8] = 0
        places = self._place.take(self._slots.of(mixed ^ _turned(tails)))
        same = self._mixed.take(places) == mixed
        same &= self._length.take(places) == length
        tails ^= self._tail.take(places)
        tails &= self._tail_mask.take(places)
        same &= tails == 0
        long = np.flatnonzero(length > 16)
        if long.size:
            same[long] &= words[start[long] + 8] == self._middle[places[long]]
        if not same.all():
            places[~same] = self.UNKNOWN
        return places


def _turned(tails: Words) -> Words:
    # Names that differ in one letter at their ends only are the usual ones, so it goes elsewhere.
    turned: Words = (tails << np.uint64(29)) | (tails >> np.uint64(35))
    return turned


def _mixed(heads: Words, lengths: Int64s) -> Words:
    # Keys are of ASCII mostly, so the top bit of each byte is free.
    mixed: Words = heads ^ (lengths.view(np.uint64) << np.uint64(58))
    return mixed
