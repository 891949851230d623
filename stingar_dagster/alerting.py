"""The sensor that tells people of failed runs and failed checks.

It compares Dagster's records with what was told (`alerts.problems`), once a minute, and is there
only where a sink is set. A slow or dead sink holds up nothing: messages go out in threads, and what
was not taken is due again. Not here: words, forms and wires (`alerts`).
See https://docs.dagster.io/guides/automate/sensors
"""

import time
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

import dagster as dg
import msgspec
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecordStatus
from dagster._core.storage.tags import WILL_RETRY_TAG

from stingar_dagster import partitions
from stingar_dagster.alerts import problems
from stingar_dagster.alerts.delivery import Sending, deliver
from stingar_dagster.alerts.messages import Message, message_of
from stingar_dagster.alerts.problems import Alerts
from stingar_dagster.alerts.settings import AlertSettings, readable_alert_settings
from stingar_dagster.safe_text import visible
from stingar_dagster.sensors import opened_instance

TICK_SECONDS: Final = 59
"""The daemon looks every 5 seconds; a round minute would often be a tick later."""
WAIT_SECONDS: Final = 2.0
"""A tick waits so long for its messages: mostly enough to know that they were taken."""
RUNS_A_TICK: Final = 500
_OVERLAP_SECONDS: Final = 60.0
"""A run's end is stored a little after the time it bears; so far back is read twice."""
_REACH_SECONDS: Final = 600.0
"""How old a failed run may be that the first tick of all tells of."""
_LONGEST_REASON: Final = 600
_CHECK: Final = "check:"
"""Begins the keys of problems that checks tell."""

_under_way: Final[dict[str, Sending]] = {}
"""By sink: messages that are being sent. Lost with the process, they are sent again."""


def alert_sensor(
    settings: AlertSettings,
    checks: Collection[dg.AssetCheckKey],
    leads: Mapping[str, dg.AssetKey],
    wrong: Collection[str] = (),
) -> dg.SensorDefinition | None:
    """The sensor; None where nothing is set to tell.

    Args:
        settings: where problems are told, when definitions are loaded; they are read again in
            every tick.
        checks: of which a failed result is told. Not those whose failure fails their run.
        leads: for each job, the asset that its runs are known by. A backfill's runs have no job of
            their own: they are known by the first of their assets.
        wrong: what can't be used of the settings; each tick says it while it lasts.
    """
    if not settings.sinks and not wrong:
        return None

    @dg.sensor(
        name="alerts",
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells of failed runs and checks: by "
        + (", ".join(settings.sinks) or "nothing that can be used")
        + ".",
    )
    def alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        instance, now = opened_instance(context), time.time()
        state = _decode(context.cursor)
        problems.not_ahead(state, now)
        to, unusable = readable_alert_settings(before=settings)
        lines = [visible(line) for line in unusable]
        _see_runs(instance, state, leads, now)
        _see_checks(instance, state, checks, now)
        for line in _tell(state, to, now):
            context.log.warning(line)
        lines += [sink.failure for sink in state.sinks.values()]
        problems.forget(state, to.sinks, now)
        open_now = [p.title for p in state.problems.values() if not p.good_since]
        lines.append(
            f"{len(open_now)} problems: {'; '.join(open_now[:5])}" if open_now else "no problem"
        )
        return dg.SensorResult(
            cursor=msgspec.json.encode(state).decode(), skip_reason=visible(". ".join(lines))
        )

    return alerts


def _decode(cursor: str | None) -> Alerts:
    """The state; an unreadable one, of another release say, counts as empty."""
    try:
        return msgspec.json.decode(cursor or "{}", type=Alerts)
    except msgspec.DecodeError:
        return Alerts()


# ---- what is wrong


def _see_runs(
    instance: dg.DagsterInstance, state: Alerts, leads: Mapping[str, dg.AssetKey], now: float
) -> None:
    """Take in runs that ended since the last tick."""
    # Never ahead of now: after a clock that ran ahead was set right, runs end before that.
    until = min(state.runs_until, now) or now - _REACH_SECONDS
    records = instance.get_run_records(
        dg.RunsFilter(
            statuses=[dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS],
            updated_after=datetime.fromtimestamp(until - _OVERLAP_SECONDS, UTC),
        ),
        # So many new ones, behind those that are read twice.
        limit=RUNS_A_TICK + len(state.counted),
        order_by="update_timestamp",
        ascending=True,
    )
    for record in records:
        run, ended = record.dagster_run, record.update_timestamp.timestamp()
        until = max(until, ended)
        if run.run_id[:13] in state.counted:
            continue
        state.counted[run.run_id[:13]] = ended
        name = _lead(run, leads)
        key, keys = f"run:{name}", partitions.keys_of_run(run.tags)
        if run.status == dg.DagsterRunStatus.SUCCESS:
            problems.run_succeeded(state, key, keys, ended)
        elif run.tags.get(WILL_RETRY_TAG) != "true":
            known = state.problems.get(key)
            fresh = known is None or bool(known.good_since)
            # Its reason is a query of its own; of a thousand failures the first one's is enough.
            reason = _reason(instance, run.run_id) if fresh or known is None else known.text
            link = f"/runs/{quote(run.run_id)}" if fresh or known is None else known.link
            problem = problems.is_bad(state, key, f"runs of {name} fail", reason, link, ended)
            problems.run_failed(problem, keys)
            problem.title = _runs_title(name, problem)
    until = min(until, now)
    state.runs_until = until
    state.counted = {
        run: ended for run, ended in state.counted.items() if ended >= until - _OVERLAP_SECONDS
    }


def _runs_title(name: str, problem: problems.Problem) -> str:
    count = f"{problem.failed} runs" if problem.failed > 1 else "a run"
    shown = [key for key in problem.open if key]
    if not shown:
        return f"{count} of {name} failed"
    where = shown[0] if len(shown) == 1 else f"{shown[0]} to {shown[-1]}"
    return f"{count} of {name} failed ({where})"


def _lead(run: dg.DagsterRun, leads: Mapping[str, dg.AssetKey]) -> str:
    """What a run is known by: its first asset, whoever started it, or its job."""
    if run.asset_selection:
        return min(run.asset_selection).to_user_string()
    lead = leads.get(run.job_name)
    return lead.to_user_string() if lead is not None else run.job_name


def _reason(instance: dg.DagsterInstance, run_id: str) -> str:
    """Why a run failed, in one line."""
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    records = instance.get_records_for_run(run_id, of_type=kinds, limit=5).records
    for record in records:
        event = record.event_log_entry.dagster_event
        if event is None:
            continue
        if event.is_step_failure:
            failure = event.step_failure_data
            if failure.user_failure_data is not None and failure.user_failure_data.description:
                return visible(failure.user_failure_data.description, _LONGEST_REASON)
            error = failure.error
            while error is not None and error.cause is not None:
                error = error.cause
            if error is not None and error.message.strip():
                return visible(error.message.strip().splitlines()[0], _LONGEST_REASON)
        elif event.message:
            return visible(event.message.splitlines()[0], _LONGEST_REASON)
    return "The run's page says why."


def _see_checks(
    instance: dg.DagsterInstance,
    state: Alerts,
    checks: Collection[dg.AssetCheckKey],
    now: float,
) -> None:
    """Take in the latest result of each check."""
    known_keys = {_check_key(check) for check in checks}
    for key in state.problems:
        if key.startswith(_CHECK) and key not in known_keys:
            # It is not evaluated any more: by what is there now, nothing is wrong.
            problems.is_good(state, key, now)
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key([*checks])
    for check, record in latest.items():
        asset = check.asset_key.to_user_string()
        key, evaluation = _check_key(check), record.evaluation
        if evaluation is None:
            continue  # being evaluated, or its run failed, which is told as such
        if record.status == AssetCheckExecutionRecordStatus.SUCCEEDED:
            problems.is_good(state, key, max(record.create_timestamp, 1.0))
        elif record.status == AssetCheckExecutionRecordStatus.FAILED:
            known = state.problems.get(key)
            at = record.create_timestamp if known is None else now
            link = f"/assets/{quote(asset)}?view=checks&checkDetail={quote(check.name)}"
            problems.is_bad(
                state, key, f"{asset} {check.name}", evaluation.description or "failed", link, at
            )


def _check_key(check: dg.AssetCheckKey) -> str:
    return f"{_CHECK}{check.asset_key.to_user_string()}:{check.name}"


# ---- telling it


def _tell(state: Alerts, settings: AlertSettings, now: float) -> list[str]:
    """Send what is due, and take in what became of it; returns failures that are news."""
    news: list[str] = []
    for sink in settings.sinks:
        if sink in _under_way and not _took_in(state, sink, now, news, 0.0):
            continue
        if now < problems.waits_until(state, sink):
            continue
        notices = problems.due(state, sink, now)
        if notices:
            _under_way[sink] = Sending(
                _sender(sink, message_of(notices, settings, now), settings),
                [(notice.problem.key, notice.phase) for notice in notices],
            )
    deadline = time.monotonic() + WAIT_SECONDS
    for sink in [*_under_way]:
        _took_in(state, sink, now, news, max(deadline - time.monotonic(), 0.0))
    return news


def _sender(sink: str, message: Message, settings: AlertSettings) -> Callable[[], str]:
    return lambda: deliver(sink, message, settings)


def _took_in(state: Alerts, sink: str, now: float, news: list[str], wait_seconds: float) -> bool:
    """Whether a message is not on its way any more; what became of it goes into the state."""
    sending = _under_way[sink]
    if not sending.is_done(wait_seconds):
        return False
    del _under_way[sink]
    if not sending.failure:
        problems.delivered(state, sink, sending.notices, now)
        news += [sending.note] if sending.note else []
    elif problems.failed(state, sink, sending.failure, now):
        news.append(sending.failure)
    return True
