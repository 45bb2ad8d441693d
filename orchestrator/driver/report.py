"""What a sweep leaves for its user to read: who wins where as a table, the same as JSON, and the last lines printed."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.command_line.read import reader_may_leave
from orchestrator.comparison.points import by_rate
from orchestrator.comparison.scores import inference_rows, score_rows
from orchestrator.comparison.table import comparison_table, markdown
from orchestrator.driver.printed_commands import resume_command, show_command
from orchestrator.driver.scores_report import differences_table, write_comparisons
from orchestrator.figures.files import PAGE
from orchestrator.grid.base_config import BaseConfig
from orchestrator.grid.cells import Cell
from orchestrator.grid.config import AXES
from orchestrator.saved import read_json
from orchestrator.scores.table import FILE as LATENTS_FILE
from orchestrator.storage.address import address_of, home_of
from orchestrator.tracking.addresses import default_uri
from orchestrator.tracking.records import TrialRecord
from orchestrator.trials.results import SCORES_DIRECTORY, TRIALS_DIRECTORY, result_of

COMPARISONS = "comparisons"
"""Directory of pages that show two coders beside each other."""


@dataclass(frozen=True)
class Outcome:
    """What a sweep leaves for its user to read."""

    table: str
    figures: Path | None
    """Their directory, where any trial finished."""
    failed: dict[str, str]
    """Reasons of trials that did not finish, by name."""
    unscored: dict[str, str]
    """Reasons of trials that trained and could not be scored, by name."""
    counters: dict[str, int]
    comparison_url: str | None
    unsent: int
    """Entries that could not be delivered to MLflow."""


def records_of(cells: Sequence[Cell], results: Mapping[str, Mapping[str, Any]]) -> list[TrialRecord]:
    """The whole grid, trials without a result too."""
    records = []
    for cell in cells:
        metrics = {key: value for key, value in results.get(cell.name, {}).items() if key != "failure"}
        axes, settings = {axis: getattr(cell, axis) for axis in AXES}, {"lr": str(cell.lr)}
        records.append(TrialRecord(**axes, metrics=metrics, history={}, settings=settings))
    return records


def write_report(
    directory: Path,
    grid: list[Cell],
    results: dict[str, dict[str, Any]],
    scores: dict[str, dict[str, Any]],
    counters: dict[str, int],
    training: str,
) -> str:
    """Write the sweep's tables and numbers; returns the tables. `training` says how trials were trained."""
    files = {name: directory / TRIALS_DIRECTORY / name / SCORES_DIRECTORY / LATENTS_FILE for name in scores}
    files = {name: path for name, path in files.items() if path.is_file()}
    measured = {name: result | scores.get(name, {}).get("metrics", {}) for name, result in results.items()}
    records = by_rate(records_of(grid, measured))
    compared = f"{comparison_table(records)} {training}"
    tables = [markdown(rows) for rows in (score_rows(records), inference_rows(records)) if rows]
    parts = [compared, *tables, differences_table(grid, files)]
    text = "\n\n".join(filter(None, parts))
    write_comparisons(directory / COMPARISONS, grid, files, results, scores)
    (directory / "comparison.md").write_text(text, encoding="utf-8")
    content = {"results": results, "scores": {name: found["metrics"] for name, found in scores.items()}}
    (directory / "results.json").write_text(json.dumps(content | {"counters": counters}, indent=2), encoding="utf-8")
    return text


def add_counters(path: Path, counters: dict[str, int]) -> tuple[int, dict[str, int]]:
    """Keep this session's shard counters, if there are any; returns the number of sessions so kept and their sums."""
    sessions = read_json(path, "remove it; it only counts", list) if path.is_file() else []
    sessions += [counters] if counters else []
    path.write_text(json.dumps(sessions), encoding="utf-8")
    return len(sessions), {key: sum(session[key] for session in sessions) for key in (sessions or [{}])[0]}


def say(outcome: Outcome, cfg: BaseConfig, directory: Path) -> int:
    """Print what a sweep leaves; returns the exit status, 1 where trials failed."""
    lines = ["", outcome.table, ""]
    if counters := outcome.counters:
        lines.append(
            f"shards: {counters['shards_computed']} computed, {counters['shards_from_disk']} from disk, "
            f"{counters['shards_hits']} hits, {counters['shards_evictions']} evictions"
        )
        if again := counters.get("shards_again", 0):
            lines.append(
                f"{again} of the shards had been made before, and had gone for others or were lost; a larger "
                "--store-gb, a --cache-dir, or fewer hookpoints in one sweep spare the former (not counted: what Ray "
                "makes again itself of a lost node's shards, and what was before the broker died)"
            )
    kept = f", kept at {address}/{cfg.name}" if (address := address_of(cfg.storage)) else ""
    lines.append(f"sweep:   {directory}{kept}")
    if outcome.figures:
        lines.append(f"figures: {outcome.figures / PAGE}")
    if (directory / COMPARISONS).is_dir():
        lines.append(
            f"latents: {directory / TRIALS_DIRECTORY}/*/{SCORES_DIRECTORY}/latents.html, "
            f"{directory / COMPARISONS}/*.html"
        )
    if outcome.comparison_url:
        home = home_of(cfg.storage)
        command = show_command(cfg.tracking_uri or default_uri(home), home)
        started = f" (start it with `{command}`)" if command else ""
        lines.append(f"compare in MLflow{started}: {outcome.comparison_url}")
    if outcome.unsent:
        lines.append(f"{outcome.unsent} entries wait for MLflow; {resume_command(cfg)} sends them")
    lines += [f"failed: {name}: {reason.splitlines()[-1]}" for name, reason in outcome.failed.items()]
    lines += [f"not scored: {name}: {reason.splitlines()[-1]}" for name, reason in outcome.unscored.items()]
    if outcome.unscored or any(result_of(directory / TRIALS_DIRECTORY / name) is None for name in outcome.failed):
        lines.append(f"what was done is kept; continue with {resume_command(cfg)}")
    with reader_may_leave():
        sys.stdout.write("\n".join(lines) + "\n")
    return 1 if outcome.failed or outcome.unscored else 0
