"""The check of drift: fields that are new, or hold another kind of value than before.

Whatever is not declared is kept in `extra` and lost to nobody; this says that there is something
to declare. Not here: how fields are seen (`fields`).
"""

from datetime import datetime, timedelta

from stingar_dagster.health.fields import MOST_FIELDS, FieldRecord, Seen
from stingar_dagster.health.findings import Finding, Value, at, listed, not_enough, plural
from stingar_dagster.lake.layout import hour_key, parse_hour
from stingar_dagster.safe_text import visible
from stingar_dagster.streams.norms import Norms
from stingar_dagster.streams.stream import Stream


def drift(record: FieldRecord, stream: Stream, norms: Norms, now: datetime) -> Finding:
    """Fields first seen by a look of the last day, of software that is known for longer.

    By the look, not by when they landed: after a day without looks they are still told.
    """
    begin = hour_key(now - norms.drift_for)
    news = [
        seen
        for seen in record.seen
        if seen.told_from >= begin and not _learning(record, seen, norms)
    ]
    full = {name: hour for name, hour in record.full.items() if hour >= begin}
    declared = {name for field in stream.fields for name in (field.name, *field.aliases)}
    declared |= set(stream.time_fields)
    numbers: dict[str, Value] = {
        "new": len(news),
        "fields known": len({seen.key[:2] for seen in record.seen}),
        "software known": len(record.since),
    }
    if not record.since:
        return not_enough("no event has been looked at", **numbers)
    if not news and not full:
        days = norms.drift_learning.days
        if all(_is_young(hour, norms, now) for hour in record.since.values()):
            known = (now - min(map(parse_hour, record.since.values()))) / timedelta(days=1)
            return not_enough(
                f"fields are learnt for {days} days, {known:.1f} have passed", **numbers
            )
        return Finding(True, "No field is new or of a new kind in the last day.", numbers)
    changed = {seen.key: _change(record, seen, declared) for seen in news}
    news.sort(key=lambda seen: (seen.landed, seen.key))
    sentences = []
    if news:
        first = news[0]
        sentences.append(
            f"{plural(len(news), 'field')} changed since {at(parse_hour(first.landed))}: "
            f"{_name(first)} ({changed[first.key]}), first from {first.sensor or 'an unnamed one'}"
            f", such as {first.example}"
            + (f"; and {listed([_name(seen) for seen in news[1:]])}" if news[1:] else "")
            + ". It is kept in `extra`; declare it in the stream if analysts need it."
        )
    if full:
        sentences.append(
            f"{listed(full)} sent more than {MOST_FIELDS} different fields: their names hold data, "
            "and new ones are not told any more."
        )
    rows: list[dict[str, Value]] = [
        {
            "software": visible(seen.software, 100),
            "field": visible(seen.field, 100),
            "what": changed[seen.key],
            "example": seen.example,
            "sensor": seen.sensor,
            "landed": at(parse_hour(seen.landed)),
        }
        for seen in news
    ]
    return Finding(False, " ".join(sentences), numbers, rows)


def _learning(record: FieldRecord, seen: Seen, norms: Norms) -> bool:
    since = record.since.get(seen.software)
    return since is None or parse_hour(seen.landed) - parse_hour(since) < norms.drift_learning


def _is_young(since: str, norms: Norms, now: datetime) -> bool:
    return now - parse_hour(since) < norms.drift_learning


def _change(record: FieldRecord, seen: Seen, declared: set[str]) -> str:
    before = sorted(
        other.kind
        for other in record.seen
        if other.key[:2] == seen.key[:2] and other.landed < seen.landed
    )
    if before:
        return f"was {' or '.join(before)}, now {seen.kind}"
    if seen.field in declared:
        return f"declared, and came as {seen.kind} that does not fit"
    return f"new, {seen.kind}"


def _name(seen: Seen) -> str:
    software = visible(seen.software, 40) or "no app"
    return f"{software} {visible(seen.field, 60)}"
