"""What a trial leaves on disk when it ends: its result and its coder, and once it is scored its scores."""

from pathlib import Path
from typing import Any

from orchestrator.atomic import atomic_file
from orchestrator.errors import UserError
from orchestrator.redaction import redacted_json
from orchestrator.saved import LARGEST, is_count, read_json
from orchestrator.storage.copies import insist, pull, push
from orchestrator.storage.remote import Remote

TRIALS_DIRECTORY = "trials"
"""In a sweep's directory."""
RESULT_FILE = "result.json"
CODER_DIRECTORY = "coder"
SCORES_DIRECTORY = "scores"
"""All three in a trial's directory."""
CHECKPOINT_PREFIX = "step-"
"""Of directories there, until the trial ends."""
SCORES_FILE = "scores.json"
REMEDY = "remove it, and it is made again"


def result_of(directory: Path) -> dict[str, Any] | None:
    """The final metrics of a finished trial (with `failure` where it ended with a reason), None before its end."""
    path = directory / RESULT_FILE
    if (result := _read(path)) is None:
        return None
    if "failure" in result:
        if not isinstance(result["failure"], str):
            raise _damaged(path, "its failure is no text")
        return result
    if not is_count(result.get("step")) or "val/fvu" not in result or not _are_numbers(result):
        raise _damaged(path, "it has no step, no val/fvu, or metrics that are no numbers")
    return result


def keep_result(directory: Path, result: dict[str, Any]) -> None:
    """Write what `result_of` reads, complete or not at all; with it a trial has ended."""
    _keep(directory / RESULT_FILE, result)


def scores_of(directory: Path) -> dict[str, Any] | None:
    """The scores of a trial: `metrics` and what no metric can hold; None before it is scored."""
    path = directory / SCORES_DIRECTORY / SCORES_FILE
    if (scores := _read(path)) is None:
        return None
    if not is_count(scores.get("times")) or not _are_numbers(scores.get("metrics")):
        raise _damaged(path, "it has no times, or metrics that are no numbers")
    return scores


def figures_of(directory: Path) -> dict[str, float] | None:
    """The figures among the scores of a trial; None where it has none."""
    scores = scores_of(directory)
    return None if scores is None else scores["metrics"]


def keep_scores(directory: Path, scores: dict[str, Any]) -> None:
    """Write what `scores_of` reads, complete or not at all; with it a trial is scored."""
    _keep(directory / SCORES_DIRECTORY / SCORES_FILE, scores)


def publish(directory: Path, remote: Remote | None) -> None:
    """Copy how a trial ended to its storage, the result last; nothing to do where that is a directory.

    Raises OSError where it is away for long.
    """
    if remote is None:
        return

    def work() -> None:
        if (coder := directory / CODER_DIRECTORY).is_dir():
            push(coder, remote.below(CODER_DIRECTORY))
        remote.put(directory / RESULT_FILE, RESULT_FILE)

    insist(f"the result of {directory.name} cannot be copied to its storage", work)


def publish_scores(directory: Path, remote: Remote | None) -> None:
    """Copy a trial's scores to its storage as `publish` does, what `scores_of` reads last."""
    if remote is None:
        return
    there = remote.below(SCORES_DIRECTORY)
    insist(
        f"the scores of {directory.name} cannot be copied to their storage",
        lambda: push(directory / SCORES_DIRECTORY, there, last=SCORES_FILE),
    )


def fetch(directory: Path, remote: Remote | None) -> None:
    """Copy what a trial left in its storage here, if it ended there; the inverse of `publish` and `publish_scores`."""
    if remote is None:
        return

    def work() -> None:
        if remote.has(RESULT_FILE):
            pull(
                remote, directory, lambda name: name.startswith(CHECKPOINT_PREFIX),
                may_differ=lambda name: not name.startswith(f"{CODER_DIRECTORY}/"),
            )  # fmt: skip

    insist(f"what {directory.name} left cannot be copied from its storage", work)


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    content: dict[str, Any] = read_json(path, REMEDY)
    if not content:
        raise _damaged(path, "it is empty")
    return content


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"{path}: is damaged ({why}); {REMEDY}")


def _are_numbers(value: object) -> bool:
    return isinstance(value, dict) and all(
        isinstance(number, float) or (isinstance(number, int) and abs(number) <= LARGEST) for number in value.values()
    )


def _keep(path: Path, content: dict[str, Any]) -> None:
    with atomic_file(path, durable=True) as unfinished:
        unfinished.write_text(redacted_json(content), encoding="utf-8")
