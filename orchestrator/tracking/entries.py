"""Lines of a journal, believed only where they are what this package writes: a crash or a stranger may have others."""

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from orchestrator.saved import is_count
from orchestrator.tracking.datasets import Dataset

Entry = dict[str, Any]

TORN: Entry = {"op": "torn", "trial": None}
"""What stands for a line that is no entry."""

Check = Callable[[Any], bool]


def parse_entry(line: bytes) -> Entry:
    """The entry of a line, `TORN` where it is none."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return TORN
    if not isinstance(entry, dict) or not _fits(entry, {"op": _is_text, "trial": _is_text_or_none}):
        return TORN
    needed = FIELDS.get(entry["op"])
    if needed is None or not _fits(entry, needed) or not (entry["op"] == "journal" or is_count(entry.get("t"))):
        return TORN
    return entry


def are_texts(value: object) -> bool:
    """Whether it is an object of texts."""
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _fits(entry: Mapping[str, Any], needed: Mapping[str, Check]) -> bool:
    return all(check(entry.get(field)) and (field in entry or field in OPTIONAL) for field, check in needed.items())


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_object_or_none(value: object) -> bool:
    return value is None or isinstance(value, dict)


def _is_step(value: object) -> bool:
    """Larger ones than MLflow takes it refuses itself, by name."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _are_numbers(value: object) -> bool:
    """Infinite ones and NaN too: those are metrics."""
    return isinstance(value, dict) and all(
        isinstance(number, float) or (isinstance(number, int) and not isinstance(number, bool) and _is_float(number))
        for number in value.values()
    )


def _are_points(value: object) -> bool:
    """Whether it is an object of lists of a metric's value, step and time, with at least one."""
    return isinstance(value, dict) and len(value) > 0 and all(
        isinstance(point, list) and len(point) == 3 and _are_numbers({"value": point[0]})
        and _is_step(point[1]) and is_count(point[2])
        for point in value.values()
    )  # fmt: skip


def _are_datasets(value: object) -> bool:
    return isinstance(value, list) and all(are_texts(item) and item.keys() == _DATASET for item in value)


def _is_float(number: int) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _is_name(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{1,64}", value) is not None


_DATASET = {field.name for field in fields(Dataset)}
OPTIONAL = ("config", "experiment", "tags")
"""The former two of a sweep's own start alone; tags of what is added to a run."""
STATUSES = ("FINISHED", "FAILED", "KILLED")

FIELDS: dict[str, dict[str, Check]] = {
    "journal": {"id": _is_name},
    "start": {
        "params": are_texts, "tags": are_texts, "config": _is_object_or_none, "experiment": _is_text_or_none,
    },
    "params": {"params": are_texts, "tags": lambda value: value is None or are_texts(value)},
    "metrics": {"step": _is_step, "data": _are_numbers},
    "view": {"tags": are_texts},
    "datasets": {"datasets": _are_datasets},
    "model": {"trial": _is_text, "data": _are_points},
    "artifacts": {"path": _is_text, "to": _is_text_or_none},
    "end": {"status": lambda value: value in STATUSES, "failure": _is_text_or_none},
}  # fmt: skip
"""What an entry of each kind must have beside `op`, `trial` and the time `t`."""
