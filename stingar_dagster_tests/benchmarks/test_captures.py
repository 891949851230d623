"""Captures to measure with: the same for the same seed, and as their manifest says."""

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fastavro
import pytest

from benchmarks.captures import Place, Shape, captures, days, groups, nothing, together

SMALL = Shape(megabytes=0.7, files=12)


def records(place: Place) -> list[tuple[str, int, bytes]]:
    """Partition, sequence number and body of every record."""
    found = []
    for path in sorted(place.landing.rglob("*.avro")):
        partition = path.relative_to(place.landing).parts[2]
        for record in fastavro.reader(io.BytesIO(path.read_bytes())):
            assert isinstance(record, dict)
            found.append((partition, record["SequenceNumber"], record["Body"]))
    return found


def tree(place: Place) -> dict[str, bytes]:
    return {
        str(path.relative_to(place.folder)): path.read_bytes()
        for path in place.folder.rglob("*")
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first = captures(tmp_path / "a", SMALL, plain=True)
    second = captures(tmp_path / "b", SMALL, plain=True)
    other = captures(tmp_path / "c", replace(SMALL, seed=12), plain=True)
    assert tree(first) == tree(second)
    assert tree(first).keys() == tree(other).keys()
    assert tree(first) != tree(other)


@pytest.mark.parametrize("codec", ["null", "deflate"])
@pytest.mark.parametrize("block_bytes", [16_384, None])
def test_the_manifest_is_true(tmp_path: Path, codec: str, block_bytes: int | None) -> None:
    shape = Shape(megabytes=0.7, files=12, codec=codec, block_bytes=block_bytes)  # type: ignore[arg-type]
    place = captures(tmp_path, shape, plain=True)
    files = list(place.landing.rglob("*.avro"))
    found = records(place)
    manifest = place.manifest
    assert manifest.files == len(files)
    assert manifest.file_bytes == sum(path.stat().st_size for path in files)
    assert manifest.records == len(found)
    assert manifest.identities == len({record[:2] for record in found})
    assert manifest.body_bytes == sum(len(body) for _, _, body in found)
    assert manifest.lines == place.bodies.read_bytes().count(b"\n")
    assert 0 < manifest.lines < manifest.records
    assert manifest.duplicates > 0


def test_tiny_captures_do_not_come_twice_as_a_whole(tmp_path: Path) -> None:
    place = captures(tmp_path, Shape(megabytes=0.05, files=72))
    assert place.manifest.duplicates == 0


def test_captures_that_are_there_are_used_again(tmp_path: Path) -> None:
    place = captures(tmp_path, SMALL)
    marked = next(place.landing.rglob("*.avro"))
    marked.write_bytes(b"not generated")
    assert captures(tmp_path, SMALL) == place
    assert marked.read_bytes() == b"not generated"
    assert not place.bodies.exists()
    # Plain bodies were not asked for before: now they are made, and the captures with them.
    assert captures(tmp_path, SMALL, plain=True).bodies.exists()


@pytest.mark.parametrize("several", [days, groups])
def test_what_is_put_together_repeats_nothing(
    tmp_path: Path, several: Callable[[Shape, int], list[Shape]]
) -> None:
    shapes = several(Shape(megabytes=0.2, files=36), 3)
    place = together(tmp_path, shapes)
    parts = [captures(tmp_path, shape).manifest for shape in shapes]
    found = records(place)
    assert len(found) == place.manifest.records == sum(part.records for part in parts)
    assert len({record[:2] for record in found}) == place.manifest.identities
    bodies = {record[2] for record in found}
    assert len(bodies) > 0.9 * len(found)


def test_nothing_to_read_is_a_landing_folder_all_the_same(tmp_path: Path) -> None:
    place = nothing(tmp_path)
    assert place.landing.is_dir()
    assert place.bodies.read_bytes() == b""
    assert place.manifest.records == 0
