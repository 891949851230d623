"""What the events of an hour looked up, kept as digests: so that a day knows which slices to read.

For streams with joined tables. An hour keeps the distinct names and addresses that its events asked
for or were answered, eight bytes each, and in which slices they stand. They are named by what the
slices were made from, not by what they hold: they can be made again at any time, by anybody, and
what is kept for one set of segments never counts for another. They are an object of their own, not
a part of the partial aggregates: those are read whole for every table of a day, and these only
where there is something to look for. Not here: what is looked for (`indicators`), and what is made
of the slices in which it stands (`joined`).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

from stingar_dagster.errors import UnknownFormat
from stingar_dagster.lake.hours import in_batches, read_slice
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.layout import hour_key
from stingar_dagster.lake.publication import Record, read_record
from stingar_dagster.lake.segments import collect_orphans, decode, digest, encode
from stingar_dagster.lake.slices import Slice, overlapping
from stingar_dagster.streams import Stream
from stingar_dagster.streams.digests import digest as digest_of
from stingar_dagster.streams.lookups import looked_up
from stingar_dagster.streams.names import LONGEST_NAME

_FORM: Final = "looked up 1"
"""Raised where names or addresses are compared otherwise, or kept otherwise."""

_SCHEMA: Final[dict[str, pl.DataType]] = {"digest": pl.Int64(), "slices": pl.UInt64()}
"""Ascending digests, and of each the slices: the bit of a slice is its first minute."""

Digests = NDArray[np.int64]


class Gathering:
    """The distinct texts that a slice's events looked up, gathered batch by batch."""

    def __init__(self, stream: Stream) -> None:
        self._columns = columns_of(stream)
        self._texts: list[pl.Series] = []

    def add(self, events: pl.DataFrame) -> None:
        for name in self._columns:
            texts = events[name]
            if texts.dtype == pl.List(pl.String()):
                texts = texts.list.explode(empty_as_null=False)
            # What is longer is no name, and senders choose the length.
            fits = texts.filter(texts.str.len_bytes() <= 4 * LONGEST_NAME)
            self._texts.append(fits.unique().alias("text"))

    def digests(self) -> Digests:
        """Of the names and addresses that these texts stand for, ascending, each once."""
        if not self._texts:
            return np.zeros(0, np.int64)
        texts = pl.concat(self._texts).unique()
        self._texts.clear()
        values = {value for text in texts if text is not None and (value := looked_up(text))}
        return np.unique(np.fromiter(map(digest_of, values), np.int64, len(values)))


def columns_of(stream: Stream) -> tuple[str, ...]:
    """The columns whose texts a stream's joined tables look at; none without such tables."""
    named = (name for table in stream.joined for name in (table.asked, table.answered))
    return tuple(sorted(set(named)))


def slice_name(record: Record, piece: Slice) -> str:
    """What names the events of a slice: all that they depend on."""
    return _digest([str(piece), *overlapping(record.made_from, piece)])


def hour_name(lake: Lake, hour: datetime, record: Record) -> str:
    """What a day's record says of an hour of which it was made; also names what the hour keeps."""
    slices = map(str, record.slices_held())
    name = _digest([_FORM, *columns_of(lake.stream), *slices, *record.made_from])
    return f"{hour_key(hour)} {name}"


def keep_looked_up(
    lake: Lake,
    hour: datetime,
    record: Record,
    before: pl.DataFrame | None,
    new: Mapping[Slice, Digests],
) -> None:
    """Keep what an hour's events looked up, before its record is written.

    Where the hour kept nothing of the slices that did not change, nothing is kept: it is made when
    it is asked for.

    Args:
        lake, hour: whose.
        record: of the hour, as it will be.
        before: what the hour kept (`kept_looked_up`).
        new: digests of the slices that were published now.
    """
    if not lake.stream.joined or not record.rows:
        return
    frames = [_of_slice(piece, found) for piece, found in sorted(new.items())]
    same = [piece for piece in record.slices_held() if piece not in new]
    if same:
        if before is None:
            return
        bits = pl.lit(sum(_bit(piece) for piece in same), dtype=pl.UInt64)
        kept = before.with_columns(pl.col("slices") & bits)
        frames.append(kept.filter(pl.col("slices") > 0))
    _write(lake, hour, record, frames)


def forget_looked_up(lake: Lake, hour: datetime, record: Record, before: Record) -> None:
    """Remove what the hour kept before its record was replaced, and what was left by runs that
    died."""
    if not lake.stream.joined:
        return
    path, old = _path(lake, hour, record), _path(lake, hour, before)
    if before.rows and old != path:
        lake.store.remove(old)
    entries = lake.store.find(lake.layout.looked_up(hour))
    collect_orphans(lake.store, entries, {path.rsplit("/", 1)[-1]})


def found_in_slices(
    lake: Lake, hour: datetime, record: Record, sought: Digests
) -> dict[Slice, Digests]:
    """Which of some digests stand in an hour, by slice; slices without any are left out.

    Args:
        lake, hour: whose.
        record: of the hour.
        sought: ascending.

    Raises:
        FileNotFoundError: the hour was published again meanwhile: start over.
    """
    held = kept_looked_up(lake, hour, record)
    if held is None:
        held = _made_again(lake, hour, record)
    digests, slices = held["digest"].to_numpy(), held["slices"].to_numpy()
    # The fewer are looked for among the more.
    places = np.searchsorted(digests, sought)
    places[places == len(digests)] = 0
    is_there = digests[places] == sought if len(digests) else np.zeros(len(sought), bool)
    found, masks = sought[is_there], slices[places[is_there]]
    by_slice = {
        piece: found[(masks & np.uint64(_bit(piece))) > 0] for piece in record.slices_held()
    }
    return {piece: digests for piece, digests in by_slice.items() if len(digests)}


def _made_again(lake: Lake, hour: datetime, record: Record) -> pl.DataFrame:
    """What an hour keeps, from its segments: it was published by an earlier release, or before the
    stream had joined tables, or what it kept was lost."""
    now = read_record(lake.store, lake.layout.hour_record("events", hour))
    if now != record:
        raise FileNotFoundError(_path(lake, hour, record))
    columns = columns_of(lake.stream)
    frames = []
    for piece in record.slices_held():
        staged = read_slice(lake, hour, overlapping(record.made_from, piece), piece)
        gathering = Gathering(lake.stream)
        for batch in in_batches(lake, staged, columns):
            gathering.add(batch)
        frames.append(_of_slice(piece, gathering.digests()))
    return _write(lake, hour, record, frames)


def of_slice(kept: pl.DataFrame, piece: Slice) -> Digests:
    """The digests of one of an hour's slices, of what the hour keeps."""
    is_there = (pl.col("slices") & pl.lit(_bit(piece), dtype=pl.UInt64)) > 0
    return kept.filter(is_there)["digest"].to_numpy()


def _of_slice(piece: Slice, digests: Digests) -> pl.DataFrame:
    frame = pl.DataFrame({"digest": digests}, schema={"digest": pl.Int64()})
    return frame.with_columns(slices=pl.lit(_bit(piece), dtype=pl.UInt64))


def _write(
    lake: Lake, hour: datetime, record: Record, frames: Iterable[pl.DataFrame]
) -> pl.DataFrame:
    merged = _merged(pl.concat([pl.DataFrame(schema=_SCHEMA), *frames]))
    lake.store.write(_path(lake, hour, record), encode(merged))
    return merged


def _merged(frame: pl.DataFrame) -> pl.DataFrame:
    """Each digest once, with all its slices, ascending.

    Parts are ascending already, which numpy's stable sort makes use of: with millions of digests
    that is several times faster than to group them.
    """
    digests, slices = frame["digest"].to_numpy(), frame["slices"].to_numpy()
    order = np.argsort(digests, kind="stable")
    ordered = digests[order]
    firsts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    if not len(firsts):
        return frame
    masks = np.bitwise_or.reduceat(slices[order], firsts)
    return pl.DataFrame({"digest": ordered[firsts], "slices": masks}, schema=_SCHEMA)


def kept_looked_up(lake: Lake, hour: datetime, record: Record) -> pl.DataFrame | None:
    """What an hour keeps; None where there is nothing, or nothing that can be read."""
    if not record.rows:
        return None
    path = _path(lake, hour, record)
    try:
        return decode(lake.store.read(path), _SCHEMA, path)
    except (FileNotFoundError, UnknownFormat):
        return None


def _path(lake: Lake, hour: datetime, record: Record) -> str:
    name = hour_name(lake, hour, record).rsplit(" ", 1)[-1]
    return lake.layout.looked_up(hour, f"{name}.parquet")


def _bit(piece: Slice) -> int:
    return 1 << piece.first


def _digest(parts: list[str]) -> str:
    return digest(msgspec.json.encode(parts))
