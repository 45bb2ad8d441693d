"""One trial: reads shards, trains, checkpoints, continues where it was stopped, scores on held-out tokens."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune

from models import SparseCoder
from models.evaluation import Evaluation
from models.formats.model_card import CARD_FILE, model_card
from models.training import Trainer, TrainingDiverged
from orchestrator.activations.reader import ShardReader
from orchestrator.activations.stream import TrainStream
from orchestrator.activations.tables import ActivationError
from orchestrator.atomic import atomic_directory
from orchestrator.errors import MACHINE_ERRORS, one_line
from orchestrator.grid.cells import Cell
from orchestrator.grid.config import SweepConfig
from orchestrator.trials import checkpoints
from orchestrator.trials.card import run_of
from orchestrator.trials.results import keep_result

REPORT_SECONDS = 2.0
"""Time between two reports of a trial that make the driver's progress line."""

TRIAL_NICENESS = 19
"""Scheduling priority of trials on CPU, below that of the extractor."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialJob:
    """Everything a trial needs, as JSON can carry it."""

    cell: Cell
    sweep: SweepConfig
    directory: Path
    broker: str
    hookpoint: int
    target: int | None
    threads: int

    def to_json(self) -> dict[str, Any]:
        """What Ray hands to the trial's process."""
        return {
            "cell": self.cell.to_json(), "sweep": json.dumps(self.sweep.to_json()), "directory": str(self.directory),
            "broker": self.broker, "hookpoint": self.hookpoint, "target": self.target, "threads": self.threads,
        }  # fmt: skip

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "TrialJob":
        """Inverse of `to_json`."""
        given = {"cell": Cell(**content["cell"]), "sweep": SweepConfig.from_json(content["sweep"])}
        return cls(**{**content, **given, "directory": Path(content["directory"])})


def run_trial(config: dict[str, Any]) -> None:
    """Ray Tune's trainable. A failure that would only repeat itself is a result, not an exception."""
    logging.basicConfig(level=logging.INFO)
    job = TrialJob.from_json(config)
    torch.set_num_threads(job.threads)
    if not torch.cuda.is_available():
        # Extraction shares the cores and every trial waits for it: without this it ran at a quarter of its speed.
        os.setpriority(os.PRIO_PROCESS, 0, TRIAL_NICENESS)
    reader = ShardReader(
        ray.get_actor(job.broker), job.hookpoint, job.sweep.exclude_first, job.sweep.massive_multiple, job.target
    )
    try:
        result = train(job, reader, tune.report)
    except (TrainingDiverged, ActivationError) as error:
        result = {"failure": str(error)}
    except (*MACHINE_ERRORS, ray.exceptions.RayError):
        raise
    except Exception as error:
        log.exception("%s ends", job.cell.name)
        result = {"failure": one_line(error)}
    keep_result(job.directory, result)
    checkpoints.remove(job.directory)
    tune.report(result)


def train(job: TrialJob, reader: ShardReader, report: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Train from the newest checkpoint to the last step and evaluate; returns the final metrics.

    Raises TrainingDiverged and ActivationError, which another attempt would meet again.
    """
    sweep, device = job.sweep, "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(job.cell.seed)
    coder = SparseCoder(job.cell.d_in, job.cell.coder, device=device)
    trainer = Trainer(coder, sweep.train_config())
    restored = checkpoints.restore(trainer, job.directory)
    saved = restored or {}
    train_seconds = saved.pop("train_seconds", 0.0)
    stream = TrainStream(reader, sweep.shards("train"), job.cell.seed, saved)
    if restored is None:
        trainer.initialise(*stream.first_shard().to(device))
    clock = _Clock(trainer.step_count, train_seconds)
    for step in range(trainer.step_count + 1, sweep.steps + 1):
        batch = stream.next_batch(sweep.batch_tokens)
        with clock.training():
            fvu = trainer.step(*batch.to(device))  # on a GPU the copy waits for the end of the step before
        if clock.due() or step in (1, sweep.steps) or step % sweep.checkpoint_every == 0:
            report(
                {"step": step, "train/fvu": fvu, "dead_pct": trainer.dead_pct(), "lr": trainer.cfg.lr_at(step - 1),
                 "tokens_per_second": clock.rate(step, sweep.batch_tokens), "train_seconds": clock.train_seconds}
            )  # fmt: skip
        if step % sweep.checkpoint_every == 0 or step == sweep.steps:
            checkpoints.write(trainer, job.directory, stream.state() | {"train_seconds": clock.train_seconds})
    evaluation = Evaluation(coder, coder.gram(sweep.val_tokens))
    for batch, massive_B in reader.held_out(sweep.shards("val"), sweep.batch_tokens):
        x_BD, y_BD = batch.to(device)
        evaluation.add(x_BD, massive_B.to(device), y_BD)
    result = {
        "step": sweep.steps,
        **evaluation.metrics(),
        "dead_pct": trainer.dead_pct(),
        "excluded_first_tokens": stream.cursor.excluded_first,
        "excluded_massive_tokens": stream.cursor.excluded_massive,
    }
    with atomic_directory(job.directory / "coder") as unfinished:
        coder.save_to_disk(unfinished)
        (unfinished / CARD_FILE).write_text(model_card(coder, run_of(job.cell, sweep, result)), encoding="utf-8")
    return result


class _Clock:
    """Speed since this process began to train, time in steps since the trial did, and when to report next."""

    def __init__(self, step: int, train_seconds: float) -> None:
        self.start = self.reported = time.monotonic()
        self.start_step = step
        self.train_seconds = train_seconds

    @contextmanager
    def training(self) -> Iterator[None]:
        start = time.monotonic()
        yield
        self.train_seconds += time.monotonic() - start

    def due(self) -> bool:
        now = time.monotonic()
        if now - self.reported < REPORT_SECONDS:
            return False
        self.reported = now
        return True

    def rate(self, step: int, batch_tokens: int) -> float:
        return (step - self.start_step) * batch_tokens / max(time.monotonic() - self.start, 1e-9)
