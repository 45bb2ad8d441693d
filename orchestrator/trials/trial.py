"""One trial: reads shards, trains, checkpoints, continues where it was stopped, scores on held-out tokens."""

import json
import logging
import os
import shutil
from collections.abc import Callable
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
from orchestrator.activations.shards import ActivationError
from orchestrator.activations.stream import TrainStream
from orchestrator.atomic import atomic_directory
from orchestrator.errors import one_line
from orchestrator.grid.cells import Cell
from orchestrator.grid.config import SweepConfig
from orchestrator.machine_errors import MACHINE_ERRORS
from orchestrator.redaction import log_to_stderr, redact
from orchestrator.storage.address import address_of
from orchestrator.storage.identity import copy_of, identity_of
from orchestrator.storage.remote import Remote, remote_of
from orchestrator.trials.card import run_of
from orchestrator.trials.checkpoints import Checkpoints
from orchestrator.trials.clock import Clock
from orchestrator.trials.curve import Curve
from orchestrator.trials.results import CODER_DIRECTORY, TRIALS_DIRECTORY, keep_result, publish, result_of

TRIAL_NICENESS = 19
"""Scheduling priority of trials on CPU, below that of the extractor."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialJob:
    """Everything a trial needs, as JSON can carry it."""

    cell: Cell
    sweep: SweepConfig
    directory: Path
    """Its own; where the storage is an address, a copy on each machine."""
    broker: str
    hookpoint: int
    target: int | None
    threads: int

    def to_json(self) -> dict[str, Any]:
        """What Ray hands to the trial's process, and the driver alone knows."""
        return {
            "cell": self.cell.to_json(), "sweep": json.dumps(self.sweep.to_json()), "directory": str(self.directory),
            "broker": self.broker, "hookpoint": self.hookpoint, "target": self.target, "threads": self.threads,
            "identity": identity_of(self.directory.parent.parent) if address_of(self.sweep.storage) else "",
        }  # fmt: skip

    def remote(self) -> Remote | None:
        """Where its directory is kept, if its storage is an address. Raises UserError."""
        storage = remote_of(self.sweep.storage)
        return None if storage is None else storage.below(f"{self.sweep.name}/{TRIALS_DIRECTORY}/{self.cell.name}")

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "TrialJob":
        """Inverse of `to_json`."""
        given = {**content, "cell": Cell(**content["cell"]), "sweep": SweepConfig.from_json(content["sweep"])}
        sweep, identity, directory = given["sweep"], given.pop("identity"), Path(content["directory"])
        if address_of(sweep.storage):  # this machine's copy may be elsewhere than the driver's
            directory = copy_of(sweep.storage, str(sweep.name), identity) / TRIALS_DIRECTORY / given["cell"].name
        return cls(**{**given, "directory": directory})


def run_trial(config: dict[str, Any]) -> None:
    """Ray Tune's trainable."""
    log_to_stderr()
    job = TrialJob.from_json(config)
    checkpoints = Checkpoints(job.directory, job.remote())
    end(job, checkpoints, lambda: _attempt(job, checkpoints), tune.report)


def end(
    job: TrialJob,
    checkpoints: Checkpoints,
    attempt: Callable[[], dict[str, Any]],
    report: Callable[[dict[str, Any]], None],
) -> None:
    """Have a trial end as `attempt` says, and report it; as it did where it has, but for the report.

    Ray starts a trial again whose process dies in between, when there are no checkpoints left to go on from.
    """
    result = result_of(job.directory)
    if result is None or "failure" in result:  # which `--resume` tries again
        result = attempt()
        keep_result(job.directory, result)
    publish(job.directory, checkpoints.remote)
    checkpoints.remove()
    report(result)


def _attempt(job: TrialJob, checkpoints: Checkpoints) -> dict[str, Any]:
    """Train on this process's share of the machine. A failure that would only repeat itself is a result."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # huge pages: a fifth of a step at expansion 32 was page faults
    torch.set_num_threads(job.threads)
    if torch.cuda.is_available():
        share = ray.get_runtime_context().get_assigned_resources().get("GPU", 1.0)
        torch.cuda.set_per_process_memory_fraction(min(1.0, share))  # the rest belongs to those it shares the GPU with
    else:
        # Extraction shares the cores and every trial waits for it: without this it ran at a quarter of its speed.
        os.setpriority(os.PRIO_PROCESS, 0, TRIAL_NICENESS)
    reader = ShardReader(
        ray.get_actor(job.broker), job.hookpoint, job.sweep.exclude_first, job.sweep.massive_multiple, job.target
    )
    try:
        return train(job, reader, checkpoints, tune.report)
    except (TrainingDiverged, ActivationError) as error:
        return {"failure": redact(str(error))}
    except (*MACHINE_ERRORS, ray.exceptions.RayError):
        raise
    except Exception as error:
        log.exception("%s ends", job.cell.name)
        return {"failure": redact(one_line(error))}


def train(
    job: TrialJob, reader: ShardReader, checkpoints: Checkpoints, report: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Train from the newest checkpoint to the last step and evaluate; returns the final metrics.

    Raises TrainingDiverged and ActivationError, which another attempt would meet again.
    """
    sweep, device = job.sweep, torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(job.cell.seed)
    coder = SparseCoder(job.cell.d_in, job.cell.coder, device=device)
    trainer = Trainer(coder, sweep.train_config(job.cell.lr))
    restored = checkpoints.restore(trainer)
    saved = restored or {}
    train_seconds = saved.pop("train_seconds", 0.0)
    tokens = (sweep.steps - trainer.step_count) * sweep.batch_tokens
    shards, seed = sweep.shards("train"), job.cell.seed
    with TrainStream(reader, shards, seed, saved, tokens=tokens, device=device) as stream:
        if restored is None:
            trainer.initialise(*stream.first_shard())
        run_steps(job, trainer, stream, Clock(device, train_seconds), checkpoints, report)
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
    # One that is there without a result is of an attempt that ended between the two, or of another trial.
    shutil.rmtree(job.directory / CODER_DIRECTORY, ignore_errors=True)
    with atomic_directory(job.directory / CODER_DIRECTORY, durable=True) as unfinished:
        coder.save_to_disk(unfinished)
        (unfinished / CARD_FILE).write_text(model_card(coder, run_of(job.cell, sweep, result)), encoding="utf-8")
    return result


def run_steps(
    job: TrialJob,
    trainer: Trainer,
    stream: TrainStream,
    clock: Clock,
    checkpoints: Checkpoints,
    report: Callable[[dict[str, Any]], None],
) -> None:
    """Train to the last step, with points of curves and checkpoints on the way. Raises TrainingDiverged at either."""
    sweep, curve = job.sweep, Curve(report)
    for step in range(trainer.step_count + 1, sweep.steps + 1):
        with clock.waiting():
            batch = stream.next_batch(sweep.batch_tokens)
        with clock.training():
            fvu = trainer.step(*batch)
        if sweep.reports_at(step):
            trainer.raise_if_diverged()
            curve.add(
                {"step": step, "train/fvu": float(fvu), "dead_pct": trainer.dead_pct(),
                 "lr": trainer.cfg.lr_at(step - 1), **clock.metrics(sweep.batch_tokens)}
            )  # fmt: skip
        if step % sweep.checkpoint_every == 0 or step == sweep.steps:
            curve.hand_over()  # a trial that goes on from here repeats none of these
            checkpoints.write(trainer, stream.state() | {"train_seconds": clock.train_seconds()})
