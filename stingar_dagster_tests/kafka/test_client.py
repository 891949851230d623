"""The client against a real broker: nothing is lost, and no message stops the others."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from confluent_kafka import KafkaError, KafkaException, Message

from stingar_dagster.errors import BrokerDenied, BrokerUnavailable
from stingar_dagster.kafka import client
from stingar_dagster.kafka.capturing import Polled
from stingar_dagster.kafka.client import KafkaSource
from stingar_dagster.kafka.partition import UNREADABLE
from stingar_dagster.kafka.settings import load_kafka_settings
from stingar_dagster_tests.kafka.broker import Broker
from stingar_dagster_tests.kafka.refusing import (
    SASL_AUTHENTICATE,
    SASL_HANDSHAKE,
    refusing_broker,
)

LOOKS = 120
"""Of a quarter of a second each: what does not come by then does not come."""


@pytest.fixture
def source(shared_broker: Broker, topic: str) -> Iterator[KafkaSource]:
    settings = load_kafka_settings(
        {"STINGAR_KAFKA_BROKERS": shared_broker.address, "STINGAR_KAFKA_TOPICS": topic}
    )
    with closing(KafkaSource(settings)) as source:
        yield source


def looks(source: KafkaSource) -> Iterator[Polled]:
    for _ in range(LOOKS):
        yield source.poll(0.25)


def numbers(source: KafkaSource, topic: str) -> list[int]:
    """The sequence numbers of the first partition until its end."""
    found: list[int] = []
    for polled in looks(source):
        found += [record.sequence_number for record in polled.records.get((topic, 0), [])]
        if (topic, 0) in polled.ended:
            break
    return found


class Unanswered:
    """A request that is answered when it is made again."""

    def __init__(self) -> None:
        self._asked = False

    def __call__(self, seconds: float) -> str:
        if not self._asked:
            self._asked = True
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return "an answer"


def wait_until_fetched(source: KafkaSource, topic: str) -> list[int]:
    """Read something, so that more is ready."""
    for polled in looks(source):
        if records := polled.records.get((topic, 0)):
            return [record.sequence_number for record in records]
    raise AssertionError("nothing comes")


# ---- while an answer is waited for


def test_no_message_is_lost_while_the_broker_hangs(
    source: KafkaSource, shared_broker: Broker, topic: str
) -> None:
    shared_broker.send(topic, [(0, b"x")] * 30_000)
    source.read_from((topic, 0), 0)
    found = wait_until_fetched(source, topic)
    with shared_broker.hanging(1.5):
        assert source.partitions() == [(topic, 0), (topic, 1)]
    assert found + numbers(source, topic) == list(range(30_000))


def test_what_came_meanwhile_is_not_given_after_a_partition_was_stopped(
    source: KafkaSource, shared_broker: Broker, topic: str
) -> None:
    shared_broker.send(topic, [(0, b"x")] * 20_000)
    source.read_from((topic, 0), 0)
    wait_until_fetched(source, topic)
    source._ask(Unanswered())
    assert source._held, "nothing came meanwhile"
    source.read_from((topic, 0), 10)
    assert numbers(source, topic) == list(range(10, 20_000))


def test_a_position_that_the_broker_lost_is_told_though_an_answer_was_waited_for(
    source: KafkaSource, shared_broker: Broker, topic: str
) -> None:
    shared_broker.send(topic, [(0, b"x")] * 100)
    shared_broker.forget_before(topic, 0, 50)
    source.read_from((topic, 0), 10)
    for _ in range(20):  # the error may come in any of them
        source._ask(Unanswered())
        if source._held:
            break
    assert any((topic, 0) in polled.lost for polled in looks(source))


# ---- messages that can't be read


def test_a_message_with_headers_that_can_not_be_read_comes_without_them(
    source: KafkaSource, shared_broker: Broker, topic: str
) -> None:
    # Python specializes code that ran often, and then looks for fewer errors.
    shared_broker.send(topic, [(0, b"before")] * 500, headers=[("site", b"lab")])
    shared_broker.send_with_header_name(topic, b"{}", b"\xff\xfe")
    shared_broker.send(topic, [(0, b"after")])
    source.read_from((topic, 0), 0)
    found = []
    for polled in looks(source):
        found += polled.records.get((topic, 0), [])
        if len(found) == 502:
            break
    assert [record.body for record in found] == [*[b"before"] * 500, b"{}", b"after"]
    assert found[499].properties == {"site": "lab"}
    assert list(found[500].properties) == [UNREADABLE]


def test_a_fault_in_a_partition_is_told_and_nothing_behind_it_comes(source: KafkaSource) -> None:
    bad = KafkaError(KafkaError._BAD_MSG)
    source._held = [
        Message(topic="t", partition=0, offset=4, value=b"before"),
        Message(topic="t", partition=0, offset=5, error=bad),
        Message(topic="t", partition=0, offset=6, value=b"behind"),
        Message(topic="t", partition=1, offset=6, value=b"elsewhere"),
        Message(partition=-1, error=KafkaError(KafkaError.GROUP_AUTHORIZATION_FAILED)),
    ]
    polled = source.poll(0)
    assert list(polled.faults) == [("t", 0)]
    assert "messages can't be read (Local: Bad message format)" in polled.faults["t", 0]
    assert {place: [r.body for r in records] for place, records in polled.records.items()} == {
        ("t", 0): [b"before"],
        ("t", 1): [b"elsewhere"],
    }


# ---- what passes by itself


def test_a_topic_that_was_there_may_be_missing_for_a_while(
    source: KafkaSource, shared_broker: Broker, topic: str
) -> None:
    assert len(source.partitions()) == 2
    source.poll(0)
    shared_broker.delete(topic)
    with pytest.raises(BrokerUnavailable, match=f"STINGAR_KAFKA_TOPICS={topic}: .*no such topic"):
        source.partitions()
    shared_broker.make(topic, 2)
    assert len(source.partitions()) == 2


def test_a_topic_that_was_never_there_is_refused(
    source: KafkaSource, shared_broker: Broker, topic: str
) -> None:
    shared_broker.delete(topic)
    with pytest.raises(BrokerDenied, match="no such topic"):
        source.partitions()


@contextmanager
def logging_in(dropped: int | None) -> Iterator[KafkaSource]:
    """A client of a broker that refuses its login, or ends the connection meanwhile."""
    with refusing_broker(dropped) as (address, _):
        settings = load_kafka_settings(
            {
                "STINGAR_KAFKA_BROKERS": address,
                "STINGAR_KAFKA_USER": "capture",
                "STINGAR_KAFKA_PASSWORD": "canarysecret",
                "STINGAR_KAFKA_SECURITY": "SASL_PLAINTEXT",
            }
        )
        with closing(KafkaSource(settings)) as source:
            yield source


@pytest.mark.parametrize("dropped", [SASL_HANDSHAKE, SASL_AUTHENTICATE, None])
def test_a_login_that_fails_while_it_captures_is_told_and_tried_again(
    dropped: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ASK_SECONDS", (0.5, 0.5))
    with logging_in(dropped) as source:
        told = next(filter(None, (polled.away for polled in looks(source))))
        assert "STINGAR_KAFKA_BROKERS=127.0.0.1:" in told
        if dropped is None:
            assert "a login failed" in told
            assert "check STINGAR_KAFKA_USER and STINGAR_KAFKA_PASSWORD" in told
        with pytest.raises(BrokerUnavailable):
            source.partitions()


def test_a_login_that_fails_for_minutes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "REFUSED_SECONDS", 1.0)
    with (
        logging_in(None) as source,
        pytest.raises(BrokerDenied, match="the broker refused the credential; check STINGAR_"),
    ):
        for _ in looks(source):
            pass


def test_an_answer_ends_what_a_failed_login_began(source: KafkaSource) -> None:
    source.poll(0)
    assert not source._is_final(KafkaError(KafkaError._AUTHENTICATION))
    assert source._refused_since is not None
    source.partitions()
    assert source._refused_since is None
