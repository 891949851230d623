"""Values of declared fields as columns of their kind; and which of them are not as declared.

Not here: where values come from (`gate`), and what becomes of those that don't fit (`exact`).
"""

from typing import Any, Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from stingar_dagster.cleaning.exact import MAX_DEPTH, depth_exceeds, real
from stingar_dagster.streams.stream import FieldKind

RAW_KINDS: Final = (FieldKind.LIST, FieldKind.REALS, FieldKind.PAIR, FieldKind.FREE)
NUMBER_KINDS: Final = (FieldKind.INTEGER, FieldKind.PORT)

Bools = NDArray[np.bool_]

_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_list = msgspec.json.Decoder(list[str] | str | None).decode
_decode_reals = msgspec.json.Decoder(list[float] | float | None).decode
_INTEGER: Final = r"^(?:0|-?[1-9][0-9]{0,17})$"
"""Integers of up to 18 digits, which 64 bits hold whatever they are."""
_REAL: Final = (
    r"^-?(?:[1-9][0-9]{0,14}|0|[1-9][0-9]{0,10}\.[0-9]{1,6}|[1-9]\.[0-9]{1,16}|0\.0*[0-9]{1,17})$"
)
"""Numbers that a float stands for: of 17 digits at most, integers of 15."""
_FEW_BYTES: Final = 15
"""Of a number that has 15 digits at most."""


def integers(texts: pl.Series) -> tuple[pl.Series, Bools]:
    """Integers (Int64) from their digits, null where a text is none; and where it is one."""
    fits = texts.str.contains(_INTEGER).to_numpy()
    return texts.cast(pl.Int64, strict=False), fits


def reals(texts: pl.Series) -> tuple[pl.Series, Bools]:
    """Numbers (Float64) from their texts; and where a float stands for all that the text says."""
    fits = texts.str.contains(_REAL).to_numpy()
    return texts.cast(pl.Float64, strict=False), fits


def booleans(texts: pl.Series, are_strings: Bools) -> tuple[pl.Series, Bools]:
    """Booleans from `true` and `false`, and where they are strings also from `T` and `F`; and
    where a text is one."""
    fits = texts.is_in(["true", "false"]).to_numpy()
    letters = texts.is_in(["T", "F"]).to_numpy() & are_strings
    return texts.is_in(["true", "T"]), fits | letters


def are_times(texts: pl.Series) -> Bools:
    """Which bare texts are numbers as times are sent, since the epoch."""
    return texts.str.contains(r"^(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,30})?$").to_numpy()


def are_ports(numbers: pl.Series) -> Bools:
    """Which numbers are ports; null is none."""
    return ((numbers >= 0) & (numbers <= 65535)).fill_null(False).to_numpy()


def fits_raw(kind: FieldKind, text: str) -> bool:
    """Whether a JSON text, or what may be one, is a value of a kind that is kept raw."""
    if not text or text[0] == " " or text[-1] == " ":
        return False
    try:
        if kind is FieldKind.FREE:
            _decode_raw(text)
            return not depth_exceeds(text.encode(), MAX_DEPTH - 1)
        if kind is FieldKind.REALS:
            return _are_reals(text)
        read = _decode_list(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    if kind is FieldKind.PAIR:
        return not read or (isinstance(read, list) and len(read) == 2)
    return True


def _are_reals(text: str) -> bool:
    _decode_reals(text)
    numbers = text.strip("[] ").split(",") if text != "null" else []
    return all(_is_short(number) or not real(number.strip())[1] for number in numbers if number)


def _is_short(number: str) -> bool:
    return len(number) <= _FEW_BYTES and "e" not in number and "E" not in number


def unescaped(text: str) -> str | None:
    """What the inside of a JSON string stands for; None where that is nothing."""
    try:
        return _decode_text(f'"{text}"')
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def raw_text(value: Any) -> str:
    """The JSON text of a decoded list."""
    return msgspec.json.encode(value).decode()
