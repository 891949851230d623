"""Discovery by notice: from a queue's messages to landed hours that are worth a look.

Listing stays the truth: whatever messages say, an hour is only listed, and only what landing has is
landed. So lost, doubled, late or forged notices change when captures are found, and nothing else.
What Event Hubs says is in its captures is kept to be held against them (`lake.expected`).

A message is deleted at the tick after the one that took it. By then the sensor's cursor, which
holds the hours that are not done yet, is stored: whatever dies, either the cursor has the hour or
the message comes back. Not here: when landing is listed (`watch`), and Dagster's side (`sensors`).
"""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import msgspec

from stingar_dagster.capture.names import SUFFIX, CaptureName
from stingar_dagster.capture.notices import Notice, read_message
from stingar_dagster.errors import CaptureNameError, SettingsError, StingarError
from stingar_dagster.lake.expected import Expected, expect
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.storage.addresses import is_on_azure, path_of

if TYPE_CHECKING:
    from stingar_dagster.storage.queue import Message, Queue

MESSAGES_A_TICK: Final = 320
SECONDS_A_TICK: Final = 15.0
"""No request to the queue begins later: Dagster gives a tick 60 seconds, listing included."""
HOURS_A_TICK: Final = 48
"""Each is one listing; messages of more hours come back."""
TIMES: Final = 5
"""A message that was handed out more often was never done with, whatever the reason: it is left to
listing."""
RETRY_SECONDS: Final = 60.0
"""After the queue failed it is left alone for so long: not every tick is to wait for it."""

_SETTING: Final = "STINGAR_NOTICES"
_HOUR: Final = timedelta(hours=1)


class QueueMarks(msgspec.Struct):
    """What the sensor remembers of the queue.

    Attributes:
        taken: id and receipt of messages whose hours the cursor holds; they can be deleted.
        failed_at: when the queue last failed; epoch seconds, 0 while it works.
        failure: how, in one line.
    """

    taken: list[tuple[str, str]] = []
    failed_at: float = 0.0
    failure: str = ""


@dataclass(slots=True)
class Heard:
    """What messages came to.

    Attributes:
        marks: for the next tick.
        hours: landed hours that captures were said to be in.
        strange: a line for each message that can't be used.
    """

    marks: QueueMarks
    hours: set[datetime] = field(default_factory=set)
    strange: list[str] = field(default_factory=list)


def hear(pipeline: Pipeline, marks: QueueMarks, now: float) -> Heard:
    """Delete the messages that are done with and take the next.

    A queue that can't be used is told in `marks.failure`: it raises nothing, for captures are found
    without it.

    Args:
        pipeline: of the stream whose captures the queue tells of.
        marks: of the last tick that went well.
        now: epoch seconds.
    """
    if not pipeline.settings.notices:
        return Heard(QueueMarks())
    if marks.failure and now - marks.failed_at < RETRY_SECONDS:
        return Heard(marks)
    try:
        with _queue(pipeline) as queue:
            until = time.monotonic() + SECONDS_A_TICK
            left = queue.delete(marks.taken, until)
            heard = _taken(pipeline, queue.take(MESSAGES_A_TICK, until))
            heard.marks.taken += left
            return heard
    except StingarError as error:
        return Heard(QueueMarks(marks.taken, now, str(error)))


@contextlib.contextmanager
def _queue(pipeline: Pipeline) -> Iterator["Queue"]:
    if not is_on_azure(pipeline.landing.store):
        raise SettingsError(
            f"{_SETTING} is for captures on Azure, and "
            f"STINGAR_LANDING={pipeline.landing.store.url} is not; leave it away"
        )
    # Azure's libraries take a second to import: not without notices.
    from stingar_dagster.storage.queue import Queue

    queue = Queue(pipeline.settings.notices, _SETTING)
    try:
        yield queue
    finally:
        queue.close()


def _taken(pipeline: Pipeline, messages: list["Message"]) -> Heard:
    heard = Heard(QueueMarks())
    told: dict[datetime, set[Expected]] = {}
    for message in messages:
        done = (message.id, message.receipt)
        if message.times > TIMES:
            heard.strange.append(
                f"a notice was handed out {message.times} times and never done with; it is "
                f"deleted, listing finds what it told of: {message.text[:100]}"
            )
            heard.marks.taken.append(done)
            continue
        read = read_message(message.text)
        if read.strange:
            heard.strange.append(
                f"a message in {_SETTING} is no notice, and is deleted ({read.strange}): "
                f"{message.text[:100]}"
            )
        named = [(name, notice) for notice in read.notices if (name := _name(pipeline, notice))]
        hours = heard.hours | {name.landed_hour for name, _ in named}
        if heard.hours and len(hours) > HOURS_A_TICK:
            continue  # it comes back
        heard.hours = hours
        for name, notice in named:
            if (counts := notice.counts) is not None:
                told.setdefault(name.landed_hour, set()).add(
                    Expected(
                        name.path,
                        counts.events,
                        counts.size,
                        counts.first_sequence,
                        counts.last_sequence,
                    )
                )
        heard.marks.taken.append(done)
    for hour, expected in sorted(told.items()):
        expect(pipeline.lake, hour, expected)
    return heard


def _name(pipeline: Pipeline, notice: Notice) -> CaptureName | None:
    """The capture that a notice is of, None where it is none of this landing folder and stream."""
    path = path_of(pipeline.landing.store, notice.url)
    if path is None or not path.endswith(SUFFIX):
        return None
    try:
        name = pipeline.landing.format.parse(path)
    except CaptureNameError:
        return None  # listing tells of it, if it is there
    is_time = pipeline.settings.start <= name.start < datetime.now(UTC) + _HOUR
    return name if is_time and pipeline.stream.carries(name.event_hub) else None
