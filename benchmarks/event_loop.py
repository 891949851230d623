"""The loop that this pipeline replaces: one event at a time, as a serverless function does it.

An honest baseline, neither slowed down nor tuned: it decodes each body, reads its time stamp,
files it by hour, counts it for the day, and keeps what does not decode. It does no more than
such functions do: no types, no duplicates removed, no proof, all of its input in memory. Keep it
so; what the pipeline does better belongs in the pipeline.

    python -m benchmarks.event_loop LANDING OUT [--processes N]
"""

from __future__ import annotations

import argparse
import base64
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fastavro

Summary = Counter[tuple[str, str, str]]  # events by day, sensor and app


@dataclass(slots=True)
class Counts:
    files: int = 0
    events: int = 0
    bad: int = 0
    summary: Summary = field(default_factory=Counter)


def run(files: list[Path], out: Path, library: str = "json") -> Counts:
    """Writes `events/HOUR.json`, `bad.json` and `summary.json` under `out`.

    `library` is `json` or `orjson`.
    """
    loads, dumps = _codec(library)
    counts = Counts()
    hours: dict[str, list[str]] = defaultdict(list)
    bad: list[str] = []

    for file in files:
        counts.files += 1
        with file.open("rb") as stream:
            for record in fastavro.reader(stream):
                assert isinstance(record, dict)
                body = record["Body"]
                try:
                    event = loads(body)
                    if not isinstance(event, dict):
                        raise ValueError("not one JSON object")
                except (TypeError, ValueError) as error:
                    counts.bad += 1
                    bad.append(json.dumps(_bad(file, record, error)))
                    continue

                logged = _time(event.get("@timestamp"), record["EnqueuedTimeUtc"])
                event["@timestamp"] = logged.isoformat(timespec="milliseconds")
                hours[f"{logged:%Y-%m-%dT%H}"].append(dumps(event))

                counts.events += 1
                day, sensor, app = f"{logged:%Y-%m-%d}", event.get("sensor"), event.get("app")
                counts.summary[day, str(sensor), str(app)] += 1

    (out / "events").mkdir(parents=True, exist_ok=True)
    for hour, lines in hours.items():
        _write(out / "events" / f"{hour}.json", lines)
    _write(out / "bad.json", bad)
    _write(out / "summary.json", _summary_lines(counts.summary))
    return counts


def run_parallel(files: list[Path], out: Path, processes: int, library: str = "json") -> Counts:
    """The same, each process with its share of the files and its own folder; one summary."""
    shares = [files[n::processes] for n in range(processes)]
    folders = [out / f"part-{n}" for n in range(processes)]
    total = Counts()
    with ProcessPoolExecutor(processes) as pool:
        for counts in pool.map(run, shares, folders, [library] * processes):
            total.files += counts.files
            total.events += counts.events
            total.bad += counts.bad
            total.summary += counts.summary
    _write(out / "summary.json", _summary_lines(total.summary))
    return total


def _codec(library: str) -> tuple[Callable[[bytes], Any], Callable[[Any], str]]:
    if library == "json":
        return json.loads, json.dumps
    import orjson

    return orjson.loads, lambda value: orjson.dumps(value).decode()


def _time(stamp: object, enqueued: str) -> datetime:
    if isinstance(stamp, str):
        try:
            return datetime.strptime(stamp, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
        except ValueError:
            pass
        try:
            logged = datetime.fromisoformat(stamp)
            return logged.astimezone(UTC) if logged.tzinfo else logged.replace(tzinfo=UTC)
        except ValueError:
            pass
    return datetime.strptime(enqueued, "%m/%d/%Y %I:%M:%S %p").replace(tzinfo=UTC)


def _bad(file: Path, record: dict[str, Any], error: Exception) -> dict[str, object]:
    return {
        "file": file.name,
        "sequence_number": record["SequenceNumber"],
        "error": str(error),
        "body": base64.b64encode(record["Body"] or b"").decode(),
    }


def _summary_lines(summary: Summary) -> list[str]:
    return [
        json.dumps({"date": day, "sensor": sensor, "app": app, "events": events})
        for (day, sensor, app), events in sorted(summary.items())
    ]


def _write(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8") as stream:
        stream.writelines(line + "\n" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="The per-event loop, timed.")
    parser.add_argument("landing", type=Path, help="folder of capture files")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()

    files = sorted(arguments.landing.glob("**/*.avro"))
    began = time.perf_counter()
    if arguments.processes > 1:
        counts = run_parallel(files, arguments.out, arguments.processes)
    else:
        counts = run(files, arguments.out)
    seconds = time.perf_counter() - began
    print(
        f"{counts.files} files, {counts.events} events and {counts.bad} bad bodies "
        f"in {seconds:.1f} s: {(counts.events + counts.bad) / seconds:,.0f} a second"
    )


if __name__ == "__main__":
    main()
