"""Bodies and texts that attack: parsers, paths, terminals, spreadsheets, web pages.

Every text holds `CANARY`, so that a place it must not reach can be searched for it. Not here: what
must become of them (the tests).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from stingar_dagster.streams import STINGAR
from stingar_dagster.streams.stream import FieldKind
from stingar_dagster_tests.support import stamp

CANARY: Final = "canary7f3a"
CATCHER: Final = "http://192.0.2.66"
"""An address of documentation that a page must never ask for anything."""

TEXTS: Final[dict[str, str]] = {
    "parent folders": f"../../../../tmp/{CANARY}",
    "absolute path": f"/tmp/{CANARY}",
    "windows path": rf"..\..\{CANARY}",
    "encoded path": f"%2e%2e%2f{CANARY}%00",
    "partition folders": f"date=2026-11-03/hour=12/{CANARY}",
    "lake path": f"stingar/events/date=1999-01-01/hour=00/{CANARY}.json",
    "markdown": f"# {CANARY}\n* [a](javascript:window.{CANARY}=1) **b** `c`\n\n---\n|a|b|\n|-|-|",
    "markdown image": f"![x]({CATCHER}/{CANARY}.png) [x]: {CATCHER}/{CANARY}",
    "html": f"<b>{CANARY}</b><script>window.{CANARY}=1</script></textarea></title>",
    "html image": f"<img src=x id={CANARY} onerror=window.{CANARY}=1><svg onload={CANARY}=1>",
    "html frame": f"<iframe id={CANARY} src={CATCHER}/{CANARY}></iframe><base href={CATCHER}>",
    "script link": f"javascript:window.{CANARY}=1//",
    "html script link": f"<a id={CANARY} href='javascript:window.{CANARY}=1'>x</a>",
    "data link": f"data:text/html,<script>window.{CANARY}=1</script>",
    "remote link": f"{CATCHER}/{CANARY}.sh",
    "attribute": f"\" onmouseover=window.{CANARY}=1 x=' autofocus onfocus=window.{CANARY}=1 //",
    "template": f"{{{{{CANARY}}}}} ${{{CANARY}}} {{%{CANARY}%}} #{{{CANARY}}} %s {{0}}",
    "graphql": f'"}}) {{ __typename {CANARY} }} #',
    "sql": f"'; DROP TABLE {CANARY}; --",
    "shell": f"$(touch {CANARY})`touch {CANARY}`;|&",
    "csi": f"\x1b[2J\x1b[31m{CANARY}\x1b[6n",
    "osc title": f"\x1b]0;{CANARY}\x07\x1b]52;c;{CANARY}\x07",
    "osc 8 link": f"\x1b]8;;{CATCHER}/{CANARY}\x1b\\look\x1b]8;;\x1b\\",
    "c1": f"\x9b31m\x9d0;{CANARY}\x9c\x90{CANARY}\x9c\x85",
    "delete and backspace": f"{CANARY}\x7f\x08\x08\r\x0b\x0c",
    "rich markup": f"[red]{CANARY}[/red] [link={CATCHER}]x[/link] :bomb:",
    "right to left": f"\u202egnp.{CANARY}\u202c \u2067x\u2069 \u200f\u061c",
    "no width": f"{CANARY}\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\u3164\ufe0f\U000e0041",
    "line separators": f"{CANARY}\u2028x\u2029y\x85z\r\n\x0b\x1c\x1d\x1e",
    "nul": f"a\x00{CANARY}\x00",
    "noncharacters": f"{CANARY}\ufffe\uffff\U0001fffe\U0010ffff\ufdd0",
    "combining": CANARY + "\u0301" * 400,
    "wide": CANARY + "\ufdfd\U0001f468\u200d\U0001f469\u200d\U0001f467",
    "quotes": f'{CANARY}"\'`\\\\""\\',
    "json inside": f'{CANARY}","event_id":"x","extra":{{"a":null}},"b":null,"',
    "null member": f',"{CANARY}":null,"a":null',
    "formula": f'=HYPERLINK("{CATCHER}/{CANARY}","look")',
    "formula plus": f"+{CANARY}|cmd!A0",
    "formula minus": f"-1+1+cmd|' /C calc'!{CANARY}",
    "formula at": f"@SUM(1,{CANARY})",
    "formula tab": f"\t=1+{CANARY}",
    "formula return": f"\r=1+{CANARY}",
    "formula full width": f"\uff1d1+{CANARY}",
    "formula behind nothing": f"\u200b=1+{CANARY}",
    "formula behind a separator": f"x;=1+{CANARY};+2;-3;@4",
    "formula behind a quote": f'"=1+{CANARY}',
}
"""Texts by what they attack."""

NAMES_OF_OURS: Final = (
    "event_id", "enqueued_at", "extra", "time_source", "source", "sequence", "sub", "capture",
    "time_us", "enqueued_us", "part", "index", "record", "hour", "date", "own", "own 0", "chosen",
    "kept", "#", "0", "line", "event_kind", "urls", "hashes", "original_body", "f0", "length",
    "__class__", "__dict__", "__proto__", "__init__", "constructor", "__struct_fields__", "self",
    "", " ", ".", "..", "a.b.c", "a\nb", "a\r\n", 'a"b', "a\\", "a'b", "\x00", "\u202e", "$date",
    "{0}", "%s", "records2", "caf\u00e9", "\ufeff", "@", "@timestamp2", "null", "\U0010ffff",
)  # fmt: skip
"""Keys that may collide with columns, attributes or syntax."""


@dataclass(frozen=True)
class Case:
    """One body.

    Attributes:
        name: for messages.
        body: as it is captured.
        reason: why it is quarantined; None where it becomes events.
        events: how many events it holds.
    """

    name: str
    body: bytes
    reason: str | None = None
    events: int = 1


def cases(moment: datetime) -> list[Case]:
    """Every case whose body has less than a megabyte; events are logged at `moment`."""
    return [*_texts(moment), *_objects(moment), *_encodings(moment), *_refused()]


def with_text(moment: datetime, text: str) -> dict[str, Any]:
    """An event that has a text wherever one may stand."""
    row: dict[str, Any] = {"@timestamp": stamp(moment)}
    for field in STINGAR.fields:
        match field.kind:
            case FieldKind.LIST:
                row[field.name] = [text, "b"]
            case FieldKind.PAIR:
                row[field.name] = [text, text]
            case FieldKind.FREE:
                row[field.name] = {text: [text], "name": text}
            case _:
                row[field.name] = text
    return row | {text: text, "timestamp": text, "unheard of": {text: {text: text}}}


def _texts(moment: datetime) -> Iterator[Case]:
    for name, text in TEXTS.items():
        row = with_text(moment, text)
        yield Case(f"text: {name}", json.dumps(row).encode())
        yield Case(f"raw text: {name}", json.dumps(row, ensure_ascii=False).encode())


def _objects(moment: datetime) -> Iterator[Case]:
    at = f'"@timestamp":"{stamp(moment)}"'.encode()
    for name in NAMES_OF_OURS:
        row = {"@timestamp": stamp(moment), "command": "ls", name: f"{CANARY} 1"}
        yield Case(f"key {name!a}", json.dumps(row).encode())
    ours = {"@timestamp": stamp(moment), **{name: [name, None] for name in NAMES_OF_OURS}}
    yield Case("all keys", json.dumps(ours).encode())
    for number in ("1e999", "-1e999", "-0.0", "-0", "1e-400", "9" * 5_000, "1." + "0" * 5_000,
                   "-" + "9" * 5_000, "18446744073709551616", "1e400000", "0.1e1"):  # fmt: skip
        for key in (b"new", b"src_port", b"bytes", b"sensor", b"tags", b"host", b"timestamp"):
            body = b'{%s,"%s":%s}' % (at, key, number.encode())
            yield Case(f"{key.decode()}: {number[:9]}", body)
    nested = b"[" * 90 + b"1" + b"]" * 90
    yield Case("deep enough", b'{%s,"new":%s,"host":%s}' % (at, nested, nested))
    yield Case("a key twice inside", b'{%s,"new":{"a":1,"a":2},"host":{"a":1,"a":2}}' % at)
    yield Case("a wrapped key twice", b'{%s,"hp_data":{"app":"a","app":"b"}}' % at)
    yield Case("a wrapped key of ours", b'{%s,"hp_data":{"event_id":"x","extra":{},"":1}}' % at)
    both = b'{%s,"dst_ip":"192.0.2.1","dest_ip":"192.0.2.2","dst_port":1,"dest_port":2}' % at
    yield Case("both names", both)
    yield Case("escaped key", b'{%s,"\\u0063ommand":"%s"}' % (at, CANARY.encode()))
    yield Case("lone surrogates", b'{%s,"command":"\\ud800x\\udfff","\\udc00":"\\uD83D"}' % at)
    yield Case("escaped nul", b'{%s,"command":"a\\u0000b","\\u0000":"\\u0000"}' % at)
    packed = b'{%s,"command":"%s"}' % (at, CANARY.encode())
    yield Case("list", b"[" + b",".join([packed] * 3) + b"]", events=3)
    yield Case("records", b'{"records":[' + packed + b"," + packed + b"]}", events=2)
    yield Case("lines", packed + b"\r\n\n" + packed, events=2)


def _encodings(moment: datetime) -> Iterator[Case]:
    text = json.dumps({"@timestamp": stamp(moment), "command": CANARY})
    yield Case("mark of UTF-8", b"\xef\xbb\xbf" + text.encode())
    yield Case("two marks of UTF-8", b"\xef\xbb\xbf" * 2 + text.encode(), "not_json")
    yield Case("UTF-16 with its mark", text.encode("utf-16"), "not_utf8")
    yield Case("UTF-16 without", text.encode("utf-16-be"), "not_json")
    yield Case("UTF-32", text.encode("utf-32"), "not_utf8")
    yield Case("overlong slash", text.encode().replace(b"canary", b"\xc0\xaf"), "not_utf8")
    yield Case("overlong nul", text.encode().replace(b"canary", b"\xc0\x80"), "not_utf8")
    yield Case(
        "overlong in four", text.encode().replace(b"canary", b"\xf0\x82\x82\xac"), "not_utf8"
    )
    yield Case("surrogate as UTF-8", text.encode().replace(b"canary", b"\xed\xa0\x80"), "not_utf8")
    yield Case("above unicode", text.encode().replace(b"canary", b"\xf4\x90\x80\x80"), "not_utf8")
    yield Case("in an unknown key", b'{"\xc0\xaf":1}', "not_utf8")


def _refused() -> Iterator[Case]:
    bad = CANARY.encode()
    yield Case("null", b"null", "not_an_object")
    yield Case("text", b'"%s"' % bad, "not_an_object")
    yield Case("blanks", b" \r\n\t", "empty_body")
    yield Case("nothing", b"", "empty_body")
    yield Case("raw nul", b'{"command":"a\x00%s"}' % bad, "not_json")
    yield Case("only nul", b"\x00" * 64, "not_json")
    for number in (b"NaN", b"Infinity", b"-Infinity", b"01", b"0x1", b"1.", b".5", b"+1"):
        yield Case(number.decode(), b'{"%s":%s}' % (bad, number), "not_json")
    yield Case("a key twice", b'{"app":"%s","app":"b"}' % bad, "duplicate_key")
    yield Case("an unknown key twice", b'{"%s":1,"%s":2}' % (bad, bad), "duplicate_key")
    long = b"\x1b[2J\xe2\x80\xae" + bad * 1_000
    yield Case("a long key twice", b'{"%s":1,"%s":2}' % (long[4:], long[4:]), "duplicate_key")
    yield Case("an escaped key twice", b'{"app":1,"\\u0061pp":2}', "duplicate_key")
    yield Case("records twice", b'{"records":[{"a":1}],"records":[{"b":1}]}', "duplicate_key")
    yield Case("levels", b"[" * 100_000 + b"]" * 100_000, "too_deep")
    yield Case("levels of objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "too_deep")
    yield Case(
        "levels in a field", b'{"host":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too_deep"
    )
    yield Case("levels without an end", b'{"new":' + b"[" * 100_000, "too_deep")
    yield Case("escape sequences", b"\x1b[2J\x1b]0;%s\x07\x9b31m" % bad, "not_utf8")
    yield Case(
        "hostile line", f"\x1b]8;;{CATCHER}\x07{CANARY}\u202e\u200b\x85".encode(), "not_json"
    )
    yield Case("html", b"<script>window.%s=1</script>" % bad, "not_json")


# What was sent, found again in what was published


@dataclass(frozen=True)
class Number:
    """A number as it was written: 1.0 and 1.00 are two."""

    text: str


def read(text: str | bytes) -> Any:
    """JSON with numbers as they were written; objects with a key twice as pairs."""

    def pairs(members: list[tuple[str, Any]]) -> Any:
        return dict(members) if len({key for key, _ in members}) == len(members) else members

    return json.loads(text, parse_int=Number, parse_float=Number, object_pairs_hook=pairs)


def lost(row: dict[str, Any], sent: dict[str, Any]) -> list[str]:
    """Members of a body that can't be told from the published event."""
    kept = read(row.get("extra", "{}"))
    if "original_body" in kept and "original_body" not in sent:
        return [] if read(kept["original_body"]) == sent else ["original_body"]
    kinds = {field.name: field.kind for field in STINGAR.fields}
    aliases = {alias: field.name for field in STINGAR.fields for alias in field.aliases}
    return [
        name
        for name, value in sent.items()
        if value not in (None, "", [])
        and not (name in kept and kept[name] == value)
        and not _stands(row, aliases.get(name, name), kinds.get(aliases.get(name, name)), value)
        and not (name == "hp_data" and isinstance(value, dict) and not lost(row, value))
    ]


def _stands(row: dict[str, Any], name: str, kind: FieldKind | None, value: Any) -> bool:
    published = row.get(name)
    if name in STINGAR.time_fields:
        return bool("time_source" not in row and row["@timestamp"] == value)
    match kind, value:
        case FieldKind.TEXT, str() if name in ("transport", "protocol", "severity"):
            return bool(published == value.lower())
        case ((FieldKind.TEXT | FieldKind.PAIR), (str() | list())):
            return bool(published == value)
        case ((FieldKind.PORT | FieldKind.INTEGER), Number(digits)):
            return published == int(digits) and (digits == "-0" or str(published) == digits)
        case FieldKind.LIST, list() if name == "tags":
            pieces = [piece.strip() for text in value for piece in text.split(",")]
            return bool(published == [piece for piece in pieces if piece])
        case FieldKind.LIST, list():
            return bool(published == [text for text in value if text])
    return False
