"""Every path in the lake. The published ones are a contract with readers.

Nothing but published objects stands under `events/` and `daily/`: readers glob them. Times are
UTC; no text from an event is ever part of a path.
"""

from dataclasses import dataclass
from datetime import UTC, datetime


def hour_key(hour: datetime) -> str:
    """`2022-05-19T17`: an hour in ledgers and records."""
    return hour.strftime("%Y-%m-%dT%H")


def parse_hour(key: str) -> datetime:
    return datetime.strptime(key, "%Y-%m-%dT%H").replace(tzinfo=UTC)


def day_of(hour: datetime) -> datetime:
    return hour.replace(hour=0)


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one stream, relative to the lake's root."""

    stream: str

    # ---- published

    def events(self, hour: datetime, name: str = "events.json") -> str:
        """An object of an event hour; hours that are cut into slices have several (`slices`)."""
        return f"{self.events_in(hour)}/{name}"

    def events_in(self, hour: datetime) -> str:
        """Folder of an hour's objects."""
        return f"{self.all_events}/{_hour(hour)}"

    @property
    def all_events(self) -> str:
        """Folder of every published hour."""
        return f"{self.stream}/events"

    def events_of(self, day: datetime) -> str:
        """Folder of a day's published hours."""
        return f"{self.all_events}/{_day(day)}"

    def daily(self, table: str, day: datetime) -> str:
        return f"{self.all_of_daily(table)}/{_day(day)}/{table}.json"

    def all_of_daily(self, table: str) -> str:
        """Folder of a daily table's days."""
        return f"{self.stream}/daily/{table}"

    def quarantine(self, landed_hour: datetime) -> str:
        return f"{self.all_quarantine}/{_hour(landed_hour)}/quarantine.json"

    @property
    def all_quarantine(self) -> str:
        """Folder of every landed hour's quarantine."""
        return f"{self.stream}/quarantine"

    def ledger(self, landed_hour: datetime) -> str:
        return f"{self.stream}/ledger/{_hour(landed_hour)}/ledger.json"

    def report(self, day: datetime) -> str:
        return f"{self.stream}/reports/{_day(day)}/report.html"

    @property
    def ledgers(self) -> str:
        return f"{self.stream}/ledger"

    def ledgers_of(self, day: datetime) -> str:
        return f"{self.ledgers}/{_day(day)}"

    def schema(self, name: str) -> str:
        return f"{self.stream}/schema/{name}"

    # ---- internal

    def segments(self, event_hour: datetime) -> str:
        """Folder of the segments of one event hour."""
        return f"{self.stream}/segments/{_hour(event_hour)}"

    def segment(self, event_hour: str, name: str) -> str:
        return f"{self.segments(parse_hour(event_hour))}/{name}"

    def rejected(self, landed_hour: datetime, name: str) -> str:
        """What one landed slot could not make into events."""
        return f"{self.stream}/segments/rejected/{_hour(landed_hour)}/{name}"

    def partials(self, event_hour: datetime, name: str = "") -> str:
        """An hour's partial aggregates, or the folder that they stand in."""
        return f"{self.stream}/rollups/{_hour(event_hour)}/{name}".rstrip("/")

    def looked_up(self, event_hour: datetime, name: str = "") -> str:
        """What an hour's events looked up, or the folder that it stands in."""
        return f"{self.stream}/rollups/looked-up/{_hour(event_hour)}/{name}".rstrip("/")

    def found(self, table: str, day: datetime, name: str = "") -> str:
        """What a day's slices came to for a joined table, or the folder that it stands in."""
        return f"{self.stream}/rollups/found/{table}/{_day(day)}/{name}".rstrip("/")

    def hour_record(self, kind: str, hour: datetime) -> str:
        """What is known of an hour: with `kind` `events` or `quarantine` what the published object
        was made from, with `notices` what Event Grid said of its captures."""
        return f"{self.stream}/state/{kind}/{_day(hour)}/{hour:%H}.json"

    def hour_records(self, kind: str, day: datetime | None = None) -> str:
        folder = f"{self.stream}/state/{kind}"
        return folder if day is None else f"{folder}/{_day(day)}"

    def day_record(self, table: str, day: datetime) -> str:
        return f"{self.day_records(table)}/{_day(day)}.json"

    def day_records(self, table: str) -> str:
        """Folder of a table's records."""
        return f"{self.stream}/state/daily/{table}"

    def digest(self, part: str, day: datetime, name: str = "") -> str:
        """What later days' reports compare with: with `part` `numbers` a day's numbers, with
        `seen` what was seen on it. Without a name the folder; names tell the content."""
        return f"{self.digests}/{part}/{_day(day)}/{name}".rstrip("/")

    @property
    def digests(self) -> str:
        return f"{self.stream}/state/digests"

    def reopened(self, event_hour: datetime | None = None) -> str:
        """Folder of an event hour's marks that it lost a segment, or of all hours' folders."""
        folder = f"{self.stream}/state/reopened"
        return folder if event_hour is None else f"{folder}/{hour_key(event_hour)}"

    def opening(self, namespace: str, event_hub: str, partition: int) -> str:
        """What `stingar capture` instances agreed on for a partition's next capture."""
        return f"{self.openings(namespace, event_hub)}/{partition}.json"

    def openings(self, namespace: str, event_hub: str) -> str:
        """Folder of what `stingar capture` instances agreed on for a hub."""
        return f"{self.stream}/state/capturing/{namespace}/{event_hub}"

    def health(self, name: str) -> str:
        """What checks keep, so that they need not read weeks again."""
        return f"{self.stream}/state/health/{name}"

    @property
    def marks(self) -> str:
        return f"{self.stream}/state/marks.json"


def hour_of_path(path: str) -> datetime:
    """The hour in the folders of an hour's path."""
    parts = path.split("/")
    date = next(part[5:] for part in parts if part.startswith("date="))
    hour = next((part[5:] for part in parts if part.startswith("hour=")), None)
    if hour is None:
        hour = parts[-1].removesuffix(".json")
    return parse_hour(f"{date}T{hour}")


def day_of_path(path: str) -> datetime:
    """The day in the folders or the name of a day's path."""
    date = next(part[5:15] for part in path.split("/") if part.startswith("date="))
    return parse_hour(f"{date}T00")


def _day(day: datetime) -> str:
    return f"date={day:%Y-%m-%d}"


def _hour(hour: datetime) -> str:
    return f"date={hour:%Y-%m-%d}/hour={hour:%H}"
