"""The one Definitions object: assembles what the other modules define, contains nothing."""

import warnings

import dagster as dg

from stingar_dagster.assets import stream_assets
from stingar_dagster.jobs import daily_roll_up, stream_jobs
from stingar_dagster.resources import PIPELINE
from stingar_dagster.sensors import stream_sensors
from stingar_dagster.settings import Settings, load_settings
from stingar_dagster.streams import STREAMS

# Backfill policies and check results are marked beta in this Dagster; its version is pinned.
warnings.filterwarnings("ignore", category=dg.BetaWarning)


def build_definitions(settings: Settings) -> dg.Definitions:
    """Everything Dagster knows of, for every declared stream."""
    definitions = []
    for stream in STREAMS.values():
        assets = stream_assets(stream, settings)
        jobs = stream_jobs(stream, assets)
        definitions.append(
            dg.Definitions(
                assets=assets.definitions,
                jobs=jobs.all,
                sensors=stream_sensors(stream, assets, jobs),
                schedules=[daily_roll_up(stream, jobs)],
            )
        )
    return dg.Definitions.merge(
        *definitions,
        dg.Definitions(
            resources={"pipeline": PIPELINE},
            # The steps do their own batching; a process a step would only add its start-up.
            executor=dg.in_process_executor,
        ),
    )


defs = build_definitions(load_settings())
