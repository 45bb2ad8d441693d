"""A sweep from its config to its comparison."""

import dataclasses
import fcntl
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray import tune

from orchestrator.activations.shards import ShardSpec
from orchestrator.activations.store import StoreConfig, start_broker
from orchestrator.driver.callbacks import Progress, Tracking, broker_counters, log_result
from orchestrator.driver.report import comparison_table
from orchestrator.errors import UserError
from orchestrator.figures.command import write_figures
from orchestrator.grid.cells import Cell, cells
from orchestrator.grid.config import SweepConfig
from orchestrator.grid.hardware import Hardware, Shares, share
from orchestrator.grid.plan import Plan, make_plan
from orchestrator.language_models.hookpoints import Hookpoint
from orchestrator.language_models.loading import fingerprint, load_tokenizer, resolve_hookpoints
from orchestrator.text.sources import check_text
from orchestrator.text.token_blocks import TokenBlocks, tokenise
from orchestrator.tracking.environment import environment_tags
from orchestrator.tracking.records import journal_records
from orchestrator.tracking.tracker import Tracker
from orchestrator.trials.trial import TrialJob, result_of, run_trial

SWEEP_FILE = "sweep.json"
INPUTS_FILE = "inputs.json"
"""What model and tokens the sweep began with."""
TRACKING_DIRECTORY = "tracking"
MIN_SHARDS_KEPT = 3
"""The object store must hold the shard being read and those prefetched."""

UNFINISHED = "did not finish"

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prepared:
    """A sweep that was checked as far as possible without loading a model."""

    cfg: SweepConfig
    hookpoints: dict[str, list[Hookpoint]]
    """What is extracted from each model: the hookpoints of the grid, and the inputs that transcoders read."""
    cells: list[Cell]
    shares: Shares
    plan: Plan


@dataclass(frozen=True)
class Outcome:
    """What a sweep leaves for its user to read."""

    table: str
    figures: Path | None
    """Their directory, where any trial finished."""
    failed: dict[str, str]
    """Reasons of trials that did not finish, by name."""
    counters: dict[str, int]
    comparison_url: str | None
    unsent: int
    """Entries that could not be delivered to MLflow."""


def prepare(cfg: SweepConfig, hardware: Hardware) -> Prepared:
    """Check everything that needs no weights and predict the cost. Raises UserError."""
    check_text(cfg.text_config())
    asked = {model: resolve_hookpoints(model, cfg.hookpoint) for model in cfg.model}
    grid = cells(cfg, asked)
    hookpoints = {model: _extracted(model, points, grid) for model, points in asked.items()}
    shares = share(hardware, cfg.gpus_per_trial, len(cfg.model))
    return Prepared(cfg, hookpoints, grid, shares, make_plan(cfg, grid, hookpoints, hardware, shares))


def _extracted(model: str, asked: list[Hookpoint], grid: list[Cell]) -> list[Hookpoint]:
    """The hookpoints of one model that its trials read. Raises UserError for a transcoded module of two widths."""
    ours = [cell for cell in grid if cell.model == model]
    found = {point.name: point for point in asked}
    if inputs := sorted({cell.source for cell in ours} - found.keys()):
        found |= {point.name: point for point in resolve_hookpoints(model, inputs)}
    for cell in ours:
        if (width := found[cell.source].width) != cell.d_in:
            raise UserError(
                f"variant {cell.variant!r}: needs as many inputs as outputs, and {cell.hookpoint!r} has {width} and "
                f"{cell.d_in}"
            )
    return list(found.values())


def claim(cfg: SweepConfig) -> Path:
    """Create the sweep's directory. Raises UserError where it exists or a directory cannot be written."""
    for field, wanted in (("storage", cfg.storage), ("cache_dir", cfg.cache_dir)):
        if wanted is None:
            continue
        try:
            wanted.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{field} {str(wanted)!r}: cannot be a directory ({error.strerror})") from None
        if not os.access(wanted, os.W_OK):
            raise UserError(f"{field} {str(wanted)!r}: cannot be written")
    directory = cfg.storage / str(cfg.name)
    try:
        directory.mkdir()
    except FileExistsError:
        raise UserError(
            f"name {cfg.name!r}: exists in {cfg.storage}; continue it with --storage {cfg.storage} --resume {cfg.name}"
        ) from None
    (directory / SWEEP_FILE).write_text(json.dumps(cfg.to_json(), indent=2) + "\n")
    return directory


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the sweep for this process; the lock goes with it. Raises UserError where another has it."""
    with (directory / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"name {directory.name!r}: this sweep is running already") from None
        yield


def run(prepared: Prepared, directory: Path, experiment: str) -> Outcome:
    """Train every cell that has no result yet, and report on all. Needs a Ray connection. Raises UserError."""
    with locked(directory):
        inputs = {model: _inputs(prepared, model) for model in prepared.cfg.model}
        _check_inputs(directory / INPUTS_FILE, {model: found.identity for model, found in inputs.items()})
        brokers = [_broker(prepared, index, inputs[model]) for index, model in enumerate(prepared.cfg.model)]
        return _run(prepared, directory, experiment, brokers, inputs)


def _run(
    prepared: Prepared, directory: Path, experiment: str, brokers: list[Any], inputs: dict[str, "Inputs"]
) -> Outcome:
    cfg, grid = prepared.cfg, prepared.cells
    jobs = [_job(prepared, cell, directory) for cell in grid]
    finished = [job for job in jobs if result_of(job.directory) is not None]
    tags = environment_tags()
    tracker = Tracker(cfg.tracking_uri, experiment, str(cfg.name), cfg.storage, directory / TRACKING_DIRECTORY)
    identities = {f"{what}.{model}": text for model, i in inputs.items() for what, text in i.identity.items()}
    tracker.start_sweep(_shared_params(cfg), tags | identities, cfg.to_json())
    for job in finished:
        tracker.start_trial(job.cell.name, job.cell.params, tags)
        log_result(tracker, job.cell.name, job.directory, result_of(job.directory) or {})
    tracking = Tracking(tracker, tags)
    with killed_if_raised(tracker):
        progress = Progress(prepared.plan, brokers, [job.cell for job in finished])
        _tune(prepared, [job for job in jobs if job not in finished], directory, [tracking, progress])
        results = {
            job.cell.name: result_of(job.directory) or {"failure": tracking.deaths.get(job.cell.name, UNFINISHED)}
            for job in jobs
        }
        session, counters = _add_counters(directory / "counters.json", broker_counters(brokers))
        tracker.log_metrics(None, counters, step=session)
        table = _write_report(directory, grid, results, counters)
        tracker.log_artifacts(None, directory / "comparison.md")
        figures = directory / "figures"
        if write_figures(directory.name, journal_records(directory / TRACKING_DIRECTORY), figures):
            tracker.log_artifacts(None, figures, "figures")
        failed = {name: result["failure"] for name, result in results.items() if "failure" in result}
        status = "KILLED" if UNFINISHED in failed.values() else "FAILED" if failed else "FINISHED"
    unsent = tracker.finish(status)
    return Outcome(table, figures if figures.is_dir() else None, failed, counters, tracker.comparison_url(), unsent)


def _write_report(
    directory: Path, grid: list[Cell], results: dict[str, dict[str, Any]], counters: dict[str, int]
) -> str:
    """Write the sweep's table and numbers; returns the table."""
    (directory / "comparison.md").write_text(table := comparison_table(grid, results))
    (directory / "results.json").write_text(json.dumps({"results": results, "counters": counters}, indent=2))
    return table


def _add_counters(path: Path, counters: dict[str, int]) -> tuple[int, dict[str, int]]:
    """Keep this session's shard counters; returns the number of sessions that ended and their sums."""
    sessions = [*(json.loads(path.read_text()) if path.is_file() else []), counters]
    path.write_text(json.dumps(sessions))
    return len(sessions), {key: sum(session[key] for session in sessions) for key in counters}


@contextmanager
def killed_if_raised(tracker: Tracker) -> Iterator[None]:
    """Close the parent run where the block raises."""
    try:
        yield
    except BaseException:
        tracker.finish("KILLED", timeout_s=10)
        raise


@dataclass(frozen=True)
class Inputs:
    """The tokens of one model, and what identifies them and it."""

    model: str
    blocks: TokenBlocks
    identity: dict[str, str]


def _inputs(prepared: Prepared, model: str) -> Inputs:
    cfg = prepared.cfg
    log.info("tokenising %s for %s", cfg.dataset, model)
    blocks = tokenise(
        cfg.text_config(), load_tokenizer(model), context_length=cfg.context_length, train_tokens=cfg.train_tokens,
        val_tokens=cfg.val_tokens, out_dir=cfg.storage / "tokens",
    )  # fmt: skip
    identity = {"model.fingerprint": fingerprint(model), "tokens.fingerprint": blocks.fingerprint}
    return Inputs(model, blocks, identity)


def _check_inputs(path: Path, identities: dict[str, dict[str, str]]) -> None:
    """Note what the sweep runs on; a resumed one must run on the same. Raises UserError."""
    if not path.is_file():
        path.write_text(json.dumps(identities, indent=2))
    elif (before := json.loads(path.read_text())) != identities:
        changed = [
            f"{what.partition('.')[0]} of {model}"
            for model in identities for what in identities[model]
            if before.get(model, {}).get(what) != identities[model][what]
        ]  # fmt: skip
        raise UserError(f"resume {path.parent.name!r}: the {', '.join(changed)} changed since the sweep began")


def _broker(prepared: Prepared, index: int, inputs: Inputs) -> Any:
    cfg, shares, model = prepared.cfg, prepared.shares, inputs.model
    names = tuple(point.name for point in prepared.hookpoints[model])
    shard_bytes = prepared.plan.shard_bytes[model]
    budget = int(cfg.store_gb * 1e9 if cfg.store_gb else ray.cluster_resources()["object_store_memory"] / 2)
    budget //= len(cfg.model)
    if budget < MIN_SHARDS_KEPT * shard_bytes:
        needed = MIN_SHARDS_KEPT * shard_bytes * len(cfg.model) / 1e9
        raise UserError(
            f"store_gb {budget / 1e9:.3g}: must hold {MIN_SHARDS_KEPT} shards, {needed:.3g} GB; "
            "raise it or lower --shard-tokens"
        )
    # Extractors have another working directory.
    location = str(Path(model).resolve()) if Path(model).is_dir() else model
    store = StoreConfig(
        spec=ShardSpec(location, inputs.identity["model.fingerprint"], names, cfg.shard_dtype),
        tokens={split: str(blocks_file(getattr(inputs.blocks, split))) for split in ("train", "val")},
        blocks_per_shard=cfg.blocks_per_shard,
        shard_bytes=shard_bytes,
        max_bytes=budget,
        cache_dir=str(cfg.cache_dir.resolve()) if cfg.cache_dir else None,
        extractors=shares.extractors,
        extractor_options=shares.extractor,
        extractor_threads=shares.extractor_threads,
    )
    return start_broker(_broker_name(index), store)


def blocks_file(blocks: Any) -> Path:
    """The .npy file behind memory-mapped token blocks."""
    return Path(blocks.filename).resolve()


def _broker_name(index: int) -> str:
    return f"broker-{index}"


def _job(prepared: Prepared, cell: Cell, directory: Path) -> TrialJob:
    names = [point.name for point in prepared.hookpoints[cell.model]]
    return TrialJob(
        cell=cell,
        sweep=prepared.cfg,
        directory=(directory / "trials" / cell.name).resolve(),
        broker=_broker_name(prepared.cfg.model.index(cell.model)),
        hookpoint=names.index(cell.source),
        target=names.index(cell.hookpoint) if cell.source != cell.hookpoint else None,
        threads=int(prepared.shares.trial["cpu"]),
    )


def _tune(prepared: Prepared, jobs: list[TrialJob], directory: Path, callbacks: list[Any]) -> None:
    """Run the jobs in the order given, each retried from its own checkpoint when its process dies."""
    if not jobs:
        return
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # its tables ignore verbose=0
    logging.getLogger("ray.tune").setLevel(logging.ERROR)  # it warns of the loggers left out above
    os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(prepared.shares.concurrent + 1)

    def name(trial: Any) -> str:
        return Cell(**trial.config["job"]["cell"]).name

    def trainable(config: dict[str, Any]) -> None:
        run_trial(config["job"])

    tune.Tuner(
        tune.with_resources(trainable, prepared.shares.trial),
        param_space={"job": tune.grid_search([job.to_json() for job in jobs])},
        tune_config=tune.TuneConfig(trial_name_creator=name, trial_dirname_creator=name, reuse_actors=True),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(directory.resolve()),
            callbacks=callbacks,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=prepared.cfg.max_failures),
            log_to_file=True,
        ),
    ).fit()


def _shared_params(cfg: SweepConfig) -> dict[str, Any]:
    """What all trials have in common, as params of the parent run; the axes are listed too."""
    shared = {field.name: getattr(cfg, field.name) for field in dataclasses.fields(cfg) if field.name != "tracking_uri"}
    return shared | {"dead_window_tokens": cfg.dead_window}
