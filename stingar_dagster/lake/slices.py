"""Time slices: how an event hour is cut into published objects, and the names that say so.

An hour that is not cut is one slice of 60 minutes. Names of objects tell where a slice begins,
names of segments also where it ends, and neither needs the stream's declaration: what was written
under another setting is read as it is. Not here: which slices are published when (`hours`).
"""

import gzip
import io
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from zlib_ng import gzip_ng, zlib_ng

from stingar_dagster.streams.stream import Compression, Stream

_OBJECT: Final = re.compile(r"events(?:-(\d\d))?\.json(\.gz)?")
_SEGMENT: Final = re.compile(r"-(\d\d)to(\d\d)-[0-9a-f]+\.")
_DIVISORS: Final = [length for length in range(60, 0, -1) if 60 % length == 0]

_LEVEL: Final = 2
"""Of zlib-ng, whose bytes are the same on every processor; levels of its own, not zlib's. Level 2
makes objects smaller than level 1 of zlib does, in less than half the time (docs/performance.md).
With another level or release the same lines may come to other bytes."""


@dataclass(frozen=True, slots=True, order=True)
class Slice:
    """Minutes of an hour, from `first` to before `end`."""

    first: int
    end: int

    def overlaps(self, other: "Slice") -> bool:
        return self.first < other.end and other.first < self.end

    def contains(self, other: "Slice") -> bool:
        return self.first <= other.first and other.end <= self.end

    def bounds(self, hour: datetime) -> tuple[datetime, datetime]:
        """The first moment of the slice, and the first one after it."""
        return hour + timedelta(minutes=self.first), hour + timedelta(minutes=self.end)

    def __str__(self) -> str:
        return f"{self.first:02d}to{self.end:02d}"


WHOLE: Final = Slice(0, 60)


@dataclass(frozen=True, slots=True)
class Form:
    """How a stream's hours are published.

    Attributes:
        minutes: length of a slice; divides 60.
        compression: of its objects.
    """

    minutes: int
    compression: Compression

    @classmethod
    def of(cls, stream: Stream) -> "Form":
        return cls(stream.slice_minutes, stream.compression)

    @property
    def is_cut(self) -> bool:
        return self.minutes < 60

    def slices(self) -> Iterator[Slice]:
        return (Slice(first, first + self.minutes) for first in range(0, 60, self.minutes))

    def name(self, piece: Slice) -> str:
        """A slice's object: `events.json`, or such as `events-05.json.gz`."""
        minute = f"-{piece.first:02d}" if self.is_cut else ""
        return f"events{minute}.json{'.gz' if self.compression is Compression.GZIP else ''}"

    @property
    def pattern(self) -> str:
        """A glob for the objects of an hour."""
        return self.name(WHOLE).replace(f"-{WHOLE.first:02d}", "-*")

    def encode(self, lines: bytes) -> bytes:
        """Lines as an object's bytes: a pure function of the lines."""
        if self.compression is Compression.GZIP:
            data: bytes = gzip_ng.compress(lines, _LEVEL, mtime=0)  # type: ignore[no-untyped-call]
            return data
        return lines


def lines_in(name: str, data: bytes) -> bytes:
    """The lines that an object's bytes hold.

    Args:
        name: the object's, or its path.
        data: its bytes; empty where there is no object.

    Raises:
        ValueError: they are damaged.
    """
    if not name.endswith(".gz") or not data:
        return data
    try:
        lines: bytes = gzip_ng.decompress(data)  # type: ignore[no-untyped-call]
        return lines
    except (OSError, EOFError, zlib_ng.error) as error:  # type: ignore[misc]
        raise ValueError(f"is no whole gzip file ({error})") from error


def first_lines_in(name: str, data: bytes, size: int) -> bytes:
    """The first whole lines that an object's bytes hold, of about so many bytes.

    Raises:
        ValueError: they are damaged.
    """
    if not name.endswith(".gz") or not data:
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            lines = file.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"is no whole gzip file ({error})") from error
    return lines[: lines.rfind(b"\n") + 1]


def is_object(name: str) -> bool:
    """Whether a published object may have this name."""
    return _OBJECT.fullmatch(name) is not None


def spans_of(names: Iterable[str]) -> dict[str, Slice]:
    """The minutes that an hour's objects hold at most, by name, in order of time.

    An object's name does not tell where its slice ends. It ends before the next one begins, and
    its length divides an hour and the minute at which it begins.
    """
    firsts = sorted(
        (int(match[1] or 0), match[0]) for match in map(_OBJECT.fullmatch, names) if match
    )
    spans = {}
    for first, name in firsts:
        if name.startswith("events."):
            spans[name] = WHOLE
            continue
        length = next(length for length in _DIVISORS if length < 60 and first % length == 0)
        later = [start for start, _ in firsts if start > first]
        spans[name] = Slice(first, min([first + length, *later]))
    return spans


def span_of_segment(name: str) -> Slice:
    """The minutes of its event hour that a segment holds."""
    match = _SEGMENT.search(name)
    return Slice(int(match[1]), int(match[2])) if match else WHOLE


def overlapping(names: Iterable[str], piece: Slice) -> tuple[str, ...]:
    """Those of an hour's segments that may hold events of a slice, sorted."""
    return tuple(sorted(name for name in names if span_of_segment(name).overlaps(piece)))
