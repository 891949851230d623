"""A Kafka-protocol broker on loopback (the PyPI package noida-db), and what tests do to it.

The broker keeps its topics in memory and writes them to its folder every second or so and when it
is asked to end: killed in between, it forgets messages that it had acknowledged.
"""

import contextlib
import ctypes
import importlib.util
import logging
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import confluent_kafka
from confluent_kafka import KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

SECONDS_TO_START: Final = 30
SAVED_AFTER_SECONDS: Final = 4
"""The broker has written to its folder what came before."""

Message = tuple[int, bytes | None]
"""Partition and body."""


def program() -> Path | None:
    """The broker's binary; the script beside it would only start it as a child."""
    found = importlib.util.find_spec("noida_db")
    if found is None or found.origin is None:
        return None
    file = Path(found.origin).parent / "noida-db"
    return file if file.is_file() else None


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@dataclass
class Broker:
    """A broker process.

    Attributes:
        folder: of its data.
        port: that it listens on.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        binary = program()
        assert binary is not None
        port, folder = str(self.port), str(self.folder)
        self._process = subprocess.Popen(
            [binary, "start", "--only", "kafka", "--kafka-port", port, "--data-dir", folder],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + SECONDS_TO_START
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            time.sleep(0.05)
        raise RuntimeError("the broker does not start")

    def stop(self) -> None:
        """End it as an operator would; it saves everything."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(30)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(30)

    @contextlib.contextmanager
    def hanging(self, seconds: float) -> Iterator[None]:
        """It accepts connections and answers nothing, for so long from now on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        timer = threading.Timer(seconds, self._process.send_signal, [signal.SIGCONT])
        timer.start()
        try:
            yield
        finally:
            timer.join()

    # ---- what an operator does

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.address}, logger=quiet())

    def make(self, topic: str, partitions: int = 1) -> None:
        admin = self.admin()
        # Retention goes by the time stamps that shippers give: without this, an old one is gone.
        new = NewTopic(topic, partitions, 1, config={"retention.ms": "-1"})
        for future in admin.create_topics([new]).values():
            future.result(30)

    def delete(self, topic: str) -> None:
        admin = self.admin()
        for future in admin.delete_topics([topic]).values():
            future.result(30)

    def widen(self, topic: str, partitions: int) -> None:
        admin = self.admin()
        for future in admin.create_partitions([NewPartitions(topic, partitions)]).values():
            future.result(30)

    def forget_before(self, topic: str, partition: int, offset: int) -> None:
        """Delete messages, as retention does."""
        admin = self.admin()
        futures = admin.delete_records([TopicPartition(topic, partition, offset)])
        for future in futures.values():
            future.result(30)

    # ---- what a shipper does

    def send(
        self,
        topic: str,
        messages: Sequence[Message],
        *,
        timestamps: Sequence[int] | None = None,
        key: bytes | None = None,
        headers: list[tuple[str, str | bytes | None]] | None = None,
    ) -> None:
        """Send messages and wait until they are acknowledged."""
        failed: list[KafkaError] = []
        producer = Producer(
            {"bootstrap.servers": self.address, "acks": "all", "linger.ms": 5}, logger=quiet()
        )
        for index, (partition, body) in enumerate(messages):
            while True:
                try:
                    producer.produce(
                        topic,
                        body,
                        key,
                        partition,
                        timestamp=timestamps[index] if timestamps else int(time.time() * 1000),
                        headers=headers,
                        on_delivery=lambda error, _: failed.append(error) if error else None,
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
            if index % 1000 == 0:
                producer.poll(0)
        assert producer.flush(60) == 0
        assert not failed, failed[0]

    def send_with_header_name(self, topic: str, body: bytes, name: bytes) -> None:
        """Send a message whose header's name need not be UTF-8: past the Python client."""
        (found,) = (
            Path(confluent_kafka.__file__).parents[1].glob("confluent_kafka.libs/librdkafka*")
        )
        library = ctypes.CDLL(str(found))
        library.rd_kafka_conf_new.restype = ctypes.c_void_p
        library.rd_kafka_new.restype = ctypes.c_void_p
        conf = ctypes.c_void_p(library.rd_kafka_conf_new())
        said = ctypes.create_string_buffer(512)
        library.rd_kafka_conf_set(conf, b"bootstrap.servers", self.address.encode(), said, 512)
        producer = ctypes.c_void_p(library.rd_kafka_new(0, conf, said, 512))
        # The kinds of arguments, as librdkafka's rd_kafka_vtype_t counts them.
        end, to, partition, value, header = 0, 1, 3, 4, 9
        failed = library.rd_kafka_producev(
            producer,
            to, ctypes.c_char_p(topic.encode()),
            partition, ctypes.c_int32(0),
            value, ctypes.c_char_p(body), ctypes.c_size_t(len(body)),
            header, ctypes.c_char_p(name), ctypes.c_char_p(b"v"), ctypes.c_ssize_t(1),
            end,
        )  # fmt: skip
        assert failed == 0
        assert library.rd_kafka_flush(producer, 30_000) == 0
        library.rd_kafka_destroy(producer)


def quiet() -> logging.Logger:
    """A logger that keeps librdkafka's lines off standard error."""
    logger = logging.Logger("quiet")
    logger.addHandler(logging.NullHandler())
    return logger


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Broker]:
    broker = Broker(folder)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()
        shutil.rmtree(folder, ignore_errors=True)
