"""What a whole process costs: wall and CPU seconds, and memory, its children included.

Reads Linux's /proc. Not here: which processes, and what they have to come to (`contenders`).
"""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

ROOT: Final = Path(__file__).resolve().parents[1]
_POLL_SECONDS: Final = 0.02
_MEGABYTE: Final = 1e6


class Cost(msgspec.Struct, frozen=True):
    """Of one whole process and its children.

    Attributes:
        wall, cpu: seconds.
        peak: megabytes that the largest process held at its largest.
        together: megabytes that all held at once, at most; pages they share count for each.
    """

    wall: float
    cpu: float
    peak: float
    together: float


class Failed(Exception):
    """A process did not come to a good end, or would have taken all the memory."""


def measured(
    command: Sequence[str], environ: Mapping[str, str], cwd: Path = ROOT
) -> tuple[Cost, str]:
    """Run a command to its end; what it cost, and what it printed.

    Raises:
        Failed: it failed, or held most of the machine's memory and was ended for that.
    """
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        # A group of its own, so that all of it can be ended.
        process = subprocess.Popen(
            command, cwd=cwd, env=environ, stdout=output, stderr=errors, start_new_session=True
        )
        watch = _Watch(process.pid)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            end_group(process.pid)
            raise
        finally:
            watch.stop()
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if watch.ended_it:
            raise Failed(f"ended when it held {watch.together:,.0f} MB")
        if process.returncode:
            raise Failed(f"{' '.join(command)} failed:\n{errors.read()[-2000:]}")
        # Of a process that nobody waited for (Spark's JVM) only the watch knows.
        cpu = max(usage.ru_utime + usage.ru_stime, watch.cpu)
        # Not ru_maxrss: it begins with the size of the process that forked, which is ours.
        return Cost(wall, cpu, watch.peak, max(watch.peak, watch.together)), output.read()


def end_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """A process and all that it started, directly or not."""
    found = [pid]
    for parent in found:
        try:
            # Of every thread: each thread's children stand with it.
            tasks = list(Path(f"/proc/{parent}/task").iterdir())
            children = " ".join((task / "children").read_text() for task in tasks)
        except OSError:
            continue
        found += map(int, children.split())
    return found


def cpu_seconds(pid: int) -> float:
    """Of one process until now; 0 if it is gone."""
    try:
        # After the program's name, which may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def machine_memory() -> float:
    """In megabytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _MEGABYTE


class _Watch:
    """Looks at a process and its descendants while they run.

    Attributes:
        peak: the largest resident size among them, in megabytes.
        together: the largest sum of resident sizes at one look, in megabytes.
        cpu: seconds of all of them together, up to the last look.
        ended_it: whether they took so much memory that the machine would have come to a halt.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._cpu: dict[int, float] = {}
        self._limit = 0.85 * machine_memory()
        self.peak = self.together = 0.0
        self.ended_it = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._done.set()
        self._thread.join()

    @property
    def cpu(self) -> float:
        return sum(self._cpu.values())

    def _watch(self) -> None:
        while not self._done.wait(_POLL_SECONDS):
            now = 0.0
            for pid in descendants(self._pid):
                most, resident = _resident(pid)
                self.peak = max(self.peak, most)
                now += resident
                self._cpu[pid] = max(self._cpu.get(pid, 0.0), cpu_seconds(pid))
            self.together = max(self.together, now)
            if now > self._limit:
                self.ended_it = True
                end_group(self._pid)


def _resident(pid: int) -> tuple[float, float]:
    """The resident size of a process at its largest, and now, in megabytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0, 0.0
    sizes = dict(line.split(":", 1) for line in lines if line.startswith(("VmHWM", "VmRSS")))
    most, now = (int(sizes.get(name, "0 kB").split()[0]) for name in ("VmHWM", "VmRSS"))
    return most * 1024 / _MEGABYTE, now * 1024 / _MEGABYTE
