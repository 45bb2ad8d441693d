"""Checkpoints of a trial in training: `step-NNNNNNNN` in its directory, of which the newest is kept until it ends."""

import shutil
from pathlib import Path
from typing import Any

from models.training import Trainer
from orchestrator.atomic import atomic_directory


def newest(directory: Path) -> Path | None:
    """The checkpoint to continue from, None before the first."""
    return max(directory.glob("step-*"), default=None)


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
