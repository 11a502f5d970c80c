"""How much memory there is, and how much a process holds, where the system tells (Linux's /proc); else unknown, or 0."""

import os
from pathlib import Path


def available_bytes() -> int | None:
    """Return what new processes can have without swapping."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None


def resident_bytes(pid: int) -> int:
    """Return what process *pid* holds in memory, the file that it has mapped included; 0 where it has gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
