"""What an hour of a full landing folder costs on Azure's protocol, counted in requests.

`python -m benchmarks.azurite` measures the same with 100,000 captures.
"""

import os
from collections.abc import Iterator
from datetime import timedelta

import pytest

from stingar_dagster.capture.discovery import Landing
from stingar_dagster.capture.names import CaptureFormat
from stingar_dagster.settings import DEFAULT_CAPTURE_FORMAT
from stingar_dagster.storage import open_store
from stingar_dagster_tests.azurite import Service
from stingar_dagster_tests.proxy import Proxy, Script
from stingar_dagster_tests.support import HOUR, NOON

DATE_FIRST = "{Namespace}/{EventHub}/{Year}/{Month}/{Day}/{Hour}/{PartitionId}/{Minute}/{Second}"
PARTITIONS = 4


@pytest.fixture(scope="module")
def proxy(blob_service: Service) -> Iterator[Proxy]:
    with Proxy("127.0.0.1", blob_service.port).running() as proxy:
        yield proxy


def prefixes_asked(
    proxy: Proxy, container: str, name_format: str, hours: int, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The prefixes that are listed for one hour of so many."""
    names = CaptureFormat(name_format)
    store = open_store(f"az://{container}/{hours}", "STINGAR_LANDING")
    for hour in range(hours):
        for partition in range(PARTITIONS):
            store.write(names.path("ns", "hub", partition, NOON - hour * HOUR), b"")
    with monkeypatch.context() as patch:
        endpoint = f"http://127.0.0.1:{proxy.port}/devstoreaccount1"
        key = "AZURE_STORAGE_CONNECTION_STRING"
        patch.setenv(key, os.environ[key].split("BlobEndpoint")[0] + f"BlobEndpoint={endpoint}")
        landing = Landing(open_store(f"az://{container}/{hours}", "STINGAR_LANDING"), names)
    script = proxy.follow(Script())
    assert len(landing.hour(NOON - timedelta(hours=1))) == PARTITIONS
    assert all(seen.is_listing for seen in script.seen)
    return [seen.query.get("prefix", [""])[0].removeprefix(f"{hours}/") for seen in script.seen]


def test_an_hour_is_one_listing_below_its_hub_however_many_hours_there_are(
    proxy: Proxy, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["", "ns/", f"ns/hub/{NOON:%Y/%m/%d}/11/"]
    for hours in (2, 30):
        assert prefixes_asked(proxy, container, DATE_FIRST, hours, monkeypatch) == asked


def test_with_the_partition_before_the_date_an_hour_is_a_listing_of_each_partition(
    proxy: Proxy, container: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    partitions = [f"ns/hub/{number}/{NOON:%Y/%m/%d}/11/" for number in range(PARTITIONS)]
    for hours in (2, 30):
        asked = prefixes_asked(proxy, container, DEFAULT_CAPTURE_FORMAT, hours, monkeypatch)
        assert asked == ["", "ns/", "ns/hub/", *partitions]
