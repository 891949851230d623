"""Kafka's protocol, by librdkafka: messages as records of captures, errors as lines.

Partitions are assigned by hand: no consumer group is joined and no offset committed, since landing
tells where to go on. Not here: what becomes of records and errors (`capturing`).
"""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from operator import methodcaller
from typing import Any, Final

from confluent_kafka import (
    TIMESTAMP_NOT_AVAILABLE,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from stingar_dagster.capture.writer import CaptureRecord, Property
from stingar_dagster.errors import BrokerDenied, BrokerUnavailable
from stingar_dagster.kafka.capturing import Polled
from stingar_dagster.kafka.capturing import TopicPartition as Place
from stingar_dagster.kafka.partition import UNREADABLE
from stingar_dagster.kafka.settings import KafkaSettings

ASK_SECONDS: Final = (1, 2, 4, 4, 4)
"""So long an answer of the broker is waited for, and after each whether there is hope is asked. No
signal is heard meanwhile."""

REFUSED_SECONDS: Final = 300.0
"""A login that worked before has to fail for so long until the credential counts as refused:
librdkafka reports a connection that breaks during a login in the same way."""

QUEUE_BYTES: Final = 64 * 1024 * 1024
"""Messages that librdkafka holds ready, over all partitions, before it stops asking for more."""

_headers_of: Final = methodcaller("headers")
"""`message.headers()`. Where a name is not UTF-8, that gives a list with a hole and sets an error,
which Python looks for in calls from C only: a call that it has specialized goes on with the hole,
and the process dies of it."""

_BATCH: Final = 5000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

_LOGIN: Final = (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED)
_NO_TOPIC: Final = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._UNKNOWN_PARTITION,
)

_DENIED: Final = {
    **dict.fromkeys(
        _LOGIN, "the broker refused the credential; check {credential}, and that it may read"
    ),
    KafkaError.UNSUPPORTED_SASL_MECHANISM: (
        "the broker does not know this way to log in; check STINGAR_KAFKA_MECHANISM"
    ),
    KafkaError._SSL: (
        "no secure connection; check STINGAR_KAFKA_SECURITY, and in STINGAR_KAFKA_CA the "
        "certificates of who signed the broker's"
    ),
    **dict.fromkeys(_NO_TOPIC, "there is no such topic; check STINGAR_KAFKA_TOPICS"),
    KafkaError.TOPIC_AUTHORIZATION_FAILED: (
        "reading the topic is not allowed; give {credential} the right to read it"
    ),
    KafkaError.TOPIC_EXCEPTION: "that can't be a topic's name; check STINGAR_KAFKA_TOPICS",
}
"""What another try can't mend, and what to do."""


class KafkaSource:
    """Reads topics of one broker, or cluster of brokers.

    Args:
        settings: where, and as whom.

    Raises:
        BrokerDenied: librdkafka can't use the settings.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._errors: list[KafkaError] = []
        # librdkafka would write to standard error by itself.
        log = logging.Logger("librdkafka")
        log.addHandler(logging.NullHandler())
        log.propagate = False
        try:
            self._consumer = Consumer(
                {
                    **settings.librdkafka(),
                    "client.id": "stingar-capture",
                    "group.id": "stingar-capture",  # asked for, and not used: see above
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    # A position that the broker does not have is looked into, never reset.
                    "auto.offset.reset": "error",
                    "enable.partition.eof": True,
                    "queued.max.messages.kbytes": QUEUE_BYTES // 1024,
                    "fetch.message.max.bytes": 4 * 1024 * 1024,
                    # Microsoft: Azure's load balancers drop connections idle for four minutes.
                    "metadata.max.age.ms": 180_000,
                    "connections.max.idle.ms": 180_000,
                    "socket.keepalive.enable": True,
                    "error_cb": self._errors.append,
                },
                logger=log,
            )
        except (KafkaException, ValueError, TypeError) as error:
            raise BrokerDenied(
                f"STINGAR_KAFKA_BROKERS={settings.brokers}: librdkafka can't use the settings: "
                f"{self._clean(error)}; check the STINGAR_KAFKA_ variables"
            ) from None
        self._batch = _BATCH
        # What came while an answer was waited for.
        self._held: list[Message] = []
        self._is_starting = True
        self._refused_since: float | None = None

    def close(self) -> None:
        self._consumer.close()

    def partitions(self) -> list[Place]:
        # Of all topics: a broker may make a topic that it is asked for by name.
        known = self._ask(lambda seconds: self._consumer.list_topics(timeout=seconds)).topics
        found = []
        for topic in self._settings.topics:
            if topic not in known:
                others = sorted(name for name in known if not name.startswith("__"))
                shown = ", ".join(others[:5]) or "none"
                # A topic that was there may be missing for a moment, as when a broker starts.
                kind = BrokerDenied if self._is_starting else BrokerUnavailable
                raise kind(
                    f"STINGAR_KAFKA_TOPICS={topic}: {self._settings.brokers} has no such topic for "
                    f"this user; it shows {shown}; check the name, or make the topic first"
                )
            if (error := known[topic].error) is not None:
                raise self._error(error, f"STINGAR_KAFKA_TOPICS={topic}")
            found += [(topic, number) for number in sorted(known[topic].partitions)]
        return found

    def bounds(self, place: Place) -> tuple[int, int]:
        low, high = self._ask(
            lambda seconds: self._consumer.get_watermark_offsets(
                TopicPartition(*place), timeout=seconds, cached=False
            )
        )
        return low, high

    def read_from(self, place: Place, offset: int) -> None:
        self.stop(place)
        self._ask(lambda _: self._consumer.incremental_assign([TopicPartition(*place, offset)]))

    def stop(self, place: Place) -> None:
        self._held = [message for message in self._held if _place_of(message) != place]
        # Pausing would do, but what was fetched before might still come afterwards.
        with suppress(KafkaException):  # it was not assigned
            self._consumer.incremental_unassign([TopicPartition(*place)])

    def poll(self, seconds: float) -> Polled:
        held, self._held = self._held, []
        messages = held + self._consumer.consume(self._batch, 0 if held else seconds)
        self._is_starting = False
        polled = Polled()
        size = 0
        for message in messages:
            place = _place_of(message)
            error = message.error()
            if error is None:
                size += len(message.value() or b"")
                self._refused_since = None
                if place in polled.faults:
                    continue  # it is read again from before what could not be read
                polled.records.setdefault(place, []).append(record_of(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                polled.ended.add(place)
            elif error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
                polled.lost.add(place)
            elif self._is_final(error):
                where = f"STINGAR_KAFKA_TOPICS={place[0]}" if place[0] else self._where
                raise self._error(error, where)
            elif place[0] and place[1] >= 0:
                polled.faults[place] = (
                    self._text(error)
                    if error.code() in _DENIED
                    else f"messages can't be read ({self._clean(error)}); look at the broker's log"
                )
            # Of what is no partition's, librdkafka makes another try by itself.
        # A batch must not hold more than the queue does.
        if messages:
            self._batch = min(_BATCH, max(1, QUEUE_BYTES * len(messages) // max(size, 1)))
        for problem in self._taken():
            if problem.code() == KafkaError._ALL_BROKERS_DOWN:
                polled.away = polled.away or f"{self._where}: the broker can't be reached"
            elif self._is_final(problem):
                raise self._error(problem, self._where)
            elif problem.code() in _LOGIN:
                polled.away = f"{self._where}: {self._text(problem)}"
        return polled

    @property
    def _where(self) -> str:
        return f"STINGAR_KAFKA_BROKERS={self._settings.brokers}"

    def _taken(self) -> list[KafkaError]:
        errors, self._errors[:] = list(self._errors), []
        return errors

    def _ask(self, ask: Callable[[float], Any]) -> Any:
        """The answer to a request.

        Raises:
            BrokerDenied, BrokerUnavailable: with what librdkafka told in the background, which
                says more than that no answer came.
        """
        problem: KafkaError | None = None
        causes: list[KafkaError] = []
        for seconds in ASK_SECONDS:
            try:
                answer = ask(seconds)
                if answer is not None:  # else nobody was asked
                    self._refused_since = None
                return answer
            except KafkaException as error:
                problem = error.args[0]
            # Errors are heard by polling only, and what is polled does not come again.
            if (message := self._consumer.poll(0.2)) is not None:
                self._held.append(message)
            told = self._taken()
            for one in (problem, *told):
                if self._is_final(one):
                    raise self._error(one, self._where)
            causes += [one for one in told if one.code() != KafkaError._ALL_BROKERS_DOWN]
        assert problem is not None
        raise self._error(causes[-1] if causes else problem, self._where)

    def _is_final(self, error: KafkaError) -> bool:
        """Whether another try can't mend it."""
        code = error.code()
        if self._is_starting or code not in _DENIED:
            return code in _DENIED
        if code in _LOGIN:
            now = time.monotonic()
            self._refused_since = now if self._refused_since is None else self._refused_since
            return now - self._refused_since >= REFUSED_SECONDS
        # A connection that breaks while it is being secured is a fault like any other.
        return code != KafkaError._SSL and code not in _NO_TOPIC

    def _error(self, error: KafkaError, where: str) -> BrokerDenied | BrokerUnavailable:
        kind = BrokerDenied if self._is_final(error) else BrokerUnavailable
        return kind(f"{where}: {self._text(error)}")

    def _text(self, error: KafkaError) -> str:
        """What happened and what to do, in one line."""
        told, credential = self._clean(error), self._settings.credential
        if error.code() in _LOGIN and not self._is_final(error):
            return (
                "a login failed: its connection broke, or the broker refused the credential "
                f"({told}); if it stays so, check {credential}"
            )
        if error.code() in _DENIED:
            return f"{_DENIED[error.code()].format(credential=credential)} ({told})"
        return (
            f"the broker can't be reached ({told}); check the address, the port, "
            "STINGAR_KAFKA_SECURITY and the network"
        )

    def _clean(self, error: object) -> str:
        """An error's text in one line, without a secret of the settings."""
        if isinstance(error, KafkaException) and error.args:
            error = error.args[0]
        text = error.str() if isinstance(error, KafkaError) else str(error)
        return self._settings.without_secrets(" ".join(text.split()))[:300]


def _place_of(message: Message) -> Place:
    return message.topic() or "", message.partition() or 0


def record_of(message: Message) -> CaptureRecord:
    """A message as Event Hubs Capture would record it.

    The broker's time stamp is the enqueued time, the key the partition key, headers are
    properties, and a tombstone has a null body. Where there is no time stamp, or none that has a
    date, `EnqueuedTimeUtc` is 1970.
    """
    number = message.offset() or 0
    kind, milliseconds = message.timestamp()
    system: dict[str, Property] = {}
    enqueued = _EPOCH
    if kind != TIMESTAMP_NOT_AVAILABLE:
        system["x-opt-enqueued-time"] = milliseconds
        with suppress(OverflowError):
            enqueued = _EPOCH + timedelta(milliseconds=milliseconds)
    if (key := message.key()) is not None:
        system["x-opt-partition-key"] = _text(key)
    try:
        headers = _headers_of(message)
    except (SystemError, UnicodeDecodeError):
        # A name that is not UTF-8, which Kafka allows and the client does not. It tells no others.
        headers = [(UNREADABLE, "headers with a name that is not UTF-8")]
    return CaptureRecord(
        sequence_number=number,
        offset=str(number),
        enqueued=enqueued,
        body=message.value(),
        system_properties=system,
        properties=_properties(headers) if headers else {},
    )


def _properties(headers: Any) -> dict[str, Property]:
    """Headers by name; of several with one name the further ones as `name.2`, `name.3`."""
    properties: dict[str, Property] = {}
    for name, value in headers:
        unused, count = name, 1
        while unused in properties:
            count += 1
            unused = f"{name}.{count}"
        properties[unused] = _text(value)
    return properties


def _text(value: Any) -> Property:
    """Bytes as text where they are UTF-8: what other readers of captures expect."""
    if not isinstance(value, bytes):
        return value  # type: ignore[no-any-return]
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
