"""What tests of the orchestration share: definitions, an instance, and folders to work in.

Time in them is fixed, or counted back from now where a sensor looks at the clock.
"""

import warnings
from collections.abc import Iterator

import dagster as dg
import pytest

from stingar_dagster.settings import Settings
from stingar_dagster_tests.support import Site


@pytest.fixture(scope="session")
def defs() -> dg.Definitions:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from stingar_dagster.definitions import build_definitions

        defs = build_definitions(Settings())
        dg.Definitions.validate_loadable(defs)
    return defs


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def site(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """An empty landing folder and lake, on every store, which the environment names."""
    for name in ("STINGAR_START", "STINGAR_CAPTURE_FORMAT", "STINGAR_MAX_BODY_BYTES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STINGAR_LANDING", site.landing)
    monkeypatch.setenv("STINGAR_LAKE", site.lake)
    return site
