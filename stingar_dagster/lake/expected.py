"""What Event Hubs said of captures, held against what they were found to hold.

Kept beside the ledger, never in it: landing is a pure function of the captures, whether a notice
came or not. A capture is as told if one of the notices of it agrees, so a forged one beside the
true one changes nothing. Not here: how notices arrive (`notices`).
"""

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

import msgspec

from stingar_dagster.errors import Conflict
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.layout import hour_of_path
from stingar_dagster.lake.ledger import Ledger, LedgerLine

MOST_AN_HOUR: Final = 20_000
"""Lines kept of a landed hour. A minute's captures of 300 partitions are as many."""
_ATTEMPTS: Final = 20


class Expected(msgspec.Struct, frozen=True, order=True, omit_defaults=True):
    """What one notice says of a capture.

    Attributes:
        capture: its path in landing.
        events: as Event Hubs counts them.
        size: in bytes.
        first_sequence, last_sequence: lowest and highest sequence number; -1 without events.
    """

    capture: str
    events: int
    size: int
    first_sequence: int = -1
    last_sequence: int = -1

    def agrees(self, line: LedgerLine) -> bool:
        if not self.events:
            return not line.records
        found = (line.records, line.size, line.first_sequence, line.last_sequence)
        return found == (self.events, self.size, self.first_sequence, self.last_sequence)

    def __str__(self) -> str:
        if not self.events:
            return "no events"
        numbers = f"{self.first_sequence} to {self.last_sequence}"
        return f"{self.events} events, {numbers}, in {self.size} bytes"


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Expected).decode


def expect(lake: Lake, landed_hour: datetime, told: Iterable[Expected]) -> None:
    """Add what notices say of an hour's captures; the same again changes nothing.

    Raises:
        Conflict: other processes kept writing it.
    """
    path = lake.layout.hour_record("notices", landed_hour)
    told = set(told)
    for _ in range(_ATTEMPTS):
        version = lake.store.etag(path)
        try:
            known = set(_read(lake, path)) if version is not None else set()
        except FileNotFoundError:
            continue
        every = sorted(known | told)[:MOST_AN_HOUR]
        if set(every) == known:
            return
        try:
            lake.store.write(path, b"".join(_encode(one) + b"\n" for one in every), version)
        except Conflict:
            continue
        return
    raise Conflict(f"{lake.store.describe(path)} keeps changing; it is written again later")


def expected_of(lake: Lake, landed_hour: datetime) -> dict[str, list[Expected]]:
    """What notices say of an hour's captures, by capture."""
    by_capture: dict[str, list[Expected]] = {}
    try:
        for one in _read(lake, lake.layout.hour_record("notices", landed_hour)):
            by_capture.setdefault(one.capture, []).append(one)
    except FileNotFoundError:
        pass
    return by_capture


def expected_hours(
    lake: Lake, since: datetime | None = None, until: datetime | None = None
) -> list[datetime]:
    """Landed hours in [since, until) that notices told of."""
    found = (
        hour_of_path(entry.path) for entry in lake.store.find(lake.layout.hour_records("notices"))
    )
    return [
        hour
        for hour in found
        if (since is None or hour >= since) and (until is None or hour < until)
    ]


def forget_expected(lake: Lake, before: datetime) -> None:
    """Remove what notices said of landed hours before that."""
    for hour in expected_hours(lake, until=before):
        lake.store.remove(lake.layout.hour_record("notices", hour))


def disagreements(
    ledger: Ledger, told: dict[str, list[Expected]], damaged: bool
) -> Iterator[tuple[str, str]]:
    """Captures that the ledger has otherwise than every notice of them: (capture, in words).

    Args:
        ledger: of the hour.
        told: what notices say of its captures.
        damaged: those that the ledger says are damaged, or those that it calls whole.
    """
    for capture, ways in sorted(told.items()):
        line = ledger.lines.get(capture)
        if line is None or bool(line.damage) is not damaged:
            continue
        if not any(expected.agrees(line) for expected in ways):
            first = -1 if line.first_sequence is None else line.first_sequence
            last = -1 if line.last_sequence is None else line.last_sequence
            found = Expected(capture, line.records, line.size, first, last)
            yield (
                capture,
                f"Event Grid told of {' or of '.join(map(str, ways[:3]))}; it has {found}",
            )


def _read(lake: Lake, path: str) -> Iterator[Expected]:
    for text in lake.store.read(path).splitlines():
        try:
            yield _decode(text)
        except msgspec.DecodeError:
            continue  # of a newer release, or damaged: a hint less
