"""Capture names: any format that Event Hubs accepts is written and read the same way."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stingar_dagster.capture.names import SUFFIX, CaptureFormat
from stingar_dagster.errors import CaptureNameError, SettingsError
from stingar_dagster.settings import DEFAULT_CAPTURE_FORMAT

TOKENS = (
    "Namespace",
    "EventHub",
    "PartitionId",
    "Year",
    "Month",
    "Day",
    "Hour",
    "Minute",
    "Second",
)
START = datetime(2022, 5, 19, 17, 10, 12, tzinfo=UTC)

CONSTANTS = st.from_regex(r"\A[a-z=_.+()-]{1,6}\Z")
NAMES = st.from_regex(r"\A[a-z][a-z0-9-]{4,10}[a-z0-9]\Z")
MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=0)
)


@st.composite
def formats(draw: st.DrawFn) -> str:
    """The tokens in any order, each in a folder of its own or after a constant, with others."""
    parts: list[str] = []
    for token in draw(st.permutations(TOKENS)):
        constant = draw(st.one_of(st.just(""), CONSTANTS))
        if constant.strip(".") == "" and constant:
            constant = "x"
        parts.append(f"{constant}{{{token}}}")
        parts += draw(st.lists(st.just("constant"), max_size=1))
    return "/".join(parts)


@settings(max_examples=60, deadline=None)
@given(formats(), NAMES, NAMES, st.integers(0, 2000), MOMENTS)
def test_any_order_of_tokens_and_constants_is_read_as_it_was_written(
    text: str, namespace: str, hub: str, partition: int, start: datetime
) -> None:
    name_format = CaptureFormat(text)
    path = name_format.path(namespace, hub, partition, start)
    assert path.endswith(SUFFIX)
    name = name_format.parse(path)
    assert (name.path, name.namespace, name.event_hub) == (path, namespace, hub)
    assert (name.partition, name.start) == (partition, start)


@settings(max_examples=40, deadline=None)
@given(st.permutations(TOKENS[2:]), MOMENTS)
def test_times_and_partition_may_share_one_name(order: list[str], start: datetime) -> None:
    text = "{Namespace}/{EventHub}/" + "-".join(f"{{{token}}}" for token in order)
    name_format = CaptureFormat(text)
    name = name_format.parse(name_format.path("ns", "hub", 12, start))
    assert (name.partition, name.start) == (12, start)


def test_the_default_format_is_event_hubs_own() -> None:
    name_format = CaptureFormat(DEFAULT_CAPTURE_FORMAT)
    path = "my-ns/my-hub/0/2022/05/19/17/10/12.avro"
    assert name_format.path("my-ns", "my-hub", 0, START) == path
    name = name_format.parse(path)
    assert name.start == START
    assert name.landed_hour == datetime(2022, 5, 19, 17, tzinfo=UTC)
    assert name.source == "my-ns/my-hub/0"


@pytest.mark.parametrize("decorated", ["/{}", "{}/", "{}.avro"])
def test_a_format_may_be_copied_with_slashes_or_ending(decorated: str) -> None:
    name_format = CaptureFormat(decorated.format(DEFAULT_CAPTURE_FORMAT))
    assert name_format.path("n", "h", 0, START) == "n/h/0/2022/05/19/17/10/12.avro"


@pytest.mark.parametrize("token", TOKENS)
def test_every_token_is_mandatory(token: str) -> None:
    text = DEFAULT_CAPTURE_FORMAT.replace(f"{{{token}}}", "constant")
    with pytest.raises(SettingsError, match=rf"the token {{{token}}} must appear once"):
        CaptureFormat(text)


def test_a_token_twice_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"\{Hour\} must appear once"):
        CaptureFormat(DEFAULT_CAPTURE_FORMAT + "-{Hour}")


def test_an_unknown_token_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"unknown token \{Weekday\}"):
        CaptureFormat(DEFAULT_CAPTURE_FORMAT + "-{Weekday}")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "ns/hub/0/2022/05/19/17/10/12",
        "ns/hub/0/2022/05/19/17/10/12.avro.tmp",
        "ns/hub/0/2022/05/19/17/10.avro",
        "more/ns/hub/0/2022/05/19/17/10/12.avro",
        "ns/hub/x/2022/05/19/17/10/12.avro",
        "ns/hub/0/22/05/19/17/10/12.avro",
        "ns/hub/0/2022/5/19/17/10/12.avro",
        "ns/hub/0/2022/02/30/17/10/12.avro",
        "ns/hub/0/2022/05/19/24/10/12.avro",
        "ns/hub/0/0000/05/19/17/10/12.avro",
        "ns/hub/0/٢٠٢٢/05/19/17/10/12.avro",
        "ns/hub/0/2022/05/19/17/10/12.avro\n",
        "ns//0/2022/05/19/17/10/12.avro",
    ],
)
def test_a_name_that_does_not_match_is_named_with_the_way_out(path: str) -> None:
    with pytest.raises(CaptureNameError, match="set STINGAR_CAPTURE_FORMAT") as mismatch:
        CaptureFormat(DEFAULT_CAPTURE_FORMAT).parse(path)
    assert repr(path) in str(mismatch.value)
    assert "\n" not in str(mismatch.value)


def test_dots_in_constants_are_only_dots() -> None:
    name_format = CaptureFormat("v1.0/" + DEFAULT_CAPTURE_FORMAT)
    with pytest.raises(CaptureNameError):
        name_format.parse("v1x0/ns/hub/0/2022/05/19/17/10/12.avro")
