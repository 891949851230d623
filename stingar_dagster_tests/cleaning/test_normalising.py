"""One value for what senders write in many ways: nothing, ports, tags, credentials, addresses."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from stingar_dagster.capture.records import Records, epoch_us
from stingar_dagster.cleaning.clean import Cleaner, Rules
from stingar_dagster.streams import STINGAR
from stingar_dagster.streams.stream import FieldKind

HOUR = datetime(2022, 5, 19, 17, tzinfo=UTC)
CLEANER = Cleaner(STINGAR, Rules(start=datetime(2020, 1, 1, tzinfo=UTC), max_body_bytes=1_000_000))


def clean(*bodies: object) -> list[dict[str, Any]]:
    """The events of some bodies in one batch, without nulls and the columns of the batch."""
    data = [json.dumps(body).encode() for body in bodies]
    ends = np.cumsum([0, *map(len, data)]).astype(np.int64)
    records = Records(
        buffer=b"".join(data),
        capture=np.zeros(len(data), np.int32),
        sequence=np.arange(len(data), dtype=np.int64),
        enqueued_us=np.full(len(data), epoch_us(HOUR), np.int64),
        body_start=ends[:-1],
        body_length=np.diff(ends),
    )
    outcome = CLEANER.clean(records, HOUR)
    assert outcome.rejected == []
    rows = outcome.events.sort("record").drop("record", "sub", "time_us", "enqueued_us").to_dicts()
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def extra(row: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(row.get("extra", "{}"))
    return kept


# Nothing


@pytest.mark.parametrize("kind", FieldKind)
def test_missing_null_empty_text_and_empty_list_are_the_same(kind: FieldKind) -> None:
    names = [field.name for field in STINGAR.fields if field.kind is kind]
    empty: tuple[object, ...] = (None, "", [])
    nothing = [dict.fromkeys(names, value) for value in empty]
    # `new` sends the same through the exact way.
    rows = clean({}, *nothing, *({**body, "new": 1} for body in ({}, *nothing)))
    assert rows[:4] == [rows[0]] * 4
    assert rows[4:] == [rows[4]] * 4
    assert {**rows[0], "extra": '{"new":1}'} == rows[4]


def test_an_empty_list_with_blanks_in_it_is_nothing_too() -> None:
    data = b'{"loggedin":[ ],"tags":[\n],"host":[ ],"dest_ip":[ ],"dst_ip":"192.0.2.1"}'
    records = Records(
        buffer=data,
        capture=np.zeros(1, np.int32),
        sequence=np.zeros(1, np.int64),
        enqueued_us=np.full(1, epoch_us(HOUR), np.int64),
        body_start=np.zeros(1, np.int64),
        body_length=np.array([len(data)], np.int64),
    )
    (row,) = CLEANER.clean(records, HOUR).events.to_dicts()
    assert (row["loggedin"], row["tags"], row["extra"]) == (None, None, None)
    assert row["dest_ip"] == "192.0.2.1"


# Ports and other numbers


@pytest.mark.parametrize(
    ("sent", "port"),
    [
        *((22, 22), ("22", 22), (0, 0), ("0", 0), (65535, 65535), ("65535", 65535)),
        *((-0, 0), ("59999", 59999), ("60000", 60000)),
    ],
)
@pytest.mark.parametrize("name", ["src_port", "dest_port"])
def test_ports_are_integers_however_they_are_sent(name: str, sent: object, port: int) -> None:
    (row,) = clean({name: sent})
    assert row[name] == port
    assert "extra" not in row


@pytest.mark.parametrize(
    "sent", ["0022", "022", "00", "+22", "-1", " 22", "22 ", "22\n", "2e1", "65536", "\u0662"]
)
def test_texts_that_are_no_port_are_kept_as_sent(sent: str) -> None:
    (row,) = clean({"src_port": sent})
    assert "src_port" not in row
    assert extra(row) == {"src_port": sent}


@pytest.mark.parametrize("sent", [65536, -1, 2**63, 22.5, False, [22]])
def test_values_that_are_no_port_are_kept_as_sent(sent: object) -> None:
    (row,) = clean({"dest_port": sent})
    assert "dest_port" not in row
    assert extra(row) == {"dest_port": sent}


@pytest.mark.parametrize("number", [0, -5, 999_999_999_999_999_999, 10**18, 2**63 - 1, -(2**63)])
def test_integers_go_to_the_limits_of_64_bits(number: int) -> None:
    for sent in (number, str(number)):
        (row,) = clean({"bytes": sent})
        assert row["bytes"] == number
        assert "extra" not in row


def test_ports_of_all_forms_meet_in_one_batch() -> None:
    sent = [22, "23", None, "", 0, "0", "0022", 65536, {}]
    rows = clean(*({"src_port": value} for value in sent))
    assert [row.get("src_port") for row in rows] == [22, 23, None, None, 0, 0, None, None, None]


# Lists and pairs


@pytest.mark.parametrize(
    ("sent", "tags"),
    [
        (["a", "b"], ["a", "b"]),
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        ("a, b ,c", ["a", "b", "c"]),
        (["a,b", "c"], ["a", "b", "c"]),
        (["", "a", ","], ["a"]),
        (["a", "a"], ["a", "a"]),
    ],
)
def test_tags_are_one_list_however_they_are_sent(sent: object, tags: list[str]) -> None:
    (row,) = clean({"tags": sent})
    assert row["tags"] == tags
    assert "extra" not in row


@pytest.mark.parametrize("sent", [",", " , ", [""], [","]])
def test_tags_without_a_word_are_none(sent: object) -> None:
    assert "tags" not in clean({"tags": sent})[0]


def test_only_tags_are_split_at_commas() -> None:
    (row,) = clean({"kex_enc_cs": "aes128-ctr,aes256-ctr"})
    assert row["kex_enc_cs"] == ["aes128-ctr,aes256-ctr"]


@pytest.mark.parametrize("pair", [["root", "toor"], ["root", ""], ["", ""], ["", "x"]])
def test_a_pair_is_kept_with_what_is_empty_in_it(pair: list[str]) -> None:
    (row,) = clean({"loggedin": pair})
    assert row["loggedin"] == pair
    assert "extra" not in row


def test_an_empty_password_of_the_session_is_no_password_of_the_login() -> None:
    (row,) = clean({"signature": "SSH login successful on cowrie honeypot", "loggedin": ["a", ""]})
    assert (row["username"], row.get("password")) == ("a", None)


# Texts


@pytest.mark.parametrize("name", ["src_ip", "dest_ip"])
@pytest.mark.parametrize(
    ("sent", "address"),
    [
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::FFFF:203.0.113.7", "203.0.113.7"),
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::1"),
        ("::ffff:cb00:7107", "::ffff:cb00:7107"),
        ("64:ff9b::ffff:203.0.113.7", "64:ff9b::ffff:203.0.113.7"),
        ("::ffff:203.0.113.7 ", "::ffff:203.0.113.7 "),
        ("::ffff:", "::ffff:"),
    ],
)
def test_mapped_addresses_lose_their_prefix_and_nothing_else_does(
    name: str, sent: str, address: str
) -> None:
    assert clean({name: sent})[0][name] == address


@pytest.mark.parametrize(
    ("sent", "version"),
    [
        ("b'SSH-2.0-Go'", "SSH-2.0-Go"),
        ('b"SSH-2.0-it\'s"', "SSH-2.0-it's"),
        ("SSH-2.0-Go", "SSH-2.0-Go"),
        ("b'SSH-2.0-Go", "b'SSH-2.0-Go"),
        ("b'a' b'c'", "b'a' b'c'"),
        ("xb'SSH'", "xb'SSH'"),
    ],
)
def test_a_client_version_loses_pythons_wrapping(sent: str, version: str) -> None:
    assert clean({"ssh_version": sent})[0]["ssh_version"] == version


@pytest.mark.parametrize("name", ["transport", "protocol", "severity"])
def test_words_of_a_small_vocabulary_are_lower_case(name: str) -> None:
    assert clean({name: "TCP"})[0][name] == "tcp"


@pytest.mark.parametrize("name", ["app", "command", "signature", "type", "username", "sensor"])
def test_other_words_are_published_as_sent(name: str) -> None:
    text = "  A\u00c9 \u0130\x00\n\"'\\ "
    (row,) = clean({name: text})
    assert row[name] == text
    assert "extra" not in row
