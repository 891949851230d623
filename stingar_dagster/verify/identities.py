"""Identities in captures held against those published and quarantined.

Captures are read with fastavro, the reference decoder; the ledger is only compared, never
believed, except for captures that landing does not have any more, and for which are damaged: of
these our own decoder says what is readable. Not here: daily tables (`days`).
"""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import fastavro
import polars as pl

from stingar_dagster.capture.discovery import Capture
from stingar_dagster.capture.reader import Limits, read_captures
from stingar_dagster.lake import backlog
from stingar_dagster.lake.lake import in_parallel
from stingar_dagster.lake.layout import hour_key
from stingar_dagster.lake.ledger import LedgerLine, read_ledger
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.verify.proof import Count, Problem, Proof
from stingar_dagster.verify.published import EVENT, IDENTITY, Published


@dataclass(frozen=True, slots=True)
class _Span:
    """A capture's place among those of its partition: `first` and `last` as far as readable."""

    start: datetime
    first: int | None
    last: int | None
    damaged: bool


class Identities:
    """Collects balances and problems into a proof, landed hour by landed hour."""

    def __init__(self, pipeline: Pipeline, published: Published, proof: Proof) -> None:
        self._pipeline = pipeline
        self._lake = pipeline.lake
        self._published = published
        self._proof = proof
        self._identities: list[pl.DataFrame] = []
        self._spans: dict[str, list[_Span]] = {}

    def prove_hour(self, hour: datetime, captures: list[Capture]) -> None:
        """Hold one landed hour's captures against what is published and quarantined."""
        ledger = read_ledger(self._lake.store, self._lake.layout, hour)
        frames = []
        here = set()
        listed = {capture.name.path for capture in captures}
        if ledger.lines.keys() - listed:
            # Gone since it was landed, or come, and landed, since landing was listed.
            known = listed | ledger.lines.keys()
            captures = [c for c in self._pipeline.landing.hour(hour) if c.name.path in known]
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
        captured = pl.concat([pl.DataFrame(schema=IDENTITY | {"body": pl.Binary}), *frames])
        published = self._published.identities(ledger.segments())
        self._balance(hour, captured, published)
        self._identities.append(captured.select("source", "sequence").unique())

    def _read(self, capture: Capture, line: LedgerLine) -> pl.DataFrame:
        """A capture's identities and bodies, by the reference decoder."""
        data = self._pipeline.landing.read(capture)
        if line.damage:
            # The reference stops at the first broken block or misreads it; ours goes on.
            limits = Limits.of_bodies(self._pipeline.settings.max_body_bytes)
            numbers = read_captures([data], limits=limits).records.sequence.tolist()
            bodies: list[bytes | None] = [None] * len(numbers)
        else:
            numbers, bodies = _reference(data)
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
            schema=IDENTITY | {"body": pl.Binary},
        )

    def _balance(self, hour: datetime, captured: pl.DataFrame, published: pl.DataFrame) -> None:
        quarantined = self._published.quarantined(hour)
        keys = list(IDENTITY)
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
        keys = list(IDENTITY)
        mine = pl.concat([published, quarantined.unique()]).join(
            captured.select(keys), on=keys, how="semi"
        )
        several = mine.filter(pl.col("sub") >= 0).select(keys).unique()
        bodies = captured.join(several, on=keys, how="semi").filter(pl.col("body").is_not_null())
        marks = tuple(item.header_mark for item in self._lake.stream.formats if item.header_mark)
        expected = {
            (source, number): events_in(body, marks) for source, number, body in bodies.iter_rows()
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

    # ---- the whole range

    def prove_whole(self, everything: bool) -> None:
        """What only shows across hours; `everything`: no capture is out of the range."""
        captured = pl.concat([pl.DataFrame(schema=IDENTITY), *self._identities]).unique()
        self._prove_gaps(captured)
        seen: pl.DataFrame | None = None
        for key in sorted(self._published.touched):
            frame = self._published.identities([key])
            if everything:
                invented = frame.join(captured, on=list(IDENTITY), how="anti")
                if len(invented):
                    # A pipeline at work may have landed and published more since we listed.
                    invented = invented.join(self._ledgers_now(), on=list(IDENTITY), how="anti")
                for source, numbers in _by_source(invented):
                    self._problem("invented", key, f"{source}: in no capture: {numbers}")
            both = None if seen is None else frame.join(seen, on=list(EVENT), how="semi")
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
        return pl.concat([pl.DataFrame(schema=IDENTITY | {"body": pl.Binary}), *frames])

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

    def _problem(self, kind: str, place: str, detail: str) -> None:
        self._proof.problems.append(Problem(kind, place, detail))


def _reference(data: bytes) -> tuple[list[int], list[bytes | None]]:
    """Sequence numbers and bodies by the reference decoder, as far as it gets."""
    numbers: list[int] = []
    bodies: list[bytes | None] = []
    try:
        for record in cast("Iterator[dict[str, Any]]", fastavro.reader(io.BytesIO(data))):
            numbers.append(record["SequenceNumber"])
            bodies.append(record["Body"])
    except Exception:
        pass  # the ledger calls it whole: the difference in numbers will be told
    return numbers, bodies


def events_in(body: bytes, header_marks: tuple[str, ...] = ()) -> int:
    """How many events a body with several holds, counted the plain way.

    Args:
        body: as it was sent.
        header_marks: how lines begin that are no events.
    """
    text = body.decode("utf-8-sig", errors="replace").strip()
    try:
        value = json.loads(text)
    except ValueError:
        lines = (line for line in text.split("\n") if line.strip())
        return sum(1 for line in lines if not (header_marks and line.startswith(header_marks)))
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
        schema=IDENTITY | {"body": pl.Binary},
    )


def _counts(frame: pl.DataFrame) -> dict[str, int]:
    return dict(frame.group_by("source").len().iter_rows())


def _by_source(frame: pl.DataFrame) -> Iterator[tuple[str, str]]:
    """For each source, its sequence numbers in a few words."""
    for source, numbers in (
        frame.group_by("source").agg(pl.col("sequence").sort()).sort("source").iter_rows()
    ):
        shown = ", ".join(map(str, numbers[:5]))
        yield source, shown if len(numbers) <= 5 else f"{shown} and {len(numbers) - 5} more"
