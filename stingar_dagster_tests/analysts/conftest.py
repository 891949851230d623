"""Fixtures of the tests of `stingar analysts`: an instance with a run, and the server over it."""

import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from stingar_dagster_tests.reliability.serving import ROOT, free_port, started
from stingar_dagster_tests.support import NOON, Site, event

HOUR_KEY = "2026-11-03-12:00"
BACKFILL, BACKFILL_DONE = "asked-for", "done"
COMMAND = [sys.executable, "-c", "from stingar_dagster.cli import main; main()", "analysts"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project's folder; the environment has nothing of another one's."""
    folder = tmp_path_factory.mktemp("analysts")
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copy(ROOT / name, folder)
    with pytest.MonkeyPatch.context() as patch:
        for name in [*os.environ]:
            if name.startswith(("STINGAR_", "DAGSTER_", "AZURE_")):
                patch.delenv(name)
        patch.chdir(folder)
        patch.setenv("STINGAR_START", "2026-11-02")
        yield folder


def a_backfill(name: str, defs: dg.Definitions, instance: dg.DagsterInstance) -> PartitionBackfill:
    """One that somebody asked for: there is something to cancel."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Dagster's own calls
        return PartitionBackfill.from_asset_partitions(
            backfill_id=name,
            asset_graph=defs.resolve_asset_graph(),
            partition_names=[HOUR_KEY],
            asset_selection=[dg.AssetKey(["stingar", "landed_events"])],
            backfill_timestamp=NOON.timestamp(),
            tags={},
            dynamic_partitions_store=instance,
            all_partitions=False,
            title=None,
            description=None,
            run_config=None,
        )


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """The analysts' server, started by its one command after an hour was landed by a run."""
    site = Site.at(folder / "data")
    site.put([event(NOON)])
    from stingar_dagster.definitions import build_definitions
    from stingar_dagster.instance import open_instance

    defs = build_definitions(site.settings)
    with open_instance() as instance:
        job = defs.resolve_job_def("stingar_land")
        result = job.execute_in_process(instance=instance, partition_key=HOUR_KEY)
        assert result.success
        instance.add_backfill(a_backfill(BACKFILL, defs, instance))
        done = a_backfill(BACKFILL_DONE, defs, instance)
        instance.add_backfill(done._replace(status=BulkActionStatus.COMPLETED_SUCCESS))
    port = free_port()
    # It needs nothing of the storage but its name: there is no such account, and no credential.
    stores = {
        "STINGAR_LANDING": "abfs://capture@nobody.dfs.core.windows.net",
        "STINGAR_LAKE": "abfs://lake@nobody.dfs.core.windows.net/honeypots",
    }
    with started([*COMMAND, "--port", str(port)], folder, port, **stores) as address:
        yield address
