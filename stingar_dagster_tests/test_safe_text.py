"""Text of attackers, harmless in terminals and spreadsheets."""

import unicodedata

import pytest

from stingar_dagster.safe_text import spreadsheet_cell, visible

EVERY_CHARACTER = [chr(code) for code in range(0x110000) if not 0xD800 <= code < 0xE000]


def test_every_control_and_line_separator_becomes_its_escape() -> None:
    control = [c for c in EVERY_CHARACTER if unicodedata.category(c) in ("Cc", "Zl", "Zp")]
    assert len(control) == 32 + 33 + 2
    for character in control:
        assert visible(f"a{character}b") == f"a\\u{ord(character):04x}b"


def test_every_character_that_turns_the_direction_becomes_its_escape() -> None:
    turning = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    found = [c for c in EVERY_CHARACTER if unicodedata.bidirectional(c) in turning]
    for character in (*found, "\u200e", "\u200f", "\u061c"):
        assert visible(character) == f"\\u{ord(character):04x}"
    assert visible("exe.\u202egnp") == "exe.\\u202egnp"


@pytest.mark.parametrize(
    "character",
    [
        "\u00ad", "\u034f", "\u180e", "\u200b", "\u200c", "\u200d", "\u2060", "\u2064", "\u206a",
        "\u3164", "\ufe0f", "\ufeff", "\ufff9", "\U000e0001", "\U000e0041", "\U000e0100",
    ],
    ids=ascii,
)  # fmt: skip
def test_characters_of_no_width_become_their_escape(character: str) -> None:
    assert visible(f"a{character}b") == f"a\\u{ord(character):04x}b"


def test_an_escape_sequence_can_not_reach_a_terminal() -> None:
    assert visible("\x1b[2J\x1b]0;owned\x07\x9b31m") == "\\u001b[2J\\u001b]0;owned\\u0007\\u009b31m"


@pytest.mark.parametrize("text", ["", "wget http://192.0.2.1/a", "Größe 大小 क्षि 🐝", "a\\u202eb"])
def test_text_that_can_be_seen_stays_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_long_text_is_cut_and_says_so() -> None:
    assert visible("abcdef", longest=4) == "abc…"
    assert visible("abcd", longest=4) == "abcd"
    assert visible("\x00" * 5, longest=2) == "\\u0000…"


@pytest.mark.parametrize("first", list("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"), ids=ascii)
def test_a_formula_becomes_text_in_a_spreadsheet(first: str) -> None:
    assert spreadsheet_cell(f"{first}1+1") == f"'{first}1+1"
    assert spreadsheet_cell(f"a;{first}1;b") == f"a;'{first}1;b"


@pytest.mark.parametrize("text", ["", "1+1", "root", "'=1", " x", "a=b", "a; b;c"])
def test_other_cells_stay_as_they_are(text: str) -> None:
    assert spreadsheet_cell(text) == text
