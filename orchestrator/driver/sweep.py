"""A sweep that was prepared, run to its comparison."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.execution import class_cache

from orchestrator.comparison.points import by_rate
from orchestrator.driver import brokers
from orchestrator.driver.callbacks import TRIAL, Tracking
from orchestrator.driver.claims import TRACKING_DIRECTORY
from orchestrator.driver.datasets import datasets_of
from orchestrator.driver.inputs import Inputs
from orchestrator.driver.interruption import Interruption
from orchestrator.driver.machine import Machine
from orchestrator.driver.notes import sweep_note, trial_tags
from orchestrator.driver.prepare import Prepared
from orchestrator.driver.progress import Progress, Watching
from orchestrator.driver.report import COMPARISONS, Outcome, add_counters, write_report
from orchestrator.driver.scoring import score_all
from orchestrator.driver.seeds import share_by_seeds
from orchestrator.figures.files import write_figures
from orchestrator.grid.cells import Cell
from orchestrator.scores.protocol import is_scored
from orchestrator.storage.address import home_of
from orchestrator.tracking.endings import UNFINISHED, killed_if_raised, log_result, log_scores, sweep_status
from orchestrator.tracking.environment import environment_tags
from orchestrator.tracking.journal import COMMAND
from orchestrator.tracking.metrics import METRICS
from orchestrator.tracking.records import RESULTS, TrialRecord, journal_records, write_results
from orchestrator.tracking.tracker import Tracker
from orchestrator.trials.results import TRIALS_DIRECTORY, figures_of, result_of, scores_of
from orchestrator.trials.trial import TrialJob, run_trial


def run(
    prepared: Prepared, inputs: dict[str, Inputs], directory: Path, experiment: str, interruption: Interruption
) -> Outcome:
    """Train every cell that has no result yet, or as many as come before an interruption, and report on all.

    Needs a Ray connection, and the lock on `directory`. Raises UserError.
    """
    started = [brokers.start(prepared, found) for found in inputs.values()]
    jobs = jobs_of(prepared, directory)
    by_name = {job.cell.name: job for job in jobs}
    finished = {name: result for name, job in by_name.items() if (result := result_of(job.directory)) is not None}
    tags = environment_tags()
    tracker = open_sweep(prepared, inputs, directory, experiment, tags)
    params = {name: params_of(job, inputs) for name, job in by_name.items()}
    datasets = {model: datasets_of(prepared.cfg.text_config(), found) for model, found in inputs.items()}
    for name, result in finished.items():
        job = by_name[name]
        tracker.start_trial(name, params[name], {**tags, **trial_tags(job.cell)}, datasets[job.cell.model])
        log_result(tracker, name, job.directory, result)
        log_scores(tracker, name, job.directory)
    tracking = Tracking(by_name, tracker, params, tags, datasets)
    with killed_if_raised(tracker):
        failed = {name for name, result in finished.items() if "failure" in result}
        asked = prepared.cfg.scores
        scored = {name for name, job in by_name.items() if is_scored(figures_of(job.directory), asked)}
        progress = Progress(prepared.plan, started, finished, scored | failed)
        with interruption.patient(), progress:
            left = {name: job for name, job in by_name.items() if name not in finished}
            machine = Machine(tracker)
            callbacks = [tracking, Watching(by_name, progress), machine]
            _tune(prepared, left, directory, callbacks, interruption)
            unscored = score_all(
                prepared,
                inputs,
                [job for name, job in by_name.items() if name not in scored],
                interruption,
                progress,
                lambda job: log_scores(tracker, job.cell.name, job.directory),
                machine.look,
            )
            share_by_seeds(jobs, interruption, lambda job: log_scores(tracker, job.cell.name, job.directory))
        return outcome_of(jobs, directory, tracker, tags, started, tracking.deaths, unscored)


def params_of(job: TrialJob, inputs: Mapping[str, Inputs]) -> dict[str, Any]:
    """What tells a trial from any other run: its axes, the sweep's settings, its model and tokens."""
    return {**job.sweep.distinguishing(), **inputs[job.cell.model].identity, **job.cell.params}


def open_sweep(
    prepared: Prepared, inputs: Mapping[str, Inputs], directory: Path, experiment: str, tags: Mapping[str, str]
) -> Tracker:
    """The sweep's parent run, opened or opened again."""
    cfg = prepared.cfg
    tracker = Tracker(cfg.tracking_uri, experiment, str(cfg.name), home_of(cfg.storage), directory / TRACKING_DIRECTORY)
    identities = {f"{what}.{model}": text for model, i in inputs.items() for what, text in i.identity.items()}
    datasets = [dataset for found in inputs.values() for dataset in datasets_of(cfg.text_config(), found)]
    tracker.start_sweep(cfg.params(), {**tags, **identities}, cfg.to_json(), datasets)
    before = journal_records(directory / TRACKING_DIRECTORY)  # of a sweep that is resumed, or scored once more
    tracker.save_view({*METRICS, *_measured(before)}, len(cfg.seed))
    return tracker


def _measured(records: Sequence[TrialRecord]) -> set[str]:
    return {metric for record in records for metric in record.metrics}


def outcome_of(
    jobs: Sequence[TrialJob],
    directory: Path,
    tracker: Tracker,
    tags: Mapping[str, str],
    started: list[Any],
    deaths: Mapping[str, str],
    unscored: dict[str, str],
) -> Outcome:
    """Write what a sweep leaves, tell MLflow of it, and close its run."""
    grid = [job.cell for job in jobs]
    results = {
        job.cell.name: result_of(job.directory) or {"failure": deaths.get(job.cell.name, UNFINISHED)} for job in jobs
    }
    scores = {job.cell.name: found for job in jobs if (found := scores_of(job.directory)) is not None}
    session, counters = add_counters(directory / "counters.json", brokers.counters(started))
    tracker.log_metrics(None, counters, step=session)
    table = write_report(directory, grid, results, scores, counters, jobs[0].sweep.training)
    tracker.describe(None, sweep_note(table, tracker.command, tags, tracker.artifact_link))
    tracker.log_artifacts(None, directory / "comparison.md")
    if (directory / COMPARISONS).is_dir():
        tracker.log_artifacts(None, directory / COMPARISONS, COMPARISONS)
    figures = directory / "figures"
    records = journal_records(directory / TRACKING_DIRECTORY)
    tracker.save_view({*METRICS, *_measured(records)}, len({record.seed for record in records}))
    write_results(records, directory / RESULTS)
    tracker.log_artifacts(None, directory / RESULTS)
    if write_figures(directory.name, by_rate(records), figures, {**tags, COMMAND: tracker.command}):
        tracker.log_artifacts(None, figures, "figures")
    failed = {name: result["failure"] for name, result in results.items() if "failure" in result}
    unsent = tracker.finish(sweep_status(failed | unscored))
    return Outcome(
        table, figures if figures.is_dir() else None, failed, unscored, counters, tracker.comparison_url(), unsent
    )


def jobs_of(prepared: Prepared, directory: Path) -> list[TrialJob]:
    """The trials of the sweep in `directory`."""
    return [_job(prepared, cell, directory) for cell in prepared.cells]


def _job(prepared: Prepared, cell: Cell, directory: Path) -> TrialJob:
    names = [point.name for point in prepared.hookpoints[cell.model]]
    return TrialJob(
        cell=cell,
        sweep=prepared.cfg,
        directory=(directory / TRIALS_DIRECTORY / cell.name).resolve(),
        broker=brokers.broker_name(prepared.cfg, cell.model),
        hookpoint=names.index(cell.source),
        target=names.index(cell.hookpoint) if cell.source != cell.hookpoint else None,
        threads=int(prepared.shares.trial["cpu"]),
    )


class _WhenInterrupted(tune.Stopper):  # type: ignore[misc]
    """Stops all trials once a signal has come. Tune's own handler knows one of the two, and does not say so."""

    def __init__(self, interruption: Interruption) -> None:
        self.interruption = interruption

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.interruption.signal is not None


def _tune(
    prepared: Prepared, jobs: Mapping[str, TrialJob], directory: Path, callbacks: list[Any], interruption: Interruption
) -> None:
    """Run the jobs in the order given, each retried from its own checkpoint when its process dies."""
    if not jobs:
        return
    _keep_keys_here()
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["TUNE_DISABLE_SIGINT_HANDLER"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # its tables ignore verbose=0
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # callbacks say in one line what it says in forty
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(prepared.shares.concurrent + 1)
    os.environ["TUNE_GLOBAL_CHECKPOINT_S"] = "inf"  # of the state of all trials; nothing reads it
    sweep = json.dumps(prepared.cfg.to_json())
    contents = {name: job.to_json() | {"sweep": sweep} for name, job in jobs.items()}  # one text, pickled once

    def name(trial: Any) -> str:
        return str(trial.config[TRIAL])

    def trainable(config: dict[str, Any]) -> None:
        run_trial(contents[config[TRIAL]])

    tune.Tuner(
        tune.with_resources(trainable, prepared.shares.trial),
        param_space={TRIAL: tune.grid_search(list(jobs))},
        tune_config=tune.TuneConfig(trial_name_creator=name, trial_dirname_creator=name, reuse_actors=True),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(directory.resolve()),
            callbacks=callbacks,
            stop=_WhenInterrupted(interruption),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=prepared.cfg.max_failures),
            log_to_file=True,
        ),
    ).fit()


def _keep_keys_here() -> None:
    """Tune would hand the keys of AWS to trials, which need none: in the arguments of a process, that all can read."""
    for name in [name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")]:
        class_cache.ENV_VARS_TO_PROPAGATE.discard(name)
