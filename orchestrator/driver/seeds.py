"""Coders that differ in their seed alone: which of their latents the other seeds find again."""

import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ray

from models import SparseCoder
from orchestrator.driver.interruption import Interruption
from orchestrator.errors import one_line
from orchestrator.machine_errors import MACHINE_ERRORS
from orchestrator.scores.dictionary import MOST_LATENTS, directions, shared_by_seeds
from orchestrator.scores.protocol import LATENTS
from orchestrator.trials.results import CODER_DIRECTORY, fetch, figures_of, keep_scores, publish_scores, scores_of
from orchestrator.trials.trial import TrialJob

METRIC = "latents/shared_with_other_seeds"
LOOK_SECONDS = 1.0

log = logging.getLogger(__name__)


def share_by_seeds(jobs: Sequence[TrialJob], interruption: Interruption, shared: Callable[[TrialJob], None]) -> None:
    """Add `METRIC` to the scores of trials that have several seeds; `shared` is called after each of them.

    Coders of too many latents for an optimal assignment have none, nor those whose processes are lost meanwhile.
    Ends early where an interruption has come.
    """
    running: dict[Any, list[TrialJob]] = {}
    for group in _groups(jobs):
        if len(group) > 1 and any(METRIC not in _metrics(job) for job in group):
            running[ray.remote(_shares).remote([job.to_json() for job in group])] = group
    while running and interruption.signal is None:
        done, _ = ray.wait(list(running), timeout=LOOK_SECONDS)
        for reference in done:
            group = running.pop(reference)
            try:
                shares = ray.get(reference)
            except (ray.exceptions.RayError, *MACHINE_ERRORS) as error:
                names = ", ".join(job.cell.name for job in group)
                log.warning("no %s of %s: %s", METRIC, names, one_line(getattr(error, "cause", None) or error))
                continue
            for job, share in zip(group, shares, strict=True):
                scores = scores_of(job.directory) or {}
                keep_scores(job.directory, scores | {"metrics": scores["metrics"] | {METRIC: share}})
                publish_scores(job.directory, job.remote())
                shared(job)


def _groups(jobs: Sequence[TrialJob]) -> list[list[TrialJob]]:
    """Trials that are scored, by all but their seed."""
    groups: dict[Any, list[TrialJob]] = defaultdict(list)
    for job in jobs:
        small_enough = job.cell.coder.latents(job.cell.d_in) <= MOST_LATENTS
        if small_enough and LATENTS in _metrics(job):
            groups[replace(job.cell, seed=0)].append(job)
    return list(groups.values())


def _metrics(job: TrialJob) -> dict[str, float]:
    return figures_of(job.directory) or {}


def _shares(contents: list[dict[str, Any]]) -> list[float]:
    jobs = [TrialJob.from_json(content) for content in contents]
    for job in jobs:
        fetch(job.directory, job.remote())
    return shared_by_seeds([directions(SparseCoder.load_from_disk(job.directory / CODER_DIRECTORY)) for job in jobs])
