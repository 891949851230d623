"""Where a column's values come from, read from the stream's declaration: told once, shown anywhere.

A column of events comes from members of bodies: a field from its spellings, a derived column from
what the expressions that make it look at. A column of a daily table comes from columns of events.
Not here: how it is shown (Dagster's metadata).
"""

from collections.abc import Iterable, Mapping

import polars as pl

from stingar_dagster.streams.joined import JoinedTable
from stingar_dagster.streams.stream import ENGINE_COLUMNS, TIME_COLUMN, Stream
from stingar_dagster.streams.tables import DailyTable

CAPTURED = "SequenceNumber", "EnqueuedTimeUtc", "Body"
"""Columns of a capture that events are made from."""

_ENGINE: Mapping[str, tuple[str, ...]] = {
    "event_id": ("SequenceNumber",),
    "enqueued_at": ("EnqueuedTimeUtc",),
    "extra": ("Body",),
}
_TIMES = {"time_us": TIME_COLUMN.name, "enqueued_us": "enqueued_at"}


def event_sources(stream: Stream) -> dict[str, tuple[str, ...]]:
    """For each published column of events, what of a capture it is made from.

    Members of bodies are named `Body.src_ip`.
    """
    bodies = [f"Body.{name}" for name in stream.time_fields]
    sources = {
        item.name: tuple(f"Body.{name}" for name in (item.name, *item.aliases))
        for item in stream.fields
    }
    sources = _through_steps(stream, sources)
    for column in ENGINE_COLUMNS:
        sources[column.name] = _ENGINE.get(column.name, (*bodies, "EnqueuedTimeUtc"))
    sources[TIME_COLUMN.name] = (*bodies, "EnqueuedTimeUtc")
    return {column.name: sources.get(column.name, ("Body",)) for column in stream.columns}


def table_sources(stream: Stream, table: DailyTable) -> dict[str, tuple[str, ...]]:
    """For each column of a daily table, the columns of events it is made from."""
    events = {name: (name,) for name in stream.schema} | {
        name: (column,) for name, column in _TIMES.items()
    }
    exploded = [table.explode] if table.explode is not None else []
    seen = events | _made_by(exploded, events)
    grouped = seen | _made_by((*table.keys, *table.distinct, *table.partial), seen)
    merged = grouped | _made_by(table.merged, grouped)
    merged |= _made_by(table.finished, merged)
    # What only counts rows comes from all that decide which rows there are.
    by_row = tuple(dict.fromkeys(name for key in table.key_names for name in grouped.get(key, ())))
    return {column.name: merged.get(column.name) or by_row for column in table.columns}


def joined_sources(
    table: JoinedTable,
) -> tuple[dict[str, tuple[str, ...]], dict[tuple[str, str], dict[str, tuple[str, ...]]]]:
    """For each column of a joined table, what it is made from.

    Returns:
        columns of events; and by stream and table, columns of other streams' tables.
    """
    looked_at = (table.asked, table.answered)
    of_events = {
        table.who: (table.who,),
        "found_in": looked_at,
        "queries": looked_at,
        "first_query": (TIME_COLUMN.name,),
        "last_query": (TIME_COLUMN.name,),
        "example_name": (table.asked,),
        "example_answer": (table.answered,),
        "unique_resolvers": (table.through,),
        "unique_clients": (table.who,),
    }
    of_others: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {
        (item.stream, item.table): {
            "indicator": (item.column,),
            "seen_as": (item.column,),
            item.counted_as: ("events",),
            "unique_sensors": ("sensors",),
            "sensors": ("sensors",),
            "first_seen": ("first_seen",),
            "last_seen": ("last_seen",),
            "indicators": (item.column,),
            **({"example_seen": (item.column,)} if item.is_example else {}),
        }
        for item in table.indicators
    }
    return of_events, of_others


def _through_steps(
    stream: Stream, sources: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    known = dict(sources)
    for step in stream.steps:
        known |= _made_by(step, known)
    return known


def _made_by(
    expressions: Iterable[pl.Expr], known: Mapping[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    made: dict[str, tuple[str, ...]] = {}
    for expression in expressions:
        roots = expression.meta.root_names()
        sources = tuple(dict.fromkeys(name for root in roots for name in known.get(root, ())))
        name = expression.meta.output_name(raise_if_undetermined=False)
        if name in (None, *roots) and expression.meta.has_multiple_outputs():
            # The same for each of some columns, which keep their names.
            made |= {root: known[root] for root in roots if root in known}
        elif name is not None:
            made[name] = sources
    return made
