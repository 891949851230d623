"""The pictures that the README and the documents show: there, described, small, without extras.

Not here: how they are taken (`screenshots`).
"""

import re
import struct
from pathlib import Path

import pytest

from stingar_dagster_tests.reliability.serving import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SHOWN = re.compile(r"!\[([^\]]*)\]\(([^)]+)\)")
LARGEST_BYTES = 200_000
NEEDED_CHUNKS = {b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"sRGB", b"pHYs"}
"""What a picture is made of; others hold texts, times or the name of a program."""


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_a_document_shows_is_there_and_described(document: Path) -> None:
    for words, target in SHOWN.findall(document.read_text()):
        assert (document.parent / target).is_file(), target
        assert len(words) > 20, target


def test_every_picture_is_shown_somewhere() -> None:
    shown = {
        (document.parent / target).resolve()
        for document in DOCUMENTS
        for _, target in SHOWN.findall(document.read_text())
    }
    assert {*(ROOT / "docs" / "images").iterdir()} == shown


@pytest.mark.parametrize(
    "picture", sorted((ROOT / "docs" / "images").glob("*.png")), ids=lambda path: path.name
)
def test_a_picture_is_small_and_holds_nothing_but_itself(picture: Path) -> None:
    data = picture.read_bytes()
    assert len(data) <= LARGEST_BYTES
    at, chunks = 8, set()
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        chunks.add(data[at + 4 : at + 8])
        at += size + 12
    assert chunks <= NEEDED_CHUNKS
