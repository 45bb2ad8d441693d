"""What a trial leaves on disk when it ends: its result and its coder, and once it is scored its scores."""

import json
from pathlib import Path
from typing import Any

from orchestrator.atomic import atomic_file
from orchestrator.errors import UserError
from orchestrator.saved import read_json
from orchestrator.storage.copies import insist, pull, push
from orchestrator.storage.remote import Remote

RESULT_FILE = "result.json"
CODER_DIRECTORY = "coder"
SCORES_DIRECTORY = "scores"
"""All three in a trial's directory."""
SCORES_FILE = "scores.json"
REMEDY = "remove it, and it is made again"


def result_of(directory: Path) -> dict[str, Any] | None:
    """The final metrics of a finished trial (with `failure` where it ended with a reason), None before its end."""
    return _read(directory / RESULT_FILE)


def keep_result(directory: Path, result: dict[str, Any]) -> None:
    """Write what `result_of` reads, complete or not at all; with it a trial has ended."""
    _keep(directory / RESULT_FILE, result)


def scores_of(directory: Path) -> dict[str, Any] | None:
    """The scores of a trial: `metrics` and what no metric can hold; None before it is scored."""
    return _read(directory / SCORES_DIRECTORY / SCORES_FILE)


def keep_scores(directory: Path, scores: dict[str, Any]) -> None:
    """Write what `scores_of` reads, complete or not at all; with it a trial is scored."""
    _keep(directory / SCORES_DIRECTORY / SCORES_FILE, scores)


def publish(directory: Path, remote: Remote) -> None:
    """Copy how a trial ended to its storage, the result last. Raises OSError where that is away for long."""

    def work() -> None:
        if (coder := directory / CODER_DIRECTORY).is_dir():
            push(coder, remote.below(CODER_DIRECTORY))
        remote.put(directory / RESULT_FILE, RESULT_FILE)

    insist(f"the result of {directory.name} cannot be copied to its storage", work)


def publish_scores(directory: Path, remote: Remote) -> None:
    """Copy a trial's scores to its storage, what `scores_of` reads last. Raises OSError as `publish` does."""
    insist(
        f"the scores of {directory.name} cannot be copied to their storage",
        lambda: push(directory / SCORES_DIRECTORY, remote.below(SCORES_DIRECTORY), last=SCORES_FILE),
    )


def fetch(directory: Path, remote: Remote) -> None:
    """Copy what a trial left in its storage here, if it ended there. Raises OSError as `publish` does."""

    def work() -> None:
        if remote.has(RESULT_FILE):
            pull(remote, directory, _is_checkpoint, lambda name: not name.startswith(f"{CODER_DIRECTORY}/"))

    insist(f"what {directory.name} left cannot be copied from its storage", work)


def _is_checkpoint(name: str) -> bool:
    return name.startswith("step-")


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
