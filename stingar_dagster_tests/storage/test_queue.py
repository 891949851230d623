"""A storage queue, against Azurite: handed out at least once, deleted once done, clear refusals."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stingar_dagster.errors import SettingsError, StingarError, StoreDenied, StoreUnavailable
from stingar_dagster.storage.queue import Message, Queue
from stingar_dagster_tests.azure_servers import Mailbox, Servers, azure_servers
from stingar_dagster_tests.azurite import ACCOUNT, KEY

VARIABLES = (
    "CONNECTION_STRING", "ACCOUNT_NAME", "ACCOUNT_KEY", "SAS_TOKEN",
    "TENANT_ID", "CLIENT_ID", "CLIENT_SECRET",
)  # fmt: skip


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with azure_servers() as running:
        yield running


@pytest.fixture
def mailbox(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mailbox]:
    for name in VARIABLES:
        monkeypatch.delenv(f"AZURE_STORAGE_{name}", raising=False)
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", servers.connection_string)
    mailbox = servers.new_queue()
    yield mailbox
    mailbox.client.close()


@pytest.fixture
def queue(mailbox: Mailbox) -> Iterator[Queue]:
    queue = Queue(mailbox.url, "STINGAR_NOTICES")
    yield queue
    queue.close()


def receipts(messages: list[Message]) -> list[tuple[str, str]]:
    return [(message.id, message.receipt) for message in messages]


def test_messages_are_taken_up_to_a_number_and_stay_until_they_are_deleted(
    queue: Queue, mailbox: Mailbox
) -> None:
    for number in range(70):
        mailbox.send_text(f"message {number}")
    first, second = queue.take(40), queue.take(40)
    assert [len(first), len(second)] == [40, 30]
    assert {m.text for m in (*first, *second)} == {f"message {n}" for n in range(70)}
    assert {m.times for m in (*first, *second)} == {1}
    assert mailbox.waiting() == 70
    assert queue.delete(receipts(first)) == []
    assert mailbox.waiting() == 30
    assert queue.take(40) == []


def test_nothing_is_asked_for_once_time_is_up(queue: Queue, mailbox: Mailbox) -> None:
    for number in range(2):
        mailbox.send_text(f"message {number}")
    now = time.monotonic()
    assert queue.take(2, until=now) == []
    done = receipts(queue.take(2, until=now + 60))
    assert queue.delete(done, until=now) == done
    assert mailbox.waiting() == 2
    assert queue.delete(done, until=now + 60) == []
    assert mailbox.waiting() == 0


def test_a_message_that_was_not_deleted_comes_back_and_counts(
    queue: Queue, mailbox: Mailbox
) -> None:
    mailbox.send_text("again")
    mailbox.give_back(receipts(queue.take(1)))
    (message,) = queue.take(1)
    assert (message.text, message.times) == ("again", 2)


def test_deleting_what_is_gone_or_was_handed_out_again_is_nothing(
    queue: Queue, mailbox: Mailbox
) -> None:
    mailbox.send_text("one")
    mailbox.send_text("two")
    old = receipts(queue.take(2))
    mailbox.give_back(old)
    new = receipts(queue.take(2))
    queue.delete(old)
    assert mailbox.waiting() == 2
    queue.delete(new)
    queue.delete(new)
    assert mailbox.waiting() == 0


# ---- credentials


@pytest.mark.parametrize("variables", [
    {"ACCOUNT_NAME": ACCOUNT, "ACCOUNT_KEY": KEY},
    {"ACCOUNT_KEY": KEY},
])  # fmt: skip
def test_a_key_in_the_usual_variables_is_used(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    for name, value in variables.items():
        monkeypatch.setenv(f"AZURE_STORAGE_{name}", value)
    mailbox.send_text("hello")
    queue = Queue(mailbox.url, "STINGAR_NOTICES")
    assert [message.text for message in queue.take(1)] == ["hello"]
    queue.close()


# ---- refusals


def refusal(url: str) -> StingarError:
    """The error that taking a message comes to; it is one line and holds no key."""
    with pytest.raises(StingarError) as refused:
        Queue(url, "STINGAR_NOTICES").take(1)
    line = str(refused.value)
    assert line.startswith("STINGAR_NOTICES=http")
    assert "\n" not in line
    assert KEY not in line
    assert "sig=" not in line
    return refused.value


@pytest.mark.parametrize(
    "url",
    [
        "https://account.queue.core.windows.net",
        "https://account.queue.core.windows.net/",
        "https://account.queue.core.windows.net/Captures",
        "https://account.queue.core.windows.net/ca",
        "https://account.queue.core.windows.net:port/captures",
        "https:///captures",
        "https://[/captures",
        "httpx://account.queue.core.windows.net/captures",
    ],
)
def test_an_address_that_is_no_queues_is_a_setting_to_be_mended(url: str) -> None:
    error = refusal(url)
    assert isinstance(error, SettingsError)
    assert "write it like https://account.queue.core.windows.net/captures" in str(error)


def test_a_queue_that_is_not_there_is_told(servers: Servers, mailbox: Mailbox) -> None:
    error = refusal(f"{servers.queue}/missing")
    assert isinstance(error, StoreDenied)
    assert "there is no such queue" in str(error)


def test_a_wrong_key_is_told_with_the_role_that_is_needed(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY[::-1].lstrip("=") + "==")
    error = refusal(mailbox.url)
    assert isinstance(error, StoreDenied)
    assert "Storage Queue Data Message Processor" in str(error)


def test_a_key_that_is_no_base64_is_a_setting_to_be_mended(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "no key")
    assert isinstance(refusal(mailbox.url), SettingsError)


def test_no_credential_at_all_is_told(
    servers: Servers, mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING")
    # Nothing on this machine may stand in for one.
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    error = refusal("https://account.queue.core.windows.net/captures")
    assert isinstance(error, StoreDenied)
    assert "check the credential" in str(error)


def test_a_service_that_does_not_answer_may_later(mailbox: Mailbox) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        error = refusal(f"http://127.0.0.1:{free.getsockname()[1]}/{ACCOUNT}/captures")
    assert isinstance(error, StoreUnavailable)
    assert "not reachable" in str(error)
