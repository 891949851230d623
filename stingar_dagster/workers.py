"""Several processes for the hours and days of one call, where there is enough to do.

    with Workers(Pipeline(settings, STINGAR)) as workers:
        for hour, landed in workers.land_hours(hours): ...

The steps promise the same result in any order and from any number of processes, so spreading them
needs no more than that. Here: what is worth a process, starting and ending processes, and what
becomes of errors. Not here: what the steps do (`pipeline`).

A worker is a Python of its own, started by a command and told by messages what to do. It shares
nothing with its parent but a socket: it can be started from threads, from a notebook, from a
script without a guard and from a Dagster run; a fork would copy the locks of polars' threads, and
`multiprocessing` would run the parent's script once more. When the parent is gone, however it
ended, the socket ends, and so does the worker.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from multiprocessing.connection import Connection
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from stingar_dagster.errors import StingarError, WorkerDied
from stingar_dagster.lake.lake import in_parallel
from stingar_dagster.lake.publication import Record
from stingar_dagster.lake.publishing import Published
from stingar_dagster.lake.slots import Batch, Outcome
from stingar_dagster.pipeline import Landed, Pipeline
from stingar_dagster.settings import Settings
from stingar_dagster.streams import STREAMS

P = ParamSpec("P")
R = TypeVar("R")

_WORTH_SECONDS: Final = 5.0
"""Less work than this is done here: a worker takes a second until it is ready."""

_WORTH_SECONDS_IF_READY: Final = 0.5
"""The same where the workers are there already."""

_SECONDS_TO_END: Final = 5.0

_MUCH: Final = 1.5
"""So many shares of the work are too much for one process."""

# What the steps take on one core, roughly: on reading, and by what they find there.
_SECONDS_AN_HOUR: Final = 0.05
_SECONDS_A_LANDED_BYTE: Final = 50e-9
_SECONDS_A_SEGMENT_BYTE: Final = 450e-9
_SECONDS_A_DAY: Final = 0.3

_ALLOCATOR: Final = {"_RJEM_MALLOC_CONF": "narenas:1,dirty_decay_ms:2000,muzzy_decay_ms:-1"}
"""For the allocator of polars (which sets this, too, where it is imported): what one batch gave
back serves the next. To hand it to the system at once and get it again took an eighth of the time;
in one arena it adds little to the peak."""

_COMMAND: Final = "import sys; from stingar_dagster.workers import serve; serve(int(sys.argv[1]))"


class Workers:
    """A pipeline's steps, over many hours or days; a context, at whose end the processes end.

    With one process in the settings, or little to do, everything happens in this process.

    Args:
        pipeline: whose steps are done. With a store of its own, or a stream that is not declared,
            they are done here: other processes could not open the same.

    Attributes:
        pipeline: as given.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self._processes = pipeline.settings.processes if pipeline.is_as_set else 1
        # A thread waits for each worker; neither starts before there is something for it.
        self._threads = ThreadPoolExecutor(self._processes, "stingar-worker")
        self._lock = threading.Lock()
        self._workers: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._ended = False

    def __enter__(self) -> "Workers":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._ended = True
            for worker in self._workers:
                # Steps may be cut off anywhere; what they wrote counts or does not.
                worker.kill()
        self._threads.shutdown(wait=True)
        for worker in self._workers:
            worker.end()

    def land_hours(
        self, hours: Iterable[datetime], *, again: bool = False
    ) -> Iterator[tuple[datetime, Landed]]:
        """`Pipeline.land_hour` of each hour; outcomes in the order given.

        An hour with much more than its share of the work is itself spread, by batches of captures.

        Raises:
            as `land_hour`, at the first hour that fails; later ones may be landed already.
            WorkerDied: a process was killed.
        """
        hours = list(hours)
        seconds = self._seconds(
            lambda hour: self.pipeline.undone_bytes(hour, again=again) * _SECONDS_A_LANDED_BYTE,
            hours,
        )

        def land_here(hour: datetime) -> Landed:
            return self.pipeline.land_hour(hour, again=again, write=self._write_batches)

        def land(hour: datetime) -> Future[Landed]:
            return self._submit(Pipeline.land_hour, hour, again=again)

        most = _MUCH * sum(seconds) / self._processes
        return self._in_order(hours, seconds, land_here, land, most)

    def publish_hours(
        self, hours: Iterable[datetime], *, again: bool = False
    ) -> Iterator[tuple[datetime, Published]]:
        """`Pipeline.publish_slices` of each hour; outcomes in the order given.

        Raises:
            as `publish_slices`, at the first hour that fails; later ones may be published already.
            WorkerDied: a process was killed.
        """
        hours = list(hours)
        lake = self.pipeline.lake

        def estimate(hour: datetime) -> float:
            segments = lake.store.find(lake.layout.segments(hour))
            return sum(segment.size for segment in segments) * _SECONDS_A_SEGMENT_BYTE

        return self._in_order(
            hours,
            self._seconds(estimate, hours),
            lambda hour: self.pipeline.publish_slices(hour, again=again),
            lambda hour: self._submit(Pipeline.publish_slices, hour, again=again),
        )

    def roll_days(
        self,
        days: Iterable[datetime],
        tables: Iterable[str] | None = None,
        *,
        again: bool = False,
    ) -> Iterator[tuple[datetime, dict[str, Record]]]:
        """`Pipeline.roll_day` of each day; outcomes in the order given.

        Raises:
            as `roll_day`, at the first day that fails; later ones may be published already.
            WorkerDied: a process was killed.
        """
        days = list(days)
        names = None if tables is None else tuple(tables)
        return self._in_order(
            days,
            [_SECONDS_A_DAY] * len(days),
            lambda day: self.pipeline.roll_day(day, names, again=again),
            lambda day: self._submit(Pipeline.roll_day, day, names, again=again),
        )

    def _seconds(self, estimate: Callable[[datetime], float], hours: list[datetime]) -> list[float]:
        """What each hour takes; not looked at where everything is done here anyway."""
        if self._processes == 1 or len(hours) < 2:
            return [0.0] * len(hours)
        return [_SECONDS_AN_HOUR + seconds for seconds in in_parallel(estimate, hours)]

    def _in_order(
        self,
        times: list[datetime],
        seconds: list[float],
        here: Callable[[datetime], R],
        there: Callable[[datetime], Future[R]],
        most: float = float("inf"),
    ) -> Iterator[tuple[datetime, R]]:
        """Outcomes in order; done in workers where it is worth it, those above `most` here."""
        futures: dict[int, Future[R]] = {}
        try:
            if self._is_worth_it(seconds):
                # The longest first, so that none is left alone at the end.
                for index in sorted(range(len(times)), key=lambda index: -seconds[index]):
                    if seconds[index] <= most:
                        futures[index] = there(times[index])
            for index, time in enumerate(times):
                yield time, futures.pop(index).result() if index in futures else here(time)
        finally:
            for future in futures.values():
                future.cancel()

    def _is_worth_it(self, seconds: list[float]) -> bool:
        ready = len(self._workers) == self._processes
        least = min(_WORTH_SECONDS, _WORTH_SECONDS_IF_READY) if ready else _WORTH_SECONDS
        return self._processes > 1 and len(seconds) > 1 and sum(seconds) >= least

    def _write_batches(self, landed_hour: datetime, batches: list[Batch]) -> Iterator[Outcome]:
        seconds = [sum(part.size for part in batch) * _SECONDS_A_LANDED_BYTE for batch in batches]
        if not self._is_worth_it(seconds):
            yield from self.pipeline.write_batches(landed_hour, batches)
            return
        futures = [self._submit(Pipeline.write_batch, landed_hour, batch) for batch in batches]
        try:
            for future in futures:
                yield future.result()
        finally:
            for future in futures:
                future.cancel()

    def _submit(
        self, step: Callable[Concatenate[Pipeline, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> Future[R]:
        return self._threads.submit(self._call, step, args, kwargs)

    def _call(self, step: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> R:
        worker = self._worker()
        try:
            outcome, error = worker.call(step, args, kwargs)
        except (EOFError, OSError):
            with self._lock:
                self._workers.remove(worker)
            raise WorkerDied(
                f"a worker process ended ({worker.end()}) in {step.__name__} of "
                f"{args[0]:%Y-%m-%d %H}:00; if memory ran out, set STINGAR_PROCESSES "
                f"below {self._processes}; run it again"
            ) from None
        with self._lock:
            self._idle.append(worker)
        if error is not None:
            raise error
        return outcome

    def _worker(self) -> "_Worker":
        with self._lock:
            if self._ended:
                raise WorkerDied("the work was ended")
            if self._idle:
                return self._idle.pop()
            worker = _Worker(self.pipeline.settings, self.pipeline.stream.name)
            self._workers.add(worker)
            return worker


class _Worker:
    """One process, as its parent sees it."""

    def __init__(self, settings: Settings, stream: str) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _COMMAND, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                # What they print is for people: the parent's output may be for a program.
                stdout=2,
                env={
                    **os.environ,
                    **_ALLOCATOR,
                    # Processes are what runs side by side: threads on top would be in their way.
                    "POLARS_MAX_THREADS": "1",
                    "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
                },
                pass_fds=(theirs.fileno(),),
                # Ctrl-C is for the parent, which ends them.
                process_group=0,
            )
        with contextlib.suppress(OSError):  # dead already: the first call tells
            self._connection.send((settings, stream))

    def call(
        self, step: Callable[..., R], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[R, Exception | None]:
        """Have a step done.

        Raises:
            EOFError, OSError: the process is gone.
        """
        self._connection.send((step, args, kwargs))
        outcome: tuple[R, Exception | None] = self._connection.recv()
        return outcome

    def kill(self) -> None:
        """Whoever waits for an answer gets an error."""
        self._process.kill()

    def end(self) -> str:
        """Kill it, and free what it held; returns how it ended, such as SIGKILL."""
        self._connection.close()
        try:
            # One that is ending says by itself how.
            code = self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        try:
            return signal.Signals(-code).name
        except ValueError:
            return f"exit code {code}"


def serve(descriptor: int) -> None:
    """What a worker does: steps that its parent asks for, until the parent is gone."""
    connection: Connection[Any, Any] = Connection(descriptor)
    asked: SimpleQueue[bytes] = SimpleQueue()
    threading.Thread(target=_listen, args=(connection, asked), daemon=True).start()
    settings, stream = pickle.loads(asked.get())
    pipeline: Pipeline | None = None
    while True:
        request = asked.get()
        try:
            step, args, kwargs = pickle.loads(request)
            pipeline = pipeline or Pipeline(settings, STREAMS[stream])
            answer = pickle.dumps((step(pipeline, *args, **kwargs), None))
        except Exception as error:
            answer = pickle.dumps((None, _portable(error)))
        with contextlib.suppress(OSError):  # the parent is gone, and `_listen` is about to see it
            connection.send_bytes(answer)


def _listen(connection: "Connection[Any, Any]", asked: SimpleQueue[bytes]) -> None:
    """A thread, so that the end of the parent is seen while a step is being done."""
    try:
        while True:
            asked.put(connection.recv_bytes())
    finally:
        os._exit(1)


def _portable(error: Exception) -> Exception:
    """The error as another process can raise it; with its traceback, where it is not ours."""
    if not isinstance(error, StingarError):
        error.add_note(f"In a worker process:\n{''.join(traceback.format_exception(error))}")
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # of any kind: classes may ask for other arguments than they keep
        told = RuntimeError(f"{type(error).__name__}: {error}")
        told.__notes__ = getattr(error, "__notes__", [])
        return told
    return error
