"""The DuckDB recipe, as it stands in examples/, against a recount in plain Python."""

import itertools
import os
from pathlib import Path
from typing import Any

import duckdb
import pytest

from stingar_dagster.streams import STINGAR
from stingar_dagster_tests.examples.project import (
    EXAMPLES,
    HOSTILE,
    HOURS,
    events_a_day,
    events_an_hour,
    make_project,
    shared,
    tries,
)
from stingar_dagster_tests.support import SLICED, Site

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module", params=[STINGAR, SLICED], ids=["hours", "slices"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One dataset, whether an hour is one object or twelve compressed ones."""
    return make_project(tmp_path_factory.mktemp("project"), request.param)


@pytest.fixture(scope="module")
def answers(project: Path) -> list[Rows]:
    """What each SELECT of the recipe comes to, run in the project's folder."""
    before = Path.cwd()
    os.chdir(project)
    try:
        with duckdb.connect() as connection:
            found = []
            recipe = (EXAMPLES / "attack_trends.sql").read_text()
            for statement in connection.extract_statements(recipe):
                cursor = connection.execute(statement)
                if statement.type == duckdb.StatementType.SELECT:
                    names = [column[0] for column in cursor.description or ()]
                    found.append([dict(zip(names, row, strict=True)) for row in cursor.fetchall()])
            return found
    finally:
        os.chdir(before)


def test_the_days_add_up(site: Site, answers: list[Rows]) -> None:
    trends = answers[0]
    assert {str(row["date"]): row["events"] for row in trends if row["events"]} == events_a_day(
        site.events()
    )
    assert sum(row["logins"] for row in trends) >= 200


def test_the_credentials_are_those_tried_most(site: Site, answers: list[Rows]) -> None:
    expected = tries(site.events())
    found = {(row["username"], row["password"]): row["tries"] for row in answers[1]}
    assert found.items() <= expected.items()
    assert sorted(found.values()) == sorted(expected.values())[-20:]
    assert answers[1][0]["password"] == HOSTILE


def test_the_overlap_counts_sources_that_both_sensors_saw(site: Site, answers: list[Rows]) -> None:
    found = {(row["sensor"], row["other"]): row["shared"] for row in answers[2]}
    assert found == shared(site.events())
    assert all(0 < row["share"] <= 1 for row in answers[2])
    several = {row["src_ip"]: row for row in answers[3]}
    assert all(row["sensors"] > 1 for row in several.values())
    assert several["192.0.2.66"]["first_sensor"] == f"{HOSTILE}0"


def test_features_know_only_the_hours_before(site: Site, answers: list[Rows]) -> None:
    counted = events_an_hour(site.events())
    features = answers[4]
    assert len(features) == 24 < HOURS
    for later, earlier in itertools.pairwise(features):
        assert later["events_1h_before"] == earlier["events"]
        assert later["events"] == counted.get(f"{later['hour']:%Y-%m-%dT%H}", 0)
    last = [row["events"] for row in features[1:]]
    assert features[0]["mean_of_24h"] == pytest.approx(
        (sum(last) + features[0]["events_24h_before"]) / 24
    )
