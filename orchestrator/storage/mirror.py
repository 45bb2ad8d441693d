"""The copy at an address of what the driver writes, kept up to date by a thread."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestrator.errors import one_line
from orchestrator.storage.copies import insist
from orchestrator.storage.remote import Remote, remote_of

EVERY_SECONDS = 5.0
FROM_NODES = ("trials", "tune")
"""Of a sweep on Ray: trials copy their own files, and Tune's are read by nobody."""

log = logging.getLogger(__name__)


class Mirror:
    """Copies the files of `directory` that changed, now and then and when closed; not hidden ones, nor `left_out`."""

    def __init__(self, directory: Path, remote: Remote, left_out: tuple[str, ...]) -> None:
        self._directory, self._remote, self._left_out = directory, remote, left_out
        self._sent: dict[Path, tuple[int, int]] = {}
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Copy what is left. Raises OSError where that cannot be had."""
        self._closing.set()
        self._thread.join()
        insist("the sweep's files cannot be copied to its storage", self._copy)

    def _run(self) -> None:
        told = False
        while not self._closing.wait(EVERY_SECONDS):
            try:
                self._copy()
                told = False
            except OSError as error:
                if not told:
                    log.warning("the sweep's files cannot be copied to its storage for now: %s", one_line(error))
                told = True

    def _copy(self) -> None:
        # Last names first: tracking/state.json says how much of tracking/journal.jsonl was delivered, never more of it
        # than is there.
        for file in sorted(self._directory.rglob("*"), reverse=True):
            name = file.relative_to(self._directory)
            if name.parts[0] in self._left_out or any(part.startswith(".") for part in name.parts):
                continue
            try:
                stat = file.stat()
                if file.is_file() and self._sent.get(file) != (stamp := (stat.st_mtime_ns, stat.st_size)):
                    self._remote.put(file, str(name))
                    self._sent[file] = stamp
            except FileNotFoundError:  # replaced meanwhile
                continue


@contextmanager
def mirrored(directory: Path, storage: Path, left_out: tuple[str, ...] = FROM_NODES) -> Iterator[None]:
    """Within the block the files of a sweep's directory are copied, if its `storage` is an address.

    Raises OSError where the last of them cannot be; an exception of the block goes before that.
    """
    if (remote := remote_of(storage)) is None:
        yield
        return
    mirror = Mirror(directory, remote.below(directory.name), left_out)
    try:
        yield
    except BaseException:
        try:
            mirror.close()
        except (OSError, KeyboardInterrupt) as error:
            log.warning("the sweep's last files are on this machine alone: %s", one_line(error))
        raise
    mirror.close()
