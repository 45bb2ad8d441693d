"""JSON that an earlier run left on disk, and perhaps only half of it."""

import json
from pathlib import Path
from typing import Any, TypeGuard

from orchestrator.errors import UserError

LARGEST = 2**63 - 1
"""What databases and tensors count up to; a longer number would end as an overflow anywhere."""


def is_count(value: object) -> TypeGuard[int]:
    """Whether it is a whole number that can be counted to."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= LARGEST


def read_json(path: Path, remedy: str, kind: type = dict) -> Any:
    """What the file holds. Raises UserError, which says what to do, where that is no JSON of this kind."""
    return parse_json(path.read_bytes(), str(path), remedy, kind)


def parse_json(text: str | bytes, where: str, remedy: str, kind: type = dict) -> Any:
    """The same of text that was read."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:  # also of text that is no UTF-8, and of [[[[...
        raise UserError(f"{where}: is damaged ({str(error).partition(':')[0]}); {remedy}") from None
    if not isinstance(content, kind):
        raise UserError(f"{where}: is damaged (it holds a {type(content).__name__}); {remedy}")
    return content
