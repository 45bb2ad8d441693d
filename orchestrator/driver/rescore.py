"""Trials of a sweep that has ended, scored again: of more latents, or with an LLM."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from orchestrator.driver import brokers
from orchestrator.driver.inputs import Inputs
from orchestrator.driver.interruption import Interruption
from orchestrator.driver.machine import Machine
from orchestrator.driver.prepare import Prepared
from orchestrator.driver.progress import Progress
from orchestrator.driver.report import Outcome
from orchestrator.driver.scoring import score_all
from orchestrator.driver.seeds import share_by_seeds
from orchestrator.driver.sweep import jobs_of, open_sweep, outcome_of
from orchestrator.grid.config import SweepConfig
from orchestrator.tracking.endings import killed_if_raised, log_scores
from orchestrator.tracking.environment import environment_tags


def rescore(
    prepared: Prepared,
    began_as: SweepConfig,
    inputs: Mapping[str, Inputs],
    directory: Path,
    experiment: str,
    interruption: Interruption,
    only: str | None,
) -> Outcome:
    """Score all trained trials, or `only` one, as `prepared` says, and report on the sweep, which began as it did.

    Needs a Ray connection, and the lock on `directory`. Raises UserError.
    """
    started = [brokers.start(prepared, found) for found in inputs.values()]
    jobs = jobs_of(prepared, directory)
    wanted = [job for job in jobs if only in (None, job.cell.name)]
    tags = environment_tags()
    tracker = open_sweep(replace(prepared, cfg=began_as), inputs, directory, experiment, tags)
    with killed_if_raised(tracker):
        names = {job.cell.name for job in jobs}
        progress = Progress(prepared.plan, started, names, names - {job.cell.name for job in wanted})
        with interruption.patient(), progress:
            unscored = score_all(
                prepared,
                inputs,
                wanted,
                interruption,
                progress,
                lambda job: log_scores(tracker, job.cell.name, job.directory),
                Machine(tracker).look,
            )
            share_by_seeds(jobs, interruption, lambda job: log_scores(tracker, job.cell.name, job.directory))
        return outcome_of(jobs, directory, tracker, tags, started, {}, unscored)
