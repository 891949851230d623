"""The proof: captures read again, and every event found once, cleaned or quarantined.

Identities are read from the captures with fastavro, the reference decoder, and from the published
objects as readers see them; the ledger is only compared, never believed, except for captures that
landing does not have any more. Daily tables are counted again from the published events of the
whole day. Not here: any repair; running the partition again repairs it.
"""

import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar

import fastavro
import msgspec
import polars as pl

from stingar_dagster.capture.discovery import Capture
from stingar_dagster.capture.reader import read_captures
from stingar_dagster.lake import backlog
from stingar_dagster.lake.hours import table_frame
from stingar_dagster.lake.lake import in_parallel
from stingar_dagster.lake.layout import day_of, hour_key, parse_hour
from stingar_dagster.lake.ledger import LedgerLine, read_ledger
from stingar_dagster.lake.lines import json_lines
from stingar_dagster.lake.quarantine import QuarantineLine, read_quarantine
from stingar_dagster.pipeline import Pipeline

HOUR: Final = timedelta(hours=1)
C = TypeVar("C", bound=Sized)
_IDENTITY: Final = {"source": pl.String, "sequence": pl.Int64}
_EVENT: Final = {**_IDENTITY, "sub": pl.Int64}
_CACHED_ROWS: Final = 4_000_000


@dataclass(frozen=True, slots=True)
class Count:
    """The balance of one landed hour and partition; `captured` is the sum of the others.

    Attributes:
        captured: records in the captures.
        cleaned: of which events are published.
        quarantined: that could not become an event.
        duplicates: captured more than once in the hour.
    """

    landed_hour: str
    source: str
    captured: int
    cleaned: int
    quarantined: int
    duplicates: int


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that does not add up.

    Attributes:
        kind: pending, lost, doubled, invented, gap, ledger, daily or unreadable.
        place: landed hour, partition, event hour or day.
        detail: what was found.
    """

    kind: str
    place: str
    detail: str


@dataclass(slots=True)
class Proof:
    """What was compared, and what did not add up."""

    counts: list[Count] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    days: int = 0

    @property
    def holds(self) -> bool:
        return not self.problems

    def total(self, name: str) -> int:
        """A sum over the counts: captured, cleaned, quarantined or duplicates."""
        return sum(getattr(count, name) for count in self.counts)


def verify(
    pipeline: Pipeline,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    wait_seconds: float = 0.0,
) -> Proof:
    """Prove the landed hours in [since, until), and the days they touch.

    Args:
        pipeline: landing, lake and stream.
        since, until: UTC hours; None: everything.
        progress: called with landed hours done and in all.
        wait_seconds: how long, in all, to wait for runs that are under way, so that live traffic
            is not taken for a problem.
    """
    return _Verifier(pipeline, since, until, wait_seconds).run(progress)


@dataclass(frozen=True, slots=True)
class _Span:
    """A capture's place among those of its partition: `first` and `last` as far as readable."""

    start: datetime
    first: int | None
    last: int | None
    damaged: bool


class _Verifier:
    def __init__(
        self,
        pipeline: Pipeline,
        since: datetime | None,
        until: datetime | None,
        wait_seconds: float,
    ) -> None:
        self._deadline = time.monotonic() + wait_seconds
        self._pipeline = pipeline
        self._lake = pipeline.lake
        self._since, self._until = since, until
        self._proof = Proof()
        self._cache: dict[str, pl.DataFrame] = {}
        self._touched: set[str] = set()
        self._identities: list[pl.DataFrame] = []
        self._spans: dict[str, list[_Span]] = {}
        self._unreadable: set[str] = set()
        self._counted: set[datetime] = set()

    def run(self, progress: Callable[[int, int], None]) -> Proof:
        start = self._since or self._pipeline.settings.start
        end = self._until or datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + 2 * HOUR
        listed = backlog.by_landed_hour(
            self._lake, self._pipeline.landing.between(start, end).captures
        )
        known = backlog.landed_hours(self._lake, self._since, self._until)
        hours = sorted({*listed, *known})
        self._settled(lambda: backlog.unlanded(self._lake, listed))
        self._settled(lambda: backlog.unpublished_hours(self._lake, hours))
        for done, hour in enumerate(hours):
            progress(done, len(hours))
            self._prove_hour(hour, listed.get(hour, []))
        self._prove_whole()
        for key in self._settled(lambda: backlog.unpublished_hours(self._lake, hours)):
            self._problem("pending", hour_key(key), "events are staged and not published")
        days = {day_of(parse_hour(key)) for key in self._touched} | {day_of(h) for h in hours}
        for day in sorted(days):
            self._proof.problems += self._settled(partial(self._day_problems, day))
            self._proof.days += day in self._counted
        progress(len(hours), len(hours))
        return self._proof

    def _settled(self, look: Callable[[], C]) -> C:
        """What is left, by the deadline, of problems that runs under way may solve."""
        while (found := look()) and time.monotonic() < self._deadline:
            time.sleep(min(2.0, max(0.0, self._deadline - time.monotonic())))
        return found

    # ---- landed hours

    def _prove_hour(self, hour: datetime, captures: list[Capture]) -> None:
        ledger = read_ledger(self._lake.store, self._lake.layout, hour)
        frames = []
        here = set()
        for capture in captures:
            line = ledger.lines.get(capture.name.path)
            if line is None or line.etag != capture.etag:
                self._problem("pending", hour_key(hour), f"{capture.name.path} is not landed yet")
            else:
                try:
                    frames.append(self._read(capture, line))
                except FileNotFoundError:
                    continue  # went away since it was listed
            here.add(capture.name.path)
        gone = [line for name, line in ledger.lines.items() if name not in here]
        if gone:
            self._proof.notes.append(
                f"{hour_key(hour)}: {len(gone)} captures are not in landing any more; "
                "their sequence numbers are taken from the ledger"
            )
        for line in gone:
            frames.append(_of_ledger(line))
            name = self._pipeline.landing.format.parse(line.capture)
            span = _Span(name.start, line.first_sequence, line.last_sequence, bool(line.damage))
            self._spans.setdefault(name.source, []).append(span)
        captured = pl.concat([pl.DataFrame(schema=_IDENTITY | {"body": pl.Binary}), *frames])
        published = self._published(key for key in ledger.segments())
        self._balance(hour, captured, published)
        self._identities.append(captured.select("source", "sequence").unique())

    def _read(self, capture: Capture, line: LedgerLine) -> pl.DataFrame:
        """A capture's identities and bodies, by the reference decoder."""
        data = self._pipeline.landing.read(capture)
        try:
            records: list[Any] = list(fastavro.reader(io.BytesIO(data)))
            numbers = [record["SequenceNumber"] for record in records]
            bodies = [record["Body"] for record in records]
        except Exception:
            # Damaged: the reference stops at the first broken block, ours goes on after it.
            decoded = read_captures([data]).records
            numbers = decoded.sequence.tolist()
            bodies = [None] * len(numbers)
        span = _Span(
            capture.name.start, min(numbers, default=None), max(numbers, default=None),
            bool(line.damage),
        )  # fmt: skip
        self._spans.setdefault(capture.name.source, []).append(span)
        if len(numbers) != line.records:
            self._problem(
                "ledger", capture.name.path, f"{line.records} in the ledger, {len(numbers)} read"
            )
        return pl.DataFrame(
            {"source": [capture.name.source] * len(numbers), "sequence": numbers, "body": bodies},
            schema=_IDENTITY | {"body": pl.Binary},
        )

    def _balance(self, hour: datetime, captured: pl.DataFrame, published: pl.DataFrame) -> None:
        quarantined = self._quarantined(hour)
        keys = list(_IDENTITY)
        distinct = captured.unique(keys, keep="any")
        clean = distinct.join(published.select(keys).unique(), on=keys, how="semi")
        rest = distinct.join(clean, on=keys, how="anti")
        rejected = rest.join(quarantined.select(keys).unique(), on=keys, how="semi")
        lost = rest.join(rejected, on=keys, how="anti")
        for source, numbers in _by_source(lost):
            self._problem(
                "lost",
                f"{hour_key(hour)} {source}",
                f"neither published nor quarantined: {numbers}",
            )
        self._prove_parts(hour, distinct, published, quarantined)
        counts = {name: _counts(frame) for name, frame in (
            ("captured", captured), ("distinct", distinct), ("clean", clean), ("rejected", rejected)
        )}  # fmt: skip
        for source in sorted(counts["captured"]):
            total, single = counts["captured"][source], counts["distinct"][source]
            self._proof.counts.append(
                Count(
                    hour_key(hour),
                    source,
                    total,
                    counts["clean"].get(source, 0),
                    counts["rejected"].get(source, 0),
                    total - single,
                )
            )

    def _prove_parts(
        self,
        hour: datetime,
        captured: pl.DataFrame,
        published: pl.DataFrame,
        quarantined: pl.DataFrame,
    ) -> None:
        """Each part of a body with several events must be there once; and one event just once."""
        keys = list(_IDENTITY)
        mine = pl.concat([published, quarantined.unique()]).join(
            captured.select(keys), on=keys, how="semi"
        )
        several = mine.filter(pl.col("sub") >= 0).select(keys).unique()
        bodies = captured.join(several, on=keys, how="semi").filter(pl.col("body").is_not_null())
        expected = {
            (source, number): events_in(body) for source, number, body in bodies.iter_rows()
        }
        found: dict[tuple[str, int], list[int]] = {}
        for source, number, sub in mine.join(several, on=keys, how="semi").iter_rows():
            found.setdefault((source, number), []).append(sub)
        for identity, subs in found.items():
            count = expected.get(identity, len(subs))
            if sorted(subs) != list(range(count)):
                name = f"{identity[0]}/{identity[1]}"
                self._problem(
                    "lost", f"{hour_key(hour)} {name}", f"{count} events in its body, found {subs}"
                )

    def _published(self, hours: Iterable[str]) -> pl.DataFrame:
        frames = [pl.DataFrame(schema=_EVENT)]
        for key in sorted(hours):
            self._touched.add(key)
            if key not in self._cache:
                if sum(len(frame) for frame in self._cache.values()) > _CACHED_ROWS:
                    self._cache.clear()
                self._cache[key] = self._read_identities(key)
            frames.append(self._cache[key])
        return pl.concat(frames)

    def _read_identities(self, key: str) -> pl.DataFrame:
        events = self._read_events(parse_hour(key), {"event_id": pl.String()})
        if events is None:
            return pl.DataFrame(schema=_EVENT)
        frame = _split_ids(events["event_id"])
        doubled = frame.group_by(frame.columns).len().filter(pl.col("len") > 1)
        for source, number, sub, count in doubled.iter_rows():
            self._problem("doubled", key, f"{source}/{number} ({sub}) is published {count} times")
        return frame

    def _read_events(self, hour: datetime, schema: dict[str, pl.DataType]) -> pl.DataFrame | None:
        path = self._lake.layout.events(hour)
        try:
            return pl.read_ndjson(io.BytesIO(self._lake.store.read(path)), schema=schema)
        except FileNotFoundError:
            return None
        except pl.exceptions.PolarsError as error:
            self._not_readable(path, error)
            return None

    def _quarantined(self, hour: datetime) -> pl.DataFrame:
        names = [line.event_id for line in self._quarantine_lines(hour) if line.event_id]
        return _split_ids(pl.Series("event_id", names, dtype=pl.String))

    def _quarantine_lines(self, hour: datetime) -> list[QuarantineLine]:
        try:
            return list(read_quarantine(self._lake, hour))
        except msgspec.DecodeError as error:
            self._not_readable(self._lake.layout.quarantine(hour), error)
            return []

    def _not_readable(self, path: str, error: Exception) -> None:
        if path not in self._unreadable:
            self._unreadable.add(path)
            self._problem("unreadable", path, str(error).splitlines()[0])

    # ---- the whole range

    def _prove_whole(self) -> None:
        captured = pl.concat([pl.DataFrame(schema=_IDENTITY), *self._identities]).unique()
        self._prove_gaps(captured)
        seen: pl.DataFrame | None = None
        for key in sorted(self._touched):
            frame = self._published([key])
            if self._since is None and self._until is None:
                invented = frame.join(captured, on=list(_IDENTITY), how="anti")
                if len(invented):
                    # A pipeline at work may have landed and published more since we listed.
                    invented = invented.join(self._ledgers_now(), on=list(_IDENTITY), how="anti")
                for source, numbers in _by_source(invented):
                    self._problem("invented", key, f"{source}: in no capture: {numbers}")
            both = None if seen is None else frame.join(seen, on=list(_EVENT), how="semi")
            if both is not None and len(both):
                for source, numbers in _by_source(both):
                    self._problem("doubled", key, f"{source}: also in another hour: {numbers}")
            seen = frame if seen is None else pl.concat([seen, frame])

    def _ledgers_now(self) -> pl.DataFrame:
        """Every identity that the ledgers name at this moment."""
        hours = backlog.landed_hours(self._lake)
        ledgers = in_parallel(
            lambda hour: read_ledger(self._lake.store, self._lake.layout, hour), hours
        )
        frames = [_of_ledger(line) for ledger in ledgers for line in ledger.lines.values()]
        return pl.concat([pl.DataFrame(schema=_IDENTITY | {"body": pl.Binary}), *frames])

    def _prove_gaps(self, captured: pl.DataFrame) -> None:
        ordered = captured.sort("source", "sequence").with_columns(
            before=pl.col("sequence").shift(1).over("source")
        )
        gaps = ordered.filter(pl.col("sequence") - pl.col("before") > 1)
        for source, number, before in gaps.iter_rows():
            missing = f"{before + 1} to {number - 1}"
            if self._is_damage(source, before, number):
                self._proof.notes.append(f"{source}: {missing} lie in damaged captures")
            else:
                self._problem("gap", source, f"sequence numbers {missing} were never captured")

    def _is_damage(self, source: str, before: int, after: int) -> bool:
        """Whether a damaged capture stands where the numbers between these two would."""
        spans = sorted(self._spans.get(source, []), key=lambda span: span.start)
        for index, span in enumerate(spans):
            if not span.damaged:
                continue
            last = next((s.last for s in reversed(spans[:index]) if s.last is not None), before)
            first = next((s.first for s in spans[index + 1 :] if s.first is not None), after)
            if last <= before and after <= first:
                return True
        return False

    # ---- days

    def _day_problems(self, day: datetime) -> list[Problem]:
        """Tables of a day that differ from a count over its published events and quarantine."""
        frames = []
        for hour in range(24):
            events = self._read_events(day + hour * HOUR, self._lake.stream.schema)
            if events is not None:
                frames.append(events)
        quarantined = sum(
            sum(1 for line in self._quarantine_lines(day + hour * HOUR) if line.event_id)
            for hour in range(24)
        )
        if not frames and not quarantined:
            return []
        self._counted.add(day)
        problems = []
        events = pl.concat([pl.DataFrame(schema=self._lake.stream.schema), *frames]).with_columns(
            time_us=_epoch_us("@timestamp"), enqueued_us=_epoch_us("enqueued_at")
        )
        for table in self._lake.stream.tables:
            partials = table.partials(table_frame(events, self._lake))
            expected = json_lines(
                table.merge(partials, quarantined if table.quarantine_column else 0)
            )
            try:
                published = self._lake.store.read(self._lake.layout.daily(table.name, day))
            except FileNotFoundError:
                published = b""
            if published != expected:
                rows = (len(published.splitlines()), len(expected.splitlines()))
                detail = f"{rows[0]} rows published, {rows[1]} counted again, or other values"
                problems.append(Problem("daily", f"{table.name} {day:%Y-%m-%d}", detail))
        return problems

    def _problem(self, kind: str, place: str, detail: str) -> None:
        self._proof.problems.append(Problem(kind, place, detail))


def events_in(body: bytes) -> int:
    """How many events a body with several holds, counted the plain way."""
    text = body.decode("utf-8-sig", errors="replace").strip()
    try:
        value = json.loads(text)
    except ValueError:
        return sum(1 for line in text.split("\n") if line.strip())
    if isinstance(value, dict) and isinstance(value.get("records"), list):
        value = value["records"]
    return len(value) if isinstance(value, list) else 1


def _of_ledger(line: LedgerLine) -> pl.DataFrame:
    source = f"{line.namespace}/{line.event_hub}/{line.partition}"
    missing = {
        number
        for gap in line.gaps
        for number in range(int(gap.split("-")[0]), int(gap.split("-")[1]) + 1)
    }
    numbers = (
        [n for n in range(line.first_sequence, (line.last_sequence or 0) + 1) if n not in missing]
        if line.first_sequence is not None
        else []
    )
    return pl.DataFrame(
        {"source": [source] * len(numbers), "sequence": numbers, "body": [None] * len(numbers)},
        schema=_IDENTITY | {"body": pl.Binary},
    )


def _split_ids(names: pl.Series) -> pl.DataFrame:
    """`namespace/hub/partition/sequence.sub` to its parts; sub is -1 where there is none."""
    found = names.to_frame("id").select(
        parts=pl.col("id").str.extract_groups(r"^(?<source>.*)/(?<sequence>\d+)(?:\.(?<sub>\d+))?$")
    )
    return found.unnest("parts").select(
        "source", pl.col("sequence").cast(pl.Int64), pl.col("sub").cast(pl.Int64).fill_null(-1)
    )


def _epoch_us(name: str) -> pl.Expr:
    time = pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us", strict=False)
    return time.dt.epoch("us")


def _counts(frame: pl.DataFrame) -> dict[str, int]:
    return dict(frame.group_by("source").len().iter_rows())


def _by_source(frame: pl.DataFrame) -> Iterator[tuple[str, str]]:
    """For each source, its sequence numbers in a few words."""
    for source, numbers in (
        frame.group_by("source").agg(pl.col("sequence").sort()).sort("source").iter_rows()
    ):
        shown = ", ".join(map(str, numbers[:5]))
        yield source, shown if len(numbers) <= 5 else f"{shown} and {len(numbers) - 5} more"
