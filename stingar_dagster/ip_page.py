"""The page that `stingar ip` shows in a terminal, from a source's profile.

Text of events is shown with everything unseen as escapes, cut to a cell's width, and never taken
for markup. Not here: what is known of a source (`lake.reader.profile`).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import Any, Final

import polars as pl
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from stingar_dagster.lake.reader.profile import Profile
from stingar_dagster.safe_text import visible

_BARS: Final = "▁▂▃▄▅▆▇█"
_NO_EVENT: Final = "·"
_NOTHING_KNOWN: Final = "?"
_WIDE: Final = 90
"""Characters of a command line or a link that are shown."""
_NARROW: Final = 40

Row = dict[str, Any]
Cell = Callable[[Row], str]


def page(profile: Profile, most: int) -> RenderableType:
    """The page.

    Args:
        profile: of the source.
        most: rows of each list; what is left out is said.
    """
    parts: list[RenderableType] = [*_head(profile)]
    if profile.events:
        parts += [Text(), *_calendar(profile.days.to_dicts())]
        for heading, rows, total, columns in _lists(profile, most):
            parts += [Text(), _table(heading, rows, total, columns)]
    return Group(*parts)


def bars(days: Sequence[Row]) -> list[tuple[str, str, int]]:
    """The days of each month as a row of bars, with its name and its events.

    Args:
        days: date, events and published_hours of consecutive days.
    """
    top = max((day["events"] for day in days), default=0)
    months = []
    for month, group in groupby(days, key=lambda day: day["date"][:7]):
        of_month = list(group)
        # From its first day on, so that a day stands in the same place in every month.
        before = " " * (date.fromisoformat(of_month[0]["date"]).day - 1)
        line = before + "".join(_bar(day, top) for day in of_month)
        months.append((month, line, sum(day["events"] for day in of_month)))
    return months


def _bar(day: Row, top: int) -> str:
    if not day["events"]:
        return _NO_EVENT if day["published_hours"] else _NOTHING_KNOWN
    return _BARS[(day["events"] * len(_BARS) - 1) // top]


def _head(profile: Profile) -> Iterator[Text]:
    yield Text(profile.source, style="bold")
    seen = "No events."
    if profile.first_seen is not None and profile.last_seen is not None:
        count = len(profile.sources)
        addresses = f" from {count:,} addresses" if "/" in profile.source else ""
        seen = (
            f"{_number(profile.events, 'event')}{addresses} in "
            f"{_number(len(profile.sessions), 'session')}, first seen "
            f"{_moment(profile.first_seen)}, last seen {_moment(profile.last_seen)} (UTC)."
        )
    yield Text(seen)
    coverage = profile.coverage
    bounds = [
        f"{word} {bound:%Y-%m-%d %H:%M}"
        for word, bound in (("from", profile.since), ("until", profile.until))
        if bound is not None
    ]
    where = f"Looked at what is published {' '.join(bounds)}".rstrip()
    if coverage.last is None or coverage.first is None:
        yield Text(f"{where}: nothing.")
        return
    ruled_out = ""
    if coverage.ruled_out:
        ruled_out = f"; daily tables rule out {coverage.ruled_out:,}, the others were read"
    yield Text(
        f"{where}: {_number(coverage.hours, 'hour')} with events of anyone, the first "
        f"{coverage.first:%Y-%m-%d %H}:00, the last {coverage.last:%Y-%m-%d %H}:00{ruled_out}."
    )


def _calendar(days: Sequence[Row]) -> Iterator[RenderableType]:
    top = max(day["events"] for day in days)
    legend = f"{_BARS[-1]} {top:,}  {_NO_EVENT} none"
    if any(not day["published_hours"] for day in days):
        legend += f"  {_NOTHING_KNOWN} nothing published"
    yield Text.assemble(("Days", "bold"), f"   {legend}")
    table = Table(box=None, pad_edge=False, show_header=False)
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    for month, line, events in bars(days):
        table.add_row(Text(month), Text(line.ljust(31)), Text(f"{events:,}"))
    yield table


def _lists(
    profile: Profile, most: int
) -> Iterator[tuple[str, list[Row], int, dict[str, Cell | str]]]:
    """Each list's heading, its first rows, how many there are, and what stands in its columns."""
    seen: dict[str, Cell | str] = {"first seen": "first_seen", "last seen": "last_seen"}
    lists: list[tuple[str, Any, dict[str, Cell | str]]] = [
        ("Addresses", profile.sources, {
            "address": "src_ip", "events": "events", "sensors": _listed("sensors"), **seen}),
        ("Kinds of events", profile.kinds, {"kind": "event_kind", "events": "events"}),
        ("Sensors", profile.sensors, {"sensor": "sensor", "events": "events", **seen}),
        ("Honeypots", profile.apps, {"app": "app", "events": "events"}),
        ("Ports", profile.ports, {
            "port": "dest_port", "transport": "transport", "events": "events"}),
        ("Credentials tried", profile.credentials, {
            "user name": "username", "password": "password", "protocol": "protocol",
            "tried": "attempts", "let in": "successes"}),
        ("Commands", profile.commands, {
            "command": "command", "times": "events", "first seen": "first_seen"}),
        ("Downloads", profile.downloads, {
            "link or hash": "artifact", "events": "events", "first seen": "first_seen"}),
        ("SSH clients", profile.fingerprints, {
            "version": "ssh_version", "HASSH": "kex_hassh", "events": "events"}),
        ("User agents", profile.user_agents, {"user agent": "user_agent", "events": "events"}),
    ]  # fmt: skip
    for heading, frame, columns in lists:
        alone = heading == "Addresses" and "/" not in profile.source
        if len(frame) and not alone:
            yield heading, frame.head(most).to_dicts(), len(frame), columns
    # Where somebody got in and did something comes before guesses, however many.
    done = profile.sessions["commands"].list.len() + profile.sessions["urls"].list.len()
    order = profile.sessions.with_columns(done.alias("done")).select(
        pl.arg_sort_by("done", "events", descending=True)
    )
    fullest = profile.sessions[order.to_series()].head(most)
    columns = {
        "start": "start", "sensor": "sensor", "port": "dest_port", "app": "app",
        "events": "events", "logins": _logins, "commands": _listed("commands", " ⏎ "),
    }  # fmt: skip
    heading = "Sessions" if len(fullest) == len(profile.sessions) else "Sessions, the fullest"
    if "/" in profile.source:
        columns = {"start": "start", "source": "src_ip", **columns}
    yield heading, fullest.sort("start").to_dicts(), len(profile.sessions), columns


def _table(
    heading: str, rows: Iterable[Row], total: int, columns: dict[str, Cell | str]
) -> RenderableType:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in columns:
        is_number = name in ("events", "port", "tried", "let in", "times")
        # Of columns that may not be wrapped, rich cuts all alike: so only texts that do not wrap
        # by themselves (`_cell`) stand in one that may, and give way before times and numbers.
        keeps = is_number or name in ("start", "first seen", "last seen")
        table.add_column(
            name, justify="right" if is_number else "left", no_wrap=keeps,
            overflow="ellipsis", min_width=_width(name) if keeps else None,
        )  # fmt: skip
    shown = 0
    for row in rows:
        shown += 1
        table.add_row(*(_cell(row, what, name) for name, what in columns.items()))
    more = f"   {shown:,} of {total:,}; --top shows more, --json all" if shown < total else ""
    return Group(Text.assemble((heading, "bold"), more), table)


def _width(name: str) -> int:
    return len("2022-05-19 17:00:00") if name in ("start", "first seen", "last seen") else len(name)


def _cell(row: Row, what: Cell | str, name: str) -> Text:
    value = what(row) if callable(what) else row[what]
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, int):
        return Text(str(value) if name == "port" else f"{value:,}")
    if name in ("start", "first seen", "last seen"):
        return Text(str(value)[:19].replace("T", " "))
    longest = _WIDE if name in ("command", "commands", "link or hash", "user agent") else _NARROW
    return Text(visible(str(value), longest), no_wrap=True)


def _listed(name: str, separator: str = ", ") -> Cell:
    return lambda row: separator.join(row[name] or ())


def _logins(row: Row) -> str:
    if not row["login_attempts"]:
        return ""
    tried = f"{row['login_attempts']:,} tried"
    if not row["login_successes"]:
        return tried
    return f"{tried}, in as {row['username'] or '-'} / {row['password'] or '-'}"


def _number(count: int, word: str) -> str:
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def _moment(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}"
