"""Sweeps over synthetic trees: the coders, training step, grid, names, results and tracking of other sweeps.

What is left out is what a language model needs: samples are drawn where they are used, so there are no shards and no
Ray, and the trials run one after another on one core. Matrices of 20 × 20 gain nothing from a second one, or a GPU.
"""

import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models import SparseCoder
from models.evaluation import Evaluation
from models.training import Trainer, TrainingDiverged
from orchestrator.atomic import atomic_directory
from orchestrator.command_line.read import reader_may_leave
from orchestrator.driver.claims import TRACKING_DIRECTORY, directory_of, locked
from orchestrator.driver.notes import trial_tags
from orchestrator.driver.report import Outcome, say
from orchestrator.driver.script import Flags, Preset, exit_status, read_command_line
from orchestrator.grid.cells import Cell
from orchestrator.grid.plan import duration
from orchestrator.storage.address import home_of
from orchestrator.storage.mirror import mirrored
from orchestrator.toy.config import ToyConfig
from orchestrator.toy.datasets import datasets_of
from orchestrator.toy.report import recovery_table
from orchestrator.toy.tree import Tree, recovery
from orchestrator.tracking.endings import killed_if_raised, log_result
from orchestrator.tracking.environment import environment_tags
from orchestrator.tracking.tracker import Tracker
from orchestrator.trials.results import CODER_DIRECTORY, TRIALS_DIRECTORY, keep_result, result_of

SECONDS_PER_STEP = 0.002
"""Measured on one Zen 4 core with k = 2; calls take the time, not products, so the width hardly matters."""
SAMPLES_TO_START_FROM = 10_000

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Command(Flags, ToyConfig):
    """The script's flags: the sweep, and what to do with it."""

    preset: Preset = "auto"
    """Where values not given come from; auto takes laptop, since a GPU would not help."""
    resume: str | None = None
    """Name of an interrupted sweep under `storage` to continue: finished trials are kept, others start again."""


def main(description: str, experiment: str, presets: Mapping[str, ToyConfig], argv: Sequence[str] | None = None) -> int:
    """Run a sweep script; returns its exit status."""
    return exit_status(
        lambda interruption: _main(description, experiment, presets, sys.argv[1:] if argv is None else argv)
    )


def _main(description: str, experiment: str, presets: Mapping[str, ToyConfig], argv: Sequence[str]) -> int:
    def preset(name: Preset) -> ToyConfig:
        return presets["laptop" if name == "auto" else name]

    request = read_command_line(argv, ToyConfig, Command, preset, description, experiment)
    grid = request.cfg.cells()
    if request.plan or not request.quiet:
        with reader_may_leave():
            sys.stdout.write(describe(request.cfg, grid) + "\n")
    if request.plan:
        return 0
    with (
        directory_of(request.cfg, request.resume) as directory,
        locked(directory),
        mirrored(directory, request.cfg.storage, left_out=()),
    ):
        outcome = run(request.cfg, grid, directory, experiment)
    return say(outcome, request.cfg, directory)


def describe(cfg: ToyConfig, grid: Sequence[Cell]) -> str:
    """The plan as text for a person."""
    steps = cfg.steps
    seconds = steps * SECONDS_PER_STEP
    same = f"{steps:>8}{cfg.train_tokens:>10}{duration(seconds):>8}"
    lines = [f"{'trial':<46}{'latents':>8}{'steps':>8}{'samples':>10}{'time':>8}"]
    lines += [f"{cell.name:<46}{cell.coder.latents(cell.d_in):>8}{same}" for cell in grid]
    total = duration(len(grid) * seconds)
    return "\n".join([*lines, f"{len(grid)} trials, 1 at a time; time: about {total} on one core"])


def run(cfg: ToyConfig, grid: Sequence[Cell], directory: Path, experiment: str) -> Outcome:
    """Train every cell that has no result yet, and report on all. Raises UserError."""
    torch.set_num_threads(1)
    tags = environment_tags()
    home, journal = home_of(cfg.storage), directory / TRACKING_DIRECTORY
    tracker = Tracker(cfg.tracking_uri, experiment, str(cfg.name), home, journal)
    datasets = {cell.name: datasets_of(cfg, cell) for cell in grid}
    tracker.start_sweep(cfg.params(), tags, cfg.to_json(), list(dict.fromkeys(chain(*datasets.values()))))
    results = {}
    with killed_if_raised(tracker):
        for number, cell in enumerate(grid, 1):
            place = directory / TRIALS_DIRECTORY / cell.name
            params = {**cfg.distinguishing(), **cell.params, **_setting(cfg, cell)}
            tracker.start_trial(cell.name, params, {**tags, **trial_tags(cell)}, datasets[cell.name])
            known = result_of(place)
            results[cell.name] = known or _attempt(cfg, cell, place, tracker)
            log_result(tracker, cell.name, place, results[cell.name])
            log.info("%d/%d %s: %s", number, len(grid), cell.name, _brief(results[cell.name], known is not None))
        table = recovery_table(cfg, grid, results)
        (directory / "comparison.md").write_text(table + "\n", encoding="utf-8")
        (directory / "results.json").write_text(json.dumps({"results": results}, indent=2), encoding="utf-8")
        tracker.log_artifacts(None, directory / "comparison.md")
        tracker.save_view({key for result in results.values() for key in result}, len(cfg.seed))
    failed = {name: result["failure"] for name, result in results.items() if "failure" in result}
    unsent = tracker.finish("FAILED" if failed else "FINISHED")
    return Outcome(table, None, failed, {}, {}, tracker.comparison_url(), unsent)


def _setting(cfg: ToyConfig, cell: Cell) -> dict[str, float]:
    tree = cfg.settings()[cell.hookpoint]
    return {"correlation": tree.correlation, "overlap": tree.overlap}


def _brief(result: Mapping[str, Any], finished_before: bool) -> str:
    if "failure" in result:
        return f"failed: {result['failure']}"
    found = " ".join(f"{key.partition('/')[2]} {result[key]:.3f}" for key in result if key.startswith("recovery/"))
    return f"recovery {found} | held-out FVU {result['val/fvu']:.4f}" + (" (kept)" if finished_before else "")


def _attempt(cfg: ToyConfig, cell: Cell, directory: Path, tracker: Tracker) -> dict[str, Any]:
    """Train one cell and keep its result, which is a reason where training would only fail again."""
    try:
        result = train(cfg, cell, directory, tracker)
    except TrainingDiverged as error:
        result = {"failure": str(error)}
    keep_result(directory, result)
    return result


def stream(seed: int, purpose: int) -> int:
    """A seed for one purpose (0 the dictionary, 1 training samples, 2 held-out samples), unrelated to the others."""
    return int(np.random.SeedSequence([seed, purpose]).generate_state(1)[0])


def train(cfg: ToyConfig, cell: Cell, directory: Path, tracker: Tracker) -> dict[str, Any]:
    """Train one coder and compare it with the truth; returns the final metrics. Raises TrainingDiverged.

    Dictionary, training samples in their order, and held-out samples are functions of setting and seed, hence the
    same for every variant, k and expansion factor.
    """
    tree = Tree(cfg.settings()[cell.hookpoint], stream(cell.seed, 0))
    samples, held_out = (torch.Generator().manual_seed(stream(cell.seed, purpose)) for purpose in (1, 2))
    torch.manual_seed(cell.seed)
    coder = SparseCoder(cell.d_in, cell.coder)
    trainer = Trainer(coder, cfg.train_config(cell.lr))
    trainer.initialise(tree.sample(SAMPLES_TO_START_FROM, samples))
    if not cfg.centre and coder.b_dec is not None:
        coder.b_dec.data.zero_()
    for step in range(1, cfg.steps + 1):
        fvu = trainer.step(tree.sample(cfg.batch_tokens, samples))
        if cfg.reports_at(step):
            trainer.raise_if_diverged()
            tracker.log_metrics(cell.name, {"train/fvu": float(fvu), "dead_pct": trainer.dead_pct()}, step)
    evaluation = Evaluation(coder)
    for x_BD in torch.split(tree.sample(cfg.val_tokens, held_out), 1 << 14):
        evaluation.add(x_BD, torch.zeros(len(x_BD), dtype=torch.bool))
    with atomic_directory(directory / CODER_DIRECTORY) as unfinished:
        coder.save_to_disk(unfinished)
    metrics = evaluation.metrics()
    return {
        "step": cfg.steps,
        **{key: metrics[key] for key in ("val/fvu", "val/tokens", "l0")},
        **recovery(tree.cfg, tree.atoms_ND, coder.W_dec.flatten(0, -2)),
        "dead_pct": trainer.dead_pct(),
    }
