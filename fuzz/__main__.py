"""Run a harness: `python -m fuzz decoder --seconds 600`.

Needs the extra `fuzz` (atheris). Inputs that open new ways are kept in `--corpus`, where given, and
the next run goes on from there; one that breaks a promise ends the run and is written to
`--findings`. `--replay FILE` runs one input again, without atheris.
"""

import argparse
import importlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

HARNESSES: Final = {
    "decoder": "stingar_dagster.capture",
    "gate": "stingar_dagster.cleaning",
}
"""Each harness, and the package whose branches guide it."""

_ROUND_SECONDS: Final = 60
_MOST_KILOBYTES: Final = 128 * 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("harness", choices=sorted(HARNESSES))
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path)
    parser.add_argument("--findings", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--replay", type=Path)
    parser.add_argument("--round", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    os.environ.setdefault("POLARS_MAX_THREADS", "1")
    if given.replay is not None:
        importlib.import_module(f"fuzz.{given.harness}").check(given.replay.read_bytes())
        return
    given.findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        corpus = given.corpus or Path(folder, "corpus")
        if given.round:
            _fuzz(given.harness, given.seconds, corpus, given.findings, Path(folder))
        else:
            sys.exit(_rounds(given.harness, given.seconds, corpus, given.findings))


def _rounds(name: str, seconds: int, corpus: Path, findings: Path) -> int:
    """Fuzz in processes of a minute each: the instrumentation itself loses memory."""
    end = time.monotonic() + seconds
    while (left := round(end - time.monotonic())) > 0:
        command = [sys.executable, "-m", "fuzz", name, "--round"]
        command += ["--seconds", str(min(left, _ROUND_SECONDS))]
        command += ["--corpus", str(corpus), "--findings", str(findings)]
        if code := subprocess.run(command, check=False).returncode:
            return code
    return 0


def _bounded(check: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The check, which also fails where one input takes much memory."""

    def bounded(data: bytes) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        check(data)
        took = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert took < _MOST_KILOBYTES, f"{took:,} kB for one input"

    return bounded


def _fuzz(name: str, seconds: int, corpus: Path, findings: Path, folder: Path) -> None:
    import atheris

    with atheris.instrument_imports(include=[HARNESSES[name]], enable_loader_override=False):
        harness = importlib.import_module(f"fuzz.{name}")
    seeds, words = folder / "seeds", folder / "words"
    for place in (corpus, seeds):
        place.mkdir(parents=True, exist_ok=True)
    for index, seed in enumerate(harness.seeds()):
        (seeds / f"{index:04}").write_bytes(seed)
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in harness.words()))
    options = [
        f"-max_total_time={seconds}",
        f"-dict={words}",
        f"-artifact_prefix={findings}/{name}-",
        "-max_len=4096",
        "-rss_limit_mb=1500",
        "-timeout=10",
        "-print_final_stats=1",
        "-verbosity=1",
    ]
    atheris.Setup([sys.argv[0], str(corpus), str(seeds), *options], _bounded(harness.check))
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


if __name__ == "__main__":
    main()
