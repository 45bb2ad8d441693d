"""Checkpoints of a trial in training: `step-NNNNNNNN` in its directory, of which the newest is kept until it ends."""

import logging
import shutil
from pathlib import Path
from typing import Any

from models.training import Trainer
from orchestrator.atomic import atomic_directory

log = logging.getLogger(__name__)


def restore(trainer: Trainer, directory: Path) -> dict[str, Any] | None:
    """Go on from the newest checkpoint; returns its cursor, None before the first.

    One that cannot be read is dropped with a warning: a trial that starts again ends with the same numbers.
    """
    for checkpoint in sorted(directory.glob("step-*"), reverse=True):
        try:
            return trainer.restore(checkpoint)
        except (FileNotFoundError, ValueError) as error:
            log.warning("a checkpoint is dropped: %s", error)
            shutil.rmtree(checkpoint)
    return None


def write(trainer: Trainer, directory: Path, cursor: dict[str, Any]) -> None:
    """Write `step-NNNNNNNN`, complete or absent, then drop older ones."""
    final = directory / f"step-{trainer.step_count:08d}"
    with atomic_directory(final) as unfinished:
        trainer.save(unfinished, cursor)
    for old in directory.glob("step-*"):
        if old != final:
            shutil.rmtree(old, ignore_errors=True)


def remove(directory: Path) -> None:
    """Drop all of them, unfinished ones too."""
    for checkpoint in (*directory.glob("step-*"), *directory.glob(".step-*")):
        shutil.rmtree(checkpoint, ignore_errors=True)
