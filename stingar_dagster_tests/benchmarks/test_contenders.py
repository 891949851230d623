"""Contenders: they are counted before they are compared, and what they cost is theirs."""

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import measuring
from benchmarks.captures import Manifest, Place, Shape, captures
from benchmarks.contenders import Disagreement, check, contend, engine, identities
from benchmarks.measuring import Failed, measured


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return captures(tmp_path_factory.mktemp("captures"), Shape(megabytes=0.7, files=12))


@pytest.fixture(scope="module")
def work(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the engine made of it."""
    work = tmp_path_factory.mktemp("work")
    engine(str(place.landing), str(work / "lake"))
    return work


def counts(work: Path, manifest: Manifest) -> dict[str, int]:
    events = sum(
        path.read_bytes().count(b"\n") for path in work.glob("lake/stingar/events/**/*.json")
    )
    return {"read": manifest.records, "events": events}


def test_the_engine_comes_to_every_event_that_was_captured(place: Place, work: Path) -> None:
    assert place.manifest.duplicates > 0
    assert identities(work / "lake") == place.manifest.identities
    check("engine", counts(work, place.manifest), place.manifest, work)


def test_who_read_less_is_not_compared(place: Place, work: Path) -> None:
    less = counts(work, place.manifest) | {"read": place.manifest.records - 1}
    with pytest.raises(Disagreement, match="engine read"):
        check("engine", less, place.manifest, work)


def test_who_claims_more_than_its_files_hold_is_not_compared(place: Place, work: Path) -> None:
    honest = counts(work, place.manifest)
    with pytest.raises(Disagreement, match="wrote"):
        check("engine", honest | {"events": honest["events"] + 1}, place.manifest, work)


def test_who_lost_an_event_is_not_compared(place: Place, work: Path) -> None:
    other = replace(place.manifest, duplicates=place.manifest.duplicates - 1)
    with pytest.raises(Disagreement, match="different events"):
        check("engine", counts(work, place.manifest), other, work)


def test_the_loop_runs_as_a_whole_process(place: Place, tmp_path: Path) -> None:
    cost = contend("loop", place, tmp_path / "loop")
    assert cost.wall > 0
    assert cost.cpu > 0
    assert 0 < cost.peak <= cost.together


def test_memory_is_that_of_the_process_and_its_children_not_ours() -> None:
    ours = bytearray(os.urandom(1)) * 300_000_000
    code = "import time; time.sleep(0.3)"
    small, _ = measured([sys.executable, "-c", code], os.environ)
    fat = "import time; block = bytearray(b'x') * 200_000_000; time.sleep(0.3)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {fat!r}], check=True)"
    large, _ = measured([sys.executable, "-c", child], os.environ)
    assert len(ours) / 1e6 > 2 * small.peak
    assert 200 < large.peak < 280
    assert large.together > large.peak


def test_a_process_that_fails_is_told_with_what_it_said() -> None:
    with pytest.raises(Failed, match="no such thing"):
        measured([sys.executable, "-c", "raise SystemExit('no such thing')"], os.environ)


def test_a_process_that_takes_all_the_memory_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "machine_memory", lambda: 100.0)
    code = "import time; block = bytearray(b'x') * 200_000_000; time.sleep(60)"
    with pytest.raises(Failed, match="ended when it held"):
        measured([sys.executable, "-c", code], os.environ)
