"""The assets of a stream: captures, landed events, quarantine, cleaned events, daily tables.

A factory, because every stream has the same. Here: what Dagster shows and runs. Not here: what the
steps do (`pipeline`), and when they run (`sensors`).
See https://docs.dagster.io/guides/build/assets
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import dagster as dg

from stingar_dagster import checks, partitions, showing
from stingar_dagster.errors import StingarError, Transient
from stingar_dagster.lake.daily import REPORT
from stingar_dagster.lake.lake import Lake
from stingar_dagster.lake.publication import Record
from stingar_dagster.lake.quarantine import publish_quarantine, read_first
from stingar_dagster.lake.slices import Form
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.report import pictures
from stingar_dagster.resources import PipelineResource
from stingar_dagster.safe_text import visible
from stingar_dagster.settings import Settings
from stingar_dagster.streams.joined import JoinedTable
from stingar_dagster.streams.stream import Stream
from stingar_dagster.workers import Workers

AUTOMATIC_TAG: Final = "stingar/asked_by"
"""On runs that sensors and `stingar run` ask for: they decode only what is new. A run without it
was asked for by a person, and does its partitions from scratch."""

OWNERS: Final = ["team:stingar"]
_RETRIES: Final = 3
_FIRST_WAIT_SECONDS: Final = 5
"""Before the first of them; it doubles before each that follows."""


@dataclass(frozen=True, slots=True)
class StreamAssets:
    """One stream's assets, and the keys by which jobs select them."""

    definitions: tuple[dg.AssetsDefinition | dg.AssetSpec, ...]
    captures: dg.AssetKey
    landed: dg.AssetKey
    quarantined: dg.AssetKey
    cleaned: dg.AssetKey
    daily: tuple[dg.AssetKey, ...]
    """The daily tables, those that join streams after the others, and, last, the report."""


def stream_assets(stream: Stream, settings: Settings) -> StreamAssets:
    """Build the assets of one stream, under its name as key prefix."""
    keys = StreamAssets(
        definitions=(),
        captures=dg.AssetKey([stream.name, "captures"]),
        landed=dg.AssetKey([stream.name, "landed_events"]),
        quarantined=dg.AssetKey([stream.name, "quarantined_events"]),
        cleaned=dg.AssetKey([stream.name, "cleaned_events"]),
        daily=tuple(
            dg.AssetKey([stream.name, name])
            for name in (*(table.name for table in stream.every_table), REPORT)
        ),
    )
    definitions = (
        _captures(stream, settings, keys),
        _landed_events(stream, settings, keys),
        _quarantined_events(stream, settings, keys),
        _cleaned_events(stream, settings, keys),
        _daily(stream, settings, keys),
    )
    return StreamAssets(
        definitions, keys.captures, keys.landed, keys.quarantined, keys.cleaned, keys.daily
    )


def _captures(stream: Stream, settings: Settings, keys: StreamAssets) -> dg.AssetSpec:
    return dg.AssetSpec(
        keys.captures,
        partitions_def=partitions.landed_hours(settings),
        group_name=stream.name,
        kinds={"azure", "avro"},
        owners=OWNERS,
        description=(
            f"Capture files with {stream.title} as Event Hubs Capture landed them, by the hour in "
            "their names: when they arrived. Immutable, and the only source of truth; this "
            "system never writes them."
        ),
        metadata={
            "landing": settings.landing,
            "name format": settings.capture_format,
            "dagster/column_schema": showing.capture_schema(),
            **showing.code("capture.reader", "sensors"),
        },
    )


def _landed_events(stream: Stream, settings: Settings, keys: StreamAssets) -> dg.AssetsDefinition:
    hears_notices = bool(settings.notices)

    @dg.asset(
        key=keys.landed,
        deps=[dg.AssetDep(keys.captures, partition_mapping=partitions.same_window())],
        partitions_def=partitions.hours(settings),
        backfill_policy=dg.BackfillPolicy.multi_run(24),
        check_specs=[
            checks.counts_spec(
                keys.landed, "Every event of every capture is cleaned or quarantined, once"
            ),
            *([checks.as_told_spec(keys.landed)] if hears_notices else []),
        ],
        group_name=stream.name,
        kinds={"polars", "parquet"},
        owners=OWNERS,
        code_version=stream.code_version,
        metadata={
            "ledger": _place(settings, stream, "ledger/date=*/hour=*/ledger.json"),
            **showing.code("pipeline", f"streams.{stream.name}"),
        },
        description=(
            "Decodes and cleans the captures of one landed hour into segments, one for each hour "
            "that events were logged in, and writes the ledger: a line a capture with what became "
            "of its events. Only slots with new captures are decoded again; a run started by hand "
            "decodes all of them."
        ),
    )
    def landed_events(
        context: dg.AssetExecutionContext, pipeline: PipelineResource
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        with _reported(context), Workers(pipeline.open(stream.name)) as workers:
            lake, again = workers.pipeline.lake, AUTOMATIC_TAG not in context.run.tags
            problems: list[str] = []
            not_as_told: list[str] = []
            # Each hour is checked while workers, if any, are at the next ones.
            hours = map(partitions.parse_hour_key, context.partition_keys)
            for hour, outcome in workers.land_hours(hours, again=again):
                problems += checks.landed_problems(lake, {hour: outcome})
                if hears_notices:
                    not_as_told += checks.not_as_told(lake, {hour: outcome.ledger})
                for capture in outcome.waiting:
                    context.log.warning(
                        f"{visible(capture.name.path)} looks half-written; it is tried again later"
                    )
                context.add_asset_metadata(
                    {
                        "dagster/row_count": outcome.total("cleaned"),
                        "dagster/size_bytes": outcome.total("size"),
                        "captures": len(outcome.ledger.lines),
                        "decoded now": outcome.decoded,
                        "events": outcome.total("events"),
                        "quarantined": outcome.total("quarantined"),
                        "damaged captures": sum(
                            bool(line.damage) for line in outcome.ledger.lines.values()
                        ),
                        "waiting captures": len(outcome.waiting),
                        "event hours changed": len(outcome.changed_hours),
                        **showing.drawn(pictures.of_reasons(outcome.quarantine.reasons)),
                        "ledger": dg.MetadataValue.path(
                            visible(lake.store.describe(lake.layout.ledger(hour)))
                        ),
                    },
                    partition_key=partitions.hour_key(hour),
                )
            checked = len(context.partition_keys)
            results = [checks.result(problems, checked, "landed hours")]
            if hears_notices:
                results.append(checks.as_told_result(keys.landed, not_as_told, checked))
            return dg.MaterializeResult(check_results=results)

    return landed_events


def _quarantined_events(
    stream: Stream, settings: Settings, keys: StreamAssets
) -> dg.AssetsDefinition:
    @dg.asset(
        key=keys.quarantined,
        deps=[dg.AssetDep(keys.landed, partition_mapping=partitions.same_window())],
        partitions_def=partitions.hours(settings),
        backfill_policy=dg.BackfillPolicy.multi_run(24),
        group_name=stream.name,
        kinds={"json"},
        owners=OWNERS,
        metadata={
            "dagster/column_schema": showing.quarantine_schema(),
            "published": _place(settings, stream, "quarantine/date=*/hour=*/quarantine.json"),
            **showing.code("lake.quarantine", "cleaning.reasons"),
        },
        description=(
            "What could not become an event, by landed hour: a reason, where it stood, and the "
            "raw bytes. After a fix, `stingar quarantine replay` gives it another try."
        ),
    )
    def quarantined_events(context: dg.AssetExecutionContext, pipeline: PipelineResource) -> None:
        with _reported(context):
            lake = pipeline.open(stream.name).lake
            for key in context.partition_keys:
                hour = partitions.parse_hour_key(key)
                record = publish_quarantine(lake, hour)
                lines = read_first(lake, hour, showing.PREVIEW_ROWS) if record.rows else []
                context.add_asset_metadata(
                    {
                        **_counted(record),
                        **{f"reason {name}": count for name, count in record.reasons.items()},
                        **_published(
                            lake.store.describe(lake.layout.quarantine(hour)), record.rows
                        ),
                        **showing.of_quarantine(record.reasons, lines),
                    },
                    partition_key=key,
                )

    return quarantined_events


def _cleaned_events(stream: Stream, settings: Settings, keys: StreamAssets) -> dg.AssetsDefinition:
    @dg.asset(
        key=keys.cleaned,
        deps=[dg.AssetDep(keys.landed, partition_mapping=partitions.same_window())],
        partitions_def=partitions.hours(settings),
        backfill_policy=dg.BackfillPolicy.multi_run(24),
        check_specs=[
            checks.counts_spec(
                keys.cleaned, "The published object holds every staged event once, and no other"
            )
        ],
        group_name=stream.name,
        kinds={"polars", "json"},
        owners=OWNERS,
        metadata={
            "dagster/column_schema": showing.column_schema(stream.columns),
            "dagster/column_lineage": showing.events_lineage(stream, keys.captures),
            "published": _place(
                settings, stream, f"events/date=*/hour=*/{Form.of(stream).pattern}"
            ),
            **showing.code("lake.publishing", f"streams.{stream.name}"),
        },
        description=(
            "Cleaned events by the UTC hour they were logged in: one JSON-lines object an hour, "
            "sorted by time, every captured event once. A late event opens its old hour again. "
            "The partition is when things happened, not when they arrived, so an hour can hold "
            "events of many landed hours."
        ),
    )
    def cleaned_events(
        context: dg.AssetExecutionContext, pipeline: PipelineResource
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]
        with _reported(context), Workers(pipeline.open(stream.name)) as workers:
            lake = workers.pipeline.lake
            problems: list[str] = []
            hours = map(partitions.parse_hour_key, context.partition_keys)
            again = AUTOMATIC_TAG not in context.run.tags
            for hour, published in workers.publish_hours(hours, again=again):
                record = published.record
                problems += checks.published_problems(lake, {hour: record}, published.written)
                place = _published_at(lake, hour, record)
                context.add_asset_metadata(
                    {
                        **_counted(record),
                        "duplicates left out": record.duplicates,
                        "segments": len(record.made_from),
                        "objects": len(record.objects()),
                        "objects written now": len(published.written),
                        **_published(place, record.rows),
                        **showing.of_event_hour(
                            lake, hour, record, with_rows=_is_over(hour + partitions.HOUR)
                        ),
                    },
                    partition_key=partitions.hour_key(hour),
                )
            return dg.MaterializeResult(
                check_results=[checks.result(problems, len(context.partition_keys), "event hours")]
            )

    return cleaned_events


def _daily(stream: Stream, settings: Settings, keys: StreamAssets) -> dg.AssetsDefinition:
    of_events = dg.AssetDep(keys.cleaned, partition_mapping=partitions.same_window())
    of_quarantine = dg.AssetDep(keys.quarantined, partition_mapping=partitions.same_window())
    *table_keys, report_key = keys.daily
    specs = [
        dg.AssetSpec(
            key,
            deps=[of_events, *([of_quarantine] if table.quarantine_column else [])],
            group_name=stream.name,
            kinds={"polars", "json"},
            owners=OWNERS,
            skippable=True,
            description=f"{table.meaning} Merged exactly from the day's hours.",
            metadata={
                "dagster/column_schema": showing.column_schema(table.columns),
                "dagster/column_lineage": showing.table_lineage(
                    stream, table, keys.cleaned, keys.quarantined
                ),
                "published": _place(
                    settings, stream, f"daily/{table.name}/date=*/{table.name}.json"
                ),
                **showing.code(f"streams.{stream.name}", "lake.daily"),
            },
        )
        for key, table in zip(table_keys, stream.tables, strict=False)
    ]
    specs += [_joined(stream, settings, keys, table) for table in stream.joined]
    report = dg.AssetSpec(
        report_key,
        deps=table_keys,
        group_name=stream.name,
        kinds={"html"},
        owners=OWNERS,
        skippable=True,
        description=(
            "The day on one page, for a browser, a phone or paper: can it be trusted, its numbers "
            "against the last seven days, what was never seen before, which sources hit several "
            "sensors, what did not fit. One HTML file without scripts or requests, made again "
            "whenever its day's tables change. `stingar report DAY` writes the same."
        ),
        metadata={
            "published": _place(settings, stream, "reports/date=*/report.html"),
            **showing.code("report.facts", "report.page"),
        },
    )

    @dg.multi_asset(
        name=f"{stream.name}_daily_tables",
        specs=[*specs, report],
        can_subset=True,
        partitions_def=partitions.days(settings),
        backfill_policy=dg.BackfillPolicy.multi_run(7),
    )
    def daily(
        context: dg.AssetExecutionContext, pipeline: PipelineResource
    ) -> Iterator[dg.MaterializeResult]:  # type: ignore[type-arg]
        with _reported(context), Workers(pipeline.open(stream.name)) as workers:
            selected = [key for key in keys.daily if key in context.selected_asset_keys]
            names = [key.path[-1] for key in selected]
            tables = [name for name in names if name != REPORT]
            days = sorted(map(partitions.parse_day_key, context.partition_keys))

            def tell(day: datetime, name: str, metadata: dict[str, Any]) -> None:
                context.add_asset_metadata(
                    metadata,
                    asset_key=dg.AssetKey([stream.name, name]),
                    partition_key=partitions.day_key(day),
                )

            again = AUTOMATIC_TAG not in context.run.tags
            for day, records in workers.roll_days(days, tables, again=again) if tables else ():
                for name, metadata in _of_tables(workers.pipeline, day, records).items():
                    tell(day, name, metadata)
            # One after another, each once the days before it are there: it compares with them.
            for day in days if REPORT in names else ():
                tell(day, REPORT, _of_report(workers.pipeline, day))
            for key in selected:
                yield dg.MaterializeResult(asset_key=key)

    return daily


def _joined(
    stream: Stream, settings: Settings, keys: StreamAssets, table: JoinedTable
) -> dg.AssetSpec:
    """A table between this stream and others."""
    window = partitions.days_before(table.days_before)
    others = [dg.AssetDep(dg.AssetKey(list(o)), partition_mapping=window) for o in table.others]
    return dg.AssetSpec(
        dg.AssetKey([stream.name, table.name]),
        deps=[dg.AssetDep(keys.cleaned, partition_mapping=partitions.same_window()), *others],
        group_name=stream.name,
        kinds={"polars", "json"},
        owners=OWNERS,
        skippable=True,
        description=f"{table.meaning} Made again when either side changes.",
        metadata={
            "dagster/column_schema": showing.column_schema(table.columns),
            "dagster/column_lineage": showing.joined_lineage(table, keys.cleaned),
            "published": _place(settings, stream, f"daily/{table.name}/date=*/{table.name}.json"),
            **showing.code(f"streams.{stream.name}", "lake.joined"),
        },
    )


def _of_tables(
    pipeline: Pipeline, day: datetime, records: Mapping[str, Record]
) -> dict[str, dict[str, Any]]:
    """What to show of a day's tables."""
    lake = pipeline.lake
    paths = {name: lake.layout.daily(name, day) for name in records}
    looks = showing.of_tables(
        lake,
        {name: (paths[name], records[name]) for name in paths},
        with_rows=_is_over(day + partitions.DAY),
    )
    return {
        name: {
            **_counted(records[name]),
            **_published(lake.store.describe(path), records[name].rows),
            **looks[name],
        }
        for name, path in paths.items()
    }


def _of_report(pipeline: Pipeline, day: datetime) -> dict[str, Any]:
    """Make a day's report, and what to show of it."""
    lake = pipeline.lake
    record = pipeline.roll_day(day, [REPORT])[REPORT]
    return {
        "dagster/size_bytes": record.size,
        **_published(lake.store.describe(lake.layout.report(day)), record.rows),
        **showing.of_report(lake, day),
    }


@contextlib.contextmanager
def _reported(context: dg.AssetExecutionContext) -> Iterator[None]:
    """Our errors as one line in the run; another try where the type of the error says so.

    What an error was raised from stays out: Dagster would keep and show its text, and texts of
    storage clients may quote requests with their signatures.
    """
    try:
        yield
    except StingarError as error:
        told = visible(str(error))
        if isinstance(error, Transient) and context.retry_number < _RETRIES:
            context.log.warning(f"{told}; trying again")
            raise dg.RetryRequested(
                max_retries=_RETRIES,
                seconds_to_wait=_FIRST_WAIT_SECONDS * 2**context.retry_number,
            ) from None
        raise dg.Failure(description=told, allow_retries=False) from None


def _is_over(end: datetime) -> bool:
    """Whether a partition's time has passed: until then it is published again and again, and
    Dagster would keep its first rows each time."""
    return datetime.now(UTC) >= end


def _counted(record: Record) -> dict[str, int]:
    """Numbers that the UI draws over time."""
    return {"dagster/row_count": record.rows, "dagster/size_bytes": record.size}


def _published(address: str, rows: int) -> Mapping[str, Any]:
    return (
        {"published": dg.MetadataValue.path(visible(address))} if rows else {"published": "no rows"}
    )


def _published_at(lake: Lake, hour: datetime, record: Record) -> str:
    """Where an hour is published: its object, or the folder of several."""
    names = sorted(record.objects())
    if len(names) == 1:
        return lake.store.describe(lake.layout.events(hour, names[0]))
    return lake.store.describe(lake.layout.events_in(hour))


def _place(settings: Settings, stream: Stream, path: str) -> str:
    return f"{settings.lake.rstrip('/')}/{stream.name}/{path}"
