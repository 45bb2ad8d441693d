"""Trained trials scored on Ray, once the training of all has ended."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from orchestrator.activations.reader import ShardReader
from orchestrator.driver.callbacks import KILLED_FOR_MEMORY
from orchestrator.driver.inputs import Inputs
from orchestrator.driver.interruption import Interruption
from orchestrator.driver.prepare import Prepared
from orchestrator.driver.progress import Progress
from orchestrator.errors import one_line
from orchestrator.machine_errors import MACHINE_ERRORS
from orchestrator.redaction import log_to_stderr, redact
from orchestrator.scores.protocol import PROTOCOLS
from orchestrator.scores.scoring import ScoringJob, score
from orchestrator.text.block_files import read_blocks
from orchestrator.tracking.endings import UNFINISHED
from orchestrator.trials.results import fetch, publish_scores, result_of
from orchestrator.trials.trial import TrialJob

LOOK_SECONDS = 1.0
"""How often an interruption is looked for."""

log = logging.getLogger(__name__)


def score_job(content: dict[str, Any], tokens_NL: np.ndarray) -> str | None:
    """Ray's task: score one trial; returns why it cannot be scored, where another attempt would meet the same."""
    log_to_stderr()
    job = ScoringJob.from_json(content)
    trial, sweep = job.trial, job.trial.sweep
    torch.set_num_threads(trial.threads)
    broker = ray.get_actor(trial.broker)
    reader = ShardReader(broker, trial.hookpoint, sweep.exclude_first, sweep.massive_multiple, trial.target)
    remote = trial.remote()
    try:
        fetch(trial.directory, remote)
        score(job, reader, tokens_NL)
        publish_scores(trial.directory, remote)
    except (*MACHINE_ERRORS, ray.exceptions.RayError):
        raise
    except Exception as error:
        log.exception("%s is not scored", trial.cell.name)
        return redact(one_line(error))
    return None


def score_all(
    prepared: Prepared,
    inputs: Mapping[str, Inputs],
    jobs: Sequence[TrialJob],
    interruption: Interruption,
    progress: Progress,
    scored: Callable[[TrialJob], None],
    look: Callable[[], None],
) -> dict[str, str]:
    """Score those of the jobs that trained; `scored` is called after each of them, `look` every second or so.

    One more at a time than trials train: Ray begins it while another waits for a shard. All at once might begin many
    more, each of which loads the language model. Returns why some could not be, by name. Ends early where an
    interruption has come.
    """
    waiting = deque(job for job in jobs if _is_trained(job.directory))
    if not waiting or prepared.cfg.scores == "none":
        return {}
    shares = prepared.shares.trial
    options = {"num_cpus": shares["cpu"], "num_gpus": shares.get("gpu", 0), "max_retries": prepared.cfg.max_failures}
    task = ray.remote(score_job).options(**options, retry_exceptions=list(MACHINE_ERRORS))
    tokens = {model: ray.put(np.array(read_blocks(found.blocks_file("val")))) for model, found in inputs.items()}
    log.info("scoring %d trials (--scores %s)", len(waiting), prepared.cfg.scores)
    running: dict[Any, TrialJob] = {}
    failures: dict[str, str] = {}
    ended = 0
    while (waiting or running) and interruption.signal is None:
        while waiting and len(running) <= prepared.shares.concurrent:
            job = waiting.popleft()
            content = _job_of(job, inputs[job.cell.model]).to_json()
            running[task.remote(content, tokens[job.cell.model])] = job
        progress.scores(ended, _names(running.values()), _names(waiting))
        look()
        done, _ = ray.wait(list(running), timeout=LOOK_SECONDS)
        for reference in done:
            job = running.pop(reference)
            ended += 1
            if (reason := _reason(reference)) is None:
                fetch(job.directory, job.remote())
                scored(job)
            else:
                failures[job.cell.name] = reason
                log.warning("trial %s is not scored: %s", job.cell.name, reason)
    for reference in running:
        ray.cancel(reference, force=True)
    return failures | dict.fromkeys(_names([*running.values(), *waiting]), UNFINISHED)


def _names(jobs: Iterable[TrialJob]) -> list[str]:
    return [job.cell.name for job in jobs]


def _is_trained(directory: Path) -> bool:
    result = result_of(directory)
    return result is not None and "failure" not in result


def _job_of(job: TrialJob, inputs: Inputs) -> ScoringJob:
    return ScoringJob(job, inputs.location, PROTOCOLS[job.sweep.scores])


def _reason(reference: Any) -> str | None:
    try:
        reason: str | None = ray.get(reference)
        return reason
    except ray.exceptions.OutOfMemoryError:
        return KILLED_FOR_MEMORY
    except (ray.exceptions.RayError, *MACHINE_ERRORS) as error:
        return redact(one_line(error))
