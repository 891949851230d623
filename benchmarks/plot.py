"""The comparison as a static SVG: a bar for each contender's median, a line for its spread.

Drawn by hand: a dozen shapes need no plotting library, and the same figures give the same bytes.
Colours and greys are readable on white and on black. Not here: where figures come from.
"""

from collections.abc import Sequence
from html import escape
from statistics import median
from typing import Final

from benchmarks.contenders import OURS
from benchmarks.measuring import Cost
from benchmarks.peers import LET_OFF
from benchmarks.results import Comparison

NAMES: Final = {
    "engine": "stingar: the three steps",
    "run": "stingar run: with Dagster",
    "loop": "loop, json",
    "loop-orjson": "loop, orjson",
    "spark": "PySpark",
    "duckdb": "DuckDB",
    "chdb": "chDB (ClickHouse)",
}
_WIDTH: Final = 860
_LEFT: Final = 190
_BARS: Final = 520
_ROW: Final = 46
_TOP: Final = 40
_TEXT: Final = "#808080"
_OURS: Final = "#2f81f7"
_OTHERS: Final = "#9aa0a6"
_SPREAD: Final = "#d9622b"


def svg(comparison: Comparison) -> str:
    """Bars of wall seconds, ours first; the same for the same figures."""
    costs = {name: several for name, several in comparison.costs.items() if several}
    longest = max(cost.wall for several in costs.values() for cost in several)
    scale = _BARS / longest
    amount = comparison.amount
    title = (
        f"{amount.megabytes:,.0f} MB in {amount.files:,} files, "
        f"{amount.records:,} events: seconds, median and spread"
    )
    height = _TOP + _ROW * len(costs) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" font-family="sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        _text(0, 18, title, weight="bold"),
    ]
    for row, (name, several) in enumerate(costs.items()):
        parts += _bar(_TOP + row * _ROW, name, several, scale)
    return "\n".join((*parts, "</svg>", ""))


def _bar(top: int, name: str, several: Sequence[Cost], scale: float) -> list[str]:
    walls = [cost.wall for cost in several]
    middle = median(walls)
    least, most = min(walls) * scale + _LEFT, max(walls) * scale + _LEFT
    colour = _OURS if name in OURS else _OTHERS
    let_off = LET_OFF.get(name)
    note = f"let off: {let_off}" if let_off else "all of the work"
    return [
        _text(_LEFT - 10, top + 16, NAMES.get(name, name), anchor="end"),
        f'<rect x="{_LEFT}" y="{top + 3}" width="{middle * scale:.1f}" height="18" '
        f'fill="{colour}"/>',
        f'<path d="M{least:.1f} {top + 12}H{most:.1f}M{least:.1f} {top + 7}v10'
        f'M{most:.1f} {top + 7}v10" stroke="{_SPREAD}" stroke-width="2" fill="none"/>',
        _text(most + 8, top + 16, f"{middle:.1f} s"),
        _text(_LEFT, top + 34, note, size=10),
    ]


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal", size: int = 13
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" fill="{_TEXT}" text-anchor="{anchor}" '
        f'font-weight="{weight}" font-size="{size}">{escape(text)}</text>'
    )
