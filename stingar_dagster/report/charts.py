"""Small pictures as SVG text: bars, stacked hours, a line of a week.

Shared by the report and the pictures in Dagster's UI. Nothing in them needs a script, a font or a
file; labels are cut, made harmless and escaped, so they may be text that attackers chose. Numbers
are drawn whole, so equal values give equal bytes. Not here: what is drawn (`facts`, `pictures`).
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from stingar_dagster.safe_text import visible

COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#888888")
"""Okabe and Ito's, which colour-blind people tell apart; all are seen on white and on black."""

INK: Final = "#767676"
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
    series: Mapping[str, Sequence[int]],
    title: str,
    ink: str = INK,
    width: int = 480,
    height: int = 170,
) -> str:
    """Stacked bars for the 24 hours of a day, with a legend.

    Args:
        series: 24 numbers each, the one at the bottom first.
        title: said to those who can't see it; the numbers follow as a description.
        ink: colour of letters and lines.
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
    parts.append(f'<path d="M0 {base}.5H{width}" stroke="{ink}"/>')
    parts += [
        _text(round(left + hour * step + wide / 2), base + 13, f"{hour:02}", ink, "middle")
        for hour in range(0, 24, 3)
    ]
    parts.append(_text(0, 10, f"{highest:,} events in the busiest hour", ink))
    parts += _legend(series, ink, width, height)
    told = "; ".join(f"{hour:02}: {events:,}" for hour, events in enumerate(hours))
    return _picture(width, height, title, told, "".join(parts), ' font-size="11"')


def bars(
    rows: Sequence[tuple[str, int]],
    title: str,
    ink: str = INK,
    width: int = 420,
    longest: int = 34,
    colour: str = COLOURS[0],
) -> str:
    """A bar and a line of text for each row, the value behind the text.

    Args:
        rows: label and value, in the order in which they are drawn.
        longest: characters that are shown of a label.
    """
    highest = max((value for _, value in rows), default=0) or 1
    shapes = "".join(
        f"M0 {place * 24}h{max(round(width * value / highest), 1)}v5H0z"
        for place, (_, value) in enumerate(rows)
    )
    texts = "".join(
        _text(0, place * 24 + 17, f"{visible(label, longest)}  {value:,}", ink)
        for place, (label, value) in enumerate(rows)
    )
    height = max(len(rows), 1) * 24
    shape = f'<path d="{shapes}" fill="{colour}"/>'
    return _picture(width, height, title, "", shape + texts, ' font-size="12"')


def _at(value: int, highest: int, base: int, top: int) -> int:
    return base - round((base - top) * value / highest)


def _legend(series: Mapping[str, Sequence[int]], ink: str, width: int, height: int) -> list[str]:
    each = width // max(len(series), 1)
    room = each // 7 - 2
    parts = []
    for place, name in enumerate(series):
        x, y = place * each, height - 12
        colour = COLOURS[place % len(COLOURS)]
        parts.append(f'<path d="M{x} {y}h8v8h-8z" fill="{colour}"/>')
        parts.append(_text(x + 11, y + 8, visible(name, max(room, 4)), ink))
    return parts


def _text(x: int, y: int, text: str, ink: str, anchor: str = "") -> str:
    more = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x}" y="{y}" fill="{ink}"{more}>{escape(text, quote=False)}</text>'


def _picture(
    width: int, height: int, title: str, told: str, inside: str, more: str = ""
) -> str:
    description = f"<desc>{escape(told, quote=False)}</desc>" if told else ""
    named = f"<title>{escape(title, quote=False)}</title>{description}"
    font = ' font-family="system-ui,sans-serif"' if "font-size" in more else ""
    return _svg(width, height, f' role="img"{font}{more}') + named + inside + "</svg>"


def _svg(width: int, height: int, more: str) -> str:
    return _SVG.format(width=width, height=height, more=more)
