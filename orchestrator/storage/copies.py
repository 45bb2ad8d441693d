"""Directories copied to an address and back."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.errors import one_line
from orchestrator.storage.remote import Remote

PATIENCE_SECONDS = 600.0
"""How long a store may be away before what must get there is given up."""
_LONGEST_WAIT = 30.0

log = logging.getLogger(__name__)


def push(directory: Path, remote: Remote, *, last: str = "") -> None:
    """Copy every file of `directory`; the one named `last` after all others, so that it says that they are there."""
    files = sorted(file for file in directory.rglob("*") if file.is_file())
    for file in sorted(files, key=lambda file: file.name == last):
        remote.put(file, str(file.relative_to(directory)))


def pull(
    remote: Remote,
    directory: Path,
    left_out: Callable[[str], bool] = lambda name: False,
    may_differ: Callable[[str], bool] = lambda name: False,
) -> None:
    """Copy every file below that is not `left_out` and not here, or of another size here, or `may_differ`."""
    for name, size in sorted(remote.sizes().items()):
        file = directory / name
        here = file.is_file() and file.stat().st_size == size
        if not left_out(name) and (may_differ(name) or not here):
            remote.get(name, file)


def insist(what: str, work: Callable[[], None]) -> None:
    """Do what a store that is away for a while prevents; raises its OSError after `PATIENCE_SECONDS`."""
    end, wait = time.monotonic() + PATIENCE_SECONDS, 0.5
    while True:
        try:
            return work()
        except OSError as error:
            if time.monotonic() > end:
                raise
            log.warning("%s: %s; trying again", what, one_line(error))
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)
