"""What Event Grid writes is read in either schema; anything else is no notice, and harmless."""

import base64
import json
from typing import Any

import pytest

from stingar_dagster.capture.notices import Counts, Notice, Read, read_message
from stingar_dagster_tests.azure_servers import as_cloud_event, blob_created, capture_created

URL = "https://account.blob.core.windows.net/captures/ns/hub/0/2026/11/03/12/00/00.avro"
CAPTURE = capture_created(URL, 52_113, 380, 1000, 1379)
BLOB = blob_created(URL)
COUNTED = Notice(URL, Counts(52_113, 380, 1000, 1379))
UNCOUNTED = Notice(URL, None)


def in_base64(events: Any) -> str:
    return base64.b64encode(json.dumps(events).encode()).decode()


@pytest.mark.parametrize("packed", [json.dumps, in_base64])
@pytest.mark.parametrize(
    ("event", "notice"),
    [
        (CAPTURE, COUNTED),
        (as_cloud_event(CAPTURE), COUNTED),
        (BLOB, UNCOUNTED),
        (as_cloud_event(BLOB), UNCOUNTED),
    ],
)
def test_both_schemas_and_both_events_are_read_alone_and_in_arrays(
    packed: Any, event: dict[str, Any], notice: Notice
) -> None:
    assert read_message(packed(event)) == Read((notice,))
    assert read_message(packed([event, BLOB])) == Read((notice, UNCOUNTED))


def test_a_window_without_events_says_so() -> None:
    (notice,) = read_message(json.dumps(capture_created(URL, 508, 0, -1, -1))).notices
    assert notice.counts == Counts(508, 0, -1, -1)


@pytest.mark.parametrize(
    "event",
    [
        blob_created(URL, eventType="Microsoft.Storage.BlobDeleted"),
        blob_created(URL, eventType="Microsoft.EventGrid.SubscriptionValidationEvent", data=5),
        {"id": 1},
        {},
    ],
)
def test_other_events_are_no_notices_and_nothing_strange(event: dict[str, Any]) -> None:
    assert read_message(json.dumps([event, CAPTURE])) == Read((COUNTED,))


def capture_with(**data: Any) -> str:
    return json.dumps({**CAPTURE, "data": {**CAPTURE["data"], **data}})


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "{",
        "hello",
        "aGVsbG8=",
        "5",
        "null",
        '"text"',
        "[[]]",
        "[5]",
        "ÿ" * 100,
        "\ud800",
        "[" * 60_000,
        '{"data":' * 8_000,
        json.dumps({"eventType": 5}),
        json.dumps({**CAPTURE, "data": None}),
        json.dumps({**CAPTURE, "data": []}),
        json.dumps({**BLOB, "data": {"url": None}}),
        capture_with(eventCount="many"),
        capture_with(eventCount=1.5),
        capture_with(eventCount=-1),
        capture_with(lastSequenceNumber=10**30),
        capture_with(fileUrl=None),
    ],
)
def test_what_can_not_be_understood_is_told_and_harmless(text: str) -> None:
    read = read_message(text)
    assert read.notices == ()
    assert read.strange
    assert len(read.strange) < 200
    assert "\n" not in read.strange


def test_a_bad_event_does_not_take_its_neighbours_with_it() -> None:
    read = read_message(json.dumps([5, CAPTURE, {**BLOB, "data": 1}, BLOB]))
    assert read.notices == (COUNTED, UNCOUNTED)
    assert read.strange
