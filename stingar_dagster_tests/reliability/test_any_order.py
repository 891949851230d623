"""Everything that can happen to a landing folder and a lake, in any order, found by hypothesis.

After every step the lake is copied, brought up to date and held against the oracle: so from every
state that can be reached, a normal run comes to where every event is out exactly once. With
STINGAR_SOAK=1 (`make soak`) many more and longer stories are told.
"""

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from stingar_dagster.lake import backlog
from stingar_dagster.lake.layout import day_of, hour_of_path
from stingar_dagster.lake.quarantine import read_quarantine
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.streams import STINGAR
from stingar_dagster.streams.stream import Compression
from stingar_dagster_tests.faulty_store import DyingStore, Stopped
from stingar_dagster_tests.support import (
    HOUR,
    MINUTE,
    NOON,
    SLICED,
    SOAK,
    Site,
    capture,
    event,
    lines,
    pending,
)

TWO_TABLES: Final = replace(STINGAR, tables=(STINGAR.tables[0], STINGAR.tables[7]))
IN_SLICES: Final = replace(SLICED, tables=TWO_TABLES.tables)
PARTITIONS: Final = 2
SMALL: Final = 300
"""Bytes: the limit for bodies at first; some are larger, and a replay lets them in."""

bodies = st.sampled_from(
    [
        lambda logged: event(logged),
        lambda logged: event(logged, sensor="lab-2", src_ip="2001:db8::7", dest_port=23),
        lambda logged: event(logged - 26 * HOUR),
        lambda logged: event(logged - 59 * MINUTE, note="x" * 2 * SMALL),
        lambda logged: b"[" + event(logged) + b"," + event(logged + MINUTE) + b"]",
        lambda logged: b"{broken",
        lambda logged: b'{"src_ip": "192.0.2.9"}',
        lambda logged: None,
    ]
)
Body = Callable[[datetime], bytes | None]


class AnyOrder(RuleBasedStateMachine):
    stream = TWO_TABLES

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="stingar-"))
        self.site = Site.at(self.folder, self.stream)
        self.site.max_body_bytes = SMALL
        self.sent: dict[int, list[bytes | None]] = {number: [] for number in range(PARTITIONS)}
        self.names = 0
        self.forgotten = False
        self.longest_slice = self.stream.slice_minutes

    def teardown(self) -> None:
        if not self.forgotten:
            # However it came about, it is what one run over the same captures gives.
            self.site.run()
            self.bring_to_one_form()
            alone = self.site.with_lake(str(self.folder / "alone"))
            alone.run()
            assert self.site.tree("events") == alone.tree("events")
            assert self.site.tree("daily") == alone.tree("daily")
            assert self.site.tree("quarantine") == alone.tree("quarantine")
        shutil.rmtree(self.folder)

    def bring_to_one_form(self) -> None:
        """Nothing to do unless the form changes on the way."""

    # ---- what arrives

    @initialize(made=st.lists(bodies, min_size=1, max_size=4))
    def land_first(self, made: list[Body]) -> None:
        self.land(made, 0)

    @rule(made=st.lists(bodies, max_size=4), partition=st.integers(0, PARTITIONS - 1))
    def land_more(self, made: list[Body], partition: int) -> None:
        self.land(made, partition)

    def land(self, made: list[Body], partition: int) -> None:
        start = self._start()
        sent = self.sent[partition]
        first = len(sent)
        sent += [body(start) for body in made]
        self.site.put(sent[first:], partition=partition, first=first, start=start, received=NOON)

    @rule(partition=st.integers(0, PARTITIONS - 1), data=st.data())
    def redeliver(self, partition: int, data: st.DataObject) -> None:
        """Part of what was captured is captured again, in a file of another name.

        Event Hubs stamps an event once, so it was received when it was received before; and no
        window holds what was received after it.
        """
        sent = self.sent[partition]
        first = data.draw(st.integers(0, len(sent)))
        last = data.draw(st.integers(first, len(sent)))
        start = self._start() - data.draw(st.integers(0, 3)) * HOUR
        start = max(start, NOON + timedelta(seconds=self.names))
        self.site.put(
            sent[first:last], partition=partition, first=first, start=start, received=NOON
        )

    @rule(cut=st.floats(0.05, 0.95), partition=st.integers(0, PARTITIONS - 1))
    def land_damaged(self, cut: float, partition: int) -> None:
        start = self._start()
        sent = self.sent[partition]
        made = [event(start + number * MINUTE) for number in range(6)]
        blob = capture(made, len(sent), NOON, block_bytes=400)
        sent += made
        path = self.site.put_blob(blob[: int(len(blob) * cut)], partition, start)
        self.site.age(path, timedelta(hours=1))

    @rule(partition=st.integers(0, PARTITIONS - 1))
    def land_half_first(self, partition: int) -> None:
        start = self._start()
        made = [event(start)]
        blob = capture(made, len(self.sent[partition]), NOON)
        self.sent[partition] += made
        self.site.put_blob(blob[: len(blob) // 2], partition, start)
        self.site.run()
        self.site.put_blob(blob, partition, start)

    @precondition(lambda self: self.site.blobs)
    @rule(data=st.data())
    def replace(self, data: st.DataObject) -> None:
        """A capture is written again with one event more."""
        path = data.draw(st.sampled_from(sorted(self.site.blobs)))
        name = self.site.pipeline().landing.format.parse(path)
        if len(self.site.blobs[path]) < 10:
            return
        sent = self.sent[name.partition]
        sent.append(event(name.start, note="replacement"))
        blob = capture(sent[-1:], len(sent) - 1, NOON)
        self.forgotten = True  # what it held before is in no capture any more
        self.site.put_blob(blob, name.partition, name.start)

    @precondition(lambda self: self.site.blobs)
    @rule(data=st.data())
    def retention(self, data: st.DataObject) -> None:
        self.site.run()
        self.site.remove(data.draw(st.sampled_from(sorted(self.site.blobs))))
        self.forgotten = True

    # ---- what runs

    @rule()
    def run(self) -> None:
        self.site.run()

    @rule(kind=st.integers(0, 2), data=st.data())
    def run_one(self, kind: int, data: st.DataObject) -> None:
        pipeline = self.site.pipeline()
        if due := pending(pipeline)[kind]:
            step = (pipeline.land_hour, pipeline.publish_hour, pipeline.roll_day)[kind]
            step(data.draw(st.sampled_from(due)))

    @rule(data=st.data())
    def backfill(self, data: st.DataObject) -> None:
        pipeline = self.site.pipeline()
        landed = backlog.landed_hours(pipeline.lake)
        if landed:
            hour = data.draw(st.sampled_from(landed))
            changed = pipeline.land_hour(hour, again=True).changed_hours
            for event_hour in changed or [hour - HOUR]:
                pipeline.publish_hour(event_hour)
                pipeline.roll_day(day_of(event_hour))

    @rule()
    def replay(self) -> None:
        self.site.max_body_bytes *= 4
        pipeline = self.site.pipeline()
        for hour in backlog.landed_hours(pipeline.lake):
            if any(read_quarantine(pipeline.lake, hour)):
                pipeline.land_hour(hour, again=True)
        # What waits to be landed is under the new limit anyway.
        self.site.run()

    @rule(changes=st.integers(0, 25))
    def crash(self, changes: int) -> None:
        store = DyingStore(Path(self.site.lake), changes)
        pipeline = Pipeline(self.site.settings, self.site.stream, lake_store=store)
        with contextlib.suppress(Stopped):
            self.site.run(pipeline)

    # ---- what must hold

    @invariant()
    def readers_see_whole_objects(self) -> None:
        for path, data in self.site.objects("events").items():
            names = [row["event_id"] for row in map(json.loads, lines(data))]
            assert len(names) == len(set(names)), path

    @invariant()
    def a_run_from_here_gets_everything_out_once(self) -> None:
        if not self.site.blobs:
            return
        copy = self.site.with_lake(str(self.folder / "copy"))
        if Path(self.site.lake).exists():
            shutil.copytree(self.site.lake, copy.lake)
        copy.run()
        copy.check(longest_slice=self.longest_slice)
        shutil.rmtree(copy.lake, ignore_errors=True)

    def _start(self) -> datetime:
        """A new capture's window: a few minutes after the one before."""
        self.names += 1
        return NOON + self.names * 13 * MINUTE


class InSlices(AnyOrder):
    """The same of a stream in compressed slices, of which the declaration changes on the way."""

    stream = IN_SLICES

    @rule(minutes=st.sampled_from([5, 15, 20, 60]), compression=st.sampled_from(Compression))
    def declare_otherwise(self, minutes: int, compression: Compression) -> None:
        changed = replace(self.site.stream, slice_minutes=minutes, compression=compression)
        self.site.stream = changed
        self.longest_slice = max(self.longest_slice, minutes)

    def bring_to_one_form(self) -> None:
        """A change asks for nothing by itself, as for other declarations."""
        pipeline = self.site.pipeline()
        for entry in pipeline.lake.store.find(pipeline.lake.layout.hour_records("events")):
            pipeline.publish_hour(hour_of_path(entry.path))
        self.site.run()


AnyOrder.TestCase.settings = settings(
    max_examples=100 if SOAK else 8,
    stateful_step_count=30 if SOAK else 10,
    deadline=None,
    derandomize=SOAK,
    # A shorter story is worth minutes only to one who sits before it.
    phases=[phase for phase in Phase if SOAK or phase is not Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
InSlices.TestCase.settings = settings(AnyOrder.TestCase.settings, max_examples=100 if SOAK else 5)
TestAnyOrder = AnyOrder.TestCase
TestInSlices = InSlices.TestCase
