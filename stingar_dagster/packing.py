"""Log lines to Capture files in landing, as Event Hubs Capture would write them.

For on-premises use, replays, the demo and tests. Sequence numbers of a partition go on from what
is in landing, without a gap (`resuming`). Not here: the file format (`capture.writer`).
"""

import contextlib
import fcntl
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stingar_dagster.capture.discovery import Landing
from stingar_dagster.capture.writer import CaptureRecord, encode_capture
from stingar_dagster.errors import StoreDenied, UsageError
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.ledger import LedgerLine
from stingar_dagster.resuming import positions
from stingar_dagster.storage.local import HIDDEN, LocalStore

CAPTURE_BYTES = 32 * 1024 * 1024
"""A capture is closed at about so many bytes of bodies, as Capture's size window does."""


BLOCK_BYTES = 64 * 1024
"""Of lines below a header in one body: the header is little beside them, and the body far from
what is too large."""


@dataclass(frozen=True, slots=True)
class Hub:
    """Where the captures claim to come from."""

    namespace: str = "local"
    event_hub: str = "stingar"
    partitions: int = 4


def refuse_captured(lake: Lake, hub: Hub) -> None:
    """Keep off a hub that `stingar capture` numbers: both would give out the same numbers.

    Raises:
        UsageError: it is one.
    """
    if lake.store.find(lake.layout.openings(hub.namespace, hub.event_hub)):
        raise UsageError(
            f"{hub.namespace}/{hub.event_hub} is what `stingar capture` writes, and its sequence "
            "numbers are those of the broker; give another --namespace or --hub"
        )


class Packer:
    """Writes captures for one hub. One packer at a time: sequence numbers must not fork.

    Args:
        landing: where captures go.
        hub: namespace, Event Hub and number of partitions.
        processed: ledger lines of the hub's captures; asked for where landing does not have
            those of a partition any more.
    """

    def __init__(
        self, landing: Landing, hub: Hub, processed: Callable[[], Iterable[LedgerLine]] = list
    ) -> None:
        self.landing = landing
        self._hub = hub
        self._processed = processed
        self._next: dict[int, int] = {}
        self._last_start: dict[int, datetime] = {}

    @property
    def is_new(self) -> bool:
        """Whether landing holds no capture of this hub."""
        return not self._last_start

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other packers on this landing folder out, and learn where to go on.

        Raises:
            UsageError: another one is at work.
        """
        with _lock(self.landing):
            self.resume()
            yield

    def pack(self, bodies: Sequence[bytes], received: datetime) -> list[str]:
        """Write one capture a partition, the bodies spread evenly over them.

        Args:
            bodies: one an event, in order of arrival.
            received: when Event Hubs would have received them (UTC): the landed hour.

        Returns:
            the names of the captures.
        """
        written = []
        for partition in range(self._hub.partitions):
            share = bodies[partition :: self._hub.partitions]
            for chunk in _chunks(share):
                written.append(self._write(partition, chunk, received))
        return written

    def _write(self, partition: int, bodies: Sequence[bytes], received: datetime) -> str:
        received = received.astimezone(UTC)
        start = received.replace(microsecond=0)
        last = self._last_start.get(partition)
        if last is not None and start <= last:
            # Names are windows' starts: one a second and partition.
            start = last + timedelta(seconds=1)
        number = self._next.get(partition, 0)
        milliseconds = int(received.timestamp() * 1000)
        records = [
            CaptureRecord(
                sequence_number=number + index,
                offset=str((number + index) * 512),
                enqueued=received,
                body=body,
                system_properties={"x-opt-enqueued-time": milliseconds},
            )
            for index, body in enumerate(bodies)
        ]
        path = self.landing.format.path(self._hub.namespace, self._hub.event_hub, partition, start)
        self.landing.add(path, encode_capture(records))
        self._next[partition] = number + len(bodies)
        self._last_start[partition] = start
        return path

    def resume(self) -> None:
        """Find each partition's last capture and its last sequence number; for one who holds the
        folder already."""
        found = positions(
            self.landing,
            self._hub.namespace,
            self._hub.event_hub,
            self._processed,
            range(self._hub.partitions),
        )
        for partition, position in found.items():
            self._next[partition] = position.next
            if position.last_start is not None:
                self._last_start[partition] = position.last_start


def _chunks(bodies: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    start, size = 0, 0
    for index, body in enumerate(bodies):
        if index > start and size + len(body) > CAPTURE_BYTES:
            yield bodies[start:index]
            start, size = index, 0
        size += len(body)
    if start < len(bodies):
        yield bodies[start:]


@contextlib.contextmanager
def _lock(landing: Landing) -> Iterator[None]:
    store = landing.store
    if not isinstance(store, LocalStore):
        # Create-only writes still refuse a second packer that picks the same second.
        yield
        return
    folder = Path(store.root) / HIDDEN
    try:
        folder.mkdir(parents=True, exist_ok=True)
        opened = (folder / "packing").open("ab")
    except OSError as error:
        raise StoreDenied(
            f"{store.url}: {error.strerror}; check STINGAR_LANDING, the folder and its owner"
        ) from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"{store.url}: another 'stingar land' or demo is writing captures there; "
                "wait for it, or choose another STINGAR_LANDING"
            ) from None
        yield


def bodies_of(lines: Iterable[bytes], header_marks: tuple[bytes, ...]) -> Iterator[bytes]:
    """The bodies that a file's lines are sent as: each line by itself, unless a header says how
    lines are to be read; it stands in front of every block of those below it.

    Args:
        lines: of one file, in order, without their ends.
        header_marks: how lines of headers begin.
    """
    header: list[bytes] = []
    block: list[bytes] = []
    pending: list[bytes] = []  # a header, or what ends the file
    size = 0
    for line in lines:
        if header_marks and line.startswith(header_marks):
            pending.append(line)
            continue
        if pending:
            if block:
                yield b"\n".join([*header, *block])
            header, block, pending, size = pending, [], [], 0
        if not header:
            yield line
            continue
        if block and size + len(line) > BLOCK_BYTES:
            yield b"\n".join([*header, *block])
            block, size = [], 0
        block.append(line)
        size += len(line) + 1
    if block or pending:
        yield b"\n".join([*(header if block else []), *block, *pending])


def lines_in(body: bytes, header_marks: tuple[bytes, ...]) -> int:
    """How many lines stand in a body of `bodies_of`, headers left out."""
    lines = body.split(b"\n")
    return sum(not (header_marks and line.startswith(header_marks)) for line in lines)


def batches(bodies: Iterable[bytes], count: int = 50_000) -> Iterator[list[bytes]]:
    """Bodies in lists of at most `count`."""
    batch: list[bytes] = []
    for body in bodies:
        batch.append(body)
        if len(batch) == count:
            yield batch
            batch = []
    if batch:
        yield batch
