"""The Jupyter notebook, run from top to bottom in a kernel of its own."""

import base64
import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest

from stingar_dagster_tests.examples.project import (
    EXAMPLES,
    ROOT,
    events_a_day,
    events_an_hour,
    fill,
    shared,
    tries,
)
from stingar_dagster_tests.support import Site

try:
    import nbformat as _nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError
except ImportError:
    pytest.skip("nbclient is not there: pip install '.[examples]'", allow_module_level=True)

nbformat: Any = _nbformat  # it has no types
NOTEBOOK = EXAMPLES / "attack_trends.ipynb"
SECONDS_A_CELL = 120
LEFT_BEHIND = """
import json
print(json.dumps({
    "trends": trends.to_dicts(), "credentials": credentials.to_dicts(),
    "overlap": overlap.to_dicts(), "everywhere": everywhere.to_dicts(),
    "features": features.to_dicts(), "errors": errors.to_dicts(), "address": address,
}, default=str))
"""


def run(folder: Path, *, lake: str | None = None, then: str = "") -> Any:
    """The notebook after all its cells ran in `folder`, with a cell behind them."""
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)
    if lake is not None:
        first = next(cell for cell in notebook.cells if cell.cell_type == "code")
        assert first.source.count('"../data/lake"') == 1
        first.source = first.source.replace('"../data/lake"', repr(lake))
    notebook.cells.append(nbformat.v4.new_code_cell(then))
    with pytest.MonkeyPatch.context() as patch:
        for name in [*os.environ]:
            if name.startswith(("STINGAR_", "MPL")):
                patch.delenv(name)
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("PYTHONWARNINGS", "error::FutureWarning,error::DeprecationWarning:__main__")
        client = NotebookClient(
            notebook, timeout=SECONDS_A_CELL, resources={"metadata": {"path": str(folder)}}
        )
        return client.execute()


@pytest.fixture(scope="module")
def executed(project: Path) -> Any:
    return run(project / "examples", then=LEFT_BEHIND)


@pytest.fixture(scope="module")
def left(executed: Any) -> dict[str, Any]:
    """What the notebook's names stand for at its end."""
    outputs = executed.cells[-1].outputs
    found: dict[str, Any] = json.loads("".join(o.text for o in outputs if o.name == "stdout"))
    return found


def outputs(executed: Any, kind: str) -> list[str]:
    """What cells showed, of a MIME type."""
    return [
        output.data[kind]
        for cell in executed.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if kind in output.get("data", {})
    ]


def test_it_is_stored_without_outputs() -> None:
    notebook: Any = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
    assert "/home/" not in NOTEBOOK.read_text()


def test_its_tables_are_what_a_recount_comes_to(site: Site, left: dict[str, Any]) -> None:
    events = site.events()
    days = {row["date"]: row["events"] for row in left["trends"] if row["events"]}
    assert days == events_a_day(events)
    expected = tries(events)
    found = {(row["username"], row["password"]): row["tries"] for row in left["credentials"]}
    assert found.items() <= expected.items()
    assert sorted(found.values()) == sorted(expected.values())[-20:]
    assert {(row["sensor"], row["other"]): row["shared"] for row in left["overlap"]} == shared(
        events
    )
    assert left["address"] in {row["src_ip"] for row in left["everywhere"]}


def test_its_features_know_only_the_hours_before(site: Site, left: dict[str, Any]) -> None:
    counted = events_an_hour(site.events())
    features = left["features"]
    assert features
    for row in features:
        assert row["events"] == counted.get(row["hour"].replace(" ", "T")[:13], 0)
    for earlier, later in itertools.pairwise(features):
        assert later["events_1h_before"] == earlier["events"]
        assert later["sources_1h_before"] <= later["events_1h_before"]
    most = max(counted.values())
    assert all(0 <= row["mean_error"] <= most for row in left["errors"])


def test_what_attackers_wrote_is_shown_as_text(executed: Any) -> None:
    tables = outputs(executed, "text/html")
    assert any("&lt;script&gt;alert(1)" in table for table in tables)
    assert not any("<script" in table or "<img" in table for table in tables)
    pictures = outputs(executed, "image/png")
    assert len(pictures) == 4
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)
    assert outputs(executed, "application/javascript") == []


def test_an_empty_lake_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "examples").mkdir()
    with pytest.raises(CellExecutionError, match=r"nothing is published in \.\./data/lake"):
        run(tmp_path / "examples")


def test_it_runs_on_azure_with_one_line_changed(container: str, tmp_path: Path) -> None:
    site = fill(Site(f"az://{container}/landing", f"az://{container}/lake"))
    executed = run(tmp_path, lake=site.lake, then="print(trends['events'].sum())")
    assert int(executed.cells[-1].outputs[0].text) == len(site.events())
