"""A checkpoint of training on disk, checked as a whole before anything of it is used."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models.checks import is_number, is_whole
from models.coder import SCALES, Coder
from models.files import brief, read_object, read_tensors

STATE_FILE = "training.json"
WEIGHTS_FILE = "training.safetensors"
ADAM = ("step", "exp_avg", "exp_avg_sq")
"""What the optimiser remembers of each parameter."""
MOST_STEPS = 2**53
"""What a float, as Adam counts, can tell apart."""


def read_checkpoint(
    directory: Path, coder: Coder, parameters: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The two files of a checkpoint. Raises ValueError where they are not whole or another coder's."""
    path, weights = directory / STATE_FILE, directory / WEIGHTS_FILE
    content = read_object(path)
    tensors = read_tensors(weights, coder.W_dec.device)
    if (saved := content.get("coder", asdict(coder.cfg))) != asdict(coder.cfg):  # older ones do not say
        raise ValueError(f"{path}: of another coder, {brief(saved)}; this is {asdict(coder.cfg)}")
    found = {name: list(value.shape) for name, value in tensors.items() if name.startswith("coder.")}
    expected = {f"coder.{name}": list(value.shape) for name, value in parameters.items()}
    if wrong := sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name)):
        told = ", ".join(f"{brief(name)} {found.get(name)} (expected {expected.get(name)})" for name in wrong[:8])
        raise ValueError(f"{weights}: of another coder than this {coder.cfg.variant}, {told}")
    _check_state(path, content)
    _check_tensors(weights, tensors, _expected(coder, parameters, bool(content["step"])))
    return content, tensors


def _check_state(path: Path, content: Mapping[str, Any]) -> None:
    allowed: dict[str, tuple[str, Callable[[Any], bool]]] = {
        "step": ("a whole number, 0 or more", lambda value: is_whole(value) and 0 <= value < MOST_STEPS),
        **dict.fromkeys(SCALES, ("a positive number", lambda value: is_number(value) and value > 0)),
        "cursor": ("an object", lambda value: isinstance(value, dict)),
    }
    for field, (what, fits) in allowed.items():
        if not fits(content.get(field)):
            raise ValueError(f"{path}: {field} {brief(content.get(field))}: must be {what}")


def _expected(coder: Coder, parameters: Mapping[str, Tensor], stepped: bool) -> dict[str, Tensor]:
    """Tensors of the dtypes and shapes that a checkpoint of this coder holds; none of them takes memory."""
    like = {f"coder.{name}": value.detach().to("meta") for name, value in parameters.items()}
    if stepped:
        for name, value in parameters.items():
            averages = value.detach().to("meta")
            like |= {f"adam.{key}.{name}": averages for key in ADAM if key != "step"}
            like[f"adam.step.{name}"] = torch.empty((), dtype=torch.float32, device="meta")
    like["silent_tokens"] = torch.empty(coder.num_latents, dtype=torch.int64, device="meta")
    like["rng"] = torch.empty(torch.get_rng_state().shape, dtype=torch.uint8, device="meta")
    return like


def _check_tensors(path: Path, tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> None:
    for name, wanted in like.items():
        found = tensors.get(name)
        if found is None or (found.dtype, found.shape) != (wanted.dtype, wanted.shape):
            said = "missing" if found is None else f"{found.dtype} {list(found.shape)}"
            raise ValueError(f"{path}: {name} is {said}; expected {wanted.dtype} {list(wanted.shape)}")
    try:
        torch.Generator().set_state(tensors["rng"].cpu())
    except RuntimeError as error:
        raise ValueError(f"{path}: rng is no state of torch's random numbers ({brief(error)})") from error
