"""Where each partition of a hub goes on: what landing has of it, else what the ledgers say.

For everything that writes captures. Landing is the truth; the ledgers in the lake know what was in
landing before retention removed it. Not here: writing (`packing`, `kafka`).
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from stingar_dagster.capture.discovery import Capture, Landing
from stingar_dagster.capture.reader import read_captures
from stingar_dagster.lake.ledger import LedgerLine

_RECENT: Final = timedelta(days=2)
_FIRST: Final = datetime(1, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(9999, 12, 31, 23, tzinfo=UTC)
"""Captures in the future count: a clock that was wrong may have named them."""


@dataclass(frozen=True, slots=True)
class Position:
    """What is captured of one partition.

    Attributes:
        next: the sequence number after the last one, 0 where there is none.
        last_start: the start of the last window, that is the name of the last capture.
        last_body: of the last event, where landing has it.
        has_last_body: whether `last_body` is known; it may be null.
    """

    next: int = 0
    last_start: datetime | None = None
    last_body: bytes | None = None
    has_last_body: bool = False


def positions(
    landing: Landing,
    namespace: str,
    event_hub: str,
    processed: Callable[[], Iterable[LedgerLine]],
    partitions: Collection[int],
) -> dict[int, Position]:
    """The position of each of some partitions, where it has one.

    Args:
        landing: where captures are.
        namespace, event_hub: whose captures.
        processed: ledger lines of the hub's captures; asked for only where landing does not have
            records of one of the partitions.
        partitions: those asked for. Where recent captures tell of all, older are not listed.
    """
    since = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - _RECENT
    wanted = set(partitions)
    found = _in_landing(landing, namespace, event_hub, wanted, since)
    if not wanted <= _known(found):
        found = _in_landing(landing, namespace, event_hub, wanted, _FIRST)
    if wanted <= _known(found):
        return found
    # No identity and no name that was used may come again.
    for line in processed():
        if line.partition not in wanted:
            continue
        known = found.get(line.partition, Position())
        start = landing.format.parse(line.capture).start
        number = 0 if line.last_sequence is None else line.last_sequence + 1
        if number > known.next or (known.last_start is None or start > known.last_start):
            found[line.partition] = Position(
                next=max(known.next, number),
                last_start=start if known.last_start is None else max(start, known.last_start),
                last_body=known.last_body if number <= known.next else None,
                has_last_body=known.has_last_body and number <= known.next,
            )
    return found


def _known(found: dict[int, Position]) -> set[int]:
    """Partitions of which landing has records, not only captures of empty windows."""
    return {partition for partition, position in found.items() if position.has_last_body}


def _in_landing(
    landing: Landing, namespace: str, event_hub: str, wanted: Collection[int], since: datetime
) -> dict[int, Position]:
    by_partition: dict[int, list[Capture]] = {}
    for capture in landing.between(since, _LAST).captures:
        name = capture.name
        if (name.namespace, name.event_hub) == (namespace, event_hub) and name.partition in wanted:
            by_partition.setdefault(name.partition, []).append(capture)
    return {
        partition: _last(landing, captures) for partition, captures in sorted(by_partition.items())
    }


def _last(landing: Landing, captures: list[Capture]) -> Position:
    """Read a partition's captures from the last on, until one has records."""
    captures.sort(key=lambda capture: capture.name.start)
    start = captures[-1].name.start
    for capture in reversed(captures):
        records = read_captures([landing.read(capture)]).records
        if len(records.sequence):
            row = int(records.sequence.argmax())
            begin, length = int(records.body_start[row]), int(records.body_length[row])
            body = records.buffer[begin : begin + length] if length >= 0 else None
            return Position(int(records.sequence[row]) + 1, start, body, True)
    return Position(0, start)
