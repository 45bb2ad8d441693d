"""Files that a crash may have cut short, or that a stranger wrote: what they hold, or a ValueError of one line."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

LONGEST = 60


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises ValueError for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:  # the latter of [[[[...
        raise ValueError(f"{path}: cut short or not a JSON file ({error})") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold a JSON object, not {type(content).__name__}")
    return content


def read_tensors(path: Path, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises ValueError where it is none, also where its sizes are not its own."""
    try:
        tensors: dict[str, Tensor] = load_file(path, device=str(device))
        return tensors
    except (SafetensorError, ValueError, KeyError, RuntimeError, TypeError) as error:  # all are said of headers
        raise ValueError(f"{path}: cut short or not a safetensors file ({brief(error)})") from error


def brief(value: object) -> str:
    """What a file says as it stands in a message: on one line, and cut where it is long."""
    text = repr(value)[1:-1] if isinstance(value, str) else " ".join(str(value).split())
    return text[:LONGEST] + ("…" if len(text) > LONGEST else "")
