"""`stingar capture` against a real broker: what lands, where it goes on, how it ends, what it says.

Each is run as a process of its own, as an operator would.
"""

import io
import json
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import fastavro
import pytest
from azure.storage.blob import BlobServiceClient

from stingar_dagster.capture.records import SCHEMA_2017
from stingar_dagster_tests.kafka.broker import Broker
from stingar_dagster_tests.kafka.conftest import Command
from stingar_dagster_tests.kafka.refusing import refusing_broker

SECRET = "canarysecret"
CONNECTION = (
    "Endpoint=sb://example-hubs.servicebus.windows.net/;SharedAccessKeyName=capture;"
    f"SharedAccessKey={SECRET}"
)
PATIENCE = 180


@pytest.fixture
def here(command: Command, shared_broker: Broker, topic: str) -> Command:
    """The command, set to read the topic."""
    command.environ |= {
        "STINGAR_KAFKA_BROKERS": shared_broker.address,
        "STINGAR_KAFKA_TOPICS": topic,
        "STINGAR_CAPTURE_SECONDS": "2",
    }
    return command


def rows(command: Command) -> dict[str, list[dict[str, Any]]]:
    """The records of every capture in a landing folder, by path."""
    return {
        str(path.relative_to(command.landing)): [
            row for row in fastavro.reader(io.BytesIO(path.read_bytes())) if isinstance(row, dict)
        ]
        for path in sorted(command.landing.rglob("*.avro"))
    }


def numbers(command: Command) -> dict[str, list[int]]:
    """Sequence numbers by partition, in the order of the captures' names."""
    found: dict[str, list[int]] = {}
    for path, records in rows(command).items():
        found.setdefault(path.split("/")[2], []).extend(row["SequenceNumber"] for row in records)
    return found


def drain(command: Command) -> str:
    result = command.run("capture", "--until-idle", "0.5")
    assert result.returncode == 0, result.stderr
    return result.stdout


def wait_for(condition: Any) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.1)


# ---- what lands


def test_a_message_lands_as_event_hubs_capture_would_record_it(
    here: Command, shared_broker: Broker, topic: str
) -> None:
    shared_broker.send(
        topic, [(1, b'{"a": 1}')], timestamps=[1_779_210_501_199], key=b"sensor-01",
        headers=[("site", b"lab"), ("raw", b"\xff"), ("none", None), ("site", b"two")],
    )  # fmt: skip
    told = drain(here)
    ((path, (row,)),) = rows(here).items()
    assert path.startswith(f"kafka/{topic}/1/2")
    assert path in told
    assert row == {
        "SequenceNumber": 0,
        "Offset": "0",
        "EnqueuedTimeUtc": "5/19/2026 5:08:21 PM",
        "SystemProperties": {
            "x-opt-enqueued-time": 1_779_210_501_199,
            "x-opt-partition-key": "sensor-01",
        },
        "Properties": {"site": "lab", "raw": b"\xff", "none": None, "site.2": "two"},
        "Body": b'{"a": 1}',
    }
    head = (here.landing / path).read_bytes()[:1000]
    assert SCHEMA_2017 in head


def test_a_tombstone_is_a_null_body(here: Command, shared_broker: Broker, topic: str) -> None:
    shared_broker.send(topic, [(0, None)], key=b"k")
    drain(here)
    assert [row["Body"] for records in rows(here).values() for row in records] == [None]


def test_no_clock_of_a_shipper_names_a_capture(
    here: Command, shared_broker: Broker, topic: str
) -> None:
    times = [4_070_908_800_000, 1, 1_700_000_000_000, 9_000_000_000_000_000]
    shared_broker.send(topic, [(0, b"x")] * 4, timestamps=times)
    drain(here)
    ((path, records),) = rows(here).items()
    assert abs(int(path.split("/")[3]) - time.gmtime().tm_year) <= 1
    assert [row["SystemProperties"]["x-opt-enqueued-time"] for row in records] == times


def test_all_partitions_are_captured_and_a_second_run_goes_on(
    here: Command, shared_broker: Broker, topic: str
) -> None:
    for _ in range(3):
        shared_broker.send(topic, [(i % 2, b"%d" % i) for i in range(1000)])
        drain(here)
    assert numbers(here) == {"0": list(range(1500)), "1": list(range(1500))}
    assert "0 events in 0 captures" in drain(here)


def test_full_windows_are_cut_by_size(here: Command, shared_broker: Broker, topic: str) -> None:
    here.environ["STINGAR_CAPTURE_BYTES"] = "100000"
    shared_broker.send(topic, [(0, b"x" * 500)] * 1000)
    drain(here)
    sizes = [path.stat().st_size for path in here.landing.rglob("*.avro")]
    assert len(sizes) > 4
    assert all(size < 110_000 for size in sizes)
    assert numbers(here) == {"0": list(range(1000))}


def test_partitions_that_are_added_are_found_by_the_next_start(
    here: Command, shared_broker: Broker, topic: str
) -> None:
    drain(here)
    shared_broker.widen(topic, 4)
    shared_broker.send(topic, [(3, b"x")])
    drain(here)
    assert numbers(here) == {"3": [0]}


def test_it_captures_into_azure(
    here: Command, shared_broker: Broker, topic: str, container: str, azurite: str
) -> None:
    here.environ |= {"STINGAR_LANDING": f"az://{container}/landing"}
    here.environ |= {"STINGAR_LAKE": f"az://{container}/lake"}
    for _ in range(2):
        shared_broker.send(topic, [(0, b"x")] * 100)
        drain(here)
    with BlobServiceClient.from_connection_string(azurite) as client:
        blobs = client.get_container_client(container)
        names = [b.name for b in blobs.list_blobs("landing/") if b.name.endswith(".avro")]
        found = [
            row["SequenceNumber"]  # type: ignore[index,call-overload]
            for name in sorted(names)
            for row in fastavro.reader(io.BytesIO(blobs.download_blob(name).readall()))
        ]
    assert found == list(range(200))


# ---- kills, endings, others at work


def test_killed_again_and_again_it_captures_each_message_once(
    here: Command, shared_broker: Broker, topic: str
) -> None:
    here.environ["STINGAR_CAPTURE_BYTES"] = "20000"
    sent = 0
    for turn in range(4):
        process = here.start("capture")
        for _ in range(3):
            shared_broker.send(topic, [(i % 2, b"%d" % i) for i in range(sent, sent + 500)])
            sent += 500
        # Each is killed elsewhere: after so many captures more.
        before = len(rows(here))
        wait_for(lambda enough=before + turn: len(list(here.landing.rglob("*.avro"))) >= enough)
        process.kill()
        process.communicate()
    drain(here)
    assert numbers(here) == {"0": list(range(sent // 2)), "1": list(range(sent // 2))}


def test_two_at_once_capture_each_message_once(
    here: Command, shared_broker: Broker, topic: str
) -> None:
    here.environ["STINGAR_CAPTURE_BYTES"] = "20000"
    both = [here.start("capture"), here.start("capture")]
    for turn in range(10):
        shared_broker.send(topic, [(turn % 2, b"x" * 50)] * 300)
    wait_for(lambda: sum(map(len, numbers(here).values())) == 3000)
    for process in both:
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
    drain(here)
    assert numbers(here) == {"0": list(range(1500)), "1": list(range(1500))}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_the_open_window_is_read_again(
    here: Command, shared_broker: Broker, topic: str, number: signal.Signals
) -> None:
    here.environ["STINGAR_CAPTURE_SECONDS"] = "900"
    shared_broker.send(topic, [(0, b"x")] * 10)
    process = here.start("capture")
    opening = here.folder / f"lake/stingar/state/capturing/kafka/{topic}/0.json"
    wait_for(opening.is_file)
    agreed = json.loads(opening.read_text())
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    assert "0 events in 0 captures" in out
    assert rows(here) == {}
    drain(here)
    ((path, records),) = rows(here).items()
    assert len(records) == 10
    assert path.endswith(time.strftime("%H/%M/%S.avro", time.gmtime(agreed["start"])))


# ---- what it refuses, and says


def one_line(result: "subprocess.CompletedProcess[str]") -> str:
    """The only line of an error, with exit code 2 and nothing else said."""
    assert result.returncode == 2, result
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert SECRET not in line
    return line.removeprefix("stingar: ")


def test_a_topic_that_was_made_again_is_refused(
    here: Command, shared_broker: Broker, topic: str
) -> None:
    shared_broker.send(topic, [(0, b"old")] * 10)
    drain(here)
    before = rows(here)
    shared_broker.delete(topic)
    shared_broker.make(topic, 2)
    shared_broker.send(topic, [(0, b"new")] * 5)
    line = one_line(here.run("capture", "--until-idle", "0.5"))
    assert line.startswith(f"kafka/{topic}/0: captured up to message 9, but the topic ends before")
    shared_broker.send(topic, [(0, b"new")] * 50)
    line = one_line(here.run("capture", "--until-idle", "0.5"))
    assert line.startswith(f"kafka/{topic}/0: message 9 is not the one that was captured")
    assert rows(here) == before


def test_a_hub_has_one_captor(here: Command, shared_broker: Broker, topic: str) -> None:
    (here.folder / "line").write_text('{"a": 1}\n')
    land = ("land", "line", "--partitions", "1", "--hub", topic, "--namespace")
    shared_broker.send(topic, [(0, b"x")] * 5)
    drain(here)
    line = one_line(here.run(*land, "kafka"))
    assert line.startswith(f"kafka/{topic} is what `stingar capture` writes")
    assert numbers(here) == {"0": [0, 1, 2, 3, 4]}
    assert here.run(*land, "campus").returncode == 0
    line = one_line(here.run("capture", STINGAR_KAFKA_NAMESPACE="campus"))
    assert line.startswith(f"campus/{topic}/0: message 0 is not the one that was captured")
    assert "something else wrote the captures" in line


def test_a_store_that_can_not_tell_two_writers_apart_is_named(here: Command) -> None:
    stores = {"STINGAR_LANDING": "memory://landing", "STINGAR_LAKE": "memory://lake"}
    result = here.run("capture", "--until-idle", "0.5", **stores)
    assert result.returncode == 0
    named = [line.split(":")[1].strip() for line in result.stderr.splitlines()]
    assert named == ["STINGAR_LANDING=memory", "STINGAR_LAKE=memory"]
    assert "no two `stingar capture` run at once" in result.stderr


def test_messages_that_retention_took_are_told_and_the_rest_is_captured(
    here: Command, shared_broker: Broker, topic: str
) -> None:
    shared_broker.send(topic, [(0, b"x")] * 10)
    drain(here)
    shared_broker.send(topic, [(0, b"x")] * 20)
    shared_broker.forget_before(topic, 0, 15)
    result = here.run("capture", "--until-idle", "0.5")
    assert result.returncode == 0
    assert "MESSAGES ARE LOST: 10 to 14 went out of the topic" in result.stderr
    assert numbers(here) == {"0": [*range(10), *range(15, 30)]}


def test_a_topic_that_is_not_there_is_told_and_not_made(
    here: Command, shared_broker: Broker
) -> None:
    line = one_line(here.run("capture", STINGAR_KAFKA_TOPICS="mistyped"))
    assert line.startswith("STINGAR_KAFKA_TOPICS=mistyped: 127.0.0.1:")
    assert "mistyped" not in shared_broker.admin().list_topics(timeout=10).topics


def test_a_broker_that_is_not_there_is_told(here: Command) -> None:
    line = one_line(here.run("capture", STINGAR_KAFKA_BROKERS="127.0.0.1:1"))
    assert line.startswith("STINGAR_KAFKA_BROKERS=127.0.0.1:1: the broker can't be reached")
    assert "Connection refused" in line


def test_a_broker_without_tls_is_told_and_the_password_is_not(
    here: Command, shared_broker: Broker
) -> None:
    line = one_line(here.run("capture", STINGAR_KAFKA_CONNECTION_STRING=CONNECTION))
    assert "STINGAR_KAFKA_SECURITY" in line


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"STINGAR_KAFKA_CONNECTION_STRING": CONNECTION}, "STINGAR_KAFKA_CONNECTION_STRING"),
        (
            {"STINGAR_KAFKA_USER": "capture", "STINGAR_KAFKA_PASSWORD": SECRET},
            "STINGAR_KAFKA_USER and STINGAR_KAFKA_PASSWORD",
        ),
    ],
)
def test_a_credential_that_is_refused_is_named_and_not_shown(
    command: Command, environ: dict[str, str], named: str
) -> None:
    with refusing_broker() as (address, logins):
        told = command.run(
            "capture",
            STINGAR_KAFKA_BROKERS=address,
            STINGAR_KAFKA_SECURITY="SASL_PLAINTEXT",
            **environ,
        )
    line = one_line(told)
    assert line.startswith(f"STINGAR_KAFKA_BROKERS={address}: the broker refused the credential")
    assert f"check {named}," in line
    assert any(SECRET.encode() in login for login in logins), "nothing was tried"


def test_the_broker_may_go_and_come_while_it_captures(command: Command, tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker")
    broker.start()
    try:
        broker.make("stingar", 1)
        command.environ |= {
            "STINGAR_KAFKA_BROKERS": broker.address,
            "STINGAR_CAPTURE_SECONDS": "1",
        }
        process = command.start("capture")
        broker.send("stingar", [(0, b"x")] * 100)
        wait_for(lambda: Counter(map(len, numbers(command).values())) == {100: 1})
        broker.stop()
        time.sleep(3)
        broker.start()
        broker.send("stingar", [(0, b"y")] * 100)
        wait_for(lambda: numbers(command) == {"0": list(range(200))})
        process.terminate()
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0
        (line,) = err.splitlines()
        assert line.endswith("the broker can't be reached; it is tried again until it works")
    finally:
        broker.kill()
