"""Bodies in a text format to the JSON objects that stand for them.

A body begins with `{` or `[` and is JSON, or it holds lines, each of which one of the stream's
formats claims; a line may be a JSON object, too. A body of one line is one event. Several lines,
or a header with any, are as many events, numbered as they stand, header lines and blank ones left
out. Not here: the formats (`streams.formats`), and what becomes of objects (`gate`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from stingar_dagster.capture.records import NO_TIME, Records
from stingar_dagster.cleaning.exact import BOM
from stingar_dagster.cleaning.reasons import Reason, Rejected
from stingar_dagster.streams.formats import Objects, TextFormat

Int64s = NDArray[np.int64]

_BLANKS: Final = b" \t\r\n"
_JSON: Final = b"{["
_MAY_BE_JSON: Final = BOM[:1] + _BLANKS + _JSON
"""What a body begins with that may be JSON behind it."""


@dataclass(frozen=True, slots=True)
class Translated:
    """Bodies of which every one that can be is JSON.

    Attributes:
        records: the bodies; of columns other than the body's place the values mean nothing.
        record: for each, the position of the body that it came from.
        sub: for each, its position in that body, -1 where that is one event.
        lines: the lines that were translated: for the last bodies of `records`, in order.
        rejected: what no format could read.
    """

    records: Records
    record: Int64s
    sub: NDArray[np.int32]
    lines: list[bytes]
    rejected: list[Rejected]


@dataclass(slots=True)
class _Lines:
    """Lines of bodies, as columns.

    Attributes:
        record, sub: as in `Translated`.
        header: for each, the place of the header above it in `headers`.
        line: the bytes, without the line's end.
        headers: the places of headers, by their lines; the first is none.
    """

    record: list[int] = field(default_factory=list)
    sub: list[int] = field(default_factory=list)
    header: list[int] = field(default_factory=list)
    line: list[bytes] = field(default_factory=list)
    headers: dict[tuple[bytes, ...], int] = field(default_factory=lambda: {(): 0})

    def add(self, record: int, sub: int, header: int, line: bytes) -> None:
        self.record.append(record)
        self.sub.append(sub)
        self.header.append(header)
        self.line.append(line)


class LineReader:
    """Reads the bodies of one stream.

    Args:
        formats: that bodies may have besides JSON.
        max_body_bytes: a larger body is refused.
    """

    def __init__(self, formats: tuple[TextFormat, ...], max_body_bytes: int) -> None:
        self._formats = formats
        self._max_body_bytes = max_body_bytes
        self._marks = tuple(item.header_mark.encode() for item in formats if item.header_mark)
        names = ", ".join([*(item.name for item in formats), "JSON"])
        self._unknown = f"not a line of any of: {names}"

    def read(self, records: Records) -> Translated:
        """Translate a batch. Never raises for what a body holds."""
        rejected: list[Rejected] = []
        lines = _Lines()
        as_sent = np.ones(len(records), dtype=np.bool_)
        for index, body in self._not_json(records):
            as_sent[index] = False
            if len(body) > self._max_body_bytes:
                rejected.append(Rejected(index, -1, Reason.TOO_LARGE, f"{len(body):,} bytes", body))
            elif not self._cut(index, body, lines):
                rejected.append(Rejected(index, -1, Reason.ONLY_HEADER, "", body))
        if as_sent.all():
            every = np.arange(len(records), dtype=np.int64)
            return Translated(records, every, np.full(len(every), -1, np.int32), [], rejected)
        json, read = self._objects(lines, rejected)
        return _joined(records, np.flatnonzero(as_sent), lines, json, read, rejected)

    def _not_json(self, records: Records) -> Iterator[tuple[int, bytes]]:
        """Bodies that are left to formats, and those that are too large."""
        start, length = records.body_start, records.body_length
        there = np.flatnonzero(length > 0)
        first = np.frombuffer(records.buffer, np.uint8)[start[there]] if there.size else there
        is_json = (first == _JSON[0]) | (first == _JSON[1])
        is_json &= length[there] <= self._max_body_bytes
        for index in there[~is_json].tolist():
            begin = start[index]
            body = records.buffer[begin : begin + length[index]]
            if body[0] in _MAY_BE_JSON and len(body) <= self._max_body_bytes:
                text = body.removeprefix(BOM).lstrip(_BLANKS)
                # Nothing but blanks is told as such by the way of JSON.
                if not text or text[0] in _JSON:
                    continue
            yield index, body

    def _cut(self, index: int, body: bytes, lines: _Lines) -> bool:
        """Add the lines of a body; whether there is any that is no header's."""
        text = body.removeprefix(BOM).rstrip(b"\r\n")
        if b"\n" not in text and not (self._marks and text.startswith(self._marks)):
            lines.add(index, -1, 0, text)
            return True
        sub, header, above = 0, 0, list[bytes]()
        for piece in text.split(b"\n"):
            line = piece.rstrip(b"\r")
            if self._marks and line.startswith(self._marks):
                if header:
                    header, above = 0, []  # another one begins
                above.append(line)
            elif line.strip(_BLANKS):
                if above and not header:
                    # Of many bodies the header is the same.
                    header = lines.headers.setdefault(tuple(above), len(lines.headers))
                lines.add(index, sub, header, line)
                sub += 1
        return sub > 0

    def _objects(self, lines: _Lines, rejected: list[Rejected]) -> tuple[pl.Series, Int64s]:
        """The objects of those lines that have one, and which lines these are."""
        text = _texts(lines.line)
        json = text.set(~text.str.starts_with("{").fill_null(False), None)
        left = text.is_not_null() & json.is_null()
        problems: dict[int, tuple[Reason, str]] = {
            place: (Reason.NOT_UTF8, f"at byte {_first_bad_byte(lines.line[place])}")
            for place in text.is_null().arg_true().to_list()
        }
        headers, known = pl.Series(lines.header, dtype=pl.Int64), list(lines.headers)
        for item in self._formats:
            claimed = left & item.claims(text).fill_null(False)
            left &= ~claimed
            for header in headers.filter(claimed).unique(maintain_order=True).to_list():
                places = (claimed & (headers == header)).arg_true()
                found = self._with_header(item, text.gather(places), known[header])
                json = json.scatter(places, found.json)
                at = places.to_list()
                for place, problem in found.unfit.items():
                    problems[at[place]] = (Reason.BAD_LINE, f"{item.name}: {problem}")
        for place in left.arg_true().to_list():
            problems[place] = (Reason.UNKNOWN_FORMAT, self._unknown)
        for place, (reason, detail) in sorted(problems.items()):
            where = lines.record[place], lines.sub[place]
            rejected.append(Rejected(*where, reason, detail, lines.line[place]))
        read = json.is_not_null().arg_true().to_numpy().astype(np.int64)
        return json.drop_nulls(), read

    def _with_header(
        self, item: TextFormat, lines: pl.Series, header: tuple[bytes, ...]
    ) -> Objects:
        mark = item.header_mark.encode()
        own = [line for line in header if mark and line.startswith(mark)]
        try:
            return item.objects(lines, [line.decode() for line in own])
        except UnicodeDecodeError:
            nothing = pl.Series([None] * len(lines), dtype=pl.String)
            problem = "the header above it is not UTF-8"
            return Objects(nothing, dict.fromkeys(range(len(lines)), problem))


def _texts(lines: list[bytes]) -> pl.Series:
    """Lines as text, null where one is not UTF-8."""
    series = pl.Series(lines, dtype=pl.Binary)
    try:
        return series.cast(pl.String)
    except pl.exceptions.PolarsError:
        return pl.Series([_text(line) for line in lines], dtype=pl.String)


def _text(line: bytes) -> str | None:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None


def _first_bad_byte(line: bytes) -> int:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return error.start
    return len(line)


def _joined(
    records: Records,
    as_sent: Int64s,
    lines: _Lines,
    json: pl.Series,
    read: Int64s,
    rejected: list[Rejected],
) -> Translated:
    """Bodies as they were sent, and behind them what lines came to."""
    start, length = records.body_start[as_sent], records.body_length[as_sent]
    sent = [
        records.buffer[begin : begin + max(size, 0)]
        for begin, size in zip(start.tolist(), length.tolist(), strict=True)
    ]
    made = (json.str.join("").item() or "").encode() if len(json) else b""
    sizes = json.str.len_bytes().to_numpy().astype(np.int64)
    every = np.concatenate([length, sizes])
    ends = np.cumsum(np.maximum(every, 0))
    count = len(every)
    bodies = Records(
        b"".join([*sent, made]),
        np.zeros(count, np.int32),
        np.zeros(count, np.int64),
        np.full(count, NO_TIME, np.int64),
        ends - np.maximum(every, 0),
        every,
    )
    return Translated(
        bodies,
        np.concatenate([as_sent, np.array(lines.record, np.int64)[read]]),
        np.concatenate([np.full(len(as_sent), -1), np.array(lines.sub, np.int64)[read]]).astype(
            np.int32
        ),
        [lines.line[place] for place in read.tolist()],
        rejected,
    )
