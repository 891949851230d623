"""The resource that hands the pipeline to assets and sensors.

Settings come from the environment when a run starts, so a changed `.env` needs no reload of the
code location. Not here: the steps (`pipeline`).
See https://docs.dagster.io/guides/build/external-resources
"""

import dagster as dg

from stingar_dagster.pipeline import Pipeline
from stingar_dagster.settings import load_settings
from stingar_dagster.streams import STREAMS


class PipelineResource(dg.ConfigurableResource["PipelineResource"]):
    """Opens landing and lake as the settings say."""

    def open(self, stream_name: str) -> Pipeline:
        """The steps of one stream.

        Raises:
            SettingsError: a setting can't be used; the message says which.
        """
        return Pipeline(load_settings(), STREAMS[stream_name])


PIPELINE = PipelineResource()
"""For assets by way of Dagster; for sensors directly."""
