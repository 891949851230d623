"""Every step done again, in memory: it must come to the bytes that are published.

Not here: the steps (`pipeline`), and where their output goes instead (`storage.overlay`).
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from hashlib import blake2b

from stingar_dagster.lake.daily import REPORT, REPORT_FORM
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.layout import Layout, day_of, hour_of_path, parse_hour
from stingar_dagster.lake.ledger import LedgerLine, read_ledger
from stingar_dagster.lake.publication import read_record
from stingar_dagster.lake.reader.hours import published_in, read_if_there
from stingar_dagster.lake.slices import lines_in, span_of_segment
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.storage.overlay import OverlayStore
from stingar_dagster.verify.joined import waiting_paths
from stingar_dagster.verify.proof import Problem


def differences(
    pipeline: Pipeline,
    landed_hours: Iterable[datetime],
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Problem]:
    """Land, publish and roll up again; a problem for each object that would change."""
    store = OverlayStore(pipeline.lake.store)
    rehearsal = Pipeline(pipeline.settings, pipeline.stream, lake_store=store)
    hours = list(landed_hours)
    layout = pipeline.lake.layout
    touched: set[datetime] = set()
    resegmented: set[str] = set()
    for done, hour in enumerate(hours):
        progress(done, len(hours))
        before = read_ledger(pipeline.lake.store, layout, hour).lines
        landed = rehearsal.land_hour(hour, again=True)
        after = landed.ledger
        touched.update(map(parse_hour, after.segments()))
        moved = any(
            _is_cut_otherwise(before[name], line)
            for name, line in after.lines.items()
            if name in before
        )
        if moved or landed.decoded < len(after.lines):
            # With another length of slots or slices, or without the captures that retention
            # removed, events come to other segments. What is published of them must be the same.
            resegmented.add(layout.ledger(hour))
    for hour in sorted(touched):
        rehearsal.publish_hour(hour, again=True)
    days = sorted({day_of(hour) for hour in (*touched, *hours)})
    for day in days:
        rehearsal.roll_day(day, again=True)
    # Reports of an earlier release say or show other things of the same data.
    of_other_form = {
        layout.report(day)
        for day in days
        if (record := read_record(pipeline.lake.store, layout.day_record(REPORT, day))) is not None
        and record.made_from
        and REPORT_FORM not in record.made_from
    }
    # Joined tables of which other streams' tables changed are to be made again anyway; and so are
    # the reports that are made from them.
    waiting = waiting_paths(pipeline.lake, days)
    if waiting:
        waiting |= {layout.report(day) for day in days}
    events = {path for path in store.differences if path.startswith(f"{layout.all_events}/")}
    return [
        Problem("unstable", path, "would be removed" if data is None else "comes to other bytes")
        for path, data in sorted(store.differences.items())
        if _is_published(layout, path)
        and path not in resegmented | of_other_form | waiting
        and not (path in events and _are_same_lines(pipeline, rehearsal, hour_of_path(path)))
    ]


def _is_cut_otherwise(before: LedgerLine, after: LedgerLine) -> bool:
    """Whether a capture's events come to segments of another slot, or of other slices."""
    spans = [{*map(span_of_segment, line.segments)} for line in (before, after)]
    return before.slot != after.slot or spans[0] != spans[1]


def _are_same_lines(pipeline: Pipeline, rehearsal: Pipeline, hour: datetime) -> bool:
    """Whether an event hour holds the same lines in the same order, however it is cut and
    compressed: a stream's setting may have changed since, and another release of the compressor
    may come to other bytes."""
    try:
        return _digest_of_lines(pipeline.lake, hour) == _digest_of_lines(rehearsal.lake, hour)
    except ValueError:
        return False  # damaged


def _digest_of_lines(lake: Lake, hour: datetime) -> bytes:
    lines = blake2b()
    for piece in published_in(lake, hour):
        lines.update(lines_in(piece.name, read_if_there(lake, piece.object)))
    return lines.digest()


def _is_published(layout: Layout, path: str) -> bool:
    """Whether readers see it: what is internal may be written anew by a newer release."""
    folder = path.removeprefix(f"{layout.stream}/").split("/")[0]
    return folder in ("events", "daily", "quarantine", "ledger", "reports")
