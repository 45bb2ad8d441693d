"""Coders on disk: `cfg.json` and `sae.safetensors`, with sparsify's field names and ours beside them."""

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.coder import Coder
from models.config import SparseCoderConfig

CONFIG_FILE = "cfg.json"
WEIGHTS_FILE = "sae.safetensors"

C = TypeVar("C", bound=Coder)


@torch.no_grad()
def folded_weights(coder: Coder) -> dict[str, Tensor]:
    """Weights of the same function with both scales 1; activations come out in the units of the input."""
    weights = {name: value.detach().contiguous() for name, value in coder.state_dict().items()}
    for name in {"encoder.bias", "b_in"} & weights.keys():
        weights[name] = weights[name] / coder.input_scale
    weights["b_dec"] = weights["b_dec"] / coder.output_scale
    if (ratio := coder.input_scale / coder.output_scale) != 1:
        for name in {"W_dec", "W_skip"} & weights.keys():
            weights[name] = weights[name] * ratio
    return weights


def save(coder: Coder, directory: Path) -> None:
    """Write a coder. `activation` is the variant wherever sparsify would compute something else, so that it refuses."""
    directory.mkdir(parents=True, exist_ok=True)
    save_file(folded_weights(coder), directory / WEIGHTS_FILE)
    recipe = coder.cfg.recipe
    content = {
        "activation": "topk" if recipe.choice == "topk" else coder.cfg.variant,
        "normalize_decoder": True,
        "multi_topk": False,
        "skip_connection": recipe.skip,
        "transcode": recipe.transcode,
        **asdict(coder.cfg),
        "d_in": coder.d_in,
        "trained_input_scale": coder.input_scale,
    }
    (directory / CONFIG_FILE).write_text(json.dumps(content, indent=2) + "\n")


def load(directory: Path, device: str | torch.device, kind: type[C]) -> C:
    """Read a coder, ours or sparsify's, as a `kind`.

    Raises ValueError for a coder that is none of ours, FileNotFoundError where there is no coder.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (directory / name).is_file():
            raise FileNotFoundError(f"{directory}: no {name} there, which a sparse coder consists of")
    content = json.loads((directory / CONFIG_FILE).read_text())
    weights = load_file(directory / WEIGHTS_FILE, device=str(device))
    if "variant" not in content:
        content = {**content, "variant": _sparsify_variant(directory / CONFIG_FILE, content)}
    known = {field.name for field in fields(SparseCoderConfig)}
    cfg = SparseCoderConfig(**{name: content[name] for name in known & content.keys()})
    coder = kind(content["d_in"], cfg, device=device)
    _check_weights(directory / WEIGHTS_FILE, coder, weights)
    if cfg.recipe.skip and not content.get("transcode", False):
        # sparsify centres the input of such a coder by b_dec; an sst has its centre in the encoder's bias.
        weight, bias, centre = (weights[name].float() for name in ("encoder.weight", "encoder.bias", "b_dec"))
        weights["encoder.bias"] = bias - weight @ centre
    coder.load_state_dict(weights)
    return coder


def _sparsify_variant(path: Path, content: dict[str, Any]) -> str:
    """The variant that computes what a coder of sparsify does. Raises ValueError where there is none."""
    for field, only in (("activation", "topk"), ("signed", False)):
        if content.get(field, only) != only:
            raise ValueError(f"{field} {content[field]!r} in {path}: only {only!r} can be loaded")
    if content.get("skip_connection", False):
        return "sst"
    return "transcoder" if content.get("transcode", False) else "topk"


def _check_weights(path: Path, coder: Coder, weights: dict[str, Tensor]) -> None:
    expected = {name: list(value.shape) for name, value in coder.state_dict().items()}
    found = {name: list(value.shape) for name, value in weights.items()}
    if expected != found:
        raise ValueError(f"{path}: holds {found}; a coder of variant {coder.cfg.variant} has {expected}")
