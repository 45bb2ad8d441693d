"""Checkpoints of a trial in training: `step-NNNNNNNN` in its directory, of which the newest two are kept until it ends.

Each has a manifest with the checksums of its files, so that one damaged on disk is told from a whole one. Where the
sweep's storage is an address they are copied there in the background, the manifest last.
"""

import errno
import hashlib
import json
import logging
import re
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

from models.checkpoint import STATE_FILE
from models.checks import is_number
from models.files import read_object
from models.training import Trainer
from orchestrator.activations.stream import Cursor
from orchestrator.atomic import atomic_directory
from orchestrator.errors import one_line
from orchestrator.saved import is_count
from orchestrator.storage.copies import pull, push
from orchestrator.storage.remote import Remote
from orchestrator.trials.results import CHECKPOINT_PREFIX as PREFIX

KEPT = 2
"""The one before the newest serves where the newest is damaged."""
MANIFEST = "manifest.json"
_LOST = (errno.ENOENT, errno.EIO, errno.ESTALE)
"""Said of a file that is gone, or on a part of the disk that cannot be read; not of a store that is away."""
NAME = re.compile(rf"{PREFIX}\d{{1,18}}")

log = logging.getLogger(__name__)


class Checkpoints:
    """Those of one trial, in `directory` and, where there is one, below `remote`."""

    def __init__(self, directory: Path, remote: Remote | None = None) -> None:
        self.directory, self.remote = directory, remote
        self._sender = ThreadPoolExecutor(1, "checkpoints")
        self._sending: tuple[Path, Future[None]] | None = None

    def restore(self, trainer: Trainer) -> dict[str, Any] | None:
        """Go on from the newest checkpoint that is whole; returns its cursor, None before the first.

        One that is not is dropped with a warning: a trial that starts earlier ends with the same numbers. Raises
        OSError where the remote ones cannot be looked at.
        """
        away = [] if self.remote is None else _complete(self.remote.sizes())
        here = [path.name for path in self._here()]
        for name in sorted({*here, *away}, key=_step, reverse=True):
            checkpoint = self.directory / name
            try:
                if self.remote is not None and name not in here:
                    with atomic_directory(checkpoint) as unfinished:
                        pull(self.remote.below(name), unfinished)
                _check(checkpoint)
                _check_cursor(checkpoint / STATE_FILE)
                return trainer.restore(checkpoint)
            except (OSError, ValueError) as error:
                if isinstance(error, OSError) and error.errno not in _LOST:
                    raise
                log.warning("a checkpoint is dropped, and the one before serves: %s", error)
                shutil.rmtree(checkpoint, ignore_errors=True)
        return None

    def write(self, trainer: Trainer, cursor: dict[str, Any]) -> None:
        """Write `step-NNNNNNNN`, complete or absent, then drop older ones."""
        final = self.directory / f"{PREFIX}{trainer.step_count:08d}"
        with atomic_directory(final) as unfinished:
            trainer.save(unfinished, cursor)
            sums = {file.name: _checksum(file) for file in unfinished.iterdir()}
            (unfinished / MANIFEST).write_text(json.dumps(sums), encoding="utf-8")
        if self.remote is not None and (self._sending is None or self._sending[1].done()):
            # One that comes while another is on its way stays here alone: the next one goes.
            self._sending = final, self._sender.submit(self._send, final, self.remote)
        on_its_way = self._sending[0] if self._sending else None
        for old in sorted(self._here(), key=lambda path: _step(path.name), reverse=True)[KEPT:]:
            if old != on_its_way:
                shutil.rmtree(old, ignore_errors=True)

    def remove(self) -> None:
        """Drop all of them, unfinished ones too; for a trial that has ended."""
        self._sender.shutdown()
        for checkpoint in (*self.directory.glob(f"{PREFIX}*"), *self.directory.glob(f".{PREFIX}*")):
            shutil.rmtree(checkpoint, ignore_errors=True)
        if self.remote is not None:
            self._drop(self.remote, keep=0)

    def _here(self) -> list[Path]:
        return [path for path in self.directory.glob(f"{PREFIX}*") if path.is_dir() and NAME.fullmatch(path.name)]

    def _send(self, checkpoint: Path, remote: Remote) -> None:
        try:
            push(checkpoint, remote.below(checkpoint.name), last=MANIFEST)
            self._drop(remote, KEPT)
        except Exception as error:  # noqa: BLE001 -- nobody asks the future, and a trial can do without a copy
            log.warning("checkpoint %s is on this machine alone: %s", checkpoint.name, one_line(error))

    def _drop(self, remote: Remote, keep: int) -> None:
        try:
            found = remote.sizes()
            there = {name.partition("/")[0] for name in found if name.startswith(PREFIX)}
            for old in there.difference(_complete(found)[:keep]):
                remote.below(old).remove()
        except OSError as error:
            log.warning("older checkpoints stay in the storage: %s", one_line(error))


def _complete(names: dict[str, int]) -> list[str]:
    """Checkpoints of which the last file is there, newest first."""
    found = (name.partition("/") for name in names)
    return sorted(
        (name for name, _, file in found if NAME.fullmatch(name) and file == MANIFEST), key=_step, reverse=True
    )


def _step(name: str) -> int:
    return int(name.removeprefix(PREFIX))


def _check(checkpoint: Path) -> None:
    """Raises ValueError where a file is not what was written; versions before 2026.12 wrote no checksums."""
    if not (manifest := checkpoint / MANIFEST).is_file():
        return
    here = {file.name for file in checkpoint.iterdir()}
    for name, written in read_object(manifest).items():
        if name not in here or _checksum(checkpoint / name) != written:
            raise ValueError(f"{checkpoint / name}: is not what was written, by its checksum")


def _check_cursor(file: Path) -> None:
    """Raises ValueError for what is no place in a stream of shards."""
    cursor = read_object(file).get("cursor")
    places = {field.name for field in fields(Cursor)}
    if not isinstance(cursor, dict) or not all(
        is_count(value) if name in places else name == "train_seconds" and is_number(value) and value >= 0
        for name, value in cursor.items()
    ):
        raise ValueError(f"{file}: its cursor is no place in a stream of shards")


def _checksum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
