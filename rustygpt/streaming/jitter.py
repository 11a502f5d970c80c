"""Randomness against herds: what was connected together must not come back together.

Not for secrets, so the fast generator does.
"""

import os
import random
from typing import Final

RECONNECT_MS: Final = (1_000, 3_000)
OVERLOAD_RECONNECT_MS: Final = (5_000, 15_000)
LIFETIME_SPREAD: Final = (0.8, 1.2)
BUS_RETRY_SECONDS: Final = (0.1, 2.0)

_random = random.Random()  # noqa: S311
os.register_at_fork(after_in_child=_random.seed)  # else all workers would send their readers the same times


def reconnect_ms() -> int:
    """Return after how many milliseconds a client should reconnect when its stream was cut."""
    return _random.randint(*RECONNECT_MS)


def overload_reconnect_ms() -> int:
    """Return the same for a client that is sent away."""
    return _random.randint(*OVERLOAD_RECONNECT_MS)


def lifetime_seconds(seconds: float) -> float:
    """Return a stream's lifetime: *seconds* ± 20 %."""
    return seconds * _random.uniform(*LIFETIME_SPREAD)


def drain_delay_seconds(seconds: float) -> float:
    """Return when within a drain of *seconds* a stream ends."""
    return _random.uniform(0, seconds)


def bus_retry_seconds(failures: int) -> float:
    """Return when to connect to the bus again after so many failures in a row, at most 2 s."""
    least, most = BUS_RETRY_SECONDS
    return min(least * 2.0 ** min(failures, 10), most) * _random.uniform(0.5, 1)
