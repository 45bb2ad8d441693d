"""Compare our variants with the code that the study links to, value by value and gradient by gradient.

    git clone https://github.com/EleutherAI/sparsify CHECKOUT && git -C CHECKOUT checkout daf9e47
    python -m maintenance.study_branch CHECKOUT

Coders of that code with drawn weights, in float64, are saved by it and loaded by us. Its calls of Triton, which need a
GPU, are replaced by the same sums in torch, and nothing of it is compiled. Exit status 1 where something differs.

Shape suffixes: B tokens, D width, M latents, K active latents, N rows.
"""

import argparse
import importlib
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from models import SparseCoder

TOKENS, WIDTH, LATENTS = 40, 24, 128
KS = (1, 2, 8, 32)
SETTINGS: dict[str, dict[str, bool]] = {
    "mp-study": {"normalize_decoder": True},
    "mp-study-free-decoder": {},
    "ito-study": {"normalize_decoder": True, "ito": True},
    "ito-study-free-decoder": {"ito": True},
}
"""What makes its coder each of our variants."""
TOLERANCE, ROUNDED = 1e-12, 1e-6
"""Of values and gradients; of the encoder's gradient, which that code rounds to float32."""
NAMES = {"encoder.weight": ROUNDED, "encoder.bias": TOLERANCE, "W_dec": TOLERANCE, "b_dec": TOLERANCE}


class _ScoresOfChosen:
    """Stands for an operation of theirs that has a kernel of its own."""

    @staticmethod
    def apply(x_BD: Tensor, W_DM: Tensor, indices_BK: Tensor) -> Tensor:
        return (x_BD[:, None, :] * W_DM.T[indices_BK]).sum(dim=-1)


def _transposed_product(indices_BK: Tensor, values_BK: Tensor, dense_BD: Tensor, N: int) -> Tensor:
    parts_BKD = values_BK.to(dense_BD.dtype)[..., None] * dense_BD[:, None, :]
    return dense_BD.new_zeros(N, dense_BD.shape[1]).index_add_(0, indices_BK.flatten(), parts_BKD.flatten(0, 1))


def their_modules(checkout: Path) -> tuple[Any, Any]:
    """Their module of coders and that of configurations, without Triton and `torch.compile`."""
    os.environ |= {"SPARSIFY_DISABLE_TRITON": "1", "TORCHDYNAMO_DISABLE": "1"}
    sys.path.insert(0, str(checkout))
    coders, config = (importlib.import_module(f"sparsify.{name}") for name in ("sparse_coder", "config"))
    importlib.import_module("sparsify.fused_encoder").triton_sparse_transpose_dense_matmul = _transposed_product  # type: ignore[attr-defined]
    importlib.import_module("sparsify.utils").DenseDenseSparseOutMatmul = _ScoresOfChosen  # type: ignore[attr-defined]
    return coders, config


def drawn(coders: Any, config: Any, settings: dict[str, bool], k: int) -> Any:
    """One of their coders, with rows that crowd more than training would have them, so that residuals do not grow."""
    cfg = config.SparseCoderConfig(num_latents=LATENTS, k=k, matching_pursuit=True, **settings)
    theirs = coders.SparseCoder(WIDTH, cfg, dtype=torch.float64)
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            parameter.normal_(std=0.1)
            if name in ("encoder.weight", "W_dec"):
                parameter *= torch.rand(LATENTS, 1, dtype=parameter.dtype).add(1) / (
                    2 * parameter.norm(dim=1, keepdim=True)
                )
        if cfg.normalize_decoder:
            theirs.set_decoder_norm_to_unit_norm()
    return theirs


def differences(theirs: Any, variant: str) -> dict[str, float]:
    """Of all that each computes for one batch, the largest difference over the largest value; inf for other latents."""
    with tempfile.TemporaryDirectory() as place:
        theirs.save_to_disk(place)
        ours = SparseCoder.load_from_disk(place)
    if ours.cfg.variant != variant:
        raise SystemExit(f"loads as {ours.cfg.variant}, not as {variant}")
    x_BD = torch.randn(TOKENS, WIDTH, dtype=torch.float64) + 1
    outs = [coder(x_BD) for coder in (theirs, ours)]
    for out in outs:
        out.fvu.backward()
    if not torch.equal(outs[0].latent_indices, outs[1].latent_indices):
        return {"latents": float("inf")}
    pairs = {name: [getattr(out, name).detach() for out in outs] for name in ("latent_acts", "sae_out", "fvu")}
    for name in NAMES:
        gradients = [dict(coder.named_parameters())[name].grad for coder in (theirs, ours)]
        pairs[name] = [torch.zeros(1) if gradient is None else gradient for gradient in gradients]
    smallest = torch.finfo(torch.float64).tiny
    return {name: float((a - b).abs().max() / a.abs().max().clamp(min=smallest)) for name, (a, b) in pairs.items()}


def main() -> int:
    """Print a row per variant and k; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="of sparsify's branch mp-sae")
    modules = their_modules(parser.parse_args().checkout)
    columns = ("latent_acts", "sae_out", "fvu", *NAMES)
    write = sys.stdout.write
    write("| variant | k | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 2) + "|\n")
    status = 0
    for variant, settings in SETTINGS.items():
        for k in KS:
            torch.manual_seed(k)
            found = differences(drawn(*modules, settings, k), variant)
            status |= any(value > NAMES.get(name, TOLERANCE) for name, value in found.items())
            write(f"| {variant} | {k} | " + " | ".join(f"{found.get(name, math.nan):.1e}" for name in columns) + " |\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
