"""The one Definitions object: assembles what the other modules define, contains nothing."""

import logging
import warnings
from collections.abc import Collection

import dagster as dg

from stingar_dagster.alerting import alert_sensor
from stingar_dagster.alerts.settings import AlertSettings, readable_alert_settings
from stingar_dagster.assets import stream_assets
from stingar_dagster.checks import AS_TOLD
from stingar_dagster.health_checks import stream_health
from stingar_dagster.jobs import daily_roll_up, stream_jobs
from stingar_dagster.resources import PIPELINE
from stingar_dagster.safe_text import visible
from stingar_dagster.sensors import stream_sensors
from stingar_dagster.settings import Settings, load_settings
from stingar_dagster.streams import STREAMS

# Backfill policies and check results are marked beta in this Dagster; its version is pinned.
warnings.filterwarnings("ignore", category=dg.BetaWarning)


def build_definitions(
    settings: Settings,
    alert_settings: AlertSettings | None = None,
    wrong_alert_settings: Collection[str] = (),
) -> dg.Definitions:
    """Everything Dagster knows of, for every declared stream."""
    definitions = []
    told: list[dg.AssetCheckKey] = []
    leads: dict[str, dg.AssetKey] = {}
    for stream in STREAMS.values():
        assets = stream_assets(stream, settings)
        health = stream_health(stream, assets)
        jobs = stream_jobs(stream, assets, health.checks.check_keys)
        told += health.checks.check_keys
        if settings.notices:
            told.append(dg.AssetCheckKey(assets.landed, AS_TOLD))
        leads |= jobs.leads
        definitions.append(
            dg.Definitions(
                assets=assets.definitions,
                asset_checks=[health.checks],
                jobs=[*jobs.all, health.job],
                sensors=stream_sensors(stream, assets, jobs),
                schedules=[daily_roll_up(stream, jobs), health.schedule],
            )
        )
    alerts = alert_sensor(alert_settings or AlertSettings(), told, leads, wrong_alert_settings)
    return dg.Definitions.merge(
        *definitions,
        dg.Definitions(
            sensors=[alerts] if alerts is not None else [],
            resources={"pipeline": PIPELINE},
            # The steps do their own batching; a process a step would only add its start-up.
            executor=dg.in_process_executor,
        ),
    )


def _loaded() -> dg.Definitions:
    alert_settings, wrong = readable_alert_settings()
    for line in wrong:
        # Who is told of problems is no reason to stop the pipeline; `alerts` says it in each tick.
        logging.getLogger(__name__).warning("%s", visible(line))
    return build_definitions(load_settings(), alert_settings, wrong)


defs = _loaded()
