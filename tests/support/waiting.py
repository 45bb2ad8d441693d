"""Waiting for conditions, never for seconds."""

import socket
import time
import urllib.request
from collections.abc import Callable
from typing import TypeVar

LIMIT_SECONDS = 2400.0
"""Many times what anything takes here: what a loaded machine needs is not for a test to say."""
LOOK_SECONDS = 0.05
ATTEMPT_SECONDS = 60.0
"""Of one question to what may never answer it, for those who ask again."""
T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str = "what was waited for") -> T:
    """Wait for a condition to hold, and return what it was."""
    end = time.monotonic() + LIMIT_SECONDS
    while not (found := condition()):
        assert time.monotonic() < end, f"{what}: not within {LIMIT_SECONDS:.0f} s"
        time.sleep(LOOK_SECONDS)
    return found


def content_of(page: str | urllib.request.Request) -> bytes | None:
    """What a server answers; None while it does not, or not well. Ask again: it may be busy."""
    try:
        with urllib.request.urlopen(page, timeout=ATTEMPT_SECONDS) as answer:
            return bytes(answer.read())
    except OSError:
        return None


def free_port(host: str = "127.0.0.1") -> int:
    """One that nobody has yet."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
