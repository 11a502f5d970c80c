"""Processes that a benchmark starts, each ended by its own id whatever happens, and what they use of the machine."""

import json
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from tests.benchmarks.reader import Reading, Task
from tests.cli.command import REPOSITORY, environment

START_SECONDS = 60.0
STOP_SECONDS = 15.0
ANSWER_SECONDS = 60.0
POLL_SECONDS = 0.05
OPEN_SECONDS = 0.05
"""That long at most may one of many streams take to open."""
_READY = re.compile(r"is ready on http://127\.0\.0\.1:(\d+)")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds so far, of a server and of the processes under it (PostgreSQL), and the server's resident memory."""

    at: float
    cpu_seconds: float
    children_cpu_seconds: float
    rss_bytes: int


class Served:
    """A server process that listens on a port of the loopback address."""

    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._process = psutil.Process(pid)

    def usage(self) -> Usage:
        """Look at the process now."""
        children = 0.0
        for child in self._process.children(recursive=True):
            try:
                spent = child.cpu_times()
            except psutil.NoSuchProcess:
                continue  # it ended between the two looks
            children += spent.user + spent.system
        return Usage(time.monotonic(), self._cpu_seconds(), children, self._process.memory_info().rss)

    def descriptors(self) -> int:
        """Count what the process has open."""
        return int(self._process.num_fds())

    def _cpu_seconds(self) -> float:
        if sys.platform == "linux":
            # The process's own CPU clock, in nanoseconds (clock_getcpuclockid(3)); /proc counts in steps of 10 ms.
            return time.clock_gettime((~self.pid << 3) | 2)
        times = self._process.cpu_times()
        return times.user + times.system


@contextmanager
def served(*arguments: str, log: Path) -> Iterator[Served]:
    """Run a Python module that says on standard output where it is ready; its errors go to *log*."""
    with log.open("a") as errors, started(*arguments, stderr=errors) as process:
        assert process.stdout is not None
        found = _READY.search(_line(process, START_SECONDS))
        if found is None:
            raise RuntimeError(f"{arguments} did not start; see {log}")
        yield Served(process.pid, int(found[1]))


class Asked:
    """A process that answers each line with a line."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def ask(self, line: str, seconds: float = ANSWER_SECONDS) -> str:
        """Return the answer to a line. Raises RuntimeError when none comes in time."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return _line(self._process, seconds)


class ReaderProcess(Asked):
    """The other end of `tests.benchmarks.reader`."""

    def reset(self) -> None:
        """Begin to count anew."""
        self.ask("reset")

    def until_all_have_some(self) -> None:
        """Wait until something has come to every stream. Raises TimeoutError."""
        give_up_at = time.monotonic() + ANSWER_SECONDS
        while self.report().silent:
            if time.monotonic() > give_up_at:
                raise TimeoutError("not every stream gets events")
            pass_time(POLL_SECONDS)

    def report(self) -> Reading:
        """Return what came since `reset`."""
        return Reading(**json.loads(self.ask("report")))


@contextmanager
def asking(*arguments: str) -> Iterator[Asked]:
    """Run a Python module that answers lines."""
    with started(*arguments) as process:
        yield Asked(process)


@contextmanager
def reading(task: Task) -> Iterator[ReaderProcess]:
    """Hold all streams of *task* open in a process of their own."""
    with started("-m", "tests.benchmarks.reader") as process:
        reader = ReaderProcess(process)
        reader.ask(json.dumps(asdict(task)), ANSWER_SECONDS + len(task.paths) * OPEN_SECONDS)
        yield reader


def started(*arguments: str, **options: object) -> "AbstractContextManager[subprocess.Popen[str]]":
    """Start a Python process in the repository, and end it."""
    return running([sys.executable, *arguments], **options)


@contextmanager
def running(command: Sequence[str], **options: object) -> "Iterator[subprocess.Popen[str]]":
    """Start a process, and end it."""
    process = subprocess.Popen(  # type: ignore[call-overload]
        command,
        cwd=REPOSITORY,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdin.close()
        process.stdout.close()


def pass_time(seconds: float) -> None:
    """Let a measurement run for a while."""
    ends_at = time.monotonic() + seconds
    while (remaining := ends_at - time.monotonic()) > 0:
        time.sleep(min(remaining, 0.1))


def _line(process: "subprocess.Popen[str]", seconds: float) -> str:
    """Read one line. Raises RuntimeError when it does not come in time, or the process has ended."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], seconds)[0]:
        raise RuntimeError(f"process {process.pid} said nothing for {seconds} s")
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"process {process.pid} ended: {process.wait()}")
    return str(line)
