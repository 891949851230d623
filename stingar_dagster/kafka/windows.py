"""The rules by which a partition's messages are cut into captures, and how those are named.

Kafka's offsets are the sequence numbers. A window is the messages of one partition from the first
that landing does not have on. It opens with the first of them that is read and closes

- with the message that brings its encoded records to `size` bytes, or
- `seconds` after it opened, whichever is first. A window without messages is not opened, so an
  idle partition writes nothing, and its last window is closed by the clock, not by a next message.

Its name is the second in which it opened, by the clock of the machine that opened it, and at least
one second after the name of the partition's capture before it: names rise with sequence numbers and
none comes twice. No time in a message decides a name: those of a shipper may go backwards or lie
in 2099. They are kept in the records.

Before anything is read into it, what a window is called is agreed on with every other instance
(`openings`), under the sequence number it begins with. Whoever takes up the same first message,
after a crash or at the same time, takes up the same name and the same end, and the capture is
written only if there is none of that name. So of two instances one writes it and the other learns
from landing where to go on; and no sequence number is in two captures, or left out.

A window that was open when its instance ended is taken up again only while it is young: its name
says when its events came. An older one is written as it stands in landing, empty, so that whoever
still holds it can't write it any more; and its first message opens a window that is named now.

Here: these rules as functions of what is given. Not here: clocks, stores and Kafka.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

SECOND: Final = timedelta(seconds=1)

MOST_AHEAD: Final = timedelta(minutes=1)
"""Names are one a second and partition. Where captures fill up faster for so long that their names
would run this far ahead of the clock, reading waits for it."""

NO_CLOCK_IS_SO_WRONG: Final = timedelta(hours=1)
"""A name further ahead than this was made by a clock that was wrong, here or elsewhere. Nothing
looks for captures there, and nobody goes on before an operator has decided which clock is right."""

TAKEN_UP_SECONDS: Final = 10
"""A window that was open when its instance ended is kept open for at least so long by the next
one, or for a whole window where that is shorter: its messages have to be read once more."""

TAKEN_UP_WITHIN: Final = timedelta(minutes=5)
"""How long after its time was over a window is still taken up. With the longest window of 15
minutes its last event comes well within two hours of the landed hour's begin; an enqueued time
after that is not believed (`cleaning.times`)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When a window closes: after so many seconds, or at so many bytes of encoded records."""

    seconds: int = 300
    size: int = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Opening:
    """What instances agree on: the window whose first sequence number is `first` opened at `start`.

    Attributes:
        first: one after the last sequence number that landing has of the partition. Where the
            topic has a gap there, no message has this number.
        start: UTC, whole seconds: the capture's name.
    """

    first: int
    start: datetime


def next_start(now: datetime, last: datetime | None) -> datetime:
    """The name of a window that opens now, after a capture named `last`."""
    start = now.replace(microsecond=0)
    return start if last is None else max(start, last + SECOND)


def is_usable(
    opening: Opening, first: int, last: datetime | None, now: datetime, limits: Limits
) -> bool:
    """Whether the window from `first` on is the one that was opened, after a capture named `last`.

    It is not where a capture with that or a later name has come since, nor where it is too old.
    """
    return (
        opening.first == first
        and (last is None or opening.start > last)
        and not is_old(opening, now, limits)
    )


def is_old(opening: Opening, now: datetime, limits: Limits) -> bool:
    """Whether nothing that comes now may go under this name any more."""
    return now >= opening.start + timedelta(seconds=limits.seconds) + TAKEN_UP_WITHIN


def seconds_open(opening: Opening, now: datetime, limits: Limits) -> float:
    """How long from now on a window is kept open that is opened, or taken up again, now."""
    left = (opening.start - now).total_seconds() + limits.seconds
    # Its name may be ahead of a clock that was set back.
    return min(max(left, TAKEN_UP_SECONDS), limits.seconds)
