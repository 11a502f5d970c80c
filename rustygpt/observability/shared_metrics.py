"""Metrics of several processes as one: each worker counts in files of a private folder, and any of them answers with the sums.

A worker's number names its files, not its process id: its successor counts on where it stopped, and no series says which worker. What
describes a living process (`live…` gauges) is forgotten with it. Figures of the operating system are taken by the parent.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, PlatformCollector, ProcessCollector, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

PARENT: Final = 0
"""The parent's number among the workers."""
PREFIX: Final = "rustygpt-metrics-"
SAMPLE_SECONDS: Final = 5.0
_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


@contextlib.contextmanager
def shared_folder() -> Iterator[Path]:
    """Make the folder, and remove it at the end, with those that killed processes left behind."""
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        _remove_if_abandoned(left)
    path = Path(tempfile.mkdtemp(prefix=PREFIX))
    guard = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX)  # the kernel frees it when the last of us is gone
        path.mkdir(mode=0o700, exist_ok=True)  # somebody who started at the same time may have taken it for abandoned
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(guard)


def share_metrics(folder: Path, number: int) -> None:
    """From now on every metric of this process is counted in *folder*, as worker *number*. To be called before any is made."""
    os.environ[_VARIABLE] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: number)  # type: ignore[no-untyped-call]


def forget_worker(folder: Path, number: int) -> None:
    """Drop what only a living process has: its open streams, its connections."""
    mark_process_dead(number, str(folder))  # type: ignore[no-untyped-call]


def shared_registry() -> CollectorRegistry | None:
    """Return what all processes counted, summed now; None where metrics are not shared."""
    if _VARIABLE not in os.environ:
        return None
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    PlatformCollector(registry=registry)
    return registry


class ProcessFigures:
    """What the operating system says of all processes together, under the names that prometheus-client gives it. Linux only."""

    def __init__(self) -> None:
        registry = CollectorRegistry()

        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, registry=registry, multiprocess_mode="livesum")

        self._virtual_bytes = gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.")
        self._resident_bytes = gauge("process_resident_memory_bytes", "Resident memory size in bytes.")
        self._started = gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.")
        self._open_files = gauge("process_open_fds", "Number of open file descriptors.")
        self._max_files = gauge("process_max_fds", "Maximum number of open file descriptors.")
        self._cpu = Counter("process_cpu_seconds", "Total user and system CPU time spent in seconds.", registry=registry)
        self._cpu_seconds: dict[int, float] = {}
        self._next_at = 0.0

    def sample(self, workers: Collection[int], *, now: bool = False) -> None:
        """Look at this process and *workers* (process ids), every SAMPLE_SECONDS or *now*.

        Memory and CPU time are sums, also of workers that are gone; descriptors are those of the worker that has most, since the limit
        is for each; the start is this process's.
        """
        if not now and time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + SAMPLE_SECONDS
        ours = _figures(os.getpid())
        found = {os.getpid(): ours} | {pid: _figures(pid) for pid in workers}
        if not ours:
            return
        self._virtual_bytes.set(sum(each.get("process_virtual_memory_bytes", 0) for each in found.values()))
        self._resident_bytes.set(sum(each.get("process_resident_memory_bytes", 0) for each in found.values()))
        self._started.set(ours["process_start_time_seconds"])
        fullest = max(found.values(), key=lambda each: each.get("process_open_fds", 0))
        self._open_files.set(fullest.get("process_open_fds", 0))
        self._max_files.set(fullest.get("process_max_fds", 0))
        seconds = {pid: each.get("process_cpu_seconds_total", 0.0) for pid, each in found.items()}
        for pid, spent in seconds.items():
            self._cpu.inc(max(spent - self._cpu_seconds.get(pid, 0.0), 0.0))
        self._cpu_seconds = seconds


def _figures(pid: int) -> dict[str, float]:
    families = ProcessCollector(pid=lambda: pid, registry=None).collect()
    return {sample.name: sample.value for family in families for sample in family.samples}


def _remove_if_abandoned(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.lstat().st_uid != os.geteuid():
            return
        guard = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        finally:
            os.close(guard)
