"""The result of a trial on disk; with it a trial has ended."""

import json
from pathlib import Path
from typing import Any


def result_of(directory: Path) -> dict[str, Any] | None:
    """The final metrics of a finished trial (with `failure` where it ended with a reason), None before its end."""
    path = directory / "result.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def keep_result(directory: Path, result: dict[str, Any]) -> None:
    """Write what `result_of` reads, complete or not at all; with it a trial has ended."""
    directory.mkdir(parents=True, exist_ok=True)
    unfinished = directory / ".result.json"
    unfinished.write_text(json.dumps(result), encoding="utf-8")
    unfinished.rename(directory / "result.json")
