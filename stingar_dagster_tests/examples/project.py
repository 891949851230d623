"""A project folder with the examples in it and a small lake where the demo has its own.

The lake holds made-up traffic of the last hours, and what attackers may send to whoever looks: text
that markup, a plot's labels or a terminal would take for something else. Not here: what the
examples must come to.
"""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from stingar_dagster.samples.traffic import traffic
from stingar_dagster.streams import STINGAR, Stream
from stingar_dagster_tests.support import MINUTE, Site, event

ROOT: Final = Path(__file__).resolve().parents[2]
EXAMPLES: Final = ROOT / "examples"
HOURS: Final = 30
"""A model's features of an hour look back a day."""
HOSTILE: Final = "<script>alert(1)</script><img src=x onerror=alert(1)> $\\frac{"


def make_project(folder: Path, stream: Stream = STINGAR) -> Site:
    """The examples and `data/lake` in a folder; whatever runs there finds what it expects."""
    shutil.copytree(EXAMPLES, folder / "examples")
    return fill(Site.at(folder / "data", stream))


def fill(site: Site) -> Site:
    """Traffic of the last hours, landed, published and rolled up."""
    now = datetime.now(UTC)
    end = now.replace(minute=0, second=0, microsecond=0)
    start = end - HOURS * timedelta(hours=1)
    samples = traffic(start, end, events_per_hour=60, seed=7)
    site.put([sample.body for sample in samples], start=end)
    site.put([*hostile(end - 90 * MINUTE)], partition=1, start=end)
    site.run()
    return site


def hostile(moment: datetime) -> Iterator[bytes]:
    """Logins by one source at more sensors than others see, with the password tried most often."""
    for index in range(200):
        yield event(
            moment + timedelta(seconds=index),
            signature="SSH login attempted on cowrie honeypot",
            src_ip="192.0.2.66",
            sensor=f"{HOSTILE}{index % 7}",
            app=HOSTILE,
            ssh_username="root",
            ssh_password=HOSTILE,
        )


# ---------------------------------------------------------------- a recount in plain Python

Events = list[dict[str, Any]]


def events_a_day(events: Events) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in events:
        day = row["@timestamp"][:10]
        found[day] = found.get(day, 0) + 1
    return found


def tries(events: Events) -> dict[tuple[str | None, str | None], int]:
    """How often each user name and password was tried."""
    found: dict[tuple[str | None, str | None], int] = {}
    for row in events:
        pair = row.get("username"), row.get("password")
        if row["event_kind"] in ("login_attempt", "login_success") and pair != (None, None):
            found[pair] = found.get(pair, 0) + 1
    return found


def shared(events: Events) -> dict[tuple[str, str], int]:
    """How many sources two sensors have in common, both ways round."""
    seen: dict[str, set[str]] = {}
    for row in events:
        if "sensor" in row and "src_ip" in row:
            seen.setdefault(row["sensor"], set()).add(row["src_ip"])
    return {
        (a, b): len(seen[a] & seen[b]) for a in seen for b in seen if a != b and seen[a] & seen[b]
    }


def events_an_hour(events: Events, **fields: str) -> dict[str, int]:
    """Events by hour, such as 2026-11-03T17, of those that have these fields."""
    found: dict[str, int] = {}
    for row in events:
        if all(row.get(name) == value for name, value in fields.items()):
            hour = row["@timestamp"][:13]
            found[hour] = found.get(hour, 0) + 1
    return found
