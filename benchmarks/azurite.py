"""What small captures and large landing folders cost on Azure's protocol, with Azurite.

    python -m benchmarks.azurite [small] [recommended] [default] [--captures 2000] [--landed 100000]

Lands an hour of small captures, and lists one hour among many with the recommended name format and
with Event Hubs' default. Requests are what a network multiplies: they are counted, besides the
seconds, which are those of Azurite on this machine. Not here: the pipeline's speed (`bench`).
"""

import argparse
import contextlib
import http.client
import os
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import requests

from stingar_dagster.capture.names import CaptureFormat
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.settings import DEFAULT_CAPTURE_FORMAT, Settings
from stingar_dagster.streams import STINGAR
from stingar_dagster.watch import Marks, look
from stingar_dagster_tests.azurite import Service, container_sas, serving
from stingar_dagster_tests.support import capture, event

FORMATS: Final = {
    "recommended": (
        "{Namespace}/{EventHub}/{Year}/{Month}/{Day}/{Hour}/{PartitionId}/{Minute}/{Second}"
    ),
    "default": DEFAULT_CAPTURE_FORMAT,
}
HOUR: Final = datetime(2026, 11, 3, 12, tzinfo=UTC)
PARTITIONS: Final = 32


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", choices=["small", *FORMATS], default=["small", *FORMATS]
    )
    parser.add_argument("--captures", type=int, default=2000)
    parser.add_argument("--landed", type=int, default=100_000)
    arguments = parser.parse_args()
    with serving() as service:
        os.environ["AZURE_STORAGE_CONNECTION_STRING"] = service.connection_string
        for part in arguments.parts:
            if part == "small":
                small_captures(service, arguments.captures)
            else:
                many_hours(service, part, FORMATS[part], arguments.landed)


def small_captures(service: Service, count: int) -> None:
    """One landed hour of captures of 20 KB."""
    service.make_container("small")
    settings = Settings(landing="az://small/landing", lake="az://small/lake")
    bodies = [event(HOUR, payload=f"{number:0100}", src_port=number) for number in range(90)]
    blob = capture(bodies)
    paths = [
        CaptureFormat(settings.capture_format).path(
            "ns", "hub", number % PARTITIONS, HOUR + timedelta(seconds=number // PARTITIONS)
        )
        for number in range(count)
    ]
    put(service, "small", {f"landing/{path}": blob for path in paths})
    pipeline = Pipeline(settings, STINGAR)
    print(f"{count:,} captures of {len(blob):,} bytes")
    captures = measured("list the hour", lambda: pipeline.landing.hour(HOUR))
    started = time.perf_counter()
    for capture_ in captures[:50]:
        pipeline.landing.fetch(capture_)
    print(f"  one read after another: {(time.perf_counter() - started) / 50 * 1000:.1f} ms each")
    measured("land the hour", lambda: pipeline.land_hour(HOUR))
    measured("look at it again", lambda: pipeline.land_hour(HOUR))


def many_hours(service: Service, name: str, text: str, count: int) -> None:
    """One hour among many, and a sensor's look."""
    service.make_container(name)
    names = CaptureFormat(text)
    hours = max(24, count // (PARTITIONS * 12))
    put(
        service,
        name,
        {
            names.path(
                "ns", "hub", partition, HOUR - timedelta(hours=hour) + timedelta(minutes=5 * five)
            ): b""
            for hour in range(hours)
            for five in range(12)
            for partition in range(PARTITIONS)
        },
    )
    settings = Settings(landing=f"az://{name}", lake=f"az://{name}-lake", capture_format=text)
    pipeline = Pipeline(settings, STINGAR)
    print(f"{hours * PARTITIONS * 12:,} captures of {hours:,} hours, {name} format: {text}")
    found = measured("list one hour", lambda: pipeline.landing.hour(HOUR - timedelta(hours=9)))
    assert len(found) == PARTITIONS * 12
    now = HOUR + timedelta(minutes=50)
    marks = Marks(HOUR, lagging_at=now, reconciled_at=now)
    measured(
        "a sensor's look, every few seconds",
        lambda: look(pipeline.landing, marks, settings.start, settings.lookback, now),
    )
    marks = Marks(HOUR, lagging_at=now, reconciled_at=now - timedelta(days=1))
    measured(
        "a sensor's look over a week, every hour",
        lambda: look(pipeline.landing, marks, settings.start, settings.lookback, now),
    )
    measured("list everything", lambda: pipeline.landing.store.find(""))


def put(service: Service, container: str, blobs: dict[str, bytes]) -> None:
    """Without Azure's client, which takes longer for each than Azurite does."""
    signature = container_sas(container, "cw")
    path = urlsplit(service.endpoint).path

    def put_some(some: list[tuple[str, bytes]]) -> None:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", service.port)) as server:
            for name, data in some:
                server.request(
                    "PUT",
                    f"{path}/{container}/{name}?{signature}",
                    data,
                    {"x-ms-blob-type": "BlockBlob", "x-ms-version": "2021-08-06"},
                )
                answer = server.getresponse()
                answer.read()
                assert answer.status == 201, answer.status

    listed = list(blobs.items())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put_some, (listed[first::4] for first in range(4))))


def measured(what: str, act: Callable[[], Any]) -> Any:
    """Do it, and print what it took; requests by their method, listings apart."""
    counts: Counter[str] = Counter()
    send = requests.Session.send

    def counted(session: Any, request: Any, **options: Any) -> Any:
        counts["list" if "comp=list" in request.url else request.method] += 1
        return send(session, request, **options)

    requests.Session.send = counted  # type: ignore[method-assign,assignment]
    started, cpu = time.perf_counter(), time.process_time()
    try:
        return act()
    finally:
        requests.Session.send = send  # type: ignore[method-assign]
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
        asked = ", ".join(f"{number:,} {method}" for method, number in sorted(counts.items()))
        print(f"  {what}: {seconds:.2f} s ({cpu:.2f} s of our CPU); requests: {asked}", flush=True)


if __name__ == "__main__":
    main()
