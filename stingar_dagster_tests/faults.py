"""Stores that fail on purpose, for tests that kill real processes.

Imported by those processes too, so nothing here may need pytest. Not here: faults of a network or
a file system, which tests put under the real store.
"""

import itertools
import os
import signal
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from stingar_dagster.pipeline import Pipeline
from stingar_dagster.storage import Entry, Store, local, open_store
from stingar_dagster.storage.base import ANY_VERSION, Expected, Version
from stingar_dagster_tests.support import Site

When = Literal["before", "within", "after"]
"""Within: on a local disk, between a temporary file and the rename that makes it an object."""


class KillingStore:
    """Kills its process at the n-th call that matters, counted from 0.

    Args:
        store: does the work.
        death: when.
    """

    def __init__(self, store: Store, death: "Death") -> None:
        self._store = store
        self._death = death
        # Calls come from several threads; next() on this is atomic.
        self._numbers = itertools.count()
        self.url = store.url

    def read(self, path: str) -> bytes:
        return self._call("read", path)  # type: ignore[no-any-return]

    def etag(self, path: str) -> str | None:
        return self._call("etag", path)  # type: ignore[no-any-return]

    def write(self, path: str, data: bytes, expected: Expected = ANY_VERSION) -> None:
        self._call("write", path, data, expected)

    def remove(self, path: str, expected: Version = ANY_VERSION) -> None:
        self._call("remove", path, expected)

    def find(self, folder: str) -> list[Entry]:
        return self._call("find", folder)  # type: ignore[no-any-return]

    def children(self, folder: str) -> tuple[list[str], list[Entry]]:
        return self._call("children", folder)  # type: ignore[no-any-return]

    def describe(self, path: str) -> str:
        return self._store.describe(path)

    def _call(self, call: str, *rest: Any) -> Any:
        do = getattr(self._store, call)
        if not self._death.reads and call not in ("write", "remove"):
            return do(*rest)
        now = next(self._numbers) == self._death.at and self._death.when != "within"
        if now and self._death.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = do(*rest)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)
        return result


@dataclass(frozen=True)
class Death:
    """When a process is to die: at which call, and whether reads count as calls."""

    at: int
    when: When
    reads: bool = False


def run_until_killed(
    site: Site, death: Death, again: tuple[datetime, ...], environ: dict[str, str]
) -> None:
    """In a process of its own: do `again` from scratch, then what is pending; die on the way."""
    os.environ.update(environ)
    if death.when == "within":
        _kill_within_writes(death.at)
    lake = KillingStore(open_store(site.lake, "STINGAR_LAKE"), death)
    pipeline = Pipeline(site.settings, site.stream, lake_store=lake)
    for hour in again:
        pipeline.land_hour(hour, again=True)
    site.run(pipeline)


def _kill_within_writes(at: int) -> None:
    rename = local._rename
    numbers = itertools.count()

    def kill_or_rename(temporary: Path, target: Path) -> None:
        if next(numbers) == at:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(temporary, target)

    local._rename = kill_or_rename
