"""The `stingar` command: reads arguments, calls, prints. It computes nothing.

Exit codes: 0 done, 1 something does not hold or failed, 2 it could not be tried. Errors raised on
purpose come out as one line; text from events is made harmless before a terminal sees it.
"""

import contextlib
import csv
import gzip
import json
import signal
import sys
import time
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from stingar_dagster.errors import StingarError, UsageError
from stingar_dagster.safe_text import spreadsheet_cell, visible
from stingar_dagster.settings import load_settings

if TYPE_CHECKING:
    import polars as pl

_STREAM: Final = "stingar"
_ORIGIN_COLUMNS: Final = ("src_country", "src_asn", "src_as_org")
_WIDEST: Final = 4000
"""Wider than any row: what goes into a file or a pipe is not cut to a terminal's width."""
_MOST_SHOWN: Final = 1000
"""Rows of a table of events."""
_LIST_COLUMNS: Final = ("event_id", "reason", "detail", "capture")

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, highlight=False)


STREAM_OPTION: Final = click.option(
    "--stream", "of_stream", metavar="NAME", help="Kind of log, such as stingar or dns."
)


class _OneLineErrors(click.Group):
    """Errors raised on purpose become one line and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except StingarError as error:
            click.echo(f"stingar: {visible(str(error))}", err=True)
            ctx.exit(2)
        except BrokenPipeError:
            # The reader of our output went away, as `| head` does.
            sys.stderr.close()
            ctx.exit(0)
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            click.echo(f"stingar: {visible(f'{place}{error.strerror or error}')}", err=True)
            ctx.exit(2)


class _Time(click.ParamType[datetime]):
    """A UTC time: 2022-05-19, 2022-05-19T17, 2022-05-19T17:30 or with seconds."""

    name = "time"

    def __init__(self, whole_hours: bool) -> None:
        self._whole_hours = whole_hours

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            time = datetime.fromisoformat(value)
            time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not a time; write it like 2022-05-19 or 2022-05-19T17:00")
        if self._whole_hours and time != time.replace(minute=0, second=0, microsecond=0):
            self.fail(f"{value!r} is not a whole hour")
        return time


HOUR_OPTION: Final = _Time(whole_hours=True)
TIME_OPTION: Final = _Time(whole_hours=False)


@click.group(cls=_OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="stingar-dagster")
def main() -> None:
    """Honeypot events from Event Hubs Capture files to cleaned hours and daily tables.

    Where things are is set by STINGAR_LANDING and STINGAR_LAKE, in the environment or in .env.
    Times are UTC, ranges half-open.
    """


# ---------------------------------------------------------------------------- running


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address the UI listens on.")
@click.option("--port", default=3000, show_default=True, help="Port the UI listens on.")
@click.option("--paused", is_flag=True, help="Land no new traffic.")
def demo(host: str, port: int, paused: bool) -> None:
    """Land sample traffic continuously and serve Dagster's UI over it."""
    from stingar_dagster import demo as demonstration

    if not Path("workspace.yaml").is_file():
        raise UsageError("there is no workspace.yaml here: run this in the project's folder")
    sys.exit(demonstration.run(load_settings(), host, port, paused))


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address it listens on.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=3001, show_default=True,
    help="Port it listens on.",
)  # fmt: skip
def analysts(host: str, port: int) -> None:
    """Serve Dagster's UI to look at only: nothing can be started or changed.

    It shows the runs and assets of the same instance as the UI. It asks nobody who they are; a
    proxy in front of it does (docs/analysts-server.md).
    """
    from stingar_dagster import analysts as server

    server.serve(host, port)


@main.command()
@click.option(
    "--queue", "queues", required=True, multiple=True,
    help="Celery queue to take runs from, stingar-live or stingar-backfill; may be given again.",
)  # fmt: skip
@click.option(
    "--concurrency", type=click.IntRange(1), default=1, show_default=True,
    help="Runs at once, each in a process of its own.",
)  # fmt: skip
@click.option(
    "--name", default="stingar@%h", show_default=True,
    help="What workers are told apart by; %h is the host's name.",
)  # fmt: skip
def worker(queues: tuple[str, ...], concurrency: int, name: str) -> None:
    """Do the runs of Dagster's Celery launcher on this machine.

    It is one of many (docs/celery.md). TERM stops it once the runs under way are done.
    """
    try:
        from stingar_dagster import celery_app
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("celery", "dagster_celery", "redis"):
            raise
        raise UsageError(
            "workers need Celery: pip install --constraint constraints.txt '.[celery]'"
        ) from None

    celery_app.start_worker(list(queues), concurrency, name)


@main.command()
@click.option("--since", type=HOUR_OPTION, help="First landed hour.")
@click.option("--until", type=HOUR_OPTION, help="Landed hour to stop before.")
@STREAM_OPTION
def run(since: datetime | None, until: datetime | None, of_stream: str | None) -> None:
    """Process everything landed and not yet published, without the UI; of every stream.

    Runs are recorded on the same Dagster instance as the UI's.
    """
    from stingar_dagster.outstanding import Outstanding

    _check_range(since, until)
    works = [
        work
        for name in _streams(of_stream)
        if (work := Outstanding(_with_landing(name), since, until))
    ]
    if not works:
        click.echo("Everything is up to date.")
        return

    from stingar_dagster import runner  # Dagster takes seconds to import
    from stingar_dagster.instance import open_instance

    outcomes = []
    with open_instance() as instance, _bars() as bars:
        for work in works:
            tasks: dict[str, Any] = {}

            def progress(step: str, done: int, total: int, tasks: dict[str, Any] = tasks) -> None:
                if step not in tasks:
                    tasks[step] = bars.add_task(step, total=total)
                bars.update(tasks[step], completed=done)

            outcomes.append(runner.run(work, instance, progress))
    failures = [failure for outcome in outcomes for failure in outcome.failures]
    for failure in failures:
        click.echo(f"stingar: {visible(failure)}", err=True)
    landed, published, rolled = (
        sum(getattr(outcome, name) for outcome in outcomes)
        for name in ("landed", "published", "rolled")
    )
    click.echo(f"{landed:,} landed hours, {published:,} event hours and {rolled:,} days are done.")
    sys.exit(1 if failures else 0)


@main.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--namespace", default="local", show_default=True, help="Event Hubs namespace.")
@click.option("--hub", default="stingar", show_default=True, help="Event Hub.")
@click.option("--partitions", type=click.IntRange(1, 1024), default=4, show_default=True)
@click.option("--at", "received", type=TIME_OPTION, help="When they arrived; default: now.")
def land(
    files: tuple[Path, ...], namespace: str, hub: str, partitions: int, received: datetime | None
) -> None:
    """Pack log lines as Capture files in landing, as Event Hubs Capture would.

    FILES are plain or .gz, one event a line; without any, standard input is read. Lines below a
    header that says how to read them are packed in blocks, each with the header in front. Sequence
    numbers go on from what is in landing.
    """
    from stingar_dagster import packing
    from stingar_dagster.capture.names import can_be_named
    from stingar_dagster.cleaning.clean import count_before
    from stingar_dagster.lake import backlog

    settings = load_settings()
    pipeline = _pipeline(_stream_of(hub))
    for name, text in (("--namespace", namespace), ("--hub", hub)):
        if not can_be_named(text):
            raise UsageError(f"{name} {text!r} can't be part of a capture's name")
    if received is not None and received < settings.start:
        raise UsageError(
            f"--at {received:%Y-%m-%dT%H:%M} lies before STINGAR_START "
            f"({settings.start:%Y-%m-%d}); set STINGAR_START earlier"
        )
    if received is not None and received > datetime.now(UTC):
        raise UsageError(
            f"--at {received:%Y-%m-%dT%H:%M} lies in the future; nothing arrived there yet"
        )
    target = packing.Hub(namespace, hub, partitions)
    packing.refuse_captured(pipeline.lake, target)
    packer = packing.Packer(
        pipeline.landing,
        target,
        lambda: backlog.lines_of_hub(pipeline.lake, namespace, hub),
    )
    lines = captures = early = 0
    with packer.exclusive(), _bars() as bars:
        task = bars.add_task("lines", total=None)
        try:
            marks = tuple(
                item.header_mark.encode() for item in pipeline.stream.formats if item.header_mark
            )
            for batch in packing.batches(_bodies(files, marks)):
                early += count_before(batch, pipeline.stream, settings.start)
                captures += len(packer.pack(batch, received or datetime.now(UTC)))
                lines += sum(packing.lines_in(body, marks) for body in batch)
                bars.update(task, completed=lines)
        except UsageError as error:
            raise UsageError(f"{error}; {lines:,} lines before it are landed") from error
    click.echo(f"{lines:,} lines in {captures:,} captures.")
    if early:
        click.echo(
            f"stingar: {early:,} lines are stamped before STINGAR_START "
            f"({settings.start:%Y-%m-%d}); their time of arrival will stand in for it. "
            "Set STINGAR_START earlier before you run, to keep their own time.",
            err=True,
        )


@main.command()
@click.option(
    "--until-idle",
    type=click.FloatRange(0.1, 86_400),
    metavar="SECONDS",
    help="End once no message came for so long, with everything written.",
)
def capture(until_idle: float | None) -> None:
    """Write a Kafka broker's messages as Capture files into landing, as Event Hubs Capture would.

    The broker, or Event Hubs' Kafka endpoint, is set by STINGAR_KAFKA_*. It goes on where landing
    ends. Ctrl-C or SIGTERM ends it: what is not written yet is read again by the next start.
    """
    try:
        from stingar_dagster.kafka import client
    except ImportError:
        raise UsageError(
            "the Kafka client is not there: pip install 'stingar-dagster[kafka]'"
        ) from None
    from stingar_dagster.kafka.capturing import Capturer
    from stingar_dagster.kafka.partition import SystemClock
    from stingar_dagster.kafka.settings import load_kafka_settings
    from stingar_dagster.storage.objects import ObjectStore

    settings = load_kafka_settings()
    pipeline = _pipeline()
    source = client.KafkaSource(settings)
    stop = _Stop()
    with _CaptureReport(settings.topics) as report, contextlib.closing(source), stop:
        for name, store in (
            ("STINGAR_LANDING", pipeline.landing.store),
            ("STINGAR_LAKE", pipeline.lake.store),
        ):
            if isinstance(store, ObjectStore):
                report.note(
                    f"{name}={store.url}: a store of this kind can't refuse to write over what "
                    "came a moment ago; see to it that no two `stingar capture` run at once"
                )
        capturer = Capturer(
            source, pipeline.landing, pipeline.lake, settings.namespace, settings.limits,
            SystemClock(), report,
        )  # fmt: skip
        capturer.start()
        capturer.run(until_idle, lambda: stop.asked)
    click.echo(
        f"{report.events:,} events in {report.captures:,} captures, {report.rate:,.0f} events a "
        "second."
    )


class _Stop:
    """SIGINT and SIGTERM end what is under way, in ten seconds at most.

    librdkafka's calls are not interrupted, of which one that no broker answers takes four seconds.
    There are three to look at `asked` first. What then still waits for a store is broken off:
    landing is right after a kill, too.
    """

    asked = False

    def __enter__(self) -> None:
        self._before = {
            signal.SIGINT: signal.signal(signal.SIGINT, self._ask),
            signal.SIGTERM: signal.signal(signal.SIGTERM, self._ask),
            signal.SIGALRM: signal.signal(signal.SIGALRM, signal.default_int_handler),
        }

    def __exit__(self, kind: object, *_: object) -> bool:
        signal.alarm(0)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        return kind is KeyboardInterrupt

    def _ask(self, *_: object) -> None:
        self.asked = True
        signal.alarm(3)


class _CaptureReport:
    """Prints a line a capture, and on a terminal how things stand."""

    def __init__(self, topics: tuple[str, ...]) -> None:
        self.events = self.captures = self._read = 0
        self._started = time.monotonic()
        self._status = err.status(f"capturing {', '.join(topics)}") if err.is_terminal else None

    def __enter__(self) -> "_CaptureReport":
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    @property
    def rate(self) -> float:
        return self._read / max(time.monotonic() - self._started, 0.001)

    def landed(self, capture: Any) -> None:
        self.events += capture.events
        self.captures += 1
        click.echo(
            f"{visible(capture.path)}: {capture.events:,} events, {capture.size:,} bytes, "
            f"{capture.first} to {capture.last}"
        )
        # A service's output is a pipe, and somebody follows it.
        sys.stdout.flush()

    def note(self, line: str) -> None:
        click.echo(f"stingar: {visible(line)}", err=True)

    def status(self, read: int, windows: int, size: int) -> None:
        self._read = read
        if self._status is not None:
            self._status.update(
                f"{read:,} events read, {self.rate:,.0f} a second; {self.captures:,} captures "
                f"written; {windows} windows open, {size / 1e6:,.1f} MB"
            )


# ---------------------------------------------------------------------------- proof


@main.command()
@click.option("--since", type=HOUR_OPTION, help="First landed hour.")
@click.option("--until", type=HOUR_OPTION, help="Landed hour to stop before.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole balance as JSON.")
@click.option(
    "--wait", default=0, show_default=True, help="Seconds to wait for runs that are under way."
)
@click.option("--again", is_flag=True, help="Also do every step again, in memory; compare bytes.")
@STREAM_OPTION
def verify(
    since: datetime | None, until: datetime | None, as_json: bool, wait: int, again: bool,
    of_stream: str | None,
) -> None:  # fmt: skip
    """Read the captures again and prove that every event came out exactly once.

    For each landed hour and partition: captured = cleaned + quarantined + duplicates; no identity
    twice, no sequence gap unexplained, daily tables equal to a recount. Of every stream; exit code
    1 if not.
    """
    from stingar_dagster import verify as proving

    _check_range(since, until)
    proof = proving.Proof()
    with _bars() as bars:
        for name in _streams(of_stream):
            task = bars.add_task(f"landed hours of {name}", total=None)
            proof += proving.verify(
                _with_landing(name),
                since,
                until,
                lambda done, total, task=task: bars.update(task, completed=done, total=total),  # type: ignore[misc]
                wait,
                again,
            )
    totals = {
        name: proof.total(name) for name in ("captured", "cleaned", "quarantined", "duplicates")
    }
    if as_json:
        import msgspec

        report: dict[str, Any] = {"holds": proof.holds, **totals, "days": proof.days}
        report |= {"problems": proof.problems, "notes": proof.notes, "counts": proof.counts}
        # ASCII escapes keep control characters from the terminal and lose nothing.
        click.echo(json.dumps(msgspec.to_builtins(report), indent=1))
        sys.exit(0 if proof.holds else 1)
    for note in proof.notes:
        click.echo(f"note: {visible(note)}")
    for problem in proof.problems:
        click.echo(f"{problem.kind}: {visible(problem.place)}: {visible(problem.detail)}")
    click.echo(
        "captured {captured:,} = cleaned {cleaned:,} + quarantined {quarantined:,} "
        "+ duplicates {duplicates:,}".format(**totals)
        + f", in {len({count.landed_hour for count in proof.counts}):,} landed hours"
        + f" and {proof.days:,} days"
    )
    click.echo("It holds." if proof.holds else f"{len(proof.problems):,} problems.")
    sys.exit(0 if proof.holds else 1)


# ---------------------------------------------------------------------------- reading


@main.command()
@click.option("--since", type=TIME_OPTION, help="First moment; default: 24 hours before --until.")
@click.option(
    "--until",
    type=TIME_OPTION,
    help="Moment to stop before; default: the end of the last published hour.",
)
@click.option("--src-ip", help="Source address, or client's, IPv4 or IPv6.")
@click.option("--network", help="Source addresses of a network, such as 203.0.113.0/24.")
@click.option(
    "--dest-port",
    type=click.IntRange(0, 65535),
    multiple=True,
    help="Port it went to. This and the next three may be given several times: any of them.",
)
@click.option("--sensor", multiple=True, help="Name of the honeypot's host.")
@click.option("--app", multiple=True, help="Honeypot software.")
@click.option(
    "--kind",
    multiple=True,
    help="Kind of event: connection, login_attempt, login_success, command, download and others.",
)
@click.option("--username", help="User name of a login attempt.")
@click.option("--password", help="Password of a login attempt.")
@click.option("--command", "text", help="Text in the command line, upper or lower case alike.")
@click.option("--where", help="SQL condition over the published columns.")
@click.option(
    "--enrich",
    is_flag=True,
    help="Add country and network operator of the source, by the MMDB files of STINGAR_GEO.",
)
@STREAM_OPTION
@click.option("--limit", type=click.IntRange(1), help="Stop after so many events.")
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv"]), default="table",
    show_default=True,
)  # fmt: skip
def events(
    since: datetime | None, until: datetime | None, src_ip: str | None, network: str | None,
    dest_port: tuple[int, ...], sensor: tuple[str, ...], app: tuple[str, ...],
    kind: tuple[str, ...], username: str | None, password: str | None, text: str | None,
    where: str | None, enrich: bool, of_stream: str | None, limit: int | None, form: str,
) -> None:  # fmt: skip
    """Search published events, by time: those of honeypots, or with --stream of another log.

    Every option that is given must hold. Options but --where pass over what can't match, without
    reading or parsing it.

    Example: stingar events --since 2022-05-19 --network 203.0.113.0/24 --command wget
    --where "src_port > 1024 OR username = 'root'"
    """
    from stingar_dagster.lake.reader import origins
    from stingar_dagster.lake.reader.hours import last_day
    from stingar_dagster.lake.reader.query import SOURCE, Query
    from stingar_dagster.lake.reader.search import search

    _check_range(since, until)
    lake = _pipeline(of_stream or _STREAM).lake
    source = lake.stream.source or SOURCE
    known = {column.name: column.values for column in lake.stream.columns}.get("event_kind", ())
    for unknown in sorted(set(kind) - set(known)) if known else ():
        click.echo(
            f"stingar: --kind {visible(unknown, 60)!r} is no kind of event; there are "
            f"{', '.join(known)}",
            err=True,
        )
    databases = origins.wanted(load_settings().geo) if enrich else None
    bounds = (since, until) if since and until else last_day(lake, since, until)
    if bounds is None:
        raise UsageError(f"nothing is published in STINGAR_LAKE={lake.store.url} yet")
    query = Query(
        *bounds, src_ip, network, dest_port, sensor, app, kind, username, password, text, where,
        source,
    )  # fmt: skip
    columns = list((lake.stream.shown if form == "table" else ()) or lake.stream.schema)
    write: Any = {"table": _write_table, "json": _write_json, "csv": _write_csv}[form]
    found = search(lake, query, columns)
    shown = list(columns)
    if databases is not None:
        # A table has no room for the databases' names.
        added = _ORIGIN_COLUMNS if form == "table" else tuple(origins.SCHEMA)
        behind = shown.index(source) + 1 if form == "table" else len(shown)
        shown[behind:behind] = added

    def matches() -> Iterator["pl.DataFrame"]:
        with _bars() as bars, contextlib.closing(found):
            task = bars.add_task("hours", total=None)
            count = 0
            for hour in found:
                bars.update(task, completed=hour.done, total=hour.total)
                events = hour.events if limit is None else hour.events.head(limit - count)
                count += len(events)
                if databases is not None:
                    events = databases.enriched(events, source).select(shown)
                yield events
                if count == limit:
                    return

    write(matches(), shown)


@main.command()
@click.argument("address")
@click.option("--since", type=TIME_OPTION, help="First moment; default: everything published.")
@click.option("--until", type=TIME_OPTION, help="Moment to stop before.")
@click.option(
    "--top", type=click.IntRange(1), default=15, show_default=True, help="Rows of each list."
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def ip(
    address: str, since: datetime | None, until: datetime | None, top: int, as_json: bool
) -> None:
    """Show one page on a source address or network: ADDRESS, IPv4, IPv6 or CIDR.

    When it was seen, by which sensors, on which ports, what it tried, entered and downloaded, in
    which sessions, and where was looked.
    """
    from stingar_dagster.ip_page import page
    from stingar_dagster.lake.reader import origins
    from stingar_dagster.lake.reader.profile import profile

    _check_range(since, until)
    lake = _pipeline().lake
    with _bars() as bars:
        task = bars.add_task("hours", total=None)
        known = profile(
            lake,
            address,
            since,
            until,
            lambda done, total: bars.update(task, completed=done, total=total),
            origins.databases(load_settings().geo),
        )
    if as_json:
        # ASCII escapes keep control characters from the terminal and lose nothing.
        click.echo(json.dumps(known.to_dict(), indent=1))
    else:
        _paged().print(page(known, top), markup=False)
    if not known.coverage.hours:
        click.echo(f"stingar: nothing is published in STINGAR_LAKE={lake.store.url} then", err=True)


@main.command()
@click.argument("day", type=TIME_OPTION)
@click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path),
    help="File to write; default: stingar-DAY.html here. A dash: standard output.",
)  # fmt: skip
@STREAM_OPTION
def report(day: datetime, output: Path | None, of_stream: str | None) -> None:
    """Write a day's report: one HTML file that needs nothing else.

    DAY is a UTC date such as 2022-05-19. The report is made from what is published now; the lake
    keeps the one that was made with the day's tables, under reports/.
    """
    from stingar_dagster.report.page import page
    from stingar_dagster.report.publishing import day_facts

    if day != day.replace(hour=0, minute=0, second=0, microsecond=0):
        raise UsageError(f"{day:%Y-%m-%dT%H:%M} is not a day; write it like 2022-05-19")
    of_stream = of_stream or _STREAM
    facts = day_facts(_pipeline(of_stream).lake, day)
    html = page(facts)
    if str(output) == "-":
        sys.stdout.buffer.write(html)
        return
    output = output or Path(f"{of_stream}-{day:%Y-%m-%d}.html")
    output.write_bytes(html)
    if not facts.trust.captures and not facts.trust.published:
        click.echo(f"stingar: nothing is published of {day:%Y-%m-%d}", err=True)
    click.echo(f"{visible(str(output))}: {facts.trust.published:,} events, {len(html):,} bytes.")


@main.group()
def quarantine() -> None:
    """What could not become an event: list it, look at it, give it another try."""


@quarantine.command("list")
@click.option("--since", type=HOUR_OPTION, help="First landed hour.")
@click.option("--until", type=HOUR_OPTION, help="Landed hour to stop before.")
def quarantine_list(since: datetime | None, until: datetime | None) -> None:
    """List what is in quarantine, with reason and place."""
    _check_range(since, until)
    rows = 0
    for line in _quarantined(since, until):
        rows += 1
        click.echo(
            "  ".join(visible(str(getattr(line, name) or "-"), 120) for name in _LIST_COLUMNS)
        )
    click.echo(f"{rows:,} in quarantine.", err=True)


@quarantine.command("show")
@click.argument("event_id")
@click.option("--raw", is_flag=True, help="Write the raw bytes as they were sent.")
def quarantine_show(event_id: str, raw: bool) -> None:
    """Show one quarantined event: EVENT_ID, or a capture's path for its damaged parts."""
    found = [line for line in _quarantined(None, None) if event_id in (line.event_id, line.capture)]
    if not found:
        raise UsageError(
            f"{event_id!r} is not in quarantine; `stingar quarantine list` names what is"
        )
    for line in found:
        if raw:
            sys.stdout.buffer.write(line.raw)
            continue
        for name in ("event_id", "reason", "detail", "capture", "sequence_number", "enqueued_at"):
            value = getattr(line, name)
            if value is not None:
                click.echo(f"{name}: {visible(str(value))}")
        click.echo(f"body: {visible(line.raw.decode('utf-8', errors='backslashreplace'), 4000)}")


@quarantine.command("replay")
@click.option("--since", type=HOUR_OPTION, help="First landed hour.")
@click.option("--until", type=HOUR_OPTION, help="Landed hour to stop before.")
def quarantine_replay(since: datetime | None, until: datetime | None) -> None:
    """Clean landed hours with quarantined events again, after a fix.

    An event that now parses is published under its old identity, once; doing it again changes
    nothing.
    """
    from stingar_dagster import runner
    from stingar_dagster.instance import open_instance

    _check_range(since, until)
    pipelines = [_with_landing(name) for name in _streams(None)]
    with open_instance() as instance, _bars() as bars:
        task = bars.add_task("landed hours", total=None)
        outcomes = [
            runner.replay(
                pipeline,
                instance,
                since,
                until,
                lambda step, done, total: bars.update(
                    task, description=step, completed=done, total=total
                ),
            )
            for pipeline in pipelines
        ]
    failures = [failure for outcome in outcomes for failure in outcome.failures]
    for failure in failures:
        click.echo(f"stingar: {visible(failure)}", err=True)
    before, after = (
        sum(getattr(outcome, name) for outcome in outcomes) for name in ("before", "after")
    )
    click.echo(f"{before:,} were in quarantine, {after:,} are now.")
    sys.exit(1 if failures else 0)


@main.command("alert-test")
def alert_test() -> None:
    """Send a test message to everyone who is told of problems.

    Where that is stands in the STINGAR_ALERT_... settings. Exit code 1: somebody did not get it.
    """
    from stingar_dagster.alerts.delivery import NotDelivered, deliver
    from stingar_dagster.alerts.messages import message_for_test
    from stingar_dagster.alerts.settings import load_alert_settings

    settings = load_alert_settings()
    if not settings.sinks:
        raise UsageError(
            "nobody is told of problems: set STINGAR_ALERT_EMAIL_TO, STINGAR_ALERT_SLACK, "
            "STINGAR_ALERT_TEAMS or STINGAR_ALERT_WEBHOOK (docs/checks.md)"
        )
    missed = False
    for sink in settings.sinks:
        try:
            note = deliver(sink, message_for_test(settings, time.time()), settings)
        except NotDelivered as error:
            missed = True
            click.echo(f"stingar: {visible(str(error))}", err=True)
        else:
            click.echo(f"{sink}: sent{f', but {visible(note)}' if note else ''}")
    sys.exit(1 if missed else 0)


# ---------------------------------------------------------------------------- helpers


def _streams(name: str | None) -> list[str]:
    """The stream that was asked for, or every one."""
    from stingar_dagster.streams import STREAMS

    return list(STREAMS) if name is None else [name]


def _stream_of(hub: str) -> str:
    """The stream whose events an Event Hub carries."""
    from stingar_dagster.streams import STREAMS

    carrying = (stream.name for stream in STREAMS.values() if stream.carries(hub))
    return next(carrying, _STREAM)


def _pipeline(stream: str = _STREAM) -> Any:
    from stingar_dagster.pipeline import Pipeline
    from stingar_dagster.streams import STREAMS

    if stream not in STREAMS:
        known = ", ".join(STREAMS)
        raise UsageError(f"--stream {visible(stream, 60)!r} is none; there are {known}")
    return Pipeline(load_settings(), STREAMS[stream])


def _with_landing(stream: str = _STREAM) -> Any:
    """The pipeline, once landing is there: a mistyped folder must not pass for no traffic."""
    from stingar_dagster.storage.local import LocalStore

    pipeline = _pipeline(stream)
    store = pipeline.landing.store
    if isinstance(store, LocalStore) and not store.root.is_dir():
        raise UsageError(
            f"STINGAR_LANDING={store.url}: there is no such folder; "
            "set it to where captures land, or land some with `stingar land`"
        )
    return pipeline


def _check_range(since: datetime | None, until: datetime | None) -> None:
    if since is not None and until is not None and until <= since:
        raise UsageError("--until must lie after --since")


def _bars() -> Progress:
    """A progress bar on standard error; nothing where that is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )


def _bodies(files: tuple[Path, ...], header_marks: tuple[bytes, ...]) -> Iterator[bytes]:
    """What the lines of files, or of standard input, are sent as; blank ones are left out."""
    from stingar_dagster.packing import bodies_of

    for name in files or (None,):
        yield from bodies_of(_lines(name), header_marks)


def _lines(name: Path | None) -> Iterator[bytes]:
    try:
        with _open(name) as stream:
            for line in stream:
                text = line.rstrip(b"\r\n")
                if text.strip():
                    yield text
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{name or 'standard input'} can't be read: {error}") from error


def _open(path: Path | None) -> IO[bytes]:
    if path is None:
        return sys.stdin.buffer
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _quarantined(since: datetime | None, until: datetime | None) -> Iterator[Any]:
    from stingar_dagster.lake import backlog
    from stingar_dagster.lake.quarantine import read_quarantine

    for name in _streams(None):
        lake = _pipeline(name).lake
        for hour in backlog.landed_hours(lake, since, until):
            yield from read_quarantine(lake, hour)


def _write_table(found: Iterator["pl.DataFrame"], columns: list[str]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in columns:
        # One line an event; where the terminal is narrow, everything but the time gives way.
        table.add_column(name, no_wrap=True, min_width=24 if name == "@timestamp" else None)
    count = 0
    for events in found:
        for row in events.head(max(0, _MOST_SHOWN - count)).iter_rows():
            table.add_row(*map(_cell, row))
        count += len(events)
    # Nothing in a cell may be taken for markup.
    _paged().print(table, markup=False)
    if count > _MOST_SHOWN:
        click.echo(
            f"Only the first {_MOST_SHOWN:,} are shown; --format json or csv writes all.", err=True
        )
    click.echo(f"{count:,} events.", err=True)


def _paged() -> Console:
    """Standard output; where it is no terminal, nothing is cut to a width."""
    return out if out.is_terminal else Console(width=_WIDEST, highlight=False)


def _cell(value: Any) -> Text:
    return Text("" if value is None else visible(str(value), 60))


def _write_json(found: Iterator["pl.DataFrame"], columns: list[str]) -> None:
    from stingar_dagster.lake.lines import lines_of

    for events in found:
        for line in lines_of(events):
            # ASCII escapes keep control characters from the terminal and lose nothing.
            safe = line if line.isascii() else json.dumps(json.loads(line), separators=(",", ":"))
            sys.stdout.write(safe.replace("\x7f", "\\u007f") + "\n")


def _write_csv(found: Iterator["pl.DataFrame"], columns: list[str]) -> None:
    writer = csv.writer(sys.stdout)
    writer.writerow(columns)
    for events in found:
        writer.writerows(map(_csv_cell, row) for row in events.iter_rows())


def _csv_cell(value: Any) -> Any:
    if isinstance(value, list):
        value = json.dumps(value)
    return spreadsheet_cell(visible(value)) if isinstance(value, str) else value
