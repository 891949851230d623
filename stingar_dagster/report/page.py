"""A report as HTML: one file, without scripts, links or requests.

Every text from events goes through `shown`, which makes it visible and cuts it, and then through
the templates' escaping; only pictures of our own are put in as they are. Not here: the facts
(`facts`), the pictures (`charts`), and the layout (`templates/`).
"""

import base64
import hashlib
from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from stingar_dagster.lake.daily import REACH
from stingar_dagster.report import charts
from stingar_dagster.report.facts import Facts, Number
from stingar_dagster.safe_text import visible

LONGEST: Final = 120
"""Characters that are shown of a text; the files hold it whole."""
_LIST_ITEMS: Final = 4

_NAMES: Final = {
    "credentials": ("Credentials", "tried", "daily_credentials"),
    "commands": ("Commands", "entered", "daily_commands"),
    "downloads": ("Links and files", "named", "daily_downloads"),
    "ports": ("Ports", "attacked", "daily_ports"),
    "domains": ("Registered domains", "asked for", "daily_names"),
}


def page(facts: Facts) -> bytes:
    """The report as HTML in UTF-8."""
    environment = _environment()
    style = environment.get_template("report.css").render()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    html = environment.get_template("report.html").render(
        facts=facts,
        style=Markup(style),
        style_hash=f"sha256-{digest}",
        names=_NAMES,
        reach=REACH["seen"].days,
        longest=LONGEST,
    )
    return html.encode()


def shown(value: object, longest: int = LONGEST) -> str:
    """A value for a reader: nothing where there is none."""
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else visible(str(value), longest)


def listed(values: list[Any] | None) -> str:
    """The first of some values, and how many more there are."""
    values = values or []
    more = f" and {len(values) - _LIST_ITEMS:,} more" if len(values) > _LIST_ITEMS else ""
    return ", ".join(visible(str(value), 40) for value in values[:_LIST_ITEMS]) + more


def clock(time: str | None) -> str:
    """The time of day, to the second, of a time as it is published."""
    return "" if time is None else visible(time[11:19])


def span(seconds: float | None) -> str:
    """A length of time in the unit that suits it."""
    if seconds is None:
        return ""
    for unit, size in (("h", 3600), ("min", 60)):
        if abs(seconds) >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.0f} s"


def _week(number: Number) -> Markup:
    known = ", ".join("not known" if v is None else f"{v:,}" for v in number.earlier)
    title = f"{number.title}: {known}, and on the day {number.value:,}"
    return Markup(charts.sparkline((*number.earlier, number.value), title))


def _hours(facts: Facts) -> Markup:
    title = "Events an hour by honeypot software"
    return Markup(charts.stacked_hours(facts.hours_by_app, title))


def _share(value: int, highest: int) -> Markup:
    return Markup(charts.bar(value, highest))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("stingar_dagster.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"shown": shown, "listed": listed, "clock": clock, "span": span}
    environment.globals |= {"week": _week, "hours": _hours, "share": _share}
    return environment
