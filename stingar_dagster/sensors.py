"""The sensors: new captures, changed event hours, changed days.

Each compares what should be with what is (`lake.backlog`), asks for the difference (`automation`)
and keeps only hints in its cursor: with an empty one it finds the same, only slower. The rest is
Dagster's run queue. Not here: what a run does (`assets`).
See https://docs.dagster.io/guides/automate/sensors
"""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import dagster as dg
import msgspec
from dagster._core.definitions.unresolved_asset_job_definition import (
    UnresolvedAssetJobDefinition,
)
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

from stingar_dagster import checks, partitions
from stingar_dagster.assets import AUTOMATIC_TAG, StreamAssets
from stingar_dagster.automation import (
    LONGEST_REST_SECONDS,
    Asked,
    due,
    ranges,
    rest_seconds,
)
from stingar_dagster.capture.discovery import Listing
from stingar_dagster.errors import StingarError
from stingar_dagster.jobs import StreamJobs
from stingar_dagster.lake import backlog
from stingar_dagster.lake.expected import forget_expected
from stingar_dagster.lake.layout import day_of
from stingar_dagster.lake.ledger import read_ledger
from stingar_dagster.notices import Heard, QueueMarks, hear
from stingar_dagster.pipeline import Pipeline
from stingar_dagster.resources import PIPELINE
from stingar_dagster.safe_text import visible
from stingar_dagster.streams import Stream
from stingar_dagster.watch import Marks, look, look_where_told

TICK_SECONDS: Final = 4
"""The daemon looks every 5 seconds; an interval of 5 would make it 10."""
DAYS_TICK_SECONDS: Final = 14
"""Days are less urgent, and each tick costs the daemon a tenth of a second of processor time."""
RECONCILE_SECONDS: Final = 3600.0
OTHERS_SECONDS: Final = 300.0
"""Other streams' tables of today change all the time: a joined table follows them so often at most
where its own stream brings nothing new."""
RECONCILE_REACH: Final = timedelta(days=35)
HOURS_A_TICK: Final = 240
_UNFINISHED: Final = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
]
_opened: Final[list[tuple[InstanceRef, dg.DagsterInstance]]] = []
"""The instance of this process, once a sensor asked for it."""

C = TypeVar("C", bound=msgspec.Struct)


class LandingCursor(msgspec.Struct):
    """Hints of the landing sensor."""

    marks: Marks = msgspec.field(default_factory=Marks)
    queue: QueueMarks = msgspec.field(default_factory=QueueMarks)
    asked: dict[str, Asked] = {}


class FollowingCursor(msgspec.Struct):
    """Hints of a sensor that follows an asset's materializations.

    Attributes:
        after: storage id of the last materialization seen, for each asset followed.
        open: partitions that were not up to date at the last tick.
        reconciled_at: when everything of the last weeks was last compared; epoch seconds.
        asked: what was asked for.
        others_at: when joined tables were last held against other streams' tables; epoch seconds.
        of_others: days for which other streams' tables changed since, or that were not up to date
            then.
    """

    after: dict[str, int] = {}
    open: list[datetime] = []
    reconciled_at: float = 0.0
    asked: dict[str, Asked] = {}
    others_at: float = 0.0
    of_others: list[datetime] = []


def stream_sensors(
    stream: Stream, assets: StreamAssets, jobs: StreamJobs
) -> list[dg.SensorDefinition]:
    """The three sensors of one stream."""
    return [
        _new_captures(stream, assets, jobs),
        _changed_hours(stream, assets, jobs),
        _changed_days(stream, assets, jobs),
    ]


def _new_captures(stream: Stream, assets: StreamAssets, jobs: StreamJobs) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{stream.name}_new_captures",
        job=jobs.land_and_publish,
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks for captures that the ledger does not have; one request a landed hour, "
        "which is published by the same run.",
    )
    def new_captures(
        context: dg.SensorEvaluationContext,
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            steps = PIPELINE.open(stream.name)
            cursor = _decode(context.cursor, LandingCursor)
            heard = hear(steps, cursor.queue, _now())
            found, marks = _look(steps, cursor.marks, heard, datetime.now(UTC))
            by_hour = backlog.by_landed_hour(steps.lake, found.captures)
            missing = backlog.unlanded(steps.lake, by_hour)
            late = _landed_before_told(steps, assets.landed, heard.hours - missing.keys())
            if marks.reconciled_at != cursor.marks.reconciled_at:
                forget_expected(steps.lake, datetime.now(UTC) - RECONCILE_REACH)
        except StingarError as error:
            return dg.SkipReason(visible(str(error)))
        warnings = [*map(str, found.strangers[:5]), *heard.strange[:5]]
        failure = [heard.marks.failure] if heard.marks.failure else []
        if heard.marks.failure != cursor.queue.failure:
            # Ticks that log something are kept as objects of their own; the reason says it, too.
            warnings += failure
        for warning in warnings:
            context.log.warning(visible(warning))
        marks.open_hours = sorted(missing)
        pending = {
            hour: " ".join(f"{c.name.path}@{c.etag}" for c in captures)
            for hour, captures in missing.items()
        }
        requests = due(
            pending,
            cursor.asked,
            _under_way(opened_instance(context), *jobs.landing),
            _now(),
            HOURS_A_TICK,
        )
        new = [hour for hour in requests.due if hour.isoformat() not in cursor.asked]
        return dg.SensorResult(
            run_requests=_run_requests(requests.due, partitions.HOUR, priority=10),
            asset_events=[
                *(
                    dg.AssetMaterialization(
                        assets.captures,
                        partition=partitions.hour_key(hour),
                        metadata={
                            "captures": len(by_hour[hour]),
                            "size in MB": round(sum(c.size for c in by_hour[hour]) / 1e6, 3),
                        },
                    )
                    for hour in new
                ),
                *late,
            ],
            cursor=_encode(LandingCursor(marks, heard.marks, requests.asked)),
            skip_reason=None
            if requests.due
            else visible("; ".join([_nothing(len(missing), "landed hours"), *failure])),
        )

    return new_captures


def _look(steps: Pipeline, marks: Marks, heard: Heard, now: datetime) -> tuple[Listing, Marks]:
    """List what notices tell of, and where they do not come, or it is time, the last hours."""
    settings = steps.settings
    marks = msgspec.structs.replace(marks, open_hours=sorted({*marks.open_hours, *heard.hours}))
    if settings.notices and not heard.marks.failure:
        looked = look_where_told(steps.landing, marks, now)
        if looked is not None:
            return looked
    return look(steps.landing, marks, settings.start, settings.lookback, now)


def _landed_before_told(
    steps: Pipeline, asset: dg.AssetKey, hours: Iterable[datetime]
) -> list[dg.AssetCheckEvaluation]:
    """The check of captures that notices tell of after they were landed, where it fails."""
    lake = steps.lake
    ledgers = {hour: read_ledger(lake.store, lake.layout, hour) for hour in hours}
    problems = checks.not_as_told(lake, ledgers)
    if not problems:
        return []
    result = checks.as_told_result(asset, problems, len(ledgers))
    return [
        dg.AssetCheckEvaluation(
            asset_key=asset,
            check_name=checks.AS_TOLD,
            passed=False,
            severity=result.severity,
            description=result.description,
            metadata=result.metadata,
        )
    ]


def _changed_hours(stream: Stream, assets: StreamAssets, jobs: StreamJobs) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{stream.name}_changed_hours",
        job=jobs.publish,
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks for event hours whose published object does not show what is staged.",
    )
    def changed_hours(
        context: dg.SensorEvaluationContext,
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            lake = PIPELINE.open(stream.name).lake
            cursor = _decode(context.cursor, FollowingCursor)
            now = _now()
            landed, after = _materialized(opened_instance(context), [assets.landed], cursor)
            reconcile = now - cursor.reconciled_at >= RECONCILE_SECONDS
            if reconcile:
                landed |= set(backlog.landed_hours(lake, datetime.now(UTC) - RECONCILE_REACH))
            pending = backlog.unpublished_hours(lake, sorted(landed | set(cursor.open)))
        except StingarError as error:
            return dg.SkipReason(visible(str(error)))
        requests = due(
            pending,
            cursor.asked,
            _under_way(opened_instance(context), *jobs.publishing),
            now,
            HOURS_A_TICK,
        )
        reconciled_at = now if reconcile else cursor.reconciled_at
        return dg.SensorResult(
            run_requests=_run_requests(requests.due, partitions.HOUR, priority=20),
            cursor=_encode(
                FollowingCursor(
                    after, sorted(backlog.landed_behind(pending)), reconciled_at, requests.asked
                )
            ),
            skip_reason=None if requests.due else _nothing(len(pending), "event hours"),
        )

    return changed_hours


def _changed_days(stream: Stream, assets: StreamAssets, jobs: StreamJobs) -> dg.SensorDefinition:
    @dg.sensor(
        name=f"{stream.name}_changed_days",
        job=jobs.roll,
        minimum_interval_seconds=DAYS_TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks for days whose tables do not show their published hours.",
    )
    def changed_days(
        context: dg.SensorEvaluationContext,
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            lake = PIPELINE.open(stream.name).lake
            cursor = _decode(context.cursor, FollowingCursor)
            now = _now()
            instance = opened_instance(context)
            hours, after = _materialized(instance, [assets.cleaned, assets.quarantined], cursor)
            days = {day_of(hour) for hour in hours} | set(cursor.open)
            of_others = set(cursor.of_others)
            for table in stream.joined:
                others = [dg.AssetKey(list(other)) for other in table.others]
                cursor.after = after
                changed, after = _materialized(instance, others, cursor, partitions.parse_day_key)
                back = range(table.days_before + 1)
                of_others |= {day + number * partitions.DAY for day in changed for number in back}
            reconcile = now - cursor.reconciled_at >= RECONCILE_SECONDS
            if reconcile:
                oldest = datetime.now(UTC) - RECONCILE_REACH
                days |= {day for day in backlog.published_days(lake) if day >= oldest}
            since_others = now - cursor.others_at
            with_others = bool(stream.joined) and (reconcile or since_others >= OTHERS_SECONDS)
            if with_others:
                days |= of_others
            pending = backlog.unpublished_days(lake, days, others=with_others)
            resting = _resting(instance, jobs.roll, now) if pending else set()
        except StingarError as error:
            return dg.SkipReason(visible(str(error)))
        requests = due(
            pending,
            cursor.asked,
            _under_way(instance, jobs.roll) | resting,
            now,
            HOURS_A_TICK,
        )
        seen = FollowingCursor(
            after,
            sorted(pending),
            now if reconcile else cursor.reconciled_at,
            requests.asked,
            now if with_others else cursor.others_at,
            sorted(pending if with_others else of_others),
        )
        return dg.SensorResult(
            run_requests=_run_requests(requests.due, partitions.DAY, priority=30),
            cursor=_encode(seen),
            skip_reason=None if requests.due else _nothing(len(pending), "days"),
        )

    return changed_days


def opened_instance(context: dg.SensorEvaluationContext) -> dg.DagsterInstance:
    """Dagster's instance, opened once in the life of the code server.

    A context opens one for each tick that asks, which takes more time than all else in a tick
    (SQLite: the files of all migrations are read). Resources ask for it, too: so sensors have none.
    """
    ref = context.instance_ref
    if ref is None:  # made by hand, in tests
        return context.instance
    if not _opened or _opened[0][0] != ref:
        _opened[:] = [(ref, dg.DagsterInstance.from_ref(ref))]
    return _opened[0][1]


def _materialized(
    instance: dg.DagsterInstance,
    assets: Iterable[dg.AssetKey],
    cursor: FollowingCursor,
    parse: Callable[[str], datetime] = partitions.parse_hour_key,
) -> tuple[set[datetime], dict[str, int]]:
    """Hours, or days, of assets' partitions that were materialized since the last tick."""
    hours: set[datetime] = set()
    after = dict(cursor.after)
    for asset in assets:
        name = asset.to_user_string()
        records = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=asset, after_storage_id=after.get(name)),
            limit=5000,
            ascending=True,
        ).records
        for record in records:
            after[name] = record.storage_id
            if record.partition_key is not None:
                hours.add(parse(record.partition_key))
    return hours, after


def _under_way(instance: dg.DagsterInstance, *jobs: UnresolvedAssetJobDefinition) -> set[datetime]:
    """Partitions of jobs' runs that have not finished."""
    names = {job.name for job in jobs}
    busy: set[datetime] = set()
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        if run.job_name in names:
            busy.update(partitions.of_run(run.tags))
    return busy


def _resting(
    instance: dg.DagsterInstance, job: UnresolvedAssetJobDefinition, now: float
) -> set[datetime]:
    """Partitions that a job's last runs took so long for that they are left alone for a while."""
    lately = dg.RunsFilter(
        job_name=job.name,
        statuses=[dg.DagsterRunStatus.SUCCESS],
        updated_after=datetime.fromtimestamp(now - LONGEST_REST_SECONDS, UTC),
    )
    found: set[datetime] = set()
    for record in instance.get_run_records(lately, limit=HOURS_A_TICK):
        done = partitions.of_run(record.dagster_run.tags)
        if done and record.start_time is not None and record.end_time is not None:
            took = (record.end_time - record.start_time) / len(done)
            if now < record.end_time + rest_seconds(took):
                found.update(done)
    return found


def _run_requests(
    due_partitions: Sequence[datetime], step: timedelta, priority: int
) -> list[dg.RunRequest]:
    key = partitions.hour_key if step == partitions.HOUR else partitions.day_key
    tags = {AUTOMATIC_TAG: "sensor", "dagster/priority": str(priority)}
    return [
        dg.RunRequest(partition_key=key(first), tags=tags)
        if first == last
        else dg.RunRequest(
            tags={
                **tags,
                ASSET_PARTITION_RANGE_START_TAG: key(first),
                ASSET_PARTITION_RANGE_END_TAG: key(last),
            }
        )
        for first, last in ranges(due_partitions, step)
    ]


def _nothing(pending: int, what: str) -> str:
    if pending:
        return (
            f"{pending} {what} are pending: their runs are under way, wait for another try, or "
            "took long and rest"
        )
    return f"all {what} are up to date"


def _now() -> float:
    return time.time()


def _decode(text: str | None, kind: type[C]) -> C:
    """The cursor; an unreadable one, of another release say, counts as empty."""
    try:
        return msgspec.json.decode(text or "{}", type=kind)
    except msgspec.DecodeError:
        return kind()


def _encode(cursor: LandingCursor | FollowingCursor) -> str:
    return msgspec.json.encode(cursor).decode()
