"""Real honeypot events all come out, by both ways alike. Skipped where they are not at hand."""

from __future__ import annotations

import gzip
import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from stingar_dagster.capture.records import Records, epoch_us
from stingar_dagster.cleaning.clean import Cleaner, Rules
from stingar_dagster.streams import STINGAR

BESIDE = Path(__file__).parents[2].parent / "shared" / "data"
FOLDER = Path(os.environ.get("STINGAR_SHARED_DATA", BESIDE)) / "stingar"
HOUR = datetime(2022, 7, 19, tzinfo=UTC)
CLEANER = Cleaner(STINGAR, Rules(start=datetime(2015, 1, 1, tzinfo=UTC), max_body_bytes=1_000_000))

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason=f"needs real events, and there is no {FOLDER} (STINGAR_SHARED_DATA)"
)


def captured(name: str) -> Records:
    data = (FOLDER / name).read_bytes()
    if name.endswith(".gz"):
        data = gzip.decompress(data)
    lines = data.splitlines()
    ends = np.cumsum([0, *map(len, lines)]).astype(np.int64)
    return Records(
        buffer=b"".join(lines),
        capture=np.zeros(len(lines), np.int32),
        sequence=np.arange(len(lines), dtype=np.int64),
        enqueued_us=np.full(len(lines), epoch_us(HOUR), np.int64),
        body_start=ends[:-1],
        body_length=np.diff(ends),
    )


@pytest.mark.parametrize(
    ("name", "timed"),
    [
        ("chn-2022-alvarogar23.ndjson.gz", True),
        ("chn-mhn-dionaea.ndjson.gz", True),
        ("sample-shape-2022-alvarogar23.ndjson.gz", True),
        ("one-per-honeypot.ndjson", False),
    ],
)
def test_every_real_event_comes_out_alike_by_both_ways(name: str, timed: bool) -> None:
    records = captured(name)
    fast = CLEANER.clean(records, HOUR)
    exact = CLEANER.clean_rows(CLEANER.gate.decode_exactly(records), records, HOUR)
    assert fast.rejected == exact.rejected == []
    events = fast.events.sort("record")
    assert_frame_equal(events, exact.events.sort("record"))
    assert events["record"].to_list() == list(range(len(records)))
    assert events.select(pl.col("type", "src_ip").null_count()).row(0) == (0, 0)
    assert events["time_source"].null_count() == (len(records) if timed else 0)
