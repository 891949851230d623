"""What Event Grid says of new captures: from a queue's message to notices.

Event Grid writes a message when a blob was created (`Microsoft.Storage.BlobCreated`) or Event Hubs
finished a capture (`Microsoft.EventHub.CaptureFileCreated`), in its own schema or as CloudEvents
1.0, one event or an array of them. Base64 is how it puts them into a storage queue. A notice is
a hint: it may be late, doubled, missing, or written by anyone who may write to the queue. Not here:
the queue (`storage.queue`), and what is done about a notice (`notices`).

See https://learn.microsoft.com/azure/event-grid/event-schema-event-hubs and
https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage
"""

import base64
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

BLOB_CREATED: Final = "Microsoft.Storage.BlobCreated"
CAPTURE_CREATED: Final = "Microsoft.EventHub.CaptureFileCreated"

_Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
_Sequence = Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]


@dataclass(frozen=True, slots=True)
class Counts:
    """What Event Hubs says is in a capture that it wrote.

    Attributes:
        size: in bytes.
        events: as Event Hubs counts them.
        first_sequence, last_sequence: lowest and highest sequence number; -1 without events.
    """

    size: int
    events: int
    first_sequence: int
    last_sequence: int


@dataclass(frozen=True, slots=True)
class Notice:
    """One event of a message: a blob's address, and what is in it if the event says so."""

    url: str
    counts: Counts | None


@dataclass(frozen=True, slots=True)
class Read:
    """A message's notices, and what in it can't be understood, in a few words."""

    notices: tuple[Notice, ...]
    strange: str | None = None


class _Event(msgspec.Struct):
    """An event in Event Grid's own schema, which says `eventType`, or CloudEvents, with `type`."""

    event_type: str = msgspec.field(name="eventType", default="")
    type: str = ""
    data: Any = None


class _Blob(msgspec.Struct):
    url: str


class _File(msgspec.Struct, rename="camel"):
    file_url: str
    size_in_bytes: _Count
    event_count: _Count
    first_sequence_number: _Sequence
    last_sequence_number: _Sequence


def read_message(text: str) -> Read:
    """The notices in a queue's message. Events of other types are none, and nothing strange."""
    try:
        data = text.encode()
        if not data.lstrip().startswith((b"[", b"{")):
            data = base64.b64decode(data, validate=True)
        told = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return Read((), "it is no JSON")
    notices: list[Notice] = []
    strange: str | None = None
    for event in told if isinstance(told, list) else [told]:
        try:
            notice = _notice(msgspec.convert(event, _Event))
        except msgspec.ValidationError as error:
            strange = str(error)
            continue
        if notice is not None:
            notices.append(notice)
    return Read(tuple(notices), strange)


def _notice(event: _Event) -> Notice | None:
    kind = event.event_type or event.type
    if kind == BLOB_CREATED:
        return Notice(msgspec.convert(event.data, _Blob).url, None)
    if kind != CAPTURE_CREATED:
        return None
    file = msgspec.convert(event.data, _File)
    numbers = file.first_sequence_number, file.last_sequence_number
    return Notice(file.file_url, Counts(file.size_in_bytes, file.event_count, *numbers))
