"""A wall clock that is wrong, for one program at a time: a small library of our own, preloaded, that adds seconds from a file.

Linux's time namespaces do not shift the wall clock, and a machine's own must be left alone. Needs a C compiler; skips without one.
"""

import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")


class ShiftedClock:
    """`environment` gives a program this clock; `set` moves it, also while the program runs."""

    def __init__(self, library: Path, file: Path) -> None:
        self.environment = {"LD_PRELOAD": str(library), "SHIFTED_CLOCK": str(file)}
        self._file = file

    def set(self, seconds: float) -> None:
        """Let the clock be ahead by *seconds* (behind, if negative). In place: the file is mapped by whoever reads it."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("d", seconds))


@contextmanager
def shifted_clocks() -> Iterator["ClockMaker"]:
    """Compile the library, where everybody may read it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("a shifted clock needs Linux and a C compiler: install Debian's package gcc")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        library = folder / "shifted_clock.so"
        built = subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE], capture_output=True, text=True)
        if built.returncode != 0:
            pytest.skip(f"the C compiler does not work here: {built.stderr[-300:]}")
        library.chmod(0o755)
        yield ClockMaker(folder, library)


class ClockMaker:
    """Makes clocks, each of its own."""

    def __init__(self, folder: Path, library: Path) -> None:
        self._folder = folder
        self._library = library

    def make(self, name: str, seconds: float = 0.0) -> ShiftedClock:
        """Return a new clock that is ahead by *seconds*."""
        file = self._folder / name
        file.write_bytes(struct.pack("d", seconds))
        file.chmod(0o644)
        return ShiftedClock(self._library, file)
