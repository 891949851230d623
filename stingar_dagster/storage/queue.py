"""An Azure storage queue: messages taken, and deleted once they are done.

A message that is taken is invisible to others for a while and comes back if it is not deleted, so
each is handed out at least once. Not here: what messages say (`capture.notices`).
"""

import contextlib
import math
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError
from azure.storage.queue import QueueClient

from stingar_dagster.errors import SettingsError, StoreDenied, StoreUnavailable
from stingar_dagster.settings import environment
from stingar_dagster.storage.addresses import account_of
from stingar_dagster.storage.azure_access import credential_for

INVISIBLE_SECONDS: Final = 300
"""For so long a message that was taken and not deleted is not handed out again."""

_A_REQUEST: Final = 32
"""The most that the service hands out at once."""
_PATIENCE: Final[dict[str, Any]] = {
    "connection_timeout": 5,
    "read_timeout": 10,
    "retry_total": 1,
    "initial_backoff": 0,
    "increment_base": 1,
    "random_jitter_range": 0,
}
"""Seconds, and tries after the first. Azure's library would wait 18 seconds before the second; who
looks for captures must not, since listing finds them, too."""
_NAME: Final = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}")
"""Microsoft, "Naming queues and metadata"."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message as it was handed out.

    Attributes:
        id, receipt: what deleting it takes; the receipt is good until it is handed out again.
        text: its content.
        times: how often it was handed out, this time included.
    """

    id: str
    receipt: str
    text: str
    times: int


class Queue:
    """The queue at an address such as `https://account.queue.core.windows.net/name`.

    Credentials come from the variables that stores' come from (`azure_access`), or from those of
    this setting alone.

    Every method raises StoreUnavailable (worth another try) or StoreDenied (not worth one).

    Raises:
        SettingsError: the address is not that of a queue, or a credential is none.
    """

    def __init__(self, url: str, setting: str) -> None:
        self.url = url
        self._setting = setting
        try:
            parts = urlsplit(url)
            fits = parts.scheme in ("http", "https") and bool(parts.hostname)
            parts.port  # noqa: B018  raises where it is no number
        except ValueError:
            fits = False
        name = url.rstrip("/").rsplit("/", 1)[-1]
        if not fits or not _NAME.fullmatch(name):
            raise SettingsError(
                f"{setting}={url} is not the address of a queue: write it like "
                "https://account.queue.core.windows.net/captures"
            )
        self._asks = credential_for(url, setting, environment(), account_of(parts))
        with self._clear_errors():
            self._client: QueueClient = QueueClient.from_queue_url(
                url.rstrip("/"), credential=self._asks.value, **_PATIENCE
            )

    def take(self, most: int, until: float = math.inf) -> list[Message]:
        """Up to so many messages, in any order; they are invisible for a while.

        Args:
            most: of them.
            until: reading of time.monotonic() after which no further request is made.
        """
        with self._clear_errors():
            pages = self._client.receive_messages(
                messages_per_page=min(most, _A_REQUEST),
                visibility_timeout=INVISIBLE_SECONDS,
                max_messages=most,
            ).by_page()
            taken: list[Message] = []
            while time.monotonic() < until and (page := next(pages, None)) is not None:
                taken += (
                    Message(
                        item.id, item.pop_receipt or "", str(item.content), item.dequeue_count or 1
                    )
                    for item in page
                )
            return taken

    def delete(
        self, done: Sequence[tuple[str, str]], until: float = math.inf
    ) -> list[tuple[str, str]]:
        """Delete messages by id and receipt; those that are gone, or handed out again, stay so.

        Returns:
            Those that were not reached `until` then (time.monotonic()): each is a request.
        """
        for number, (identity, receipt) in enumerate(done):
            if time.monotonic() >= until:
                return list(done[number:])
            with self._clear_errors():
                try:
                    self._client.delete_message(identity, receipt)
                except ResourceNotFoundError as error:
                    if _code(error) == "QueueNotFound":
                        raise
                except HttpResponseError as error:
                    if _code(error) != "PopReceiptMismatch":
                        raise
        return []

    def close(self) -> None:
        self._client.close()

    @contextlib.contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except (AzureError, ValueError) as error:
            # The text of an error may quote a request with its signature: only its class is told.
            code = _code(error)
            name = " / ".join(part for part in (type(error).__name__, code) if part)
            place = f"{self._setting}={self.url}"
            if isinstance(error, ResourceNotFoundError):
                raise StoreDenied(
                    f"{place}: there is no such queue ({name}); create it, or check the address"
                ) from None
            status = getattr(error, "status_code", None)
            if isinstance(error, ValueError) or status in (401, 403) or _is_credentials(error):
                raise StoreDenied(
                    f"{place}: refused ({name}) to {self._asks.identity}; check the credential "
                    "and its role, Storage Queue Data Message Processor"
                ) from None
            raise StoreUnavailable(
                f"{place}: not reachable ({name}); check the address and the network"
            ) from None


def _code(error: Exception) -> str:
    code = getattr(error, "error_code", "") or ""
    return str(getattr(code, "value", code))


def _is_credentials(error: Exception) -> bool:
    kinds = {kind.__name__ for kind in type(error).__mro__}
    return bool(kinds & {"ClientAuthenticationError", "CredentialUnavailableError"})
