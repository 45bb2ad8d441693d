"""Lines of a journal, believed only where they are what this package writes: a crash or a stranger may have others."""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from orchestrator.saved import is_count

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
    fields = FIELDS.get(entry["op"])
    if fields is None or not _fits(entry, fields) or not (entry["op"] == "journal" or is_count(entry.get("t"))):
        return TORN
    return entry


def are_texts(value: object) -> bool:
    """Whether it is an object of texts."""
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _fits(entry: Mapping[str, Any], fields: Mapping[str, Check]) -> bool:
    return all(check(entry.get(field)) and (field in entry or field in OPTIONAL) for field, check in fields.items())


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


def _is_float(number: int) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:
        return False


def _is_name(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{1,64}", value) is not None


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
    "artifacts": {"path": _is_text, "to": _is_text_or_none},
    "end": {"status": lambda value: value in STATUSES, "failure": _is_text_or_none},
}  # fmt: skip
"""What an entry of each kind must have beside `op`, `trial` and the time `t`."""
