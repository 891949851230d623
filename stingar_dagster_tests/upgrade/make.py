"""Make the folder that `test_upgrade.py` continues: run with an earlier release installed.

    cd /srv/stingar            # a checkout of that release, without data/
    python make.py && stingar run && stingar verify
    rm -r data/dagster/compute_logs
    tar czf formats-N.tar.gz data

Three landed hours of sample traffic over midnight, in two partitions, with drift, damage and late
events. `formats-1.tar.gz` is of the first release: ledgers, records and segments of format 1,
cleaned by code version 1, and the Dagster instance that ran it.
"""

from datetime import UTC, datetime, timedelta

from stingar_dagster.packing import Hub, Packer
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.samples.traffic import traffic
from stingar_dagster.settings import Settings
from stingar_dagster.streams import STINGAR

START = datetime(2026, 11, 2, 22, tzinfo=UTC)
HALF_HOUR = timedelta(minutes=30)

if __name__ == "__main__":
    packer = Packer(Pipeline(Settings(), STINGAR).landing, Hub(partitions=2))
    with packer.exclusive():
        for half in range(6):
            since = START + half * HALF_HOUR
            sent = traffic(
                since, since + HALF_HOUR,
                events_per_hour=160, seed=5, drift=0.05, damage=0.03, late=0.02,
            )  # fmt: skip
            packer.pack([sample.body for sample in sent], since + timedelta(minutes=29))
