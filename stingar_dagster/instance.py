"""Dagster's instance: the one that the UI uses, opened, or one line that says why it can't be.

Not here: what is recorded on it (`runner`), and how it is set up (`dagster.yaml`).
"""

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from stingar_dagster.errors import UsageError

_UNSET = re.compile(r'environment variable "(\w+)" which is not set')
_CREDENTIALS = re.compile(r"[^\s'\"]*@")
"""What stands before the host in an address, also where an address was written as a host."""
_VALUE = re.compile(r'Value "[^"]*"')
"""What is wrong in dagster.yaml, in Dagster's words: it may be a password without quotes."""


def open_instance() -> dg.DagsterInstance:
    """The instance of DAGSTER_HOME, else that of this folder's dagster.yaml.

    Raises:
        UsageError: there is neither, or it can't be used.
    """
    home = os.environ.get("DAGSTER_HOME")
    if not home and not Path("dagster.yaml").is_file():
        raise UsageError(
            "there is no dagster.yaml here: run this in the project's folder, or set DAGSTER_HOME"
        )
    try:
        with _without_retries():
            return dg.DagsterInstance.get() if home else dg.DagsterInstance.from_config(os.getcwd())
    except Exception as error:  # of many kinds: the file's, its values', the database's
        raise UsageError(f"Dagster's instance can't be opened: {instance_reason(error)}") from None


def instance_reason(error: BaseException) -> str:
    """In one line, and without what an address may hold of a password."""
    text = str(error)
    if unset := _UNSET.search(text):
        return f"dagster.yaml takes {unset[1]} from the environment, where it is not set"
    if "DB connection" in text and error.__cause__ is not None:
        # What the database's driver says, without SQLAlchemy's remarks.
        cause = getattr(error.__cause__, "orig", None) or error.__cause__
        text = f"{str(cause).strip().splitlines()[0]}; check the host, the user and the password"
    text = _CREDENTIALS.sub("", " ".join(text.split()))
    return _VALUE.sub("a value", text)[:300]


@contextlib.contextmanager
def _without_retries() -> Iterator[None]:
    """Dagster logs every try to reach a database, in several lines; the error is told once."""

    def is_other(record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith("Retrying failed database")

    root = logging.getLogger()
    root.addFilter(is_other)
    try:
        yield
    finally:
        root.removeFilter(is_other)
