"""The exact way from a body to rows: slow, lossless, and the twin that the gate is held against.

Takes any bytes. A body may hold one object, a list of objects, `{"records": [...]}` as Azure
diagnostics send it, or an object a line. What is not declared, or does not fit its declared type,
is kept as the very JSON text that was sent. Not here: the fast way (`gate`), column work (`clean`).
"""

import json
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

import msgspec

from stingar_dagster.cleaning.reasons import Reason
from stingar_dagster.streams.formats import ORIGINAL_BODY
from stingar_dagster.streams.stream import Field, FieldKind, Stream

MAX_DEPTH: Final = 100
"""Deeper nesting is refused: readers' JSON functions recurse."""

ENVELOPE: Final = "records"
"""The one key of a body that holds a list of events, as Azure diagnostics send it."""

_LONGEST_KEY: Final = 40
"""Of a key so many characters are quoted."""

BOM: Final = b"\xef\xbb\xbf"
_INT64: Final = range(-(2**63), 2**63)
_PORTS: Final = range(65536)
_DIGITS: Final = re.compile(r"0|-?[1-9][0-9]{0,18}")
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?", re.ASCII)
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?", re.ASCII)
_MOST_DIGITS: Final = 17
"""Programs write a float with so many digits at most."""
_SURE_DIGITS: Final = 15
"""Every integer of so many digits is a float."""
_BOOLEANS: Final = {"true": True, "T": True, "false": False, "F": False}
# Possessive, and a string without an end counts as one: anything else is quadratic on such text.
_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_ESCAPE: Final = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_decode_any = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a body, or one event of it, is no event."""

    reason: Reason
    detail: str
    body: bytes


@dataclass(slots=True)
class ExactRow:
    """One event of a body.

    Attributes:
        values: declared fields by name, of the type that the field's kind says.
        times: texts of the time fields that are present.
        odd_times: time fields whose value was not sent as a string; `extra` keeps them already.
        extra: JSON texts by key, as sent.
    """

    values: dict[str, Any] = field(default_factory=dict)
    times: dict[str, str] = field(default_factory=dict)
    odd_times: set[str] = field(default_factory=set)
    extra: dict[str, str] = field(default_factory=dict)


class ExactDecoder:
    """Decodes the bodies of one stream.

    Args:
        stream: whose fields are looked for.
        max_body_bytes: a larger body is refused.
    """

    def __init__(self, stream: Stream, max_body_bytes: int) -> None:
        self._max_body_bytes = max_body_bytes
        self._fields = {item.name: item for item in stream.fields}
        self._aliases = {alias: item for item in stream.fields for alias in item.aliases}
        self._times = frozenset(stream.time_fields)
        self._unwrap = frozenset(stream.unwrap)

    def decode(self, body: bytes | None) -> list[tuple[int, ExactRow | Refusal]]:
        """The events of a body, each with its position in it; -1 where the body is one event.

        Never raises, and never gives an empty list.
        """
        refused = self._refused_unread(body)
        if refused is not None:
            return [(-1, refused)]
        assert body is not None
        text = body.removeprefix(BOM).strip(b" \t\r\n")
        readable = replace_lone_surrogates(text)
        pieces = list(_pieces(readable))
        if len(pieces) == 1 and pieces[0][0] < 0:
            return [(-1, self._event(pieces[0][1], body, body if readable != text else None))]
        events: list[tuple[int, ExactRow | Refusal]] = []
        end = 0
        for sub, piece in pieces:
            shown = piece.body if isinstance(piece, Refusal) else piece
            # Replacing keeps lengths, so a piece as it was sent stands where the readable one does.
            start = readable.index(shown, end)
            end = start + len(shown)
            sent = text[start:end]
            events.append((sub, self._event(piece, sent, sent if sent != shown else None)))
        return events

    def _refused_unread(self, body: bytes | None) -> Refusal | None:
        if body is None:
            return Refusal(Reason.NULL_BODY, "", b"")
        if len(body) > self._max_body_bytes:
            return Refusal(Reason.TOO_LARGE, f"{len(body):,} bytes", body)
        try:
            body.decode("utf-8")
        except UnicodeDecodeError as error:
            return Refusal(Reason.NOT_UTF8, f"at byte {error.start}", body)
        if not body.removeprefix(BOM).strip(b" \t\r\n"):
            return Refusal(Reason.EMPTY_BODY, f"{len(body):,} bytes of blanks", body)
        if depth_exceeds(body, MAX_DEPTH):
            return Refusal(Reason.TOO_DEEP, f"more than {MAX_DEPTH} levels", body)
        return None

    def _event(
        self, piece: bytes | Refusal, sent: bytes, original: bytes | None
    ) -> ExactRow | Refusal:
        """One event; `sent` is kept if it is refused, `original` in `extra` if it is not."""
        if isinstance(piece, Refusal):
            return Refusal(piece.reason, piece.detail, sent)
        duplicate = _duplicate_key(piece)
        if duplicate is not None:
            return Refusal(Reason.DUPLICATE_KEY, f"the key {_short(duplicate)}", sent)
        row = ExactRow()
        members = _decode_object(piece)
        self._take(row, {key: bytes(raw).decode() for key, raw in members.items()})
        if original is not None:
            row.extra[ORIGINAL_BODY] = _json_text(original.decode())
        return row

    def _take(self, row: ExactRow, members: Mapping[str, str]) -> None:
        """Sort an object's members into fields, times and extra."""
        wrapped: list[tuple[str, str]] = []
        present = {key for key, text in members.items() if not is_missing(text)}
        for key, text in members.items():
            if key in self._times:
                _take_time(row, key, text)
            elif key in self._fields:
                self._take_field(row, self._fields[key], key, text)
            elif key in self._unwrap and text.startswith("{"):
                wrapped.append((key, text))
            elif key not in self._aliases:
                row.extra[key] = text
        for key, text in members.items():
            if key in self._aliases:
                name = self._aliases[key].name
                if name in present or name in row.values:
                    row.extra[key] = text
                else:
                    self._take_field(row, self._aliases[key], key, text)
        for key, text in wrapped:
            self._take_wrapped(row, present, key, text)

    def _take_wrapped(self, row: ExactRow, present: Set[str], key: str, text: str) -> None:
        """Members of an object that counts as the body's own; what does not fit stays in it."""
        rest: dict[str, str] = {}
        if _duplicate_key(text.encode()) is not None:
            row.extra[key] = text
            return
        members = _decode_object(text)
        for name, raw in members.items():
            value = bytes(raw).decode()
            item = self._fields.get(name)
            taken_before = name in present or name in row.values
            if item is None or taken_before or item.kind is FieldKind.FREE:
                rest[name] = value
            else:
                taken, kept = _convert(item, value)
                if taken is not None:
                    row.values[name] = taken
                if kept:
                    rest[name] = value
        if rest or not members:
            row.extra[key] = json_object(rest)

    def _take_field(self, row: ExactRow, item: Field, key: str, text: str) -> None:
        value, kept = _convert(item, text)
        if value is not None:
            row.values[item.name] = value
        if kept:
            row.extra[key] = text


def json_object(members: Mapping[str, str]) -> str:
    """A JSON object from JSON texts."""
    return "{" + ",".join(f"{_json_text(key)}:{text}" for key, text in members.items()) + "}"


def depth_exceeds(body: bytes, limit: int) -> bool:
    """Whether objects and lists are nested deeper than `limit`."""
    if body.count(b"{") + body.count(b"[") <= limit:
        return False
    depth = 0
    for character in re.findall(rb"[\[\]{}]", _STRING.sub(b"", body)):
        depth += 1 if character in b"[{" else -1
        if depth > limit:
            return True
    return False


def replace_lone_surrogates(body: bytes) -> bytes:
    r"""The body with escapes that stand for no character (`\ud800`) replaced by `\ufffd`.

    Python's json module writes such escapes for bytes that were not UTF-8; strict decoders
    refuse them.
    """
    if b"\\ud" not in body and b"\\uD" not in body:
        return body
    lone: list[int] = []
    high = -1  # where an unanswered high surrogate stands
    for found in _ESCAPE.finditer(body):
        code = int(found[1], 16) if found[1] else 0
        if high >= 0 and found.start() != high + 6:
            lone.append(high)
            high = -1
        if 0xD800 <= code < 0xDC00:
            if high >= 0:
                lone.append(high)
            high = found.start()
        elif 0xDC00 <= code < 0xE000:
            if high < 0:
                lone.append(found.start())
            high = -1
        elif high >= 0:
            lone.append(high)
            high = -1
    if high >= 0:
        lone.append(high)
    changed = bytearray(body)
    for start in lone:
        changed[start : start + 6] = b"\\ufffd"
    return bytes(changed)


def _pieces(body: bytes) -> Iterator[tuple[int, bytes | Refusal]]:
    """The objects in a body, each with its position; -1 where the body is one object."""
    if body.startswith(b"["):
        yield from _list_pieces(body, body)
        return
    try:
        members = _decode_object(body)
    except msgspec.DecodeError:
        error = _json_error(body)
        if error is None:
            yield -1, Refusal(Reason.NOT_AN_OBJECT, "", body)
        else:
            yield from _line_pieces(body, error)
        return
    envelope = list(members) == [ENVELOPE] and bytes(members[ENVELOPE]).startswith(b"[")
    if envelope and _duplicate_key(body) is None:
        yield from _list_pieces(bytes(members[ENVELOPE]), body)
    else:
        yield -1, body


def _list_pieces(text: bytes, body: bytes) -> Iterator[tuple[int, bytes | Refusal]]:
    try:
        items = [bytes(item) for item in _decode_list(text)]
    except msgspec.DecodeError as error:
        yield from _line_pieces(body, str(error))
        return
    if not items:
        yield -1, Refusal(Reason.NO_EVENTS, "", body)
    for position, item in enumerate(items):
        yield position, item if item.startswith(b"{") else Refusal(Reason.NOT_AN_OBJECT, "", item)


def _line_pieces(body: bytes, error: str) -> Iterator[tuple[int, bytes | Refusal]]:
    """An object a line; the whole body is refused where no line is an object."""
    lines = [line.strip(b" \t\r") for line in body.split(b"\n")]
    pieces = [_line(line) for line in lines if line]
    if len(pieces) < 2 or all(isinstance(piece, Refusal) for piece in pieces):
        yield -1, Refusal(Reason.NOT_JSON, error, body)
        return
    yield from enumerate(pieces)


def _line(line: bytes) -> bytes | Refusal:
    # Looked at by itself: to the body as a whole, a quote too many in one line hides the next.
    if depth_exceeds(line, MAX_DEPTH):
        return Refusal(Reason.TOO_DEEP, f"more than {MAX_DEPTH} levels", line)
    try:
        _decode_object(line)
    except msgspec.DecodeError:
        error = _json_error(line)
        if error is None:
            return Refusal(Reason.NOT_AN_OBJECT, "", line)
        return Refusal(Reason.NOT_JSON, error, line)
    return line


def _json_error(text: bytes) -> str | None:
    """Why a text is not JSON; None where it is."""
    try:
        _decode_raw(text)
    except msgspec.DecodeError as error:
        return str(error)
    return None


def _duplicate_key(text: bytes) -> str | None:
    """A key that the object has twice at its top level."""
    last: list[tuple[str, object]] = []

    def remember(pairs: list[tuple[str, object]]) -> None:
        nonlocal last
        last = pairs

    # Numbers stay text: Python refuses integers of more than 4,300 digits.
    json.loads(text, object_pairs_hook=remember, parse_int=str, parse_float=str)
    seen: set[str] = set()
    for key, _ in last:
        if key in seen:
            return key
        seen.add(key)
    return None


def _short(key: str) -> str:
    """A key as a reason may quote it: senders choose its length and characters."""
    return ascii(key if len(key) <= _LONGEST_KEY else key[: _LONGEST_KEY - 3] + "...")


def _take_time(row: ExactRow, key: str, text: str) -> None:
    value = _value(text)
    if isinstance(value, dict) and list(value) == ["$date"]:  # MongoDB's extended JSON
        value = value["$date"]
    if is_missing(text):
        return
    if isinstance(value, str) and value:
        row.times[key] = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        row.times[key] = str(value) if isinstance(value, int) else text
    if not text.startswith('"') or not isinstance(value, str):
        row.odd_times.add(key)
        row.extra[key] = text


_UNREADABLE: Final = object()


def is_missing(text: str) -> bool:
    """Whether a JSON text says nothing: null, an empty string or an empty list."""
    return text in ("null", '""') or (text.startswith("[") and not text[1:-1].strip())


def _value(text: str) -> Any:
    try:
        return _decode_any(text)
    except msgspec.DecodeError:  # a number out of every range
        return _UNREADABLE


def _convert(item: Field, text: str) -> tuple[Any, bool]:
    """A value of the field's kind, None where it has none; and whether `extra` keeps the text."""
    if is_missing(text):
        return None, False
    if item.kind is FieldKind.FREE:
        return None, True
    value = _value(text)
    match item.kind:
        case FieldKind.TEXT:
            return _convert_text(item, value, text)
        case FieldKind.INTEGER | FieldKind.PORT:
            return _convert_integer(_PORTS if item.kind is FieldKind.PORT else _INT64, value)
        case FieldKind.REAL:
            return _convert_real(value, text)
        case FieldKind.BOOLEAN:
            if isinstance(value, str):
                value = _BOOLEANS.get(value)
            return (value, False) if isinstance(value, bool) else (None, True)
        case FieldKind.LIST:
            return _convert_list(value)
        case FieldKind.REALS:
            return _convert_reals(text)
        case FieldKind.PAIR:
            fits = isinstance(value, list) and len(value) == 2 and _all_strings(value)
            return (value, False) if fits else (None, True)


def _convert_text(item: Field, value: Any, text: str) -> tuple[str | None, bool]:
    if isinstance(value, str):
        return value, False
    if isinstance(value, bool | int | float):
        return text, True
    if isinstance(value, dict):
        for member in item.inside:
            if isinstance(value.get(member), str) and value[member]:
                return value[member], True
    return None, True


def _convert_integer(allowed: range, value: Any) -> tuple[int | None, bool]:
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value in allowed:
        return value, False
    return None, True


def _convert_real(value: Any, text: str) -> tuple[float | None, bool]:
    if isinstance(value, str):
        return real(value) if _DECIMAL.fullmatch(value) else (None, True)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return real(text)
    return None, True


def real(number: str) -> tuple[float | None, bool]:
    """The float nearest to a number's text, None where it is out of range; and whether the text
    says more than the float: it has more digits than one can stand for."""
    value = float(number)
    if not isfinite(value):
        return None, True
    mantissa = number.lstrip("-").lower().partition("e")[0]
    digits = mantissa.replace(".", "").lstrip("0")
    if "." not in number:
        digits = digits.rstrip("0")
    if not digits.strip("0"):
        return value, False
    if len(digits) > _MOST_DIGITS or not value:
        return value, True
    is_large = len(digits) > _SURE_DIGITS and number.lstrip("-").isdigit()
    return value, is_large and value != int(number)


def _convert_reals(text: str) -> tuple[list[float] | None, bool]:
    try:
        sent = _decode_list(text) if text.startswith("[") else [_decode_raw(text)]
    except msgspec.DecodeError:
        return None, True
    numbers = [bytes(item).decode() for item in sent]
    if not all(_NUMBER.fullmatch(number) for number in numbers):
        return None, True
    read = [real(number) for number in numbers]
    values = [value for value, _ in read if value is not None]
    if len(values) < len(read):
        return None, True
    return values, any(says_more for _, says_more in read)


def _convert_list(value: Any) -> tuple[list[str] | str | None, bool]:
    if isinstance(value, str) or (isinstance(value, list) and _all_strings(value)):
        return value, False
    if isinstance(value, list) and all(isinstance(v, str | int | float) for v in value):
        return [v if isinstance(v, str) else json.dumps(v) for v in value], True
    return None, True


def _all_strings(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _json_text(text: str) -> str:
    return msgspec.json.encode(text).decode()
