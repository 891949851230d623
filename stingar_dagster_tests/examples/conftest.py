"""Fixtures of the tests of what stands in `examples/`."""

from pathlib import Path

import pytest

from stingar_dagster_tests.examples.project import make_project
from stingar_dagster_tests.support import Site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A lake like the demo's, in a folder that has the examples, too."""
    return make_project(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def project(site: Site) -> Path:
    """That folder."""
    return Path(site.lake).parents[1]
