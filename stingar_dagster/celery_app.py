"""The Celery application of the workers: what `stingar worker` runs.

Made of the run launcher in dagster.yaml, so that who hands runs over and who takes them can't
disagree. Celery's own commands take it too: `celery -A stingar_dagster.celery_app inspect active`.
Not here: which queue a run goes to (`celery_launcher`), and the command's options (`cli`).
See https://docs.celeryq.dev/en/stable/userguide/workers.html
"""

import importlib
import os
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import worker_process_init
from dagster._core.instance.ref import InstanceRef
from dagster_celery.make_app import make_app
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task

from stingar_dagster.celery_launcher import StingarCeleryLauncher
from stingar_dagster.errors import UsageError
from stingar_dagster.instance import instance_reason


def make_celery_app() -> Celery:
    """The application that DAGSTER_HOME's run launcher hands its runs to.

    Only the file is read: connections to the database must not be open when Celery forks.

    Raises:
        UsageError: there is no instance, or its launcher is another.
    """
    home = os.environ.get("DAGSTER_HOME", "")
    if not (Path(home) / "dagster.yaml").is_file() or not Path(home).is_absolute():
        raise UsageError(
            "a worker needs Dagster's settings: set DAGSTER_HOME to the absolute path of the "
            "folder with dagster.yaml (there is one in deploy/celery)"
        )
    try:
        launcher = InstanceRef.from_dir(home).run_launcher
    except Exception as error:  # of many kinds: the file's, its values', the environment's
        raise UsageError(f"dagster.yaml can't be used: {instance_reason(error)}") from None
    if not isinstance(launcher, StingarCeleryLauncher):
        raise UsageError(
            f"{home}/dagster.yaml hands runs to {type(launcher).__name__}, not to Celery: copy "
            "deploy/celery/dagster.yaml there"
        )
    app = make_app(app_args=launcher.app_args())  # type: ignore[no-untyped-call]
    app.conf.task_queues = None
    create_execute_job_task(app)
    create_resume_job_task(app)
    return app


@worker_process_init.connect  # type: ignore[untyped-decorator]
def load_definitions(**_: Any) -> None:
    """In each process that does runs, before its first: its parent never starts polars, whose
    threads do not survive a fork."""
    importlib.import_module("stingar_dagster.definitions")


def start_worker(queues: list[str], concurrency: int, name: str) -> None:
    """Do runs until told to stop. TERM ends it once the runs under way are done.

    Raises:
        UsageError: as `make_celery_app`.
    """
    app.worker_main(
        [
            "worker",
            f"--queues={','.join(queues)}",
            f"--concurrency={concurrency}",
            f"--hostname={name}",
            "--loglevel=WARNING",
            # Workers hold no elections and keep no order of each other's clocks here.
            "--without-gossip",
            "--without-mingle",
        ]
    )


app = make_celery_app()
