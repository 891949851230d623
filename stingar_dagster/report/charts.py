"""Small pictures as SVG text: bars, stacked hours, a line of a week.

Shared by the report and the pictures in Dagster's UI. Nothing in them needs a script, a font or a
file; labels are cut, made harmless and escaped, so they may be text that attackers chose. Numbers
are drawn whole, so equal values give equal bytes. Not here: what is drawn (`facts`, `pictures`).
"""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import pairwise
from typing import Final

from stingar_dagster.safe_text import visible

COLOURS: Final = ("#07b", "#d50", "#097", "#c7a", "#b80", "#5be", "#888")
"""Close to Okabe and Ito's, which colour-blind people tell apart; seen on white and on black."""

INK: Final = "#777"
"""For letters in pictures that stand on a page whose colour is not known."""

_SVG: Final = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"{more}>'


def sparkline(values: Sequence[int | None], title: str, width: int = 120, height: int = 28) -> str:
    """A line of values, the last one marked; where one is not known, the line has a gap."""
    known = [value for value in values if value is not None]
    highest = max(known, default=0) or 1
    step = (width - 6) / max(len(values) - 1, 1)
    points = [
        None
        if value is None
        else (round(3 + place * step), round(height - 3 - (height - 6) * value / highest))
        for place, value in enumerate(values)
    ]
    path, pen_is_down = "", False
    for point in points:
        if point is not None:
            path += f"{'L' if pen_is_down else 'M'}{point[0]} {point[1]}"
        pen_is_down = point is not None
    dots = [point for point in points if point is not None]
    marks = "".join(
        f'<circle cx="{x}" cy="{y}" r="{3 if place == len(dots) - 1 else 1}" fill="{COLOURS[0]}"/>'
        for place, (x, y) in enumerate(dots)
    )
    line = f'<path d="{path}" fill="none" stroke="{COLOURS[0]}" stroke-width="1.5"/>'
    return _picture(width, height, title, "", line + marks)


def bar(value: int, highest: int, width: int = 100, height: int = 10) -> str:
    """One value's share of the highest; for a table, which holds the number beside it."""
    long = round(width * value / (highest or 1))
    shape = f'<rect width="{max(long, 1)}" height="{height}" fill="{COLOURS[0]}"/>'
    return _svg(width, height, ' aria-hidden="true"') + shape + "</svg>"


def stacked_hours(
    series: Mapping[str, Sequence[int]], title: str, width: int = 480, height: int = 170
) -> str:
    """Stacked bars for the 24 hours of a day, with a legend, on a page with a colour of its own.

    Args:
        series: 24 numbers each, the one at the bottom first.
        title: said to those who can't see it; the numbers follow as a description.
    """
    base, top, left = height - 34, 14, 4
    hours = [sum(column) for column in zip(*series.values(), strict=True)] or [0] * 24
    highest = max(hours) or 1
    step = (width - 2 * left) / 24
    wide = round(step) - 2
    parts = []
    bottoms = [0] * 24
    for place, values in enumerate(series.values()):
        path = ""
        for hour, value in enumerate(values):
            low = _at(bottoms[hour], highest, base, top)
            bottoms[hour] += value
            high = _at(bottoms[hour], highest, base, top)
            if low > high:
                path += f"M{round(left + hour * step)} {low}V{high}h{wide}V{low}z"
        parts.append(f'<path d="{path}" fill="{COLOURS[place % len(COLOURS)]}"/>')
    parts.append(f'<path d="M0 {base}.5H{width}" stroke="currentColor"/>')
    parts += [
        _text(round(left + hour * step + wide / 2), base + 13, f"{hour:02}", anchor="middle")
        for hour in range(0, 24, 3)
    ]
    parts.append(_text(0, 10, f"{highest:,} events in the busiest hour"))
    parts += _legend(series, width, height)
    told = "; ".join(f"{hour:02}: {events:,}" for hour, events in enumerate(hours))
    letters = ' font-size="11" fill="currentColor"'
    return _picture(width, height, title, told, "".join(parts), letters)


def hour_areas(series: Mapping[str, Sequence[int]]) -> str:
    """The same in fewer bytes, for few series: areas, named in their colours."""
    width, height, top, step = 207, 44, 11, 9
    highest = max((sum(column) for column in zip(*series.values(), strict=True)), default=0) or 1
    totals = [0] * 24
    areas = []
    for place, (name, values) in enumerate(series.items()):
        totals = [total + value for total, value in zip(totals, values, strict=True)]
        heights = [_at(total, highest, height, top) for total in totals]
        moves = " ".join(f"{step} {after - before}" for before, after in pairwise(heights))
        path = f"M0 {height}V{heights[0]}l{moves.replace(' -', '-')}V{height}"
        colour = f'fill="{COLOURS[place % len(COLOURS)]}"'
        label, start = _label(name, 12), f' x="{place * 70}"' if place else ""
        areas.append(f'<path {colour} d="{path}"/><text {colour}{start} y="8">{label}</text>')
    # The tallest first: each next one covers it up to its own height.
    return _plain(width, height, "".join(reversed(areas)), scale=1.5, letters=8)


def bars(
    rows: Sequence[tuple[str, int]],
    width: int = 320,
    longest: int = 30,
    colour: str = COLOURS[0],
) -> str:
    """A line of text and a bar below it for each row; few bytes, on a page of any colour.

    Args:
        rows: label and value, in the order in which they are drawn.
        longest: characters that are shown of a label.
    """
    highest = max((value for _, value in rows), default=0) or 1
    shapes = "".join(
        f"M0 {place * 22 + 15}h{max(round(width * value / highest), 1)}v4H0"
        for place, (_, value) in enumerate(rows)
        if value
    )
    texts = "".join(
        f'<text y="{place * 22 + 12}">{_label(label, longest)}: {value:,}</text>'
        for place, (label, value) in enumerate(rows)
    )
    shape = f'<path fill="{colour}" d="{shapes}"/>'
    return _plain(width, max(len(rows), 1) * 22, shape + texts)


def _at(value: int, highest: int, base: int, top: int) -> int:
    return base - round((base - top) * value / highest)


def _legend(series: Mapping[str, Sequence[int]], width: int, height: int) -> list[str]:
    each = width // max(len(series), 1)
    parts = []
    for place, name in enumerate(series):
        x, y = place * each, height - 12
        colour = COLOURS[place % len(COLOURS)]
        parts.append(f'<path d="M{x} {y}h8v8h-8z" fill="{colour}"/>')
        parts.append(_text(x + 11, y + 8, name, max(each // 7 - 2, 4)))
    return parts


def _text(x: int, y: int, text: str, longest: int = 80, anchor: str = "") -> str:
    more = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x}" y="{y}"{more}>{_label(text, longest)}</text>'


def _label(text: str, longest: int) -> str:
    """Letters that may stand in a picture; what is made visible may be cut again."""
    shown = visible(text, longest)
    return escape(shown if len(shown) <= longest else f"{shown[: longest - 1]}…", quote=False)


def _picture(width: int, height: int, title: str, told: str, inside: str, more: str = "") -> str:
    description = f"<desc>{_label(told, 1000)}</desc>" if told else ""
    named = f"<title>{_label(title, 200)}</title>{description}"
    return _svg(width, height, f' role="img"{more}') + named + inside + "</svg>"


def _plain(width: int, height: int, inside: str, scale: float = 1, letters: int = 12) -> str:
    """A picture that stands alone, at a size of its own."""
    size = f' width="{round(width * scale)}" height="{round(height * scale)}"'
    font = f' font-family="sans-serif" font-size="{letters}" fill="{INK}"'
    return _svg(width, height, size + font) + inside + "</svg>"


def _svg(width: int, height: int, more: str) -> str:
    return _SVG.format(width=width, height=height, more=more)
