"""Coders in SAELens' own layout: `cfg.json` and `sae_weights.safetensors`, for `sae_lens.SAE.load_from_disk`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from models.coder import Coder
from models.formats.sparsify import CONFIG_FILE, folded_weights

WEIGHTS_FILE = "sae_weights.safetensors"
FORMAT_VERSION = "6.54.12"
"""The SAELens whose layout this is; without a version it would read the file as one from before its 6.0."""
ALLOWED = ("topk", "mp-tied")
"""Variants that SAELens computes too."""


def save(coder: Coder, directory: Path, metadata: Mapping[str, object] | None = None) -> None:
    """Write a coder for SAELens. Raises ValueError for a variant it lacks, FileExistsError rather than overwrite."""
    variant = coder.cfg.variant
    if variant not in ALLOWED:
        raise ValueError(f"variant {variant!r}: SAELens has no such coder; allowed are {', '.join(ALLOWED)}")
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if (directory / name).exists():
            raise FileExistsError(f"{directory}: holds a {name} already; name another directory or remove it")
    content = json.dumps(_config(coder, metadata or {}), indent=2) + "\n"
    weights = folded_weights(coder)
    if coder.encoder is not None:
        weights["W_enc"] = weights.pop("encoder.weight").T.contiguous()
        weights["b_enc"] = weights.pop("encoder.bias")
    directory.mkdir(parents=True, exist_ok=True)
    save_file(weights, directory / WEIGHTS_FILE)
    (directory / CONFIG_FILE).write_text(content, encoding="utf-8")


def _config(coder: Coder, metadata: Mapping[str, object]) -> dict[str, Any]:
    cfg = coder.cfg
    own: dict[str, Any] = {"architecture": "topk", "k": cfg.k, "rescale_acts_by_decoder_norm": False}
    if cfg.variant == "mp-tied":
        own = {
            "architecture": "matching_pursuit", "max_iterations": cfg.k, "residual_threshold": cfg.residual_threshold,
            "stop_on_duplicate_support": False,
        }  # fmt: skip
    return {
        **own,
        "d_in": coder.d_in,
        "d_sae": coder.num_latents,
        "dtype": str(coder.W_dec.dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": FORMAT_VERSION, "sae_lens_training_version": None, **metadata},
    }
