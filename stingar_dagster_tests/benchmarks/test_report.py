"""Tables, plot, targets and the guard: what they make of given figures."""

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import quick
from benchmarks.measuring import ROOT, Cost
from benchmarks.plot import svg
from benchmarks.report import contenders, limits, report, write_docs
from benchmarks.results import (
    Amount,
    Comparison,
    Idle,
    Late,
    Results,
    Taken,
    Variant,
    Variants,
    load,
    save,
)
from benchmarks.targets import TARGETS, Verdict, judge

TAKEN = Taken(at="2026-01-01 00:00", commit="abc", machine="a machine", load=0.1, versions={})
AMOUNT = Amount(files=36, records=2000, megabytes=1000, description="36 files")


def costs(*walls: float, peak: float = 500) -> list[Cost]:
    return [Cost(wall, wall * 2, peak, peak * 2) for wall in walls]


def comparison() -> Comparison:
    return Comparison(
        taken=TAKEN,
        amount=AMOUNT,
        costs={
            "engine": costs(11, 10, 12),
            "run": costs(16, 15, 14),
            "loop": costs(66, 60, 70),
            "duckdb": costs(5.5, 6, 5),
        },
        starts={"engine": costs(1, 1, 1), "run": costs(4, 4, 4), "loop": costs(0.2)},
        floor=[{"read": 0.5, "inflate": 9, "validate": 1, "write": 0.5}],
    )


def verdict(results: Results, text: str) -> Verdict:
    (found,) = [item for item in judge(results) if item.target.text == text]
    return found


def cells(table: str, name: str) -> list[str]:
    (row,) = [line for line in table.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_the_table_shows_medians_spread_and_ratios() -> None:
    table = contenders(comparison())
    assert cells(table, "stingar: the three steps")[1:8] == [
        "11.0", "10.0 to 12.0", "1.0", "22.0", "500", "1,000", "",
    ]  # fmt: skip
    loop = cells(table, "loop, json")
    assert loop[1] == "66.0"
    assert loop[7] == "6.00 times as fast"
    assert "duplicates" in loop[8]
    assert cells(table, "DuckDB")[7] == "0.50 times as fast"
    widths = {line.count("|") for line in table.splitlines()}
    assert len(widths) == 1


def test_the_floor_leaves_out_inflating() -> None:
    assert cells(limits(comparison()), "floor: read, validate, write")[1:] == ["2.00", "500"]


def test_targets_are_judged_by_the_medians() -> None:
    results = Results(contenders=comparison())
    assert verdict(results, "engine against the json loop").met is True
    assert verdict(results, "engine against DuckDB").met is False
    assert verdict(results, "engine over the machine's floor").figure == pytest.approx(5.5)
    # (15 - 4) against (11 - 1): ten per cent more, start-up aside.
    added = verdict(results, "what `stingar run` adds, start-up aside")
    assert added.figure == pytest.approx(10)
    assert added.met is True


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    verdicts = judge(Results())
    assert len(verdicts) == len(TARGETS)
    assert {item.met for item in verdicts} == {None}
    assert report(Results()).count("not measured |") == len(TARGETS)


def test_an_hour_that_was_too_large_misses_the_memory_target() -> None:
    variants = {
        "small": Variant(amount=AMOUNT, costs={"engine": costs(1)}),
        "large": Variant(amount=AMOUNT, costs={"engine": []}, failed="engine: ended"),
    }
    results = Results(hours=Variants(taken=TAKEN, variants=variants))
    assert verdict(results, "largest process").met is False
    assert "engine: ended" in report(results)


def test_a_late_event_costs_its_hour_and_its_day() -> None:
    late = Late(
        taken=TAKEN, hour_megabytes=8, landing=[9, 9], hour=[0.1, 0.2], day=[0.1, 0.2], cpu=[0, 0]
    )
    found = verdict(Results(late=late), "a late event: its hour and day again")
    assert found.figure == pytest.approx(0.3)


def test_ticks_settle_at_what_is_kept_of_a_day() -> None:
    idle = Idle(
        taken=TAKEN, seconds=86.4, processes=5, cpu=4.32, ticks={"skipped": 60, "success": 2},
        kept_days={"skipped": 1, "success": 7, "failure": 30}, tick_bytes=1000, other_growth=0,
    )  # fmt: skip
    assert idle.share_of_a_core == pytest.approx(0.05)
    assert idle.settles_at_megabytes == pytest.approx((60 * 1000 + 2 * 1000 * 7) * 1000 / 1e6)


def test_figures_come_back_as_they_were_kept(tmp_path: Path) -> None:
    results = Results(contenders=comparison())
    save(tmp_path / "results.json", results)
    assert load(tmp_path / "results.json") == results
    assert load(tmp_path / "nothing.json") == Results()


def test_the_plot_shows_everyone_to_scale_and_is_the_same_again() -> None:
    drawn = svg(comparison())
    assert drawn == svg(comparison())
    root = ElementTree.fromstring(drawn)
    widths = [float(bar.get("width", "")) for bar in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(widths) == 4
    assert widths[2] / widths[0] == pytest.approx(66 / 11, abs=0.05)
    assert "let off: duplicates" in drawn


def test_tables_and_plot_go_into_the_documents(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for name in ("README.md", "docs/performance.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    before = (tmp_path / "README.md").read_text()
    for _ in range(2):
        write_docs(Results(contenders=comparison()), tmp_path)
    readme = (tmp_path / "README.md").read_text()
    assert "6.00 times as fast" in readme
    assert readme.count("docs/images/benchmark.svg") == 1
    assert readme.splitlines()[0] == before.splitlines()[0]
    assert readme.splitlines()[-1] == before.splitlines()[-1]
    assert "### Targets" in (tmp_path / "docs/performance.md").read_text()
    assert load(tmp_path / "docs/benchmark.json").contenders == comparison()
    assert (tmp_path / "docs/images/benchmark.svg").exists()


def test_small_figures_are_not_quoted(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="only full ones"):
        write_docs(Results(scale="small", contenders=comparison()), tmp_path)
    assert not list(tmp_path.iterdir())


# ---- the guard


@pytest.mark.parametrize(("loop", "passes"), [(20.0, True), (10.0, False)])
def test_the_guard_ends_by_the_ratio(
    loop: float,
    passes: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    measured = comparison()
    # The best round of each counts, start-up aside: 9 seconds for the engine.
    measured.costs["loop"] = costs(99, 9 * quick.RATIO_FLOOR * loop / 15 + 0.2)
    monkeypatch.setattr(quick, "compare", lambda *_, **__: measured)
    if passes:
        quick.main([])
        assert "at least" in capsys.readouterr().out
        return
    with pytest.raises(SystemExit) as ended:
        quick.main([])
    assert re.search(r"the engine is [\d.]+ times as fast as the json loop, less", str(ended.value))
    assert ended.value.code not in (0, None)


def test_the_ratio_is_that_of_the_best_rounds_without_start_up() -> None:
    assert quick.ratio_of(comparison()) == pytest.approx((60 - 0.2) / (10 - 1))
