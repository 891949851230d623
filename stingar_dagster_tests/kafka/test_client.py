"""The client against a real broker: nothing is lost, and no message stops the others."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from confluent_kafka import KafkaError, KafkaException

from stingar_dagster.kafka.capturing import Polled
from stingar_dagster.kafka.client import KafkaSource
from stingar_dagster.kafka.settings import load_kafka_settings
from stingar_dagster_tests.kafka.broker import Broker

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
