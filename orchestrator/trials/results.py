"""What a trial leaves on disk when it ends: its result, and once it is scored its scores."""

import json
from pathlib import Path
from typing import Any

from orchestrator.atomic import atomic_file
from orchestrator.errors import UserError
from orchestrator.saved import read_json

SCORES_DIRECTORY = "scores"
"""In a trial's directory."""
SCORES_FILE = "scores.json"
REMEDY = "remove it, and it is made again"


def result_of(directory: Path) -> dict[str, Any] | None:
    """The final metrics of a finished trial (with `failure` where it ended with a reason), None before its end."""
    return _read(directory / "result.json")


def keep_result(directory: Path, result: dict[str, Any]) -> None:
    """Write what `result_of` reads, complete or not at all; with it a trial has ended."""
    _keep(directory / "result.json", result)


def scores_of(directory: Path) -> dict[str, Any] | None:
    """The scores of a trial: `metrics` and what no metric can hold; None before it is scored."""
    return _read(directory / SCORES_DIRECTORY / SCORES_FILE)


def keep_scores(directory: Path, scores: dict[str, Any]) -> None:
    """Write what `scores_of` reads, complete or not at all; with it a trial is scored."""
    _keep(directory / SCORES_DIRECTORY / SCORES_FILE, scores)


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    content: dict[str, Any] = read_json(path, REMEDY)
    if not content:
        raise UserError(f"{path}: is damaged (it is empty); {REMEDY}")
    return content


def _keep(path: Path, content: dict[str, Any]) -> None:
    with atomic_file(path) as unfinished:
        unfinished.write_text(json.dumps(content), encoding="utf-8")
