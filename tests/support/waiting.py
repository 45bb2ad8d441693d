"""Waiting for conditions, never for seconds."""

import socket
import time
from collections.abc import Callable
from typing import TypeVar

LIMIT_SECONDS = 2400.0
"""Many times what anything takes here: what a loaded machine needs is not for a test to say."""
LOOK_SECONDS = 0.05
T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str = "what was waited for") -> T:
    """Wait for a condition to hold, and return what it was."""
    end = time.monotonic() + LIMIT_SECONDS
    while not (found := condition()):
        assert time.monotonic() < end, f"{what}: not within {LIMIT_SECONDS:.0f} s"
        time.sleep(LOOK_SECONDS)
    return found


def free_port(host: str = "127.0.0.1") -> int:
    """One that nobody has yet."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
